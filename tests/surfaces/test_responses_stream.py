"""What clients of the Responses dialect are answered: streams, whole answers, failures."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from llmproxyd import jsontext
from llmproxyd.adapters.responses_stream import ResponsesDecoder
from llmproxyd.framing import SSESplitter
from llmproxyd.surfaces.openai_responses import COUNT_SURFACE, SURFACE, parse_content, parse_request
from llmproxyd.surfaces.responses_stream import ResponsesEncoder
from llmproxyd.values.answer import (
    Answer,
    Choice,
    CitationDelta,
    Event,
    Failed,
    Finish,
    Finished,
    Pinged,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenCount,
    ToolCallDelta,
    UsageReported,
    Vectors,
    fold,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.replay import is_seal
from llmproxyd.values.request import Dialect, Refusal, Request, Role, Text, Thinking, ToolCall
from tests import wire

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False},
    {"type": "custom", "name": "patch"},
    {
        "type": "namespace",
        "name": "ns",
        "description": "d",
        "tools": [{"type": "function", "name": "run"}, {"type": "custom", "name": "edit"}],
    },
]
BUSY = Failure(FailureKind.OVERLOADED, "The provider is overloaded.")


def asked(**fields: Any) -> Request:
    return parse_request(
        {}, jsontext.encode({"model": "alias", "input": "hi", "tools": TOOLS, **fields}), "/v1/responses"
    )


def encoder(**fields: Any) -> ResponsesEncoder:
    made = SURFACE.new_encoder(asked(**fields), model="alias", id="req_1", created_s=1_800_000_000)
    assert isinstance(made, ResponsesEncoder)
    return made


def stream(*events: Event, **fields: Any) -> bytes:
    one = encoder(**fields)
    return b"".join(map(one.feed, events)) + one.close()


def read(data: bytes) -> list[dict[str, Any]]:
    """Every event of a stream; each is one that OpenAI's own client knows, and its name is its type."""
    found = []
    for name, text, _ in SSESplitter().feed(data):
        if not text:
            continue
        event = json.loads(text)
        assert event["type"] == name.decode()
        # Agents know more codes of errors than the client's closed list of them.
        EVENTS.validate_json(text.replace(b'"code":"server_is_overloaded"', b'"code":"server_error"'))
        found.append(event)
    return found


def final(*events: Event, **fields: Any) -> dict[str, Any]:
    response = read(stream(*events, **fields))[-1]["response"]
    assert isinstance(response, dict)
    return response


def kinds(data: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in read(data)]


# --- order ------------------------------------------------------------------------------------------------------


def test_a_text_has_exactly_the_events_of_the_dialect_in_their_order() -> None:
    data = stream(Started("x", "up"), TextDelta("It "), TextDelta("is."), Finished(Finish.STOP))
    assert kinds(data) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in read(data)] == list(range(10))


def test_thought_text_and_calls_each_have_their_item() -> None:
    data = stream(
        ThinkingDelta("Hm.", origin=Dialect.ANTHROPIC_MESSAGES),
        ThinkingDelta(signature="S", origin=Dialect.ANTHROPIC_MESSAGES),
        TextDelta("I look."),
        ToolCallDelta(0, "c1", "f", '{"a"'),
        ToolCallDelta(0, arguments=":1}"),
        Finished(Finish.TOOL_CALLS),
    )
    assert kinds(data)[2:] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip


def test_nothing_is_said_before_there_is_something_to_say() -> None:
    one = encoder()
    assert one.feed(Started("x", "up")) == one.feed(UsageReported(Usage(1, 1))) == b""
    assert one.feed(ThinkingDelta("")) == one.feed(TextDelta("")) == b""
    assert kinds(one.feed(TextDelta("a")))[:2] == ["created", "in_progress"]


def test_every_lifecycle_event_carries_the_whole_response() -> None:
    fields = {
        "instructions": "Be short.",
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "reasoning": {"effort": "low"},
    }
    data = read(stream(Started("x", "up", 1_700_000_000), TextDelta("a"), Finished(Finish.STOP), **fields))
    responses = [event["response"] for event in data if "response" in event]
    assert [response["status"] for response in responses] == ["in_progress", "in_progress", "completed"]
    for response in responses:
        assert response["id"] == responses[0]["id"]
        assert response["id"].startswith("resp_")
        assert (response["created_at"], response["model"], response["tools"]) == (
            1_700_000_000,
            "alias",
            TOOLS,
        )
        assert response["reasoning"] == {"effort": "low", "summary": None}
        assert (response["instructions"], response["metadata"], response["store"]) == (
            "Be short.",
            {"a": "b"},
            True,
        )


