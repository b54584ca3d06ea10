"""Towards Cohere: bodies of calls, addresses, models. Bodies are checked against the official client's models."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest
from cohere.types import ChatMessageV2, ResponseFormatV2, ToolV2
from cohere.types import Thinking as CohereThinking
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.cohere_chat import ADAPTER, format_call, format_probe, parse_models
from llmproxyd.adapters.cohere_format import MAX_TEXTS
from llmproxyd.adapters.cohere_tools import format_name, parse_name
from llmproxyd.values.contracts import BadRequest, Call, Listed
from llmproxyd.values.request import (
    NO_OVERRIDES,
    Audio,
    Capability,
    Chat,
    Dialect,
    Embed,
    File,
    Image,
    Message,
    Operation,
    OutputFormat,
    Overrides,
    Part,
    Refusal,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmproxyd.values.snapshot import Deployment, Probe, Quirks
from tests import wire
from tests.adapters.build import bare, deployment, provider, said
from tests.support.records import replace

COHERE: dict[str, Any] = {"dialect": Dialect.COHERE_CHAT, "base_url": "https://api.example.test"}
THERE = deployment(upstream="command-a", **COHERE)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def call_for(
    content: Chat | Embed,
    overrides: Overrides = NO_OVERRIDES,
    there: Deployment = THERE,
    *,
    stream: bool = False,
) -> Call:
    operation = Operation.EMBEDDING if isinstance(content, Embed) else Operation.CHAT
    return format_call(bare(operation, stream=stream), content, there, overrides)


def body_of(
    content: Chat | Embed, overrides: Overrides = NO_OVERRIDES, there: Deployment = THERE
) -> dict[str, Any]:
    body = json.loads(call_for(content, overrides, there).body)
    assert isinstance(body, dict)
    check(body)
    return body


def check(body: dict[str, Any]) -> None:
    """Everything that the official client has a model for has its form."""
    for message in body.get("messages", ()):
        pydantic.TypeAdapter(ChatMessageV2).validate_python(message)
    for tool in body.get("tools", ()):
        ToolV2.model_validate(tool)
    if "thinking" in body:
        CohereThinking.model_validate(body["thinking"])
    if "response_format" in body:
        pydantic.TypeAdapter(ResponseFormatV2).validate_python(body["response_format"])


def messages(*turns: Message) -> list[dict[str, Any]]:
    wired = body_of(Chat(turns))["messages"]
    assert isinstance(wired, list)
    return wired


def warnings(content: Chat | Embed, there: Deployment = THERE) -> tuple[str, ...]:
    return call_for(content, there=there).warnings


# --- the call -----------------------------------------------------------------------------------------------------


def test_a_chat_has_its_address_its_key_and_no_more_fields_than_were_asked_for() -> None:
    call = call_for(said("Łódź?"), stream=True)
    assert (call.method, call.url, call.stream) == ("POST", "https://api.example.test/v2/chat", True)
    assert call.headers["authorization"] == "Bearer k-123"
    assert call.headers["accept"] == "text/event-stream"
    assert call.warnings == ()
    assert json.loads(call.body) == {
        "model": "command-a",
        "messages": [{"role": "user", "content": "Łódź?"}],
        "stream": True,
    }


def test_a_conversation_comes_out_as_the_recorded_request() -> None:
    chat = Chat(
        (
            Message(Role.SYSTEM, (Text("Answer in one short sentence."),)),
            Message(Role.USER, (Text("Weather in Łódź?"),)),
            Message(
                Role.ASSISTANT,
                (Text("I will look it up."), ToolCall("get_weather_1", "get_weather", '{"city":"Łódź"}')),
            ),
            Message(Role.TOOL, (ToolResult("get_weather_1", (Text('{"temp_c":7}'),)),)),
        ),
        tools=(Tool("get_weather", "Current weather", CITY),),
        sampling=Sampling(temperature=0.3, top_p=0.75, top_k=0, max_tokens=256, stop=("###",), seed=7),
    )
    recorded = json.loads(wire.whole("cohere_chat", "request"))
    recorded["model"] = "command-a"
    # The recording writes these two at greater length.
    recorded["messages"][1]["content"] = "Weather in Łódź?"
    recorded["messages"][3]["content"] = '{"temp_c":7}'
    recorded["tools"][0]["function"]["parameters"] = CITY
    assert body_of(chat) == recorded


def test_fields_of_other_dialects_and_unknown_ones_are_named_in_warnings() -> None:
    chat = replace(
        said(),
        sampling=Sampling(logit_bias={"1": 2}, top_logprobs=3, logprobs=True),
        user="u",
        metadata={"a": "b"},
        service_tier="flex",
        left_out=("safety",),
        extras={Dialect.OLLAMA_CHAT: {"options": {"num_ctx": 8}}},
    )
    assert body_of(chat)["logprobs"] is True
    assert set(warnings(chat)) == {
        f"{name}: not carried to cohere-chat"
        for name in (
            "safety", "options.num_ctx", "logit_bias", "top_logprobs", "user", "metadata", "service_tier",
        )
    }  # fmt: skip


def test_its_own_unknown_fields_ride_along_but_never_over_what_is_canonical() -> None:
    own = {"safety_mode": "STRICT", "model": "other"}
    body = body_of(replace(said(), extras={Dialect.COHERE_CHAT: own}))
    assert (body["safety_mode"], body["model"]) == ("STRICT", "command-a")


# --- sampling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampling", "sent", "warned"),
    [
        (Sampling(top_p=1.0), {"p": 0.99}, "top_p"),
        (Sampling(top_p=0), {"p": 0.01}, "top_p"),
        (Sampling(top_k=1000), {"k": 500}, "top_k"),
        (Sampling(frequency_penalty=-2), {"frequency_penalty": 0}, "frequency_penalty"),
        (Sampling(presence_penalty=2), {"presence_penalty": 1}, "presence_penalty"),
        (Sampling(temperature=-1), {"temperature": 0}, "temperature"),
        (Sampling(seed=-1), {}, "seed"),
        (Sampling(temperature=1.7, top_p=0.5, seed=0), {"temperature": 1.7, "p": 0.5, "seed": 0}, None),
    ],
)
def test_what_lies_outside_coheres_ranges_is_moved_into_them_and_said(
    sampling: Sampling, sent: dict[str, Any], warned: str | None
) -> None:
    chat = replace(said(), sampling=sampling)
    body = body_of(chat)
    assert {
        name: value for name, value in body.items() if name not in ("model", "messages", "stream")
    } == sent
    assert [warning.partition(":")[0] for warning in warnings(chat)] == ([warned] if warned else [])


def test_overrides_win_over_what_the_client_wanted() -> None:
    chat = replace(said(), sampling=Sampling(temperature=1, max_tokens=5), effort="low", thinking_budget=9)
    body = body_of(chat, Overrides(temperature=0.5, top_p=0.4, max_tokens=50_000, seed=3, effort="high"))
    assert (body["temperature"], body["p"], body["max_tokens"], body["seed"]) == (0.5, 0.4, 50_000, 3)
    assert body["thinking"] == {"type": "enabled", "token_budget": 16_384}


def test_a_limit_is_set_only_where_the_client_or_the_provider_has_one() -> None:
    usual = deployment(Quirks(default_max_tokens=77), upstream="command-a", **COHERE)
    assert "max_tokens" not in body_of(said())
    assert body_of(said(), there=usual)["max_tokens"] == 77
    assert body_of(replace(said(), sampling=Sampling(max_tokens=5)), there=usual)["max_tokens"] == 5


def test_empty_stop_texts_are_left_out() -> None:
    assert body_of(replace(said(), sampling=Sampling(stop=("", "a", "\n"))))["stop_sequences"] == ["a", "\n"]


@pytest.mark.parametrize(
    ("chat", "param"),
    [
        (replace(said(), sampling=Sampling(n=2)), "n"),
        (replace(said(), sampling=Sampling(stop=tuple("abcdef"))), "stop"),
        (replace(said(), tools=(Tool("f"), Tool("g", kind="custom"))), "tools[1].type"),
        (replace(said(), tools=(Tool(""),)), "tools[0].name"),
        (replace(said(), tools=(Tool("f"),), output_format=OutputFormat("json_object")), "response_format"),
        (Embed(("a", (1, 2))), "input"),
        (Embed(("a",), input_type="poem"), "input_type"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(chat: Chat | Embed, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        call_for(chat)
    assert refused.value.failure.param == param


# --- thinking -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effort", "budget", "limit", "sent"),
    [
        (None, None, None, None),
        ("none", None, None, {"type": "disabled"}),
        (None, 0, None, {"type": "disabled"}),
        ("minimal", None, None, {"type": "enabled", "token_budget": 1024}),
        ("medium", None, None, {"type": "enabled", "token_budget": 8192}),
        ("max", None, 100, {"type": "enabled"}),
        (None, 5000, None, {"type": "enabled", "token_budget": 5000}),
        (None, 5000, 5000, {"type": "enabled", "token_budget": 2500}),
        ("high", None, 1, {"type": "disabled"}),
    ],
)
def test_effort_becomes_a_budget_below_the_limit(
    effort: str | None, budget: int | None, limit: int | None, sent: dict[str, Any] | None
) -> None:
    chat = replace(said(), effort=effort, thinking_budget=budget, sampling=Sampling(max_tokens=limit))
    assert body_of(chat).get("thinking") == sent


def test_a_model_known_not_to_think_is_not_asked_to() -> None:
    dull = replace(THERE, capabilities=frozenset({Capability.TOOLS}))
    assert "thinking" not in body_of(replace(said(), effort="high"), there=dull)
    assert warnings(replace(said(), effort="high"), dull) == (
        "reasoning_effort: not carried to cohere-chat (the model does not think)",
    )
    assert warnings(replace(said(), effort="none"), dull) == ()


# --- the form of the answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (OutputFormat("text"), None),
        (OutputFormat("json_object"), {"type": "json_object"}),
        (OutputFormat("json_schema", schema=CITY, name="x"), {"type": "json_object", "json_schema": CITY}),
    ],
)
def test_the_form_of_the_answer_is_asked_for_in_coheres_words(wanted: OutputFormat, sent: Any) -> None:
    assert body_of(replace(said(), output_format=wanted)).get("response_format") == sent


# --- tools ----------------------------------------------------------------------------------------------------------


def offered(choice: ToolChoice | None, **fields: Any) -> tuple[list[str], str | None]:
    body = body_of(
        replace(said(), tools=(Tool("f", parameters=CITY), Tool("g")), tool_choice=choice, **fields)
    )
    return [tool["function"]["name"] for tool in body["tools"]], body.get("tool_choice")


def test_a_tool_is_demanded_by_name_by_offering_no_other() -> None:
    assert offered(None) == offered(ToolChoice("auto")) == (["f", "g"], None)
    assert offered(ToolChoice("none")) == (["f", "g"], "NONE")
    assert offered(ToolChoice("required")) == (["f", "g"], "REQUIRED")
    assert offered(ToolChoice("named", ("g",))) == (["g"], "REQUIRED")
    assert offered(ToolChoice("auto", ("f",))) == (["f"], None)


def test_pitfall_15_a_choice_of_tools_without_tools_is_dropped() -> None:
    body = body_of(replace(said(), tool_choice=ToolChoice("none"), parallel_tool_calls=False))
    assert {"tools", "tool_choice", "strict_tools"}.isdisjoint(body)


def test_one_call_at_a_time_cannot_be_asked_for() -> None:
    assert warnings(replace(said(), tools=(Tool("f"),), parallel_tool_calls=False)) == (
        "parallel_tool_calls: not carried to cohere-chat",
    )


def test_strictness_is_for_all_tools_or_none() -> None:
    strict, loose = Tool("f", parameters=CITY, strict=True), Tool("g", parameters=CITY)
    assert body_of(replace(said(), tools=(strict,)))["strict_tools"] is True
    mixed = replace(said(), tools=(strict, loose))
    assert "strict_tools" not in body_of(mixed)
    assert warnings(mixed) == ("tools.strict: not carried to cohere-chat (it is for all tools or none)",)
    # A strict tool must have a required parameter.
    assert "strict_tools" not in body_of(
        replace(said(), tools=(Tool("f", parameters={"type": "object"}, strict=True),))
    )


def test_parameters_are_never_left_out() -> None:
    (tool,) = body_of(replace(said(), tools=(Tool("f"),)))["tools"]
    assert tool == {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
    }


@given(st.text(min_size=1, max_size=30))
def test_pitfall_16_names_are_written_in_coheres_alphabet_and_read_back(name: str) -> None:
    fitted = format_name(name, "tools[0].name")
    assert fitted.replace("_", "a").isascii()
    assert fitted.replace("_", "a").isalnum()
    assert not fitted[0].isdigit()
    assert parse_name(fitted) == name


@pytest.mark.parametrize(
    "name", ["_x2E_", "a_x2E_b", "_x2E", "__x2E__", "1_x2E_", "mcp.server/tool-1", "_x110000_"]
)
def test_names_that_look_escaped_are_read_back_too(name: str) -> None:
    assert parse_name(format_name(name, "n")) == name


def test_names_in_the_history_are_written_the_same_way() -> None:
    history = messages(Message(Role.ASSISTANT, (ToolCall("c", "a.b", "{}"),)))
    assert history[0]["tool_calls"][0]["function"]["name"] == "a_x2E_b"


# --- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("", "{}"),
        ("null", "{}"),
        ('{"a": 1}', '{"a":1}'),
        ("[1]", '{"arguments":[1]}'),
        ('{"a":', '{"arguments":"{\\"a\\":"}'),
    ],
)
def test_pitfall_11_arguments_are_always_the_text_of_an_object(arguments: str, sent: str) -> None:
    turn = messages(Message(Role.ASSISTANT, (ToolCall("c1", "f", arguments),)))[0]
    assert turn["tool_calls"][0]["function"]["arguments"] == sent


def test_pitfall_7_a_call_without_a_result_gets_one_and_a_result_without_a_call_is_left_out() -> None:
    turns = (
        Message(Role.ASSISTANT, (ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}"))),
        Message(Role.TOOL, (ToolResult("c2", (Text("two"),)), ToolResult("c9", (Text("lost"),)))),
        Message(Role.USER, (Text("go on"),)),
        Message(Role.ASSISTANT, (ToolCall("c3", "f", "{}"),)),
    )
    assert [(m["role"], m.get("tool_call_id"), m.get("content")) for m in messages(*turns)] == [
        ("assistant", None, None),
        ("tool", "c2", "two"),
        ("tool", "c1", "There is no result: the call was interrupted."),
        ("user", None, "go on"),
        ("assistant", None, None),
        ("tool", "c3", "There is no result: the call was interrupted."),
    ]
    assert warnings(Chat(turns)) == ("tool result: not carried to cohere-chat (without a call)",)


def test_pitfall_9_a_failed_tool_says_so_in_words() -> None:
    call = Message(Role.ASSISTANT, (ToolCall("c1", "f", "{}"),))
    result = Message(Role.TOOL, (ToolResult("c1", (Text("no such city"),), is_error=True),))
    assert messages(call, result)[1] == {
        "role": "tool",
        "tool_call_id": "c1",
        "content": "Error: no such city",
    }


def test_pitfall_10_pictures_in_results_follow_after_all_results() -> None:
    turns = messages(
        Message(Role.ASSISTANT, (ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}"))),
        Message(Role.TOOL, (ToolResult("c1", (Text("see"), Image(data="AAAA", media_type="image/png"))),)),
        Message(Role.TOOL, (ToolResult("c2", (Text("and"), File(text="this"))),)),
        Message(Role.USER, (Text("So?"),)),
    )
    assert [turn["role"] for turn in turns] == ["assistant", "tool", "tool", "user", "user"]
    assert [turns[1]["content"], turns[2]["content"]] == ["see", "and\nthis"]
    assert turns[3]["content"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


def test_pitfall_20_empty_texts_and_turns_are_left_out() -> None:
    turns = messages(
        Message(Role.SYSTEM, (Text(""),)),
        Message(Role.USER, (Text(""), Text("a"))),
        Message(Role.ASSISTANT, (Text(""), ToolCall("c", "f", "{}"))),
    )
    assert turns[0] == {"role": "user", "content": "a"}
    assert {"tool_plan", "content"}.isdisjoint(turns[1])


def test_pitfall_22_developers_and_later_instructions_are_systems() -> None:
    turns = messages(
        Message(Role.DEVELOPER, (Text("Be"), Text("brief."))),
        Message(Role.USER, (Text("a"),)),
        Message(Role.SYSTEM, (Text("Now be long."),)),
    )
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("system", "Be\nbrief."),
        ("user", "a"),
        ("system", "Now be long."),
    ]


def test_pitfall_24_only_its_own_thoughts_go_back() -> None:
    own = Message(Role.ASSISTANT, (Thinking("Hm.", origin=Dialect.COHERE_CHAT), Text("7 °C")))
    foreign = Message(
        Role.ASSISTANT, (Thinking("Hm.", "sig", origin=Dialect.ANTHROPIC_MESSAGES), Text("7 °C"))
    )
    bare_thought = Message(Role.ASSISTANT, (Thinking("Hm.", "sig", origin=Dialect.ANTHROPIC_MESSAGES),))
    assert messages(own)[0]["content"] == [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "7 °C"},
    ]
    assert messages(foreign)[0]["content"] == "7 °C"
    assert messages(said().messages[0], bare_thought) == [{"role": "user", "content": "hello"}]
    assert warnings(Chat((foreign, foreign))) == ("thinking: not carried to cohere-chat (another model's)",)


def test_pitfall_28_a_speakers_name_is_dropped_and_said() -> None:
    chat = Chat((Message(Role.USER, (Text("a"),), name="ann"),))
    assert body_of(chat)["messages"] == [{"role": "user", "content": "a"}]
    assert warnings(chat) == ("messages.name: not carried to cohere-chat",)


def test_pictures_go_by_address_or_data_with_the_detail_cohere_knows() -> None:
    (turn,) = messages(
        Message(
            Role.USER,
            (Text("a"), Image(url="https://example.test/a.png", detail="low"), Image(data="AA", media_type="image/gif", detail="original"), Refusal("b")),
        )
    )  # fmt: skip
    assert turn["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "https://example.test/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,AA"}},
        {"type": "text", "text": "b"},
    ]


@pytest.mark.parametrize("part", [Audio("AAAA", "wav"), File(data="AAAA", media_type="application/pdf")])
def test_what_cannot_be_carried_is_refused_with_its_place(part: Part) -> None:
    with pytest.raises(BadRequest) as refused:
        messages(Message(Role.USER, (Text("a"),)), Message(Role.USER, (Text("b"), part)))
    assert refused.value.failure.param == "messages[1].content[1]"


# --- embeddings -----------------------------------------------------------------------------------------------------


def test_pitfall_48_embeddings_have_a_type_of_input_and_come_as_floats() -> None:
    call = call_for(Embed(("a", "b"), dimensions=256, encoding="base64"))
    assert call.url == "https://api.example.test/v2/embed"
    assert json.loads(call.body) == {
        "model": "command-a",
        "texts": ["a", "b"],
        "input_type": "search_document",
        "embedding_types": ["float"],
        "output_dimension": 256,
    }
    assert body_of(Embed(("a",), input_type="search_query"))["input_type"] == "search_query"


def test_more_texts_than_one_call_holds_are_refused() -> None:
    assert len(body_of(Embed(("a",) * MAX_TEXTS))["texts"]) == 96
    with pytest.raises(BadRequest, match="96 texts in one request, not 97") as refused:
        call_for(Embed(("a",) * (MAX_TEXTS + 1)))
    assert refused.value.failure.param == "input"


def test_what_embeddings_do_not_carry_is_named() -> None:
    embed = Embed(("a",), user="u", extras={Dialect.OLLAMA_CHAT: {"truncate": False}})
    assert warnings(embed) == ("truncate: not carried to cohere-chat", "user: not carried to cohere-chat")


# --- probes and models ------------------------------------------------------------------------------------------------


def test_a_probe_asks_for_one_model_or_what_the_provider_says() -> None:
    assert format_probe(provider(**COHERE)).url == "https://api.example.test/v1/models?page_size=1"
    there = provider(probe=Probe("/v1/models?page_size=1000", lists_models=True), **COHERE)
    assert format_probe(there).url == "https://api.example.test/v1/models?page_size=1000"


def test_models_are_listed_with_what_they_can_do() -> None:
    assert parse_models(wire.whole("cohere_chat", "models")) == (
        Listed("command-a-03-2025", 256_000, frozenset({"tools"})),
    )
    entries = [
        {"name": "embed-v4.0", "endpoints": ["embed", "classify"], "context_length": 128000.0},
        {"name": "rerank-v3.5", "endpoints": ["rerank"]},
        {"name": "old", "endpoints": ["chat"], "is_deprecated": True},
        {"name": "command-a-reasoning", "endpoints": ["chat"], "features": ["reasoning", "vision", "strict_tools", "json_schema", "x"]},
        {"name": "plain", "context_length": True},
        {"name": "odd", "endpoints": [{}, 7]},
        {"endpoints": ["chat"]},
        7,
    ]  # fmt: skip
    assert parse_models(json.dumps({"models": entries}).encode()) == (
        Listed("embed-v4.0", 128_000, embeds=True),
        Listed("command-a-reasoning", None, frozenset({"tools", "vision", "thinking", "json_schema"})),
        Listed("plain"),
    )


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"models":7}'])
def test_what_is_no_list_of_models_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse_models(body)


def test_the_record_offers_no_verbatim_lane() -> None:
    assert (ADAPTER.splice_call, ADAPTER.new_relay, ADAPTER.inspect_answer) == (None, None, None)
    assert ADAPTER.dialect is Dialect.COHERE_CHAT
