"""`llmproxyd providers`: the daemon's figures as a table, or what the files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.commands.providers import PATH
from llmproxyd.server.admin import providers_status
from llmproxyd.state.registry import ProviderReport
from llmproxyd.values.snapshot import Snapshot
from tests.commands.conftest import Run
from tests.commands.daemon_double import DaemonDouble, serve

REPORTS = (
    ProviderReport(
        "openai",
        "openai",
        "external",
        "available",
        "",
        200,
        199,
        1,
        0.995,
        1.234,
        1767225600.25,
        1767139200.0,
        ("big",),
    ),
    ProviderReport(
        "anthropic",
        "anthropic",
        "external",
        "not configured",
        "set ANTHROPIC_API_KEY or api_key",
        0,
        0,
        0,
        None,
        None,
        None,
        None,
        (),
    ),
)
DOCUMENT = providers_status(REPORTS, Snapshot("h", {}, (), {}, (), default_provider="openai"))


def test_a_table_and_the_list_of_those_that_answer(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({("GET", PATH): (200, DOCUMENT)}), socket_path):
        done = run("providers")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "default provider: openai",
        "",
        "NAME       STATE           REQUESTS  SUCCESS    MEAN  LAST SUCCESS          LAST FAILURE          WHY",
        "openai     available            200    99.5%  1.23 s  2026-01-01T00:00:00Z  2025-12-31T00:00:00Z",
        "anthropic  not configured         0        -       -  -                     -                     "
        "set ANTHROPIC_API_KEY or api_key",
        "",
        "available: openai",
    ]


def test_json_passes_on_what_the_daemon_says(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({("GET", PATH): (200, DOCUMENT)}), socket_path):
        done = run("providers", "--json")
    assert json.loads(done.out) == DOCUMENT


def test_without_a_daemon_it_is_69(run: Run) -> None:
    done = run("providers")
    assert (done.status, done.out) == (69, "")
    assert "start it with `llmproxyd run`" in done.err


@pytest.mark.parametrize(("status", "document"), [(200, {}), (500, {"error": {"message": "broken"}})])
def test_a_daemon_that_does_not_tell_is_69(
    status: int, document: object, run: Run, socket_path: Path
) -> None:
    with serve(DaemonDouble({("GET", PATH): (status, document)}), socket_path):
        done = run("providers")
    assert done.status == 69
    assert f"status {status}" in done.err


def test_offline_shows_what_the_files_say(run: Run, config_dir: Path) -> None:
    done = run(
        "providers", "--offline", "--config-dir", str(config_dir), environ={"OPENAI_API_KEY": "sk-canary"}
    )
    assert done.status == 0
    states = {
        line.split()[0]: line for line in done.out.splitlines()[3:] if line and ":" not in line.split()[0]
    }
    assert "not yet tested" in states["openai"]
    assert "not configured" in states["anthropic"]
    assert "ANTHROPIC_API_KEY" in states["anthropic"]
    assert done.out.splitlines()[0] == "default provider: none; rules and priorities decide"
    assert "nobody was asked" in done.err
    assert "canary" not in done.out + done.err


def test_offline_json_has_the_shape_of_the_daemons_answer(run: Run, config_dir: Path) -> None:
    done = run("providers", "--offline", "--json", "--config-dir", str(config_dir))
    document = json.loads(done.out)
    assert document.keys() == DOCUMENT.keys()
    assert document["providers"][0].keys() == DOCUMENT["providers"][0].keys()


# --- test NAME --------------------------------------------------------------------------------------------------

WELL: dict[str, Any] = {
    "version": 1,
    "name": "lab",
    "state": "available",
    "ok": True,
    "problem": None,
    "reachable": True,
    "authorised": None,
    "status": 200,
    "duration_ms": 12.4,
    "models_found": {"count": 3, "names": ["a", "b"]},
    "missing_models": [],
    "hint": "",
}
ILL = WELL | {
    "state": "failing",
    "ok": False,
    "problem": "unreachable",
    "reachable": False,
    "status": None,
    "models_found": None,
    "hint": "is it running?",
}
TEST_CALL = ("POST", "/admin/v1/providers/lab/test")
CHAT_CALL = ("POST", "/v1/chat/completions")
ANSWER = {
    "model": "lab/a",
    "choices": [{"message": {"role": "assistant", "content": "Hello there."}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


def test_a_test_that_goes_well_says_what_was_found(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({TEST_CALL: (200, WELL)}), socket_path) as double:
        done = run("providers", "test", "lab")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "lab: available",
        "  reachable   yes, status 200 in 12 ms",
        "  authorised  not known",
        "  models      3 found: a, b, …",
    ]
    assert [(method, path) for method, path, *_ in double.seen] == [TEST_CALL], "no chat without being asked"


def test_a_test_that_does_not_go_well_is_1_and_says_what_to_do(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({TEST_CALL: (200, ILL)}), socket_path) as double:
        done = run("providers", "test", "lab", "--chat")
    assert done.status == 1
    assert "  to do       is it running?" in done.out
    assert "No chat was tried" in done.err
    assert len(double.seen) == 1


def test_a_provider_that_is_silent_is_75(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({TEST_CALL: (200, ILL | {"problem": "timeout"})}), socket_path):
        assert run("providers", "test", "lab", "--json").status == 75


def test_an_unknown_provider_is_66_in_the_daemons_words(run: Run, socket_path: Path) -> None:
    error = {"error": {"code": "unknown_provider", "message": "There is no provider `lab`.\x1b[31m"}}
    with serve(DaemonDouble({TEST_CALL: (404, error)}), socket_path):
        done = run("providers", "test", "lab")
    assert (done.status, done.out) == (66, "")
    assert "There is no provider `lab`." in done.err
    assert "\x1b" not in done.err


def test_a_daemon_that_knows_no_tests_is_69(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({}), socket_path):
        done = run("providers", "test", "lab")
    assert done.status == 69
    assert "status 404" in done.err


def test_a_test_without_a_daemon_is_69(run: Run) -> None:
    assert run("providers", "test", "lab").status == 69


@pytest.mark.parametrize("argv", [("test",), ("--chat",), ("--model", "m"), ("test", "lab", "--offline")])
def test_a_test_needs_a_name_and_a_daemon(argv: tuple[str, ...], run: Run) -> None:
    done = run("providers", *argv)
    assert done.status == 64
    assert "providers test NAME" in done.err


@pytest.mark.parametrize("model", ["a", "lab/a"])
def test_a_chat_is_one_short_request_to_that_model(model: str, run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({TEST_CALL: (200, WELL), CHAT_CALL: (200, ANSWER)}), socket_path) as double:
        done = run("providers", "test", "lab", "--model", model)
    assert done.status == 0
    assert "  chat        lab/a, status 200 in" in done.out
    assert "  tokens      3 in, 2 out\n  said        Hello there." in done.out
    _, (*_, body) = double.seen
    assert (body["model"], body["max_tokens"]) == ("lab/a", 16)


def test_a_chat_is_tried_with_a_model_that_is_not_listed_but_the_test_stays_failed(
    run: Run, socket_path: Path
) -> None:
    missing = WELL | {"ok": False, "problem": "models_missing", "missing_models": ["c"], "hint": "load it"}
    with serve(DaemonDouble({TEST_CALL: (200, missing), CHAT_CALL: (200, ANSWER)}), socket_path):
        done = run("providers", "test", "lab", "--model", "c")
    assert done.status == 1
    assert "  missing     c\n  to do       load it\n  chat        lab/c, status 200" in done.out


def test_a_chat_without_a_model_takes_the_first(run: Run, socket_path: Path) -> None:
    listed = {"providers": [{"name": "lab", "models": ["a", "b"]}]}
    answers = {TEST_CALL: (200, WELL), CHAT_CALL: (200, ANSWER), ("GET", PATH): (200, listed)}
    with serve(DaemonDouble(answers), socket_path) as double:
        assert run("providers", "test", "lab", "--chat").status == 0
    assert double.seen[-1][3]["model"] == "lab/a"


def test_a_chat_without_any_model_says_so(run: Run, socket_path: Path) -> None:
    listed = {"providers": [{"name": "lab", "models": []}]}
    with serve(DaemonDouble({TEST_CALL: (200, WELL), ("GET", PATH): (200, listed)}), socket_path):
        done = run("providers", "test", "lab", "--chat")
    assert done.status == 1
    assert "--model" in done.err


@pytest.mark.parametrize(("status", "expected"), [(502, 1), (504, 75)])
def test_a_chat_that_fails_says_why(status: int, expected: int, run: Run, socket_path: Path) -> None:
    answers = {TEST_CALL: (200, WELL), CHAT_CALL: (status, {"error": {"message": "it broke"}})}
    with serve(DaemonDouble(answers), socket_path):
        done = run("providers", "test", "lab", "--model", "a")
    assert done.status == expected
    assert "  said        it broke" in done.out


def test_an_answer_without_text_is_told_as_such(run: Run, socket_path: Path) -> None:
    empty = ANSWER | {"choices": [{"message": {"content": None}}], "usage": None}
    with serve(DaemonDouble({TEST_CALL: (200, WELL), CHAT_CALL: (200, empty)}), socket_path):
        done = run("providers", "test", "lab", "--model", "a")
    assert done.status == 0
    assert "(no text within 16 tokens)" in done.out
    assert "? in, ? out" in done.out


def test_the_help_says_that_a_chat_may_cost_money(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("providers", "-h")
    assert "this may cost money" in capsys.readouterr().out
