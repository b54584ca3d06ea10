from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.failures import bad_answer, failure_of_error, parse_failure
from llmproxyd.values.failure import Failure
from llmproxyd.values.failure import FailureKind as Kind
from tests import wire


def refused(status: int, body: Any = None, **headers: str) -> Failure:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return parse_failure(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.BAD_REQUEST),
        (401, Kind.PROVIDER_DENIED),
        (402, Kind.RATE_LIMITED),
        (403, Kind.PROVIDER_DENIED),
        (404, Kind.MODEL_UNAVAILABLE),
        (405, Kind.BAD_REQUEST),
        (408, Kind.TIMEOUT),
        (409, Kind.OVERLOADED),
        (413, Kind.TOO_LARGE),
        (415, Kind.BAD_REQUEST),
        (417, Kind.OVERLOADED),
        (422, Kind.BAD_REQUEST),
        (424, Kind.OVERLOADED),
        (429, Kind.RATE_LIMITED),
        (500, Kind.OVERLOADED),
        (502, Kind.OVERLOADED),
        (503, Kind.OVERLOADED),
        (504, Kind.TIMEOUT),
        (524, Kind.TIMEOUT),
        (529, Kind.OVERLOADED),
        (302, Kind.BAD_ANSWER),
    ],
)
@pytest.mark.parametrize("body", [None, b"<html>busy</html>", {}, {"error": None}, []])
def test_the_status_decides_where_the_body_says_nothing(status: int, kind: Kind, body: Any) -> None:
    failure = refused(status, body)
    assert (failure.kind, failure.status) == (kind, status)
    assert failure.message


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (
            429,
            {"error": {"type": "insufficient_quota", "code": "credit_balance_exhausted"}},
            Kind.RATE_LIMITED,
            False,
        ),
        (429, {"error": {"type": "insufficient_quota"}}, Kind.RATE_LIMITED, False),
        (429, {"error": {"message": "You exceeded your requests per day"}}, Kind.RATE_LIMITED, False),
        (429, {"error": {"code": "slow_down"}}, Kind.RATE_LIMITED, True),
        (402, {"error": {"code": 402, "message": "credits"}}, Kind.RATE_LIMITED, False),
        (400, {"error": {"code": "context_length_exceeded"}}, Kind.TOO_LARGE, True),
        (
            400,
            {"error": {"message": "This model's maximum context length is 8192 tokens."}},
            Kind.TOO_LARGE,
            True,
        ),
        (400, {"error": {"type": "exceed_context_size_error"}}, Kind.TOO_LARGE, True),
        (500, {"error": "the input length exceeds the context length"}, Kind.TOO_LARGE, True),
        (422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 4096"}, Kind.TOO_LARGE, True),
        (
            400,
            {"error": {"code": "string_above_max_length", "message": "too many tokens"}},
            Kind.BAD_REQUEST,
            True,
        ),
        (400, {"error": {"code": "content_policy_violation"}}, Kind.CONTENT_REFUSED, True),
        (403, {"error": {"code": 403, "metadata": {"flagged_input": "x"}}}, Kind.CONTENT_REFUSED, True),
        (400, {"error": {"code": "model_not_found"}}, Kind.MODEL_UNAVAILABLE, True),
        (400, {"error": "model 'x' does not exist"}, Kind.MODEL_UNAVAILABLE, True),
        (400, {"error": '"x" does not support tools'}, Kind.MODEL_UNAVAILABLE, True),
        (
            400,
            {"code": "invalid-argument", "error": "Incorrect API key provided: sk-a"},
            Kind.PROVIDER_DENIED,
            True,
        ),
        (
            400,
            {"error": {"status": "INVALID_ARGUMENT", "message": "API key not valid."}},
            Kind.PROVIDER_DENIED,
            True,
        ),
        (503, {"error": {"message": "Loading model", "type": "unavailable_error"}}, Kind.OVERLOADED, True),
        (
            400,
            {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400},
            Kind.BAD_REQUEST,
            True,
        ),
        (400, {"detail": "bad"}, Kind.BAD_REQUEST, True),
    ],
)
def test_codes_and_then_words_say_it_better(status: int, body: Any, kind: Kind, retryable: bool) -> None:
    failure = refused(status, body)
    assert (failure.kind, failure.retryable) == (kind, retryable)


