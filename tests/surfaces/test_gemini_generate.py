from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.surfaces import gemini_generate
from llmproxyd.surfaces.gemini_generate import COUNT, EMBED, GENERATE, STREAM_ARRAY, find_surface
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Capability, Dialect, Embed, Operation, Request
from tests import wire

PATH = "/v1beta/models/gemini-3.8-flash:generateContent"
HELLO: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "hello"}]}]


def parse(document: Any, target: str = PATH) -> Request:
    surface = find_surface(target)
    assert surface is not None
    return surface.parse_request({}, json.dumps(document).encode(), target)


def refusal(document: Any, target: str = PATH) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(document, target)
    return caught.value


def test_the_model_and_the_form_of_answer_are_read_from_the_address() -> None:
    request = parse({"contents": HELLO}, "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse")
    assert (request.model, request.stream, request.operation) == ("gemini-3.8-flash", True, Operation.CHAT)
    assert request.dialect is Dialect.GEMINI_GENERATE
    assert request.surface == "gemini-generate"


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/models/gpt-6:generateContent", "gpt-6"),
        ("/v1alpha/models/gpt-6:generateContent", "gpt-6"),
        ("/v1beta/models/openai/gpt-6:generateContent", "openai/gpt-6"),
        ("/v1beta/models/openai%2Fgpt-6:generateContent", "openai/gpt-6"),
        ("/v1beta/models/ollama%2Fllama3%3A70b:generateContent", "ollama/llama3:70b"),
        ("/v1beta/models/ollama/llama3:70b:generateContent", "ollama/llama3:70b"),
        ("/v1beta/models/models/gpt-6:generateContent", "gpt-6"),
        ("/v1beta/tunedModels/mine-7:generateContent", "tunedModels/mine-7"),
    ],
)
def test_a_models_name_may_hold_slashes_and_colons_plain_or_quoted(path: str, model: str) -> None:
    assert parse({"contents": HELLO}, path).model == model


@pytest.mark.parametrize(
    ("target", "surface"),
    [
        ("/v1/models/m:generateContent", GENERATE),
        ("/v1/models/m:streamGenerateContent?alt=sse", GENERATE),
        ("/v1/models/m:streamGenerateContent?key=k&alt=SSE", GENERATE),
        ("/v1/models/m:streamGenerateContent?%24alt=sse", GENERATE),
        ("/v1/models/m:streamGenerateContent", STREAM_ARRAY),
        ("/v1/models/m:streamGenerateContent?alt=json", STREAM_ARRAY),
        ("/v1/models/m:countTokens", COUNT),
        ("/v1/models/m:embedContent", EMBED),
        ("/v1/models/m:batchEmbedContents", EMBED),
        ("/v1/models/m:predict", None),
        ("/v1/models/m", None),
        ("/v1/chat/completions", None),
        ("/v1/models/" + "m" * 300 + ":generateContent", None),
    ],
)
def test_a_method_has_its_surface(target: str, surface: object) -> None:
    assert find_surface(target) is surface


def test_a_stream_without_sse_is_asked_for_as_an_array_again_where_bytes_pass_through() -> None:
    array = parse({"contents": HELLO}, "/v1/models/m:streamGenerateContent")
    events = parse({"contents": HELLO}, "/v1/models/m:streamGenerateContent?alt=sse")
    assert (array.headers, events.headers) == ({"accept": "application/json"}, {})
    assert STREAM_ARRAY.stream_type == "application/json"
    assert GENERATE.stream_type == "text/event-stream"


def test_an_envelope_holds_what_routing_asks_for() -> None:
    request = parse(
        {
            "contents": [
                {
                    "parts": [
                        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
                        {"inlineData": {"mimeType": "audio/wav", "data": "AA=="}},
                        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.test/a.pdf"}},
                    ]
                }
            ],
            "tools": [{"functionDeclarations": [{"name": "f"}]}],
            "labels": {"team": "blue"},
            "generationConfig": {
                "maxOutputTokens": "64",
                "temperature": 0.5,
                "candidateCount": 2,
                "responseJsonSchema": {"type": "object"},
            },
        }
    )
    assert request.needs == {
        Capability.VISION,
        Capability.AUDIO,
        Capability.FILES,
        Capability.TOOLS,
        Capability.JSON_SCHEMA,
    }
    assert (request.max_output_tokens, request.temperature, request.n) == (64, 0.5, 2)
    assert request.metadata == {"team": "blue"}


