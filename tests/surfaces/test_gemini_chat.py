from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.surfaces.gemini_chat import parse_chat
from llmproxyd.surfaces.gemini_schema import parse_schema
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Audio,
    Chat,
    Dialect,
    File,
    Image,
    Message,
    OutputFormat,
    Part,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests import wire

GEMINI = Dialect.GEMINI_GENERATE
HELLO: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "hello"}]}]


def chat(contents: Any = HELLO, **fields: Any) -> Chat:
    return parse_chat({"contents": contents, **fields})


def parts(*wire_parts: dict[str, Any], role: str = "user") -> tuple[Part, ...]:
    (message,) = chat([{"role": role, "parts": list(wire_parts)}]).messages
    return message.parts


def param_of(**fields: Any) -> str | None:
    with pytest.raises(BadRequest) as caught:
        chat(**fields)
    return caught.value.failure.param


def test_a_recorded_request_becomes_a_conversation() -> None:
    read = parse_chat(json.loads(wire.whole("gemini-generate", "request")))
    assert [message.role for message in read.messages] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL]
    assert read.messages[2].parts == (
        ToolCall("fc-1", "get_weather", '{"city":"Łódź"}', signature="b3BhcXVlLXRob3VnaHQ="),
    )
    assert read.messages[3].parts == (ToolResult("fc-1", (Text('{"output":{"temp_c":7}}'),), "get_weather"),)
    assert read.tool_choice == ToolChoice("auto")
    assert read.sampling == Sampling(
        temperature=1.0, top_p=0.95, top_k=40, max_tokens=512, stop=("###",), seed=7, n=1
    )
    assert read.effort == "low"
    assert read.extras[GEMINI] == {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
    }


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"text": "hi"}, (Text("hi"),)),
        ({"text": ""}, ()),
        ({"text": "hm", "thought": True}, (Thinking("hm", origin=GEMINI),)),
        ({"text": "hm", "thought": True, "thoughtSignature": "s"}, (Thinking("hm", "s", origin=GEMINI),)),
        ({"text": "hi", "thoughtSignature": "s"}, (Text("hi"), Thinking("", "s", origin=GEMINI))),
        ({"text": "", "thoughtSignature": "s"}, (Thinking("", "s", origin=GEMINI),)),
        ({"thoughtSignature": "s"}, (Thinking("", "s", origin=GEMINI),)),
        ({"inlineData": {"mimeType": "image/png", "data": "AA"}}, (Image("AA", "image/png"),)),
        # Google's own client writes the alphabet for URLs, which nobody else reads.
        ({"inlineData": {"mimeType": "image/png", "data": "-_8="}}, (Image("+/8=", "image/png"),)),
        (
            {
                "inlineData": {"mimeType": "image/png", "data": "AA"},
                "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
            },
            (Image("AA", "image/png", detail="low"),),
        ),
        ({"inlineData": {"mimeType": "audio/mpeg", "data": "AA"}}, (Audio("AA", "mp3"),)),
        ({"inlineData": {"mimeType": "audio/x-wav;rate=8000", "data": "AA"}}, (Audio("AA", "wav"),)),
        ({"inlineData": {"mimeType": "application/pdf", "data": "AA"}}, (File("AA", "application/pdf"),)),
        ({"inlineData": {"mimeType": "video/mp4", "data": "AA"}}, (File("AA", "video/mp4"),)),
        (
            {"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a.png"}},
            (Image(url="https://x.test/a.png", media_type="image/png"),),
        ),
        ({"fileData": {"fileUri": "https://x.test/a"}}, (File(url="https://x.test/a"),)),
    ],
)
def test_a_part_has_its_canonical_form(part: dict[str, Any], expected: tuple[Part, ...]) -> None:
    assert parts(part) == expected


