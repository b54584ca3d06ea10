"""Does a rule apply: conditions compiled to closures, once per generation.

A fact the request does not state makes its condition false, and the `not` of that condition true. What a rule then
does is the stages' business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from llmproxyd.values.plan import Question
from llmproxyd.values.snapshot import (
    Absent,
    AllOf,
    AnyOf,
    Condition,
    During,
    HasAll,
    Holds,
    Matches,
    Not,
    OneOf,
    Range,
)


class Facts(msgspec.Struct):
    """What conditions look at: the question, and the effective label as far as it is known.

    Mutable because a rule may raise the label that the rules below it see. ``lowered_from``: the label before it was lowered.
    """

    question: Question
    label_rank: int
    label: str
    lowered_from: str | None = None


Test: TypeAlias = Callable[[Facts], bool]
_Getter: TypeAlias = Callable[[Facts], Any]

_FACTS: Mapping[str, _Getter] = {
    "model": attrgetter("question.model"),
    "surface": attrgetter("question.surface"),
    "operation": attrgetter("question.operation"),
    "tenant": attrgetter("question.tenant"),
    "project": attrgetter("question.project"),
    "user": attrgetter("question.user"),
    "task": attrgetter("question.task"),
    "label": attrgetter("label"),
    "stream": attrgetter("question.stream"),
    "priority": attrgetter("question.priority"),
    "temperature": attrgetter("question.temperature"),
    "n": attrgetter("question.n"),
    "budget_left": attrgetter("question.budget_left"),
    "tokens_in": attrgetter("question.prompt.tokens_in"),
    "prompt": attrgetter("question.prompt.text"),
    "has": attrgetter("question.prompt.has"),
}

_KEYED: Mapping[str, Callable[[Facts], Mapping[str, str]]] = {
    "header": attrgetter("question.headers"),
    "metadata": attrgetter("question.metadata"),
}

_SAYS_NOTHING: tuple[object, ...] = (None, "", frozenset())


def compile_condition(condition: Condition | None) -> Test:
    """Condition -> function of Facts; None holds always.

    Raises ValueError for a fact nobody knows, and zoneinfo's errors for a time zone the machine does not have: the
    configuration is checked before it comes here.
    """
    if condition is None:
        return _always
    return _COMPILERS[type(condition)](condition)


def _always(facts: Facts) -> bool:
    return True


def _getter(fact: str, key: str) -> _Getter:
    if fact in _KEYED:
        mapping = _KEYED[fact]
        wanted = key.lower() if fact == "header" else key
        return lambda facts: mapping(facts).get(wanted)
    if fact not in _FACTS:
        raise ValueError(f"no condition can read {fact!r}")
    return _FACTS[fact]


def _one_of(condition: OneOf) -> Test:
    get = _getter(condition.fact, condition.key)
    values = frozenset(condition.values)
    return lambda facts: get(facts) in values


def _has_all(condition: HasAll) -> Test:
    values = frozenset(condition.values)
    return lambda facts: values <= facts.question.prompt.has


def _holds(condition: Holds) -> Test:
    kinds = condition.kinds
    return lambda facts: any(map(facts.question.scan.has, kinds))


def _absent(condition: Absent) -> Test:
    get = _getter(condition.fact, condition.key)
    return lambda facts: get(facts) in _SAYS_NOTHING


def within_range(condition: Range) -> Callable[[float | None], bool]:
    """Range -> function of a number; None, an unknown number, is in no range."""
    bounds = (condition.gt, condition.gte, condition.lt, condition.lte)
    gt, gte, lt, lte = bounds

    def test(number: float | None) -> bool:
        return (
            number is not None
            and (gte is None or number >= gte)
            and (gt is None or number > gt)
            and (lte is None or number <= lte)
            and (lt is None or number < lt)
        )

    return test


def _range(condition: Range) -> Test:
    holds = within_range(condition)
    if condition.fact == "tokens_in":
        return _tokens_in(condition, holds)
    get = attrgetter("label_rank") if condition.fact == "label" else _getter(condition.fact, "")
    return lambda facts: holds(get(facts))


def _tokens_in(condition: Range, holds: Callable[[float | None], bool]) -> Test:
    """A body has at least as many bytes as tokens, so a small one is judged without counting."""
    floor = max((b for b in (condition.gt, condition.gte) if b is not None), default=None)
    ceiling = min((b for b in (condition.lt, condition.lte) if b is not None), default=None)

    def test(facts: Facts) -> bool:
        question = facts.question
        if question.bytes_in:
            if floor is not None and question.bytes_in < floor:
                return False
            if floor is None and ceiling is not None and question.bytes_in < ceiling:
                return True
        return holds(question.prompt.tokens_in)

    return test


def _matches(condition: Matches) -> Test:
    get = _getter(condition.fact, condition.key)
    search = condition.regex.search

    def test(facts: Facts) -> bool:
        value = get(facts)
        if value in _SAYS_NOTHING:
            return False
        try:
            return search(value) is not None
        except UnicodeEncodeError:
            # JSON may carry half a surrogate pair, which has no UTF-8 form; the rest of the text still counts.
            return search(value.encode("utf-8", "replace").decode()) is not None

    return test


def _during(condition: During) -> Test:
    zone, days = ZoneInfo(condition.zone), condition.days
    start, end = condition.start_minute, condition.end_minute

    def test(facts: Facts) -> bool:
        local = datetime.fromtimestamp(facts.question.now_s, zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if start < end:
            return day in days and start <= minute < end
        # Equal ends mean the whole day that begins at `start`, not an empty span nobody would write down.
        return (minute >= start and day in days) or (minute < end and (day - 1) % 7 in days)

    return test


def _not(condition: Not) -> Test:
    inner = compile_condition(condition.condition)
    return lambda facts: not inner(facts)


def _all_of(condition: AllOf) -> Test:
    tests = tuple(compile_condition(c) for c in condition.conditions)
    if len(tests) == 1:
        return tests[0]
    return lambda facts: all(test(facts) for test in tests)


def _any_of(condition: AnyOf) -> Test:
    tests = tuple(compile_condition(c) for c in condition.conditions)
    return lambda facts: any(test(facts) for test in tests)


_COMPILERS: Mapping[type[Any], Callable[[Any], Test]] = {
    OneOf: _one_of,
    HasAll: _has_all,
    Holds: _holds,
    Range: _range,
    Absent: _absent,
    Matches: _matches,
    During: _during,
    Not: _not,
    AllOf: _all_of,
    AnyOf: _any_of,
}
