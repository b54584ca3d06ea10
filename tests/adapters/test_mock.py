from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.mock import DEFAULT_DIMENSIONS, MAX_DIMENSIONS, MockAnswer, mock_answer
from llmproxyd.adapters.openai_answer import parse_answer
from llmproxyd.adapters.openai_stream import new_decoder
from llmproxyd.values.answer import Answer, Finish, Vectors, fold
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import Operation, Text, ToolCall
from llmproxyd.values.snapshot import Mock
from tests import wire
from tests.adapters.build import bare

CHAT = "/v1/chat/completions"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["c", "f"]},
                "days": {"type": "integer"},
            },
            "required": ["city", "unit"],
        },
    },
}


def ask(path: str = CHAT, number: int = 0, behaviour: Mock = Mock(), **document: Any) -> MockAnswer:  # noqa: B008
    body = {"model": "echo", **document}
    return mock_answer(path, json.dumps(body).encode(), number, behaviour)


def user(text: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]}


def parsed(answer: MockAnswer, operation: Operation = Operation.CHAT) -> Answer:
    """What the real adapter reads in it, whole or streamed."""
    assert answer.status == 200
    if answer.headers["content-type"] == "text/event-stream":
        read = fold(wire.decode(lambda: new_decoder(bare(operation)), answer.chunks))
    else:
        (chunk,) = answer.chunks
        whole = parse_answer(bare(operation, stream=False), chunk)
        assert not isinstance(whole, Vectors)
        read = whole
    assert isinstance(read, Answer)
    return read


@pytest.mark.parametrize("stream", [False, True])
def test_the_last_thing_the_user_said_comes_back(stream: bool) -> None:
    asked = user("It  is 7 °C\nin Łódź. ")
    answer = parsed(ask(**asked, stream=stream, stream_options={"include_usage": True}))
    (choice,) = answer.choices
    assert (choice.parts, choice.finish) == ((Text("It  is 7 °C\nin Łódź. "),), Finish.STOP)
    assert answer.usage == Usage(input_tokens=8, output_tokens=6)


def test_a_stream_comes_word_by_word_in_the_true_order() -> None:
    frames = ask(**user("one two"), stream=True).chunks
    assert frames[-1] == b"data: [DONE]\n\n"
    choices = [json.loads(frame[6:])["choices"][0] for frame in frames[:-1]]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "one "},
        {"content": "two"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]


def test_usage_is_streamed_only_if_asked_for() -> None:
    assert parsed(ask(**user("a"), stream=True)).usage is None


def test_the_same_call_has_the_same_answer_and_another_call_another_id() -> None:
    assert ask(**user("a")) == ask(**user("a"))
    assert parsed(ask(**user("a"))).id != parsed(ask(**user("a"), number=1)).id


@pytest.mark.parametrize("stream", [False, True])
def test_limits_and_numbers_of_choices_are_kept(stream: bool) -> None:
    answer = parsed(ask(**user("one two three"), stream=stream, max_tokens=2, n=2))
    assert [choice.parts for choice in answer.choices] == [(Text("one two "),)] * 2
    assert {choice.finish for choice in answer.choices} == {Finish.LENGTH}


def test_texts_among_parts_are_echoed_and_pictures_are_not() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:x"}}]
    assert parsed(ask(**user(parts))).choices[0].parts == (Text("a"),)


def test_json_is_answered_with_json() -> None:
    (part,) = parsed(ask(**user('say "a"'), response_format={"type": "json_object"})).choices[0].parts
    assert isinstance(part, Text)
    assert json.loads(part.text) == {"echo": 'say "a"'}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_tool_is_called_with_what_its_schema_requires(choice: Any, stream: bool) -> None:
    answer = parsed(ask(**user("a"), tools=[WEATHER], tool_choice=choice, stream=stream))
    (call,) = answer.choices[0].parts
    assert isinstance(call, ToolCall)
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "", "unit": "c"})
    assert answer.choices[0].finish is Finish.TOOL_CALLS


