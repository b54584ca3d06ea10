from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.surfaces.openai_chat import SURFACE, parse_content
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Audio,
    CacheMark,
    Capability,
    Chat,
    Dialect,
    File,
    Image,
    Message,
    Operation,
    OutputFormat,
    Part,
    Refusal,
    Request,
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

HELLO = {"role": "user", "content": "hello"}


def ask(**document: Any) -> Request:
    body = json.dumps({"model": "m", "messages": [HELLO], **document}).encode()
    return SURFACE.parse_request({}, body, "/v1/chat/completions")


def content(**document: Any) -> Chat:
    return parse_content(ask(**document))


def parts(content: Any, role: str = "user", **fields: Any) -> tuple[Part, ...]:
    (message,) = parse_content(ask(messages=[{"role": role, "content": content, **fields}])).messages
    return message.parts


def refused_param(**document: Any) -> str | None:
    with pytest.raises(BadRequest) as refused:
        parse_content(ask(**document))
    assert refused.value.failure.message
    return refused.value.failure.param


# --- the envelope -------------------------------------------------------------------------------------------------


def test_the_envelope_holds_what_routing_must_know() -> None:
    body = json.dumps({"model": "m", "messages": [HELLO], "stream": True, "max_tokens": 9}).encode()
    request = SURFACE.parse_request({}, body, "/")
    assert request == Request(
        operation=Operation.CHAT,
        dialect=Dialect.OPENAI_CHAT,
        surface="openai-chat",
        model="m",
        stream=True,
        body=body,
        document=json.loads(body),
        max_output_tokens=9,
        wants_usage=False,
    )


@pytest.mark.parametrize(
    ("document", "needs"),
    [
        ({}, set()),
        ({"tools": []}, set()),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {Capability.TOOLS}),
        ({"functions": [{"name": "f"}]}, {Capability.TOOLS}),
        ({"response_format": {"type": "json_object"}}, set()),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {Capability.JSON_SCHEMA}),
        ({"modalities": ["text", "audio"]}, {Capability.AUDIO}),
        (
            {"messages": [HELLO, {"role": "user", "content": [{"type": t} for t in ("text", "image_url", "input_audio", "file")]}]},
            {Capability.VISION, Capability.AUDIO, Capability.FILES},
        ),
        ({"messages": [{"role": "user", "content": [{"type": ["image_url"]}, None, 7]}]}, set()),
        ({"reasoning_effort": "high"}, set()),
    ],
)  # fmt: skip
def test_needs_are_what_an_answer_would_be_wrong_without(
    document: dict[str, Any], needs: set[Capability]
) -> None:
    assert ask(**document).needs == needs


@pytest.mark.parametrize(
    ("document", "limit"),
    [({}, None), ({"max_tokens": 5}, 5), ({"max_completion_tokens": 6}, 6), ({"max_tokens": 5, "max_completion_tokens": 6}, 6)],
)  # fmt: skip
def test_the_limit_is_read_under_both_names(document: dict[str, Any], limit: int | None) -> None:
    assert ask(**document).max_output_tokens == limit


@pytest.mark.parametrize(
    ("document", "wants"),
    [
        ({}, True),
        ({"stream": True}, False),
        ({"stream": True, "stream_options": None}, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True),
    ],
)
def test_a_stream_ends_with_usage_only_if_asked_for(document: dict[str, Any], wants: bool) -> None:
    assert ask(**document).wants_usage is wants


