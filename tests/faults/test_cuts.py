"""Answers that break off: never a success that is none, a typed error at once, or the whole answer where that is asked."""

from __future__ import annotations

from random import Random

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, forms
from tests.faults.load import Load, Told
from tests.faults.manners import Pace, chat, cut, cut_after, frames_of, number_of, stream_body
from tests.faults.report import Report, percentile
from tests.support.fake_provider import Exchange, Manner

AT_ONCE = Pace(first_s=0.0, pieces=60, pause_s=0.0)
GO_ON = """
version: 1
models: {{careful: [{models}]}}
pipeline: {{performance: [{{name: take it up, continue: true}}]}}
"""


def cut_anywhere(pace: Pace, seed: int) -> Manner:
    """At any byte of the body, framing included."""
    random, size = Random(seed), len(stream_body(frames_of(pace)))

    async def manner(exchange: Exchange) -> None:
        await cut(pace, after_bytes=random.randrange(size))(exchange)

    return manner


@forms(short_s=2.0, long_s=50.0, short_rate=150.0, long_rate=200.0)
async def test_f09_a_cut_stream_never_ends_as_a_success(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """10,000 streams, each cut at a byte of its own. What was said entirely may be called whole."""
    async with new_rig(pace=AT_ONCE, count=1) as rig:
        rig.one.manner = cut_anywhere(AT_ONCE, seed=9)
        report = await rig.run(Load(form.rate, form.load.requests, streams=1.0))
    figures.none("truncated successes", len(report.truncated), report.explain(report.truncated))
    untold = [told for told in report.errors if told.broken or not told.error or not told.error["message"]]
    figures.none("ends without a typed error", len(untold), report.explain(untold))
    figures.note("streams", len(report.told))


@pytest.mark.quiet
@forms(short_s=2.0, long_s=10.0, short_rate=20.0, long_rate=40.0)
async def test_f09_the_error_follows_the_cut_within_50_ms(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    async with new_rig(pace=form.pace, count=1) as rig:
        rig.one.manner = cut_after(form.pace, form.pace.pieces * 2 // 3)
        report = await rig.run(Load(form.rate, form.load.requests, streams=1.0))
    assert len(report.errors) == len(report.told)
    assert all(told.error for told in report.told), report.explain(report.told)
    late_s = [late for told in report.told if (late := told_after_s(report, told)) is not None]
    assert len(late_s) == len(report.told)
    figures.at_most("error after the cut, p99", percentile(late_s, 0.99), 0.050, "ms")


def told_after_s(report: Report, told: Told) -> float | None:
    wrote_s = report.tries[told.number][-1].seen.wrote_s
    return None if wrote_s is None or told.ended_s is None else told.ended_s - wrote_s


class CutOnce:
    """The first try of every stream is cut, each at a place of its own; whoever is asked after that says the rest."""

    def __init__(self, pace: Pace, points: int) -> None:
        self._pace = pace
        self._points = points
        self._size = len(stream_body(frames_of(pace)))
        self._begun: set[int] = set()

    @property
    def cut(self) -> int:
        return len(self._begun)

    async def __call__(self, exchange: Exchange) -> None:
        number = number_of(exchange.seen.body)
        if not exchange.seen.json.get("stream") or number in self._begun:
            await chat(self._pace)(exchange)
            return
        self._begun.add(number)
        await cut(self._pace, after_bytes=self.cut * self._size // (self._points + 1))(exchange)


@forms(short_s=2.0, long_s=30.0, short_rate=120.0, long_rate=200.0)
async def test_f09_with_continue_nothing_is_lost_and_nothing_is_said_twice(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """Every stream is cut once, wherever: 40 places, or 1,000. Whole requests between them, because whoever takes up a
    stream is an extra attempt, and those are bounded."""
    points = form.load.requests // 6
    async with new_rig(pace=AT_ONCE, count=2, routing=GO_ON) as rig:
        once = CutOnce(AT_ONCE, points)
        for fake in rig.fakes.values():
            fake.manner = once
        report = await rig.run(Load(form.rate, points * 6, streams=1 / 6))
    rig.judge(report, figures)
    figures.at_least("cut points", once.cut, points)
