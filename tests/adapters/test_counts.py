"""Tokens as providers count them: silence is silence, and less than nothing is a count nobody believes."""

from __future__ import annotations

from typing import Any

import pytest

from llmproxyd.adapters import (
    anthropic_answer,
    cohere_answer,
    gemini_stream,
    ollama_chat,
    openai_usage,
    responses_answer,
)
from llmproxyd.adapters.counts import MAX_TOKENS, parse_count, parse_told
from llmproxyd.exchange.dispute import Estimate, judge
from llmproxyd.values.cost import Usage


@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (7, 7), (7.0, 7), (MAX_TOKENS, MAX_TOKENS)]
    + [
        (value, None)
        for value in (-1, -0.5, MAX_TOKENS + 1, float("nan"), float("inf"), True, "7", None, [7])
    ],
)
def test_a_count_is_a_number_from_zero_on(value: Any, count: int | None) -> None:
    assert parse_count(value) == count


@pytest.mark.parametrize(
    ("value", "count"),
    [(-1, 0), (-0.5, 0), (float("-inf"), 0), (7, 7), (None, None), (True, None), ("-1", None)],
)
def test_less_than_nothing_is_told_and_counts_as_nothing(value: Any, count: int | None) -> None:
    assert parse_told(value) == count


@pytest.mark.parametrize(
    "usage",
    [
        openai_usage.parse_usage({"prompt_tokens": -5, "completion_tokens": -3}),
        responses_answer.parse_usage({"input_tokens": -5, "output_tokens": -3}),
        anthropic_answer.parse_usage({"input_tokens": -5, "output_tokens": -3}),
        gemini_stream.parse_usage({"promptTokenCount": -5, "candidatesTokenCount": -3}),
        cohere_answer.parse_usage({"tokens": {"input_tokens": -5.0, "output_tokens": -3.0}}),
        ollama_chat.parse_usage({"prompt_eval_count": -5, "eval_count": -3}),
    ],
    ids=["chat", "responses", "anthropic", "gemini", "cohere", "ollama"],
)
def test_in_every_dialect_negative_counts_are_disputed(usage: Usage | None) -> None:
    assert usage == Usage(0, 0)
    judged = judge(usage, lambda: Estimate(input_tokens=9, output_tokens=4, bytes_out=40))
    assert judged.usage == Usage(9, 4, estimated=True)
    assert judged.disputed == (
        "no input tokens for a prompt that has some; no output tokens for an answer that has content"
    )
