from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from llmproxyd import jsontext
from llmproxyd.surfaces.anthropic_messages import COUNT_SURFACE, PATHS, SURFACE
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.replay import seal_thought
from llmproxyd.values.request import (
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

OWN = Dialect.ANTHROPIC_MESSAGES
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}


def ask(path: str = "/v1/messages", /, headers: Any = None, **document: Any) -> Request:
    body = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "hello"}], **document}
    present = {name: value for name, value in body.items() if value is not ...}
    return PATHS[path].parse_request(headers or {}, jsontext.encode(present), path)


def content(**document: Any) -> Chat:
    chat = SURFACE.parse_content(ask(**document))
    assert isinstance(chat, Chat)
    return chat


def said(*blocks: Any, role: str = "user") -> tuple[Message, ...]:
    return content(messages=[{"role": role, "content": list(blocks)}]).messages


def part(block: Any, role: str = "user") -> Part:
    ((only,),) = [message.parts for message in said(block, role=role)]
    return only


def refused(**document: Any) -> str | None:
    with pytest.raises(BadRequest) as error:
        SURFACE.parse_content(ask(**document))
    return error.value.failure.param


def refused_block(*blocks: Any, role: str = "user") -> str | None:
    return refused(messages=[{"role": role, "content": list(blocks)}])


# --- the envelope -----------------------------------------------------------------------------------------------


def test_it_is_served_at_the_root_and_under_a_prefix() -> None:
    assert PATHS == {
        "/v1/messages": SURFACE,
        "/v1/messages/count_tokens": COUNT_SURFACE,
        "/anthropic/v1/messages": SURFACE,
        "/anthropic/v1/messages/count_tokens": COUNT_SURFACE,
    }


def test_what_routing_must_know() -> None:
    request = ask(stream=True, temperature=0.5, metadata={"user_id": "u"}, max_tokens=7)
    assert (request.operation, request.dialect, request.model) == (Operation.CHAT, OWN, "m")
    assert (request.stream, request.temperature, request.max_output_tokens) == (True, 0.5, 7)
    assert request.metadata == {"user_id": "u"}
    assert request.wants_usage


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
@pytest.mark.parametrize("target", ["/v1/messages", "/v1/messages?beta=true"])
def test_version_and_betas_ride_along_and_no_credential_does(version: str, target: str) -> None:
    headers = CIMultiDict(
        {
            "Anthropic-Version": version,
            "Anthropic-Beta": "a-1,b-2",
            "X-Api-Key": "secret",
            "Authorization": "Bearer secret",
            "X-Claude-Code-Session-Id": "s",
        }
    )
    request = SURFACE.parse_request(headers, ask().body, target)
    assert request.headers == {"anthropic-version": version, "anthropic-beta": "a-1,b-2"}


def test_a_count_needs_no_limit_and_never_streams() -> None:
    request = ask("/v1/messages/count_tokens", max_tokens=..., stream=True)
    assert (request.operation, request.stream, request.max_output_tokens) == (
        Operation.COUNT_TOKENS,
        False,
        None,
    )


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"max_tokens": ...}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"model": ...}, "model"),
        ({"model": ""}, "model"),
        ({"model": "m" * 257}, "model"),
        ({"messages": ...}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": "hot"}, "temperature"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id"),
        ({"tools": {}}, "tools"),
    ],
)
def test_what_nobody_could_answer_is_refused_by_name(document: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as error:
        ask(**document)
    assert error.value.failure.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": NaN}', b"\xef\xbb\xbf{}"])
def test_pitfall_41_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        SURFACE.parse_request({}, body, "/v1/messages")


def test_a_limit_of_zero_only_warms_the_cache() -> None:
    assert ask(max_tokens=0).max_output_tokens == 0


@pytest.mark.parametrize(
    ("document", "needs"),
    [
        ({}, set()),
        ({"tools": []}, set()),
        ({"tools": [{"name": "a", "input_schema": {}}]}, {Capability.TOOLS}),
        ({"output_config": {"effort": "low"}}, set()),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, {Capability.JSON_SCHEMA}),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, {Capability.VISION}),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [IMAGE, PDF]}]}]},
            {Capability.VISION, Capability.FILES},
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "document", "source": {"type": "text", "data": "x"}}],
                    }
                ]
            },
            set(),
        ),
        ({"thinking": {"type": "adaptive"}}, set()),
        ({"messages": [{"role": "user", "content": [7, {"type": ["image"]}]}]}, set()),
    ],
)
def test_needs_are_found_without_taking_the_request_apart(
    document: dict[str, Any], needs: set[Capability]
) -> None:
    assert ask(**document).needs == needs


