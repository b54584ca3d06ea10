"""Answers that are given again, at the door: who asks the same gets the same, and nobody pays twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from llmproxyd.values.cost import NANOS_PER_USD, Price
from llmproxyd.values.snapshot import CachePolicy, CacheRule, Degrade, Deployment, Tenant, VirtualKey
from tests.exchange.build import deployment_at, until
from tests.exchange.test_books import Ledger
from tests.server.door import CHAT, Door, open_door
from tests.support.fake_provider import Exchange as Wire
from tests.support.fake_provider import FakeProvider, answer, chat_frames, good_chat, hang, stream
from tests.support.records import replace

ALL = CachePolicy(rules=(CacheRule("all", None, 3600.0),))
BUSY = answer(503, b'{"error": {"message": "busy"}}')


class Calendar:
    """Wall clock as an argument."""

    now_s = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now_s


def priced(fake: FakeProvider) -> Deployment:
    return replace(deployment_at(fake), price=Price(NANOS_PER_USD, 2 * NANOS_PER_USD))


@asynccontextmanager
async def keeping(fake: FakeProvider, **how: Any) -> AsyncIterator[Door]:
    async with open_door(priced(fake), **{"cache": ALL, **how}) as door:
        yield door


def body(text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


async def ask(
    door: Door, text: str = "hi", headers: dict[str, str] | None = None, **fields: Any
) -> tuple[aiohttp.ClientResponse, str]:
    async with door.session.post(CHAT, json=body(text, **fields), headers=headers) as response:
        return response, await response.text()


def outcome(response: aiohttp.ClientResponse) -> str:
    return response.headers["x-llmproxyd-cache"]


def text_of(said: str) -> str:
    if not said.startswith("data:"):
        return str(json.loads(said)["choices"][0]["message"]["content"])
    frames = [json.loads(line[6:]) for line in said.split("\n") if line.startswith("data: {")]
    deltas = [choice["delta"] for frame in frames for choice in frame.get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_who_asks_again_gets_the_same_answer_and_nobody_is_asked(first: FakeProvider) -> None:
    first.manner = good_chat
    ledger = Ledger()
    async with keeping(first, ledger=ledger) as door:
        one, said = await ask(door)
        two, again = await ask(door)
    assert (outcome(one), outcome(two)) == ("miss", "hit")
    assert again == said
    assert len(first.seen) == 1
    assert two.headers["x-llmproxyd-cost-usd"] == "0"
    assert two.headers["x-llmproxyd-provider"] == "first"
    assert int(two.headers["age"]) >= 0
    assert [(s.outcome, s.cost_nanos, s.saved_nanos) for s in ledger.settled] == [
        ("ok", 11_000, 0),
        ("cached", 0, 11_000),
    ]


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False), (True, True)])
async def test_a_stream_and_a_whole_answer_share_what_is_kept(
    first: FakeProvider, before: bool, after: bool
) -> None:
    first.manner = good_chat
    async with keeping(first) as door:
        _, said = await ask(door, stream=before)
        response, again = await ask(door, stream=after)
    assert outcome(response) == "hit"
    assert text_of(again) == text_of(said) == "Good answer."
    assert response.headers["content-type"].startswith("text/event-stream" if after else "application/json")
    assert not after or again.count("data: [DONE]") == 1


async def test_without_a_rule_nothing_is_kept(first: FakeProvider) -> None:
    first.manner = good_chat
    async with keeping(first, cache=CachePolicy()) as door:
        assert [outcome((await ask(door))[0]) for _ in range(2)] == ["off", "off"]
    assert len(first.seen) == 2


@pytest.mark.parametrize(
    ("headers", "outcomes"),
    [
        ({"cache-control": "no-store"}, ["off", "off", "miss"]),
        ({"cache-control": "no-cache"}, ["miss", "miss", "hit"]),
        ({"x-llmproxyd-cache": "refresh"}, ["miss", "miss", "hit"]),
    ],
)
async def test_a_client_says_what_it_wants(
    first: FakeProvider, headers: dict[str, str], outcomes: list[str]
) -> None:
    first.manner = good_chat
    async with keeping(first) as door:
        told = [outcome((await ask(door, headers=headers))[0]) for _ in range(2)]
        told.append(outcome((await ask(door))[0]))
    assert told == outcomes


async def test_a_kept_answer_or_none(first: FakeProvider) -> None:
    first.manner = good_chat
    only = {"cache-control": "only-if-cached"}
    async with keeping(first) as door:
        refused, said = await ask(door, headers=only)
        await ask(door)
        served, _ = await ask(door, headers=only)
    assert refused.status == 504
    assert "No kept answer" in json.loads(said)["error"]["message"]
    assert (served.status, outcome(served)) == (200, "hit")
    assert len(first.seen) == 1


async def test_its_time_is_up_to_the_second(first: FakeProvider) -> None:
    first.manner = good_chat
    calendar = Calendar()
    async with keeping(first, wall=calendar) as door:
        await ask(door)
        calendar.now_s += 3599.9
        assert outcome((await ask(door))[0]) == "hit"
        calendar.now_s += 0.1
        assert outcome((await ask(door))[0]) == "miss"


async def test_a_failure_is_never_kept(first: FakeProvider) -> None:
    first.manner = BUSY
    async with keeping(first) as door:
        failed, _ = await ask(door)
        first.manner = good_chat
        served, _ = await ask(door)
    assert (failed.status, served.status, outcome(served)) == (503, 200, "miss")


async def test_a_stream_that_breaks_off_is_never_kept(first: FakeProvider) -> None:
    first.manner = stream(chat_frames(["one ", "two ", "three "]), cut_after=3)
    async with keeping(first) as door:
        _, said = await ask(door, stream=True)
        first.manner = good_chat
        served, _ = await ask(door, stream=True)
    assert '"error"' in said
    assert outcome(served) == "miss"


def tenant(name: str) -> tuple[str, Tenant]:
    return name, Tenant(name, (VirtualKey(sha256(f"key of {name}".encode()).hexdigest()),))


async def test_no_tenant_ever_sees_anothers_answer(first: FakeProvider) -> None:
    first.manner = good_chat
    async with keeping(first, tenants=dict((tenant("red"), tenant("blue")))) as door:
        told = []
        for name in ("red", "blue", "red", "blue"):
            response, _ = await ask(door, headers={"authorization": f"Bearer key of {name}"})
            told.append(outcome(response))
    assert told == ["miss", "miss", "hit", "hit"]
    assert len(first.seen) == 2


class TestSharing:
    async def test_equal_requests_at_the_same_time_are_one_call(self, first: FakeProvider) -> None:
        go_on = asyncio.Event()

        async def held(wire: Wire) -> None:
            await go_on.wait()
            await good_chat(wire)

        first.manner = held
        ledger = Ledger()
        async with keeping(first, ledger=ledger) as door:
            asking = [asyncio.ensure_future(ask(door, stream=bool(n % 2))) for n in range(100)]
            await until(lambda: len(first.seen) == 2)
            go_on.set()
            answers = await asyncio.gather(*asking)
        assert {text_of(said) for _, said in answers} == {"Good answer."}
        # Those who stream and those who do not cannot share a call that has not ended.
        assert len(first.seen) == 2
        outcomes = [outcome(response) for response, _ in answers]
        assert outcomes.count("miss") == 2
        assert set(outcomes) <= {"miss", "shared", "hit"}
        assert [s.outcome for s in ledger.settled].count("ok") == 2
        assert [s.outcome for s in ledger.settled].count("cached") == 98
        assert sum(s.cost_nanos or 0 for s in ledger.settled) <= 2 * 11_000

    async def test_when_the_first_client_leaves_the_others_still_get_their_answer(
        self, first: FakeProvider
    ) -> None:
        go_on = asyncio.Event()

        async def held(wire: Wire) -> None:
            await go_on.wait()
            await good_chat(wire)

        first.manner = held
        async with keeping(first) as door:
            leader = asyncio.ensure_future(ask(door))
            await until(lambda: len(first.seen) == 1)
            follower = asyncio.ensure_future(ask(door))
            await until(lambda: len(door.records) == 0 and door.web.count == 2)
            leader.cancel()
            await until(lambda: door.web.count == 1)
            go_on.set()
            response, said = await follower
        assert (outcome(response), text_of(said)) == ("shared", "Good answer.")
        assert len(first.seen) == 1

    async def test_when_all_leave_the_provider_is_cut(self, first: FakeProvider) -> None:
        first.manner = hang
        async with keeping(first) as door:
            asking = [asyncio.ensure_future(ask(door)) for _ in range(3)]
            await until(lambda: len(first.seen) == 1 and door.web.count == 3)
            for one in asking:
                one.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await until(lambda: first.seen[0].gone_s is not None)


class TestInNeed:
    async def test_an_answer_whose_time_is_up_stands_in_when_everybody_fails(
        self, first: FakeProvider
    ) -> None:
        first.manner = good_chat
        calendar = Calendar()
        degrade = {"degrade": (Degrade.CACHED, Degrade.ERROR)}
        async with keeping(first, wall=calendar, fallback=degrade) as door:
            await ask(door)
            calendar.now_s += 2 * 3600
            first.manner = BUSY
            response, said = await ask(door)
        assert (response.status, outcome(response), text_of(said)) == (200, "stale", "Good answer.")
        assert int(response.headers["age"]) == 7200

    async def test_but_only_where_the_operator_says_so(self, first: FakeProvider) -> None:
        first.manner = good_chat
        calendar = Calendar()
        async with keeping(first, wall=calendar) as door:
            await ask(door)
            calendar.now_s += 2 * 3600
            first.manner = BUSY
            response, _ = await ask(door)
        assert response.status == 503
