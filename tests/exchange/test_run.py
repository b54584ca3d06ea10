"""One exchange: who is asked after whom, and that every attempt that was begun is settled, once, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import Any

import pytest

from llmproxyd.adapters import ADAPTERS
from llmproxyd.exchange.account import ExchangeRecord
from llmproxyd.exchange.run import Exchange
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.values.cost import NANOS_PER_USD, Price
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.plan import Plan
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import Deployment, Mock, Quirks
from tests.exchange.build import (
    PATIENT,
    Clock,
    Watched,
    deployment_at,
    exchange,
    in_turn,
    plan,
    provider_at,
    until,
    voice,
)
from tests.support.fake_provider import FakeProvider, answer, chat_body, chat_frames, hang, reset, stream
from tests.support.records import replace

BUSY = answer(503, b'{"error": {"message": "busy"}}')
DENIED = answer(401, b'{"error": {"message": "no such key"}}')
INVALID = answer(400, b'{"error": {"message": "bad field", "param": "x"}}')


async def serve(made: Exchange) -> bytes:
    """As the door does it: commit, the rest, the end; and close whatever happens."""
    try:
        running = await made.commit()
        said = running.first
        async with contextlib.aclosing(made.rest()) as pieces:
            async for piece in pieces:
                said += piece
        made.end()
        return said
    finally:
        await made.close()


async def failure_of(made: Exchange) -> Failure:
    with pytest.raises(ExchangeFailed) as raised:
        await serve(made)
    return raised.value.failure


def kind_of(failure: Failure | None) -> FailureKind | None:
    return None if failure is None else failure.kind


def tried(record: ExchangeRecord) -> list[tuple[str, FailureKind | None]]:
    return [(a.deployment, kind_of(a.failure)) for a in record.attempts]


def outcomes(registry: Watched) -> list[tuple[str, bool, FailureKind | None]]:
    return [(name, o.ok, kind_of(o.failure)) for name, o in registry.settled]


class TestFallback:
    async def test_the_first_that_answers_is_the_only_one_asked(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        decided = plan(deployment_at(first), deployment_at(second, "second"))
        made, record = exchange(upstream, registry, decided)
        said = await serve(made)
        assert said.endswith(b"data: [DONE]\n\n")
        assert not second.seen
        assert tried(record) == [("first/m", None)]
        assert outcomes(registry) == [("first/m", True, None)]
        assert record.usage is not None

    @pytest.mark.parametrize("manner", [BUSY, reset, DENIED, stream(chat_frames()[:1])])
    async def test_the_next_is_asked_at_once_when_one_fails(
        self,
        first: FakeProvider,
        second: FakeProvider,
        upstream: Upstream,
        registry: Watched,
        manner: Any,
    ) -> None:
        first.manner = manner
        clock = Clock()
        decided = plan(deployment_at(first), deployment_at(second, "second"))
        made, record = exchange(upstream, registry, decided, clock=clock, sleep=clock.sleep)
        await serve(made)
        assert clock.slept == []
        assert [name for name, _ in tried(record)] == ["first/m", "second/m"]
        assert [ok for _, ok, _ in outcomes(registry)] == [False, True]
        assert made.waited_s > 0

    async def test_what_the_caller_did_wrong_is_told_and_not_tried_elsewhere(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = INVALID
        decided = plan(deployment_at(first), deployment_at(second, "second"))
        failure = await failure_of(exchange(upstream, registry, decided)[0])
        assert failure.kind is FailureKind.BAD_REQUEST
        assert not second.seen

    async def test_nobody_is_asked_when_the_decision_was_a_refusal(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        refused = replace(plan(), failure=Failure(FailureKind.PRIVACY_NO_ROUTE, "kept here"))
        failure = await failure_of(exchange(upstream, registry, refused)[0])
        assert failure.message == "kept here"
        assert registry.begun == []

    async def test_one_that_cannot_carry_the_request_is_passed_over(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        """Even where the policy allows nothing: nobody has been asked yet."""
        mute = deployment_at(first, "mute", dialect=Dialect.COHERE_CHAT)
        decided = plan(mute, deployment_at(first), attempts=1, on=frozenset())
        spoken = {Dialect.OPENAI_CHAT: ADAPTERS[Dialect.OPENAI_CHAT]}
        made, record = exchange(upstream, registry, decided, adapters=spoken)
        await serve(made)
        assert tried(record) == [("mute/m", FailureKind.UNSUPPORTED), ("first/m", None)]
        assert registry.begun == ["first/m"]

    async def test_when_nobody_can_carry_it_the_reason_is_told(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        mute = deployment_at(first, "mute", dialect=Dialect.COHERE_CHAT)
        failure = await failure_of(exchange(upstream, registry, plan(mute), adapters={})[0])
        assert failure.kind is FailureKind.UNSUPPORTED
        assert failure.message == "this version does not speak cohere-chat"
        assert not registry.begun
        assert not registry.settled

    async def test_the_deadline_ends_it_though_others_are_left(
        self, first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = hang
        decided = plan(deployment_at(first), deployment_at(second, "second"), deadline_s=0.05)
        failure = await failure_of(exchange(upstream, registry, decided)[0])
        assert (failure.kind, failure.code) == (FailureKind.TIMEOUT, "deadline")
        assert not second.seen


class TestRetry:
    async def test_the_same_one_is_asked_again_after_a_pause(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = in_turn(BUSY, BUSY, answer(body=chat_body()))
        clock = Clock()
        decided = plan(deployment_at(first), retry_max=2, retry_base_s=20.0, retry_cap_s=30.0)
        made, record = exchange(
            upstream, registry, decided, voice(stream=False), clock=clock, sleep=clock.sleep
        )
        assert await serve(made) == chat_body()
        assert 0 < clock.slept[0] <= 20
        assert 0 < clock.slept[1] <= 30
        assert [kind for _, kind in tried(record)] == [FailureKind.OVERLOADED] * 2 + [None]
        assert made.waited_s >= sum(clock.slept)

    async def test_not_before_the_provider_wants_to_see_us_again(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = in_turn(answer(429, retry_after="17"), answer(body=chat_body()))
        clock = Clock()
        decided = plan(deployment_at(first), retry_max=1, retry_cap_s=30.0)
        made, _ = exchange(upstream, registry, decided, voice(stream=False), clock=clock, sleep=clock.sleep)
        await serve(made)
        assert sum(clock.slept) == pytest.approx(17, abs=0.5)

    async def test_a_long_pause_is_told_not_waited_for(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = answer(429, retry_after="17")
        clock = Clock()
        decided = plan(deployment_at(first), retry_max=1, retry_cap_s=5.0)
        made, _ = exchange(upstream, registry, decided, voice(stream=False), clock=clock, sleep=clock.sleep)
        failure = await failure_of(made)
        assert failure.kind is FailureKind.RATE_LIMITED
        assert failure.retry_after_s == pytest.approx(17, abs=0.5)
        assert clock.slept == []

    async def test_every_call_is_the_same_as_the_first(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = in_turn(BUSY, answer(body=chat_body()))
        clock = Clock()
        decided = plan(deployment_at(first), retry_max=1)
        made, _ = exchange(upstream, registry, decided, voice(stream=False), clock=clock, sleep=clock.sleep)
        await serve(made)
        one, two = first.seen
        assert (one.path, one.headers, one.body) == (two.path, two.headers, two.body)


class TestSettling:
    async def test_a_served_answer_counts_with_its_times(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        await serve(exchange(upstream, registry, plan(deployment_at(first)))[0])
        [(_, outcome)] = registry.settled
        assert outcome.ok
        assert outcome.first_content_s is not None
        assert 0 < outcome.first_content_s <= outcome.total_s

    async def test_a_cut_after_the_commit_counts_against_the_deployment(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = stream(chat_frames(["a "] * 30), cut_after=20, pause_s=0.001)
        made, record = exchange(upstream, registry, plan(deployment_at(first)))
        failure = await failure_of(made)
        assert failure.kind is FailureKind.BAD_ANSWER
        assert outcomes(registry) == [("first/m", False, FailureKind.BAD_ANSWER)]
        assert tried(record) == [("first/m", FailureKind.BAD_ANSWER)]

    async def test_who_left_before_the_commit_says_nothing_about_the_deployment(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = hang
        made, record = exchange(upstream, registry, plan(deployment_at(first)))
        serving = asyncio.ensure_future(serve(made))
        await until(lambda: bool(first.seen))
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert outcomes(registry) == [("first/m", False, None)]
        assert tried(record) == [("first/m", None)]
        await until(lambda: first.seen[0].gone_s is not None)

    async def test_who_left_after_it_neither(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        first.manner = stream(chat_frames(), stall_after=2)
        made, _ = exchange(upstream, registry, plan(deployment_at(first)))
        await made.commit()
        await made.close()
        assert outcomes(registry) == [("first/m", False, None)]
        await until(lambda: first.seen[0].gone_s is not None)

    async def test_closing_twice_settles_once(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        made, _ = exchange(upstream, registry, plan(deployment_at(first)))
        await serve(made)
        await made.close()
        assert len(registry.settled) == 1

    async def test_a_bug_in_a_dialect_settles_too(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        def broken(*, echo: str | None, keep_usage: bool) -> Any:
            raise ZeroDivisionError

        adapters = {Dialect.OPENAI_CHAT: replace(ADAPTERS[Dialect.OPENAI_CHAT], new_relay=broken)}
        made, _ = exchange(upstream, registry, plan(deployment_at(first)), adapters=adapters)
        with pytest.raises(ZeroDivisionError):
            await serve(made)
        assert outcomes(registry) == [("first/m", False, None)]

    @pytest.mark.parametrize("stream_wanted", [True, False])
    async def test_a_client_may_leave_at_any_moment(self, stream_wanted: bool) -> None:
        """Cancelled after one turn of the loop, after two, … until it is done before: nothing is ever left open."""
        endings = set()
        for turns in itertools.count():
            registry, upstream = Watched(), Upstream()
            made, _ = exchange(upstream, registry, fallback_among_mocks(), mock_voice(stream_wanted))
            serving = asyncio.ensure_future(serve(made))
            for _ in range(turns):
                await asyncio.sleep(0)
            serving.cancel()
            [result] = await asyncio.gather(serving, return_exceptions=True)
            assert registry.begun == [name for name, _ in registry.settled]
            assert not any(g.in_flight for g in registry.readings(MOCKS, time.monotonic()).gauges.values())
            endings.add(tuple(ok for _, ok, _ in outcomes(registry)))
            if isinstance(result, bytes):
                break
        assert {(), (False, False), (False, True)} <= endings


class TestTheRecord:
    async def test_tells_what_was_used_and_what_it_cost(
        self, first: FakeProvider, upstream: Upstream, registry: Watched
    ) -> None:
        dear = replace(deployment_at(first), price=Price(NANOS_PER_USD, 2 * NANOS_PER_USD))
        made, record = exchange(upstream, registry, plan(dear))
        await serve(made)
        assert record.usage is not None
        assert (record.usage.input_tokens, record.usage.output_tokens) == (5, 2)
        assert record.cost_nanos == 5 * 1000 + 2 * 2000


def mock(name: str, **behaviour: Any) -> Deployment:
    provider = provider_at("mock://local", name, preset="mock", timeouts=PATIENT)
    return Deployment(f"{name}/m", provider, "m", "m", mock=Mock(**behaviour), key=f"{name}|m")


MOCKS = (mock("failing", fail_status=503, fail_share=1.0), mock("good"))


def fallback_among_mocks() -> Plan:
    return plan(*MOCKS)


def mock_voice(stream_wanted: bool) -> Any:
    return voice(stream=stream_wanted, messages=[{"role": "user", "content": "one two three four"}])


async def test_a_pause_is_not_cut_short_by_a_clock_that_is_behind(
    first: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    """A loop may wake a little early: then what is left is slept as well, and nothing is sent before its time."""
    clock = Clock()

    async def wake_early(seconds: float) -> None:
        await clock.sleep(seconds / 2 if seconds > 0.01 else seconds)

    first.manner = in_turn(answer(429, retry_after="8"), answer(body=chat_body()))
    began_s = clock()
    made, _ = exchange(
        upstream,
        registry,
        plan(deployment_at(first), retry_max=1, retry_cap_s=30.0),
        voice(stream=False),
        clock=clock,
        sleep=wake_early,
    )
    await serve(made)
    assert clock() - began_s >= 8
    assert len(first.seen) == 2


async def test_what_responses_cannot_carry_goes_as_a_chat(first: FakeProvider, upstream: Upstream) -> None:
    """An Anthropic client with stop sequences at a model that is best reached by Responses, which has no `stop`."""
    named = replace(
        deployment_at(first, quirks=Quirks(responses=True)), model="gpt-6-sol", upstream="gpt-6-sol"
    )
    speaker = voice("/v1/messages", model="gpt-6-sol", stream=False, stop_sequences=["END"])
    await serve(exchange(upstream, Watched(), plan(named), speaker)[0])
    assert first.seen[0].path == "/v1/chat/completions"
    assert first.seen[0].json["stop"] == ["END"]