@pytest.mark.parametrize(
    ("dialect", "name", "status", "kind", "code", "wait_s"),
    [
        ("openai_chat", "error_429", 429, Kind.RATE_LIMITED, "rate_limit_exceeded", 1.2),
        ("openai_chat", "error_context", 400, Kind.TOO_LARGE, "context_length_exceeded", None),
        ("openai_chat", "azure_error_429", 429, Kind.RATE_LIMITED, "429", 6.0),
        (
            "openai_chat",
            "azure_error_content_filter",
            400,
            Kind.CONTENT_REFUSED,
            "responsibleaipolicyviolation",
            None,
        ),
        (
            "openai_chat",
            "azure_error_404_deployment",
            404,
            Kind.MODEL_UNAVAILABLE,
            "deploymentnotfound",
            None,
        ),
        ("openai_chat", "openrouter_error_429", 429, Kind.RATE_LIMITED, "rate_limit_exceeded", None),
        ("ollama_chat", "error_404", 404, Kind.MODEL_UNAVAILABLE, None, None),
    ],
)
def test_recorded_refusals_are_understood(
    dialect: str, name: str, status: int, kind: Kind, code: str | None, wait_s: float | None
) -> None:
    failure = parse_failure(status, {}, wire.whole(dialect, name))
    assert (failure.kind, failure.code, failure.retry_after_s) == (kind, code, wait_s)


def test_a_daily_limit_that_says_when_to_come_back_may_be_retried() -> None:
    assert refused(429, {"error": {"message": "requests per day"}}, retry_after="3").retryable


def test_the_caller_reads_which_of_its_fields_was_wrong() -> None:
    error = {
        "message": "Unsupported parameter: 'messages[0].content' is odd.",
        "param": "messages[0].content",
    }
    failure = refused(400, {"error": error})
    assert (failure.message, failure.param) == (error["message"], error["param"])


SECRETS = ["sk-abcdef1234567890", "Bearer abcdef123456", "AIzaSyA1234567890", "api key: abcd1234"]
PLACES = [
    "https://gpu7.corp.example/v1?key=x",
    "db.internal:5432",
    "10.0.0.7:8000",
    "localhost:11434",
    "eu.api.vendor.com",
]


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429, 500, 503])
@pytest.mark.parametrize("hidden", SECRETS + PLACES)
def test_the_client_never_sees_keys_addresses_or_hosts(status: int, hidden: str) -> None:
    failure = refused(status, {"error": {"message": f"failed at {hidden} today"}})
    assert hidden not in failure.message


@pytest.mark.parametrize("hidden", SECRETS)
def test_what_a_provider_said_is_kept_apart_and_without_keys(hidden: str) -> None:
    for failure in (refused(500, {"error": f"with {hidden}"}), refused(502, f"with {hidden}".encode())):
        assert hidden not in failure.said
        assert "with" in failure.said
        assert failure.detail == ""
    unread = bad_answer(f"with {hidden}", f"and {hidden}")
    assert hidden not in unread.detail + unread.said


def test_a_long_text_is_cut_and_kept_to_one_line() -> None:
    failure = refused(400, {"error": {"message": "word\n" * 10_000}})
    assert len(failure.message) <= 600
    assert "\n" not in failure.message + failure.said


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "server_error"}, Kind.OVERLOADED),
        ({"code": 502}, Kind.OVERLOADED),
        ({"code": "429"}, Kind.RATE_LIMITED),
        ({"code": "rate_limit_exceeded"}, Kind.RATE_LIMITED),
        ({"type": "invalid_request_error"}, Kind.BAD_REQUEST),
        ({"code": "content_filter"}, Kind.CONTENT_REFUSED),
        ({"type": "timeout"}, Kind.TIMEOUT),
        ("the prompt is too long", Kind.TOO_LARGE),
        ("something broke", Kind.BAD_ANSWER),
        (True, Kind.BAD_ANSWER),
        ({"code": 7, "message": ["x"]}, Kind.BAD_ANSWER),
    ],
)
def test_errors_inside_a_good_status_are_understood(error: Any, kind: Kind) -> None:
    assert failure_of_error(error).kind is kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "type", "message", "metadata", "param", "details"]), inner
        )
    ),
    max_leaves=8,
)


@given(st.integers(100, 599), JSON | st.binary(max_size=60))
def test_nothing_a_provider_sends_raises(status: int, body: Any) -> None:
    failure = refused(status, body)
    assert failure.message
    assert failure.status == status
