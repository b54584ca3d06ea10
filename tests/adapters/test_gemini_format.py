from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.gemini_format import MAX_WARNINGS
from llmproxyd.adapters.gemini_generate import ADAPTER
from llmproxyd.adapters.gemini_names import format_name, parse_name
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    NO_OVERRIDES,
    Chat,
    Dialect,
    OutputFormat,
    Overrides,
    Sampling,
    Tool,
    ToolChoice,
)
from llmproxyd.values.snapshot import Quirks
from tests.adapters.gemini_build import (
    ask,
    body_of,
    call_for,
    deployment,
    formatted,
    said,
    thinkless,
    warnings_of,
)

OLD = "gemini-2.0-flash"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "exclusiveMinimum": 0}}, "$schema": "x"}
F = Tool("f", "does f", SCHEMA)


def config(chat: Chat, upstream: str = "gemini-3.8-flash", **fields: Any) -> Any:
    return formatted(chat, upstream, **fields).get("generationConfig")


def thinking(upstream: str, **fields: Any) -> Any:
    return (config(said(**fields), upstream) or {}).get("thinkingConfig")


# --- sampling ---------------------------------------------------------------------------------------------------


def test_every_wish_about_sampling_has_its_field() -> None:
    sampling = Sampling(0.5, 0.9, 40, 64, ("#",), 7, 0.1, 0.2, None, True, 3, 2)
    assert config(said(sampling=sampling)) == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "maxOutputTokens": 64,
        "stopSequences": ["#"],
        "seed": 7,
        "frequencyPenalty": 0.1,
        "presencePenalty": 0.2,
        "responseLogprobs": True,
        "logprobs": 3,
        "candidateCount": 2,
    }
    assert config(said()) is None


def test_a_rules_wishes_stand_before_the_clients() -> None:
    overrides = Overrides(temperature=0.1, top_p=0.2, max_tokens=9, seed=3)
    read = config(said(sampling=Sampling(temperature=1.0, max_tokens=99)), overrides=overrides)
    assert read == {"temperature": 0.1, "topP": 0.2, "maxOutputTokens": 9, "seed": 3}


def test_a_provider_may_set_a_limit_where_the_client_sets_none() -> None:
    assert config(said(), quirks=Quirks(default_max_tokens=50)) == {"maxOutputTokens": 50}


def test_what_gemini_has_no_field_for_is_named() -> None:
    chat = said(
        sampling=Sampling(logit_bias={"1": 1.0}),
        user="ann",
        metadata={"a": "b"},
        service_tier="scale",
        tools=(Tool("f", strict=True),),
        parallel_tool_calls=False,
        left_out=("context_management",),
        extras={Dialect.ANTHROPIC_MESSAGES: {"container": "c"}},
    )
    assert warnings_of(chat) == [
        "parallel_tool_calls",
        "tools[0].strict",
        "user",
        "metadata",
        "service_tier",
        "context_management",
        "container",
        "logit_bias",
    ]


def test_warnings_are_fit_for_a_header_and_bounded() -> None:
    tools = tuple(Tool(f"f{n}", strict=True) for n in range(100))
    warnings = call_for(said(left_out=("a\r\nset-cookie: x",))).warnings
    assert len(call_for(said(tools=tools)).warnings) == MAX_WARNINGS
    assert all(warning.isprintable() and warning.isascii() for warning in warnings)


@pytest.mark.parametrize(
    ("tier", "wire"), [("default", "standard"), ("flex", "flex"), ("auto", None), (None, None)]
)
def test_a_tier_of_service_has_googles_name(tier: str | None, wire: str | None) -> None:
    assert formatted(said(service_tier=tier)).get("serviceTier") == wire
    assert warnings_of(said(service_tier=tier)) == []


# --- thinking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upstream", "effort", "expected"),
    [
        ("gemini-3.8-flash", "low", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-3.8-flash", "max", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3.8-flash", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-pro-preview", "medium", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3-pro-preview", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-4-argon", "xhigh", {"thinkingLevel": "XHIGH", "includeThoughts": True}),
        ("models/gemini-flash-latest", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-flash", "max", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-flash-lite", "minimal", {"thinkingBudget": 512, "includeThoughts": True}),
        ("gemini-2.0-flash", "high", None),
    ],
)
def test_effort_is_a_level_or_a_budget_as_the_generation_takes_it(
    upstream: str, effort: str, expected: Any
) -> None:
    assert thinking(upstream, effort=effort) == expected


