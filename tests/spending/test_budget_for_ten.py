"""Many at once against money for ten: ten are served, nobody overshoots, and no reservation outlives a killed process."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Rig
from tests.faults.load import Load, Told
from tests.spending.audit import rows_of, sums_of
from tests.spending.clients import ask, state_dir, until
from tests.spending.served import Counts, Metered, metered

ASKING, FITTING = 64, 10
TOKENS = 100
COST_NANOS = 1_000_000
"""Of a hundred tokens at 10 USD per million: exactly what is reserved for them."""

PRICED = "models: [{id: m, price: {input: 0, output: 10}}]"
ROUTING = """
version: 1
models: {{careful: [{models}]}}
budgets: [{{name: for ten, scope: {{project: each}}, usd: 0.01, per: month}}]
"""


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    kills: int


SIZES = pytest.mark.parametrize(
    "size",
    [
        pytest.param(Size(rounds=5, kills=1), id="short"),
        pytest.param(Size(200, 20), id="long", marks=(pytest.mark.proof, pytest.mark.timeout(600))),
    ],
)


def counts(number: int, pieces: int) -> Counts:
    return Counts(5, TOKENS)


def charged_to(project: str) -> Load:
    return Load(1.0, 1, headers={"x-llmproxyd-project": project})


async def all_at_once(rig: Rig, project: str, count: int = ASKING) -> list[Told]:
    load = charged_to(project)
    asked = (ask(rig, load, stream=bool(n % 2), max_tokens=TOKENS) for n in range(count))
    return list(await asyncio.gather(*asked))


def tally(told: list[Told]) -> Counter[int]:
    """How many by status. Everybody else is told why, and when to come back."""
    for one in told:
        assert not one.broken, one
        if one.status == 200:
            assert one.success, one
        else:
            assert one.error is not None, one
            assert one.error["code"] == "budget_exceeded", one
            assert int(one.headers["retry-after"]) > 0
    return Counter(one.status for one in told)


@SIZES
async def test_budget_for_ten_serves_ten_of_sixty_four(new_rig: NewRig, size: Size, figures: Figures) -> None:
    async with new_rig(provider=PRICED, routing=ROUTING, count=1) as rig:
        till = metered(rig, counts)["one"]
        admitted = [tally(await all_at_once(rig, f"round-{n}"))[200] for n in range(size.rounds)]
        refused = ASKING * size.rounds - sum(admitted)
    figures.at_least("rounds of 64 at once", size.rounds, size.rounds)
    figures.none("rounds with more than ten admitted", sum(n > FITTING for n in admitted), repr(admitted))
    figures.none("rounds with less than ten admitted", sum(n < FITTING for n in admitted), repr(admitted))
    figures.none("calls for those who were refused", len(till.bills) - sum(admitted))
    figures.note("refused with 429", refused)
    spent = [sums_of(state_dir(rig), "project", f"round-{n}").cost_nanos for n in range(size.rounds)]
    assert spent == [FITTING * COST_NANOS] * size.rounds, spent


@SIZES
async def test_budget_for_ten_keeps_no_reservation_of_a_killed_process(
    new_rig: NewRig, size: Size, figures: Figures
) -> None:
    """Three are served, four are under way, the process is killed: the next one has room for exactly three."""
    async with new_rig(provider=PRICED, routing=ROUTING, count=1) as rig:
        till = metered(rig, counts)["one"]
        later, spent = [], []
        for number in range(size.kills):
            project = f"killed-{number}"
            assert tally(await all_at_once(rig, project, 3)) == {200: 3}
            await kill_in_the_middle(rig, till, project, under_way=4)
            rig.fakes["one"].manner = till.serving(rig.pace)
            spent.append(sums_of(state_dir(rig), "project", project).cost_nanos)
            later.append(tally(await all_at_once(rig, project))[200])
    kept = [row for row in rows_of(state_dir(rig)) if row.outcome == "orphaned"]
    figures.none("kills after which a reservation was left", sum(n < 3 for n in later), repr(later))
    figures.none("kills after which too much was spent", sum(n > 3 for n in later), repr(later))
    assert spent == [7 * COST_NANOS] * size.kills, spent
    assert len(kept) == 4 * size.kills
    assert {row.cost_nanos for row in kept} == {COST_NANOS}
    assert len(till.bills) == len(rows_of(state_dir(rig))) == FITTING * size.kills


async def kill_in_the_middle(rig: Rig, till: Metered, project: str, *, under_way: int) -> None:
    """Restarted when so many of its calls are with the provider."""
    released, seen = asyncio.Event(), len(rig.one.seen)
    rig.one.manner = till.held(released, till.serving(rig.pace))
    asking = asyncio.ensure_future(all_at_once(rig, project, under_way))
    await until(lambda: len(rig.one.seen) == seen + under_way)
    await rig.daemon.kill()
    told = await asking
    assert all(one.broken for one in told), told
    released.set()
    await until(lambda: len(till.bills) == seen + under_way)
    await rig.restart()


async def admitted_before_any_is_answered(rig: Rig, till: Metered, project: str, count: int) -> int:
    """What the first have used must not make room for the last of the same wave."""
    released, seen, load = asyncio.Event(), len(rig.one.seen), charged_to(project)
    rig.one.manner = till.held(released, till.serving(rig.pace))
    asked = (ask(rig, load, stream=bool(n % 2), max_tokens=TOKENS) for n in range(count))
    asking = [asyncio.ensure_future(one) for one in asked]
    await until(lambda: sum(one.done() for one in asking) + len(rig.one.seen) - seen == count)
    released.set()
    return tally(await asyncio.gather(*asking))[200]


async def test_budget_for_ten_counts_what_was_used_not_what_was_reserved(new_rig: NewRig) -> None:
    """Whoever says less than they might leaves room: each wave fits into what the ones before did not use."""
    used = 10
    async with new_rig(provider=PRICED, routing=ROUTING, count=1) as rig:
        till = metered(rig, lambda number, pieces: Counts(5, used))["one"]
        waves = [await admitted_before_any_is_answered(rig, till, "brief", 20) for _ in range(6)]
    spent_tokens, expected = 0, []
    for _ in waves:
        expected.append((FITTING * TOKENS - spent_tokens) // TOKENS)
        spent_tokens += expected[-1] * used
    assert waves == expected == [10, 9, 8, 7, 6, 6]