@pytest.mark.parametrize(
    ("document", "param", "words"),
    [
        ({"model": None}, "model", "Missing required parameter: 'model'"),
        ({"model": 7}, "model", "expected a string, but got an integer"),
        ({"model": " "}, "model", "1 to 256 characters"),
        ({"model": "x" * 257}, "model", "1 to 256 characters"),
        ({"messages": None}, "messages", "Missing required parameter: 'messages'"),
        ({"messages": []}, "messages", "at least one item"),
        ({"messages": "hello"}, "messages", "expected an array of objects, but got a string"),
        ({"messages": [HELLO, "x"]}, "messages[1]", "expected an object"),
        ({"stream": "yes"}, "stream", "expected a boolean"),
        ({"stream_options": []}, "stream_options", "expected an object, but got an array"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "expected a boolean"),
        ({"n": 0}, "n", "Expected a value >= 1, but got 0"),
        ({"n": 129}, "n", "Expected a value <= 128, but got 129"),
        ({"n": 1.5}, "n", "expected an integer, but got a decimal"),
        ({"n": True}, "n", "expected an integer, but got a boolean"),
        ({"temperature": "hot"}, "temperature", "expected a decimal, but got a string"),
        ({"max_tokens": 0}, "max_tokens", ">= 1"),
        ({"max_completion_tokens": -1}, "max_completion_tokens", ">= 1"),
        ({"metadata": {"a": 1}}, "metadata.a", "expected a string"),
        ({"metadata": []}, "metadata", "expected an object"),
        ({"tools": {}}, "tools", "expected an array of objects"),
        ({"tools": [1]}, "tools[0]", "expected an object"),
        ({"response_format": "json"}, "response_format", "expected an object"),
    ],
)
def test_a_wrong_envelope_is_refused_by_name(document: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        ask(**document)
    failure = refused.value.failure
    assert (failure.param, failure.client_status) == (param, 400)
    assert words in failure.message


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"7", b"\xff", b'{"model": NaN}', b"[" * 100_000, b'\xef\xbb\xbf{"model":"m"}',
        '{"model":"m"}'.encode("utf-16-le"), '{"model":"m"}'.encode("utf-16"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="JSON"):
        SURFACE.parse_request({}, body, "/")


# --- the content --------------------------------------------------------------------------------------------------


def test_a_recorded_request_is_taken_apart() -> None:
    request = SURFACE.parse_request({}, wire.whole("openai_chat", "request"), "/")
    chat = parse_content(request)
    image = chat.messages[1].parts[1]
    assert isinstance(image, Image)
    assert image.data is not None
    assert image.data.startswith("iVBORw0KGgo")
    assert (image.media_type, image.detail) == ("image/png", "low")
    assert chat.messages[0] == Message(Role.DEVELOPER, (Text("Answer in one short sentence."),))
    assert chat.messages[1].parts[0] == Text("What is the weather in Łódź? 🌧")
    assert chat.messages[2:] == (
        Message(Role.ASSISTANT, (ToolCall("call_A1", "get_weather", '{"city":"Łódź"}'),)),
        Message(Role.TOOL, (ToolResult("call_A1", (Text('{"temp_c":7}'),)),)),
    )
    (tool,) = chat.tools
    assert (tool.name, tool.description, tool.strict) == ("get_weather", "Current weather", False)
    assert (chat.tool_choice, chat.parallel_tool_calls, chat.effort) == (ToolChoice("auto"), True, "none")
    assert (chat.sampling, chat.extras) == (Sampling(max_tokens=256), {})
    assert request.needs == {Capability.TOOLS, Capability.VISION}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", (Text("a"),)),
        ("", ()),
        ([], ()),
        ([{"type": "text", "text": ""}, {"type": "text", "text": "a"}], (Text("a"),)),
        (
            [{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "1h"}}],
            (Text("a", CacheMark("1h")),),
        ),
        ([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}], (Text("a", CacheMark()),)),
        (
            [{"type": "image_url", "image_url": {"url": "https://example.test/a.png", "detail": "high"}}],
            (Image(url="https://example.test/a.png", detail="high"),),
        ),
        ([{"type": "image_url", "image_url": "data:;base64,AA-_ \n=="}], (Image(data="AA+/=="),)),
        (
            [{"type": "image_url", "image_url": {"url": "data:image/png;charset=x;base64,AAAA"}}],
            (Image(data="AAAA", media_type="image/png"),),
        ),
        (
            [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
            (Audio("AAAA", "wav"),),
        ),
        (
            [
                {
                    "type": "file",
                    "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
                }
            ],
            (File("AAAA", "application/pdf", filename="a.pdf"),),
        ),
        ([{"type": "file", "file": {"file_data": "AAAA"}}], (File("AAAA"),)),
        ([{"type": "file", "file": {"file_id": "f-1"}}], (File(file_id="f-1"),)),
    ],
)
def test_every_part_of_a_user_is_read(given: Any, expected: tuple[Part, ...]) -> None:
    assert parts(given) == expected


SIGNED = Thinking("Hm.", "S", origin=Dialect.ANTHROPIC_MESSAGES)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"refusal": "No."}, (Refusal("No."),)),
        ({"reasoning_content": "Hm."}, (Thinking("Hm.", origin=Dialect.OPENAI_CHAT),)),
        ({"reasoning": "Hm."}, (Thinking("Hm.", origin=Dialect.OPENAI_CHAT),)),
        (
            {
                "reasoning_content": "Hm.",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "Hm.",
                        "signature": "S",
                        "format": "anthropic-claude-v1",
                    },
                    {"type": "reasoning.encrypted", "data": "E", "id": "r-1"},
                    {"type": "reasoning.unheard_of"},
                ],
            },
            (SIGNED, Thinking(encrypted="E", origin=Dialect.OPENAI_CHAT, item_id="r-1")),
        ),
        (
            {
                "reasoning_content": "Hm.",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "S"},
                    {"type": "redacted_thinking", "data": "E"},
                ],
            },
            (SIGNED, Thinking(encrypted="E", origin=Dialect.ANTHROPIC_MESSAGES)),
        ),
        (
            {
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{"}},
                    {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
                    {
                        "id": "c3",
                        "function": {"name": "h", "arguments": ""},
                        "extra_content": {"google": {"thought_signature": "S"}},
                    },
                ]
            },
            (
                ToolCall("c1", "f", "{"),
                ToolCall("c2", "g", "x", "custom"),
                ToolCall("c3", "h", "", signature="S"),
            ),
        ),
    ],
)
def test_everything_an_assistant_said_is_taken_back(
    fields: dict[str, Any], expected: tuple[Part, ...]
) -> None:
    assert parts(None, "assistant", **fields) == expected
    assert parts("a", "assistant", **fields) == (
        *(part for part in expected if isinstance(part, Thinking)),
        Text("a"),
        *(part for part in expected if not isinstance(part, Thinking)),
    )