def test_every_item_that_was_added_is_done_and_part_of_the_final_response() -> None:
    data = read(
        stream(
            ThinkingDelta("Hm."), TextDelta("a"), ToolCallDelta(0, "c1", "f", "{}"), ToolCallDelta(1, "c2", "patch", "x"),
            RefusalDelta("No."), Finished(Finish.STOP),
        )
    )  # fmt: skip
    added = {event["output_index"]: event["item"] for event in data if event["type"].endswith("item.added")}
    done = {event["output_index"]: event["item"] for event in data if event["type"].endswith("item.done")}
    output = data[-1]["response"]["output"]
    assert [done[place] for place in range(len(output))] == output
    assert [added[place]["id"] for place in range(len(output))] == [item["id"] for item in output]
    assert [item["id"].split("_")[0] for item in output] == ["rs", "msg", "fc", "ctc", "msg"]


def test_ids_are_the_same_each_time_and_differ_from_request_to_request() -> None:
    events = (TextDelta("a"), ToolCallDelta(0, "c", "f", "{}"), Finished(Finish.STOP))
    assert stream(*events) == stream(*events)
    other = SURFACE.new_encoder(asked(), model="alias", id="req_2", created_s=1)
    other.feed(events[0])
    assert read(other.close())[-1]["response"]["id"] != final(*events)["id"]


# --- content ----------------------------------------------------------------------------------------------------


def test_pitfall_1_a_call_that_comes_in_one_piece_keeps_its_arguments() -> None:
    data = read(stream(ToolCallDelta(0, "c1", "f", '{"a":1}'), Finished(Finish.TOOL_CALLS)))
    deltas = [event["delta"] for event in data if event["type"].endswith("arguments.delta")]
    assert deltas == ['{"a":1}']
    assert data[-1]["response"]["output"][0]["arguments"] == '{"a":1}'


def test_pitfall_2_a_stream_that_starts_with_a_call_has_no_empty_message() -> None:
    assert [
        item["type"] for item in final(ToolCallDelta(0, "c", "f", "{}"), Finished(Finish.STOP))["output"]
    ] == ["function_call"]


def test_parallel_calls_may_come_mixed() -> None:
    output = final(
        ToolCallDelta(0, "c1", "f", "["),
        ToolCallDelta(1, "c2", "f", "{"),
        ToolCallDelta(0, arguments="]"),
        ToolCallDelta(1, arguments="}"),
        Finished(Finish.TOOL_CALLS),
    )["output"]
    assert [(item["call_id"], item["arguments"], item["status"]) for item in output] == [
        ("c1", "[]", "completed"),
        ("c2", "{}", "completed"),
    ]


def test_pitfall_11_a_call_without_arguments_has_an_empty_object() -> None:
    assert final(ToolCallDelta(0, "c", "f"), Finished(Finish.TOOL_CALLS))["output"][0]["arguments"] == "{}"


def test_custom_tools_and_namespaces_are_given_back_as_the_client_knows_them() -> None:
    output = final(
        ToolCallDelta(0, "c1", "patch", '{"input":"+ Ł'),
        ToolCallDelta(0, arguments='ódź"}'),
        ToolCallDelta(1, "c2", "ns__run", "{}"),
        ToolCallDelta(2, "c3", "ns__edit", '{"input":"x"}'),
        ToolCallDelta(3, "c4", "made_up", "{}"),
        Finished(Finish.TOOL_CALLS),
    )["output"]
    shown = [{k: v for k, v in item.items() if k not in ("id", "status", "call_id")} for item in output]
    assert shown == [
        {"type": "custom_tool_call", "name": "patch", "input": "+ Łódź"},
        {"type": "function_call", "name": "run", "namespace": "ns", "arguments": "{}"},
        {"type": "custom_tool_call", "name": "edit", "namespace": "ns", "input": "x"},
        {"type": "function_call", "name": "made_up", "arguments": "{}"},
    ]


@pytest.mark.parametrize("arguments", ["+ plain", '{"other":1}', '{"input":7}', "[]", '{"input":'])
def test_a_model_that_did_not_wrap_the_text_of_a_custom_tool_is_taken_at_its_word(arguments: str) -> None:
    output = final(ToolCallDelta(0, "c", "patch", arguments), Finished(Finish.TOOL_CALLS))["output"]
    assert output[0]["input"] == arguments


