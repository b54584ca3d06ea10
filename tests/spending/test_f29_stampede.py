"""F29: a thousand equal requests at once are one call; when it dies, or the client it was made for leaves, the others do
not notice, and nobody pays twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable
from itertools import pairwise

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Rig
from tests.faults.load import Told
from tests.faults.manners import MARK, Pace
from tests.spending.audit import differences, paired, rows_of, sums_of
from tests.spending.clients import ask, in_hand, leave, state_dir, until
from tests.spending.served import PRICED, Metered, metered

ROUTING = """
version: 1
models: {{careful: [{models}]}}
fallback: {{attempts: 1, retry: {{max: 0}}}}
cache: {{rules: [{{name: asked coldly, when: {{temperature: {{lte: 0}}}}, ttl: 1h}}]}}
"""
SUBJECT = 7
STALE_S = 1.2
CROWDS = pytest.mark.parametrize(
    "crowd",
    [
        pytest.param(200, id="short"),
        pytest.param(1_000, id="long", marks=(pytest.mark.proof, pytest.mark.timeout(300))),
    ],
)


def stampede(rig: Rig, crowd: int, *, stream: bool) -> list[asyncio.Task[Told]]:
    return [
        asyncio.ensure_future(ask(rig, about=SUBJECT, stream=stream, temperature=0)) for _ in range(crowd)
    ]


async def all_inside(rig: Rig, crowd: int) -> None:
    """Until the daemon has them all in hand."""
    async with asyncio.timeout(30):
        while await in_hand(rig) < crowd:
            await asyncio.sleep(0.01)


def judge(rig: Rig, till: Metered, told: list[Told], figures: Figures, *, followers: int) -> None:
    good = [one for one in told if one.success and one.text == rig.pace.text]
    figures.none("clients without the whole answer", len(told) - len(good), rig.report(told).explain(told))
    figures.at_most("calls", len(till.bills), 1)
    rows = rows_of(state_dir(rig))
    pairs, unbilled, unbooked = paired(rows, till.bills)
    assert (unbilled, unbooked, list(differences(pairs))) == ([], [], [])
    [paid] = [row for row in rows if row.outcome == "ok"]
    kept = [row for row in rows if row.outcome == "cached"]
    assert not paid.estimated
    figures.none("followers booked twice, or never", abs(len(kept) - followers))
    assert {(row.cost_nanos, row.saved_nanos) for row in kept} == {(0, paid.cost_nanos)}
    assert sums_of(state_dir(rig)).cost_nanos == paid.cost_nanos


@pytest.mark.parametrize("stream", [True, False], ids=["streams", "wholes"])
@CROWDS
async def test_f29_equal_requests_are_one_call(
    new_rig: NewRig, crowd: int, stream: bool, figures: Figures
) -> None:
    async with new_rig(provider=PRICED, routing=ROUTING, count=1) as rig:
        till, go = metered(rig)["one"], asyncio.Event()
        rig.one.manner = till.held(go, till.serving(rig.pace))
        asking = stampede(rig, crowd, stream=stream)
        await all_inside(rig, crowd)
        go.set()
        told = await asyncio.gather(*asking)
        again = [await ask(rig, about=SUBJECT, stream=stream, temperature=0) for _ in range(3)]
    assert Counter(one.headers["x-llmproxyd-cache"] for one in told) == {"miss": 1, "shared": crowd - 1}
    assert {one.headers["x-llmproxyd-cache"] for one in again} == {"hit"}
    judge(rig, till, [*told, *again], figures, followers=crowd - 1 + len(again))


@pytest.mark.quiet
@CROWDS
async def test_f29_when_the_call_dies_another_takes_over(
    new_rig: NewRig, crowd: int, figures: Figures
) -> None:
    """Its own client is told; all others wait for the next call, which begins at once."""
    async with new_rig(provider=PRICED, routing=ROUTING, count=1) as rig:
        till, die = metered(rig)["one"], asyncio.Event()
        rig.one.manner = till.resetting(die)
        asking = stampede(rig, crowd, stream=True)
        await all_inside(rig, crowd)
        rig.one.manner = till.serving(rig.pace)
        # A connection that ends sooner may have been stale, and the same call is sent again on another.
        await until(lambda: time.monotonic() > till.bills[0].seen.at_s + STALE_S)
        die.set()
        told = await asyncio.gather(*asking)
    first, second = till.bills
    assert first.seen.wrote_s is not None
    figures.at_most("a follower takes over", second.seen.at_s - first.seen.wrote_s, 0.050, "ms")
    lost = [one for one in told if not one.success]
    assert len(lost) == 1, rig.report(told).explain(lost)
    assert lost[0].error is not None
    served = [one for one in told if one.success]
    assert {one.text for one in served} == {rig.pace.text}
    rows = rows_of(state_dir(rig))
    assert Counter(row.outcome for row in rows) == {"failed": 1, "ok": 1, "cached": crowd - 2}


@pytest.mark.quiet
@CROWDS
async def test_f29_when_its_client_leaves_the_call_goes_on(
    new_rig: NewRig, crowd: int, figures: Figures
) -> None:
    """Whoever came first hangs up in the middle; nobody else misses a piece, or waits for one. A tenth of the crowd, or it
    would measure how quickly pieces can be written."""
    crowd //= 10
    pace = Pace(first_s=0.05, pieces=60, pause_s=0.020)
    async with new_rig(pace=pace, provider=PRICED, routing=ROUTING, count=1) as rig:
        till, go = metered(rig)["one"], asyncio.Event()
        rig.one.manner = till.held(go, till.serving(pace))
        leaving = asyncio.ensure_future(leave_after(rig, pieces=20))
        await until(lambda: len(rig.one.seen) == 1)
        asking = stampede(rig, crowd - 1, stream=True)
        await all_inside(rig, crowd)
        watching = asyncio.ensure_future(longest_gap_s(rig, leaving))
        await all_inside(rig, crowd + 1)
        go.set()
        told = await asyncio.gather(*asking)
        waited_s = await watching
    figures.at_most("longest wait of a follower beyond the pace", waited_s - pace.pause_s, 0.050, "ms")
    judge(rig, till, told, figures, followers=crowd)


async def leave_after(rig: Rig, pieces: int) -> float:
    return await leave(rig, SUBJECT, enough=lambda heard: heard.count(MARK) >= pieces, temperature=0)


async def longest_gap_s(rig: Rig, leaving: Awaitable[float]) -> float:
    """Of one who follows: between two pieces, around the time at which the other leaves."""
    times: list[tuple[float, int]] = []

    def note(heard: bytes) -> bool:
        times.append((time.monotonic(), heard.count(MARK)))
        return b"[DONE]" in heard

    await leave(rig, SUBJECT, enough=note, temperature=0)
    left_s = await leaving
    heard_s = [at_s for at_s, pieces in times if pieces]
    assert heard_s[0] < left_s < heard_s[-1], "nobody left in the middle"
    return max(b - a for a, b in pairwise(heard_s) if b >= left_s and a <= left_s + 0.2)
