from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from math import inf

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.exchange.gate import Gates, LineReport, Pass, Saturated, Toll
from llmproxyd.exchange.line import MOST_WAITING
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.request import Dialect, Priority
from llmproxyd.values.snapshot import Limits, Provider, Snapshot, Zone
from tests.exchange.virtual_time import VirtualLoop, run

BATCH = Toll(1, Priority.BATCH)
NORMAL = Toll(1, Priority.NORMAL)
INTERACTIVE = Toll(1, Priority.INTERACTIVE)


def provider(name: str = "acme", identity: str | None = None, **limits: int) -> Provider:
    return Provider(
        name=name,
        preset="custom",
        dialect=Dialect.OPENAI_CHAT,
        base_url="http://localhost:1/v1",
        zone=Zone.LOCAL,
        clearance=3,
        limits=Limits(**limits),
        identity=identity or f"{name} at localhost",
    )


def snapshot(*providers: Provider) -> Snapshot:
    return Snapshot(hash="", providers={p.name: p for p in providers}, deployments=(), names={}, rules=())


def got(entered: Pass | None) -> Pass:
    assert entered is not None
    return entered


def only(gates: Gates) -> LineReport:
    (report,) = gates.lines()
    return report


def waiting(gates: Gates) -> int:
    return sum(only(gates).waiting.values())


async def settle() -> None:
    """Let everything run that needs no time."""
    for _ in range(5):
        await asyncio.sleep(0)


class TestWithoutLimits:
    def test_a_provider_without_limits_is_always_open_and_has_no_line(self) -> None:
        gates = Gates(lambda: 0.0)
        first = got(gates.try_enter(provider(), NORMAL))
        assert gates.try_enter(provider(), BATCH) is first
        first.leave(5, 1.0)
        first.leave(5, 1.0)
        assert gates.expected_wait_s(provider(), NORMAL) == 0
        assert gates.lines() == ()


