"""Nothing of an exception's own text, or of what a library says about it, comes through; its kind and place do."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmproxyd import jsontext
from llmproxyd.sieve import MAX_FRAMES, name_of, stack_of, words_of

SECRET = "the words of a client"


def raised(broken: Callable[[], object]) -> BaseException:
    try:
        broken()
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


def quoting() -> object:
    return os.environ[SECRET]


def chained() -> object:
    try:
        return quoting()
    except KeyError as error:
        raise RuntimeError(SECRET) from error


def while_handling() -> object:
    try:
        return quoting()
    except KeyError:
        raise RuntimeError(SECRET)  # noqa: B904 - the context is what is tested


def noted() -> object:
    error = ValueError(SECRET)
    error.add_note(SECRET)
    raise error


def grouped() -> object:
    raise BaseExceptionGroup(SECRET, [ValueError(SECRET), BaseExceptionGroup(SECRET, [raised(chained)])])


def compiled() -> object:
    return compile(SECRET, SECRET, "exec")


class Typed(msgspec.Struct, forbid_unknown_fields=True):
    number: int = 0


BROKEN: list[Callable[[], object]] = [
    quoting,
    chained,
    while_handling,
    noted,
    grouped,
    compiled,
    lambda: (SECRET + "\ud800").encode(),
    lambda: (SECRET.encode() + b"\xff").decode(),
    lambda: int(SECRET),
    lambda: json.loads(f'{{"{SECRET}": {SECRET}}}'),
    lambda: jsontext.decode(SECRET),
    lambda: msgspec.json.decode(json.dumps({SECRET: 1}), type=Typed),
    lambda: getattr(object(), SECRET),
    lambda: open(f"/nonexistent/{SECRET}"),  # noqa: SIM115 - it does not open
    lambda: sys.exit(SECRET),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_an_exceptions_text_stays_out_wherever_it_hides(broken: Callable[[], object]) -> None:
    error = raised(broken)
    told = stack_of(error)
    assert SECRET not in told
    assert type(error).__qualname__ in told
    assert "test_sieve.py:" in told, "where it was"


def test_causes_are_told_in_their_order_without_their_words() -> None:
    kinds = [line for line in stack_of(raised(chained)).splitlines() if not line.startswith((" ", "Trace"))]
    assert kinds == ["KeyError", "This was the direct cause of:", "RuntimeError"]


def test_the_members_of_a_group_are_told() -> None:
    told = stack_of(raised(grouped))
    assert told.count("One of the group:") == 3
    assert "KeyError" in told


def test_a_circle_of_causes_and_a_deep_recursion_end() -> None:
    first, second = ValueError(SECRET), ValueError(SECRET)
    first.__context__, second.__context__ = second, first
    assert len(stack_of(first).splitlines()) == 5

    def deeper() -> None:
        deeper()

    told = stack_of(raised(deeper))
    assert len(told.splitlines()) == MAX_FRAMES + 3
    assert "more" in told


def test_the_systems_own_reason_is_told() -> None:
    missing = raised(lambda: Path(f"/nonexistent/{SECRET}").read_text())
    assert name_of(missing) == "FileNotFoundError: No such file or directory"
    assert name_of(OSError(SECRET)) == "OSError"


def record(message: Any, *arguments: Any, name: str = "odd") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "somewhere.py", 1, message, arguments, None)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (record(SECRET), "a library's message, left out because it may quote content"),
        (record(f"Task exception was never retrieved\nfuture: {SECRET}"), "Task exception was never retrieved"),
        (record(f"Exception in callback f('{SECRET}')"), "Exception in callback"),
        (record("from %s: %d of %.1f", SECRET, 3, 0.5), "from <str>: 3 of 0.5"),
        (record("%(what)s", {"what": SECRET}), "<str>"),
        (record("no: %s", KeyError(SECRET)), "no: <KeyError>"),
        (record("no: %d", SECRET), "no: %d"),
        (record(ValueError(SECRET)), "a library's message, left out because it may quote content"),
        (record("%s", f"/x.py:3: UserWarning: {SECRET}\n  {SECRET}", name="py.warnings"), "/x.py:3: UserWarning"),
        (record("%s", SECRET, name="py.warnings"), "a library's message, left out because it may quote content"),
    ],
)  # fmt: skip
def test_a_librarys_message_keeps_what_is_constant(given: logging.LogRecord, told: str) -> None:
    assert words_of(given) == told


STRAYS = """
import asyncio, gc, sys, threading, warnings
from llmproxyd import logs
logs.setup_logs("debug", "json")
logs.catch_strays()
SECRET = " ".join(["the", "words", "of", "a", "client"])

class Falls:
    def __del__(self):
        raise ValueError(SECRET)

async def fail():
    raise KeyError(SECRET)

async def main():
    loop = asyncio.get_running_loop()
    lost = asyncio.ensure_future(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del lost
    gc.collect()
    loop.call_soon(lambda words: {}[words], SECRET)
    await asyncio.sleep(0.01)

def in_thread():
    raise KeyError(SECRET)

Falls()
gc.collect()
warnings.warn(SECRET)
thread = threading.Thread(target=in_thread)
thread.start()
thread.join()
LOOP
raise RuntimeError(SECRET)
"""


@pytest.mark.parametrize("loop", ["asyncio.run(main())", "import uvloop; uvloop.run(main())"])
def test_what_nobody_caught_comes_through_the_same_sieve(loop: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STRAYS.replace("LOOP", loop)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(SECRET not in str(line) for line in told)
    uncaught = [line["exception"].splitlines()[-1] for line in told if line["event"] == "uncaught"]
    assert uncaught == ["ValueError", "KeyError", "RuntimeError"]
    words = [line["event"] for line in told]
    assert "Task exception was never retrieved" in words
    assert "Exception in callback" in words
    assert any(line["event"].endswith("UserWarning") for line in told)
