"""What a provider says of its own answer: believed where it can be true, disputed where it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.exchange.dispute import Estimate, judge, model_differs
from llmproxyd.values.cost import Price, Usage, cost_of
from tests.support.records import replace

OURS = Estimate(input_tokens=100, output_tokens=40, bytes_out=160)
COUNTS = tuple(name for name in Usage.__struct_fields__ if name.endswith("_tokens"))
SILENT = Estimate(input_tokens=100, output_tokens=0, bytes_out=0)


def never() -> Estimate:
    raise AssertionError("an estimate costs something, and was not needed")


class TestUsage:
    @pytest.mark.parametrize(
        "usage",
        [
            Usage(1, 1),
            Usage(90, 42, cache_read_tokens=90, reasoning_tokens=42),
            Usage(90, 42, cache_read_tokens=30, cache_write_tokens=30, cache_write_1h_tokens=30),
            Usage(90, 100_000, reasoning_tokens=0),  # thought that its maker does not tell apart
            Usage(2_000_000, 42, cost_nanos=0, billed=(0, 0)),
        ],
    )
    def test_that_can_be_true_is_believed_without_an_estimate(self, usage: Usage) -> None:
        judged = judge(usage, never)
        assert (judged.usage, judged.disputed, judged.told) == (usage, None, usage)
        assert not judged.estimated

    def test_that_is_missing_is_estimated_and_no_lie(self) -> None:
        judged = judge(None, lambda: OURS)
        assert judged.usage == Usage(100, 40, estimated=True)
        assert (judged.disputed, judged.told, judged.estimated) == (None, None, True)

    def test_an_adapter_has_estimated_stays_an_estimate(self) -> None:
        assert judge(Usage(5, 5, estimated=True), never).estimated

    @pytest.mark.parametrize(
        ("told", "counted", "reason"),
        [
            (Usage(90, 0), Usage(90, 40), "no output tokens for an answer that has content"),
            (Usage(0, 42), Usage(100, 42), "no input tokens for a prompt that has some"),
            (Usage(-90, 42), Usage(100, 42), "-90 input tokens"),
            (Usage(90, -1), Usage(90, 40), "-1 output tokens"),
            (Usage(90, 300_000), Usage(90, 40), "300000 output tokens for an answer of 160 bytes"),
        ],
    )
    def test_of_an_impossible_side_gives_way_to_our_estimate(
        self, told: Usage, counted: Usage, reason: str
    ) -> None:
        judged = judge(told, lambda: OURS)
        assert judged.usage == replace(counted, estimated=True)
        assert judged.disputed == reason
        assert judged.told == told, "both stand beside each other"
        assert judged.estimated

    @pytest.mark.parametrize(
        ("told", "counted", "reason"),
        [
            (
                Usage(90, 42, cache_read_tokens=100),
                Usage(90, 42, cache_read_tokens=90),
                "100 cached of 90 input tokens",
            ),
            (
                Usage(90, 42, cache_read_tokens=60, cache_write_tokens=60, cache_write_1h_tokens=5),
                Usage(90, 42, cache_read_tokens=60, cache_write_tokens=30),
                "125 cached of 90 input tokens",
            ),
            (
                Usage(90, 42, reasoning_tokens=50),
                Usage(90, 42, reasoning_tokens=42),
                "50 reasoning of 42 output tokens",
            ),
            (
                Usage(90, 42, input_audio_tokens=91),
                Usage(90, 42, input_audio_tokens=90),
                "91 audio of 90 input tokens",
            ),
            (Usage(90, 42, cache_write_tokens=-1), Usage(90, 42), "cache_write_tokens is negative"),
            (Usage(90, 42, cost_nanos=-5), Usage(90, 42), "the cost is negative"),
            (Usage(90, 42, billed=(-1, 3)), Usage(90, 42), "what is billed is negative"),
        ],
    )
    def test_that_contradicts_itself_keeps_what_can_be_true(
        self, told: Usage, counted: Usage, reason: str
    ) -> None:
        judged = judge(told, lambda: OURS)
        assert (judged.usage, judged.disputed, judged.estimated) == (counted, reason, False)

    def test_with_several_faults_names_them_all(self) -> None:
        judged = judge(Usage(0, -3, cost_nanos=-1), lambda: OURS)
        assert judged.disputed is not None
        assert len(judged.disputed.split("; ")) == 3
        assert judged.usage == Usage(100, 40, estimated=True)

    def test_of_nothing_generated_is_no_lie(self) -> None:
        """Embeddings write nothing, and an answer may be empty."""
        assert judge(Usage(90, 0), lambda: SILENT).disputed is None
        assert judge(Usage(0, 0), lambda: Estimate(0, 0, 0)).disputed is None

    def test_of_a_very_long_answer_is_believed(self) -> None:
        long = Estimate(input_tokens=100, output_tokens=300_000, bytes_out=1_200_000)
        assert judge(Usage(90, 400_000), lambda: long).disputed is None


COUNT = st.integers(-(10**7), 10**7)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    given: dict[str, Any] = {name: draw(COUNT) for name in COUNTS}
    pair = st.tuples(COUNT, COUNT)
    return Usage(
        **given,
        cost_nanos=draw(st.none() | COUNT),
        billed=draw(st.none() | pair),
        estimated=draw(st.booleans()),
    )


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    output_tokens = draw(st.integers(0, 10**6))  # never more than there are bytes
    return Estimate(draw(st.integers(0, 10**6)), output_tokens, output_tokens + draw(st.integers(0, 10**6)))


@given(usages(), estimates())
def test_whatever_is_told_no_number_and_no_cost_is_ever_negative(told: Usage, ours: Estimate) -> None:
    usage = judge(told, lambda: ours).usage
    assert all(getattr(usage, name) >= 0 for name in COUNTS)
    cached = usage.cache_read_tokens + usage.cache_write_tokens + usage.cache_write_1h_tokens
    assert cached <= usage.input_tokens
    assert usage.reasoning_tokens <= usage.output_tokens
    assert cost_of(usage, Price(3, 15)) >= 0
    assert usage.cost_nanos is None or usage.cost_nanos >= 0
    assert judge(usage, lambda: ours).disputed is None, "what was put right once is right"


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o", ""),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4", "gpt-4-0613"),
        ("claude-sonnet-5-5", "claude-sonnet-5-5-20260929"),
        ("claude-sonnet-5-5", "claude-sonnet-5-5@20260929"),
        ("claude-opus-5-5", "us.anthropic.claude-opus-5-5-20260929-v1:0"),
        ("gemini-2.5-flash", "models/gemini-2.5-flash-001"),
        ("command-r", "command-r-08-2024"),
        ("openai/gpt-4o", "gpt-4o-2024-08-06"),
        ("meta-llama/Llama-3.3-70B-Instruct:free", "meta-llama/llama-3.3-70b-instruct"),
        ("gpt-4o-latest", "gpt-4o-2024-08-06"),
        ("llama3:latest", "llama3"),
        ("qwen3-32b", "/models/qwen3-32b.gguf"),
    ],
)
def test_the_same_model_by_another_spelling(asked: str, answered: str) -> None:
    assert not model_differs(asked, answered)
    assert not answered or not model_differs(answered, asked)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
        ("claude-opus-5-5", "claude-sonnet-5-5"),
        ("claude-opus-5-5", "claude-opus-5"),
        ("llama3:70b", "llama3:8b"),
        ("deepseek-v3", "deepseek-v2"),
        ("openai/gpt-4o", "anthropic/claude-opus-5-5"),
    ],
)
def test_another_model(asked: str, answered: str) -> None:
    assert model_differs(asked, answered)
    assert model_differs(answered, asked)