class TestEntering:
    def test_a_place_is_free_again_when_its_call_is_over(self) -> None:
        gates, one = Gates(lambda: 10.0), provider(concurrency=1)
        first = got(gates.try_enter(one, NORMAL))
        assert gates.try_enter(one, NORMAL) is None
        first.leave(None, 10.0)
        got(gates.try_enter(one, NORMAL))

    def test_to_leave_twice_frees_one_place(self) -> None:
        gates, two = Gates(lambda: 10.0), provider(concurrency=2)
        first = got(gates.try_enter(two, NORMAL))
        got(gates.try_enter(two, NORMAL))
        first.leave(None, 10.0)
        first.leave(None, 10.0)
        got(gates.try_enter(two, NORMAL))
        assert gates.try_enter(two, NORMAL) is None

    def test_providers_do_not_count_for_each_other(self) -> None:
        gates = Gates(lambda: 10.0)
        got(gates.try_enter(provider("a", concurrency=1), NORMAL))
        got(gates.try_enter(provider("b", concurrency=1), NORMAL))

    def test_tokens_are_charged_as_estimated_and_corrected_by_what_was_used(self) -> None:
        gates, acme = Gates(lambda: 10.0), provider(tokens_per_minute=1000)
        first = got(gates.try_enter(acme, Toll(900)))
        assert gates.try_enter(acme, Toll(200)) is None
        first.leave(300, 10.0)
        second = got(gates.try_enter(acme, Toll(200)))
        second.leave(2000, 10.0)
        assert gates.expected_wait_s(acme, Toll(1)) == pytest.approx((2300 - 1000 + 1) * 60 / 1000)

    def test_one_who_waits_enters_when_a_place_is_free(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, one = Gates(loop.time), provider(concurrency=1)
            first = got(gates.try_enter(one, NORMAL))
            loop.call_later(0.7, lambda: first.leave(None, loop.time()))
            began_s = loop.time()
            second = await gates.enter(one, NORMAL, until_s=loop.time() + 5)
            assert loop.time() - began_s == pytest.approx(0.7)
            second.leave(None, loop.time())
            assert only(gates).in_use == 0

        run(main)

    def test_requests_per_minute_let_those_who_wait_in_one_by_one(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, paced, entered_s = Gates(loop.time), provider(requests_per_minute=60), []
            start_s = loop.time()

            async def call() -> None:
                entered = await gates.enter(paced, NORMAL, until_s=inf)
                entered_s.append(loop.time() - start_s)
                entered.leave(None, loop.time())

            await asyncio.gather(*(call() for _ in range(65)))
            assert entered_s[:60] == [0.0] * 60
            assert entered_s[60:] == pytest.approx([1, 2, 3, 4, 5], abs=0.01)

        run(main)

    def test_tokens_per_minute_let_one_in_when_its_tokens_are_there(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, acme = Gates(loop.time), provider(tokens_per_minute=600)
            got(gates.try_enter(acme, Toll(600)))
            began_s = loop.time()
            await gates.enter(acme, Toll(50), until_s=inf)
            assert loop.time() - began_s == pytest.approx(5, abs=0.01)

        run(main)

    def test_nobody_overtakes_one_of_its_own_class_who_needs_more_room(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, acme = Gates(loop.time), provider(tokens_per_minute=600)
            got(gates.try_enter(acme, Toll(500)))
            large = asyncio.ensure_future(gates.enter(acme, Toll(300), until_s=inf))
            await settle()
            assert gates.try_enter(acme, Toll(10)) is None
            assert gates.try_enter(acme, Toll(10, Priority.BATCH)) is None
            got(gates.try_enter(acme, Toll(10, Priority.INTERACTIVE)))
            await large

        run(main)

    def test_who_needs_less_goes_on_when_the_large_one_before_it_leaves_the_line(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, acme = Gates(loop.time), provider(tokens_per_minute=600)
            got(gates.try_enter(acme, Toll(500)))
            large = asyncio.ensure_future(gates.enter(acme, Toll(300), until_s=inf))
            small = asyncio.ensure_future(gates.enter(acme, Toll(50), until_s=inf))
            await settle()
            assert not small.done()
            large.cancel()
            await settle()
            assert small.done()

        run(main)

    def test_in_real_time_too_one_enters_when_its_tokens_are_there_and_not_before(self) -> None:
        async def main() -> float:
            gates, acme = Gates(time.monotonic), provider(tokens_per_minute=60_000)
            got(gates.try_enter(acme, Toll(60_000)))
            began_s = time.monotonic()
            await asyncio.gather(*(gates.enter(acme, Toll(10), until_s=inf) for _ in range(5)))
            return time.monotonic() - began_s

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert 0.045 <= runner.run(main()) < 5

    def test_who_needs_less_goes_on_when_the_time_of_the_large_one_before_it_is_up(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, acme = Gates(loop.time), provider(tokens_per_minute=600)
            got(gates.try_enter(acme, Toll(500)))
            began_s = loop.time()
            large = asyncio.ensure_future(gates.enter(acme, Toll(300), until_s=began_s + 25))
            small = asyncio.ensure_future(gates.enter(acme, Toll(50), until_s=inf))
            await settle()
            got(gates.try_enter(acme, Toll(100, Priority.INTERACTIVE)))
            await small
            assert loop.time() - began_s == pytest.approx(25)
            assert isinstance(large.exception(), Saturated)

        run(main)


class TestRefusing:
    def test_a_turn_that_cannot_come_in_time_is_refused_at_once(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, one = Gates(loop.time), provider(concurrency=1)
            got(gates.try_enter(one, NORMAL))
            began_s = loop.time()
            with pytest.raises(Saturated) as refusal:
                await gates.enter(one, NORMAL, until_s=loop.time() + 0.5)
            assert loop.time() == began_s
            assert refusal.value.retry_after_s == 1
            assert waiting(gates) == 0

        run(main)

    def test_the_refusal_says_when_there_will_be_room(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, acme = Gates(loop.time), provider(tokens_per_minute=60)
            got(gates.try_enter(acme, Toll(60)))
            with pytest.raises(Saturated) as refusal:
                await gates.enter(acme, Toll(30), until_s=loop.time() + 5)
            failure = refusal.value.failure
            assert (failure.kind, failure.code) == (FailureKind.SATURATED, "queue")
            assert failure.retry_after_s == pytest.approx(30)
            assert "acme" in failure.detail
            assert "acme" not in failure.message

        run(main)

    def test_one_who_waits_is_refused_when_its_time_is_up(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, one = Gates(loop.time), provider(concurrency=1)
            first = got(gates.try_enter(one, NORMAL))
            began_s = loop.time()
            with pytest.raises(Saturated) as refusal:
                await gates.enter(one, NORMAL, until_s=loop.time() + 3)
            assert loop.time() - began_s == pytest.approx(3)
            # The call that has not ended for three seconds is taken to go on like that.
            assert refusal.value.retry_after_s == pytest.approx(3)
            assert waiting(gates) == 0
            assert only(gates).refused[Priority.NORMAL] == 1
            first.leave(None, loop.time())
            got(gates.try_enter(one, NORMAL))

        run(main)

    def test_a_full_line_refuses_at_once_even_those_who_would_wait_for_ever(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, one = Gates(loop.time), provider(concurrency=1)
            got(gates.try_enter(one, NORMAL))
            waiters = await fill(gates, one, {NORMAL: MOST_WAITING})
            assert gates.expected_wait_s(one, NORMAL) == inf
            with pytest.raises(Saturated) as refusal:
                await gates.enter(one, NORMAL, until_s=inf)
            assert refusal.value.retry_after_s == pytest.approx(MOST_WAITING + 1)
            assert waiting(gates) == MOST_WAITING
            await leave(waiters)

        run(main)

    def test_in_a_full_line_batch_gives_way_first_the_last_comer_before_the_others(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, one = Gates(loop.time), provider(concurrency=1)
            got(gates.try_enter(one, NORMAL))
            waiters = await fill(gates, one, {BATCH: 2, NORMAL: MOST_WAITING - 2})
            comers = []
            for displaced in (1, 0, MOST_WAITING - 1, MOST_WAITING - 2):
                comers.append(asyncio.ensure_future(gates.enter(one, INTERACTIVE, until_s=inf)))
                await settle()
                with pytest.raises(Saturated):
                    waiters[displaced].result()
            assert waiting(gates) == MOST_WAITING
            assert only(gates).refused == {Priority.INTERACTIVE: 0, Priority.NORMAL: 2, Priority.BATCH: 2}
            await leave([*waiters, *comers])

        run(main)


async def fill(gates: Gates, at: Provider, tolls: Mapping[Toll, int]) -> list[asyncio.Task[Pass]]:
    waiters = [
        asyncio.ensure_future(gates.enter(at, toll, until_s=inf))
        for toll, count in tolls.items()
        for _ in range(count)
    ]
    await settle()
    assert waiting(gates) == len(waiters)
    return waiters


async def leave(waiters: list[asyncio.Task[Pass]]) -> None:
    for one in waiters:
        one.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)


class TestWaking:
    def test_a_place_wakes_exactly_the_next(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, one = Gates(loop.time), provider(concurrency=1)
            first = got(gates.try_enter(one, NORMAL))
            waiters = await fill(gates, one, {NORMAL: 3})
            first.leave(None, loop.time())
            await settle()
            assert [w.done() for w in waiters] == [True, False, False]
            await leave(waiters)

        run(main)

    def test_one_cancelled_before_it_is_chosen_is_passed_over(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, one = Gates(loop.time), provider(concurrency=1)
            first = got(gates.try_enter(one, NORMAL))
            waiters = await fill(gates, one, {NORMAL: 2})
            waiters[0].cancel()  # its task has not run yet when the place is free
            first.leave(None, loop.time())
            await settle()
            assert waiters[0].cancelled()
            assert waiters[1].done()
            assert only(gates).in_use == 1

        run(main)

    def test_one_cancelled_just_when_it_was_chosen_passes_the_place_on(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, acme = Gates(loop.time), provider(concurrency=1, tokens_per_minute=100)
            first = got(gates.try_enter(acme, Toll(0)))
            waiters = await fill(gates, acme, {Toll(100): 2})
            first.leave(None, loop.time())
            waiters[0].cancel()  # it was let in, and has not run since
            await settle()
            assert waiters[0].cancelled()
            assert waiters[1].done()
            assert only(gates).in_use == 1

        run(main)

    @given(
        st.integers(1, 3),
        st.lists(
            st.tuples(
                st.sampled_from(["come", "come", "leave", "cancel", "leave and cancel", "pause", "resize"]),
                st.integers(0, 50),
                st.sampled_from(list(Priority)),
            ),
            max_size=60,
        ),
    )
    def test_whatever_happens_nobody_waits_while_there_is_room(
        self, places: int, steps: list[tuple[str, int, Priority]]
    ) -> None:
        async def main(loop: VirtualLoop) -> None:
            crowd = Crowd(loop, places)
            for act, number, priority in steps:
                crowd.do(act, number, priority)
                if number % 3:
                    await settle()
                    crowd.check()
            await settle()
            crowd.check()
            await crowd.finish()

        run(main)


class Crowd:
    """Tasks that come, hold a pass until they are told to leave, and are cancelled at any moment."""

    def __init__(self, loop: VirtualLoop, places: int) -> None:
        self.loop = loop
        self.gates = Gates(loop.time)
        self.places = places
        self.provider = provider(concurrency=places)
        self.gates.reconcile(snapshot(self.provider))
        self.tasks: list[asyncio.Task[None]] = []
        self.inside: list[asyncio.Event] = []
        self.largest = places

    async def _call(self, priority: Priority, owner: str, until_s: float) -> None:
        entered = await self.gates.enter(self.provider, Toll(1, priority, owner), until_s=until_s)
        done = asyncio.Event()
        self.inside.append(done)
        try:
            await done.wait()
        finally:
            self.inside.remove(done)
            entered.leave(None, self.loop.time())

    def do(self, act: str, number: int, priority: Priority) -> None:
        if act == "come":
            until_s = inf if number % 2 else self.loop.time() + 100
            call = self._call(priority, f"owner {number % 3}", until_s)
            self.tasks.append(asyncio.ensure_future(call))
        if "leave" in act and self.inside:
            self.inside[number % len(self.inside)].set()
        if "cancel" in act and self.tasks:
            self.tasks[number % len(self.tasks)].cancel()
        if act == "pause":
            self.loop._skip(number)
        if act == "resize":
            self.places = 1 + number % 4
            self.largest = max(self.largest, self.places)
            self.gates.reconcile(snapshot(provider(concurrency=self.places)))

    def check(self) -> None:
        report = only(self.gates)
        assert report.in_use == len(self.inside) <= self.largest
        assert report.in_use >= self.places or sum(report.waiting.values()) == 0

    async def finish(self) -> None:
        for _ in range(len(self.tasks)):
            for done in self.inside:
                done.set()
            await settle()
        outcomes = await asyncio.gather(*self.tasks, return_exceptions=True)
        assert all(isinstance(o, Saturated | asyncio.CancelledError | None) for o in outcomes), outcomes
        report = only(self.gates)
        assert (report.in_use, sum(report.waiting.values())) == (0, 0)


class TestReload:
    def test_a_limit_that_grows_lets_those_who_wait_in(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, one = Gates(loop.time), provider(concurrency=1)
            got(gates.try_enter(one, NORMAL))
            waiters = await fill(gates, one, {NORMAL: 3})
            gates.reconcile(snapshot(provider(concurrency=3)))
            await settle()
            assert [w.done() for w in waiters] == [True, True, False]
            await leave(waiters)

        run(main)

    def test_a_limit_that_shrinks_lets_nobody_in_before_enough_have_left(self) -> None:
        gates = Gates(lambda: 10.0)
        inside = [got(gates.try_enter(provider(concurrency=3), NORMAL)) for _ in range(3)]
        smaller = provider(concurrency=1)
        gates.reconcile(snapshot(smaller))
        for one in inside:
            assert gates.try_enter(smaller, NORMAL) is None
            one.leave(None, 10.0)
        got(gates.try_enter(smaller, NORMAL))

    def test_a_limit_that_is_taken_away_lets_everybody_in_and_the_line_vanishes(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, one, free = Gates(loop.time), provider(concurrency=1), provider()
            first = got(gates.try_enter(one, NORMAL))
            waiters = await fill(gates, one, {NORMAL: 3})
            gates.reconcile(snapshot(free))
            await settle()
            for entered in [first, *(w.result() for w in waiters)]:
                assert only(gates).limit is None
                entered.leave(None, loop.time())
            assert gates.lines() == ()

        run(main)

    def test_a_provider_that_is_gone_keeps_its_line_until_nobody_is_in_it(self) -> None:
        gates, one = Gates(lambda: 10.0), provider(concurrency=1)
        first = got(gates.try_enter(one, NORMAL))
        gates.reconcile(snapshot(provider("other")))
        assert gates.try_enter(one, NORMAL) is None
        first.leave(None, 10.0)
        assert gates.lines() == ()

    def test_another_identity_is_another_line(self) -> None:
        gates = Gates(lambda: 10.0)
        got(gates.try_enter(provider(concurrency=1), NORMAL))
        moved = provider(identity="acme elsewhere", concurrency=1)
        gates.reconcile(snapshot(moved))
        got(gates.try_enter(moved, NORMAL))

    def test_a_request_of_an_older_snapshot_meets_the_limits_in_force(self) -> None:
        gates, old, new = Gates(lambda: 10.0), provider(concurrency=5), provider(concurrency=1)
        gates.reconcile(snapshot(new))
        first = got(gates.try_enter(old, NORMAL))
        assert gates.try_enter(old, NORMAL) is None
        first.leave(None, 10.0)
        gates.reconcile(snapshot(provider()))
        got(gates.try_enter(old, NORMAL))
        assert gates.lines() == ()

    def test_a_request_of_an_older_snapshot_meets_the_limits_of_a_provider_that_is_gone(self) -> None:
        gates, old = Gates(lambda: 10.0), provider(concurrency=1)
        gates.reconcile(snapshot(provider("other")))
        got(gates.try_enter(old, NORMAL))
        assert gates.try_enter(old, NORMAL) is None

    def test_a_hundred_reloads_refill_nothing(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            gates, entered = Gates(loop.time), 0
            for reload in range(100):
                limited = provider(requests_per_minute=60 if reload % 2 else 61, tokens_per_minute=6000)
                gates.reconcile(snapshot(limited))
                entered += gates.try_enter(limited, Toll(1)) is not None
            assert entered in (60, 61)

        run(main)

    def test_lines_are_reported_before_anybody_has_come(self) -> None:
        gates = Gates(lambda: 10.0)
        gates.reconcile(
            snapshot(provider("b", concurrency=2), provider("a", requests_per_minute=3), provider("c"))
        )
        nobody = dict.fromkeys(Priority, 0)
        assert gates.lines() == (
            LineReport("a", nobody, nobody, 0, None),
            LineReport("b", nobody, nobody, 0, 2),
        )
