"""`llmproxyd events`: what happened, line by line, and as it happens."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.commands.client import follow
from llmproxyd.commands.console import CannotGoOn
from llmproxyd.commands.events import PATH, path_of
from llmproxyd.exchange.webhooks import notice_of
from llmproxyd.server.events import format_event
from llmproxyd.server.notices import describe
from llmproxyd.settings import load_settings
from llmproxyd.state.events import Events
from tests.commands.conftest import Run
from tests.commands.daemon_double import DaemonDouble, serve
from tests.server.values import AT_S

SOURCE = Events(lambda: AT_S, epoch="e")
EVENTS = (
    SOURCE.publish("breaker_opened", "a/m", cause="timeout", for_s=2.0, help="look at its log"),
    SOURCE.publish("failover", "a/m", to="b/m", failure="timeout", count=12),
)
DOCUMENT = {"version": 1, "events": [notice_of(event, describe(event)) for event in EVENTS]}
STREAM = b"retry: 2000\n\n: still here\n\n" + b"".join(map(format_event, EVENTS))
LINES = [
    "2026-01-01T00:00:00Z  breaker_opened          a/m is not called for 2 s: timeout. To do: look at its log.",
    "2026-01-01T00:00:00Z  failover                b/m answered for a/m, which failed (timeout), 12 times.",
]


def answers(body: Any, *, query: str = "?follow=false", status: int = 200) -> DaemonDouble:
    return DaemonDouble({("GET", PATH + query): (status, body)})


def test_what_is_kept_is_told_line_by_line(run: Run, socket_path: Path) -> None:
    with serve(answers(DOCUMENT), socket_path):
        done = run("events")
    assert (done.status, done.err, done.out.splitlines()) == (0, "", LINES)


def test_json_passes_on_what_the_daemon_says(run: Run, socket_path: Path) -> None:
    with serve(answers(DOCUMENT), socket_path):
        assert json.loads(run("events", "--json").out) == DOCUMENT


def test_a_quiet_daemon_is_no_fault(run: Run, socket_path: Path) -> None:
    with serve(answers({"version": 1, "events": []}), socket_path):
        done = run("events")
    assert (done.status, done.out, done.err) == (0, "", "Nothing has happened.\n")


def test_following_ends_with_the_stream(run: Run, socket_path: Path) -> None:
    with serve(answers(STREAM, query=""), socket_path):
        done = run("events", "--follow")
    assert (done.status, done.out.splitlines()) == (0, LINES)
    assert "has ended the stream" in done.err


def test_following_in_json_is_one_event_a_line(run: Run, socket_path: Path) -> None:
    with serve(answers(STREAM, query="?after=e-1%262"), socket_path):
        done = run("events", "-f", "--json", "--after", "e-1&2")
    assert [json.loads(line) for line in done.out.splitlines()] == DOCUMENT["events"]


@pytest.mark.parametrize("argv", [("events",), ("events", "--follow")])
def test_without_a_daemon_it_is_69(argv: tuple[str, ...], run: Run) -> None:
    done = run(*argv)
    assert (done.status, done.out) == (69, "")
    assert "start it with `llmproxyd run`" in done.err


@pytest.mark.parametrize(("argv", "query"), [(("events",), "?follow=false"), (("events", "-f"), "")])
def test_a_daemon_that_does_not_tell_is_69(
    argv: tuple[str, ...], query: str, run: Run, socket_path: Path
) -> None:
    with serve(answers({"error": {"message": "broken"}}, query=query, status=503), socket_path):
        done = run(*argv)
    assert done.status == 69
    assert "status 503" in done.err


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_follow_is_told_who_may(status: int, run: Run, socket_path: Path) -> None:
    with serve(answers({"error": {}}, query="", status=status), socket_path):
        done = run("events", "-f")
    assert done.status == 69
    assert "lets its owner and root in" in done.err


def test_what_the_daemon_says_cannot_steer_the_terminal(run: Run, socket_path: Path) -> None:
    evil = DOCUMENT["events"][0] | {"text": "\x1b[31m red"}  # type: ignore[index]
    with serve(answers({"version": 1, "events": [evil]}), socket_path):
        assert "\x1b" not in run("events").out


def test_a_daemon_that_falls_silent_is_75(environ: dict[str, str], socket_path: Path) -> None:
    double = answers(STREAM, query="")
    double.silent = threading.Event()
    with serve(double, socket_path), pytest.raises(CannotGoOn) as stop:
        list(follow(load_settings({}, environ, tty=False), environ, PATH, silence_s=0.05))
    assert (int(stop.value.status), "silent" in str(stop.value)) == (75, True)


def test_over_tcp_the_token_is_shown(environ: dict[str, str], tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with serve(answers(STREAM, query="")) as double:
        flags = {"listen": [f"127.0.0.1:{double.port}"], "state_dir": [str(state)]}
        settings = load_settings(flags, environ, tty=False)
        settings.admin_token_file.write_text("t0ken\n", encoding="ascii")
        lines = list(follow(settings, environ, path_of(follow=True, after=None)))
    assert sum(line.startswith(b"data: ") for line in lines) == 2
    assert double.seen[0][2]["authorization"] == "Bearer t0ken"
