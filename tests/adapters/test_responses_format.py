"""What our calls in the Responses dialect look like, and what a call of another dialect becomes in it."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from llmproxyd import jsontext
from llmproxyd.adapters.openai_responses import ADAPTER, format_call, needs_responses, splice_call
from llmproxyd.adapters.responses_input import NO_RESULT
from llmproxyd.surfaces import openai_chat, openai_responses
from llmproxyd.values.contracts import BadRequest, Call
from llmproxyd.values.replay import seal_thought
from llmproxyd.values.request import (
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
from llmproxyd.values.secret import Secret
from tests import wire
from tests.adapters.build import ask, bare, deployment, said
from tests.support.records import replace

NONE = Overrides()
HOME = deployment(dialect=Dialect.OPENAI_RESPONSES)
PARAMS: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsNonStreaming)


def own(body: bytes, headers: dict[str, str] | None = None) -> Request:
    return openai_responses.parse_request(headers or {}, body, "/v1/responses")


def asked(**fields: Any) -> Request:
    return own(jsontext.encode({"model": "m", "input": "hello", **fields}))


def call_of(chat: Chat, overrides: Overrides = NONE, request: Request | None = None, **changes: Any) -> Call:
    return format_call(request or bare(stream=False), chat, replace(HOME, **changes), overrides)


def body_of(
    chat: Chat, overrides: Overrides = NONE, *, official: bool = True, **changes: Any
) -> dict[str, Any]:
    """official: OpenAI's own client could have sent it."""
    document = jsontext.decode(call_of(chat, overrides, **changes).body)
    assert isinstance(document, dict)
    if official:
        PARAMS.validate_python(document)
    return document


def items_of(*messages: Message, official: bool = True) -> list[dict[str, Any]]:
    items = body_of(Chat(messages), official=official)["input"]
    assert isinstance(items, list)
    return items


def assistant(*parts: Part) -> Message:
    return Message(Role.ASSISTANT, parts)


ASKED = Message(Role.USER, (Text("Weather?"),))
OWN = Thinking("Look it up.", encrypted="gAAAA", origin=Dialect.OPENAI_RESPONSES, item_id="rs_1")
CALL = ToolCall("call_1", "get_weather", '{"city":"Łódź"}')
RESULT = Message(Role.TOOL, (ToolResult("call_1", (Text("7"),)),))


# --- calls ------------------------------------------------------------------------------------------------------


