from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.anthropic_answer import parse_answer, parse_usage
from llmproxyd.values.answer import Answer, Choice, Finish, TokenCount
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect, Operation, Text, Thinking, ToolCall
from tests import wire
from tests.adapters.anthropic_build import envelope

OWN = Dialect.ANTHROPIC_MESSAGES


def parse(
    body: bytes | dict[str, Any], operation: Operation = Operation.CHAT
) -> Answer | TokenCount | Failure:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_answer(envelope(operation=operation), data)


def test_thought_and_text() -> None:
    assert parse(wire.whole("anthropic-messages", "response")) == Answer(
        "msg_01FX",
        "claude-opus-5-5",
        (
            Choice(
                (Thinking("Use the tool result.", "EqQB-opaque2", origin=OWN), Text("It is 7 °C in Łódź.")),
                Finish.STOP,
                "end_turn",
            ),
        ),
        Usage(120, 42, cache_read_tokens=64, reasoning_tokens=20),
    )


def test_a_tool_call() -> None:
    answer = parse(wire.whole("anthropic-messages", "response_tools"))
    assert isinstance(answer, Answer)
    assert answer.choices[0].parts == (
        Text("Checking."),
        ToolCall("toolu_01B", "get_weather", '{"city":"Oslo"}'),
    )
    assert answer.choices[0].finish is Finish.TOOL_CALLS


def test_pitfall_50_a_refusal_is_a_200_with_nothing_in_it() -> None:
    answer = parse(wire.whole("anthropic-messages", "response_refusal"))
    assert isinstance(answer, Answer)
    assert answer.choices == (Choice((), Finish.REFUSAL, "refusal"),)


def test_a_count_of_tokens() -> None:
    assert parse(wire.whole("anthropic-messages", "count_tokens"), Operation.COUNT_TOKENS) == TokenCount(120)


def test_other_blocks() -> None:
    answer = parse(
        {
            "content": [
                {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": ""},
                {"type": "text", "text": "x", "citations": [{"type": "char_location"}]},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "tool_use", "id": "t", "name": "mcp_x2E_get", "input": {}},
                "noise",
            ],
            "stop_reason": "stop_sequence",
            "stop_sequence": "###",
        }
    )
    assert isinstance(answer, Answer)
    assert answer.choices[0] == Choice(
        (
            Thinking(encrypted="d", origin=OWN),
            Text("x", citations=({"type": "char_location"},)),
            ToolCall("t", "mcp.get", ""),
        ),
        Finish.STOP_SEQUENCE,
        "stop_sequence",
        "###",
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"content":null}', b'{"content":"x"}'])
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    failure = parse(body)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.BAD_ANSWER


def test_an_error_under_a_200_is_a_failure() -> None:
    failure = parse(wire.whole("anthropic-messages", "error_529"))
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.OVERLOADED


@pytest.mark.parametrize("count", [None, "12", -1, True])
def test_a_count_that_counts_nothing_is_a_failure(count: object) -> None:
    assert isinstance(parse({"input_tokens": count}, Operation.COUNT_TOKENS), Failure)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ([], None),
        ({}, None),
        ({"input_tokens": None}, None),
        ({"output_tokens": 3}, Usage(0, 3)),
        ({"input_tokens": 1.0, "output_tokens": True}, Usage(1, 0)),
        (
            {
                "input_tokens": 1,
                "cache_creation_input_tokens": 30,
                "cache_creation": {"ephemeral_1h_input_tokens": 30},
            },
            Usage(31, 0, cache_write_1h_tokens=30),
        ),
        (
            {
                "input_tokens": 1,
                "cache_creation_input_tokens": 30,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            },
            Usage(31, 0, cache_write_tokens=30),
        ),
        (
            {"input_tokens": 1, "cache_creation_input_tokens": 30, "cache_creation": None},
            Usage(31, 0, cache_write_tokens=30),
        ),
        ({"input_tokens": 1, "output_tokens_details": None, "server_tool_use": None}, Usage(1, 0)),
    ],
)
def test_pitfall_40_usage_may_be_null_missing_or_zero_anywhere(usage: Any, expected: Usage | None) -> None:
    assert parse_usage(usage) == expected