def test_calls_without_ids_get_one_from_their_place_and_responses_find_them_by_name() -> None:
    contents = [
        {"role": "user", "parts": [{"text": "?"}]},
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {"a": 1}}},
                {"functionCall": {"name": "g"}},
                {"functionCall": {"name": "f", "args": {"a": 2}}},
            ],
        },
        {
            "role": "function",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"output": "first"}}},
                {"functionResponse": {"name": "f", "response": {"output": "second"}}},
                {"functionResponse": {"name": "g", "response": {"error": "broken"}}},
            ],
        },
    ]
    calls, results = chat(contents).messages[1:]
    assert [call.id for call in calls.parts if isinstance(call, ToolCall)] == [
        "call_1_0",
        "call_1_1",
        "call_1_2",
    ]
    assert results.role is Role.TOOL
    assert results.parts == (
        ToolResult("call_1_0", (Text("first"),), "f"),
        ToolResult("call_1_2", (Text("second"),), "f"),
        ToolResult("call_1_1", (Text("broken"),), "g", is_error=True),
    )
    longer = [*contents, {"role": "model", "parts": [{"text": "done"}]}]
    assert chat(longer).messages[1] == calls, "the same call has the same id in every turn"


def test_results_stand_before_what_else_the_user_says() -> None:
    contents = [
        {"role": "model", "parts": [{"functionCall": {"id": "1", "name": "f"}}]},
        {"parts": [{"text": "and?"}, {"functionResponse": {"id": "1", "name": "f", "response": {"x": 1}}}]},
    ]
    assert chat(contents).messages[1:] == (
        Message(Role.TOOL, (ToolResult("1", (Text('{"x":1}'),), "f"),)),
        Message(Role.USER, (Text("and?"),)),
    )


def test_a_response_may_hold_images() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "AA"}}
    (result,) = parts({"functionResponse": {"name": "f", "response": {}, "parts": [image]}})
    assert result == ToolResult("call_0_0", (Image("AA", "image/png"),), "f")


@pytest.mark.parametrize(
    ("contents", "param"),
    [
        ([{"role": "system", "parts": []}], "contents[0].role"),
        ([{"parts": [{"text": 1}]}], "contents[0].parts[0].text"),
        ([{"parts": [{}]}], "contents[0].parts[0].text"),
        ([{"parts": [{"hologram": {}}]}], "contents[0].parts[0].hologram"),
        (
            [{"parts": [{"text": "a", "inlineData": {"mimeType": "a/b", "data": "A"}}]}],
            "contents[0].parts[0]",
        ),
        ([{"parts": [{"inlineData": {"data": "AA"}}]}], "contents[0].parts[0].inlineData.mimeType"),
        ([{"parts": [{"functionCall": {}}]}], "contents[0].parts[0].functionCall.name"),
        (
            [{"parts": [{"functionCall": {"name": "f", "args": []}}]}],
            "contents[0].parts[0].functionCall.args",
        ),
        ([{"parts": [{"executableCode": {"code": "1"}}]}], "contents[0].parts[0].executableCode"),
        (
            [{"parts": [{"fileData": {"fileUri": "u"}, "videoMetadata": {"fps": 1}}]}],
            "contents[0].parts[0].videoMetadata",
        ),
    ],
)
def test_a_part_that_cannot_be_carried_is_named(contents: Any, param: str) -> None:
    assert param_of(contents=contents) == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"cachedContent": "cachedContents/1"}, "cachedContent"),
        (
            {"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}},
            "generationConfig.responseModalities",
        ),
        ({"generationConfig": {"continuationToken": "t"}}, "generationConfig.continuationToken"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
        (
            {"generationConfig": {"responseSchema": {}, "responseJsonSchema": {}}},
            "generationConfig.responseJsonSchema",
        ),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction.parts[0]"),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"items": {"type": 1}}}]}]},
            "tools[0].functionDeclarations[0].parameters.items.type",
        ),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert param_of(**fields) == param


@pytest.mark.parametrize(
    ("config", "expected", "kept"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto"), None),
        ({"mode": "none"}, ToolChoice("none"), None),
        ({"mode": "ANY"}, ToolChoice("required"), None),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("named", ("f",)), None),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, ToolChoice("required", ("f", "g")), None),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ToolChoice("auto", ("f",)), None),
        ({"mode": "VALIDATED"}, None, {"functionCallingConfig": {"mode": "VALIDATED"}}),
        ({"mode": "MODE_UNSPECIFIED"}, None, None),
    ],
)
def test_every_mode_of_calling_has_its_choice(config: Any, expected: Any, kept: Any) -> None:
    read = chat(toolConfig={"functionCallingConfig": config})
    assert read.tool_choice == expected
    assert read.extras.get(GEMINI, {}).get("toolConfig") == kept


