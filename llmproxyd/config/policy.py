"""What may be tried after a failure, and beside a silent candidate: ``fallback`` and ``hedge``, of the file and of rules.

A rule's policy inherits from the file's what it leaves out; ``off`` inherits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from llmproxyd.config.findings import Findings
from llmproxyd.config.places import Path
from llmproxyd.config.units import parse_duration_s, parse_share
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.snapshot import DEFAULT_FALLBACK_ON, Degrade, FallbackPolicy, HedgePolicy

OFF: Final = "off"
NO_FALLBACK: Final = FallbackPolicy(on=frozenset(), attempts=1, retry_max=0, across_models=False)
_LEARNT: Final = "p95"
_LEAST_S: Final = 0.001


def build_fallback(document: Mapping[str, Any], findings: Findings) -> FallbackPolicy:
    """The policy for every request; what the file leaves out is as usual."""
    usual = FallbackPolicy(on=DEFAULT_FALLBACK_ON)
    return read_policy(document.get("fallback") or {}, usual, ("fallback",), findings)


def read_policy(value: Any, base: FallbackPolicy, path: Path, findings: Findings) -> FallbackPolicy:
    """``off``, or ``base`` with what is written in its place."""
    if value == OFF:
        return NO_FALLBACK
    retry, at = value.get("retry", {}), (*path, "retry")
    written: dict[str, Any] = {}
    if "on" in value:
        written["on"] = frozenset(FailureKind(kind) for kind in value["on"])
    if "attempts" in value:
        written["attempts"] = int(value["attempts"])
    if "max" in retry:
        written["retry_max"] = int(retry["max"])
    if "across_models" in value:
        written["across_models"] = value["across_models"]
    if "max_price_ratio" in value:
        written["max_price_ratio"] = float(value["max_price_ratio"])
    if "degrade" in value:
        written["degrade"] = _read_degrade(value["degrade"], (*path, "degrade"), findings)
    if "hedge" in value:
        written["hedge"] = read_hedge(value["hedge"], base.hedge, (*path, "hedge"), findings)
    durations = (
        ("deadline_s", value, (*path, "deadline"), _LEAST_S),
        ("retry_base_s", retry, (*at, "base"), 0.0),
        ("retry_cap_s", retry, (*at, "cap"), 0.0),
    )
    for field, row, where, least_s in durations:
        key = where[-1]
        if key in row:
            what = f"`{key}`"
            written[field] = parse_duration_at(findings, where, row[key], what=what, at_least_s=least_s)
    return replace(base, **written)


def read_hedge(value: Any, base: HedgePolicy | None, path: Path, findings: Findings) -> HedgePolicy | None:
    """``off`` (None), or ``base``, without one the usual policy, with what is written in its place."""
    if value == OFF:
        return None
    written: dict[str, Any] = {}
    if "after" in value:
        learnt = value["after"] == _LEARNT
        written["after_s"] = None if learnt else _read_after_s(value["after"], (*path, "after"), findings)
    for key in ("max_share", "max_spend"):
        share = parse_share_at(findings, (*path, key), value.get(key))
        if share is not None:
            written[key] = share
    return replace(base or HedgePolicy(), **written)


def _read_after_s(value: Any, path: Path, findings: Findings) -> float:
    return parse_duration_at(findings, path, value, what="`after`", at_least_s=_LEAST_S)


def _read_degrade(words: list[str], path: Path, findings: Findings) -> tuple[Degrade, ...]:
    steps = tuple(Degrade(word) for word in words)
    for index, step in enumerate(steps[:-1]):
        if step is Degrade.ERROR:
            findings.warning(
                "LP303",
                (*path, index),
                f"the error ends everything, so `{steps[index + 1]}` is never tried",
                "write `error` last",
            )
    return steps


def parse_duration_at(
    findings: Findings, path: Path, value: object, *, what: str, at_least_s: float
) -> float:
    """Seconds; after telling a fault (LP105) the least that is allowed."""
    try:
        seconds = parse_duration_s(value)
    except ValueError as error:
        findings.error("LP105", path, str(error))
        return at_least_s
    if seconds < at_least_s:
        findings.error("LP105", path, f"{what} must be at least {at_least_s:g}s")
        return at_least_s
    return seconds


def parse_share_at(findings: Findings, path: Path, value: object) -> float | None:
    """0..1; None where nothing is written, and after telling a fault (LP105)."""
    if value is None:
        return None
    try:
        return parse_share(value)
    except ValueError as error:
        findings.error("LP105", path, str(error))
        return None
