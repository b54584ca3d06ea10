"""``privacy`` of routing.yaml -> Privacy: labels from low to high, the highest one that each zone may see, and what to
look for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from llmproxyd.config.expressions import compile_pattern_at
from llmproxyd.config.findings import Findings, did_you_mean, list_names
from llmproxyd.config.places import Path
from llmproxyd.config.suggest import closest
from llmproxyd.values.privacy import GROUPS, KINDS
from llmproxyd.values.snapshot import DetectRule, OwnPattern, Privacy, Zone

_DEFAULT = Privacy()


def build_privacy(document: Mapping[str, Any], findings: Findings) -> Privacy:
    """The fence. What is left out is as usual; whoever renames the labels has to say all (the schema sees to that)."""
    path: Path = ("privacy",)
    row = document.get("privacy") or {}
    labels = Privacy(labels=tuple(row.get("labels", _DEFAULT.labels)), default_label=0, clearance={})
    default = row.get("default_label", _DEFAULT.labels[_DEFAULT.default_label])
    clearance = dict(_DEFAULT.clearance)
    for zone, label in row.get("clearance", {}).items():
        clearance[Zone(zone)] = rank_of(label, (*path, "clearance", zone), labels, findings)
    fence = replace(
        labels,
        default_label=rank_of(default, (*path, "default_label"), labels, findings),
        clearance=clearance,
        unscanned={
            kind: rank_of(label, (*path, "unscanned", kind), labels, findings)
            for kind, label in row.get("unscanned", {}).items()
        },
        patterns=_read_patterns(row.get("patterns", {}), (*path, "patterns"), findings),
    )
    return replace(fence, detect=_read_detect(row.get("detect", ()), (*path, "detect"), fence, findings))


def _read_detect(
    rows: Sequence[Mapping[str, Any]], path: Path, privacy: Privacy, findings: Findings
) -> tuple[DetectRule, ...]:
    return tuple(
        DetectRule(
            kinds=read_kinds(row["kinds"], (*path, index, "kinds"), privacy, findings),
            label=rank_of(row["label"], (*path, index, "label"), privacy, findings),
            place=findings.place_of_value((*path, index)),
        )
        for index, row in enumerate(rows)
    )


def _read_patterns(rows: Mapping[str, Any], path: Path, findings: Findings) -> tuple[OwnPattern, ...]:
    return tuple(_read_pattern(kind, value, (*path, kind), findings) for kind, value in rows.items())


def _read_pattern(kind: str, value: Any, path: Path, findings: Findings) -> OwnPattern:
    if kind.partition(".")[0] in _TAKEN:
        findings.error(
            "LP211",
            findings.key(path, "a kind, or a group of kinds, that there is already"),
            f"`{kind}` is a name of our own",
            f"give it another name, such as `own_{kind.replace('.', '_')}`",
        )
    if isinstance(value, str):
        compile_pattern_at(value, path, findings)
        return OwnPattern(kind, pattern=value, place=findings.place_of_value(path))
    return OwnPattern(kind, words=tuple(value), place=findings.place_of_value(path))


_TAKEN = frozenset(kind.partition(".")[0] for kind in (*KINDS, *GROUPS))


def read_kinds(value: Any, path: Path, privacy: Privacy, findings: Findings) -> tuple[str, ...]:
    """One kind of data, or a list of them; LP211 for those that nobody looks for."""
    own = {pattern.kind for pattern in privacy.patterns}
    known = KINDS | GROUPS.keys() | own | {kind.partition(".")[0] for kind in own}
    names = (value,) if isinstance(value, str) else tuple(value)
    for index, name in enumerate(names):
        if name not in known:
            _tell_unknown_kind(findings, path if isinstance(value, str) else (*path, index), name, known)
    return names


def _tell_unknown_kind(findings: Findings, path: Path, name: str, known: Collection[str]) -> None:
    group = name.partition(".")[0]
    nearest = group if group in known and group != name else closest(name, known)
    findings.error(
        "LP211",
        path,
        f"unknown kind of data `{name}`",
        did_you_mean(nearest),
        f"kinds and groups: {list_names(sorted(known))}",
        label="nobody looks for this",
    )


def rank_of(label: str, path: Path, privacy: Privacy, findings: Findings) -> int:
    """A label's rank; the lowest after telling that there is no such label."""
    rank = privacy.rank(label)
    if rank is None:
        tell_unknown_label(findings, path, label, privacy)
    return rank or 0


def tell_unknown_label(findings: Findings, path: Path, label: str, privacy: Privacy) -> None:
    """LP203, with the labels that there are."""
    findings.error(
        "LP203",
        path,
        f"unknown label `{label}`",
        did_you_mean(closest(label, privacy.labels)),
        f"labels, from low to high: {', '.join(privacy.labels)}",
        label="not among `privacy.labels`",
    )
