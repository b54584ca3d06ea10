"""What the envelope says of how hard the model is to think, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.surfaces import anthropic_messages, gemini_generate, ollama_chat, openai_chat, openai_responses
from llmproxyd.surfaces.effort import (
    anthropic_effort,
    gemini_effort,
    ollama_effort,
    openai_effort,
    responses_effort,
)
from llmproxyd.values.contracts import Surface

SAID = [{"role": "user", "content": "hi"}]
CASES: list[tuple[Surface, dict[str, Any], str | None]] = [
    (openai_chat.SURFACE, {}, None),
    (openai_chat.SURFACE, {"reasoning_effort": "high"}, "high"),
    (openai_chat.SURFACE, {"reasoning_effort": "None"}, "none"),
    (openai_chat.SURFACE, {"reasoning": {"effort": "low"}}, "low"),
    (openai_responses.SURFACE, {"reasoning": {"effort": "xhigh", "summary": "auto"}}, "xhigh"),
    (openai_responses.SURFACE, {"reasoning": {"effort": None}}, None),
    (openai_responses.SURFACE, {}, None),
    (anthropic_messages.SURFACE, {}, None),
    (anthropic_messages.SURFACE, {"output_config": {"effort": "max"}}, "max"),
    (anthropic_messages.SURFACE, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, "budget"),
    (anthropic_messages.SURFACE, {"thinking": {"type": "adaptive"}}, "adaptive"),
    (
        anthropic_messages.SURFACE,
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        "low",
    ),
    (
        anthropic_messages.SURFACE,
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        "none",
    ),
    (gemini_generate.GENERATE, {}, None),
    (gemini_generate.GENERATE, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}}, "high"),
    (gemini_generate.GENERATE, {"generation_config": {"thinking_config": {"thinking_budget": 0}}}, "none"),
    (gemini_generate.GENERATE, {"generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}}, "budget"),
    (gemini_generate.GENERATE, {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}, None),
    (ollama_chat.CHAT, {}, None),
    (ollama_chat.CHAT, {"think": True}, "budget"),
    (ollama_chat.CHAT, {"think": False}, "none"),
    (ollama_chat.GENERATE, {"think": "medium"}, "medium"),
]


def parsed(surface: Surface, extra: dict[str, Any]) -> str | None:
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": SAID,
        "input": "hi",
        "contents": {"parts": {"text": "hi"}},
    }
    target = "/v1beta/models/m:generateContent"
    return surface.parse_request({}, json.dumps({**body, **extra}).encode(), target).effort


@pytest.mark.parametrize(("surface", "extra", "effort"), CASES)
def test_the_envelope_holds_the_clients_word(
    surface: Surface, extra: dict[str, Any], effort: str | None
) -> None:
    assert parsed(surface, extra) == effort


@pytest.mark.parametrize(
    "wrong",
    [
        {"reasoning_effort": 7, "reasoning": "high"},
        {"reasoning_effort": "x" * 17, "reasoning": {"effort": ["high"]}},
        {"reasoning_effort": "", "reasoning": []},
    ],
)
def test_what_is_no_word_says_nothing(wrong: dict[str, Any]) -> None:
    assert openai_effort(wrong) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "effort", "thinking_level", "thinkingBudget"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["reasoning_effort", "reasoning", "thinking", "output_config", "think"]), ANYTHING
    )
)
def test_whatever_a_client_sends_nothing_raises_and_words_are_short(document: dict[str, Any]) -> None:
    readers = (openai_effort, responses_effort, anthropic_effort, ollama_effort)
    found = [read(document) for read in readers] + [gemini_effort(document.get("thinking"))]
    assert all(effort is None or (effort and len(effort) <= 48) for effort in found)
