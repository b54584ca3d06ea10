"""Measured figures beside their bounds: asserted where they are measured, and shown together at the end of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Row: TypeAlias = tuple[str, str, str, str, bool]
"""scenario, what was measured, how much, bound, kept"""

PROPERTY = "figure"
_UNITS = {"ms": 1e3, "s": 1.0, "%": 100.0, "": 1.0, "KiB": 1.0, "MiB": 1.0}


@dataclass
class Figures:
    """Of one scenario. ``record`` keeps a row even if the assertion fails."""

    scenario: str
    record: Callable[[str, Row], None]

    def at_most(self, what: str, value: float, bound: float, unit: str = "", why: str = "") -> None:
        """``value`` and ``bound`` in seconds or shares; ``unit`` (ms, s, %) says how they are shown."""
        self._judge(what, value, f"≤ {_text(bound, unit)}", value <= bound, unit, why)

    def at_least(self, what: str, value: float, bound: float, unit: str = "", why: str = "") -> None:
        self._judge(what, value, f"≥ {_text(bound, unit)}", value >= bound, unit, why)

    def none(self, what: str, found: int, why: str = "") -> None:
        self._judge(what, found, "0", not found, "", why)

    def note(self, what: str, value: float, unit: str = "") -> None:
        """Shown, not judged."""
        self.record(PROPERTY, (self.scenario, what, _text(value, unit), "", True))

    def _judge(self, what: str, value: float, bound: str, kept: bool, unit: str, why: str) -> None:
        shown = _text(value, unit)
        self.record(PROPERTY, (self.scenario, what, shown, bound, kept))
        assert kept, f"{self.scenario}: {what} is {shown}, wanted {bound}\n{why}"


def _text(value: float, unit: str) -> str:
    number = value * _UNITS[unit]
    shown = f"{number:,.0f}" if float(number).is_integer() or abs(number) >= 1000 else f"{number:.3g}"
    return f"{shown} {unit}".rstrip()


def table(rows: list[Row]) -> list[str]:
    """Lines of text, aligned."""
    head = ("scenario", "figure", "measured", "bound")
    cells = [head, *(row[:4] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    marks = ["", *("" if row[4] else "  <- missed" for row in rows)]
    return [
        "  ".join(
            (name.ljust(widths[0]), what.ljust(widths[1]), value.rjust(widths[2]), bound.rjust(widths[3]))
        )
        + mark
        for (name, what, value, bound), mark in zip(cells, marks, strict=True)
    ]
