"""Logs: one line per event, JSON for machines or text for people, in UTC, never with a secret or an exception's own text.

Loggers are structlog's. They may be made at import, before ``setup_logs`` has run; what they write goes where the
last ``setup_logs`` said. The standard library's logging (aiohttp, asyncio, warnings) comes out in the same form, and with
``catch_strays`` so does what nobody caught. Whatever may quote content goes through the `sieve` here, and nowhere else.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import msgspec
import structlog

from llmproxyd.line_writer import LineWriter
from llmproxyd.sieve import name_of, stack_of, words_of
from llmproxyd.values.secret import Secret

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
PRIORITIES: Mapping[str, bytes] = {
    "debug": b"<7>",
    "info": b"<6>",
    "warning": b"<4>",
    "error": b"<3>",
    "critical": b"<2>",
}
MAX_TEXT = 32 * 1024
Event: TypeAlias = MutableMapping[str, Any]
Render: TypeAlias = Callable[[str, Event], bytes]


class Writer(Protocol):
    def write(self, line: bytes, *, urgent: bool = False) -> None: ...


class _Direct:
    """Before ``setup_logs``: straight to stderr, since nobody has said otherwise yet."""

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        os.write(2, line)


# --- the two forms ----------------------------------------------------------------------------------------------


def _plain(value: object) -> object:
    """What msgspec cannot encode by itself, as something it can."""
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, BaseException):
        return name_of(value)
    return str(value)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def _json(value: object) -> bytes:
    """JSON text of anything: a log call must not fail because of what it was given."""
    try:
        return _encode(value)
    except UnicodeEncodeError:  # a lone surrogate: only the escaping encoder can write it
        return json.dumps(msgspec.to_builtins(value, enc_hook=_plain)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return _encode(f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>")


def _clip(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"{value[:MAX_TEXT]}… ({len(value) - MAX_TEXT} more characters)"
    return value


def _now() -> str:
    return _stamp(time.time())


def _stamp(at_s: float) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    whole_s = int(at_s)
    return f"{_to_the_second(whole_s)}.{int((at_s - whole_s) * 1000):03d}Z"


@lru_cache(maxsize=4)
def _to_the_second(whole_s: int) -> str:
    return datetime.fromtimestamp(whole_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def render_json(level: str, event: Event) -> bytes:
    """One JSON object, one line: time, level, event, then the rest in the order given."""
    line = {"time": event.get("time") or _now(), "level": level, "event": event.pop("event", ""), **event}
    for key, value in line.items():
        if value.__class__ is str and len(value) > MAX_TEXT:
            line[key] = _clip(value)
    try:
        return _encode(line) + b"\n"
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        parts = (json.dumps(key).encode() + b":" + _json(value) for key, value in line.items())
        return b"{" + b",".join(parts) + b"}\n"


# Control characters could move the cursor, bidirectional ones reorder what is read.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_BARE = re.compile(r"[^\s\"'=\\]+")
_COLORS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


def escape(text: str) -> str:
    """Text that is safe to show on a terminal: what could steer it is written as ``\\xNN`` or ``\\uNNNN``."""
    return _UNSAFE.sub(lambda found: _escape(ord(found[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _show(value: object) -> str:
    text = value if isinstance(value, str) else _json(value).decode()
    if isinstance(value, str) and not _BARE.fullmatch(text):
        text = json.dumps(text, ensure_ascii=False)
    return escape(str(_clip(text)))


def _console(color: bool) -> Render:
    def render(level: str, event: Event) -> bytes:
        name, trace = event.pop("event", ""), event.pop("exception", None)
        at = event.pop("time", None) or _now()
        word = level.upper().ljust(8)
        if color:
            word = f"\x1b[{_COLORS[level]}m{word}\x1b[0m"
        fields = "".join(f" {escape(key)}={_show(value)}" for key, value in event.items())
        lines = [f"{at} {word} {escape(str(_clip(name)))}{fields}"]
        if trace is not None:
            lines += [f"    {escape(line)}" for line in str(_clip(trace)).splitlines()]
        return ("\n".join(lines) + "\n").encode()

    return render


render_console: Render = _console(color=False)


def _with_priority(render: Render) -> Render:
    """Put the priority the journal understands before every line."""

    def prefix(level: str, event: Event) -> bytes:
        mark = PRIORITIES[level]
        return b"".join(mark + line for line in render(level, event).splitlines(keepends=True))

    return prefix


# --- the loggers ------------------------------------------------------------------------------------------------


class _Outlet(msgspec.Struct):
    """Where all loggers write. One object for the life of the process, so that loggers made early follow every change."""

    level: int
    render: Render
    writer: Writer


_OUTLET = _Outlet(LEVELS["info"], render_console, _Direct())


class _Voice(msgspec.Struct, frozen=True):
    """What structlog calls with a finished line. ``name`` says which part of the program speaks."""

    name: str

    def write(self, line: bytes) -> None:
        _OUTLET.writer.write(line)

    def write_now(self, line: bytes) -> None:
        _OUTLET.writer.write(line, urgent=True)

    debug = info = warning = write
    error = critical = write_now


def _new_voice(name: str = "", *_: object) -> _Voice:
    return _Voice(name)


def _add_traceback(_voice: _Voice, _level: str, event: Event) -> Event:
    """Replace ``exc_info`` by where it came from."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exception()
    if isinstance(error, BaseException):
        event["exception"] = stack_of(error)
    return event


