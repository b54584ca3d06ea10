from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.openai_answer import parse_answer
from llmproxyd.values.answer import Answer, Choice, Finish, Vectors
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect, Operation, Part, Refusal, Text, Thinking, ToolCall
from tests import wire
from tests.adapters.build import bare


def parse(body: Any, operation: Operation = Operation.CHAT) -> Answer | Vectors | Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_answer(bare(operation, stream=False), raw)


def parts_of(message: dict[str, Any]) -> tuple[Part, ...]:
    answer = parse({"id": "a", "choices": [{"message": message, "finish_reason": "stop"}]})
    assert isinstance(answer, Answer)
    return answer.choices[0].parts


def test_a_recorded_answer_is_read() -> None:
    assert parse(wire.whole("openai_chat", "response")) == Answer(
        "chatcmpl-fx1",
        "gpt-6-sol",
        (Choice((Text("It is 7 °C in Łódź. 🌧"),), Finish.STOP, "stop"),),
        Usage(120, 14, cache_read_tokens=64),
        1795000000,
    )


def test_recorded_tool_calls_are_read() -> None:
    answer = parse(wire.whole("openai_chat", "response_tools"))
    assert isinstance(answer, Answer)
    assert answer.choices[0] == Choice(
        (
            ToolCall("call_A1", "get_weather", '{"city":"Łódź"}'),
            ToolCall("call_A2", "get_weather", '{"city":"Oslo","unit":"c"}'),
        ),
        Finish.TOOL_CALLS,
        "tool_calls",
    )


def test_a_recorded_gateways_answer_keeps_thought_cost_and_the_native_reason() -> None:
    answer = parse(wire.whole("openai_chat", "openrouter_response"))
    assert isinstance(answer, Answer)
    thinking = Thinking("Hm.", "EqQB", origin=Dialect.ANTHROPIC_MESSAGES)
    assert answer.choices[0] == Choice((thinking, Text("It is 7 °C in Łódź.")), Finish.STOP, "end_turn")
    assert answer.usage == Usage(120, 42, 64, reasoning_tokens=20, cost_nanos=1_310_000)


def test_a_recorded_completion_is_read_by_its_text() -> None:
    answer = parse(wire.whole("openai_chat", "completions_response"), Operation.COMPLETION)
    assert isinstance(answer, Answer)
    assert answer.choices == (Choice((Text(" world"),), Finish.STOP, "stop"),)


def test_recorded_embeddings_in_base64_are_read() -> None:
    answer = parse(wire.whole("openai_chat", "embeddings_response"), Operation.EMBEDDING)
    assert answer == Vectors("text-embedding-3-small", ((0.5, -0.25), (1.0, 0.125)), Usage(2))


def test_embeddings_are_ordered_by_their_index() -> None:
    data = [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1.5]}]
    assert parse({"model": "e", "data": data}, Operation.EMBEDDING) == Vectors("e", ((1.5,), (2.0,)))


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "a"}, (Text("a"),)),
        ({"content": None}, ()),
        ({"content": ""}, ()),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, (Text("ab"),)),
        ({"content": None, "refusal": "No."}, (Refusal("No."),)),
        ({"content": "a", "tool_calls": None}, (Text("a"),)),
        ({"content": "a", "tool_calls": []}, (Text("a"),)),
        ({"reasoning": "Hm.", "content": "a"}, (Thinking("Hm.", origin=Dialect.OPENAI_CHAT), Text("a"))),
        ({"content": "<think>Hm.</think>a"}, (Thinking("Hm.", origin=Dialect.OPENAI_CHAT), Text("a"))),
        ({"content": "a", "annotations": [{"type": "x"}]}, (Text("a", citations=({"type": "x"},)),)),
    ],
)
def test_every_form_of_message_is_read(message: dict[str, Any], parts: tuple[Part, ...]) -> None:
    assert parts_of(message) == parts


def test_a_call_without_a_real_id_gets_one_that_differs_from_answer_to_answer() -> None:
    call = {"id": "0", "function": {"name": "f", "arguments": {"a": 1}}}

    def id_in(answer_id: str) -> str:
        answer = parse({"id": answer_id, "choices": [{"message": {"tool_calls": [call]}}]})
        assert isinstance(answer, Answer)
        (part,) = answer.choices[0].parts
        assert isinstance(part, ToolCall)
        assert part.arguments == '{"a":1}'
        return part.id

    assert id_in("a").startswith("call_")
    assert id_in("a") == id_in("a") != id_in("b")


def test_choices_are_ordered_by_their_index() -> None:
    choices = [{"index": 1, "message": {"content": "b"}}, {"index": 0, "message": {"content": "a"}}]
    answer = parse({"choices": choices})
    assert isinstance(answer, Answer)
    assert [choice.parts for choice in answer.choices] == [(Text("a"),), (Text("b"),)]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"\xff", [], {}, {"choices": []}, {"choices": None}, {"choices": [None]}, {"choices": [{}]},
        {"choices": [{"text": None}]}, {"choices": [{"message": {"content": "a"}, "finish_reason": "error"}]},
        {"choices": [{"message": {"tool_calls": [{}]}}]}, {"choices": [{"message": {"tool_calls": [7]}}]},
    ],
)  # fmt: skip
def test_what_is_no_answer_is_a_failure(body: Any) -> None:
    failure = parse(body)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.BAD_ANSWER


@pytest.mark.parametrize("embedding", [None, "!", "AAA=", "AACAfw==", [None], ["x"], [1e39], {"a": 1}])
def test_what_is_no_vector_is_a_failure(embedding: Any) -> None:
    failure = parse({"data": [{"embedding": embedding}]}, Operation.EMBEDDING)
    assert isinstance(failure, (Failure,)), failure


def test_a_good_status_with_only_an_error_is_that_error() -> None:
    failure = parse({"error": {"code": 429, "message": "later"}})
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.RATE_LIMITED
