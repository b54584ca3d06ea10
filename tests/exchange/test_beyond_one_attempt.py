"""What an exchange does beyond asking one after the other: hedges, lines, breakers, several keys, further candidates."""

from __future__ import annotations

import asyncio
import time

import pytest

from llmproxyd.exchange.gate import Toll
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.values.clearance import grant
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Breaker, Candidate, Plan
from llmproxyd.values.request import Priority
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Auth, Credential, Deployment, HedgePolicy, Limits
from tests.exchange.build import (
    Asking,
    Watched,
    deployment_at,
    exchange,
    exchange_by,
    means,
    plan,
    until,
    voice,
)
from tests.exchange.test_run import BUSY, DENIED, failure_of, outcomes, serve, tried
from tests.routing.build import snapshot
from tests.support.fake_provider import Exchange as Wire
from tests.support.fake_provider import FakeProvider, answer, chat_body, chat_frames, hang, stream
from tests.support.records import replace


def known(registry: Watched, *deployments: Deployment) -> None:
    """What is not in the configuration is forgotten with its last call."""
    registry.reconcile(snapshot(*deployments), time.monotonic())


SOON = HedgePolicy(after_s=0.03, max_share=1.0, max_spend=1.0)
GOOD = answer(body=chat_body())


class TestHedge:
    async def test_a_silent_one_gets_a_second_beside_it_and_the_loser_is_cut(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = hang
        decided = plan(deployment_at(first), deployment_at(second, "second"), hedge=SOON)
        made, record = exchange(upstream, registry, decided)
        assert b"[DONE]" in await serve(made)
        await until(lambda: first.seen[0].gone_s is not None)
        won_s, lost_s = second.seen[0].at_s, first.seen[0].gone_s
        assert lost_s is not None
        assert lost_s - won_s < 0.25
        assert [(a.deployment, a.hedge) for a in record.attempts] == [("first/m", False), ("second/m", True)]
        assert outcomes(registry) == [("first/m", False, None), ("second/m", True, None)]

    async def test_the_first_may_still_win(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        asked = asyncio.Event()

        async def when_the_other_was_asked(wire: Wire) -> None:
            await asked.wait()
            await stream(chat_frames())(wire)

        async def silent(wire: Wire) -> None:
            asked.set()
            await hang(wire)

        first.manner, second.manner = when_the_other_was_asked, silent
        decided = plan(deployment_at(first), deployment_at(second, "second"), hedge=SOON)
        made, record = exchange(upstream, registry, decided)
        await serve(made)
        assert [(a.deployment, a.hedge) for a in record.attempts] == [("second/m", True), ("first/m", False)]
        await until(lambda: second.seen[0].gone_s is not None)

    async def test_a_quick_answer_needs_none(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        decided = plan(
            deployment_at(first), deployment_at(second, "second"), hedge=replace(SOON, after_s=5.0)
        )
        made, record = exchange(upstream, registry, decided)
        await serve(made)
        assert tried(record) == [("first/m", None)]
        assert not second.seen

    async def test_a_client_that_leaves_takes_both_along(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = second.manner = hang
        decided = plan(deployment_at(first), deployment_at(second, "second"), hedge=SOON)
        made, _ = exchange(upstream, registry, decided)
        serving = asyncio.ensure_future(serve(made))
        await until(lambda: bool(second.seen))
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await until(lambda: first.seen[0].gone_s is not None and second.seen[0].gone_s is not None)
        assert sorted(registry.begun) == sorted(name for name, _ in registry.settled)

    async def test_the_share_of_hedges_is_bounded(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = stream(chat_frames(), pause_s=0.0)
        shared = means(upstream, registry)
        rare = replace(SOON, max_share=0.01)

        async def slowly(wire: Wire) -> None:
            await asyncio.sleep(0.08)  # what is measured is time: longer than the hedge would wait
            await stream(chat_frames())(wire)

        first.manner = slowly
        decided = plan(deployment_at(first), deployment_at(second, "second"), hedge=rare)
        for _ in range(3):
            made, _ = exchange_by(shared, decided)
            await serve(made)
        assert not second.seen


class TestBreaker:
    async def test_after_three_failures_nobody_pays_for_it_any_more(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = BUSY
        shared = means(upstream, registry)
        ill, well = deployment_at(first), deployment_at(second, "second")
        known(registry, ill, well)
        for _ in range(10):
            made, record = exchange_by(shared, plan(ill, well), voice(stream=False))
            second.manner = GOOD
            await serve(made)
        assert len(first.seen) == 3
        assert len(second.seen) == 10
        assert [a.sent for a in record.attempts] == [False, True]

    async def test_who_is_alone_is_asked_nevertheless(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = BUSY
        shared = means(upstream, registry)
        known(registry, deployment_at(first))
        for _ in range(4):
            await failure_of(exchange_by(shared, plan(deployment_at(first)), voice(stream=False))[0])
        first.manner = GOOD
        made, _ = exchange_by(shared, plan(deployment_at(first)), voice(stream=False))
        await serve(made)
        gauge = registry.readings([deployment_at(first)], time.monotonic()).gauges
        assert gauge[deployment_at(first).key].breaker in (Breaker.RECOVERING, Breaker.CLOSED, Breaker.OPEN)
        assert len(first.seen) == 5

    async def test_nobody_is_asked_within_the_pause_it_asked_for(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = answer(429, retry_after="60")
        second.manner = GOOD
        shared = means(upstream, registry)
        both = plan(deployment_at(first), deployment_at(second, "second"))
        known(registry, *(candidate.deployment for candidate in both.candidates))
        for _ in range(5):
            await serve(exchange_by(shared, both, voice(stream=False))[0])
        alone = await failure_of(exchange_by(shared, plan(deployment_at(first)), voice(stream=False))[0])
        assert len(first.seen) == 1
        assert alone.kind is FailureKind.RATE_LIMITED
        assert alone.retry_after_s == pytest.approx(60, abs=2)


def with_keys(fake: FakeProvider, *keys: str) -> Deployment:
    credentials = tuple(Credential(Secret(key), f"env:KEY_{key}") for key in keys)
    return deployment_at(fake, auth=Auth.BEARER, credentials=credentials, secret=credentials[0].secret)


async def test_a_denied_key_is_put_aside_and_the_next_one_used(
    first: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    async def only_new(wire: Wire) -> None:
        good = wire.seen.headers["authorization"] == "Bearer new"
        await (GOOD if good else DENIED)(wire)

    first.manner = only_new
    shared = means(upstream, registry)
    known(registry, with_keys(first, "old", "new"))
    for _ in range(3):
        made, _ = exchange_by(shared, plan(with_keys(first, "old", "new")), voice(stream=False))
        await serve(made)
    shown = [seen.headers["authorization"] for seen in first.seen]
    assert shown == ["Bearer old", "Bearer new", "Bearer new", "Bearer new"]


class TestLines:
    async def test_a_full_provider_is_passed_over_while_another_has_room(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner, second.manner = hang, GOOD
        shared = means(upstream, registry)
        narrow = deployment_at(first, limits=Limits(concurrency=1))
        blocking = asyncio.ensure_future(serve(exchange_by(shared, plan(narrow))[0]))
        await until(lambda: bool(first.seen))
        wide = deployment_at(second, "second")
        made, record = exchange_by(shared, plan(narrow, wide), voice(stream=False))
        await serve(made)
        assert tried(record) == [("first/m", FailureKind.SATURATED), ("second/m", None)]
        blocking.cancel()
        await asyncio.gather(blocking, return_exceptions=True)

    async def test_who_has_no_other_waits_for_its_turn(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        go_on = asyncio.Event()

        async def held(wire: Wire) -> None:
            await go_on.wait()
            await GOOD(wire)

        first.manner = held
        shared = means(upstream, registry)
        narrow = plan(deployment_at(first, limits=Limits(concurrency=1)))
        toll = Toll(0, Priority.INTERACTIVE, "local")
        waiting = [
            asyncio.ensure_future(serve(exchange_by(shared, narrow, voice(stream=False), Asking(toll))[0]))
            for _ in range(4)
        ]
        await until(lambda: bool(first.seen))
        assert len(first.seen) == 1
        go_on.set()
        await asyncio.gather(*waiting)
        assert len(first.seen) == 4
        assert not any(line.in_use for line in shared.gates.lines())


async def test_somebody_else_is_found_when_all_have_failed(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    first.manner = answer(404, b'{"error": {"message": "no such model", "code": "model_not_found"}}')
    second.manner = GOOD
    asked: list[FailureKind] = []

    def extend(tried_plan: Plan, failure: Failure) -> tuple[Candidate, ...]:
        asked.append(failure.kind)
        other = deployment_at(second, "second")
        return (Candidate(other, clearance=grant(other, 1)),)

    made, record = exchange_by(
        means(upstream, registry), plan(deployment_at(first)), voice(stream=False), Asking(extend=extend)
    )
    await serve(made)
    assert asked == [FailureKind.MODEL_UNAVAILABLE]
    assert tried(record) == [("first/m", FailureKind.MODEL_UNAVAILABLE), ("second/m", None)]


async def test_a_learnt_silence_is_ended_early_only_where_somebody_else_can_answer(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    shared = means(upstream, registry)
    slow, other = deployment_at(first), deployment_at(second, "second")
    known(registry, slow, other)
    for _ in range(25):
        await serve(exchange_by(shared, plan(slow))[0])
    first.manner = hang
    began_s = time.monotonic()
    made, record = exchange_by(shared, plan(slow, other))
    await serve(made)
    assert tried(record) == [("first/m", FailureKind.TIMEOUT), ("second/m", None)]
    assert second.seen[0].at_s - began_s < 0.35
    alone = asyncio.ensure_future(serve(exchange_by(shared, plan(slow))[0]))
    done, _ = await asyncio.wait({alone}, timeout=0.5)
    assert not done
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)