# --- the conversation -------------------------------------------------------------------------------------------


def test_a_recorded_request_in_canonical_form() -> None:
    body = wire.whole("anthropic-messages", "request")
    chat = SURFACE.parse_content(SURFACE.parse_request({}, body, "/v1/messages"))
    assert isinstance(chat, Chat)
    assert [message.role for message in chat.messages] == [
        Role.SYSTEM,
        Role.USER,
        Role.ASSISTANT,
        Role.TOOL,
        Role.SYSTEM,
    ]
    assert chat.messages[0].parts == (Text("Answer in one short sentence.", CacheMark("5m")),)
    assert chat.messages[2].parts == (
        Thinking("", "EqQB-opaque", origin=OWN),
        ToolCall("toolu_01A", "get_weather", '{"city":"Łódź"}'),
    )
    assert chat.messages[3].parts == (ToolResult("toolu_01A", (Text('{"temp_c":7}'),)),)
    assert chat.messages[4].parts == (Text("Prefer Celsius."),)
    assert (chat.tool_choice, chat.parallel_tool_calls) == (ToolChoice("auto"), True)
    assert (chat.effort, chat.user, chat.sampling) == (
        "low",
        "u-123",
        Sampling(max_tokens=1024, stop=("###",)),
    )
    assert chat.extras == {OWN: {"thinking": {"display": "summarized"}}}
    assert chat.left_out == ()


@pytest.mark.parametrize("system", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_instructions_come_first(system: Any) -> None:
    assert content(system=system).messages[0] == Message(Role.SYSTEM, (Text("Be brief."),))


@pytest.mark.parametrize("system", ["", [], [{"type": "text", "text": ""}], None])
def test_empty_instructions_are_none(system: Any) -> None:
    assert [message.role for message in content(system=system).messages] == [Role.USER]


def test_claude_codes_billing_header_is_for_anthropic_alone() -> None:
    system = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329; cc_entrypoint=cli"},
        {"type": "text", "text": "You are Claude Code."},
    ]
    assert content(system=system).messages[0].parts == (Text("You are Claude Code."),)
    assert content(system=system[:1]).messages[0].role is Role.USER


def test_results_come_before_what_the_user_says() -> None:
    messages = said(
        {"type": "text", "text": "so"}, {"type": "tool_result", "tool_use_id": "t", "content": "7"}
    )
    assert messages == (
        Message(Role.TOOL, (ToolResult("t", (Text("7"),)),)),
        Message(Role.USER, (Text("so"),)),
    )


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (None, ()),
        ("", ()),
        ("x", (Text("x"),)),
        ([{"type": "text", "text": "x"}, IMAGE], (Text("x"), Image("iVBORw0K", "image/png"))),
        ([PDF], (File("JVBERi0=", "application/pdf"),)),
        ([{"type": "tool_reference", "tool_name": "Edit"}], (Text("The tool Edit can be used now."),)),
        (
            [
                {
                    "type": "search_result",
                    "title": "T",
                    "source": "u",
                    "content": [{"type": "text", "text": "x"}],
                }
            ],
            (Text("T\nu\nx"),),
        ),
    ],
)
def test_what_a_tool_answers(given: Any, parts: tuple[Text | Image | File, ...]) -> None:
    block = {
        "type": "tool_result",
        "tool_use_id": "t",
        "is_error": True,
        "cache_control": {"type": "ephemeral"},
    }
    if given is not None:
        block["content"] = given
    assert part(block) == ToolResult("t", parts, is_error=True, cache=CacheMark())


def test_pitfall_20_empty_texts_are_dropped() -> None:
    assert said({"type": "text", "text": ""}, {"type": "text", "text": "x"})[0].parts == (Text("x"),)
    assert content(messages=[{"role": "user", "content": ""}]).messages == (Message(Role.USER, ()),)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            {**IMAGE, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            Image("iVBORw0K", "image/png", cache=CacheMark("1h")),
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "https://x.test/a"}},
            Image(url="https://x.test/a"),
        ),
        ({**PDF, "title": "a.pdf"}, File("JVBERi0=", "application/pdf", filename="a.pdf")),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
            File(text="x"),
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://x.test/a"}},
            File(url="https://x.test/a"),
        ),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, File(file_id="f")),
        ({"type": "document", "source": {"type": "content", "content": "x"}}, File(text="x")),
        (
            {
                "type": "document",
                "source": {
                    "type": "content",
                    "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}],
                },
            },
            File(text="x\ny"),
        ),
    ],
)
def test_what_a_user_shows(block: Any, expected: Part) -> None:
    assert part(block) == expected


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "thinking", "thinking": "hm", "signature": "s"}, Thinking("hm", "s", origin=OWN)),
        ({"type": "thinking", "thinking": "", "signature": "s"}, Thinking("", "s", origin=OWN)),
        ({"type": "thinking", "thinking": "hm"}, Thinking("hm", origin=OWN)),
        ({"type": "redacted_thinking", "data": "d"}, Thinking(encrypted="d", origin=OWN)),
        ({"type": "tool_use", "id": "t", "name": "n", "input": {}}, ToolCall("t", "n", "")),
        ({"type": "tool_use", "id": "t", "name": "n", "input": {"a": [1]}}, ToolCall("t", "n", '{"a":[1]}')),
    ],
)
def test_what_an_assistant_did(block: Any, expected: Part) -> None:
    assert part(block, "assistant") == expected


