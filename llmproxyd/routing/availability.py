"""Who may be called at this moment, and who answers reliably: the two orders that health adds to a decision.

Nothing is dropped for its health. Where everybody is unwell everybody is still in the plan, and nobody else is: being out
of breath never opens a fence. Who is not in the readings counts as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf

from llmproxyd.routing.compile import Option
from llmproxyd.routing.cost import Column
from llmproxyd.routing.performance import turn_of, uniform
from llmproxyd.values.plan import IDLE, Breaker, Gauge, Question, Readings, Verdict

SPARED_S = 0.001
"""A recovering deployment that has had its share, or one that another request may try, goes behind all that are well, and
before any line."""
HELD_BACK_S = 1e6
"""Whoever a breaker holds back goes behind every line, however long: the line moves."""
_LONGEST_LINE_S = HELD_BACK_S / 2

_RELIABLE = 0.8
_DOUBTFUL = 0.5

_Judge = Callable[[Gauge, Option, Question, float], tuple[float, str]]
_NOW = 0.0, "may be called now"


def rank_by_availability(options: Sequence[Option], question: Question, readings: Readings) -> Column:
    """How long until each may be called, in seconds: 0 now, then lines by their length, then breakers by their end."""
    ranks: list[float] = []
    verdicts: list[Verdict] = []
    gauges = [readings.gauges.get(option.deployment.key, IDLE) for option in options]
    tried = _one_to_try(gauges, question)
    for place, (option, gauge) in enumerate(zip(options, gauges, strict=True)):
        rank, reason = _JUDGES[gauge.breaker](gauge, option, question, readings.now_s)
        if gauge.breaker is Breaker.HALF_OPEN and place != tried:
            rank, reason = SPARED_S, "may be tried again, but this request tries another one"
        if rank < HELD_BACK_S and gauge.wait_s > 0.0:
            rank, reason = _in_line(gauge.wait_s)
        ranks.append(rank)
        verdicts.append(Verdict(None, "", reason))
    return ranks, verdicts


def rank_by_reliability(options: Sequence[Option], readings: Readings) -> Column | None:
    """Bands of recent success: 0 from 80 %, 1 from 50 %, 2 below. None: all are in the first, so it orders nobody."""
    rates = [readings.gauges.get(o.deployment.key, IDLE).success_rate for o in options]
    bands = [_band(rate) for rate in rates]
    if not any(bands):
        return None
    return bands, [Verdict(None, "", f"{rate:.0%} of its recent calls succeeded") for rate in rates]


def _one_to_try(gauges: Sequence[Gauge], question: Question) -> int | None:
    """Of those that may be well again each request tries one, in turn: two in a row that say nothing could cost it all
    the time it has, while somebody is well."""
    places = [place for place, gauge in enumerate(gauges) if gauge.breaker is Breaker.HALF_OPEN]
    return places[question.turn % len(places)] if places else None


def _band(rate: float) -> float:
    if rate >= _RELIABLE:
        return 0.0
    return 1.0 if rate >= _DOUBTFUL else 2.0


def _in_line(wait_s: float) -> tuple[float, str]:
    if wait_s == inf:
        return _LONGEST_LINE_S, "its line is full"
    return min(SPARED_S + wait_s, _LONGEST_LINE_S), f"has a line to wait in, about {wait_s:.1f} s"


def _closed(gauge: Gauge, option: Option, question: Question, now_s: float) -> tuple[float, str]:
    return _NOW


def _half_open(gauge: Gauge, option: Option, question: Question, now_s: float) -> tuple[float, str]:
    return 0.0, "one call may try whether it is well again"


def _recovering(gauge: Gauge, option: Option, question: Question, now_s: float) -> tuple[float, str]:
    # By turn, not by conversation: a ramp is to let through a share of the calls, whoever makes them.
    taken = uniform(turn_of(question), option.salt) < gauge.share
    return 0.0 if taken else SPARED_S, f"recovering, takes {gauge.share:.0%} of its calls"


def _held_back(word: str) -> _Judge:
    def judge(gauge: Gauge, option: Option, question: Question, now_s: float) -> tuple[float, str]:
        left_s = max(0.0, gauge.ready_s - now_s)
        return HELD_BACK_S + left_s, f"{word}, for another {left_s:.1f} s"

    return judge


_JUDGES: Mapping[Breaker, _Judge] = {
    Breaker.CLOSED: _closed,
    Breaker.RECOVERING: _recovering,
    Breaker.HALF_OPEN: _half_open,
    Breaker.COOLING: _held_back("asked for a pause"),
    Breaker.OPEN: _held_back("not called after failures"),
}
