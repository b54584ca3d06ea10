from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from llmproxyd.framing import SSESplitter
from llmproxyd.surfaces.anthropic_messages import SURFACE
from llmproxyd.surfaces.anthropic_stream import PING, AnthropicEncoder
from llmproxyd.values.answer import (
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
    ToolCallDelta,
    UsageReported,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.replay import is_seal, unseal_thought
from llmproxyd.values.request import Dialect, Operation, Request, Thinking

OWN = Dialect.ANTHROPIC_MESSAGES
STARTED = Started("msg_1", "up-model")
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def encoder(**document: Any) -> AnthropicEncoder:
    request = Request(Operation.CHAT, OWN, "anthropic-messages", "smart", True, b"{}", document)
    subject = SURFACE.new_encoder(request, model="smart", id="r-1", created_s=5)
    assert isinstance(subject, AnthropicEncoder)
    return subject


def frames_of(data: bytes) -> list[dict[str, Any]]:
    """Every frame, checked: its event name is its type, and nothing but frames is there."""
    documents = []
    for event, text, raw in SSESplitter().feed(data):
        document = json.loads(text)
        assert document["type"] == event.decode()
        assert raw == b"event: " + event + b"\ndata: " + text + b"\n\n"
        documents.append(document)
    return documents


def say(
    *events: Event, finish: Finish | None = Finish.STOP, usage: Usage | None = None, **document: Any
) -> list[dict[str, Any]]:
    """document: fields of the request."""
    subject = encoder(**document)
    given: list[Event] = [STARTED, *events]
    given += [Finished(finish)] if finish is not None else []
    given += [UsageReported(usage)] if usage is not None else []
    return frames_of(b"".join(map(subject.feed, given)) + subject.close())


def names(documents: Iterable[dict[str, Any]]) -> list[str]:
    return [document["type"] for document in documents]


def message_of(documents: list[dict[str, Any]]) -> Any:
    """What the official client makes of it; every frame passes its strict models."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for document in documents:
        event = EVENT.validate_python(document)
        if event.type != "message_stop":
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    Message.model_validate(snapshot.to_dict())
    return snapshot


def call(
    index: int, arguments: str = "", call_id: str | None = None, name: str | None = None
) -> ToolCallDelta:
    return ToolCallDelta(index, call_id, name, arguments)


# --- order ------------------------------------------------------------------------------------------------------


def test_the_exact_order_of_a_thought_a_text_and_a_call() -> None:
    documents = say(
        ThinkingDelta("hm", origin=OWN, new_block=True),
        ThinkingDelta(signature="EqQB", origin=OWN),
        TextDelta("It is"),
        TextDelta(" cold."),
        call(0, "", "toolu_1", "get"),
        call(0, '{"a":'),
        call(0, "1}"),
        finish=Finish.TOOL_CALLS,
        usage=Usage(
            30, 12, cache_read_tokens=8, cache_write_tokens=5, cache_write_1h_tokens=2, reasoning_tokens=4
        ),
    )
    assert [(d["type"], d.get("index")) for d in documents] == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert documents[1]["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}
    assert documents[3]["delta"] == {"type": "signature_delta", "signature": "EqQB"}
    assert documents[5]["content_block"] == {"type": "text", "text": ""}
    assert documents[9]["content_block"] == {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {}}
    assert documents[13] == {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {
            "input_tokens": 15,
            "cache_creation_input_tokens": 7,
            "cache_read_input_tokens": 8,
            "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 2},
            "output_tokens": 12,
            "output_tokens_details": {"thinking_tokens": 4},
        },
    }
    message = message_of(documents)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert (message.content[2].input, message.stop_reason, message.model) == ({"a": 1}, "tool_use", "smart")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (15, 12)


def test_the_beginning_has_usage_and_the_name_the_client_asked_for() -> None:
    subject = encoder()
    (start,) = frames_of(subject.feed(Started("msg_9", "up-model", usage=Usage(7, 1, cache_read_tokens=2))))
    assert start["message"]["id"] == "msg_9"
    assert start["message"]["model"] == "smart"
    assert start["message"]["content"] == []
    assert (start["message"]["usage"]["input_tokens"], start["message"]["usage"]["output_tokens"]) == (5, 1)


def test_a_provider_without_ids_and_without_a_beginning() -> None:
    subject = encoder()
    documents = frames_of(
        subject.feed(TextDelta("x")) + subject.feed(Finished(Finish.STOP)) + subject.close()
    )
    assert documents[0]["message"]["id"] == "msg_r-1"
    assert message_of(documents).usage.output_tokens == 0


@pytest.mark.parametrize("events", [(), (TextDelta(""),), (ThinkingDelta("", new_block=True),), (Pinged(),)])
def test_an_empty_turn_has_one_text_block(events: tuple[Event, ...]) -> None:
    documents = [document for document in say(*events) if document["type"] != "ping"]
    assert names(documents) == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert message_of(documents).content[0].text == ""


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (Finish.STOP, "end_turn"),
        (Finish.STOP_SEQUENCE, "stop_sequence"),
        (Finish.LENGTH, "max_tokens"),
        (Finish.TOOL_CALLS, "tool_use"),
        (Finish.CONTENT_FILTER, "refusal"),
        (Finish.REFUSAL, "refusal"),
        (Finish.PAUSE, "pause_turn"),
        (None, "end_turn"),
    ],
)
def test_reasons(finish: Finish | None, reason: str) -> None:
    assert message_of(say(TextDelta("x"), finish=finish)).stop_reason == reason


def test_a_stop_sequence_is_named() -> None:
    subject = encoder()
    out = subject.feed(TextDelta("x")) + subject.feed(Finished(Finish.STOP_SEQUENCE, stop_sequence="###"))
    assert message_of(frames_of(out + subject.close())).stop_sequence == "###"


def test_a_finer_reason_of_anthropics_own_is_kept() -> None:
    subject = encoder()
    out = subject.feed(Finished(Finish.LENGTH, native="model_context_window_exceeded")) + subject.close()
    assert frames_of(out)[-2]["delta"]["stop_reason"] == "model_context_window_exceeded"


def test_a_refusal_in_words_is_text_and_a_reason() -> None:
    message = message_of(say(RefusalDelta("I will"), RefusalDelta(" not.")))
    assert (message.content[0].text, message.stop_reason) == ("I will not.", "refusal")


def test_calls_are_the_reason_whatever_the_provider_says() -> None:
    assert message_of(say(call(0, "{}", "t", "get"), finish=Finish.STOP)).stop_reason == "tool_use"


def test_other_choices_are_not_shown() -> None:
    documents = say(TextDelta("a"), TextDelta("b", choice=1), Finished(Finish.LENGTH, choice=1))
    assert message_of(documents).content[0].text == "a"
    assert message_of(documents).stop_reason == "end_turn"


# --- tool calls -------------------------------------------------------------------------------------------------


def test_pitfall_1_the_event_that_opens_a_call_may_hold_its_arguments() -> None:
    documents = say(TextDelta("x"), call(0, '{"a":1}', "t", "get"))
    assert message_of(documents).content[1].input == {"a": 1}


def test_pitfall_2_a_stream_that_begins_with_a_call_has_no_text_block() -> None:
    assert [block.type for block in message_of(say(call(0, "{}", "t", "get"))).content] == ["tool_use"]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (("",), {}),
        (("", " "), {}),
        (("null",), {}),
        (("nu", "ll"), {}),
        (("[1", ",2]"), {"arguments": [1, 2]}),
        (("just", " text"), {"arguments": "just text"}),
        ((" ", '{"a"', ":1}"), {"a": 1}),
    ],
)
def test_pitfall_11_the_client_always_reads_an_object(pieces: tuple[str, ...], expected: object) -> None:
    first, *others = pieces
    documents = say(call(0, first, "t", "get"), *(call(0, piece) for piece in others))
    assert message_of(documents).content[0].input == expected
    assert all(d["delta"]["partial_json"] for d in documents if d["type"] == "content_block_delta")


def test_arguments_are_passed_on_as_they_come() -> None:
    subject = encoder()
    subject.feed(call(0, "", "t", "get"))
    (piece,) = frames_of(subject.feed(call(0, '{"ci')))
    assert piece["delta"] == {"type": "input_json_delta", "partial_json": '{"ci'}


def test_pitfall_3_blocks_are_numbered_without_gaps_whatever_the_calls_are() -> None:
    documents = say(
        call(0, "{}", "a", "get"), call(1, "{}", "b", "put"), TextDelta("x"), call(2, "{}", "c", "cut")
    )
    assert [d["index"] for d in documents if d["type"] == "content_block_start"] == [0, 1, 2, 3]
    message_of(documents)


def test_calls_that_run_side_by_side_come_out_one_after_the_other() -> None:
    documents = say(
        call(0, '{"a"', "t0", "get"),
        call(1, '{"b"', "t1", "put"),
        call(0, ":1}"),
        call(1, ":2}"),
        call(2, '{"c":3}', "t2", "cut"),
    )
    message = message_of(documents)
    assert [(block.id, block.input) for block in message.content] == [
        ("t0", {"a": 1}),
        ("t1", {"b": 2}),
        ("t2", {"c": 3}),
    ]
    opened = 0
    for document in documents:
        opened += {"content_block_start": 1, "content_block_stop": -1}.get(document["type"], 0)
        assert opened in (0, 1)


def test_a_call_that_waits_to_the_end_is_sent_at_the_end() -> None:
    documents = say(call(0, '{"a"', "t0", "get"), call(1, '{"b":2}', "t1", "put"), call(0, ":1}"))
    assert [block.input for block in message_of(documents).content] == [{"a": 1}, {"b": 2}]


def test_pitfall_5_ids_can_be_handed_to_anthropic() -> None:
    message = message_of(say(call(0, "{}", "call.1__thought__x==", "get"), call(1, "{}", "", "put")))
    first, second = (block.id for block in message.content)
    assert first != second
    assert all(
        set(i) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
        for i in (first, second)
    )


# --- thought ----------------------------------------------------------------------------------------------------


def signatures(documents: list[dict[str, Any]]) -> list[str]:
    return [d["delta"]["signature"] for d in documents if d.get("delta", {}).get("type") == "signature_delta"]


def test_pitfall_23_several_thoughts_stay_several() -> None:
    documents = say(
        ThinkingDelta("a", origin=OWN, new_block=True),
        ThinkingDelta(signature="s1", origin=OWN),
        ThinkingDelta(encrypted="d", origin=OWN, new_block=True),
        ThinkingDelta("", signature="s2", origin=OWN, new_block=True),
        TextDelta("x"),
    )
    assert [(b.type, getattr(b, "signature", None)) for b in message_of(documents).content] == [
        ("thinking", "s1"),
        ("redacted_thinking", None),
        ("thinking", "s2"),
        ("text", None),
    ]


def test_pitfall_24_a_thought_of_another_maker_is_sealed() -> None:
    documents = say(
        ThinkingDelta("a", origin=Dialect.GEMINI_GENERATE),
        ThinkingDelta(signature="g", origin=Dialect.GEMINI_GENERATE),
    )
    (seal,) = signatures(documents)
    assert unseal_thought("a", seal) == Thinking("a", "g", origin=Dialect.GEMINI_GENERATE)


@pytest.mark.parametrize(
    "after",
    [TextDelta("x"), call(0, "{}", "t", "get"), ThinkingDelta("b", new_block=True), Finished(Finish.STOP)],
)
def test_pitfall_24_a_thought_nobody_signed_is_sealed_when_it_ends(after: Event) -> None:
    documents = say(ThinkingDelta("a", origin=Dialect.OLLAMA_CHAT), after)
    seal = signatures(documents)[0]
    assert unseal_thought("a", seal) == Thinking("a", origin=Dialect.OLLAMA_CHAT)
    stop = documents.index({"type": "content_block_stop", "index": 0})
    assert documents[stop - 1]["delta"]["signature"] == seal


@pytest.mark.parametrize(
    ("thinking", "kinds"),
    [(None, ["text"]), ({"type": "disabled"}, ["text"]), ({"type": "adaptive"}, ["thinking", "text"])],
)
def test_a_seal_without_words_is_shown_only_to_who_asked_for_thought(thinking: Any, kinds: list[str]) -> None:
    seal = ThinkingDelta(encrypted="E", origin=Dialect.OPENAI_RESPONSES, item_id="rs_1")
    message = message_of(say(seal, TextDelta("x"), thinking=thinking))
    assert [block.type for block in message.content] == kinds


def test_a_seal_is_not_taken_from_the_words_before_it() -> None:
    origin = Dialect.OPENAI_RESPONSES
    documents = say(ThinkingDelta("sum", origin=origin), ThinkingDelta(encrypted="E", origin=origin))
    assert [unseal_thought("sum", seal).encrypted for seal in signatures(documents)] == ["E"]


def test_an_encrypted_thought_of_another_maker_closes_the_block_it_belongs_to() -> None:
    responses = Dialect.OPENAI_RESPONSES
    documents = say(
        ThinkingDelta("sum", origin=responses),
        ThinkingDelta(encrypted="E", origin=responses, item_id="rs_1"),
        TextDelta("x"),
    )
    (seal,) = signatures(documents)
    assert unseal_thought("sum", seal) == Thinking("sum", None, "E", responses, "rs_1")
    assert [block.type for block in message_of(documents).content] == ["thinking", "text"]


# --- the rest ---------------------------------------------------------------------------------------------------


def test_citations_of_the_dialect_are_shown_and_others_are_not() -> None:
    own = {
        "type": "char_location",
        "cited_text": "x",
        "document_index": 0,
        "document_title": None,
        "start_char_index": 0,
        "end_char_index": 1,
        "file_id": None,
    }
    documents = say(TextDelta("x"), CitationDelta(own), CitationDelta({"type": "url_citation"}))
    cited = message_of(documents).content[0].citations
    assert [citation.type for citation in cited] == ["char_location"]


def test_a_ping_is_one_that_every_client_skips() -> None:
    subject = encoder()
    assert subject.ping() == PING == subject.feed(Pinged())
    assert frames_of(PING) == [{"type": "ping"}]
    assert names(frames_of(subject.feed(STARTED))) == ["message_start"]


@pytest.mark.parametrize("by_event", [True, False])
def test_pitfall_32_a_failure_is_an_error_event(by_event: bool) -> None:
    failure = Failure(FailureKind.OVERLOADED, "Busy.")
    subject = encoder()
    (error,) = frames_of(subject.feed(Failed(failure)) if by_event else subject.fail(failure))
    assert error == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Busy."},
        "request_id": "r-1",
    }


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
def test_separators_that_some_clients_split_at_are_escaped(separator: str) -> None:
    subject = encoder()
    out = subject.feed(TextDelta(f"a{separator}b"))
    assert separator.encode() not in out
    assert frames_of(out)[-1]["delta"]["text"] == f"a{separator}b"


PIECES = st.sampled_from(["", "{", '{"a":', "1}", "{}", "null", "x", " "])
EVENTS = st.one_of(
    st.builds(TextDelta, st.sampled_from(["", "a", "b"])),
    st.builds(
        ThinkingDelta,
        st.sampled_from(["", "t"]),
        st.just(0),
        st.none() | st.just("s"),
        st.none() | st.just("e"),
        st.none() | st.sampled_from([OWN, Dialect.GEMINI_GENERATE]),
        st.booleans(),
    ),
    st.builds(ToolCallDelta, st.integers(0, 2), st.none() | st.just("id"), st.none() | st.just("n"), PIECES),
    st.builds(RefusalDelta, st.sampled_from(["", "no"])),
    st.just(Pinged()),
    st.just(UsageReported(Usage(1, 2))),
)


@given(st.lists(EVENTS, max_size=12))
def test_whatever_comes_the_order_is_one_that_clients_accept(events: list[Event]) -> None:
    documents = [d for d in say(*events) if d["type"] != "ping"]
    assert (names(documents)[0], *names(documents)[-2:]) == ("message_start", "message_delta", "message_stop")
    open_block: int | None = None
    next_index = 0
    for document in documents[1:-2]:
        match document["type"]:
            case "content_block_start":
                assert (open_block, document["index"]) == (None, next_index)
                open_block, next_index = next_index, next_index + 1
            case "content_block_delta":
                assert document["index"] == open_block
            case other:
                assert (other, document["index"]) == ("content_block_stop", open_block)
                open_block = None
        EVENT.validate_python(document)
    assert open_block is None
    assert next_index > 0
    thoughts = sum(d.get("content_block", {}).get("type") == "thinking" for d in documents)
    assert len(signatures(documents)) == thoughts
    assert all(is_seal(s) or s == "s" for s in signatures(documents))
