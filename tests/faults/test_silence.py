"""Providers that accept and then say nothing, or nothing that matters: others are asked before anybody waits long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, Rig, forms
from tests.faults.load import Load, Told
from tests.faults.manners import chat, pinging, sometimes, stall_after
from tests.faults.report import Report, percentile
from tests.support.fake_provider import Manner, hang

SECOND_ATTEMPT_S = 0.300
HEDGED = """
version: 1
models: {{careful: [{models}]}}
fallback: {{hedge: {{after: p95, max_share: 5%, max_spend: 3%}}}}
"""


@pytest.mark.quiet
@forms(short_s=2.0, long_s=20.0)
async def test_f07_a_silent_primary_is_given_up_within_300_ms(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """Streams by their learnt time to first content, whole answers by their learnt total."""
    async with new_rig(pace=form.pace) as rig:
        await rig.warm()
        rig.fail("one", hang)
        report = await rig.run(form.load)
    rig.judge(report, figures)
    streams, wholes = halves(rig, report.told)
    figures.at_most("second attempt of a stream", max(streams.second_attempts_s()), SECOND_ATTEMPT_S, "ms")
    figures.at_most(
        "first content of a stream, most",
        max(streams.first_content_s()),
        SECOND_ATTEMPT_S + form.pace.first_s + 0.050,
        "ms",
    )
    learnt_s = max(1.0, 2 * form.pace.total_s)
    if late_s := wholes.second_attempts_s():
        figures.at_most("second attempt of a whole answer", max(late_s), learnt_s + 0.5, "ms")


def halves(rig: Rig, told: Sequence[Told]) -> tuple[Report, Report]:
    return rig.report([t for t in told if t.stream]), rig.report([t for t in told if not t.stream])


@pytest.mark.quiet
@forms(short_s=2.0, long_s=20.0)
async def test_f08_signs_of_life_without_content_do_not_count(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    async with new_rig(pace=form.pace) as rig:
        await rig.warm()
        rig.fail("one", pinging(20.0, every_s=0.05, pace=form.pace))
        report = await rig.run(Load(form.rate, form.load.requests, streams=1.0))
    rig.judge(report, figures)
    figures.at_most("second attempt", max(report.second_attempts_s()), SECOND_ATTEMPT_S, "ms")


@forms(short_s=0, long_s=0)
async def test_f08_a_client_that_waits_is_given_signs_of_life(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """Nobody else is there, and nothing is known of this one: the wait is borne, and shown to be one."""
    late_s = 20.0 if form.long else 5.6
    async with new_rig(pace=form.pace, count=1) as rig:
        rig.fail("one", pinging(late_s, every_s=0.5, pace=form.pace))
        told = await rig.ask(Load(1.0, 1))
    assert told.success, told
    assert told.text == form.pace.text
    assert told.head_s is not None
    assert told.first_s is not None
    figures.at_most("first sign of life", told.head_s - told.asked_s, 5.2, "s")
    figures.at_least("first content", told.first_s - told.asked_s, late_s, "s")


@pytest.mark.quiet
@forms(short_s=4.0, long_s=20.0)
async def test_f07_hedges_are_few_and_losers_are_let_go_at_once(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """Three in a hundred answers of the primary come late, well before its timer would end."""
    late = form.pace.first_s * 1.9
    slow: Manner = chat(type(form.pace)(first_s=late, pieces=form.pace.pieces, pause_s=form.pace.pause_s))
    async with new_rig(pace=form.pace, count=2, routing=HEDGED) as rig:
        await rig.warm()
        rig.one.manner = sometimes(0.03, slow, chat(form.pace), seed=7)
        report = await rig.run(Load(form.rate, form.load.requests, streams=1.0))
    rig.judge(report, figures)
    hedged = [tries for tries in report.tries.values() if len(tries) > 1]
    figures.at_least("hedges", len(hedged), 1)
    figures.at_most("hedges, share of requests", len(hedged) / len(report.told), 0.05, "%")
    parted_s = [parted for told in report.told if (parted := loser_s(report, told)) is not None]
    figures.at_most("loser let go after the winner's first content", max(parted_s), 0.050, "ms")


def loser_s(report: Report, told: Told) -> float | None:
    """From the client's first content to the end of the connection of the attempt that lost."""
    tries = report.tries.get(told.number, ())
    gone = [t.seen.gone_s for t in tries if t.seen.gone_s is not None]
    return gone[0] - told.first_s if len(tries) > 1 and gone and told.first_s is not None else None


@forms(short_s=0, long_s=0)
async def test_f10_a_stall_in_the_middle_is_found_by_its_timer(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    stall_s, streams = (3.0, 200) if form.long else (1.0, 40)
    rig = new_rig(pace=form.pace, count=1, provider=f"timeouts: {{stall: {stall_s:g}s}}")
    async with rig:
        rig.one.manner = stall_after(form.pace, form.pace.pieces // 2)
        asking = rig.start(Load(400.0, streams, streams=1.0))
        while sum(seen.first_s is not None for seen in rig.one.seen) < streams:
            await asyncio.sleep(0.02)
        await asyncio.sleep(form.pace.total_s)  # until the last of them has fallen silent
        busy_s, since_s = rig.daemon.cpu_s(), time.monotonic()
        await asyncio.sleep(stall_s / 2)
        load = (rig.daemon.cpu_s() - busy_s) / (time.monotonic() - since_s)
        told = await asking
    figures.at_most("CPU while all are silent", load, 0.05, "%")
    assert not any(t.success for t in told), rig.report(told).explain(told)
    assert all(t.error and t.error["message"] and not t.broken for t in told), rig.report(told).explain(told)
    silent_s = [found for t in told if (found := found_after_s(rig, t)) is not None]
    assert len(silent_s) == streams
    figures.at_least("found after, least", min(silent_s), stall_s - 0.005, "s")
    figures.at_most("found after, p99", percentile(silent_s, 0.99), stall_s + 0.25, "s")


def found_after_s(rig: Rig, told: Told) -> float | None:
    """From the provider's last word to the client's error."""
    tries = rig.report([told]).tries[told.number]
    wrote_s = tries[0].seen.wrote_s
    return None if wrote_s is None or told.ended_s is None else told.ended_s - wrote_s