def test_a_custom_call_of_a_provider_that_knows_them_streams_as_it_comes() -> None:
    one = encoder()
    one.feed(ToolCallDelta(0, "c", "patch", "", kind="custom"))
    (delta,) = read(one.feed(ToolCallDelta(0, arguments="+", kind="custom")))
    assert (delta["type"], delta["delta"]) == ("response.custom_tool_call_input.delta", "+")


def test_tools_of_a_form_nobody_knows_do_not_stop_an_answer() -> None:
    data = stream(ToolCallDelta(0, "c", "f", "{}"), Finished(Finish.STOP), tools=[{"type": 7}])
    (_, last, _) = SSESplitter().feed(data)[-1]
    assert json.loads(last)["response"]["output"][0]["name"] == "f"


@pytest.mark.parametrize(
    "thought",
    [
        ThinkingDelta("Hm.", signature="S", origin=Dialect.ANTHROPIC_MESSAGES),
        ThinkingDelta("", encrypted="E", origin=Dialect.ANTHROPIC_MESSAGES),
        ThinkingDelta("Hm.", encrypted="E", origin=Dialect.OPENAI_RESPONSES, item_id="rs_up"),
        ThinkingDelta("Hm.", origin=Dialect.OPENAI_CHAT),
    ],
)
def test_pitfall_23_a_thought_handed_back_is_the_thought_that_was_given(thought: ThinkingDelta) -> None:
    output = final(thought, TextDelta("a"), Finished(Finish.STOP))["output"]
    assert is_seal(output[0]["encrypted_content"])
    back = parse_content(asked(input=[{"role": "user", "content": "hi"}, *output])).messages[1].parts[0]
    assert back == Thinking(
        thought.text, thought.signature, thought.encrypted, thought.origin, thought.item_id
    )


def test_pitfall_6_the_signature_of_a_call_survives_the_client() -> None:
    output = final(ToolCallDelta(0, "c", "f", "{}", signature="SIG"), Finished(Finish.TOOL_CALLS))["output"]
    assert [item["type"] for item in output] == ["reasoning", "function_call"]
    chat = parse_content(asked(input=[{"role": "user", "content": "hi"}, *output]))
    assert chat.messages[1].parts == (ToolCall("c", "f", "{}", signature="SIG"),)


def test_two_thoughts_in_a_row_are_two_items() -> None:
    output = final(ThinkingDelta("A"), ThinkingDelta("B", new_block=True), Finished(Finish.STOP))["output"]
    assert [item["summary"][0]["text"] for item in output] == ["A", "B"]


def test_citations_logprobs_and_refusals_have_their_form() -> None:
    token = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    nested = {"url": "https://example.test", "title": "T", "start_index": 0, "end_index": 1}
    data = stream(
        TextDelta("a", logprobs={"content": [token]}),
        CitationDelta({"type": "url_citation", "url_citation": nested}),
        CitationDelta({"type": "char_location"}),
        RefusalDelta("No."),
        Finished(Finish.STOP),
    )
    message = read(data)[-1]["response"]["output"][0]
    assert message["content"] == [
        {
            "type": "output_text",
            "text": "a",
            "annotations": [{"type": "url_citation", **nested}],
            "logprobs": [token],
        },
        {"type": "refusal", "refusal": "No."},
    ]


def test_a_citation_of_nothing_is_left_out() -> None:
    assert (
        stream(CitationDelta({"type": "url_citation"}), Finished(Finish.STOP)).count(b"annotation.added") == 0
    )


# --- ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finish", "status", "reason", "item"),
    [
        (Finish.STOP, "completed", None, "completed"),
        (Finish.STOP_SEQUENCE, "completed", None, "completed"),
        (Finish.TOOL_CALLS, "completed", None, "completed"),
        (Finish.LENGTH, "incomplete", "max_output_tokens", "incomplete"),
        (Finish.PAUSE, "incomplete", "max_output_tokens", "incomplete"),
        (Finish.CONTENT_FILTER, "incomplete", "content_filter", "incomplete"),
        (Finish.REFUSAL, "incomplete", "content_filter", "completed"),
    ],
)
def test_why_the_model_stopped_is_told_by_the_last_event(
    finish: Finish, status: str, reason: str | None, item: str
) -> None:
    data = read(stream(TextDelta("a"), Finished(finish)))
    response = data[-1]["response"]
    assert data[-1]["type"] == f"response.{status}"
    assert response["status"] == status
    assert response["incomplete_details"] == (None if reason is None else {"reason": reason})
    assert response["output"][0]["status"] == item