def test_a_call_is_a_post_with_the_key_that_keeps_nothing_at_the_provider() -> None:
    call = call_of(said())
    assert (call.method, call.url, call.stream) == ("POST", "https://api.example.test/v1/responses", False)
    assert call.headers["authorization"] == "Bearer k-123"
    assert jsontext.decode(call.body) == {
        "model": "up-model",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


def test_a_stream_is_asked_for() -> None:
    call = format_call(bare(), said(), HOME, NONE)
    assert call.stream
    assert jsontext.decode(call.body)["stream"] is True
    assert call.headers["accept"] == "text/event-stream"


def test_tokens_are_counted_at_their_own_address_without_what_only_generates() -> None:
    chat = replace(said(), sampling=Sampling(temperature=1.0, max_tokens=99), user="u", tools=(Tool("f"),))
    request = replace(bare(stream=False), operation=Operation.COUNT_TOKENS)
    call = call_of(chat, request=request)
    assert call.url.endswith("/v1/responses/input_tokens")
    assert set(jsontext.decode(call.body)) == {"model", "input", "tools"}


def test_vectors_are_not_made_here() -> None:
    with pytest.raises(BadRequest):
        format_call(bare(Operation.EMBEDDING), Embed(("x",)), HOME, NONE)


def test_the_adapter_is_complete_and_probes_by_listing_models() -> None:
    call = ADAPTER.format_probe(HOME.provider)
    assert (call.method, call.url) == ("GET", "https://api.example.test/v1/models")
    assert [model.id for model in ADAPTER.parse_models(b'{"data":[{"id":"gpt-6-sol"}]}')] == ["gpt-6-sol"]
    assert ADAPTER.operations == {Operation.CHAT, Operation.COMPLETION, Operation.COUNT_TOKENS}


def test_encrypted_thoughts_are_not_asked_of_models_that_are_known_not_to_think() -> None:
    assert "include" not in body_of(said(), capabilities=frozenset({Capability.TOOLS}))
    assert "include" in body_of(said(), capabilities=frozenset({Capability.THINKING}))


# --- messages ---------------------------------------------------------------------------------------------------


def test_leading_instructions_have_a_field_and_later_ones_stay_in_place() -> None:
    system = Message(Role.SYSTEM, (Text("Be short."),))
    developer = Message(Role.DEVELOPER, (Text("Now be long."),))
    body = body_of(Chat((system, ASKED, developer)))
    assert body["instructions"] == "Be short."
    assert [item["role"] for item in body["input"]] == ["user", "developer"]


def test_instructions_alone_stay_input_since_the_dialect_wants_some() -> None:
    body = body_of(Chat((Message(Role.SYSTEM, (Text("Say hello."),)),)))
    assert "instructions" not in body
    assert [item["role"] for item in body["input"]] == ["system"]


def test_pitfall_23_thoughts_stand_right_before_what_they_led_to() -> None:
    nameless = replace(OWN, item_id=None, text="")
    items = items_of(ASKED, assistant(OWN, Text("I look."), nameless, CALL), RESULT, official=False)
    assert items[1:] == [
        {
            "type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Look it up."}],
            "encrypted_content": "gAAAA",
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city":"Łódź"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "7"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "thought",
    [
        Thinking("Hm.", "sig", origin=Dialect.ANTHROPIC_MESSAGES),
        Thinking("Hm.", origin=Dialect.OPENAI_CHAT),
        Thinking("Hm.", origin=Dialect.OPENAI_RESPONSES, item_id="rs_9"),
        Thinking("Hm."),
    ],
)
def test_pitfall_24_thoughts_of_others_are_left_out_and_said_to_be(thought: Thinking) -> None:
    call = call_of(Chat((ASKED, assistant(thought, Text("Yes.")), ASKED)))
    assert not any(item["type"] == "reasoning" for item in jsontext.decode(call.body)["input"])
    assert [warning.split(" (")[0] for warning in call.warnings] == [
        "thinking: not carried to openai-responses"
    ]


def test_a_thought_that_led_to_nothing_is_left_out() -> None:
    call = call_of(Chat((ASKED, assistant(OWN), ASKED)))
    assert len(jsontext.decode(call.body)["input"]) == 2
    assert call.warnings == ("thinking: not carried to openai-responses (nothing follows it)",)


def test_pitfall_5_call_ids_that_do_not_fit_are_replaced_on_both_sides_alike() -> None:
    long = "call_" + "x" * 100
    _, call, result = items_of(
        ASKED, assistant(ToolCall(long, "f", "{}")), Message(Role.TOOL, (ToolResult(long, (Text("1"),)),))
    )
    assert call["call_id"] == result["call_id"]
    assert len(call["call_id"]) <= 64


def test_pitfall_7_a_call_without_a_result_gets_one_and_a_result_without_a_call_is_left_out() -> None:
    orphan = Message(Role.TOOL, (ToolResult("call_9", (Text("?"),)),))
    chat = Chat((ASKED, assistant(CALL, ToolCall("call_2", "f", "{}")), RESULT, orphan, ASKED))
    call = call_of(chat)
    kinds = [
        (item["type"], item.get("call_id"), item.get("output"))
        for item in jsontext.decode(call.body)["input"]
    ]
    assert kinds[1:5] == [
        ("function_call", "call_1", None),
        ("function_call", "call_2", None),
        ("function_call_output", "call_2", NO_RESULT),
        ("function_call_output", "call_1", "7"),
    ]
    assert len(call.warnings) == 2


