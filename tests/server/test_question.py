"""Headers and envelope of a request -> what routing is asked."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.server.question import (
    build_question,
    claims_of,
    read_claim,
    read_deadline_s,
    read_priority,
)
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.plan import KnownPrompt
from llmproxyd.values.request import Capability, Dialect, Operation, Priority, Request

REQUEST = Request(
    Operation.CHAT,
    Dialect.OPENAI_CHAT,
    "openai-chat",
    "smart",
    True,
    b"0123456789",
    {},
    needs=frozenset({Capability.TOOLS}),
    max_output_tokens=100,
    temperature=0.5,
    n=2,
    metadata={"team": "a"},
)


def ours(**headers: str) -> Mapping[str, str]:
    return {f"x-llmproxyd-{name}": value for name, value in headers.items()}


class TestClaims:
    @pytest.mark.parametrize("value", ["web", "a", "two words", "~!@#", "x" * 128])
    def test_are_taken_as_they_are(self, value: str) -> None:
        assert read_claim(ours(project=value), "project") == value

    def test_may_be_missing_or_empty(self) -> None:
        assert read_claim({}, "project") is None
        assert read_claim(ours(project=""), "project") is None

    @pytest.mark.parametrize("value", [" a", "a ", "a\tb", "a\nb", "Łódź", "x" * 129, "\x7f"])
    def test_are_refused_when_they_cannot_be_a_name(self, value: str) -> None:
        with pytest.raises(BadRequest) as raised:
            read_claim(ours(label=value), "label")
        assert raised.value.failure.param == "x-llmproxyd-label"

    @given(st.text(max_size=200))
    def test_are_printable_ascii_or_refused(self, value: str) -> None:
        try:
            claim = read_claim(ours(user=value), "user")
        except BadRequest:
            return
        assert claim is None or (claim.isascii() and claim.isprintable() and len(claim) <= 128)


class TestDeadline:
    @pytest.mark.parametrize(
        ("value", "seconds"), [("500ms", 0.5), ("30s", 30), ("2m", 120), ("7", 7), (" 1.5s ", 1.5)]
    )
    def test_is_a_duration(self, value: str, seconds: float) -> None:
        assert read_deadline_s(ours(deadline=value)) == pytest.approx(seconds)

    @pytest.mark.parametrize(
        "value", ["", "soon", "0s", "-1s", "1h", "1e3", "nan", "inf", "9" * 400, "86401s"]
    )
    def test_anything_else_is_refused(self, value: str) -> None:
        with pytest.raises(BadRequest, match="such as 500ms"):
            read_deadline_s(ours(deadline=value))

    def test_is_nothing_where_nobody_sets_one(self) -> None:
        assert read_deadline_s({}) is None

    @given(st.text(max_size=12))
    def test_never_lets_a_wait_without_end_through(self, value: str) -> None:
        try:
            seconds = read_deadline_s(ours(deadline=value))
        except BadRequest:
            return
        assert seconds is not None
        assert 0 < seconds <= 86_400


class TestPriority:
    def test_is_normal_where_nobody_says(self) -> None:
        assert read_priority({}) is Priority.NORMAL

    @pytest.mark.parametrize("value", ["batch", "Batch", "BATCH"])
    def test_is_read_in_any_case(self, value: str) -> None:
        assert read_priority(ours(priority=value)) is Priority.BATCH

    def test_lists_what_there_is_when_it_is_none_of_it(self) -> None:
        with pytest.raises(BadRequest, match="interactive, normal or batch"):
            read_priority(ours(priority="urgent"))


def test_a_question_holds_envelope_claims_and_time() -> None:
    headers = ours(project="web", user="alice", task="docs", label="internal", priority="interactive")
    prompt = KnownPrompt(text="hello")
    question = build_question(REQUEST, headers, prompt, now_s=1.5, turn=7)
    assert (question.model, question.surface, question.stream) == ("smart", "openai-chat", True)
    assert (question.needs, question.max_output_tokens) == (frozenset({Capability.TOOLS}), 100)
    assert (question.temperature, question.n, question.metadata) == (0.5, 2, {"team": "a"})
    assert (question.project, question.user, question.task) == ("web", "alice", "docs")
    assert (question.label, question.priority) == ("internal", Priority.INTERACTIVE)
    assert (question.bytes_in, question.now_s, question.turn, question.seed) == (10, 1.5, 7, 7)
    assert question.prompt is prompt
    assert claims_of(question) == ("web", "alice", "docs")


def test_who_claims_nothing_claims_nothing() -> None:
    question = build_question(REQUEST, {}, KnownPrompt(), now_s=0.0, turn=0)
    assert claims_of(question) == ("", "", "")
    assert question.label is None
