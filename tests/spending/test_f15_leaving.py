"""F15: clients that leave at any stage. What they began is settled, exactly where it is known; their providers stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Rig
from tests.faults.load import Load
from tests.faults.manners import MARK, Pace
from tests.faults.report import percentile
from tests.spending.audit import LEFT, Pair, Row, paired, rows_of
from tests.spending.clients import leave, state_dir, until
from tests.spending.served import PRICED, Bill, Metered, all_bills, metered, plain_counts
from tests.support.records import replace

TALKATIVE = Pace(first_s=0.030, pieces=300, pause_s=0.008)
SILENT = Pace(first_s=30.0, pieces=1, pause_s=0.0)
AT_ONCE = 6
"""At each stage; many more would measure how quickly pieces can be written."""
WAVES = pytest.mark.parametrize(
    "waves",
    [
        pytest.param(1, id="short"),
        pytest.param(15, id="long", marks=(pytest.mark.proof, pytest.mark.timeout(300))),
    ],
)


@dataclass(frozen=True, slots=True)
class Stage:
    """When somebody leaves. ``provider``: at whose answer; ``numbers``: from which one on; ``outcomes``: as booked;
    ``waits``: for this, given the request's number."""

    name: str
    provider: str
    numbers: int
    outcomes: frozenset[str]
    enough: Callable[[bytes], bool] | None = None
    waits_for_the_call: bool = False
    stream: bool = True


def heard(pieces: int) -> Callable[[bytes], bool]:
    return lambda told: told.count(MARK) >= pieces


GONE = frozenset({"cancelled"})
STAGES = (
    Stage("at connect", "one", 1_000, GONE),
    Stage("before the first token", "one", 2_000, GONE, waits_for_the_call=True),
    Stage("before a whole answer", "one", 3_000, GONE, waits_for_the_call=True, stream=False),
    Stage("mid-stream", "two", 4_000, GONE, heard(200)),
    Stage("after the last token", "three", 5_000, GONE, heard(TALKATIVE.pieces)),
    Stage("after the end", "two", 6_000, frozenset({"ok"}), lambda told: b"[DONE]" in told),
)


class Leaving:
    """Everybody who leaves, and when: by task."""

    def __init__(self, rig: Rig, tills: dict[str, Metered]) -> None:
        self._rig = rig
        self._tills = tills
        self.left_s: dict[str, float] = {}

    async def at(self, stage: Stage, wave: int) -> None:
        first = stage.numbers + wave * AT_ONCE
        await asyncio.gather(*(self._one(stage, number) for number in range(first, first + AT_ONCE)))

    async def _one(self, stage: Stage, number: int) -> None:
        called: Awaitable[object] | None = None
        till = self._tills[stage.provider]
        if stage.waits_for_the_call:
            called = until(lambda: any(bill.number == number for bill in till.bills))
        load = Load(1.0, 1, model=f"{stage.provider}/m")
        self.left_s[f"q{number}"] = await leave(
            self._rig, number, enough=stage.enough, at=called, stream=stage.stream, load=load
        )


def of(stage: Stage, pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if stage.numbers <= pair.bill.number < stage.numbers + 1_000]


@pytest.mark.quiet
@WAVES
async def test_f15_whoever_leaves_is_booked_and_the_provider_is_cut(
    new_rig: NewRig, waves: int, figures: Figures
) -> None:
    async with new_rig(pace=TALKATIVE, provider=PRICED) as rig:
        tills = metered(rig, plain_counts)
        await rig.warm_only("two", 1)
        rig.one.manner = tills["one"].serving(SILENT)
        rig.fakes["three"].manner = tills["three"].serving(
            replace(TALKATIVE, pause_s=0.001), before_usage_s=10.0
        )
        leaving = Leaving(rig, tills)
        for wave in range(waves):
            await asyncio.gather(*(leaving.at(stage, wave) for stage in STAGES))
        bills = [bill for bill in all_bills(tills) if bill.task in leaving.left_s]
        cut = [bill for bill in bills if bill.number < 6_000]
        await until(lambda: all(bill.seen.gone_s is not None for bill in cut), what=f"never cut: {cut}")
    rows = [row for row in rows_of(state_dir(rig)) if row.task in leaving.left_s]
    pairs, unbilled, unbooked = paired(rows, bills)
    figures.none("calls without an entry", len(unbooked), repr(unbooked[:3]))
    assert all(row.outcome == "cancelled" and not row.output for row in unbilled), unbilled
    for stage in STAGES:
        outcomes = {row.outcome for row, _ in of(stage, pairs)}
        assert outcomes <= stage.outcomes, (stage.name, outcomes)
        assert outcomes or stage.name == "at connect", f"nobody got as far as {stage.name}"
    judge_counts(pairs, figures)
    judge_cancelling(cut, leaving.left_s, figures)


def judge_counts(pairs: Sequence[Pair], figures: Figures) -> None:
    known = [pair for pair in pairs if not pair.row.estimated]
    wrong = [pair for pair in known if pair.bill.told is None or pair.row.cost_nanos != pair.bill.told.nanos]
    figures.none("entries with known usage that are not exact", len(wrong), repr(wrong[:3]))
    guessed = [pair for pair in pairs if pair.row.estimated]
    assert all(row.outcome in LEFT for row, _ in guessed)
    begun = [pair for pair in guessed if pair.bill.said]
    figures.at_most("estimate of one answer, worst error", max(map(error, begun)), 0.02, "%", worst(begun))
    missed = sum(abs(tokens(row) - served(bill)) for row, bill in guessed)
    figures.at_most("estimates, error in all", missed / sum(served(b) for _, b in guessed), 0.02, "%")
    prompts = [row.input for row, _ in guessed]
    figures.note("estimate of a prompt of 9 tokens", sum(prompts) / len(prompts))


def tokens(row: Row) -> int:
    return row.input + row.output


def served(bill: Bill) -> int:
    """What its provider has counted by the time it was cut."""
    return plain_counts(bill.number, bill.said).prompt + bill.said


def error(pair: Pair) -> float:
    return abs(tokens(pair.row) - served(pair.bill)) / served(pair.bill)


def worst(pairs: Sequence[Pair]) -> str:
    found = sorted(pairs, key=error)[-3:]
    return "\n".join(
        f"{row.task}: booked {row.input} + {row.output}, said {bill.said}" for row, bill in found
    )


def judge_cancelling(cut: Sequence[Bill], left_s: dict[str, float], figures: Figures) -> None:
    took_s = [bill.seen.gone_s - left_s[bill.task] for bill in cut if bill.seen.gone_s is not None]
    assert len(took_s) == len(cut)
    figures.at_most("provider cut after its client left, p50", percentile(took_s, 0.5), 0.1, "ms")
    figures.at_most("provider cut after its client left, worst", max(took_s), 0.1, "ms")