def _render(voice: _Voice, level: str, event: Event) -> bytes:
    if voice.name:
        event["logger"] = voice.name
    return _OUTLET.render(level, event)


class Log(structlog.BoundLoggerBase):
    """A logger with bound values. ``log.info("config.applied", generation=2)``; a call below the level costs little."""

    def debug(self, event: str, **values: Any) -> None:
        if _OUTLET.level <= 10:
            self._proxy_to_logger("debug", event, **values)

    def info(self, event: str, **values: Any) -> None:
        if _OUTLET.level <= 20:
            self._proxy_to_logger("info", event, **values)

    def warning(self, event: str, **values: Any) -> None:
        if _OUTLET.level <= 30:
            self._proxy_to_logger("warning", event, **values)

    def error(self, event: str, **values: Any) -> None:
        self._proxy_to_logger("error", event, **values)

    def exception(self, event: str, **values: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._proxy_to_logger("error", event, **{"exc_info": True, **values})

    def critical(self, event: str, **values: Any) -> None:
        self._proxy_to_logger("critical", event, **values)


_PROCESSORS = (_add_traceback, _render)


def get_logger(name: str) -> Log:
    """A logger; ``name`` says which part of the program speaks, such as ``reload``."""
    return Log(_Voice(name), _PROCESSORS, {})


class _Bridge(logging.Handler):
    """Records of the standard library's logging, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        level = next(
            (word for word, number in reversed(tuple(LEVELS.items())) if record.levelno >= number), "debug"
        )
        event: Event = {"event": words_of(record), "at": f"{record.pathname}:{record.lineno}"}
        if record.exc_info and record.exc_info[1] is not None:
            event["exc_info"] = record.exc_info[1]
        voice = _Voice(record.name)
        getattr(voice, level)(_render(voice, level, _add_traceback(voice, level, event)))


# --- setting up -------------------------------------------------------------------------------------------------


def setup_logs(
    level: str = "info",
    log_format: str = "json",
    *,
    fd: int = 2,
    environ: Mapping[str, str] = os.environ,
) -> LineWriter:
    """Send all logs to ``fd`` from now on; a second call replaces the first. Returns the writer, for its ``lost`` count.

    level: a key of LEVELS. log_format: ``json`` or ``console``. Under systemd (JOURNAL_STREAM names this very
    descriptor) lines carry ``<N>`` priorities. Colours on a terminal, unless NO_COLOR is set.
    """
    render = render_json if log_format == "json" else _console(_wants_color(fd, environ))
    if _is_journal(fd, environ):
        render = _with_priority(render)
    writer = LineWriter(
        fd, format_loss=lambda count: render("warning", {"event": "logs.dropped", "lines": count})
    )
    previous, _OUTLET.writer, _OUTLET.render = _OUTLET.writer, writer, render
    if isinstance(previous, LineWriter):
        previous.close()
    set_level(level)
    logging.captureWarnings(True)
    logging.getLogger().handlers[:] = [_Bridge()]
    structlog.configure(
        processors=_PROCESSORS, wrapper_class=Log, logger_factory=_new_voice, cache_logger_on_first_use=True
    )
    atexit.unregister(flush)
    atexit.register(flush)
    return writer


def catch_strays() -> None:
    """For the daemon's process: what nobody caught is logged like all else, where Python would print its text."""
    strays = get_logger("process")

    def tell(error: BaseException | None) -> None:
        strays.critical("uncaught", exc_info=error)

    sys.excepthook = lambda _kind, error, _trace: tell(error)
    threading.excepthook = lambda told: tell(told.exc_value)
    sys.unraisablehook = lambda told: tell(told.exc_value)


def write_rows(rows: Iterable[tuple[str, float, Event]]) -> None:
    """Write lines that come by the thousand: (level, Unix seconds, values in the order wanted, ``event`` among them).

    They are rendered together, off the path of whoever caused them, and skip what single events need.
    """
    render, write = _OUTLET.render, _OUTLET.writer.write
    for level, at_s, row in rows:
        if _OUTLET.level <= LEVELS[level]:
            write(render(level, {**row, "time": _stamp(at_s)}))


def set_level(level: str) -> None:
    """Change the level for all loggers at once. Raises KeyError for an unknown one."""
    _OUTLET.level = LEVELS[level]
    # What libraries call information is detail to an operator: it comes with our own debug lines, not before.
    foreign = "debug" if level == "debug" else max(level, "warning", key=LEVELS.__getitem__)
    logging.getLogger().setLevel(LEVELS[foreign])


def flush(timeout_s: float = 2.0) -> bool:
    """Wait until what was logged so far is written, at most ``timeout_s``; whether it is."""
    writer = _OUTLET.writer
    return writer.flush(timeout_s) if isinstance(writer, LineWriter) else True


def _wants_color(fd: int, environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("CLICOLOR_FORCE", "0") not in ("", "0") or os.isatty(fd))


def _is_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Whether ``fd`` is the stream systemd connected to the journal, not something it was redirected to."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"