@pytest.mark.parametrize(
    "thought",
    [
        Thinking("hm", "sig", origin=Dialect.GEMINI_GENERATE),
        Thinking("hm", encrypted="enc", origin=Dialect.OPENAI_RESPONSES, item_id="rs_1"),
        Thinking("hm", origin=Dialect.OLLAMA_CHAT),
    ],
)
def test_pitfall_23_a_thought_of_another_dialect_comes_back_as_its_own(thought: Thinking) -> None:
    block = {"type": "thinking", "thinking": thought.text, "signature": seal_thought(thought)}
    assert part(block, "assistant") == thought


@pytest.mark.parametrize(
    "kind",
    [
        "server_tool_use",
        "web_search_tool_result",
        "code_execution_tool_result",
        "mcp_tool_use",
        "container_upload",
        "hologram",
    ],
)
def test_blocks_that_only_anthropic_understands_are_refused_by_their_place(kind: str) -> None:
    assert refused_block({"type": "text", "text": "x"}, {"type": kind}) == "messages[0].content[1].type"


@pytest.mark.parametrize(
    ("blocks", "role", "param"),
    [
        (
            ({"type": "image", "source": {"type": "file", "file_id": "f"}},),
            "user",
            "messages[0].content[0].source.type",
        ),
        (({"type": "image", "source": {"type": "psychic"}},), "user", "messages[0].content[0].source.type"),
        (
            ({"type": "document", "source": {"type": "psychic"}},),
            "user",
            "messages[0].content[0].source.type",
        ),
        (({"type": "document"},), "user", "messages[0].content[0].source"),
        (
            ({"type": "document", "source": {"type": "content", "content": [IMAGE]}},),
            "user",
            "messages[0].content[0].source.content",
        ),
        (({"text": "x"},), "user", "messages[0].content[0].type"),
        (("x",), "user", "messages[0].content[0]"),
        (
            ({"type": "tool_use", "id": "t", "name": "n", "input": "x"},),
            "assistant",
            "messages[0].content[0].input",
        ),
        (({"type": "tool_use", "name": "n", "input": {}},), "assistant", "messages[0].content[0].id"),
        (({"type": "tool_result"},), "user", "messages[0].content[0].tool_use_id"),
        (({"type": "tool_result", "tool_use_id": "t"},), "assistant", "messages[0].content"),
        (({"type": "thinking", "thinking": "x"},), "user", "messages[0].content"),
        ((IMAGE,), "system", "messages[0].content"),
        ((), "robot", "messages[0].role"),
        (
            ({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "thinking", "thinking": ""}]},),
            "user",
            "messages[0].content[0].content",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_place(blocks: tuple[Any, ...], role: str, param: str) -> None:
    assert refused_block(*blocks, role=role) == param


@pytest.mark.parametrize("message", [{"role": "user"}, {"role": "user", "content": 7}, {"content": "x"}])
def test_a_message_without_role_or_content_is_refused(message: dict[str, Any]) -> None:
    assert refused(messages=[message]) in ("messages[0].role", "messages[0].content")


@pytest.mark.parametrize("depth", [5, 200])
def test_blocks_within_blocks_end_somewhere(depth: int) -> None:
    block: dict[str, Any] = {"type": "text", "text": "x"}
    for _ in range(depth):
        block = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    assert ask(messages=[{"role": "user", "content": [block]}]).needs == frozenset()
    assert (refused_block(block) or "").endswith("content")


def test_instructions_are_text_only() -> None:
    assert refused(system=[IMAGE]) == "system"


# --- what surrounds it ------------------------------------------------------------------------------------------


def test_tools() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    tools = [
        {
            "name": "a",
            "description": "d",
            "input_schema": {"type": "object"},
            "strict": True,
            "cache_control": {"type": "ephemeral"},
            "defer_loading": True,
            "eager_input_streaming": None,
        },
        {"type": "custom", "name": "b", "input_schema": {}, "defer_loading": True},
        search,
    ]
    chat = content(tools=tools)
    assert chat.tools == (
        Tool("a", "d", {"type": "object"}, True, cache=CacheMark()),
        Tool("b", parameters={}),
        Tool("web_search", kind="web_search_20250305", raw=search),
    )
    assert chat.left_out == ("tools.defer_loading",)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, (None, None)),
        ({"type": "auto"}, (ToolChoice("auto"), None)),
        ({"type": "any", "disable_parallel_tool_use": True}, (ToolChoice("required"), False)),
        (
            {"type": "tool", "name": "a", "disable_parallel_tool_use": False},
            (ToolChoice("named", ("a",)), True),
        ),
        ({"type": "none"}, (ToolChoice("none"), None)),
    ],
)
def test_the_choice_of_tools(choice: Any, expected: tuple[ToolChoice | None, bool | None]) -> None:
    chat = content(tool_choice=choice)
    assert (chat.tool_choice, chat.parallel_tool_calls) == expected