def test_pitfall_9_an_error_of_a_tool_is_told_in_words() -> None:
    failed = Message(Role.TOOL, (ToolResult("call_1", (Text("no route"),), is_error=True),))
    assert items_of(ASKED, assistant(CALL), failed)[-1]["output"] == "Error: no route"


def test_pitfall_10_images_and_files_in_tool_results_stay_there() -> None:
    parts = (Text("See:"), Image(data="aGk=", media_type="image/png"), File(file_id="file_1"))
    output = items_of(ASKED, assistant(CALL), Message(Role.TOOL, (ToolResult("call_1", parts),)))[-1][
        "output"
    ]
    assert output == [
        {"type": "input_text", "text": "See:"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
        {"type": "input_file", "file_id": "file_1"},
    ]


def test_pitfall_11_a_call_without_arguments_has_an_empty_object() -> None:
    assert items_of(ASKED, assistant(ToolCall("call_1", "f", "")), RESULT)[1]["arguments"] == "{}"


def test_pitfall_16_names_of_other_dialects_are_respelt() -> None:
    call = items_of(ASKED, assistant(ToolCall("call_1", "srv.get", "{}")), RESULT)[1]
    assert call["name"] == "srv_x2E_get"
    with pytest.raises(BadRequest):
        body_of(replace(said(), tools=(Tool("x" * 65),)))


def test_everything_a_user_can_send_has_its_part() -> None:
    parts = (
        Text("a"),
        Image(url="https://example.test/a.png", detail="low"),
        File(data="aGk=", media_type="application/pdf", filename="a.pdf"),
        File(url="https://example.test/a.pdf"),
        File(text="plain"),
        Audio("aGk=", "wav"),
    )
    # Audio depends on the model, and is not among the official client's types.
    assert items_of(Message(Role.USER, parts), official=False)[0]["content"] == [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "https://example.test/a.png", "detail": "low"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://example.test/a.pdf"},
        {"type": "input_text", "text": "plain"},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
    ]


def test_what_cannot_be_said_is_refused() -> None:
    with pytest.raises(BadRequest):
        body_of(Chat((assistant(Image(url="https://example.test/a.png")),)))
    with pytest.raises(BadRequest):
        body_of(Chat((assistant(),)))


# --- tools and options ------------------------------------------------------------------------------------------


def test_pitfall_18_schemas_we_did_not_write_are_explicitly_not_strict() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = body_of(replace(said(), tools=(Tool("f", "does", schema), Tool("g", strict=True))))
    assert body["tools"] == [
        {"type": "function", "name": "f", "description": "does", "parameters": schema, "strict": False},
        {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": True},
    ]


def test_pitfall_15_a_choice_among_no_tools_is_left_out() -> None:
    body = body_of(replace(said(), tool_choice=ToolChoice("auto"), parallel_tool_calls=True))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(body)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("named", ("f",)), {"type": "function", "name": "f"}),
        (
            ToolChoice("auto", ("f",)),
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)
def test_the_choice_of_tools_is_flat(choice: ToolChoice, expected: Any) -> None:
    body = body_of(replace(said(), tools=(Tool("f"),), tool_choice=choice, parallel_tool_calls=False))
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (expected, False)


def test_custom_tools_of_the_chat_dialect_are_unwrapped() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    raw = {"type": "custom", "custom": {"name": "patch", "format": grammar}}
    chat = replace(
        said(),
        messages=(ASKED, assistant(ToolCall("call_1", "patch", "+", "custom")), RESULT),
        tools=(Tool("patch", kind="custom", raw=raw),),
        tool_choice=ToolChoice("named", ("patch",)),
    )
    body = body_of(chat)
    flat = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
    assert body["tools"] == [{"type": "custom", "name": "patch", "format": flat}]
    assert body["tool_choice"] == {"type": "custom", "name": "patch"}
    assert [item["type"] for item in body["input"][1:]] == ["custom_tool_call", "custom_tool_call_output"]
    assert body["input"][1]["input"] == "+"


def test_hosted_tools_of_others_are_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="web_search_20250305") as refused:
        body_of(
            replace(
                said(), tools=(Tool("s", kind="web_search_20250305", raw={"type": "web_search_20250305"}),)
            )
        )
    assert refused.value.failure.param == "tools[0].type"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (OutputFormat("json_object"), {"type": "json_object"}),
        (
            OutputFormat("json_schema", {"type": "object"}, "a", True, "b"),
            {
                "type": "json_schema",
                "name": "a",
                "schema": {"type": "object"},
                "strict": True,
                "description": "b",
            },
        ),
    ],
)
def test_the_form_of_the_answer_is_flat(wanted: OutputFormat, expected: Any) -> None:
    assert body_of(replace(said(), output_format=wanted))["text"] == {"format": expected}


