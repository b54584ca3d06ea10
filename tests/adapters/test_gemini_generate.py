from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.gemini_generate import ADAPTER, format_probe, parse_models, splice_call
from llmproxyd.values.contracts import BadRequest, Call, Listed
from llmproxyd.values.request import NO_OVERRIDES, Dialect, Embed, Operation, Overrides, Request
from llmproxyd.values.snapshot import Probe, Provider
from tests import wire
from tests.adapters.gemini_build import HELLO, PROVIDER, ask, body_of, call_for, deployment, foreign, said

BASE = "https://gemini.example.test/v1beta"
STREAM = "/v1beta/models/alias:streamGenerateContent"


def splice(
    document: dict[str, Any],
    target: str = "/v1beta/models/alias:generateContent",
    upstream: str = "gemini-3.8-flash",
    overrides: Overrides = NO_OVERRIDES,
) -> Call:
    return splice_call(ask(document, target), deployment(upstream), overrides)


def embed(*inputs: Any, **fields: Any) -> Call:
    return ADAPTER.format_call(
        foreign(Operation.EMBEDDING), Embed(inputs, **fields), deployment("embed-2"), NO_OVERRIDES
    )


# --- calls ------------------------------------------------------------------------------------------------------


def test_pitfall_47_the_key_goes_in_a_header_and_never_into_the_address() -> None:
    call = call_for(said())
    assert call.url == f"{BASE}/models/gemini-3.8-flash:generateContent"
    assert call.headers["x-goog-api-key"] == "k-123"
    assert call.headers["accept"] == "application/json"
    assert not call.stream


def test_a_stream_is_asked_for_as_events() -> None:
    call = ADAPTER.format_call(foreign(stream=True), said(), deployment(), NO_OVERRIDES)
    assert call.url == f"{BASE}/models/gemini-3.8-flash:streamGenerateContent?alt=sse"
    assert call.headers["accept"] == "text/event-stream"
    assert call.stream


@pytest.mark.parametrize(
    ("upstream", "path"),
    [
        ("models/gemini-3", "/models/gemini-3"),
        ("tunedModels/mine", "/tunedModels/mine"),
        ("a/b?c#d", "/models/a%2Fb%3Fc%23d"),
        ("../x", "/models/..%2Fx"),
    ],
)
def test_nothing_in_a_models_name_becomes_a_path_of_its_own(upstream: str, path: str) -> None:
    assert call_for(said(), upstream).url == f"{BASE}{path}:generateContent"


def test_tokens_are_counted_with_instructions_and_tools() -> None:
    call = ADAPTER.format_call(foreign(Operation.COUNT_TOKENS), said(), deployment(), NO_OVERRIDES)
    assert call.url.endswith("/models/gemini-3.8-flash:countTokens")
    assert body_of(call) == {
        "generateContentRequest": {"model": "models/gemini-3.8-flash", "contents": HELLO}
    }


def test_texts_are_embedded_in_one_batch() -> None:
    call = embed("a", "b", dimensions=256, input_type="search_query", user="ann")
    assert call.url == f"{BASE}/models/embed-2:batchEmbedContents"
    fields = {"model": "models/embed-2", "outputDimensionality": 256, "taskType": "RETRIEVAL_QUERY"}
    assert body_of(call) == {
        "requests": [{**fields, "content": {"parts": [{"text": text}]}} for text in ("a", "b")]
    }
    assert call.warnings == ("user: not carried to gemini-generate",)


def test_pitfall_48_token_ids_cannot_be_embedded_and_unknown_types_are_named() -> None:
    with pytest.raises(BadRequest) as caught:
        embed("a", (1, 2))
    assert caught.value.failure.param == "input[1]"
    assert embed("a", input_type="image").warnings == ("input_type: not carried to gemini-generate",)


def test_what_only_other_dialects_know_of_embedding_is_named() -> None:
    extras = {Dialect.OLLAMA_CHAT: {"truncate": False}, Dialect.GEMINI_GENERATE: {"title": "t"}}
    call = embed("a", user="ann", extras=extras)
    assert body_of(call)["requests"][0]["title"] == "t"
    assert call.warnings == (
        "truncate: not carried to gemini-generate",
        "user: not carried to gemini-generate",
    )


# --- the client's own bytes -------------------------------------------------------------------------------------


def test_pitfall_41_the_clients_own_bytes_go_out_untouched() -> None:
    body = wire.whole("gemini-generate", "request")
    request = Request(
        Operation.CHAT, Dialect.GEMINI_GENERATE, "gemini-generate", "alias", False, body, json.loads(body)
    )
    call = splice_call(request, deployment(), NO_OVERRIDES)
    assert call.body is body
    assert call.url == f"{BASE}/models/gemini-3.8-flash:generateContent"
    assert call.headers["x-goog-api-key"] == "k-123"