@pytest.mark.parametrize(
    "choice", ["auto", "none", None, {"type": "function", "function": {"name": "other"}}]
)
def test_a_tool_that_nobody_forces_is_not_called(choice: Any) -> None:
    assert parsed(ask(**user("a"), tools=[WEATHER], tool_choice=choice)).choices[0].parts == (Text("a"),)


@pytest.mark.parametrize("stream", [False, True])
def test_a_legacy_completion_is_echoed(stream: bool) -> None:
    answer = parsed(ask("/v1/completions", prompt=["one two", "three"], stream=stream), Operation.COMPLETION)
    assert [choice.parts for choice in answer.choices] == [(Text("one two"),), (Text("three"),)]


def vectors(**document: Any) -> tuple[tuple[float, ...], ...]:
    answer = ask("/v1/embeddings", **document)
    read = parse_answer(bare(Operation.EMBEDDING, stream=False), answer.chunks[0])
    assert isinstance(read, Vectors)
    return read.vectors


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.integers(1, 32))
def test_embeddings_are_unit_vectors_that_depend_on_the_text_alone(texts: list[str], dimensions: int) -> None:
    found = vectors(input=texts, dimensions=dimensions)
    assert [len(vector) for vector in found] == [dimensions] * len(texts)
    for text, vector in zip(texts, found, strict=True):
        assert math.sqrt(math.fsum(x * x for x in vector)) == pytest.approx(1.0)
        assert vectors(input=text, dimensions=dimensions) == (vector,)


def test_embeddings_come_in_base64_if_asked_for() -> None:
    plain, packed = vectors(input="a"), vectors(input="a", encoding_format="base64")
    assert packed[0] == pytest.approx(plain[0], rel=1e-6)
    assert len(plain[0]) == DEFAULT_DIMENSIONS
    assert len(vectors(input="a", dimensions=10**9)[0]) == MAX_DIMENSIONS
    assert vectors(input="a") != vectors(input="b")
    assert len(vectors(input=[[1, 2], [3]])) == 2


@given(st.integers(0, 1_000_000), st.integers(0, 300))
def test_failures_are_as_many_as_configured_and_evenly_spread(millionths: int, calls: int) -> None:
    behaviour = Mock(fail_share=millionths / 1_000_000)
    failed = [ask(number=number, behaviour=behaviour, **user("a")).status == 500 for number in range(calls)]
    assert sum(failed) == calls * millionths // 1_000_000
    for start in range(0, calls - 10, 10):
        assert abs(sum(failed[start : start + 10]) - millionths / 100_000) < 1


@pytest.mark.parametrize("status", [429, 500, 503, 400])
def test_a_failure_has_the_configured_status_and_a_body(status: int) -> None:
    answer = ask(behaviour=Mock(fail_share=1, fail_status=status), **user("a"))
    assert answer.status == status
    assert json.loads(answer.chunks[0])["error"]["message"]
    assert ("retry-after" in answer.headers) == (status == 429)


@pytest.mark.parametrize(
    ("path", "body", "status"), [("/v1/images", b"{}", 404), (CHAT, b"{", 400), (CHAT, b"[]", 400)]
)
def test_what_cannot_be_answered_is_refused(path: str, body: bytes, status: int) -> None:
    assert mock_answer(path, body, 0, Mock()).status == status


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["content", "role", "text", "type", "function", "name", "parameters", "required", "properties"]), inner
    ),
    max_leaves=6,
)  # fmt: skip


@given(
    st.sampled_from([CHAT, "/v1/completions", "/v1/embeddings"]),
    st.dictionaries(
        st.sampled_from(
            ["messages", "prompt", "input", "tools", "tool_choice", "n", "max_tokens", "stream", "dimensions"]
        ),
        JUNK,
    ),
)
def test_whatever_is_asked_there_is_an_answer(path: str, document: dict[str, Any]) -> None:
    assert ask(path, **document).status == 200
