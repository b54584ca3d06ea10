"""``privacy`` of routing.yaml -> Privacy: labels from low to high, and the highest one that each zone may see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd.config.findings import Findings, did_you_mean
from llmproxyd.config.places import Path
from llmproxyd.config.suggest import closest
from llmproxyd.values.snapshot import Privacy, Zone

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
    return Privacy(
        labels=labels.labels,
        default_label=rank_of(default, (*path, "default_label"), labels, findings),
        clearance=clearance,
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
