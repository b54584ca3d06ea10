from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmproxyd.adapters.anthropic_tools import MAX_NAME_CHARS, format_name, parse_name
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import CacheMark, Dialect, Role, Text, Tool, ToolCall, ToolChoice, ToolResult
from tests.adapters.anthropic_build import (
    assistant,
    body_for,
    chat,
    deployment,
    envelope,
    turn,
    user,
    warnings_for,
)

GET = Tool("get", "Gets it.", {"type": "object", "properties": {"a": {"type": "string"}}})
PUT = Tool("put")


@given(st.text(st.sampled_from("_xX2E5Fa.:/é -"), min_size=1, max_size=12))
@example("_x2E:")
@example("_x5F_x2E_")
@example("get_xml")
def test_pitfall_16_a_name_comes_back_as_it_was(name: str) -> None:
    wire = format_name(name, "tools[0].name")
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", wire)
    assert parse_name(wire) == name


@pytest.mark.parametrize("name", ["get_weather", "get_xml", "a-b", "_x", "x_x1_y"])
def test_an_ordinary_name_is_not_touched(name: str) -> None:
    assert format_name(name, "p") == name


@pytest.mark.parametrize("name", ["", "a" * (MAX_NAME_CHARS + 1), "." * 40])
def test_a_name_that_cannot_be_made_to_fit_is_refused_by_its_place(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        body_for(chat(tools=(GET, Tool(name))))
    assert refused.value.failure.param == "tools[1].name"


def test_a_code_point_that_does_not_exist_is_left_as_it_is() -> None:
    assert parse_name("a_xFFFFFF_") == "a_xFFFFFF_"


def test_functions_become_tools_with_an_object_schema() -> None:
    marked = Tool("put", cache=CacheMark("1h"))
    assert body_for(chat(tools=(GET, marked)))["tools"] == [
        {
            "name": "get",
            "description": "Gets it.",
            "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
        },
        {
            "name": "put",
            "input_schema": {"type": "object", "properties": {}},
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "wire"),
    [
        (None, None, None),
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("required"), None, {"type": "any"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("named", ("get",)), None, {"type": "tool", "name": "get"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("required"), True, {"type": "any", "disable_parallel_tool_use": False}),
    ],
)
def test_the_choice_of_tools(choice: ToolChoice | None, parallel: bool | None, wire: object) -> None:
    body = body_for(chat(tools=(GET, PUT), tool_choice=choice, parallel_tool_calls=parallel))
    assert body.get("tool_choice") == wire


def test_several_allowed_tools_are_the_only_ones_offered() -> None:
    body = body_for(chat(tools=(GET, PUT), tool_choice=ToolChoice("required", ("put",))))
    assert [tool["name"] for tool in body["tools"]] == ["put"]
    assert body["tool_choice"] == {"type": "any"}


def test_pitfall_15_a_choice_without_tools_is_dropped() -> None:
    body = body_for(chat(tool_choice=ToolChoice("auto"), parallel_tool_calls=False))
    assert "tools" not in body
    assert "tool_choice" not in body


def test_pitfall_15_a_history_with_calls_declares_their_tools() -> None:
    history = (
        user("go"),
        assistant(ToolCall("c1", "mcp.get", "{}"), ToolCall("c2", "mcp.get", "{}")),
        turn(Role.TOOL, ToolResult("c1", (Text("1"),)), ToolResult("c2", (Text("2"),))),
    )
    body = body_for(chat(*history))
    assert body["tools"] == [{"name": "mcp_x2E_get", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}


def test_pitfall_13_a_model_that_always_thinks_cannot_be_forced_to_call() -> None:
    content = chat(tools=(GET,), tool_choice=ToolChoice("named", ("get",)))
    target = deployment("claude-mythos-5-2")
    assert body_for(content, target)["tool_choice"] == {"type": "auto"}
    assert "tool_choice: not carried to anthropic-messages" in warnings_for(content, target)


def test_pitfall_13_a_strict_schema_of_another_dialect_is_coerced_and_said() -> None:
    content = chat(tools=(Tool("get", strict=True), Tool("put", strict=True)))
    assert "strict" not in body_for(content)["tools"][0]
    assert warnings_for(content) == "tools.strict: not carried to anthropic-messages"
    own = envelope(Dialect.ANTHROPIC_MESSAGES)
    assert body_for(content, request=own)["tools"][0]["strict"] is True


def test_a_tool_of_anthropics_own_passes_for_its_own_clients_only() -> None:
    raw = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    content = chat(tools=(Tool("web_search", kind="web_search_20250305", raw=raw),))
    assert body_for(content, request=envelope(Dialect.ANTHROPIC_MESSAGES))["tools"] == [raw]
    with pytest.raises(BadRequest) as refused:
        body_for(content)
    assert refused.value.failure.param == "tools[0].type"
