"""The ring of events: what is kept, who follows, and what a slow follower is told."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.events import FOLLOWERS, LOST, WAITING, Event, Events, Subscription, TooManyFollowers

AT_S = 1_767_225_600.0


def source(size: int = 5, epoch: str = "now") -> Events:
    return Events(lambda: AT_S, size, epoch=epoch)


def kinds(events: tuple[Event, ...] | list[Event]) -> list[str]:
    return [event.kind for event in events]


async def drain(follower: Subscription) -> list[Event]:
    """Everything a follower gets until the end."""
    return [event async for event in follower]


def test_an_event_tells_when_what_and_about_whom() -> None:
    event = source().publish("failover", "a/m", to="b/m", count=2)
    assert event == Event("now-1", AT_S, "failover", "a/m", {"to": "b/m", "count": 2})


def test_only_the_last_ones_are_kept_but_all_are_counted() -> None:
    events = source(size=3)
    for number in range(5):
        events.publish(f"k{number}")
    assert kinds(events.after()) == ["k2", "k3", "k4"]
    assert sum(events.counts.values()) == 5


def test_long_facts_are_clipped() -> None:
    assert len(str(source().publish("k", cause="x" * 10_000).facts["cause"])) == 500


@pytest.mark.parametrize("unknown", ["before-2", "now", "now-x", "", "2", "now-" + "9" * 5000, "now-٣"])
def test_an_id_that_is_none_of_ours_replays_everything(unknown: str) -> None:
    events = source()
    events.publish("one")
    events.publish("two")
    assert kinds(events.after(unknown)) == ["one", "two"]
    assert kinds(events.after("now-1")) == ["two"]


def test_two_processes_have_different_epochs() -> None:
    first, second = Events(lambda: AT_S).publish("k"), Events(lambda: AT_S).publish("k")
    assert first.id != second.id


async def test_a_follower_gets_what_happens_from_now_on() -> None:
    events = source()
    events.publish("before")
    with events.subscribe() as follower:
        waiting = asyncio.ensure_future(anext(follower))
        await asyncio.sleep(0)
        events.publish("after")
        assert (await waiting).kind == "after"


async def test_a_follower_who_comes_back_misses_nothing_and_gets_nothing_twice() -> None:
    events = source()
    for kind in ("one", "two", "three"):
        events.publish(kind)
    follower = events.subscribe(after="now-1")
    events.publish("four")
    events.close()
    assert kinds(await drain(follower)) == ["two", "three", "four"]


async def test_a_follower_who_comes_back_too_late_is_told_how_much_is_gone() -> None:
    events = source(size=2)
    for number in range(6):
        events.publish(f"k{number}")
    follower = events.subscribe(after="now-1")
    events.close()
    lost, *rest = await drain(follower)
    assert (lost.kind, lost.facts, lost.id) == (LOST, {"count": 3}, "now-4")
    assert kinds(rest) == ["k4", "k5"]


async def test_a_slow_follower_loses_the_oldest_and_is_told_how_many() -> None:
    events = source(size=10)
    follower = events.subscribe()
    for number in range(WAITING + 7):
        events.publish(f"k{number}")
    events.close()
    lost, *rest = await drain(follower)
    assert (lost.kind, lost.facts) == (LOST, {"count": 7})
    assert kinds(rest) == [f"k{number}" for number in range(7, WAITING + 7)]


async def test_what_is_lost_behind_a_backlog_is_told_after_it() -> None:
    events = source(size=3)
    events.publish("old")
    follower = events.subscribe(after="")
    for number in range(WAITING + 1):
        events.publish(f"k{number}")
    events.close()
    assert kinds(await drain(follower))[:3] == ["old", LOST, "k1"]


async def test_a_wait_that_is_given_up_loses_nothing() -> None:
    events = source()
    follower = events.subscribe()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await anext(follower)
    events.publish("k")
    assert (await anext(follower)).kind == "k"


async def test_there_is_a_bound_to_followers_and_leaving_makes_room() -> None:
    events = source()
    followers = [events.subscribe() for _ in range(FOLLOWERS)]
    with pytest.raises(TooManyFollowers):
        events.subscribe()
    followers[0].close()
    events.subscribe().close()


async def test_once_closed_nobody_waits_for_ever() -> None:
    events = source()
    follower = events.subscribe()
    waiting = asyncio.ensure_future(drain(follower))
    await asyncio.sleep(0)
    events.close()
    assert await asyncio.wait_for(waiting, 5) == []
    assert await asyncio.wait_for(drain(events.subscribe()), 5) == []


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 8))
def test_whoever_comes_back_with_the_last_id_accounts_for_every_event(reads: list[bool], size: int) -> None:
    """True: the follower reads one event and reconnects; False: something happens."""

    async def play() -> None:
        events, seen, last = source(size), 0, "now-0"
        published = sum(not read for read in reads)
        for read in reads:
            if not read:
                events.publish("k")
                continue
            with events.subscribe(after=last) as follower:
                try:
                    async with asyncio.timeout(0):
                        event = await anext(follower)
                except TimeoutError:
                    continue
            seen, last = seen + int(event.facts.get("count") or 1), event.id
        events.close()
        rest = await drain(events.subscribe(after=last))
        assert seen + sum(int(event.facts.get("count") or 1) for event in rest) == published

    asyncio.run(play())
