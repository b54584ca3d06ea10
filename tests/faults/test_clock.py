"""The wall clock jumps, as clocks do that are set: no pause, timer or cooldown is longer or shorter for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Rig
from tests.faults.manners import chat, refusal, stall_after
from tests.faults.test_throttling import EARLY_S, LATE_S, in_turn, wrote_s

HOUR_S = 3600.0
WELL_WITHIN_ITS_COOLDOWN_S = 0.5
SET_FROM_A_FILE = """
import sys, time
real, offset = time.time, {offset!r}

def wall():
    with open(offset) as file:
        return real() + float(file.read())

time.time = wall
from llmproxyd.cli import main
sys.exit(main())
"""


def with_a_clock_to_set(rig: Rig) -> Callable[[float], None]:
    """-> a function that sets the daemon's wall clock, seconds from the true one."""
    file = rig.directory / "offset"
    draft = rig.directory / "offset.draft"

    def jump(offset_s: float) -> None:
        draft.write_text(str(offset_s))
        draft.rename(file)

    jump(0.0)
    rig.daemon.program = ("-c", SET_FROM_A_FILE.format(offset=str(file)))
    return jump


@pytest.mark.quiet
@pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
async def test_f22_a_pause_is_as_long_as_it_was_asked_for(
    new_rig: NewRig, figures: Figures, offset_s: float
) -> None:
    """The clock jumps in the middle of a second that a provider asked for."""
    rig = new_rig(count=1)
    jump = with_a_clock_to_set(rig)
    async with rig:
        rig.one.manner = in_turn(refusal(429, retry_after="1"), chat(rig.pace))
        asking = asyncio.ensure_future(rig.ask(rig.single))
        while not rig.one.seen or rig.one.seen[0].wrote_s is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        jump(offset_s)
        told = await asking
    assert told.success, told
    waited_s = rig.one.seen[1].at_s - wrote_s(rig.one.seen[0])
    figures.at_least("early", waited_s - 1.0, -EARLY_S, "ms")
    figures.at_most("late", waited_s - 1.0, LATE_S, "ms")


@pytest.mark.quiet
@pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
async def test_f22_a_stall_is_found_when_it_is_due(
    new_rig: NewRig, figures: Figures, offset_s: float
) -> None:
    rig = new_rig(count=1, provider="timeouts: {stall: 1s}")
    jump = with_a_clock_to_set(rig)
    async with rig:
        rig.one.manner = stall_after(rig.pace, 5)
        asking = asyncio.ensure_future(rig.ask(rig.single))
        while not rig.one.seen or rig.one.seen[0].first_s is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        jump(offset_s)
        told = await asking
    assert not told.success
    assert told.error
    assert told.ended_s is not None
    late_s = told.ended_s - wrote_s(rig.one.seen[0]) - 1.0
    figures.at_least("early", late_s, -0.005, "ms")
    figures.at_most("late", late_s, LATE_S, "ms")


async def test_f22_a_breaker_opens_and_closes_as_ever(new_rig: NewRig) -> None:
    """Each request on the other side of a jump of two hours."""
    rig = new_rig(count=2)
    jump = with_a_clock_to_set(rig)
    async with rig:
        rig.refuse("one", 503)
        told = []
        for number in range(8):
            jump(HOUR_S if number % 2 else -HOUR_S)
            told.append(await rig.ask(rig.single))
        third_s = rig.one.seen[2].at_s
        calls = sum(seen.at_s < third_s + WELL_WITHIN_ITS_COOLDOWN_S for seen in rig.one.seen)
        rig.recover("one")
        async with asyncio.timeout(10):
            while told[-1].headers["x-llmproxyd-provider"] != "one":
                jump(HOUR_S if len(told) % 2 else -HOUR_S)
                told.append(await rig.ask(rig.single))
    report = rig.report(told)
    assert not report.errors, report.explain(report.errors)
    assert calls == 3, "the breaker did not open after three failures in a row"
