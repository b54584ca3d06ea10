"""``cache`` of routing.yaml -> CachePolicy: which answers are kept, for whom, how long, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmproxyd.config.conditions import ConditionReader
from llmproxyd.config.findings import Findings
from llmproxyd.config.places import Path
from llmproxyd.config.policy import parse_duration_at
from llmproxyd.config.units import parse_size_bytes
from llmproxyd.values.snapshot import CachePolicy, CacheRule, CacheScope

_LEAST_BYTES: Final = 1 << 20
_LEAST_TTL_S: Final = 1.0


def build_cache(document: Mapping[str, Any], conditions: ConditionReader, findings: Findings) -> CachePolicy:
    """The policy; what the file leaves out is as usual, and without rules nothing is kept."""
    row, usual = document.get("cache") or {}, CachePolicy()
    return CachePolicy(
        scope=CacheScope(row.get("scope", usual.scope)),
        max_bytes=_max_bytes(row, usual.max_bytes, findings),
        rules=_rules(row.get("rules") or (), conditions, findings),
        stale_s=parse_duration_at(findings, ("cache", "stale"), row["stale"], what="`stale`", at_least_s=0.0)
        if "stale" in row
        else usual.stale_s,
    )


def _max_bytes(row: Mapping[str, Any], usual: int, findings: Findings) -> int:
    if "max_size" not in row:
        return usual
    try:
        size = parse_size_bytes(row["max_size"])
    except ValueError as error:
        findings.error("LP105", ("cache", "max_size"), str(error))
        return usual
    if size < _LEAST_BYTES:
        message = "`max_size` of `cache` is too small to hold answers"
        findings.error("LP105", ("cache", "max_size"), message, "give it 1MiB at least")
    return size


def _rules(rows: Any, conditions: ConditionReader, findings: Findings) -> tuple[CacheRule, ...]:
    rules: list[CacheRule] = []
    seen: dict[str, Path] = {}
    ends: Path | None = None
    for index, row in enumerate(rows):
        path: Path = ("cache", "rules", index)
        _check_name(row["name"], path, seen, findings)
        if ends is not None:
            _tell_unreachable(row["name"], path, ends, findings)
        if not row.get("when"):
            ends = ends or path
        rules.append(
            CacheRule(
                name=row["name"],
                when=conditions.read(row.get("when"), (*path, "when")),
                ttl_s=_ttl_s(row, path, findings),
                place=findings.place_of_value((*path, "name")),
            )
        )
    return tuple(rules)


def _ttl_s(row: Mapping[str, Any], path: Path, findings: Findings) -> float | None:
    """Seconds; None for ``off``. Exactly one of the two says what the rule is for."""
    if "ttl" in row and "off" in row:
        message = f"cache rule `{row['name']}` says both `ttl` and `off`"
        findings.error("LP105", (*path, "off"), message, "delete one of the two")
        return None
    if "ttl" not in row:
        if "off" not in row:
            message = f"cache rule `{row['name']}` does not say how long"
            findings.error("LP103", (*path, "name"), message, "add `ttl: 7d`, or `off: true`")
        return None
    return parse_duration_at(findings, (*path, "ttl"), row["ttl"], what="`ttl`", at_least_s=_LEAST_TTL_S)


def _check_name(name: str, path: Path, seen: dict[str, Path], findings: Findings) -> None:
    at = (*path, "name")
    if name in seen:
        first = findings.value(seen[name], "first rule of this name")
        message = f"two cache rules are called `{name}`"
        findings.error("LP205", at, message, "rename one of them", label="again here", secondary=(first,))
    seen.setdefault(name, at)


def _tell_unreachable(name: str, path: Path, ends: Path, findings: Findings) -> None:
    first = findings.value((*ends, "name"), "this one always matches")
    findings.warning(
        "LP303",
        (*path, "name"),
        f"cache rule `{name}` is never reached",
        "write the rule without `when` last",
        secondary=(first,),
    )