def test_snake_case_is_read_like_camel_case_at_every_level() -> None:
    snake = {
        "contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "AA=="}}]}],
        "system_instruction": {"parts": {"text": "Be brief."}},
        "tools": [{"function_declarations": [{"name": "f", "parameters": {"type": "OBJECT", "min_properties": "1"}}]}],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
        "generation_config": {"max_output_tokens": 9, "thinking_config": {"thinking_level": "low", "include_thoughts": True}},
    }  # fmt: skip
    camel = {
        "contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": [
            {"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "minProperties": 1}}]}
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "maxOutputTokens": 9,
            "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
        },
    }
    one, other = parse(snake), parse(camel)
    assert one.needs == other.needs
    assert one.max_output_tokens == other.max_output_tokens == 9
    assert GENERATE.parse_content(one) == GENERATE.parse_content(other)


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ([], None),
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": ["hi"]}, "contents[0]"),
        ({"contents": "hi"}, "contents"),
        ({"contents": HELLO, "generationConfig": {"maxOutputTokens": 0}}, "generationConfig.maxOutputTokens"),
        (
            {"contents": HELLO, "generationConfig": {"maxOutputTokens": "many"}},
            "generationConfig.maxOutputTokens",
        ),
        ({"contents": HELLO, "generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"contents": HELLO, "generationConfig": {"candidateCount": 99}}, "generationConfig.candidateCount"),
        ({"contents": HELLO, "labels": {"a": 1}}, "labels.a"),
        ({"contents": HELLO, "systemInstruction": {}, "system_instruction": {}}, "systemInstruction"),
    ],
)
def test_what_can_never_be_answered_is_refused_and_named(document: Any, param: str | None) -> None:
    assert refusal(document).failure.param == param


@pytest.mark.parametrize("body", [b"", b"{", b'{"contents": NaN}', b"\xff"])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="Invalid JSON payload"):
        GENERATE.parse_request({}, body, PATH)


def test_a_recorded_request_is_understood() -> None:
    body = wire.whole("gemini-generate", "request")
    request = GENERATE.parse_request({}, body, PATH)
    assert request.body is body
    assert request.needs == {Capability.VISION, Capability.TOOLS}


# --- countTokens ------------------------------------------------------------------------------------------------


def test_tokens_are_counted_of_contents_or_of_a_whole_request() -> None:
    path = "/v1beta/models/m:countTokens"
    plain = parse({"contents": HELLO}, path)
    wrapped = parse(
        {
            "generateContentRequest": {
                "model": "models/m",
                "contents": HELLO,
                "systemInstruction": {"parts": [{"text": "x"}]},
            }
        },
        path,
    )
    assert plain.operation is wrapped.operation is Operation.COUNT_TOKENS
    assert len(COUNT.parse_content(plain).messages) == 1  # type: ignore[union-attr]
    assert len(COUNT.parse_content(wrapped).messages) == 2  # type: ignore[union-attr]
    both = {"contents": HELLO, "generateContentRequest": {"contents": HELLO}}
    assert refusal(both, path).failure.param == "generateContentRequest"
    assert refusal({"generateContentRequest": {}}, path).failure.param == "generateContentRequest.contents"


# --- embeddings -------------------------------------------------------------------------------------------------


def entry(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "models/m", "content": {"parts": [{"text": text}]}, **fields}


def embed(document: Any) -> Embed:
    request = parse(document, "/v1beta/models/m:batchEmbedContents")
    content = EMBED.parse_content(request)
    assert isinstance(content, Embed)
    return content


def test_a_batch_of_texts_is_one_canonical_request() -> None:
    fields = {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 256}
    assert embed({"requests": [entry("a", **fields), entry("b", **fields)]}) == Embed(
        ("a", "b"), dimensions=256, input_type="search_query"
    )


def test_a_single_text_is_one_too_and_what_only_gemini_knows_rides_along() -> None:
    assert embed({**entry("a"), "taskType": "SEMANTIC_SIMILARITY", "title": "t"}) == Embed(
        ("a",), extras={Dialect.GEMINI_GENERATE: {"taskType": "SEMANTIC_SIMILARITY", "title": "t"}}
    )


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"requests": [entry("a", taskType="CLUSTERING"), entry("b")]}, "requests[1].taskType"),
        ({"requests": [entry("a"), entry("b", outputDimensionality=3)]}, "requests[1].outputDimensionality"),
        (
            {"requests": [entry("a"), {"content": {"parts": [{"inlineData": {}}]}}]},
            "requests[1].content.parts[0]",
        ),
        ({"requests": [{"content": {"parts": []}}]}, "requests[0].content"),
        ({"requests": [{"model": "models/m"}]}, "requests[0].content"),
        ({"requests": []}, "requests"),
        ({}, "content"),
    ],
)
def test_embeddings_that_cannot_be_carried_are_refused_and_named(document: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        embed(document)
    assert caught.value.failure.param == param


# --- models -----------------------------------------------------------------------------------------------------


def test_the_list_of_models_comes_in_pages() -> None:
    names = ["auto", "openai/gpt-6", "tunedModels/mine"]
    first = json.loads(gemini_generate.format_models(names, "/v1beta/models?pageSize=2"))
    assert [model["name"] for model in first["models"]] == ["models/auto", "models/openai/gpt-6"]
    rest = json.loads(
        gemini_generate.format_models(names, f"/v1beta/models?pageSize=2&pageToken={first['nextPageToken']}")
    )
    assert [model["name"] for model in rest["models"]] == ["tunedModels/mine"]
    assert "nextPageToken" not in rest
    assert json.loads(gemini_generate.format_models([])) == {"models": []}
    with pytest.raises(BadRequest, match="pageToken"):
        gemini_generate.format_models(names, "/v1beta/models?pageToken=x")


def test_a_single_model_is_found_by_its_path() -> None:
    assert gemini_generate.parse_model_path("/v1beta/models/openai%2Fgpt-6?key=k") == "openai/gpt-6"
    assert json.loads(gemini_generate.format_model("openai/gpt-6"))["name"] == "models/openai/gpt-6"
