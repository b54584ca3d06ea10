"""``assert`` of routing.yaml -> Assertions: what can never happen, whatever the rules say. Whether that is so is not asked
here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd.config.places import Path
from llmproxyd.config.routes import RuleReader
from llmproxyd.values.snapshot import AllOf, Assertion, Zone

_REACHES = "reaches"


def build_assertions(document: Mapping[str, Any], reader: RuleReader) -> tuple[Assertion, ...]:
    """All assertions, in the order of the file."""
    rows = document.get("assert") or ()
    return tuple(
        _assertion(row["never"], ("assert", index, "never"), reader) for index, row in enumerate(rows)
    )


def _assertion(row: Mapping[str, Any], path: Path, reader: RuleReader) -> Assertion:
    when = {key: value for key, value in row.items() if key != _REACHES}
    goal, at = row[_REACHES], (*path, _REACHES)
    return Assertion(
        when=reader.conditions.read(when, path) or AllOf(()),
        zones=tuple(Zone(zone) for zone in _listed(goal.get("zone", ()))),
        providers=_providers(goal.get("provider", ()), (*at, "provider"), reader),
        place=reader.findings.place(path),
    )


def _providers(value: str | list[str], path: Path, reader: RuleReader) -> tuple[str, ...]:
    names = _listed(value)
    paths = [path] if isinstance(value, str) else [(*path, index) for index in range(len(names))]
    return tuple(
        reader.names.read_provider(name, at, "the assertion") for name, at in zip(names, paths, strict=True)
    )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
