"""What Ollama's clients get: whole answers, streams, errors; read back by the adapter and by the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.ollama_chat import OllamaDecoder
from llmproxyd.surfaces.ollama_answer import format_answer, format_failure, format_generated, parse_arguments
from llmproxyd.surfaces.ollama_stream import OllamaEncoder, new_encoder, new_generate_encoder
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
    ToolCallDelta,
    UsageReported,
    Vectors,
    fold,
    unfold,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect, Operation, Part, Refusal, Request, Text, Thinking, ToolCall

REQUEST = Request(Operation.CHAT, Dialect.OLLAMA_CHAT, "ollama-chat", "alias", True, b"{}", {})
CREATED_S = 1795248000
HEAD = {"model": "alias", "created_at": "2026-11-21T08:00:00Z"}
NO_TIMES = {"total_duration": 0, "load_duration": 0, "prompt_eval_duration": 0, "eval_duration": 0}
WEATHER = '{"city":"Łódź"}'


def encoder(**given_fields: Any) -> OllamaEncoder:
    return new_encoder(REQUEST, model="alias", id="r", created_s=CREATED_S, **given_fields)


def lines(*events: Event, of: OllamaEncoder | None = None) -> list[dict[str, Any]]:
    one = of or encoder()
    data = b"".join(one.feed(event) for event in events) + one.close()
    assert data.endswith(b"\n")
    assert b"\n\n" not in data
    return [json.loads(line) for line in data.splitlines()]


def messages(*events: Event) -> list[dict[str, Any]]:
    """The messages of all lines but the last."""
    return [line["message"] for line in lines(*events)[:-1]]


def whole(*parts: Part, **fields: Any) -> dict[str, Any]:
    answer = Answer("a", "up", (Choice(parts, fields.pop("finish", Finish.STOP)),), **fields)
    body = json.loads(format_answer(answer, REQUEST, model="alias", id="r", created_s=CREATED_S))
    assert isinstance(body, dict)
    ollama.ChatResponse.model_validate(body)
    return body


# --- whole ------------------------------------------------------------------------------------------------------------


def test_a_whole_answer_has_every_field_that_clients_read() -> None:
    assert whole(Thinking("Hm."), Text("It is 7 °C"), Text(" in Łódź."), usage=Usage(26, 12)) == {
        **HEAD,
        "message": {"role": "assistant", "content": "It is 7 °C in Łódź.", "thinking": "Hm."},
        "done": True,
        "done_reason": "stop",
        **NO_TIMES,
        "prompt_eval_count": 26,
        "eval_count": 12,
    }


def test_calls_are_objects_with_objects_as_arguments() -> None:
    message = whole(ToolCall("c1", "f", WEATHER), ToolCall("", "g", ""), finish=Finish.TOOL_CALLS)["message"]
    assert message["tool_calls"] == [
        {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"city": "Łódź"}}},
        {"function": {"index": 1, "name": "g", "arguments": {}}},
    ]
    assert "tool_calls" not in whole(Text("a"))["message"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        (" ", {}),
        ("null", {}),
        ('{"a":1}', {"a": 1}),
        ("[1]", {"arguments": [1]}),
        ('{"a":', {"arguments": '{"a":'}),
    ],
)
def test_pitfall_11_arguments_that_are_no_object_are_handed_on_inside_one(text: str, value: Any) -> None:
    assert parse_arguments(text) == value


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (None, "stop"),
        (Finish.STOP, "stop"),
        (Finish.STOP_SEQUENCE, "stop"),
        (Finish.LENGTH, "length"),
        (Finish.TOOL_CALLS, "stop"),
        (Finish.CONTENT_FILTER, "stop"),
        (Finish.REFUSAL, "stop"),
        (Finish.PAUSE, "length"),
    ],
)
def test_the_dialect_knows_two_reasons(finish: Finish | None, word: str) -> None:
    assert whole(Text("a"), finish=finish)["done_reason"] == word


def test_the_provider_may_know_better_when_it_answered() -> None:
    assert whole(Text("a"), created_s=0)["created_at"] == "1970-01-01T00:00:00Z"


def test_counts_are_left_out_where_nobody_counted() -> None:
    assert {"prompt_eval_count", "eval_count"}.isdisjoint(whole(Text("a")))


def test_refusals_are_text_and_an_answer_without_choices_is_empty() -> None:
    assert whole(Refusal("No."))["message"]["content"] == "No."
    empty = json.loads(format_answer(Answer("", "", ()), REQUEST, model="alias", id="r", created_s=CREATED_S))
    assert empty["message"] == {"role": "assistant", "content": ""}


def test_log_probabilities_are_one_list() -> None:
    tokens: list[Any] = [{"token": t, "logprob": -1.0, "bytes": None, "top_logprobs": []} for t in "ab"]
    choice = Choice((Text("ab"),), Finish.STOP, logprobs=tuple({"content": [token]} for token in tokens))
    body = json.loads(
        format_answer(Answer("", "", (choice,)), REQUEST, model="alias", id="r", created_s=CREATED_S)
    )
    assert body["logprobs"] == tokens


def test_a_generated_answer_has_its_text_in_response() -> None:
    answer = Answer("a", "up", (Choice((Thinking("Hm."), Text("a")), Finish.LENGTH),), Usage(1, 2))
    body = json.loads(format_generated(answer, REQUEST, model="alias", id="r", created_s=CREATED_S))
    ollama.GenerateResponse.model_validate(body)
    assert body == {
        **HEAD, "response": "a", "thinking": "Hm.", "done": True, "done_reason": "length", **NO_TIMES,
        "prompt_eval_count": 1, "eval_count": 2,
    }  # fmt: skip


def test_vectors_are_no_conversation() -> None:
    with pytest.raises(TypeError):
        format_answer(Vectors("", ()), REQUEST, model="alias", id="r", created_s=CREATED_S)


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_stream_is_one_line_for_each_piece_and_a_last_one_with_the_counts() -> None:
    assert lines(
        Started("x", "up"),
        ThinkingDelta("Hm."),
        TextDelta("It is"),
        TextDelta(" 7 °C"),
        Finished(Finish.LENGTH),
        UsageReported(Usage(26, 12)),
    ) == [
        {**HEAD, "message": {"role": "assistant", "content": "", "thinking": "Hm."}, "done": False},
        {**HEAD, "message": {"role": "assistant", "content": "It is"}, "done": False},
        {**HEAD, "message": {"role": "assistant", "content": " 7 °C"}, "done": False},
        {
            **HEAD, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "length", **NO_TIMES,
            "prompt_eval_count": 26, "eval_count": 12,
        },
    ]  # fmt: skip


def test_pitfall_2_nothing_is_said_before_there_is_content() -> None:
    one = encoder()
    assert one.feed(Started("x", "up", 5, Usage(1))) == b""
    assert one.feed(ThinkingDelta("", signature="sig")) == one.feed(TextDelta("")) == b""
    assert json.loads(one.close())["created_at"] == "1970-01-01T00:00:05Z"


def test_calls_come_whole_after_a_first_line_without_content() -> None:
    call = {"index": 0, "name": "f", "arguments": {"city": "Łódź"}}
    assert messages(
        ToolCallDelta(0, "c1", "f", '{"city"'),
        ToolCallDelta(0, arguments=':"Łódź"}'),
        ToolCallDelta(1, "c2", "g", ""),
        Finished(Finish.TOOL_CALLS),
    ) == [
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "function": call}]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c2", "function": {"index": 1, "name": "g", "arguments": {}}}],
        },
    ]


def test_a_call_is_not_lost_when_text_follows_or_the_end_is_missing() -> None:
    said = messages(ToolCallDelta(0, "c1", "f", "{}"), TextDelta("so"))
    assert [("tool_calls" in message, message["content"]) for message in said] == [
        (False, ""), (True, ""), (False, "so"),
    ]  # fmt: skip
    assert "tool_calls" in lines(ToolCallDelta(0, "c1", "f", "{}"))[1]["message"]


def test_refusals_are_text_and_sources_have_no_place() -> None:
    assert messages(RefusalDelta("No."), CitationDelta({"url": "x"}), Finished(Finish.REFUSAL)) == [
        {"role": "assistant", "content": "No."}
    ]


def test_other_choices_are_not_shown() -> None:
    assert messages(
        TextDelta("a"), TextDelta("b", choice=1), Finished(Finish.LENGTH, 1), Finished(Finish.STOP)
    ) == [{"role": "assistant", "content": "a"}]
    assert lines(Finished(Finish.STOP), Finished(Finish.LENGTH, 1))[-1]["done_reason"] == "stop"


def test_log_probabilities_stand_beside_their_text() -> None:
    token = {"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": []}
    assert lines(TextDelta("a", logprobs={"content": [token]}))[0]["logprobs"] == [token]


def test_durations_are_measured_where_a_clock_is_given() -> None:
    ticks: Iterator[float] = iter([10.0, 10.5, 12.0])
    one = encoder(clock=lambda: next(ticks))
    last = lines(TextDelta("a"), TextDelta("b"), Finished(Finish.STOP), of=one)[-1]
    assert (last["total_duration"], last["prompt_eval_duration"], last["eval_duration"]) == (
        2_000_000_000,
        500_000_000,
        1_500_000_000,
    )


def test_an_answer_without_content_was_all_reading() -> None:
    ticks: Iterator[float] = iter([1.0, 3.0])
    last = lines(of=encoder(clock=lambda: next(ticks)))[-1]
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (2_000_000_000, 0)


def test_a_ping_is_a_line_that_says_nothing_and_may_come_first() -> None:
    one = encoder()
    assert json.loads(one.ping()) == {**HEAD, "message": {"role": "assistant", "content": ""}, "done": False}
    assert one.feed(Pinged()) == one.ping()


def test_pitfall_32_a_failure_is_a_line_and_no_end_follows() -> None:
    failure = Failure(FailureKind.OVERLOADED, "The provider is overloaded.")
    assert (
        encoder().fail(failure)
        == encoder().feed(Failed(failure))
        == b'{"error":"The provider is overloaded."}\n'
    )


def test_pitfall_30_separators_that_some_clients_split_at_are_escaped() -> None:
    said = "a\u2028b\u2029c\u0085d\ne"
    data = encoder().feed(TextDelta(said))
    assert len(data.decode().splitlines()) == 1
    assert json.loads(data)["message"]["content"] == said


def test_a_generate_streams_its_text_in_response() -> None:
    one = new_generate_encoder(REQUEST, model="alias", id="r", created_s=CREATED_S)
    assert lines(ThinkingDelta("Hm."), TextDelta("a"), Finished(Finish.STOP), of=one) == [
        {**HEAD, "response": "", "thinking": "Hm.", "done": False},
        {**HEAD, "response": "a", "done": False},
        {**HEAD, "response": "", "done": True, "done_reason": "stop", **NO_TIMES},
    ]
    assert json.loads(one.ping()) == {**HEAD, "response": "", "done": False}


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (Failure(FailureKind.NOT_FOUND, "There is no model 'x'."), "There is no model 'x'."),
        (Failure(FailureKind.BAD_REQUEST, "Too small.", param="top_k"), "top_k: Too small."),
        (Failure(FailureKind.BAD_REQUEST, "'top_k' is too small.", param="top_k"), "'top_k' is too small."),
        (
            Failure(FailureKind.INTERNAL, "A bug."),
            "A bug. Please mention the request id r-1 when you report this.",
        ),
    ],
)
def test_an_error_is_a_text(failure: Failure, text: str) -> None:
    assert json.loads(format_failure(failure, "r-1")) == {"error": text}


# --- read by others ---------------------------------------------------------------------------------------------------

_TEXT = st.text(min_size=1, max_size=20)
_CALLS = st.builds(
    ToolCall,
    id=st.uuids().map(str),
    name=st.text("abc", min_size=1, max_size=4),
    arguments=st.dictionaries(st.text("ab", max_size=2), st.integers(-9, 9), max_size=2).map(
        lambda value: json.dumps(value, separators=(",", ":"))
    ),
)


@st.composite
def _answers(draw: st.DrawFn) -> Answer:
    parts: list[Part] = [Thinking(t, origin=Dialect.OLLAMA_CHAT) for t in draw(st.lists(_TEXT, max_size=1))]
    parts += [Text(t) for t in draw(st.lists(_TEXT, max_size=1))]
    calls = draw(st.lists(_CALLS, max_size=3))
    finish = Finish.TOOL_CALLS if calls else draw(st.sampled_from([Finish.STOP, Finish.LENGTH]))
    native = "length" if finish is Finish.LENGTH else "stop"
    usage = Usage(draw(st.integers(0, 999)), draw(st.integers(0, 999)))
    return Answer("", "alias", (Choice((*parts, *calls), finish, native),), usage, CREATED_S)


@given(_answers())
def test_the_adapter_reads_what_was_streamed_and_what_was_sent_whole(answer: Answer) -> None:
    one = encoder()
    data = b"".join(one.feed(event) for event in unfold(answer)) + one.close()
    decoder = OllamaDecoder()
    assert fold([*decoder.feed(data), *decoder.close()]) == answer
    decoder = OllamaDecoder()
    body = format_answer(answer, REQUEST, model="alias", id="r", created_s=CREATED_S)
    assert fold([*decoder.feed(body), *decoder.close()]) == answer


def client(body: bytes, status: int = 200) -> ollama.Client:
    """The official client, before a server that sends this body in small pieces."""

    def serve(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=(body[i : i + 7] for i in range(0, len(body), 7)))

    return ollama.Client(host="http://ollama.test", transport=httpx.MockTransport(serve))


def test_the_official_client_reads_a_stream_with_pings_thoughts_and_calls() -> None:
    one = encoder()
    events: list[Event] = [
        Started("x", "up"),
        ThinkingDelta("Hm."),
        TextDelta("It is 7\u2028°C in Łódź."),
        ToolCallDelta(0, "c1", "get_weather", WEATHER),
        Finished(Finish.TOOL_CALLS),
        UsageReported(Usage(26, 12)),
    ]
    data = one.ping() + b"".join(one.feed(event) for event in events) + one.close()
    parts = list(client(data).chat(model="alias", messages=[], stream=True))
    assert "".join(part.message.content or "" for part in parts) == "It is 7\u2028°C in Łódź."
    assert "".join(part.message.thinking or "" for part in parts) == "Hm."
    (call,) = (call for part in parts for call in part.message.tool_calls or ())
    assert call.function.arguments == {"city": "Łódź"}
    assert (parts[-1].done, parts[-1].done_reason, parts[-1].eval_count) == (True, "stop", 12)


def test_the_official_client_raises_what_the_stream_says_went_wrong() -> None:
    one = encoder()
    data = one.feed(TextDelta("It")) + one.fail(Failure(FailureKind.TIMEOUT, "The provider took too long."))
    with pytest.raises(ollama.ResponseError, match="The provider took too long"):
        list(client(data).chat(model="alias", messages=[], stream=True))


def test_the_official_client_reads_whole_answers_and_errors() -> None:
    answer = Answer("", "", (Choice((Text("a"),), Finish.STOP),), Usage(1, 2))
    body = format_answer(answer, REQUEST, model="alias", id="r", created_s=CREATED_S)
    assert client(body).chat(model="alias", messages=[]).message.content == "a"
    body = format_generated(answer, REQUEST, model="alias", id="r", created_s=CREATED_S)
    assert client(body).generate(model="alias", prompt="x").response == "a"
    error = format_failure(Failure(FailureKind.NOT_FOUND, "There is no model 'x'."), "r")
    with pytest.raises(ollama.ResponseError, match="There is no model 'x'"):
        client(error, 404).chat(model="x", messages=[])
