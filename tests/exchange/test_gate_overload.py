"""A provider that is asked for five times what it can do, in virtual time: who waits, who is refused, what is wasted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from math import inf

import pytest

from llmproxyd.exchange.gate import Gates, Saturated, Toll
from llmproxyd.values.request import Priority
from llmproxyd.values.snapshot import Limits, Provider
from tests.exchange.test_gate import only, provider
from tests.exchange.virtual_time import VirtualLoop, run

PLACES = 10
HOLDING_S = 1.0
LASTS_S = 120.0


@dataclass(frozen=True)
class Stream:
    """Calls that come by chance, so many a second, each willing to wait so long."""

    per_s: float
    patience_s: float
    owner: str = ""
    weight: float = 1.0


@dataclass
class Seen:
    """What happened, as those who called saw it."""

    waits_s: dict[Priority, list[float]] = field(default_factory=lambda: {p: [] for p in Priority})
    refused: list[tuple[float, Priority, float]] = field(default_factory=list)
    served: Counter[str] = field(default_factory=Counter)
    turned_away: Counter[str] = field(default_factory=Counter)
    soonest_retry_s: float = inf
    inside: int = 0
    most_inside: int = 0
    busy_s: float = 0.0

    def refusals(self, priority: Priority) -> int:
        return sum(p is priority for _, p, _ in self.refused)


class Crush:
    def __init__(self, loop: VirtualLoop, to: Provider, holding_s: float = HOLDING_S) -> None:
        self.loop = loop
        self.to = to
        self.holding_s = holding_s
        self.gates = Gates(loop.time)
        self.random = random.Random(4)
        self.seen = Seen()
        self.started_s = loop.time()

    async def call(self, priority: Priority, stream: Stream) -> None:
        seen, came_s = self.seen, self.loop.time()
        toll = Toll(1, priority, stream.owner, stream.weight)
        try:
            entered = await self.gates.enter(self.to, toll, until_s=came_s + stream.patience_s)
        except Saturated as full:
            seen.soonest_retry_s = min(seen.soonest_retry_s, full.retry_after_s)
            seen.turned_away[stream.owner or priority] += 1
            seen.refused.append((came_s - self.started_s, priority, self.loop.time() - came_s))
            return
        seen.waits_s[priority].append(self.loop.time() - came_s)
        seen.served[stream.owner or priority] += 1
        seen.inside += 1
        seen.most_inside = max(seen.most_inside, seen.inside)
        await asyncio.sleep(self.holding_s)
        seen.inside -= 1
        seen.busy_s += self.holding_s
        entered.leave(1, self.loop.time())
        self.check_nobody_waits_beside_a_free_place()

    def check_nobody_waits_beside_a_free_place(self) -> None:
        report, limit = only(self.gates), self.to.limits.concurrency
        assert limit is None or report.in_use == limit or sum(report.waiting.values()) == 0

    async def come(self, priority: Priority, stream: Stream) -> None:
        calls = []
        while self.loop.time() < self.started_s + LASTS_S:
            await asyncio.sleep(self.random.expovariate(stream.per_s))
            calls.append(asyncio.ensure_future(self.call(priority, stream)))
        await asyncio.gather(*calls)


def crush(limits: Limits, *streams: tuple[Priority, Stream]) -> Seen:
    async def main(loop: VirtualLoop) -> Seen:
        limited = provider(
            **{name: n for name in Limits.__struct_fields__ if (n := getattr(limits, name)) is not None}
        )
        crowd = Crush(loop, limited)
        await asyncio.gather(*(crowd.come(priority, stream) for priority, stream in streams))
        report = only(crowd.gates)
        assert (report.in_use, sum(report.waiting.values())) == (0, 0)
        assert sum(report.refused.values()) == len(crowd.seen.refused)
        return crowd.seen

    return run(main)


@pytest.fixture(scope="module")
def fivefold() -> Seen:
    """Ten calls a second can be served; fifty come."""
    return crush(
        Limits(concurrency=PLACES),
        (Priority.INTERACTIVE, Stream(5, 10)),
        (Priority.NORMAL, Stream(20, 10)),
        (Priority.BATCH, Stream(25, 10)),
    )


class TestFivefoldOverload:
    def test_interactive_calls_wait_no_longer_than_one_call_lasts(self, fivefold: Seen) -> None:
        assert max(fivefold.waits_s[Priority.INTERACTIVE]) <= HOLDING_S
        assert fivefold.refusals(Priority.INTERACTIVE) == 0

    def test_the_provider_is_full_and_never_above_its_limit(self, fivefold: Seen) -> None:
        assert fivefold.most_inside == PLACES
        assert fivefold.busy_s >= 0.98 * LASTS_S * PLACES

    def test_batch_is_refused_first_and_most(self, fivefold: Seen) -> None:
        first_normal_s = min(at_s for at_s, priority, _ in fivefold.refused if priority is Priority.NORMAL)
        before = [p for at_s, p, _ in fivefold.refused if at_s < first_normal_s]
        assert len(before) >= 20
        assert set(before) == {Priority.BATCH}
        offered_normal = fivefold.refusals(Priority.NORMAL) + len(fivefold.waits_s[Priority.NORMAL])
        offered_batch = fivefold.refusals(Priority.BATCH) + len(fivefold.waits_s[Priority.BATCH])
        assert fivefold.refusals(Priority.BATCH) / offered_batch > 0.95
        assert fivefold.refusals(Priority.NORMAL) / offered_normal < 0.85

    def test_who_is_refused_is_mostly_told_at_once(self, fivefold: Seen) -> None:
        at_once = sum(after_s == 0 for _, _, after_s in fivefold.refused)
        assert at_once >= 0.9 * len(fivefold.refused)

    def test_nobody_is_told_to_come_back_within_a_second(self, fivefold: Seen) -> None:
        assert 1 <= fivefold.soonest_retry_s < 10

    def test_nobody_waits_longer_than_it_said_it_would(self, fivefold: Seen) -> None:
        assert max(max(waits, default=0.0) for waits in fivefold.waits_s.values()) <= 10 + 1e-6


def test_patient_batch_calls_are_served_although_normal_ones_alone_are_too_many() -> None:
    seen = crush(
        Limits(concurrency=PLACES),
        (Priority.INTERACTIVE, Stream(3, 10)),
        (Priority.NORMAL, Stream(15, 5)),
        (Priority.BATCH, Stream(2, 110)),
    )
    assert len(seen.waits_s[Priority.BATCH]) >= 20
    assert max(seen.waits_s[Priority.INTERACTIVE]) <= HOLDING_S


def test_owners_share_by_weight_however_much_each_of_them_asks() -> None:
    seen = crush(
        Limits(concurrency=PLACES),
        (Priority.NORMAL, Stream(60, 20, "greedy", 1.0)),
        (Priority.NORMAL, Stream(15, 20, "modest", 2.0)),
    )
    assert seen.served["modest"] / seen.served["greedy"] == pytest.approx(2, rel=0.1)


def test_an_owner_within_its_share_hardly_waits_behind_a_greedy_one() -> None:
    seen = crush(
        Limits(concurrency=PLACES),
        (Priority.NORMAL, Stream(60, 20, "greedy")),
        (Priority.NORMAL, Stream(2, 2, "modest")),
    )
    assert seen.turned_away["modest"] == 0
    assert seen.served["modest"] > 200
    assert seen.turned_away["greedy"] > 5000


def test_paced_requests_are_neither_late_nor_too_many() -> None:
    seen = crush(Limits(requests_per_minute=600), (Priority.NORMAL, Stream(50, 5)))
    served = len(seen.waits_s[Priority.NORMAL])
    # A minute's worth at once, ten a second from then on, and what was still in line at the end.
    assert 600 + 10 * LASTS_S - 20 <= served <= 600 + 10 * (LASTS_S + 5) + 1
