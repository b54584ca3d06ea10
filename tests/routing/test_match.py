from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.routing.match import Facts, compile_condition
from llmproxyd.values.plan import KnownPrompt, Question
from llmproxyd.values.request import Operation, Priority
from llmproxyd.values.snapshot import (
    Absent,
    AllOf,
    AnyOf,
    Condition,
    During,
    HasAll,
    Matches,
    Not,
    OneOf,
    Range,
)

ALWAYS: Condition = AllOf(())
NEVER: Condition = AnyOf(())


def holds(condition: Condition | None, label: str = "internal", rank: int = 1, **facts: Any) -> bool:
    question = Question(**({"model": "auto"} | facts))
    return compile_condition(condition)(Facts(question, rank, label))


def found(pattern: str, fact: str = "prompt", key: str = "") -> Matches:
    return Matches(fact, pattern, re2.compile(pattern), key)


class CountingPrompt:
    """A prompt that tells how often somebody had its tokens counted."""

    text = ""
    has: frozenset[str] = frozenset()
    conversation = b""

    def __init__(self) -> None:
        self.counted = 0

    @property
    def tokens_in(self) -> int:
        self.counted += 1
        return 5_000


class TestOneOf:
    @pytest.mark.parametrize(
        ("fact", "value", "other"),
        [
            ("model", "smart", "fast"),
            ("surface", "openai-chat", "anthropic-messages"),
            ("project", "hr", "web"),
            ("user", "alice", "bob"),
            ("task", "refactoring", "documentation"),
            ("stream", True, False),
            ("operation", Operation.EMBEDDING, Operation.CHAT),
            ("priority", Priority.BATCH, Priority.NORMAL),
        ],
    )
    def test_a_fact_is_compared_as_the_files_spell_it(self, fact: str, value: Any, other: Any) -> None:
        written = value if isinstance(value, bool) else str(value)
        assert holds(OneOf(fact, (written,)), **{fact: value})
        assert not holds(OneOf(fact, (written,)), **{fact: other})

    def test_one_of_several_values_is_enough(self) -> None:
        assert holds(OneOf("project", ("hr", "legal")), project="legal")

    def test_a_header_is_found_whatever_its_case_in_the_file(self) -> None:
        assert holds(OneOf("header", ("blue",), key="X-Team"), headers={"x-team": "blue"})

    def test_metadata_keys_keep_their_case(self) -> None:
        assert holds(OneOf("metadata", ("1",), key="Run"), metadata={"Run": "1"})
        assert not holds(OneOf("metadata", ("1",), key="run"), metadata={"Run": "1"})

    def test_the_label_is_the_effective_one(self) -> None:
        assert holds(OneOf("label", ("restricted",)), label="restricted", rank=3)


class TestAbsentFacts:
    @pytest.mark.parametrize("fact", ["project", "user", "task"])
    def test_make_a_condition_false_and_its_not_true(self, fact: str) -> None:
        assert not holds(OneOf(fact, ("x",)))
        assert holds(Not(OneOf(fact, ("x",))))

    @pytest.mark.parametrize("fact", ["temperature", "n"])
    def test_are_in_no_range(self, fact: str) -> None:
        assert not holds(Range(fact, gte=0))
        assert not holds(Range(fact, lte=1_000))
        assert holds(Not(Range(fact, gte=0)))

    def test_match_no_pattern(self) -> None:
        assert not holds(found(".*", "header", "x-team"))

    @pytest.mark.parametrize("fact", ["project", "user", "task", "temperature", "n", "prompt", "has"])
    def test_can_be_asked_for(self, fact: str) -> None:
        assert holds(Absent(fact))

    def test_a_header_may_be_absent(self) -> None:
        assert holds(Absent("header", "x-team"), headers={"x-other": "1"})
        assert not holds(Absent("header", "x-team"), headers={"x-team": "blue"})

    def test_zero_is_not_absent(self) -> None:
        assert not holds(Absent("temperature"), temperature=0.0)

    def test_a_label_is_never_absent(self) -> None:
        assert not holds(Absent("label"))


