"""`llmproxyd providers`: the daemon's figures as a table, or what the files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.commands.providers import PATH
from llmproxyd.commands.providers_text import age, format_provider, format_providers, share
from llmproxyd.exchange.line import LineReport
from llmproxyd.server.providers_view import providers_status
from llmproxyd.state.report import CredentialReport
from llmproxyd.state.uptime import Shares
from llmproxyd.values.request import Priority
from llmproxyd.values.snapshot import Limits, Snapshot
from tests.commands.conftest import Run
from tests.commands.daemon_double import DaemonDouble, serve
from tests.server.values import deployment_report, provider, provider_report

NOW_S = 1_767_225_660.25  # a minute after the last success
OPENAI = provider_report(
    "openai",
    requests=200,
    successes=199,
    failures=1,
    success_rate=0.995,
    mean_response_s=1.234,
    mean_first_content_s=0.3,
    last_checked_s=NOW_S,
    last_success_s=1_767_225_600.25,
    last_failure_s=1_767_139_200.0,
    in_flight=2,
    uptime=Shares(1.0, 0.9999, 0.995),
    models=("big", "small"),
    credentials=(
        CredentialReport("${env:OPENAI_API_KEY}", "ready", None, ""),
        CredentialReport("${env:SECOND}", "quarantined", 1_767_225_900.0, "renew it at openai"),
    ),
    deployments=(
        deployment_report("openai/big", success_rate=1.0, mean_total_s=1.2, uptime=Shares(1.0, 1.0, 1.0)),
        deployment_report(
            "openai/small",
            breaker="open",
            cause="timeout",
            ready_in_s=12.4,
            consecutive_failures=3,
            help="look at the server's log, and raise `first_token` if its model needs longer to load than that",
        ),
    ),
)
BARE = provider_report(
    "anthropic", state="not configured", reason="set ANTHROPIC_API_KEY or api_key", models=()
)
FILES = Snapshot(
    "h",
    {"openai": provider("openai", limits=Limits(requests_per_minute=60, concurrency=8))},
    (),
    {},
    (),
    default_provider="openai",
)
NOBODY = dict.fromkeys(Priority, 0)
LINE = LineReport("openai", NOBODY | {Priority.NORMAL: 3, Priority.BATCH: 2}, NOBODY, 8, 8)
DOCUMENT = providers_status((OPENAI, BARE), FILES, (LINE,))


def test_a_table_what_is_wrong_and_the_list_of_those_that_answer(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({("GET", PATH): (200, DOCUMENT)}), socket_path):
        done = run("providers", wall_s=NOW_S)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "default provider: openai",
        "",
        "NAME       STATE           REQUESTS  SUCCESS    MEAN  UP 1H  BUSY  LAST OK    LAST FAILURE",
        "openai     available            200    99.5%  1.23 s  99.9%     2  1 min ago  1 d ago",
        "    key ${env:SECOND} is quarantined until 2026-01-01T00:05:00Z: renew it at openai",
        "    openai/small is not called (timeout); next call in 12 s. To do: look at the server's log, and",
        "    raise `first_token` if its model needs longer to load than that",
        "    in line: 3 normal, 2 batch",
        "anthropic  not configured         0        -       -      -     0  -          -",
        "    set ANTHROPIC_API_KEY or api_key",
        "",
        "available: openai",
    ]


def test_one_provider_in_full(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({("GET", PATH): (200, DOCUMENT)}), socket_path):
        done = run("providers", "openai", wall_s=NOW_S)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "openai: available",
        "  requests    200, 99.5% good, 2 under way",
        "  time        0.30 s to the first content, 1.23 s in all, on average",
        "  up          100% in 5m, 99.9% in 1h, 99.5% in 24h",
        "  last        checked now, success 1 min ago, failure 1 d ago",
        "  limits      60 requests a minute, 8 calls at a time",
        "  waiting     3 normal, 2 batch",
        "  key         ${env:OPENAI_API_KEY} is ready",
        "  key         ${env:SECOND} is quarantined until 2026-01-01T00:05:00Z: renew it at openai",
        "",
        "MODEL  BREAKER  SUCCESS  IN A ROW  FIRST    MEAN  UP 1H  BUSY  LAST OK",
        "big    closed      100%         0      -  1.20 s   100%     0  -",
        "small  open           -         3      -       -      -     0  -",
        "    openai/small is not called (timeout); next call in 12 s. To do: look at the server's log, and",
        "    raise `first_token` if its model needs longer to load than that",
    ]


def test_one_provider_in_json_is_its_entry(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({("GET", PATH): (200, DOCUMENT)}), socket_path):
        done = run("providers", "openai", "--json")
    assert json.loads(done.out) == DOCUMENT["providers"][0]


def test_a_name_that_is_not_there_is_66_with_the_one_that_was_meant(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({("GET", PATH): (200, DOCUMENT)}), socket_path):
        near, far = run("providers", "opnai"), run("providers", "nobody")
    assert (near.status, near.out) == (66, "")
    assert "did you mean `openai`?" in near.err
    assert "there are: openai, anthropic" in far.err


@pytest.mark.parametrize("state", ["open", "cooling", "half_open", "recovering"])
def test_every_state_of_a_breaker_is_told_within_100_columns(state: str) -> None:
    ill = deployment_report("openai/" + "x" * 30, breaker=state, cause="bad_answer", help="do this " * 30)
    document = providers_status((provider_report("openai", deployments=(ill,)),), FILES)
    for text in (format_providers(document, NOW_S), format_provider(document["providers"][0], NOW_S)):
        assert f"openai/{'x' * 30} " in text
        assert max(map(len, text.splitlines())) <= 100


def test_a_failing_provider_says_why_once() -> None:
    ill = deployment_report("openai/big", breaker="open", cause="timeout", help="wait")
    report = provider_report("openai", state="failing", reason="timeout; wait", deployments=(ill,))
    text = format_providers(providers_status((report,), FILES), NOW_S)
    assert text.count("wait") == 1


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    report = provider_report("openai", state="failing", reason="it said \x1b[31m")
    document = providers_status((report,), FILES)
    for text in (format_providers(document, NOW_S), format_provider(document["providers"][0], NOW_S)):
        assert "\x1b" not in text


@pytest.mark.parametrize(
    ("part", "told"),
    [(None, "-"), (1.0, "100%"), (0.99999, "99.9%"), (0.5, "50.0%"), (0.0001, "0.1%"), (0.0, "0%")],
)
def test_a_share_is_never_rounded_up_to_all(part: float | None, told: str) -> None:
    assert share(part) == told


@pytest.mark.parametrize(
    ("ago_s", "told"),
    [
        (-5, "now"),
        (0.5, "now"),
        (59, "59 s ago"),
        (3599, "59 min ago"),
        (86_399, "23 h ago"),
        (900_000, "10 d ago"),
    ],
)
def test_an_age_is_told_in_its_largest_unit(ago_s: float, told: str) -> None:
    assert age("2026-01-01T00:01:00.250Z", NOW_S + ago_s) == told


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
    assert "\n    set ANTHROPIC_API_KEY or api_key\n" in done.out
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


@pytest.mark.parametrize(
    "argv",
    [
        ("test",),
        ("test", "lab", "more"),
        ("lab", "--chat"),
        ("--chat",),
        ("--model", "m"),
        ("test", "lab", "--offline"),
    ],
)
def test_a_test_needs_a_name_and_a_daemon(argv: tuple[str, ...], run: Run) -> None:
    done = run("providers", *argv)
    assert done.status == 64
    assert "providers test NAME" in done.err


def test_one_provider_at_a_time_is_shown(run: Run) -> None:
    done = run("providers", "lab", "more")
    assert (done.status, done.out) == (64, "")
    assert "one provider at a time" in done.err


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