def test_a_refusal_in_the_models_own_words_is_a_complete_answer() -> None:
    assert final(RefusalDelta("No."), Finished(Finish.REFUSAL))["status"] == "completed"


def test_usage_comes_with_the_last_event() -> None:
    usage = Usage(120, 42, 64, 10, 5, reasoning_tokens=20)
    assert final(TextDelta("a"), Finished(Finish.STOP), UsageReported(usage))["usage"] == {
        "input_tokens": 120,
        "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 15},
        "output_tokens": 42,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 162,
    }
    assert final(TextDelta("a"), Finished(Finish.STOP))["usage"] is None


def test_an_empty_answer_is_an_answer() -> None:
    assert kinds(stream(Finished(Finish.STOP))) == ["created", "in_progress", "completed"]
    assert kinds(stream()) == ["created", "in_progress", "completed"]


def test_pitfall_32_a_failure_after_content_ends_the_same_response_as_failed() -> None:
    one = encoder()
    begun = read(one.feed(TextDelta("a")))
    (event,) = read(one.feed(Failed(BUSY)))
    assert event["type"] == "response.failed"
    assert event["sequence_number"] == len(begun)
    assert event["response"]["id"] == begun[0]["response"]["id"]
    assert event["response"]["status"] == "failed"
    assert event["response"]["error"]["message"] == BUSY.message


def test_a_failure_after_pings_is_a_whole_stream_of_its_own() -> None:
    one = encoder()
    assert one.ping() == one.feed(Pinged()) == b": keep-alive\n\n"
    events = read(one.fail(BUSY))
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.failed",
    ]
    assert len({event["response"]["id"] for event in events}) == 1


def test_a_failure_in_a_stream_that_somebody_else_began_is_only_its_end() -> None:
    (name, data, _), *rest = SSESplitter().feed(encoder().fail(BUSY))
    assert (name, rest) == (b"response.failed", [])
    event = json.loads(data)
    assert "sequence_number" not in event
    assert event["response"]["error"] == {"code": "server_is_overloaded", "message": BUSY.message}


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (Failure(FailureKind.TOO_LARGE, "Too long."), "context_length_exceeded", "Too long."),
        (
            Failure(FailureKind.RATE_LIMITED, "Slow down.", retry_after_s=2.5),
            "rate_limit_exceeded",
            "Slow down. Please try again in 2.5s.",
        ),
        (Failure(FailureKind.UNREACHABLE, "Away."), "provider_unreachable", "Away."),
    ],
)
def test_agents_find_the_codes_and_words_they_look_for(failure: Failure, code: str, words: str) -> None:
    one = encoder()
    one.feed(TextDelta("a"))
    (_, data, _) = SSESplitter().feed(one.fail(failure))[-1]
    assert json.loads(data)["response"]["error"] == {"code": code, "message": words}


def test_pitfall_30_separators_that_some_clients_split_at_are_escaped() -> None:
    data = stream(TextDelta("a\u2028b\u2029c\u0085d"), Finished(Finish.STOP))
    assert not any(char.encode() in data for char in "\u2028\u2029\u0085")
    assert read(data)[-1]["response"]["output"][0]["content"][0]["text"] == "a\u2028b\u2029c\u0085d"


# --- whole answers ----------------------------------------------------------------------------------------------

ANSWER = Answer(
    "up_1",
    "up",
    (
        Choice(
            (
                Thinking("Hm.", "S", None, Dialect.ANTHROPIC_MESSAGES),
                Text("I look."),
                ToolCall("c", "ns__run", ""),
            ),
            Finish.TOOL_CALLS,
        ),
    ),
    Usage(10, 5),
    1_700_000_000,
)


def test_a_whole_answer_is_what_its_stream_would_have_ended_with() -> None:
    body = SURFACE.format_answer(ANSWER, asked(), model="alias", id="req_1", created_s=1)
    document = jsontext.decode(body)
    Response.model_validate(document)
    streamed = final(
        Started("up_1", "up", 1_700_000_000),
        ThinkingDelta("Hm.", 0, "S", None, Dialect.ANTHROPIC_MESSAGES),
        TextDelta("I look."),
        ToolCallDelta(0, "c", "ns__run"),
        Finished(Finish.TOOL_CALLS),
        UsageReported(Usage(10, 5)),
    )
    assert document == streamed


