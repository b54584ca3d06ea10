"""A fence is worth what its tests notice: faults are planted in a copy of the source, one at a time, and looked for."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path

import pytest

from tests.privacy.mutations import MUTATIONS, WAYS
from tests.privacy.planting import ROOT, Copy

AT_ONCE = 2


def test_every_fault_can_still_be_planted() -> None:
    """Where the source has changed, the list has to as well; else it would find less and less."""
    for mutation in MUTATIONS:
        source = (ROOT / "llmproxyd" / mutation.path).read_text()
        assert source.count(mutation.text) == 1, mutation.name
        compile(source.replace(mutation.text, mutation.instead), mutation.path, "exec")
        for path in mutation.noticed_by:
            assert (ROOT / "tests" / path).is_file(), mutation.name


def test_every_way_out_has_two_at_least() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 30
    ways = Counter(mutation.way for mutation in MUTATIONS)
    assert set(ways) == set(WAYS)
    assert min(ways.values()) >= 2


async def test_a_planted_fault_is_noticed_and_the_source_as_it_is_is_not_to_blame(tmp_path: Path) -> None:
    mutation = next(m for m in MUTATIONS if m.name == "one label too many is let through")
    copy = Copy(tmp_path / "copy")
    assert await copy.complaint(mutation.noticed_by) == ""
    assert (await copy.notices(mutation)).startswith("FAILED tests/values/test_clearance.py")


@pytest.mark.proof
@pytest.mark.timeout(1800)
async def test_hardly_a_planted_fault_is_not_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of thirty at most; and nothing is noticed where no fault is planted."""
    left = list(reversed(MUTATIONS))
    missed: list[str] = []
    numbers = itertools.count(1)

    def tell(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    async def plant(number: int) -> None:
        copy = Copy(tmp_path / str(number))
        everything = sorted({path for mutation in MUTATIONS for path in mutation.noticed_by})
        assert await copy.complaint(everything[number::AT_ONCE]) == ""
        while left:
            mutation = left.pop()
            noticed = await copy.notices(mutation)
            tell(f"{next(numbers):3} {mutation.way}: {mutation.name}: {noticed or 'NOT NOTICED'}")
            if not noticed:
                missed.append(mutation.name)

    async with asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(plant(number))
    assert len(missed) <= len(MUTATIONS) // 30, missed
