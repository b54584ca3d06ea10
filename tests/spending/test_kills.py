"""The process killed at any moment under load: every call that a provider saw has exactly one entry, and the budgets of
the next process begin with what the ledger has."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from random import Random

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Rig
from tests.faults.load import Load, Told
from tests.faults.manners import BRISK
from tests.spending.audit import Row, differences, misjudged, paired, rows_of, sums_of, total
from tests.spending.clients import ask, send, state_dir
from tests.spending.served import PRICED, Bill, Counts, metered

ROUTING = """
version: 1
models: {{careful: [{models}]}}
fallback: {{attempts: 1, retry: {{max: 0}}}}
budgets: [{{name: everything, usd: 1000000, per: month}}]
"""
RATE = 120.0
KILLS = pytest.mark.parametrize(
    "kills",
    [
        pytest.param(8, id="short"),
        pytest.param(200, id="long", marks=(pytest.mark.proof, pytest.mark.timeout(900))),
    ],
)


async def load_until_killed(rig: Rig, random: Random) -> list[Told]:
    """At a random moment of the load, whose last requests find nobody."""
    lives_s = random.uniform(0.02, 0.35)
    load = Load(RATE, round(RATE * lives_s) + 5, model="one/m", seed=random.randrange(1 << 30))
    asking = asyncio.ensure_future(send(rig, load, max_tokens=50))
    await asyncio.sleep(lives_s)
    await rig.daemon.kill()
    return await asking


@KILLS
async def test_kill_leaves_one_entry_for_every_call(new_rig: NewRig, kills: int, figures: Figures) -> None:
    random, told = Random(kills), list[Told]()
    async with new_rig(pace=BRISK, provider=PRICED, routing=ROUTING, count=1) as rig:
        till = metered(rig)["one"]
        starts_s = []
        for _ in range(kills):
            told += await load_until_killed(rig, random)
            start_s = time.monotonic()
            await rig.restart()
            starts_s.append(time.monotonic() - start_s)
            assert sums_of(state_dir(rig)) == total(rows_of(state_dir(rig)))
        told.append(await ask(rig, Load(1.0, 1, model="one/m"), stream=False))
    assert told[-1].success
    rows = rows_of(state_dir(rig))
    judge(rows, till.bills, told, figures)
    figures.note("kills", kills)
    figures.note("slowest restart", max(starts_s), "ms")


def judge(rows: list[Row], bills: list[Bill], told: list[Told], figures: Figures) -> None:
    pairs, unbilled, unbooked = paired(rows, bills)
    figures.none("calls without an entry", len(unbooked), repr(unbooked[:3]))
    # Booked, and killed before it was sent, or before its provider had read it.
    twice = [row for row in unbilled if row.outcome != "orphaned"]
    figures.none("entries without a call", len(twice), repr(twice[:3]))
    figures.none("requests with two entries", sum(n > 1 for n in Counter(row.task for row in rows).values()))
    alive = [pair for pair in pairs if pair.row.outcome != "orphaned"]
    figures.none("settled entries that differ", len(found := list(differences(alive))), "\n".join(found[:3]))
    figures.none("estimates in the wrong place", len(found := misjudged(alive)), "\n".join(found[:3]))
    orphans = [row for row in rows if row.outcome == "orphaned"]
    assert all(row.cost_nanos == row.reserved_nanos for row in orphans)
    assert orphans, "nothing was under way whenever the end came"
    booked = {row.task for row in rows}
    lost = [one for one in told if one.success and f"q{one.number}" not in booked]
    figures.none("answers that were given and are not booked", len(lost))
    assert sum(one.success for one in told) > 3
    figures.note("calls", len(bills))
    figures.note("of them orphaned", len(orphans))


CHEAP = "models: [{id: m, price: {input: 0, output: 10}}]"
TOKENS, COST_NANOS, AMOUNT = 50, 500_000, 400
TIGHT = ROUTING.replace("usd: 1000000", "usd: 0.2")
"""Enough for 400 requests of 50 tokens at 10 USD per million."""


@KILLS
async def test_kill_leaves_budgets_that_equal_the_ledger(
    new_rig: NewRig, kills: int, figures: Figures
) -> None:
    """After all the kills, as much is admitted as the ledger says is left, to the request."""
    random, kills = Random(kills), min(kills, 40) // 4
    async with new_rig(pace=BRISK, provider=CHEAP, routing=TIGHT, count=1) as rig:
        for _ in range(kills):
            lives_s = random.uniform(0.02, 0.15)
            asking = asyncio.ensure_future(send(rig, Load(RATE / 2, 12, model="one/m"), max_tokens=TOKENS))
            await asyncio.sleep(lives_s)
            await rig.daemon.kill()
            await asking
            await rig.restart()
        spent_nanos = sums_of(state_dir(rig)).cost_nanos
        left = (AMOUNT * COST_NANOS - spent_nanos) // COST_NANOS
        metered(rig, lambda number, pieces: Counts(5, TOKENS))
        asked = await asyncio.gather(
            *(
                ask(rig, Load(1.0, 1, model="one/m"), stream=False, max_tokens=TOKENS)
                for _ in range(left + 20)
            )
        )
    admitted = sum(one.success for one in asked)
    assert spent_nanos > 0
    assert Counter(one.status for one in asked) == {200: admitted, 429: len(asked) - admitted}
    figures.none("requests between budget and ledger", abs(admitted - left))
    assert sums_of(state_dir(rig)).cost_nanos <= AMOUNT * COST_NANOS
