"""Money around every attempt: what is reserved and booked before it is sent is settled after it, once, however it ends."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from llmproxyd.exchange.account import ExchangeRecord
from llmproxyd.exchange.books import Books
from llmproxyd.exchange.run import Exchange
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.state.budgets import Budgets
from llmproxyd.values.budget import Bound, Budget, Then
from llmproxyd.values.cost import NANOS_PER_USD, Price
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.ledger import Intent, LedgerUnavailable, Settlement
from llmproxyd.values.plan import Plan
from llmproxyd.values.snapshot import Deployment, HedgePolicy, Snapshot
from tests.exchange.build import (
    Asking,
    Watched,
    deployment_at,
    exchange_by,
    in_turn,
    means,
    plan,
    until,
    voice,
)
from tests.exchange.test_run import BUSY, failure_of, serve
from tests.exchange.test_wire_faults import Addresses
from tests.routing.build import snapshot
from tests.support.fake_provider import (
    Exchange as Wire,
)
from tests.support.fake_provider import (
    FakeProvider,
    answer,
    chat_body,
    chat_frames,
    hang,
    stream,
)
from tests.support.records import replace

PRICE = Price(NANOS_PER_USD, 2 * NANOS_PER_USD)  # 1,000 and 2,000 nano-dollars a token
ENOUGH = Bound(50_000, 50, 1.0)
GOOD = answer(body=chat_body())


@dataclass
class Ledger:
    """A ledger that remembers what it was told. ``full``: it can book nothing."""

    intents: list[Intent] = field(default_factory=list)
    settled: list[Settlement] = field(default_factory=list)
    full: bool = False

    def begin(self, intent: Intent) -> None:
        if self.full:
            raise LedgerUnavailable("no space is left on the disk")
        self.intents.append(intent)

    def settle(self, settlement: Settlement) -> None:
        self.settled.append(settlement)

    @property
    def outcomes(self) -> list[tuple[str, str, int | None]]:
        """(entry, outcome, nano-dollars) in the order they were settled."""
        return [(s.id.rpartition(".")[2], s.outcome, s.cost_nanos) for s in self.settled]


@dataclass
class Scene:
    upstream: Upstream
    registry: Watched
    ledger: Ledger = field(default_factory=Ledger)
    budgets: Budgets = field(default_factory=lambda: Budgets(lambda alert: None))

    def begin(
        self, decided: Plan, *, most: Bound = ENOUGH, tenant: str = "", **speaking: Any
    ) -> tuple[Exchange, ExchangeRecord]:
        books = Books(self.budgets, self.ledger, wall=time.time)
        shared = means(self.upstream, self.registry, books=books)
        made, record = exchange_by(shared, decided, voice(**speaking), Asking(most=most))
        record.tenant = tenant
        return made, record

    def give(self, *budgets: Budget) -> None:
        given: Snapshot = replace(snapshot(), budgets=budgets)
        self.budgets.reconcile(given)

    @property
    def spent(self) -> list[tuple[int, int]]:
        """(spent, held) in nano-dollars, of every balance."""
        return [(r.spent_nanos, r.held_nanos) for r in self.budgets.report(time.time())]


@pytest.fixture
def scene(upstream: Upstream, registry: Watched) -> Scene:
    return Scene(upstream, registry)


def priced(fake: FakeProvider | str, name: str = "first", **changes: Any) -> Deployment:
    return replace(deployment_at(fake, name, **changes), price=PRICE)


class TestEntries:
    async def test_an_answer_has_one_entry_with_what_its_provider_counted(
        self, scene: Scene, first: FakeProvider
    ) -> None:
        first.manner = GOOD
        made, record = scene.begin(plan(priced(first)), stream=False)
        await serve(made)
        [intent], [settled] = scene.ledger.intents, scene.ledger.settled
        assert (intent.provider, intent.model, intent.reserved_nanos) == ("first", "m", 50_000)
        assert intent.id == settled.id
        assert (settled.outcome, settled.cost_nanos) == ("ok", 5 * 1000 + 3 * 2000)
        assert record.cost_nanos == settled.cost_nanos
        assert settled.usage is not None
        assert not settled.usage.estimated

    async def test_the_intent_is_written_before_anything_is_sent(
        self, scene: Scene, first: FakeProvider
    ) -> None:
        booked: list[int] = []

        async def look(wire: Wire) -> None:
            booked.append(len(scene.ledger.intents))
            await GOOD(wire)

        first.manner = look
        await serve(scene.begin(plan(priced(first)), stream=False)[0])
        assert booked == [1]

    async def test_a_refused_call_costs_nothing_and_its_successor_has_its_own_entry(
        self, scene: Scene, first: FakeProvider, second: FakeProvider
    ) -> None:
        first.manner, second.manner = BUSY, GOOD
        decided = plan(priced(first), priced(second, "second"))
        await serve(scene.begin(decided, stream=False)[0])
        assert scene.ledger.outcomes == [("0", "failed", 0), ("1", "ok", 11_000)]

    async def test_a_client_that_leaves_in_the_middle_pays_for_what_was_generated(
        self, scene: Scene, first: FakeProvider
    ) -> None:
        words = ["word "] * 20
        first.manner = stream(chat_frames(words), stall_after=11)  # the role, and ten words
        made, _ = scene.begin(plan(priced(first)))
        await made.commit()
        rest = made.rest()
        await until(lambda: made.committed.bytes_read > 0)
        for _ in range(3):
            async with asyncio.timeout(1):
                if made.committed.estimate_output() >= 10:
                    break
                await anext(rest)
        await rest.aclose()
        await made.close()
        [settled] = scene.ledger.settled
        assert settled.outcome == "cancelled"
        assert settled.usage is not None
        assert settled.usage.estimated
        assert (settled.usage.input_tokens, settled.usage.output_tokens) == (7, 10)
        assert settled.cost_nanos == 7 * 1000 + 10 * 2000

    async def test_a_broken_stream_is_booked_as_cut(self, scene: Scene, first: FakeProvider) -> None:
        first.manner = stream(chat_frames(["one ", "two "]), cut_after=2)
        await failure_of(scene.begin(plan(priced(first)))[0])
        [settled] = scene.ledger.settled
        assert (settled.outcome, settled.failure) == ("cut", "bad_answer")
        assert settled.cost_nanos is not None
        assert settled.cost_nanos > 0

    async def test_the_loser_of_a_hedge_is_booked_too(
        self, scene: Scene, first: FakeProvider, second: FakeProvider
    ) -> None:
        first.manner = hang
        soon = HedgePolicy(after_s=0.03, max_share=1.0, max_spend=1.0)
        await serve(scene.begin(plan(priced(first), priced(second, "second"), hedge=soon))[0])
        assert scene.ledger.outcomes == [("0", "lost", 7_000), ("1", "ok", 9_000)]
        assert [intent.hedge for intent in scene.ledger.intents] == [False, True]

    @pytest.mark.parametrize("leaves", [False, True], ids=["deadline", "client left"])
    async def test_what_was_given_up_before_a_byte_went_out_costs_nothing(
        self, registry: Watched, leaves: bool
    ) -> None:
        names = Addresses()
        names.silent = True
        upstream = Upstream(lookup=names)
        scene = Scene(upstream, registry)
        scene.give(Budget("all", nanos=10**9))
        unknown = priced("http://provider.test:1/v1")
        made, _ = scene.begin(plan(unknown, deadline_s=20.0 if leaves else 0.05), stream=False)
        asking = asyncio.ensure_future(failure_of(made))
        await until(lambda: bool(scene.ledger.intents))
        if leaves:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        else:
            assert (await asking).code == "deadline"
        [settled] = scene.ledger.settled
        assert (settled.outcome, settled.cost_nanos) == ("cancelled" if leaves else "failed", 0)
        assert settled.usage is None
        assert scene.spent == [(0, 0)]
        await upstream.close()

    async def test_what_was_never_sent_has_no_entry(self, scene: Scene, first: FakeProvider) -> None:
        first.manner = answer(429, retry_after="60")
        alone = plan(priced(first))
        scene.registry.reconcile(snapshot(*(c.deployment for c in alone.candidates)), time.monotonic())
        for _ in range(3):
            await failure_of(scene.begin(alone, stream=False)[0])
        assert len(first.seen) == len(scene.ledger.intents) == len(scene.ledger.settled) == 1

    @pytest.mark.parametrize(
        ("usage", "said"),
        [
            ({"prompt_tokens": 0, "completion_tokens": 0}, "no input tokens"),
            ({"prompt_tokens": 5, "completion_tokens": -3}, "no output tokens"),
        ],
    )
    async def test_a_lie_is_disputed_and_our_own_count_stands(
        self, scene: Scene, first: FakeProvider, usage: dict[str, int], said: str
    ) -> None:
        told = json.loads(chat_body("A good answer of some length."))
        told["usage"] = {**usage, "total_tokens": sum(usage.values())}
        first.manner = answer(body=json.dumps(told).encode())
        made, record = scene.begin(plan(priced(first)), stream=False)
        await serve(made)
        [settled] = scene.ledger.settled
        assert record.disputed is not None
        assert said in record.disputed
        assert settled.disputed == record.disputed
        assert settled.cost_nanos is not None
        assert settled.cost_nanos > 0

    async def test_what_the_provider_charged_comes_before_our_price(
        self, scene: Scene, first: FakeProvider
    ) -> None:
        told = json.loads(chat_body())
        told["usage"]["cost"] = 0.000123
        first.manner = answer(body=json.dumps(told).encode())
        openrouter = priced(first, preset="openrouter")
        await serve(scene.begin(plan(openrouter), stream=False)[0])
        assert scene.ledger.outcomes == [("0", "ok", 123_000)]

    async def test_no_money_is_counted_where_nobody_wants_it(self, scene: Scene, first: FakeProvider) -> None:
        first.manner = GOOD
        await serve(scene.begin(plan(priced(first, cost_tracking=False)), stream=False)[0])
        assert scene.ledger.outcomes == [("0", "ok", None)]

    async def test_nothing_is_sent_that_cannot_be_booked(self, scene: Scene, first: FakeProvider) -> None:
        scene.ledger.full = True
        scene.give(Budget("all", nanos=10**9))
        failure = await failure_of(scene.begin(plan(priced(first)))[0])
        assert (failure.kind, failure.code) == (FailureKind.SATURATED, "ledger_unavailable")
        assert "no space is left on the disk" in failure.message
        assert not first.seen
        assert scene.spent == [(0, 0)]


class TestBudgets:
    async def test_money_for_ten_lets_ten_of_sixty_four_through(
        self, scene: Scene, first: FakeProvider
    ) -> None:
        first.manner = GOOD
        scene.give(Budget("all", nanos=10 * 11_000))
        exactly = Bound(11_000, 8, 1.0)
        begun = [scene.begin(plan(priced(first)), most=exactly, stream=False)[0] for _ in range(64)]
        ended = await asyncio.gather(*(serve(made) for made in begun), return_exceptions=True)
        assert sum(isinstance(one, bytes) for one in ended) == len(first.seen) == 10
        assert scene.spent == [(110_000, 0)]

    async def test_a_spent_budget_ends_the_request_before_anybody_is_asked(
        self, scene: Scene, first: FakeProvider, second: FakeProvider
    ) -> None:
        scene.give(Budget("small", nanos=10))
        failure = await failure_of(scene.begin(plan(priced(first), priced(second, "second")))[0])
        assert (failure.kind, failure.code) == (FailureKind.LIMIT_REACHED, "budget_exceeded")
        assert not first.seen
        assert not second.seen
        assert not scene.ledger.intents

    async def test_a_retry_gives_back_what_the_failed_attempt_held(
        self, scene: Scene, first: FakeProvider
    ) -> None:
        first.manner = in_turn(BUSY, GOOD)
        scene.give(Budget("all", nanos=50_000))
        await serve(scene.begin(plan(priced(first), retry_max=1, retry_base_s=0.001), stream=False)[0])
        assert scene.spent == [(11_000, 0)]

    async def test_whoever_leaves_holds_nothing_any_more(self, scene: Scene, first: FakeProvider) -> None:
        first.manner = hang
        scene.give(Budget("all", nanos=10**9))
        serving = asyncio.ensure_future(serve(scene.begin(plan(priced(first)))[0]))
        await until(lambda: bool(first.seen))
        assert scene.spent == [(0, 50_000)]
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert scene.spent == [(7_000, 0)]

    async def test_one_that_lets_requests_wait_is_asked_again_when_its_window_turns(
        self, scene: Scene, first: FakeProvider
    ) -> None:
        scene.give(Budget("tiny", nanos=10, then=Then.QUEUE))
        failure = await failure_of(scene.begin(plan(priced(first), deadline_s=0.2))[0])
        assert failure.code == "budget_exceeded"
        assert not first.seen
