"""Providers that refuse: connections, or every request with an error status. Somebody else answers, at once."""

from __future__ import annotations

import statistics
import time

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, forms
from tests.faults.manners import Pace, by_turns, chat, refusal, sometimes
from tests.faults.report import percentile

OPENS_WITHIN_S = 0.5
LIGHT = Pace(first_s=0.1, pieces=20, pause_s=0.015)
"""For ten thousand requests: a third of the usual text, so that half as many again fit into a second."""
STATUSES = (500, 502, 503, 529)


@pytest.mark.quiet
@forms()
async def test_f01_a_primary_that_refuses_connections_costs_next_to_nothing(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """Added time is what a request took beyond its provider's own time, less the same of the healthy phase. Once the
    breaker is open the medians are compared: the slowest hundredth on a shared machine is the machine's."""
    async with new_rig(pace=form.pace) as rig:
        healthy = await rig.warm()
        await rig.one.stop()
        down_s = time.monotonic()
        report = await rig.run(form.load)
    rig.judge(report, figures)
    usual_s = statistics.median(healthy.overheads_s())
    spent_s = report.overheads_s()
    figures.at_most("added, first three, most", max(spent_s[:3]) - usual_s, 0.025, "ms")
    later_s = report.part(after_s=down_s + OPENS_WITHIN_S).overheads_s()
    figures.at_most("added once open, p50", statistics.median(later_s) - usual_s, 0.001, "ms")
    figures.note("added once open, p99", percentile(later_s, 0.99) - usual_s, "ms")
    figures.note("healthy, p99 beyond its p50", percentile(healthy.overheads_s(), 0.99) - usual_s, "ms")


@pytest.mark.quiet
@forms(short_s=2.0)
async def test_f02_a_primary_that_answers_with_errors_is_left_alone(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    async with new_rig(pace=form.pace) as rig:
        await rig.warm()
        down_s = rig.fail("one", by_turns(*map(refusal, STATUSES)), by_turns(*map(refusal, STATUSES)))
        report = await rig.run(form.load)
    rig.judge(report, figures)
    figures.at_most("dispatch to the next, p50", statistics.median(report.dispatch_gaps_s()), 0.010, "ms")
    figures.note("dispatch to the next, p99", percentile(report.dispatch_gaps_s(), 0.99), "ms")
    first, later = report.part(until_s=down_s + 10.0), report.part(after_s=down_s + 10.0)
    figures.at_most("primary attempts, first 10 s", first.attempts["one"] / len(first.told), 1.2)
    settled = later if form.long else report.part(after_s=down_s + OPENS_WITHIN_S)
    figures.at_most(
        "primary attempts once open, per request", settled.attempts["one"] / len(settled.told), 0.1
    )


@forms(short_rate=150.0, short_s=4.0, long_rate=150.0, long_s=67.0, timeout_s=200)
async def test_f03_random_failures_of_all_three_are_hardly_seen(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """Three attempts of which each fails with 10 % leave 0.1 %."""
    async with new_rig(pace=LIGHT if form.long else form.pace) as rig:
        for seed, fake in enumerate(rig.fakes.values(), start=3):
            fake.manner = sometimes(0.10, refusal(503), chat(rig.pace), seed=seed)
        report = await rig.run(form.load)
    rig.judge(report, figures, visible=0.0015 if form.long else 0.007)
    figures.at_most("attempts per request", report.amplification, 1.20)


@forms(short_rate=150.0, short_s=4.0, long_rate=150.0, long_s=67.0, timeout_s=200)
async def test_f04_random_failures_of_one_of_two_are_never_seen(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    async with new_rig(pace=LIGHT if form.long else form.pace, count=2) as rig:
        rig.one.manner = sometimes(0.10, refusal(500), chat(rig.pace), seed=4)
        report = await rig.run(form.load)
    rig.judge(report, figures)
    figures.at_most("attempts per request", report.amplification, 1.12 if form.long else 1.16)