@pytest.mark.parametrize(("budget", "effort"), [(0, "none"), (2000, "low"), (10**6, "xhigh")])
def test_budgets_become_the_effort_they_come_closest_to(budget: int, effort: str) -> None:
    assert body_of(replace(said(), thinking_budget=budget))["reasoning"] == {"effort": effort}


def test_sampling_and_people_are_carried_and_the_rest_is_noted() -> None:
    sampling = Sampling(0.5, 0.9, 40, 8, seed=1, presence_penalty=0.5, logprobs=True, top_logprobs=3)
    chat = replace(said(), sampling=sampling, user="u", service_tier="flex", metadata={"a": "b"})
    call = call_of(chat)
    body = jsontext.decode(call.body)
    assert {name: body[name] for name in ("temperature", "top_p", "top_logprobs", "max_output_tokens")} == {
        "temperature": 0.5, "top_p": 0.9, "top_logprobs": 3, "max_output_tokens": 16,
    }  # fmt: skip
    assert (body["user"], body["service_tier"], body["metadata"]) == ("u", "flex", {"a": "b"})
    assert body["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs"]
    assert call.warnings == (
        "top_k: not carried to openai-responses",
        "seed: not carried to openai-responses",
        "presence_penalty: not carried to openai-responses",
        "max_tokens: not carried to openai-responses (16 is the least)",
    )


@pytest.mark.parametrize(("sampling", "param"), [(Sampling(n=2), "n"), (Sampling(stop=("END",)), "stop")])
def test_what_would_change_the_answers_meaning_is_refused(sampling: Sampling, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        body_of(replace(said(), sampling=sampling))
    assert refused.value.failure.param == param


def test_overrides_win() -> None:
    body = body_of(
        replace(said(), effort="low"), Overrides(temperature=0.1, top_p=0.2, max_tokens=77, effort="high")
    )
    assert (body["temperature"], body["top_p"], body["max_output_tokens"]) == (0.1, 0.2, 77)
    assert body["reasoning"] == {"effort": "high"}


def test_what_both_of_openais_dialects_know_is_carried_and_all_else_is_noted() -> None:
    request = ask(
        prompt_cache_key="k",
        safety_identifier="s",
        verbosity="low",
        prediction={"type": "content"},
        store=True,
    )
    call = format_call(request, openai_chat.parse_content(request), HOME, NONE)
    body = jsontext.decode(call.body)
    assert (body["prompt_cache_key"], body["safety_identifier"], body["text"]) == (
        "k",
        "s",
        {"verbosity": "low"},
    )
    assert body["store"] is False
    assert call.warnings == (
        "prediction.type: not carried to openai-responses",
        "store: not carried to openai-responses",
    )


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        ("gpt-5.6-luna", {"reasoning_effort": "low"}, True),
        ("gpt-6-sol", {"reasoning_effort": "max"}, True),
        ("openai/gpt-5.10", {"reasoning_effort": "high"}, True),
        ("gpt-6-sol-2026-11-01", {"reasoning_effort": "high"}, True),
        ("ft:gpt-6-sol:acme::B1", {"reasoning_effort": "high"}, True),
        ("ft:gpt-4.1:acme::B1", {"reasoning_effort": "high"}, False),
        ("gpt-6-sol", {"reasoning_effort": "none"}, False),
        ("gpt-6-sol", {}, False),
        ("gpt-6-sol", {"reasoning_effort": "low", "tools": []}, False),
        ("gpt-6-sol", {"reasoning_effort": "low", "tools": [{"type": "custom"}]}, False),
        ("gpt-6-sol", {"reasoning_effort": "low", "tools": None, "functions": [{"name": "f"}]}, True),
        ("gpt-5.5", {"reasoning_effort": "low"}, False),
        ("gpt-5", {"reasoning_effort": "low"}, False),
        ("gpt-4o", {"reasoning_effort": "low"}, False),
        ("o3", {"reasoning_effort": "low"}, False),
        ("claude-opus-5-5", {"reasoning_effort": "low"}, False),
    ],
)
def test_pitfall_14_tools_with_thought_have_to_go_out_in_this_dialect(
    model: str, fields: dict[str, Any], expected: bool
) -> None:
    document = {"tools": [{"type": "function", "function": {"name": "f"}}], **fields}
    assert needs_responses(document, model) is expected


