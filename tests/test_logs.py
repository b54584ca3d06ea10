"""Logs: their two forms, what must not appear in them, and that they follow every change."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd import logs
from llmproxyd.line_writer import LineWriter
from llmproxyd.logs import escape, flush, get_logger, render_console, render_json, set_level, setup_logs
from llmproxyd.values.request import Dialect
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Provider, Zone

Setup = Callable[..., None]
Lines = Callable[[], list[str]]

EARLY = get_logger("early")


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """A log file; afterwards the process logs as before."""
    outlet, root = logs._OUTLET, logging.getLogger()
    before = outlet.level, outlet.render, outlet.writer, root.level, list(root.handlers)
    path = tmp_path / "log"
    path.touch()
    yield path
    writer = outlet.writer
    outlet.level, outlet.render, outlet.writer = before[:3]
    if isinstance(writer, LineWriter):
        writer.close()
    root.setLevel(before[3])
    root.handlers[:] = before[4]
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def start(log_file: Path) -> Iterator[Setup]:
    fd = os.open(log_file, os.O_WRONLY | os.O_APPEND)

    def setup(
        level: str = "info", log_format: str = "json", environ: Mapping[str, str] | None = None
    ) -> None:
        setup_logs(level, log_format, fd=fd, environ=environ or {})

    yield setup
    os.close(fd)


@pytest.fixture
def lines(log_file: Path) -> Lines:
    def read() -> list[str]:
        assert flush(10)
        return log_file.read_text(encoding="utf-8").splitlines()

    return read


def event(line: str) -> dict[str, Any]:
    decoded = json.loads(line)
    assert isinstance(decoded, dict)
    return decoded


def test_a_line_is_one_json_object_in_a_fixed_order(start: Setup, lines: Lines) -> None:
    start()
    get_logger("door").bind(request_id="r1").info("exchange", status=200, provider="openai")
    (line,) = lines()
    assert list(event(line)) == ["time", "level", "event", "request_id", "status", "provider", "logger"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event(line)["time"])
    assert event(line)["level"] == "info"


def test_a_logger_made_before_setup_follows_it(start: Setup, lines: Lines) -> None:
    start()
    EARLY.info("hello")
    structlog.get_logger("reload").info("plain structlog")
    said = [event(line) for line in lines()]
    assert [(line["logger"], line["event"]) for line in said] == [
        ("early", "hello"),
        ("reload", "plain structlog"),
    ]


def test_the_level_changes_at_run_time(start: Setup, lines: Lines) -> None:
    start("warning")
    EARLY.info("unheard")
    logging.getLogger("aiohttp").info("unheard too")
    set_level("debug")
    EARLY.debug("heard")
    logging.getLogger("aiohttp").debug("%d heard too", 2)
    assert [event(line)["event"] for line in lines()] == ["heard", "2 heard too"]


def test_what_libraries_call_information_is_detail_to_us(start: Setup, lines: Lines) -> None:
    start("info")
    logging.getLogger("watchfiles.main").info("%d change detected", 1)
    logging.getLogger("watchfiles.main").warning("watching stopped %d", 1)
    assert [event(line)["event"] for line in lines()] == ["watching stopped 1"]
    set_level("error")
    logging.getLogger("watchfiles.main").warning("unheard")
    assert len(lines()) == 1


def test_an_unknown_level_is_refused_and_changes_nothing(start: Setup, lines: Lines) -> None:
    start()
    with pytest.raises(KeyError):
        set_level("loud")
    EARLY.info("still here")
    assert len(lines()) == 1


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_each_method_writes_its_own_level(level: str, start: Setup, lines: Lines) -> None:
    start("debug")
    getattr(EARLY, level)("said")
    assert event(lines()[0])["level"] == level


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_secret_never_shows(log_format: str, start: Setup, lines: Lines) -> None:
    start("debug", log_format)
    secret = Secret("sk-canary-123")
    provider = Provider(
        "openai",
        "openai",
        Dialect.OPENAI_CHAT,
        "https://api.example/v1",
        Zone.EXTERNAL,
        1,
        secret=secret,
        headers={"x-extra": secret},
    )
    EARLY.info("shown", one=secret, listed=[secret, {"deep": secret}], provider=provider, text=f"{secret}")
    try:
        raise ValueError(f"refused {secret}")
    except ValueError:
        EARLY.exception("failed", key=secret)
    text = "\n".join(lines())
    assert "***" in text
    assert "sk-canary-123" not in text


def test_an_exception_comes_with_its_traceback(start: Setup, lines: Lines) -> None:
    start()
    try:
        os.environ["NOT_SET_ANYWHERE"]
    except KeyError as error:
        EARLY.exception("broken", step=3)
        kept = error
    EARLY.warning("again", exc_info=kept)
    EARLY.error("no exception", exc_info=True)
    first, second, third = map(event, lines())
    assert first["exception"].splitlines()[0] == "Traceback (most recent call last):"
    assert first["exception"].splitlines()[-1] == "KeyError"
    assert "test_logs.py:" in first["exception"].splitlines()[1]
    assert (second["exception"], first["step"]) == (first["exception"], 3)
    assert "exception" not in third


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(object(), id="object"),
        {(1, 2): Secret("k")},
        {1, 2},
        b"\xff",
        float("nan"),
        "\ud800",
        Path("/x"),
        ValueError("no"),
        10**400,
    ],
    ids=repr,
)
@pytest.mark.parametrize("render", [render_json, render_console])
def test_whatever_is_logged_makes_one_line(value: object, render: logs.Render) -> None:
    line = render("info", {"event": "odd", "value": value, "after": 1})
    assert line.count(b"\n") == 1
    assert b"after" in line
    if render is render_json:
        assert event(line.decode())["after"] == 1


def test_a_value_that_contains_itself_does_not_break_the_line() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert event(render_json("info", {"event": "odd", "value": loop}).decode())["value"].startswith(
        "<list that"
    )


def test_long_texts_are_cut_and_say_so() -> None:
    line = event(render_json("info", {"event": "big", "text": "x" * 100_000}).decode())
    assert line["text"].endswith(f"… ({100_000 - logs.MAX_TEXT} more characters)")


def test_the_console_form_is_for_people() -> None:
    line = render_console(
        "warning", {"event": "config.rejected", "file": "routing.yaml", "why": "two words", "n": 2}
    )
    assert (
        line.decode().split(" ", 1)[1] == 'WARNING  config.rejected file=routing.yaml why="two words" n=2\n'
    )


def test_colours_are_for_terminals_and_can_be_forbidden_or_forced(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        assert not logs._wants_color(file.fileno(), {})
        assert logs._wants_color(file.fileno(), {"CLICOLOR_FORCE": "1"})
        assert not logs._wants_color(file.fileno(), {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"})
    terminal, other = os.openpty()
    assert logs._wants_color(terminal, {})
    assert not logs._wants_color(terminal, {"NO_COLOR": "1"})
    os.close(terminal)
    os.close(other)


@given(st.text())
def test_nothing_that_steers_a_terminal_survives(text: str) -> None:
    line = render_console("info", {"event": text, "value": text, "exception": text}).decode("utf-8")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", line)


def test_a_newline_cannot_forge_a_line() -> None:
    forged = "x\n2026-01-01T00:00:00.000Z ERROR    all is lost"
    assert render_console("info", {"event": forged, "value": forged}).count(b"\n") == 1
    assert escape("\x1b[2J\u202e") == "\\x1b[2J\\u202e"


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.none(), max_size=5))
def test_json_lines_give_back_what_was_logged(values: dict[str, Any]) -> None:
    reserved = {"time", "level", "event", "exception"}
    values = {key: value for key, value in values.items() if key not in reserved}
    decoded = event(render_json("info", {"event": "e", **values}).decode())
    assert {key: decoded[key] for key in values} == values


def test_under_the_journal_every_line_carries_its_priority(
    log_file: Path, start: Setup, lines: Lines
) -> None:
    status = log_file.stat()
    start("debug", "console", {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    EARLY.debug("d")
    EARLY.info("i")
    EARLY.warning("w")
    EARLY.error("e", exc_info=ValueError("two\nlines"))
    assert [line[:3] for line in lines()] == ["<7>", "<6>", "<4>", "<3>", "<3>", "<3>"]


def test_a_stream_that_is_not_the_journals_gets_no_priorities(start: Setup, lines: Lines) -> None:
    start("info", "json", {"JOURNAL_STREAM": "1:2"})
    EARLY.info("plain")
    assert lines()[0].startswith("{")


def test_records_of_the_standard_library_come_in_the_same_form(start: Setup, lines: Lines) -> None:
    start()
    logging.getLogger("aiohttp.server").warning("bad request from %s, %d bytes", "somewhere", 5)
    logging.getLogger("asyncio").error("it broke", exc_info=ValueError("why"))
    logging.getLogger("odd").warning("%d items", "many")
    warnings.warn("old thing", UserWarning, stacklevel=1)
    first, second, third, fourth = map(event, lines())
    assert "test_logs.py:" in first["at"]
    assert (first["level"], first["logger"], first["event"]) == (
        "warning",
        "aiohttp.server",
        "bad request from <str>, 5 bytes",
    )
    assert second["exception"].endswith("ValueError")
    assert third["event"] == "%d items"
    assert re.fullmatch(r".*test_logs\.py:\d+: UserWarning", fourth["event"])


async def test_what_asyncio_has_to_say_comes_in_the_same_form(start: Setup, lines: Lines) -> None:
    start()
    asyncio.get_running_loop().call_exception_handler(
        {"message": "nobody looked", "exception": OSError("gone")}
    )
    (line,) = lines()
    assert (event(line)["logger"], event(line)["level"]) == ("asyncio", "error")


def test_lines_are_written_before_the_process_ends(tmp_path: Path) -> None:
    script = (
        "from llmproxyd.logs import get_logger, setup_logs\n"
        "setup_logs('info', 'json')\n"
        "for n in range(1000): get_logger('x').info('line', n=n)\n"
        "raise SystemExit(3)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert [event(line)["n"] for line in done.stderr.splitlines()] == list(range(1000))


def test_before_setup_logs_go_to_stderr_for_people() -> None:
    script = "from llmproxyd.logs import get_logger; get_logger('x').warning('early', n=1)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stderr.endswith("WARNING  early n=1 logger=x\n")