@pytest.mark.parametrize(
    ("upstream", "budget", "expected"),
    [
        ("gemini-2.5-flash", 0, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", 3000, {"thinkingBudget": 3000, "includeThoughts": True}),
        ("gemini-2.5-pro", 99999, {"thinkingBudget": 32768, "includeThoughts": True}),
        ("gemini-3.8-flash", 3000, {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
    ],
)
def test_a_budget_is_a_level_where_the_model_knows_no_budgets(
    upstream: str, budget: int, expected: Any
) -> None:
    assert thinking(upstream, thinking_budget=budget) == expected


def test_pitfall_42_thoughts_leave_room_for_an_answer() -> None:
    chat = said(effort="high", sampling=Sampling(max_tokens=1000))
    assert config(chat, "gemini-2.5-flash")["thinkingConfig"]["thinkingBudget"] == 500
    assert warnings_of(chat, "gemini-2.5-flash") == ["thinking budget 16384 (500 was asked for)"]


def test_a_level_that_means_something_else_is_named() -> None:
    assert warnings_of(said(effort="low")) == []
    assert warnings_of(said(effort="none")) == ["reasoning effort none (MINIMAL was asked for)"]
    assert warnings_of(said(effort="high"), OLD) == ["reasoning effort"]


def test_a_model_known_not_to_think_is_not_asked_to() -> None:
    call = ADAPTER.format_call(
        ask({"contents": [{}]}), said(effort="high"), thinkless("gemini-3.8-flash"), NO_OVERRIDES
    )
    assert "generationConfig" not in body_of(call)
    assert call.warnings == ("reasoning effort: not carried to gemini-generate",)


def test_a_gemini_clients_own_level_and_wish_to_see_thoughts_stay() -> None:
    request = ask({"contents": [{"parts": [{"text": "a"}]}]})
    extras = {Dialect.GEMINI_GENERATE: {"generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}}}
    own = ADAPTER.format_call(request, said(effort="xhigh"), deployment(), NO_OVERRIDES)
    assert body_of(own)["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "XHIGH"}
    automatic = ADAPTER.format_call(request, said(extras=extras), deployment(), NO_OVERRIDES)
    assert body_of(automatic)["generationConfig"]["thinkingConfig"] == {"thinkingBudget": -1}
    ruled = ADAPTER.format_call(request, said(extras=extras), deployment(), Overrides(effort="low"))
    assert body_of(ruled)["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW"}


# --- tools ------------------------------------------------------------------------------------------------------


def test_new_models_get_plain_json_schema_and_old_ones_googles_cut() -> None:
    plain = {name: value for name, value in SCHEMA.items() if name != "$schema"}
    (new,) = formatted(said(tools=(F,)))["tools"]
    assert new == {
        "functionDeclarations": [{"name": "f", "description": "does f", "parametersJsonSchema": plain}]
    }
    (old,) = formatted(said(tools=(F,)), OLD)["tools"]
    (declaration,) = old["functionDeclarations"]
    assert declaration["parameters"]["properties"] == {"n": {"type": "integer", "minimum": 1}}
    assert "parametersJsonSchema" not in declaration


def test_pitfall_17_what_a_schema_loses_is_named() -> None:
    lossy = Tool(
        "f", parameters={"type": "object", "properties": {"n": {"type": "integer", "multipleOf": 2}}}
    )
    assert warnings_of(said(tools=(lossy,)), OLD) == ["tools[0].parameters: multipleOf"]


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        {"type": "object", "properties": {}},
        {"type": "object", "additionalProperties": False, "required": []},
    ],
)
def test_pitfall_17_an_object_without_fields_is_left_out(parameters: Any) -> None:
    (tools,) = formatted(said(tools=(Tool("f", parameters=parameters),)))["tools"]
    assert tools == {"functionDeclarations": [{"name": "f"}]}


def test_pitfall_15_a_choice_without_tools_is_dropped() -> None:
    body = formatted(said(tool_choice=ToolChoice("auto"), parallel_tool_calls=False))
    assert "tools" not in body
    assert "toolConfig" not in body


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("named", ("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice("required", ("f", "g")), {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        (ToolChoice("auto", ("f",)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_every_choice_has_its_mode(choice: ToolChoice, expected: Any) -> None:
    body = formatted(said(tools=(F,), tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": expected}


def test_tools_of_other_makers_are_refused_by_name() -> None:
    hosted = Tool("", kind="web_search", raw={"type": "web_search"})
    with pytest.raises(BadRequest) as caught:
        formatted(said(tools=(F, hosted)))
    assert caught.value.failure.param == "tools[1].type"


def test_googles_own_tools_go_back_to_google() -> None:
    search = Tool("googleSearch", kind="googleSearch", raw={"googleSearch": {}})
    request = ask({"contents": [{"parts": [{"text": "a"}]}]})
    call = ADAPTER.format_call(request, said(tools=(search,)), deployment(), NO_OVERRIDES)
    assert body_of(call)["tools"] == [{"googleSearch": {}}]


@pytest.mark.parametrize("name", ["f", "a_b-c", "ns.f:x", "_x"])
def test_a_name_that_fits_stays(name: str) -> None:
    assert format_name(name) == parse_name(name) == name


@pytest.mark.parametrize("name", ["1st", "a/b", "-x", "łódź", "_esc.a", "a b"])
def test_pitfall_16_a_name_that_does_not_fit_is_written_so_that_it_can_be_read_back(name: str) -> None:
    assert format_name(name) != name
    assert parse_name(format_name(name)) == name


@given(st.text(min_size=1, max_size=20))
def test_pitfall_16_names_come_back_whatever_they_are(name: str) -> None:
    try:
        written = format_name(name)
    except ValueError:
        return
    assert len(written) <= 128
    assert written.isascii()
    assert parse_name(written) == name


def test_a_name_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        formatted(said(tools=(Tool("ł" * 64),)))
    assert caught.value.failure.param == "tools[0].name"


# --- form of the answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "upstream", "expected"),
    [
        (OutputFormat("text"), OLD, {"responseMimeType": "text/plain"}),
        (OutputFormat("json_object"), OLD, {"responseMimeType": "application/json"}),
        (
            OutputFormat("json_schema", {"const": "a"}),
            OLD,
            {"responseMimeType": "application/json", "responseSchema": {"type": "string", "enum": ["a"]}},
        ),
        (
            OutputFormat("json_schema", {"const": "a"}, name="n", strict=True),
            "gemini-2.5-flash",
            {"responseMimeType": "application/json", "responseJsonSchema": {"const": "a"}},
        ),
    ],
)
def test_the_form_of_the_answer_has_its_fields(wanted: OutputFormat, upstream: str, expected: Any) -> None:
    assert config(said(output_format=wanted), upstream) == expected