def test_deprecated_functions_become_tools() -> None:
    chat = content(
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
        messages=[
            HELLO,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "7"},
        ],
    )
    assert chat.tools == (Tool("f", parameters={"type": "object"}),)
    assert chat.tool_choice == ToolChoice("named", ("f",))
    call, result = chat.messages[1].parts[0], chat.messages[2].parts[0]
    assert isinstance(call, ToolCall)
    assert result == ToolResult(call.id, (Text("7"),), "f")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", ("f",))),
        ({"type": "custom", "custom": {"name": "g"}}, ToolChoice("named", ("g",))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}},
            ToolChoice("auto", ("f",)),
        ),
    ],
)  # fmt: skip
def test_every_choice_of_tools_is_read(choice: Any, expected: ToolChoice) -> None:
    assert content(tool_choice=choice).tool_choice == expected


def test_tools_of_other_kinds_stay_whole() -> None:
    custom = {"type": "custom", "custom": {"name": "g", "format": {"type": "grammar"}}}
    hosted = {"type": "web_search", "max_uses": 3}
    assert content(tools=[custom, hosted]).tools == (
        Tool("g", kind="custom", raw=custom),
        Tool("", kind="web_search", raw=hosted),
    )


def test_sampling_and_the_form_of_the_answer_are_read() -> None:
    schema = {"name": "x", "schema": {"type": "object"}, "strict": True, "description": "d"}
    chat = content(
        temperature=0.5, top_p=0.9, top_k=4, seed=7, stop="#", frequency_penalty=1, presence_penalty=-1, n=2,
        logit_bias={"50256": -100}, logprobs=True, top_logprobs=3, max_tokens=5, user="u", service_tier="flex",
        metadata={"a": "b"}, response_format={"type": "json_schema", "json_schema": schema},
    )  # fmt: skip
    assert chat.sampling == Sampling(0.5, 0.9, 4, 5, ("#",), 7, 1, -1, {"50256": -100}, True, 3, 2)
    assert chat.output_format == OutputFormat("json_schema", {"type": "object"}, "x", True, "d")
    assert (chat.user, chat.service_tier, chat.metadata) == ("u", "flex", {"a": "b"})


def test_fields_that_nobody_else_knows_ride_along() -> None:
    known = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 1, "logit_bias": None}
    own = {
        "verbosity": "low",
        "prediction": {"type": "content"},
        "provider": {"sort": "price"},
        "store": False,
    }
    assert content(**known, **own, nothing=None).extras == {Dialect.OPENAI_CHAT: own}


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"messages": [{"content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
        ({"messages": [HELLO, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [HELLO, {"role": "user", "content": 7}]}, "messages[1].content"),
        ({"messages": [HELLO, {"role": "user", "content": ["a"]}]}, "messages[1].content[0]"),
        ({"messages": [HELLO, HELLO, {"role": "user", "content": [{"type": "video"}]}]}, "messages[2].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg>"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file.file_data"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "x"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "function", "content": "a"}]}, "messages[0].name"),
        ({"messages": [{"role": "assistant", "content": "a", "audio": {"id": "x"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]}, "messages[0].tool_calls[0].id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, "messages[0].tool_calls[0].function"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "x"}]}]}, "messages[0].tool_calls[0].type"),
        ({"messages": [{"role": "user", "content": "a", "name": 7}]}, "messages[0].name"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"stop": 7}, "stop"),
        ({"stop": ["a", 7]}, "stop[1]"),
        ({"logit_bias": {"a": "b"}}, "logit_bias.a"),
        ({"top_logprobs": -1}, "top_logprobs"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused_by_name(document: dict[str, Any], param: str) -> None:
    assert refused_param(**document) == param


def test_half_an_emoji_is_no_reason_to_refuse() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"\\ud83c"}]}'
    (message,) = parse_content(SURFACE.parse_request({}, body, "/")).messages
    assert message.parts == (Text("\ud83c"),)
