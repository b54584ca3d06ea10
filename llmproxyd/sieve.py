"""What is left of an exception, and of what a library says, before it is logged: nothing that can hold content.

An exception's text often quotes what it stumbled over (``KeyError: 'the words of a client'``), and so do its notes, its
causes and the messages that libraries make of it. What remains is its kind and the places in the code; these are the same
whatever was in hand.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

MAX_FRAMES = 60
MAX_LINKED = 8
"""Causes of causes, and members of groups, that are told at most."""

_CAUSED = "This was the direct cause of:"
_MEANWHILE = "While this was handled, there came:"

# What libraries say when they do it without arguments: only these beginnings are known to be constant.
_KNOWN = (
    "Task exception was never retrieved", "Future exception was never retrieved", "Task was destroyed but it is pending",
    "Exception in callback", "Unhandled exception in exception handler", "Exception in default exception handler",
    "Unclosed client session", "Unclosed connection", "Unclosed connector", "Error handling request",
    "Unhandled exception", "socket.accept() out of system resource", "SSL handshake failed", "Fatal read error",
    "Fatal write error", "Fatal error", "Invalid method encountered",
)  # fmt: skip
_UNKNOWN = "a library's message, left out because it may quote content"
_WARNING = re.compile(r"(.*:\d+: \w+): ")  # as `warnings` puts it: place and category before the words


def name_of(error: BaseException) -> str:
    """Its kind; with the reason where that is the operating system's, whose words are constant."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return f"{name}: {os.strerror(error.errno)}"
    return name


def stack_of(error: BaseException) -> str:
    """Like a traceback, without a line of source and without the exception's words."""
    return "\n".join(_told(error, set()))


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before, link = error.__cause__, _CAUSED
    if before is None and not error.__suppress_context__:
        before, link = error.__context__, _MEANWHILE
    if before is not None and id(before) not in seen and len(seen) < MAX_LINKED:
        yield from _told(before, seen)
        yield link
    yield "Traceback (most recent call last):"
    yield from _frames(error.__traceback__)
    yield name_of(error)
    for member in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        if id(member) not in seen and len(seen) < MAX_LINKED:
            yield "One of the group:"
            yield from (f"  {line}" for line in _told(member, seen))


def _frames(trace: TracebackType | None) -> list[str]:
    lines = [
        f"  {frame.f_code.co_filename}:{number}, in {frame.f_code.co_qualname}"
        for frame, number in traceback.walk_tb(trace)
    ]
    left_out = len(lines) - MAX_FRAMES
    if left_out > 0:  # too deep a recursion: how it began and where it ended
        half = MAX_FRAMES // 2
        lines[half:-half] = [f"  … {left_out} more"]
    return lines


def words_of(record: logging.LogRecord) -> str:
    """What a library says: its format string, filled with numbers and, for all else, kinds."""
    text = record.msg if isinstance(record.msg, str) else f"<{type(record.msg).__name__}>"
    if record.name == "py.warnings":
        found = _WARNING.match(text if not record.args else record.getMessage())
        return found[1] if found else _UNKNOWN
    if not record.args:
        return next((known for known in _KNOWN if text.startswith(known)), _UNKNOWN)
    if isinstance(record.args, tuple):
        filled: Any = tuple(map(_shown, record.args))
    else:
        filled = {name: _shown(value) for name, value in record.args.items()}
    try:
        return str(text % filled)
    except (TypeError, ValueError, KeyError):  # arguments that do not fit their own format string
        return text


def _shown(value: object) -> int | float | str:
    if isinstance(value, BaseException):
        return f"<{name_of(value)}>"
    return value if isinstance(value, (int, float)) else f"<{type(value).__name__}>"
