"""Providers that come and go, or grow slow: traffic leaves them quickly, and returns once, not to and fro."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, forms
from tests.faults.load import Load
from tests.faults.manners import Pace, chat
from tests.faults.report import Report
from tests.support.fake_provider import reset

FASTEST = """
version: 1
models: {{careful: {{any: [{models}]}}}}
pipeline: {{performance: [{{name: fastest first, rank_by: latency}}]}}
"""
RAMP_S = 10.0
BY_FAR = 0.7


@forms(short_rate=60.0, timeout_s=200)
async def test_f13_a_primary_that_was_away_is_back_within_5_s_and_stays(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    away_s, after_s = (60.0, 25.0) if form.long else (2.0, 5.0)
    async with new_rig(pace=form.pace, provider="health: {interval: 1s}") as rig:
        await rig.warm()
        rig.fail("one", reset, reset)
        load = rig.start(Load(form.rate, round(form.rate * (away_s + after_s))))
        await asyncio.sleep(away_s)
        calls = len(rig.one.seen)
        back_s = rig.recover("one")
        report = rig.report(await load)
    rig.judge(report, figures)
    calls_away = sum(1 for seen in rig.one.seen[:calls] if seen.at_s >= back_s - away_s)
    figures.at_most("attempts while away", calls_away, away_s if form.long else 10)
    served = next(seen for seen in rig.one.seen if seen.at_s >= back_s and seen.first_s is not None)
    figures.at_most("back after", served.at_s - back_s, 5.0, "s")
    if form.long:
        figures.at_most("changes of the main provider", switches(report), 2)
        settled = report.part(after_s=served.at_s + RAMP_S + 1.0)
        figures.at_least("share of the primary after its ramp", share_of(settled, "one"), 0.99, "%")


def share_of(report: Report, provider: str) -> float:
    served = report.served_by()
    return served.count(provider) / max(1, len(served))


def switches(report: Report) -> int:
    """How often the main provider became another. Main is who answered most of a second's requests by far; while two
    share them about evenly, as in the middle of a ramp, it is whoever it was."""
    first_s = report.told[0].asked_s
    seconds: dict[int, Counter[str]] = {}
    for told, provider in zip(report.told, report.served_by(), strict=True):
        seconds.setdefault(int(told.asked_s - first_s), Counter())[provider] += 1
    tops = [(count.most_common(1)[0], count.total()) for _, count in sorted(seconds.items())]
    main = [name for (name, answers), total in tops if answers >= BY_FAR * total]
    return sum(a != b for a, b in itertools.pairwise(main))


@forms(short_rate=50.0)
async def test_f14_traffic_leaves_a_primary_that_grew_slow(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """Ten times its time to first content, and no error. One after the other, so that twenty requests are twenty; short
    answers, since it is their beginning that matters."""
    after = 200 if form.long else 40
    usual, slow, quick = (Pace(form.pace.first_s * times, 3, 0.0) for times in (1.0, 10.0, 1.5))
    async with new_rig(pace=usual, count=2, routing=FASTEST) as rig:
        rig.two.manner = chat(quick)
        await rig.warm(30)
        rig.one.manner = chat(slow)
        load = Load(form.rate, 1)
        told = [await rig.ask(load) for _ in range(20)]
        since_s = time.monotonic()
        told += [await rig.ask(load) for _ in range(after)]
        report = rig.report(told)
    rig.judge(report, figures)
    moved = report.part(after_s=since_s)
    figures.at_least("moved off after 20 requests", 1 - share_of(moved, "one"), 0.90, "%")