def test_googles_own_tools_stay_whole() -> None:
    read = chat(tools=[{"googleSearch": {}, "functionDeclarations": [{"name": "f", "behavior": "BLOCKING"}]}])
    assert read.tools == (
        Tool("f", raw={"behavior": "BLOCKING"}),
        Tool("googleSearch", kind="googleSearch", raw={"googleSearch": {}}),
    )


@pytest.mark.parametrize(
    ("config", "effort", "budget", "kept"),
    [
        ({"thinkingLevel": "XHIGH"}, "xhigh", None, None),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None, None, None),
        ({"thinkingBudget": 0}, None, 0, None),
        ({"thinkingBudget": 2048, "includeThoughts": False}, None, 2048, {"includeThoughts": False}),
        ({"thinkingBudget": -1}, None, None, {"thinkingBudget": -1}),
    ],
)
def test_thinking_is_read_as_effort_or_budget(config: Any, effort: Any, budget: Any, kept: Any) -> None:
    read = chat(generationConfig={"thinkingConfig": config})
    assert (read.effort, read.thinking_budget) == (effort, budget)
    own = read.extras.get(GEMINI, {}).get("generationConfig", {}).get("thinkingConfig")
    assert own == kept


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"responseMimeType": "text/plain"}, OutputFormat("text")),
        ({"responseMimeType": "application/json"}, OutputFormat("json_object")),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
            OutputFormat("json_schema", {"type": "object"}),
        ),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "STRING", "nullable": True}},
            OutputFormat("json_schema", {"type": ["string", "null"]}),
        ),
    ],
)
def test_the_form_of_the_answer_is_read(config: Any, expected: Any) -> None:
    assert chat(generationConfig=config).output_format == expected


def test_a_tier_of_service_has_its_common_name() -> None:
    assert [chat(serviceTier=tier).service_tier for tier in ("standard", "FLEX", "unspecified")] == [
        "default",
        "flex",
        None,
    ]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "OBJECT", "properties": {"snake_name": {"type": "STRING"}}}, {"type": "object", "properties": {"snake_name": {"type": "string"}}}),
        ({"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "2"}, {"type": "array", "items": {"type": "integer"}, "minItems": 2}),
        ({"type": "STRING", "format": "enum", "enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
        ({"type": "INTEGER", "enum": ["1", "2"]}, {"type": "integer", "enum": [1, 2]}),
        ({"type": "STRING", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"anyOf": [{"type": "STRING"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "STRING", "example": "x", "propertyOrdering": []}, {"type": "string"}),
        ({"ref": "#/defs/P", "defs": {"P": {"type": "NUMBER"}}}, {"$ref": "#/$defs/P", "$defs": {"P": {"type": "number"}}}),
        ({"type": "object", "additionalProperties": False}, {"type": "object", "additionalProperties": False}),
        ({"type": "string", "const": "x"}, {"type": "string", "const": "x"}),
    ],
)  # fmt: skip
def test_googles_schema_becomes_json_schema(schema: Any, expected: Any) -> None:
    assert parse_schema(schema, "s") == expected


def test_a_schema_nested_without_end_is_refused() -> None:
    schema: dict[str, Any] = {"type": "STRING"}
    for _ in range(100):
        schema = {"type": "ARRAY", "items": schema}
    with pytest.raises(BadRequest, match="too deeply"):
        parse_schema(schema, "s")
