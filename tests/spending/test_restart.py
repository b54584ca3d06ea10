"""A ledger that has grown for a year does not delay a start, not even after a stop that was none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.store import FILE_NAME, Store
from llmproxyd.values.ledger import Entry
from tests.faults.figures import Figures
from tests.faults.harness import Rig
from tests.ledger.build import intent, settlement
from tests.spending.audit import sums_of
from tests.spending.clients import ask, state_dir
from tests.spending.served import PRICED, metered

BATCH = 5_000
YEAR_S = 365 * 86_400.0
ROUTING = """
version: 1
models: {{careful: [{models}]}}
budgets: [{{name: everything, usd: 1000000, per: month}}, {{name: each, scope: {{project: each}}, usd: 1000, per: day}}]
"""


def a_years_entries(count: int) -> Iterator[list[Entry]]:
    """Spread over the year before now, of a hundred projects."""
    now_s = time.time()
    for first in range(0, count, BATCH):
        batch = []
        for number in range(first, min(first + BATCH, count)):
            at_s = now_s - YEAR_S * (1 - number / count)
            one = intent(number, at_s=at_s, project=f"project-{number % 100}")
            batch.append(Entry(one, settlement(number, at_s=at_s + 1)))
        yield batch


def build(directory: Path, count: int) -> None:
    directory.mkdir(mode=0o700, parents=True)
    store = Store(directory / FILE_NAME, Disk())
    booked = sum(store.add(batch) for batch in a_years_entries(count))
    store.make_durable(clean=True)
    store.close()
    assert booked == count


async def seconds_to_ready(rig: Rig, times: int) -> tuple[float, float]:
    """From the call of the program until it has opened its doors, after a kill: (wall, processor), the best of some."""
    found: list[tuple[float, float]] = []
    for _ in range(times):
        assert (await ask(rig)).success
        await rig.daemon.kill()
        begun_s = time.monotonic()
        await rig.restart()
        found.append((time.monotonic() - begun_s, rig.daemon.cpu_s()))
    return min(wall_s for wall_s, _ in found), min(cpu_s for _, cpu_s in found)


@pytest.mark.quiet
@pytest.mark.parametrize(
    "entries",
    [
        pytest.param(5_000, id="short"),
        pytest.param(1_000_000, id="long", marks=(pytest.mark.proof, pytest.mark.timeout(600))),
    ],
)
async def test_restart_is_quick_with_many_entries(tmp_path: Path, entries: int, figures: Figures) -> None:
    few, many = (Rig(tmp_path / name, provider=PRICED, routing=ROUTING, count=1) for name in ("few", "many"))
    build(state_dir(few), 1)
    build(state_dir(many), entries)
    times = 3 if entries >= 1_000_000 else 1
    found = []
    for rig in (few, many):
        async with rig:
            metered(rig)
            found.append(await seconds_to_ready(rig, times))
    (few_s, _), (many_s, cpu_s) = found
    figures.note("entries", entries)
    figures.note("ready again after a kill, one entry", few_s, "ms")
    figures.at_most("ready again after a kill: processor", cpu_s, 1.0, "ms")
    figures.note("what so many entries add", many_s - few_s, "ms")
    if entries >= 1_000_000:  # whose start runs alone; others share the machine with it
        figures.at_most("ready again after a kill", many_s, 1.0, "ms", repr(found))
    assert sums_of(state_dir(many)).attempts == entries + times