def test_counts_are_answered_and_vectors_are_not() -> None:
    body = COUNT_SURFACE.format_answer(TokenCount(120), asked(), model="alias", id="req_1", created_s=1)
    assert jsontext.decode(body) == json.loads(wire.whole("openai_responses", "input_tokens"))
    with pytest.raises(TypeError):
        SURFACE.format_answer(Vectors("m", ()), asked(), model="alias", id="req_1", created_s=1)


def test_a_failure_has_openais_form() -> None:
    error = jsontext.decode(
        SURFACE.format_failure(Failure(FailureKind.BAD_REQUEST, "No.", param="input"), "req_1")
    )
    assert error == {
        "error": {"message": "No.", "type": "invalid_request_error", "param": "input", "code": None}
    }


# --- round trips and OpenAI's own client ------------------------------------------------------------------------

_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
_EVENT = st.one_of(
    st.builds(TextDelta, _TEXT),
    st.builds(RefusalDelta, _TEXT),
    st.builds(ThinkingDelta, _TEXT, origin=st.just(Dialect.OPENAI_RESPONSES)),
)


@given(
    st.lists(_EVENT, max_size=6),
    st.lists(st.lists(_TEXT, min_size=1, max_size=3), max_size=3),
    st.sampled_from([Finish.STOP, Finish.LENGTH, Finish.CONTENT_FILTER]),
)
def test_what_the_encoder_writes_the_decoder_reads(
    said: list[Event], calls: list[list[str]], finish: Finish
) -> None:
    events: list[Event] = [Started("x", "up", 5), *said]
    for index, pieces in enumerate(calls):
        events.append(ToolCallDelta(index, f"c{index}", "f", pieces[0]))
        events += [ToolCallDelta(index, arguments=piece) for piece in pieces[1:]]
    if calls and finish is Finish.STOP:
        finish = Finish.TOOL_CALLS
    events += [Finished(finish), UsageReported(Usage(7, 3, 1, reasoning_tokens=2))]
    back, sent = fold(wire.decode(ResponsesDecoder, [stream(*events)])), fold(events)
    assert isinstance(back, Answer)
    assert isinstance(sent, Answer)
    assert _bare(back) == _bare(sent)
    assert (back.usage, back.choices[0].finish) == (sent.usage, finish)


def _bare(answer: Answer) -> list[Any]:
    """The parts of an answer; of a thought its text, since every one that went to a client is under our seal."""
    return [part.text if isinstance(part, Thinking) else part for part in answer.choices[0].parts]


def client(data: bytes, kind: str = "text/event-stream") -> openai.OpenAI:
    answer = httpx2.MockTransport(
        lambda _: httpx2.Response(200, content=data, headers={"content-type": kind})
    )
    return openai.OpenAI(
        api_key="k",
        base_url="https://example.test/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=answer),
    )


def test_openais_stream_helper_accepts_every_kind_of_answer() -> None:
    data = encoder().ping() + stream(
        Started("x", "up"),
        ThinkingDelta("Hm.", signature="S", origin=Dialect.ANTHROPIC_MESSAGES),
        TextDelta("It is 7 °C"),
        TextDelta(" in Łódź."),
        ToolCallDelta(0, "c1", "f", "{}", signature="SIG"),
        ToolCallDelta(1, "c2", "patch", '{"input":"+"}'),
        Finished(Finish.TOOL_CALLS),
        UsageReported(Usage(10, 5)),
    )
    with client(data).responses.stream(model="alias", input="hi") as events:
        seen = [event.type for event in events]
        response = events.get_final_response()
    assert seen[0] == "response.created"
    assert seen[-1] == "response.completed"
    assert response.output_text == "It is 7 °C in Łódź."
    assert [item.type for item in response.output] == [
        "reasoning", "message", "reasoning", "function_call", "custom_tool_call",
    ]  # fmt: skip
    assert response.usage is not None
    assert response.usage.total_tokens == 15


def test_openais_stream_helper_accepts_a_failure_as_the_end_of_its_response() -> None:
    one = encoder()
    data = one.feed(TextDelta("It")) + one.fail(BUSY)
    with client(data).responses.stream(model="alias", input="hi") as events:
        last = list(events)[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.message == BUSY.message


def test_openais_client_reads_a_whole_answer() -> None:
    body = SURFACE.format_answer(ANSWER, asked(), model="alias", id="req_1", created_s=1)
    response = client(body, "application/json").responses.create(model="alias", input="hi")
    assert (response.output_text, response.status) == ("I look.", "completed")
    assert Role.ASSISTANT.value in {getattr(item, "role", None) for item in response.output}
    assert not any(isinstance(part, Refusal) for part in response.output)
