"""`llmproxyd reload`: what is asked of the daemon, and what its verdicts come to."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.commands.reload import PATH, read_problems
from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.config.report import format_json
from tests.commands.conftest import Run
from tests.commands.daemon_double import DaemonDouble, serve

PROBLEM = Problem(
    "LP201",
    Severity.ERROR,
    "unknown provider `opnai`",
    Span("routing.yaml", 11, 18, 23, "did you mean `openai`?"),
    secondary=(Span("providers.yaml", 3, 3, 9, "defined here"),),
    helps=("name one of the providers",),
)


def verdict(result: str, *problems: Problem) -> dict[str, Any]:
    report = json.loads(format_json(problems))
    return {
        "version": 1,
        "result": result,
        "generation": 2,
        "token": "t1",
        "trigger": "admin",
        "duration_s": 0.0312,
        "at": "2026-01-01T00:00:00.000Z",
        "problems": report["problems"],
        "summary": report["summary"],
    }


def daemon(status: int, document: object) -> DaemonDouble:
    return DaemonDouble({("POST", PATH): (status, document)})


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("applied", "applied: generation 2 in 31 ms\n"),
        ("noop", "nothing changed: generation 2 stays in force\n"),
    ],
)
def test_a_good_verdict_is_one_line(result: str, said: str, run: Run, socket_path: Path) -> None:
    with serve(daemon(200, verdict(result)), socket_path) as asked:
        done = run("reload", "--wait", "--token", "deploy-42")
    assert (done.status, done.out, done.err) == (0, said, "")
    assert asked.seen[0][3] == {"wait": True, "token": "deploy-42"}


def test_a_rejection_shows_its_problems_and_fails(run: Run, socket_path: Path) -> None:
    with serve(daemon(200, verdict("rejected", PROBLEM)), socket_path):
        done = run("reload", "--wait")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error[LP201]: unknown provider `opnai`\n")
    assert "routing.yaml:11:18" in done.err
    assert done.err.endswith("1 error\nrejected: generation 2 stays in force\n")


def test_without_waiting_it_returns_once_accepted(run: Run, socket_path: Path) -> None:
    with serve(daemon(202, {"version": 1, "token": "t7"}), socket_path) as asked:
        done = run("reload")
    assert (done.status, done.out) == (0, "accepted: t7\n")
    assert asked.seen[0][3] == {"wait": False}


def test_a_reload_without_a_name_is_accepted_without_one(run: Run, socket_path: Path) -> None:
    with serve(daemon(202, {"accepted": True, "token": None}), socket_path):
        assert run("reload").out == "accepted\n"


def test_json_passes_the_verdict_on(run: Run, socket_path: Path) -> None:
    with serve(daemon(200, verdict("rejected", PROBLEM)), socket_path):
        done = run("reload", "--wait", "--json")
    assert done.status == 1
    assert json.loads(done.out) == verdict("rejected", PROBLEM)


def test_a_daemon_that_refuses_is_quoted(run: Run, socket_path: Path) -> None:
    with serve(daemon(400, {"error": {"message": "not today\x1b[2J"}}), socket_path):
        done = run("reload")
    assert (done.status, done.out) == (1, "")
    assert done.err == "llmproxyd: the daemon refused: not today\\x1b[2J\n"


@pytest.mark.parametrize("token", ["", "two words", "x" * 65])
def test_a_token_that_the_daemon_would_not_take_is_64_before_it_is_asked(
    token: str, run: Run, socket_path: Path
) -> None:
    with serve(daemon(200, verdict("noop")), socket_path) as asked:
        done = run("reload", f"--token={token}")
    assert (done.status, asked.seen) == (64, [])
    assert "--token: a reload token has 1 to 64 characters" in done.err


def test_a_daemon_that_takes_too_long_is_a_timeout(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({}, silent=threading.Event()), socket_path):
        done = run("reload", "--wait", "--timeout", "0.05")
    assert done.status == 75
    assert "did not answer in time" in done.err


def test_no_daemon_is_69(run: Run) -> None:
    done = run("reload", "--wait")
    assert done.status == 69
    assert "start it with `llmproxyd run`" in done.err


@pytest.mark.parametrize("text", ["0", "-1", "4000", "soon"])
def test_a_timeout_must_be_a_reasonable_number(
    text: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run("reload", f"--timeout={text}")
    assert stop.value.code == 64
    assert "expected seconds, above 0 and up to 3600" in capsys.readouterr().err


def test_problems_survive_the_wire() -> None:
    (read,) = read_problems(json.loads(format_json([PROBLEM])))
    assert (read.code, read.severity, read.message, read.helps) == (
        PROBLEM.code,
        PROBLEM.severity,
        PROBLEM.message,
        PROBLEM.helps,
    )
    assert str(read.span) == str(PROBLEM.span)
    assert format_json([read]) == format_json([PROBLEM])
