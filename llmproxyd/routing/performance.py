"""Stage 3: who answers soonest. Ranks by what the readings say, by turn, and by share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import inf, log

from llmproxyd.routing.compile import CompiledRule, Option
from llmproxyd.routing.cost import Column, Ranker
from llmproxyd.values.plan import IDLE, Question, Readings, Verdict
from llmproxyd.values.snapshot import RankBy

_UNTIMED = "not timed yet, so tried first"


def rank_by_latency(
    rule: CompiledRule,
    options: Sequence[Option],
    question: Question,
    readings: Readings,
    columns: Sequence[Sequence[float]],
) -> Column:
    """Fastest to first content first. Who was never timed goes before all: one request, and it is known."""
    gauges, stage, name = readings.gauges, rule.stage, rule.name
    timed = [gauges.get(o.deployment.key, IDLE).latency_s for o in options]
    untimed = Verdict(stage, name, _UNTIMED)
    return [t or 0.0 for t in timed], [
        untimed if t is None else Verdict(stage, name, f"{t:.3f} s to first content") for t in timed
    ]


def rank_by_least_busy(
    rule: CompiledRule,
    options: Sequence[Option],
    question: Question,
    readings: Readings,
    columns: Sequence[Sequence[float]],
) -> Column:
    """Fewest calls in flight first."""
    busy = [readings.gauges.get(o.deployment.key, IDLE).in_flight for o in options]
    verdicts = [Verdict(rule.stage, rule.name, f"{b} in flight") for b in busy]
    return [float(b) for b in busy], verdicts


def rank_by_round_robin(
    rule: CompiledRule,
    options: Sequence[Option],
    question: Question,
    readings: Readings,
    columns: Sequence[Sequence[float]],
) -> Column:
    """Each in turn. Those equal so far take turns among themselves: over all candidates, turns would be uneven."""
    groups: defaultdict[tuple[float, ...], list[int]] = defaultdict(list)
    for place in range(len(options)):
        groups[tuple(column[place] for column in columns)].append(place)
    ranks = [0.0] * len(options)
    for group in groups.values():
        for number, place in enumerate(group):
            ranks[place] = float((number - question.turn) % len(group))
    return ranks, [Verdict(rule.stage, rule.name, f"{int(r)} turns to wait") for r in ranks]


def rank_by_weight(
    rule: CompiledRule,
    options: Sequence[Option],
    question: Question,
    readings: Readings,
    columns: Sequence[Sequence[float]],
) -> Column:
    """Drawn by share, the same for every turn of a conversation.

    The smallest of exponential draws wins with exactly its share, among any of the candidates: nobody need know who
    is equal so far.
    """
    conversation = drawn_for(question)
    draws = [draw(conversation, o.salt, rule.shares[o.index]) for o in options]
    return draws, [Verdict(rule.stage, rule.name, "drawn by share")] * len(options)


def order_by_shares(
    options: Sequence[Option], shares: Mapping[int, float], question: Question
) -> list[float]:
    """Places for a name with weights: the first drawn by share, the rest by weight.

    Only those still in question draw, so the share of one that was dropped spreads over the others.
    """
    conversation = drawn_for(question)
    first = min(options, key=lambda o: (draw(conversation, o.salt, shares[o.index]), o.tie))
    ordered = sorted(options, key=lambda o: (o is not first, -shares[o.index], o.tie))
    places = {option.index: float(place) for place, option in enumerate(ordered)}
    return [places[o.index] for o in options]


def drawn_for(question: Question) -> bytes:
    """What a draw is repeatable for: the conversation, or this one request where there is none."""
    return question.prompt.conversation or turn_of(question)


def turn_of(question: Question) -> bytes:
    """What a draw is repeatable for that every request makes anew."""
    return question.turn.to_bytes(16, "big", signed=True)


def draw(conversation: bytes, salt: bytes, share: float) -> float:
    """An exponential variate with rate ``share``, the same for the same conversation and salt; inf for no share."""
    return inf if share <= 0 else -log(uniform(conversation, salt)) / share


def uniform(drawn_for: bytes, salt: bytes) -> float:
    """A number in (0, 1], the same for the same two."""
    digest = blake2b(drawn_for, digest_size=8, key=salt).digest()
    return (int.from_bytes(digest, "big") + 1) / 2**64


RANKERS: Mapping[RankBy, Ranker] = {
    RankBy.LATENCY: rank_by_latency,
    RankBy.LEAST_BUSY: rank_by_least_busy,
    RankBy.ROUND_ROBIN: rank_by_round_robin,
    RankBy.WEIGHT: rank_by_weight,
}