@pytest.mark.parametrize(
    ("query", "suffix", "accept"),
    [("?alt=sse", "?alt=sse", "text/event-stream"), ("", "", "application/json")],
)
def test_the_form_of_the_stream_is_the_clients(query: str, suffix: str, accept: str) -> None:
    call = splice({"contents": HELLO}, STREAM + query)
    assert call.url == f"{BASE}/models/gemini-3.8-flash:streamGenerateContent{suffix}"
    assert call.headers["accept"] == accept
    assert call.stream


@pytest.mark.parametrize(
    ("target", "document", "expected"),
    [
        (
            "generateContent",
            {"model": "models/alias", "contents": HELLO},
            {"model": "models/up", "contents": HELLO},
        ),
        (
            "countTokens",
            {"generate_content_request": {"model": "models/alias", "contents": HELLO}},
            {"generate_content_request": {"model": "models/up", "contents": HELLO}},
        ),
        ("countTokens", {"contents": HELLO}, {"contents": HELLO}),
        ("embedContent", {"content": HELLO[0]}, {"content": HELLO[0]}),
        (
            "batchEmbedContents",
            {"requests": [{"model": "models/alias", "content": HELLO[0]}]},
            {"requests": [{"model": "models/up", "content": HELLO[0]}]},
        ),
    ],
)
def test_a_body_that_names_the_model_gets_the_one_of_the_address(
    target: str, document: Any, expected: Any
) -> None:
    call = splice(document, f"/v1beta/models/alias:{target}", "up")
    assert body_of(call) == expected
    assert call.url == f"{BASE}/models/up:{target}"


def test_a_rules_wishes_replace_the_clients_however_they_are_spelt() -> None:
    overrides = Overrides(temperature=0.1, max_tokens=9, effort="low")
    document = {
        "contents": HELLO,
        "generation_config": {
            "max_output_tokens": 99,
            "topP": 0.5,
            "thinking_config": {"thinking_budget": 5, "include_thoughts": True},
        },
    }
    assert body_of(splice(document, overrides=overrides))["generation_config"] == {
        "topP": 0.5,
        "temperature": 0.1,
        "maxOutputTokens": 9,
        "thinkingConfig": {"include_thoughts": True, "thinkingLevel": "LOW"},
    }
    assert body_of(splice({"contents": HELLO}, overrides=Overrides(seed=3)))["generationConfig"] == {
        "seed": 3
    }


def test_an_effort_that_the_model_cannot_take_is_named() -> None:
    call = splice({"contents": HELLO}, upstream="gemini-2.0-flash", overrides=Overrides(effort="high"))
    assert call.warnings == ("reasoning effort: not carried to gemini-generate",)
    assert body_of(call)["generationConfig"] == {}


def test_a_second_attempt_is_formatted_from_the_same_request() -> None:
    request = ask({"model": "models/alias", "contents": HELLO, "generationConfig": {"seed": 1}})
    first = splice_call(request, deployment("a"), Overrides(seed=2))
    assert splice_call(request, deployment("a"), Overrides(seed=2)) == first
    assert request.document["generationConfig"] == {"seed": 1}


# --- probes and models ------------------------------------------------------------------------------------------


def test_the_probe_is_free_and_can_be_set() -> None:
    assert format_probe(PROVIDER).url == f"{BASE}/models?pageSize=1"
    fields = {name: getattr(PROVIDER, name) for name in PROVIDER.__struct_fields__}
    own = Provider(**fields | {"probe": Probe("/models?pageSize=1000", lists_models=True)})
    call = format_probe(own)
    assert (call.method, call.url) == ("GET", f"{BASE}/models?pageSize=1000")
    assert call.headers["x-goog-api-key"] == "k-123"


def test_a_list_of_models_is_read() -> None:
    assert parse_models(wire.whole("gemini-generate", "models")) == (Listed("gemini-3.8-flash", 1048576),)
    listed = {
        "models": [
            {"name": "models/embed-2", "supportedGenerationMethods": ["embedContent"], "inputTokenLimit": 0},
            {"name": "models/imagen-9", "supportedGenerationMethods": ["predict"]},
            {"name": "tunedModels/mine"},
            {"name": 7},
            "x",
        ]
    }
    assert parse_models(json.dumps(listed).encode()) == (
        Listed("embed-2", embeds=True),
        Listed("tunedModels/mine"),
    )


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"models": 7}', b"<html>"])
def test_what_is_no_list_of_models_raises(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse_models(body)
