"""What a test of a provider says: the state of things, and the words that tell an operator what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.presets import PRESETS
from llmproxyd.exchange.probe import Asked
from llmproxyd.server.diagnosis import (
    MAX_NAMES,
    describe_idle,
    describe_test,
    free_probes,
    missing_models,
)
from llmproxyd.server.trial import TEST_PATH, unknown_provider
from llmproxyd.state.registry import Registry
from llmproxyd.values.contracts import Listed
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Credential, Deployment, Place, Probe, Provider
from tests.server.values import CANARY, deployment, provider, snapshot
from tests.support.records import replace

OPENAI = provider("openai", place=Place("providers.yaml", 3, 3))
LOCAL = provider("vllm", secret=None, keyless=True, base_url="http://localhost:8000/v1")


def failed(kind: FailureKind, detail: str, status: int | None = None) -> Asked:
    ours, theirs = (detail, "") if status is None else ("", detail)
    failure = Failure(kind, "it failed", detail=ours, said=theirs, status=status)
    return Asked(False, detail, status=status, failure=failure)


def told(asked: Asked, owner: Provider = OPENAI, *deployments: Deployment) -> dict[str, Any]:
    current = snapshot(*deployments, more=(owner,))
    [report] = [r for r in Registry().report(current, 0.0, 0.0) if r.name == owner.name]
    document = describe_test(report, owner, deployments, asked)
    json.dumps(document, allow_nan=False)
    return document


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        pytest.param(
            failed(FailureKind.UNREACHABLE, "ClientConnectorError: Connection refused"),
            ["nothing listens at https://openai.example/v1", "is the server running?", "providers.yaml:3:3"],
            id="refused",
        ),
        pytest.param(
            failed(FailureKind.UNREACHABLE, "name resolution failed: Name or service not known"),
            ["https://openai.example/v1 is not known", "DNS", "`endpoint`"],
            id="no such host",
        ),
        pytest.param(
            failed(FailureKind.UNREACHABLE, "ClientConnectorCertificateError: certificate verify failed"),
            ["certificate", "not trusted", "SSL_CERT_FILE"],
            id="certificate",
        ),
        pytest.param(
            failed(FailureKind.UNREACHABLE, "ClientConnectorSSLError: [SSL: WRONG_VERSION_NUMBER]"),
            ["does not speak TLS", "http:// or https://"],
            id="no TLS",
        ),
        pytest.param(
            failed(FailureKind.UNREACHABLE, "OSError: No route to host"),
            ["cannot be reached", "No route to host", "network"],
            id="no route",
        ),
        pytest.param(
            failed(FailureKind.TIMEOUT, "no connection within 2 s"),
            ["did not answer in time", "firewall"],
            id="silence",
        ),
        pytest.param(
            failed(FailureKind.BAD_ANSWER, "BadStatusLine"),
            ["is no such server", "BadStatusLine"],
            id="no HTTP",
        ),
        pytest.param(
            failed(FailureKind.PROVIDER_DENIED, "bad key", 401),
            ["the key was refused (status 401)", "set OPENAI_API_KEY or `api_key` (providers.yaml:3:3)"],
            id="401",
        ),
        pytest.param(
            failed(FailureKind.PROVIDER_DENIED, "no scope", 403), ["may not do this", "permission"], id="403"
        ),
        pytest.param(
            failed(FailureKind.PROVIDER_DENIED, "Incorrect API key", 400),
            ["the key was refused (status 400)"],
            id="400 for a key",
        ),
        pytest.param(
            failed(FailureKind.MODEL_UNAVAILABLE, "Not Found", 404),
            ["nothing is served at that path", "https://HOST/v1"],
            id="404",
        ),
        pytest.param(failed(FailureKind.RATE_LIMITED, "", 429), ["limit", "quota"], id="429"),
        pytest.param(failed(FailureKind.OVERLOADED, "loading", 503), ["still loading", "log"], id="503"),
        pytest.param(
            failed(FailureKind.BAD_ANSWER, "", 307), ["sends us elsewhere", "final address"], id="307"
        ),
        pytest.param(failed(FailureKind.BAD_REQUEST, "what?", 418), ["refused a plain request"], id="418"),
        pytest.param(
            failed(FailureKind.BAD_ANSWER, "the list of models cannot be read", 200),
            ["cannot be read", "right server"],
            id="no list",
        ),
        pytest.param(Asked(False, "this version does not speak x"), ["does not speak x"], id="no adapter"),
    ],
)
def test_every_fault_says_what_to_do(asked: Asked, words: list[str]) -> None:
    document = told(asked)
    assert [word for word in words if word not in document["hint"]] == [], document["hint"]
    assert document["ok"] is False
    assert document["problem"] is not None


@pytest.mark.parametrize(
    ("asked", "reachable", "authorised"),
    [
        (Asked(True, status=200), True, True),
        (failed(FailureKind.PROVIDER_DENIED, "", 401), True, False),
        (failed(FailureKind.PROVIDER_DENIED, "", 400), True, False),
        (failed(FailureKind.OVERLOADED, "", 503), True, None),
        (failed(FailureKind.TIMEOUT, ""), False, None),
        (failed(FailureKind.UNREACHABLE, "refused"), False, None),
        (failed(FailureKind.BAD_ANSWER, ""), True, None),
    ],
)
def test_reachable_and_authorised_are_only_said_where_something_tells(
    asked: Asked, reachable: bool, authorised: bool | None
) -> None:
    document = told(asked)
    assert (document["reachable"], document["authorised"]) == (reachable, authorised)


def test_a_server_that_was_shown_no_key_has_not_accepted_one() -> None:
    assert told(Asked(True, status=200), LOCAL)["authorised"] is None
    with_header = replace(LOCAL, headers={"x-key": Secret("s3cr3t")})
    assert told(Asked(True, status=200), with_header)["authorised"] is True


def test_a_server_that_wants_a_key_and_got_none_is_told_so() -> None:
    hint = told(failed(FailureKind.PROVIDER_DENIED, "", 401), LOCAL)["hint"]
    assert hint.startswith("the server wants a key (status 401): set VLLM_API_KEY or `api_key`")


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from([400, 401, 403, 404, 429, 500, None]))
def test_no_secret_is_ever_repeated(before: str, after: str, status: int | None) -> None:
    owner = replace(OPENAI, headers={"x-other": Secret("other-canary-99")})
    asked = failed(FailureKind.UNREACHABLE, f"{before}{CANARY}{after} other-canary-99", status)
    text = json.dumps(told(asked, owner), ensure_ascii=False)
    assert CANARY not in text
    assert "other-canary-99" not in text


def test_a_secret_that_is_cut_at_the_end_of_the_text_is_hidden_too() -> None:
    asked = failed(FailureKind.PROVIDER_DENIED, "x" * 195 + CANARY, 401)
    assert CANARY[:5] not in told(asked)["hint"]


def test_models_are_counted_and_only_some_named() -> None:
    listed = tuple(Listed(f"m{n}") for n in range(50))
    found = told(Asked(True, status=200, models=listed))["models_found"]
    assert found["count"] == 50
    assert found["names"] == [f"m{n}" for n in range(MAX_NAMES)]
    assert told(Asked(True, status=200))["models_found"] is None


def test_a_configured_model_that_is_not_listed_is_a_problem() -> None:
    here, gone = deployment(OPENAI, "m"), deployment(OPENAI, "gone")
    document = told(Asked(True, status=200, models=(Listed("m"),)), OPENAI, here, gone)
    assert (document["ok"], document["problem"], document["missing_models"]) == (
        False,
        "models_missing",
        ["gone"],
    )
    assert "`gone`" in document["hint"]


def test_no_key_of_several_is_repeated() -> None:
    keys = (Credential(Secret(CANARY), "first"), Credential(Secret("other-canary-99"), "second"))
    owner = provider("openai", credentials=keys)
    asked = failed(FailureKind.UNREACHABLE, "you sent other-canary-99", None)
    assert "canary" not in told(asked, owner)["hint"]


@pytest.mark.parametrize(
    ("wanted", "listed"),
    [
        ("claude-x-5", "claude-x-5-20260101"),
        ("gpt-x-2026-01-01", "gpt-x"),
        ("llama3", "llama3:latest"),
        ("command-latest", "command"),
    ],
)
def test_a_date_or_latest_makes_no_other_model(wanted: str, listed: str) -> None:
    assert missing_models([deployment(OPENAI, wanted)], [Listed(listed)]) == ()


def test_another_size_is_another_model() -> None:
    assert missing_models([deployment(OPENAI, "gpt-x-mini")], [Listed("gpt-x")]) == ("gpt-x-mini",)


def test_who_cannot_be_asked_is_told_what_is_missing() -> None:
    bare = provider("anthropic", configured=False, reason="set ANTHROPIC_API_KEY or api_key", secret=None)
    off = provider("xai", enabled=False, place=Place("providers.yaml", 9, 3))
    current = snapshot(more=(bare, off))
    first, second = Registry().report(current, 0.0, 0.0)
    assert describe_idle(first, bare)["hint"] == "set ANTHROPIC_API_KEY or api_key (provider `anthropic`)"
    document = describe_idle(second, off)
    assert (document["ok"], document["problem"], document["reachable"]) == (False, "disabled", None)
    assert document["hint"] == "delete `enabled: false` of `xai` (providers.yaml:9:3)"


@pytest.mark.parametrize(
    ("preset", "paths"),
    [
        ("openai", ["/models"]),
        ("anthropic", ["/models?limit=1000"]),
        ("gemini", ["/models?pageSize=1000"]),
        ("openrouter", ["/key", "/models"]),
        ("ollama", ["/api/tags"]),
        ("azure", ["/models"]),
        ("mock", []),
    ],
)
def test_only_free_requests_are_made_and_one_where_one_will_do(preset: str, paths: list[str]) -> None:
    for probe in {PRESETS[preset].probe, PRESETS[preset].listing} - ({None} if paths else set()):
        assert [p.path for p in free_probes(provider(preset, probe=probe))] == paths


def test_a_probe_of_its_own_is_kept() -> None:
    dated = Probe("/openai/models")
    assert free_probes(provider("azure", probe=dated, api_version="2024-10-21")) == (dated,)


def test_an_unknown_name_is_answered_with_the_one_that_was_meant() -> None:
    known = {"openai": OPENAI, "vllm": LOCAL}
    assert "Did you mean `openai`?" in unknown_provider("opnai", known)["error"]["message"]
    assert "There are: openai, vllm." in unknown_provider("zzz" * 500, known)["error"]["message"]
    assert len(unknown_provider("z" * 400, known)["error"]["message"]) < 200


@pytest.mark.parametrize(
    "path", ["/admin/v1/providers//test", "/admin/v1/providers/a/b/test", "/admin/v1/providers/a"]
)
def test_other_paths_are_no_tests(path: str) -> None:
    assert TEST_PATH.fullmatch(path) is None
