"""What a client's request in the Responses dialect means."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd import jsontext
from llmproxyd.adapters import anthropic_messages, openai_chat
from llmproxyd.surfaces.openai_responses import COUNT_SURFACE, SURFACE, parse_content, parse_request
from llmproxyd.surfaces.responses_items import CALL_SEAL
from llmproxyd.values.contracts import Adapter, BadRequest
from llmproxyd.values.replay import seal_thought
from llmproxyd.values.request import (
    Audio,
    Capability,
    Chat,
    Dialect,
    File,
    Image,
    Message,
    Operation,
    OutputFormat,
    Overrides,
    Refusal,
    Request,
    Role,
    Sampling,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmproxyd.values.responses import HOSTED_TOOLS, PHASES
from tests import wire
from tests.adapters.build import deployment

USER = {"role": "user", "content": "hi"}


def asked(**fields: Any) -> Request:
    return parse_request({}, jsontext.encode({"model": "m", "input": "hello", **fields}), "/v1/responses")


def content(*items: Any, **fields: Any) -> Chat:
    return parse_content(asked(**({"input": list(items)} if items else {}), **fields))


def messages(*items: Any) -> tuple[Message, ...]:
    return content(*items).messages


def refusal(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as refused:
        parse_content(asked(**fields))
    return refused.value


# --- the envelope -----------------------------------------------------------------------------------------------


def test_the_envelope_says_what_routing_must_know() -> None:
    request = parse_request(
        {"openai-beta": "x", "cookie": "c"}, wire.whole("openai_responses", "request"), "/v1/responses"
    )
    assert (request.operation, request.dialect, request.surface) == (
        Operation.CHAT, Dialect.OPENAI_RESPONSES, "openai-responses",
    )  # fmt: skip
    assert (request.model, request.stream, request.max_output_tokens) == ("gpt-6-sol", False, 512)
    assert request.needs == {Capability.TOOLS, Capability.VISION}
    assert request.headers == {"openai-beta": "x"}
    assert request.wants_usage


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, set()),
        ({"tools": [{"type": "function", "name": "f"}]}, {Capability.TOOLS}),
        ({"tools": [{"type": "namespace", "name": "n", "tools": []}]}, {Capability.TOOLS}),
        ({"tools": [{"type": "web_search"}]}, set()),
        (
            {"input": [{"type": "additional_tools", "tools": [{"type": "custom", "name": "p"}]}]},
            {Capability.TOOLS},
        ),
        ({"text": {"format": {"type": "json_schema"}}}, {Capability.JSON_SCHEMA}),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, {Capability.FILES}),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, {Capability.AUDIO}),
        (
            {"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]},
            {Capability.VISION},
        ),
    ],
)
def test_needs_are_found_wherever_they_are(fields: dict[str, Any], needs: set[Capability]) -> None:
    assert asked(**fields).needs == needs


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"input":"x"}', "model"),
        (b'{"model":"m"}', "input"),
        (b'{"model":"m","input":[]}', "input"),
        (b'{"model":"m","input":7}', "input"),
        (b'{"model":"m","input":["x"]}', "input[0]"),
        (b'{"model":"m","input":"x","background":true,"store":false}', "background"),
        (b'{"model":"m","input":"x","max_output_tokens":0}', "max_output_tokens"),
        (b'{"model":"m","input":"x","metadata":{"a":1}}', "metadata.a"),
    ],
)
def test_what_nobody_could_answer_is_refused_at_once(body: bytes, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_request({}, body, "/v1/responses")
    assert refused.value.failure.param == param


def test_a_conversation_kept_elsewhere_needs_no_input() -> None:
    assert (
        parse_request({}, b'{"model":"m","previous_response_id":"resp_1"}', "/v1/responses").stream is False
    )


def test_counting_never_streams() -> None:
    request = COUNT_SURFACE.parse_request(
        {}, b'{"model":"m","input":"x","stream":true}', "/v1/responses/input_tokens"
    )
    assert (request.operation, request.stream) == (Operation.COUNT_TOKENS, False)


# --- items ------------------------------------------------------------------------------------------------------


def test_a_recorded_request_is_understood() -> None:
    chat = parse_content(parse_request({}, wire.whole("openai_responses", "request"), "/v1/responses"))
    system, user, assistant, result = chat.messages
    assert system == Message(Role.SYSTEM, (Text("Answer in one short sentence."),))
    assert user.parts[0] == Text("Weather in Łódź?")
    assert isinstance(user.parts[1], Image)
    assert assistant.parts == (
        Thinking("", encrypted="gAAAA-opaque", origin=Dialect.OPENAI_RESPONSES, item_id="rs_1"),
        ToolCall("call_A1", "get_weather", '{"city":"Łódź"}'),
    )
    assert result == Message(Role.TOOL, (ToolResult("call_A1", (Text('{"temp_c":7}'),)),))
    assert (chat.effort, chat.output_format, chat.sampling.max_tokens) == ("low", OutputFormat("text"), 512)
    assert chat.extras == {
        Dialect.OPENAI_RESPONSES: {"text": {"verbosity": "low"}, "reasoning": {"summary": "auto"}}
    }


def test_a_bare_text_is_a_message_of_the_user() -> None:
    assert content().messages == (Message(Role.USER, (Text("hello"),)),)


def test_what_one_assistant_turn_said_thought_and_called_is_put_together() -> None:
    items = [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"text": "A"}, {"text": "B"}],
            "encrypted_content": "E",
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ]
    assert messages(USER, *items)[1:] == (
        Message(
            Role.ASSISTANT,
            (
                Thinking("A\n\nB", encrypted="E", origin=Dialect.OPENAI_RESPONSES, item_id="rs_1"),
                Text("I look."),
                ToolCall("c1", "f", "{}"),
                ToolCall("c2", "g", ""),
            ),
        ),
        Message(Role.TOOL, (ToolResult("c1", (Text("1"),)),)),
        Message(Role.ASSISTANT, (Refusal("No."),)),
    )


def test_every_part_of_a_message_has_its_form() -> None:
    parts = [
        {"type": "input_text", "text": "a"},
        {"type": "input_text", "text": ""},
        {"type": "input_image", "image_url": "https://example.test/a.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk="},
        {"type": "input_file", "file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://example.test/a.pdf"},
        {"type": "input_file", "file_id": "file_1"},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
    ]
    assert messages({"role": "user", "content": parts})[0].parts == (
        Text("a"),
        Image(url="https://example.test/a.png", detail="low"),
        Image("aGk=", "image/png"),
        File("aGk=", "application/pdf", filename="a.pdf"),
        File(url="https://example.test/a.pdf"),
        File(file_id="file_1"),
        Audio("aGk=", "wav"),
    )


def test_pitfall_23_thoughts_that_others_made_come_back_from_under_their_seal() -> None:
    signed = Thinking("Hm.", "sig", origin=Dialect.ANTHROPIC_MESSAGES)
    plain = Thinking("So.", origin=Dialect.OPENAI_CHAT)
    items = [
        {"type": "reasoning", "summary": [{"text": thought.text}], "encrypted_content": seal_thought(thought)}
        for thought in (signed, plain)
    ]
    assert messages(USER, *items)[1].parts == (signed, plain)


def test_pitfall_6_the_signature_of_a_call_comes_back_to_its_call() -> None:
    sealed = seal_thought(Thinking("", "SIG", None, Dialect.GEMINI_GENERATE, CALL_SEAL + "c2"))
    items = [
        {"type": "reasoning", "summary": [], "encrypted_content": sealed},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
    ]
    assert messages(USER, *items)[1].parts == (
        ToolCall("c1", "f", "{}"),
        ToolCall("c2", "f", "{}", signature="SIG"),
    )


def test_tools_answer_in_text_images_and_files() -> None:
    output = [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "image_url": "https://example.test/a.png"},
    ]
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    result = messages(USER, call, {"type": "function_call_output", "call_id": "c", "output": output})[
        2
    ].parts[0]
    assert result == ToolResult("c", (Text("See"), Image(url="https://example.test/a.png")))


@pytest.mark.parametrize(
    "kind",
    [
        "web_search_call",
        "item_reference",
        "compaction",
        "mcp_call",
        "local_shell_call",
        "computer_call",
        "brand_new",
    ],
)
def test_items_that_only_openai_understands_are_refused_by_name(kind: str) -> None:
    failure = refusal(input=[USER, {"type": kind, "id": "x"}]).failure
    assert failure.param == "input[1].type"
    assert kind in failure.message


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({}, "input[0].type"),
        ({"role": "robot", "content": "x"}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": 7}, "input[0].content"),
        ({"role": "user", "content": ["x"]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "x"}]}, "input[0].content[0].type"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}, "input[0].content"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input[0].content[0].image_url"),
        (
            {"role": "user", "content": [{"type": "input_image", "file_id": "f"}]},
            "input[0].content[0].file_id",
        ),
        ({"role": "user", "content": [{"type": "input_file"}]}, "input[0].content[0].file_data"),
        (
            {"role": "system", "content": [{"type": "input_image", "image_url": "https://example.test"}]},
            "input[0].content",
        ),
        ({"type": "function_call", "name": "f"}, "input[0].call_id"),
        ({"type": "function_call_output", "call_id": "c"}, "input[0].output"),
        (
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "refusal", "refusal": "x"}]},
            "input[0].output",
        ),
    ],
)
def test_wrong_items_are_named(item: dict[str, Any], param: str) -> None:
    assert refusal(input=[item]).failure.param == param


# --- tools ------------------------------------------------------------------------------------------------------

PATCH = {
    "type": "custom", "name": "apply_patch", "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: LINE"},
}  # fmt: skip
SHELL = {"type": "namespace", "name": "shell", "description": "Runs things.", "tools": [
    {"type": "function", "name": "run", "description": "Once.", "parameters": {"type": "object"}, "strict": True},
    {"type": "custom", "name": "apply_patch"},
]}  # fmt: skip


def test_namespaces_and_custom_tools_become_functions_with_names_of_their_own() -> None:
    tools = content(tools=[PATCH, SHELL]).tools
    assert [tool.name for tool in tools] == ["apply_patch", "shell__run", "shell__apply_patch"]
    assert {tool.kind for tool in tools} == {"function"}
    patch, run, _ = tools
    assert patch.parameters is not None
    assert patch.parameters["required"] == ["input"]
    assert patch.description == "Edits files.\n\nThe input must follow this lark grammar:\nstart: LINE"
    assert (run.description, run.strict) == ("Runs things.\n\nOnce.", True)


def test_tools_that_come_as_an_item_are_tools() -> None:
    item = {"type": "additional_tools", "role": "developer", "tools": [PATCH]}
    chat = content(item, USER, tools=[{"type": "function", "name": "f"}])
    assert [tool.name for tool in chat.tools] == ["f", "apply_patch"]
    assert chat.messages == (Message(Role.USER, (Text("hi"),)),)


def test_earlier_calls_have_the_names_the_tools_have_now() -> None:
    chat = content(
        USER,
        {"type": "function_call", "call_id": "c1", "name": "run", "namespace": "shell", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "+ ä"},
        tools=[PATCH, SHELL],
    )
    assert chat.messages[1].parts == (
        ToolCall("c1", "shell__run", "{}"),
        ToolCall("c2", "apply_patch", '{"input":"+ ä"}'),
    )


def test_pitfall_16_names_that_are_too_long_or_meet_another_stay_apart() -> None:
    long = {
        "type": "namespace",
        "name": "n" * 50,
        "tools": [{"type": "function", "name": "t" * 50 + end} for end in "ab"],
    }
    clash = [
        {"type": "function", "name": "a__b"},
        {"type": "namespace", "name": "a", "tools": [{"type": "function", "name": "b"}]},
    ]
    names = [tool.name for tool in content(tools=[long, *clash]).tools]
    assert len(set(names)) == 4
    assert all(len(name) <= 64 for name in names)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice("auto")),
        ({"type": "custom", "name": "apply_patch"}, ToolChoice("named", ("apply_patch",))),
        ({"type": "function", "name": "run", "namespace": "shell"}, ToolChoice("named", ("shell__run",))),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "custom", "name": "apply_patch"}],
            },
            ToolChoice("required", ("apply_patch",)),
        ),
    ],
)
def test_the_choice_of_tools_uses_the_flat_names(choice: Any, expected: ToolChoice) -> None:
    assert content(tools=[PATCH, SHELL], tool_choice=choice).tool_choice == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type"),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "image_generation"}]}]},
            "tools[0].tools[0].type",
        ),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "shell"}]}]}, "input[0].tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "x"}}, "tool_choice.mode"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"include": "x"}, "include"),
        ({"include": [7]}, "include[0]"),
    ],
)
def test_what_a_translation_cannot_carry_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).failure.param == param


def test_options_have_their_places_and_the_rest_rides_along() -> None:
    chat = content(
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=77,
        top_logprobs=2,
        include=["message.output_text.logprobs", "reasoning.encrypted_content", "web_search_call.results"],
        text={"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}},
        parallel_tool_calls=False,
        user="u",
        service_tier="flex",
        metadata={"a": "b"},
        store=True,
        truncation="auto",
        brand_new=1,
        safety_identifier=None,
    )
    assert chat.sampling == Sampling(0.5, 0.9, max_tokens=77, logprobs=True, top_logprobs=2)
    assert chat.output_format == OutputFormat("json_schema", {"type": "object"}, "a", True)
    assert (chat.parallel_tool_calls, chat.user, chat.service_tier, chat.metadata) == (
        False,
        "u",
        "flex",
        {"a": "b"},
    )
    assert chat.extras[Dialect.OPENAI_RESPONSES] == {
        "include": ["web_search_call.results"], "truncation": "auto", "brand_new": 1,
    }  # fmt: skip


# --- Codex ------------------------------------------------------------------------------------------------------

CODEX: dict[str, Any] = {
    "stream": True,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "prompt_cache_key": "k",
    "client_metadata": {"a": "b"},
    "reasoning": {"effort": "medium", "summary": "auto"},
    "text": {"verbosity": "low"},
    "tools": [{"type": "function", "name": "exec", "parameters": {"type": "object"}}, SHELL, {"type": "web_search"}],
    "input": [
        {"type": "message", "id": "msg_0", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"type": "message", "id": "msg_1", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}]},
        {
            "type": "message", "id": "msg_2", "role": "assistant", "phase": "commentary",
            "content": [{"type": "output_text", "text": "I look."}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "run", "namespace": "shell", "arguments": "{}"},
        {"type": "function_call_output", "id": "fco_1", "call_id": "c1", "output": "ok"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("adapter", [openai_chat.ADAPTER, anthropic_messages.ADAPTER])
def test_what_codex_sends_can_go_to_another_dialect_and_everything_left_out_is_said(adapter: Adapter) -> None:
    request = asked(**CODEX)
    chat = parse_content(request)
    call = adapter.format_call(request, chat, deployment(dialect=adapter.dialect), Overrides())
    names = [tool.get("function", tool)["name"] for tool in jsontext.decode(call.body)["tools"]]
    assert names == ["exec", "shell__run", "shell__apply_patch"]
    assert chat.extras[Dialect.OPENAI_RESPONSES] == {
        PHASES: ["commentary"],
        HOSTED_TOOLS: [{"type": "web_search"}],
        "prompt_cache_key": "k",
        "client_metadata": {"a": "b"},
        "reasoning": {"summary": "auto"},
        "text": {"verbosity": "low"},
    }


def test_the_surface_is_complete() -> None:
    assert (SURFACE.name, SURFACE.operation, SURFACE.stream_type) == (
        "openai-responses", Operation.CHAT, "text/event-stream",
    )  # fmt: skip


_FIELDS = [
    "type", "role", "content", "input", "output", "tools", "tool_choice", "text", "format", "reasoning", "effort",
    "include", "name", "call_id", "arguments", "summary", "encrypted_content", "instructions", "stream", "image_url",
    "namespace", "parameters", "mode", "schema", "metadata", "file_data",
]  # fmt: skip
_WORDS = st.sampled_from(
    [
        "message", "user", "assistant", "system", "function", "custom", "namespace", "function_call", "reasoning",
        "function_call_output", "additional_tools", "input_text", "input_image", "grammar", "llmproxyd.e30", "auto",
        "allowed_tools", "json_schema", "data:x;base64,y",
    ]
)  # fmt: skip
_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=5),
    max_leaves=15,
)
_ITEM = st.dictionaries(st.sampled_from(_FIELDS), _VALUE | _WORDS, max_size=6)


@given(st.dictionaries(st.sampled_from(_FIELDS), _VALUE, max_size=5), st.lists(_ITEM, max_size=3))
def test_whatever_a_client_sends_is_understood_or_refused(
    fields: dict[str, Any], items: list[dict[str, Any]]
) -> None:
    try:
        request = asked(**{"input": items or "x", **fields})
    except BadRequest:
        return
    SURFACE.new_encoder(request, model="m", id="req_1", created_s=1).close()
    with contextlib.suppress(BadRequest):
        parse_content(request)
