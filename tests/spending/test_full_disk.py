"""A state directory that takes nothing more: nobody is served who could not be booked, somebody is told, and it is over
when there is room again, by itself.

The limit on the size of files stands for a full disk; it can be set from outside, and hits every write of the process.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Rig
from tests.faults.load import Told
from tests.faults.manners import Pace
from tests.spending.audit import differences, paired, rows_of
from tests.spending.clients import ask, state_dir, until
from tests.spending.served import PRICED, metered

UNDER_WAY = 5
REFUSED = 20


@contextmanager
def full_disk(rig: Rig) -> Iterator[None]:
    """No file of the daemon grows any more."""
    process = rig.daemon.process
    pid = process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        if process.returncode is None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


async def events(rig: Rig) -> list[dict[str, Any]]:
    async with (
        rig.daemon.unix_session() as admin,
        admin.get("/admin/v1/events?follow=false&after=0") as response,
    ):
        document = await response.json()
    return [event for event in document["events"] if event["kind"] == "ledger"]


async def until_served(rig: Rig) -> Told:
    """Ask until somebody is served."""
    while not (told := await ask(rig, stream=False)).success:
        assert told.status == 503, told
        await asyncio.sleep(0.005)
    return told


@pytest.mark.quiet
async def test_disk_full_refuses_tells_and_recovers_alone(new_rig: NewRig, figures: Figures) -> None:
    pace = Pace(first_s=0.02, pieces=20, pause_s=0.02)
    async with new_rig(pace=pace, provider=PRICED, count=1) as rig:
        till = metered(rig)["one"]
        assert (await ask(rig)).success
        under_way = [asyncio.ensure_future(ask(rig)) for _ in range(UNDER_WAY)]
        await until(lambda: len(till.bills) == 1 + UNDER_WAY)
        with full_disk(rig):
            refused = await asyncio.gather(*(ask(rig, stream=bool(n % 2)) for n in range(REFUSED)))
            served = await asyncio.gather(*under_way)
            told = await events(rig)
        back_s = time.monotonic()
        after = await until_served(rig)
        assert after.ended_s is not None
        recovered_s = after.ended_s - back_s - pace.total_s
        await rig.daemon.logged("ledger.well")
        told_after = await events(rig)
    assert all(one.success for one in served), rig.report(served).explain(served)
    judge_refusals(rig, refused, figures)
    figures.none("calls for those who were refused", len(till.bills) - (1 + UNDER_WAY + 1))
    figures.at_most("served again after", recovered_s, 1.0, "ms")
    # Once for the journal, and once more if SQLite had something to take as well.
    assert {event["facts"]["ok"] for event in told} == {0}
    assert "free some space" in told[0]["facts"]["said"]
    assert [event["facts"]["ok"] for event in told_after][-1] == 1
    pairs, unbilled, unbooked = paired(rows_of(state_dir(rig)), till.bills)
    figures.none("calls without an entry", len(unbooked), repr(unbooked))
    assert (unbilled, list(differences(pairs))) == ([], [])
    assert {row.outcome for row, _ in pairs} == {"ok"}


def judge_refusals(rig: Rig, refused: list[Told], figures: Figures) -> None:
    wrong = [one for one in refused if one.status != 503 or one.error is None]
    figures.none("not refused with a reason", len(wrong), rig.report(refused).explain(wrong))
    for one in refused:
        assert one.error is not None
        assert "cannot be booked" in one.error["message"], one.error
        assert "free some space" in one.error["message"], one.error
        assert int(one.headers["retry-after"]) > 0


async def test_disk_full_until_the_end_loses_nothing(new_rig: NewRig) -> None:
    """How an attempt ended could not be written any more, but that it was begun was: the next process books it."""
    async with new_rig(provider=PRICED, count=1) as rig:
        till = metered(rig)["one"]
        asking = asyncio.ensure_future(ask(rig))
        await until(lambda: len(till.bills) == 1)
        with full_disk(rig):
            assert (await asking).success
            await rig.daemon.kill()
            await rig.restart()
    [row], [bill] = rows_of(state_dir(rig)), till.bills
    assert (row.task, row.outcome, row.cost_nanos) == (bill.task, "orphaned", row.reserved_nanos)
