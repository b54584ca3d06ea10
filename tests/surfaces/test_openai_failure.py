from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.surfaces.openai_failure import format_failure
from llmproxyd.surfaces.openai_models import format_model, format_models
from llmproxyd.values.failure import Failure
from llmproxyd.values.failure import FailureKind as Kind


def error(kind: Kind, **fields: Any) -> Any:
    return json.loads(format_failure(Failure(kind, "words", detail="for the operator", **fields), "req-7"))[
        "error"
    ]


@pytest.mark.parametrize(
    ("kind", "type_", "code"),
    [
        (Kind.BAD_REQUEST, "invalid_request_error", None),
        (Kind.UNAUTHENTICATED, "authentication_error", "invalid_api_key"),
        (Kind.NOT_FOUND, "invalid_request_error", "model_not_found"),
        (Kind.NO_CANDIDATE, "server_error", "no_candidate"),
        (Kind.PRIVACY_NO_ROUTE, "server_error", "privacy_no_route"),
        (Kind.TOO_LARGE, "invalid_request_error", "context_length_exceeded"),
        (Kind.CONTENT_REFUSED, "invalid_request_error", "content_filter"),
        (Kind.RATE_LIMITED, "rate_limit_error", "rate_limit_exceeded"),
        (Kind.PROVIDER_DENIED, "server_error", "provider_denied"),
        (Kind.MODEL_UNAVAILABLE, "invalid_request_error", "model_not_found"),
    ],
)
def test_type_and_code_go_by_the_kind(kind: Kind, type_: str, code: str | None) -> None:
    assert error(kind) == {"message": "words", "type": type_, "param": None, "code": code}


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_an_answer_without_the_operators_detail(kind: Kind) -> None:
    shown = error(kind)
    assert shown.keys() == {"message", "type", "param", "code"}
    assert "operator" not in json.dumps(shown)


def test_the_callers_mistakes_keep_their_finer_code_and_providers_do_not() -> None:
    wrong = error(Kind.BAD_REQUEST, param="n", code="invalid_type")
    assert (wrong["param"], wrong["code"]) == ("n", "invalid_type")
    assert error(Kind.OVERLOADED, code="whatever_the_provider_says")["code"] == "server_is_overloaded"
    assert error(Kind.TOO_LARGE, code="exceed_context_size_error")["code"] == "context_length_exceeded"


def test_a_fault_of_ours_can_be_reported() -> None:
    assert "req-7" in error(Kind.INTERNAL)["message"]


def test_names_are_listed_as_models() -> None:
    entry = {"id": "openai/gpt", "object": "model", "created": 5, "owned_by": "llmproxyd"}
    assert json.loads(format_models(["openai/gpt"], 5)) == {"object": "list", "data": [entry]}
    assert json.loads(format_model("openai/gpt", 5)) == entry
    assert json.loads(format_models([], 5))["data"] == []
