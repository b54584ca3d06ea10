"""The rig and the figures of a scenario; a table of all figures after the long forms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.faults.figures import PROPERTY, Figures, Row, table
from tests.faults.harness import Rig

NewRig: TypeAlias = Callable[..., Rig]


@pytest.fixture
def new_rig(tmp_path: Path) -> NewRig:
    """Makes a rig below the test's own directory."""

    def make(**how: Any) -> Rig:
        return Rig(tmp_path, **how)

    return make


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def figures(request: pytest.FixtureRequest, record_property: Callable[[str, Row], None]) -> Figures:
    """Named after the scenario: ``test_f01_...`` is F01."""
    number = request.node.name.removeprefix("test_").split("_")[0].upper()
    return Figures(number, record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if "proof" not in (config.option.markexpr or ""):
        return
    ended = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    rows: list[Row] = [
        value
        for report in ended
        for name, value in getattr(report, "user_properties", ())
        if name == PROPERTY
    ]
    if rows:
        terminalreporter.section("figures of the fault table")
        for line in table(sorted(rows, key=lambda row: row[0])):
            terminalreporter.line(line)