class TestRange:
    @pytest.mark.parametrize(
        ("bounds", "number", "inside"),
        [
            ({"gte": 1}, 1, True),
            ({"gt": 1}, 1, False),
            ({"lte": 1}, 1, True),
            ({"lt": 1}, 1, False),
            ({"gt": 0, "lt": 1}, 0.5, True),
            ({"gte": 0, "lte": 1}, 1.5, False),
        ],
    )
    def test_bounds_are_kept_to_the_letter(
        self, bounds: dict[str, float], number: float, inside: bool
    ) -> None:
        assert holds(Range("temperature", **bounds), temperature=number) is inside

    def test_a_label_is_compared_by_its_rank(self) -> None:
        assert holds(Range("label", gte=2), rank=2)
        assert not holds(Range("label", gte=2), rank=1)

    def test_a_short_body_is_judged_without_counting_tokens(self) -> None:
        prompt = CountingPrompt()
        assert not holds(Range("tokens_in", gte=4_000), prompt=prompt, bytes_in=3_999)
        assert holds(Range("tokens_in", lt=4_000), prompt=prompt, bytes_in=3_999)
        assert prompt.counted == 0

    def test_a_body_of_just_as_many_bytes_may_have_that_many_tokens(self) -> None:
        assert holds(Range("tokens_in", gte=5_000), prompt=CountingPrompt(), bytes_in=5_000)

    def test_a_long_body_has_its_tokens_counted(self) -> None:
        prompt = CountingPrompt()
        assert holds(Range("tokens_in", gte=4_000), prompt=prompt, bytes_in=40_000)
        assert prompt.counted == 1

    def test_a_body_of_unknown_size_has_its_tokens_counted(self) -> None:
        assert holds(Range("tokens_in", gte=4_000), prompt=KnownPrompt(tokens_in=4_000))

    @given(st.integers(1, 100), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
    def test_the_short_cut_never_changes_the_answer(self, size: int, less: int, low: int, high: int) -> None:
        tokens = max(0, size - less)
        bounds = Range("tokens_in", gte=low, lt=high)
        quick = holds(bounds, prompt=KnownPrompt(tokens_in=tokens), bytes_in=size)
        assert quick is (low <= tokens < high)


class TestPrompt:
    def test_a_pattern_is_searched_anywhere(self) -> None:
        assert holds(found(r"(?i)\brefactor"), prompt=KnownPrompt(text="please\nREFACTOR this"))
        assert not holds(found(r"(?i)\brefactor"), prompt=KnownPrompt(text="explain this"))

    def test_half_a_surrogate_pair_does_not_break_the_search(self) -> None:
        prompt = KnownPrompt(text="\ud83d refactor")
        assert holds(found("refactor"), prompt=prompt)
        assert not holds(found("explain"), prompt=prompt)

    def test_has_wants_all_it_lists(self) -> None:
        prompt = KnownPrompt(has=frozenset({"tools", "code"}))
        assert holds(HasAll(("tools",)), prompt=prompt)
        assert holds(HasAll(("tools", "code")), prompt=prompt)
        assert not holds(HasAll(("tools", "images")), prompt=prompt)


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


class TestDuring:
    OFFICE = During(frozenset({0, 1, 2, 3, 4}), 9 * 60, 18 * 60, "Europe/Berlin")
    NIGHT = During(frozenset({4}), 22 * 60, 6 * 60, "Europe/Berlin")

    @pytest.mark.parametrize(
        ("moment", "inside"),
        [
            ("2026-11-20T09:00", True),  # a Friday
            ("2026-11-20T17:59", True),
            ("2026-11-20T18:00", False),
            ("2026-11-20T08:59", False),
            ("2026-11-21T12:00", False),
        ],
    )
    def test_the_end_is_not_inside(self, moment: str, inside: bool) -> None:
        assert holds(self.OFFICE, now_s=at(moment)) is inside

    @pytest.mark.parametrize(
        ("moment", "inside"),
        [
            ("2026-11-20T22:00", True),
            ("2026-11-21T05:59", True),  # Saturday morning belongs to Friday night
            ("2026-11-21T06:00", False),
            ("2026-11-21T22:30", False),
            ("2026-11-20T05:00", False),  # Friday morning belongs to Thursday
        ],
    )
    def test_a_night_belongs_to_the_day_it_began_on(self, moment: str, inside: bool) -> None:
        assert holds(self.NIGHT, now_s=at(moment)) is inside

    def test_time_is_local_to_the_zone_named(self) -> None:
        tokyo = During(frozenset(range(7)), 9 * 60, 10 * 60, "Asia/Tokyo")
        assert holds(tokyo, now_s=at("2026-11-20T09:30", "Asia/Tokyo"))
        assert not holds(tokyo, now_s=at("2026-11-20T09:30", "Europe/Berlin"))

    def test_equal_ends_mean_the_whole_day(self) -> None:
        day = During(frozenset({4}), 0, 0, "Europe/Berlin")
        assert holds(day, now_s=at("2026-11-20T00:00"))
        assert holds(day, now_s=at("2026-11-20T23:59"))
        assert not holds(day, now_s=at("2026-11-21T00:00"))


class TestCombinations:
    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            (None, True),
            (AllOf((ALWAYS, ALWAYS)), True),
            (AllOf((ALWAYS, NEVER)), False),
            (AnyOf((NEVER, ALWAYS)), True),
            (AnyOf((NEVER, NEVER)), False),
            (Not(ALWAYS), False),
            (Not(Not(ALWAYS)), True),
        ],
    )
    def test_all_any_and_not(self, condition: Condition | None, expected: bool) -> None:
        assert holds(condition) is expected

    def test_a_fact_nobody_knows_is_refused_when_compiled(self) -> None:
        with pytest.raises(ValueError, match="moon"):
            compile_condition(OneOf("moon", ("full",)))
