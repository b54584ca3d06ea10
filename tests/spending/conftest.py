"""The rig and the figures of the fault table, for scenarios of money."""

from __future__ import annotations

import pytest

from tests.faults import conftest as faults
from tests.faults.conftest import NewRig, figures, new_rig

__all__ = ["NewRig", "figures", "new_rig"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of figures where the fault table is not run in the same breath, and shows it itself."""
    if not config.pluginmanager.is_registered(faults):
        faults.pytest_terminal_summary(terminalreporter, config)