@pytest.mark.parametrize(
    ("document", "effort", "budget", "extras"),
    [
        ({}, None, None, {}),
        ({"thinking": {"type": "adaptive"}}, None, None, {"thinking": {"type": "adaptive"}}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max", None, {}),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "low"}},
            "low",
            None,
            {"thinking": {"display": "omitted"}},
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, None, 2000, {}),
        ({"thinking": {"type": "disabled"}}, "none", None, {}),
        (
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
            "none",
            None,
            {"output_config": {"effort": "low"}},
        ),
        (
            {"thinking": {"type": "between_tools"}, "output_config": {"effort": "low", "new": 1}},
            "low",
            None,
            {"thinking": {"type": "between_tools"}, "output_config": {"new": 1}},
        ),
        ({"output_config": {"effort": "xhigh"}}, "xhigh", None, {}),
    ],
)
def test_thinking(
    document: dict[str, Any], effort: str | None, budget: int | None, extras: dict[str, Any]
) -> None:
    chat = content(**document)
    assert (chat.effort, chat.thinking_budget, dict(chat.extras.get(OWN, {}))) == (effort, budget, extras)


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_the_form_of_the_answer(name: str) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    chat = content(**{name: {"format": wanted} if name == "output_config" else wanted})
    assert chat.output_format == OutputFormat("json_schema", {"type": "object"})
    assert chat.extras == {}


def test_a_short_name_of_a_user_is_kept() -> None:
    chat = content(metadata={"user_id": "u-1"})
    assert (chat.user, chat.extras, chat.metadata) == ("u-1", {}, {})


def test_claude_codes_long_name_of_a_user_is_shortened_for_others_and_kept_for_anthropic() -> None:
    long = json.dumps({"device_id": "d" * 64, "account_uuid": "a" * 36, "session_id": "s" * 36})
    chat = content(metadata={"user_id": long})
    assert chat.user is not None
    assert chat.user.startswith("user_")
    assert len(chat.user) <= 64
    assert chat.user == content(metadata={"user_id": long}).user
    assert chat.extras == {OWN: {"metadata": {"user_id": long}}}


@pytest.mark.parametrize(
    ("tier", "canonical"), [("auto", "auto"), ("standard_only", "default"), (None, None)]
)
def test_the_service_tier(tier: str | None, canonical: str | None) -> None:
    assert content(service_tier=tier).service_tier == canonical


def test_pitfall_41_unknown_fields_ride_in_the_dialects_own_extras() -> None:
    fields = {"context_management": {"edits": []}, "cache_control": {"type": "ephemeral"}, "speed": "fast"}
    assert content(**fields, container=None).extras == {OWN: fields}


def test_what_a_document_says_about_itself_is_noted() -> None:
    block = {**PDF, "context": "a report", "citations": {"enabled": True}}
    chat = content(messages=[{"role": "user", "content": [block, block]}])
    assert chat.left_out == ("document.context", "document.citations")


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"thinking": {"type": "psychic"}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": True}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "gigantic"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "yaml"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_format": "json"}, "output_config.format"),
        ({"tool_choice": {"type": "psychic"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [7]}, "stop_sequences[0]"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"top_k": -1}, "top_k"),
    ],
)
def test_a_wrong_option_is_named(document: dict[str, Any], param: str) -> None:
    assert refused(**document) == param
