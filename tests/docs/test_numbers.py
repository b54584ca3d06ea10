"""The numbers in docs/resilience.md are those in the code."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from tests.docs.markdown import ROOT, prose

PAGE = ROOT / "docs" / "resilience.md"
_ROW = re.compile(r"^\| [^|]*\| ([0-9.]+)(?: s)? \| `([a-z_.]+)\.([A-Z_]+)` \|$", re.MULTILINE)
ROWS = _ROW.findall(prose(PAGE).partition("## The numbers")[2])


def test_the_table_is_read_to_its_end() -> None:
    assert len(ROWS) == prose(PAGE).partition("## The numbers")[2].count("`llmproxyd.")
    assert len(ROWS) > 20


@pytest.mark.parametrize(("written", "module", "name"), ROWS, ids=[row[2].lower() for row in ROWS])
def test_a_number_is_the_one_in_force(written: str, module: str, name: str) -> None:
    assert float(written) == getattr(import_module(module), name)