# --- verbatim ---------------------------------------------------------------------------------------------------


def test_a_body_of_the_same_dialect_passes_with_only_the_model_changed() -> None:
    request = own(wire.whole("openai_responses", "request"))
    call = splice_call(request, HOME, NONE)
    assert jsontext.decode(call.body) == {**request.document, "model": "up-model"}
    assert call.warnings == ()


def test_pitfall_41_fields_items_and_tools_nobody_knows_pass_untouched() -> None:
    strange = {
        "tools": [{"type": "time_machine"}],
        "input": [{"type": "new_item", "x": 1.50}],
        "brand_new": {"a": 1},
    }
    request = asked(**strange)
    assert jsontext.decode(splice_call(request, HOME, NONE).body) == {"model": "up-model", **strange}


def test_overrides_are_spliced_in() -> None:
    request = asked(reasoning={"effort": "low", "summary": "auto"}, temperature=1)
    call = splice_call(request, HOME, Overrides(temperature=0.5, max_tokens=3, effort="high", seed=1))
    body = jsontext.decode(call.body)
    assert (body["temperature"], body["max_output_tokens"]) == (0.5, 16)
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert call.warnings == ("seed: not carried to openai-responses",)


def test_openais_own_thoughts_leave_their_seal_and_those_of_others_stay_behind() -> None:
    def sealed(thought: Thinking) -> dict[str, Any]:
        return {
            "type": "reasoning",
            "id": "rs_ours",
            "summary": [],
            "encrypted_content": seal_thought(thought),
        }

    foreign = Thinking("", "sig", origin=Dialect.ANTHROPIC_MESSAGES)
    nameless = replace(OWN, item_id=None)
    untouched = {"type": "reasoning", "id": "rs_5", "summary": [], "encrypted_content": "gBBBB"}
    user = {"role": "user", "content": "hi"}
    request = asked(input=[user, sealed(foreign), sealed(OWN), sealed(nameless), untouched])
    call = splice_call(request, HOME, NONE)
    assert jsontext.decode(call.body)["input"] == [
        user,
        {"type": "reasoning", "summary": [], "id": "rs_1", "encrypted_content": "gAAAA"},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        untouched,
    ]
    assert call.warnings == ("thinking: not carried to openai-responses (made by another provider)",)


def test_headers_that_change_how_a_body_is_read_go_on_and_no_others() -> None:
    lite = {"x-openai-internal-codex-responses-lite": "true"}
    request = own(b'{"model":"m","input":"x"}', {**lite, "authorization": "Bearer theirs", "cookie": "c"})
    home = deployment(dialect=Dialect.OPENAI_RESPONSES, headers={"openai-organization": Secret("org")})
    call = splice_call(request, home, NONE)
    assert call.headers["x-openai-internal-codex-responses-lite"] == "true"
    assert call.headers["authorization"] == "Bearer k-123"
    assert "cookie" not in call.headers
    assert dict(splice_call(own(b'{"model":"m","input":"x"}'), home, NONE).headers).keys().isdisjoint(lite)
