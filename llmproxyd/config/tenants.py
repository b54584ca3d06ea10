"""``tenants`` of routing.yaml -> Tenants: who may ask, by the hashes of their keys, and how much.

A hash opens nothing, but a key that stands here by mistake would: no message repeats what is written in ``keys``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from hashlib import sha256
from typing import Any, Final

from llmproxyd.config.budgets import build_tenant_budget
from llmproxyd.config.findings import Findings
from llmproxyd.config.limits import build_limits
from llmproxyd.config.places import Path
from llmproxyd.config.privacy import tell_unknown_label
from llmproxyd.values.snapshot import Privacy, Tenant, VirtualKey

_HASH: Final = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE)
_DIGITS: Final = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_ALMOST: Final = re.compile(r"sha-?256[:=\s]", re.IGNORECASE)
_OF_NOTHING: Final = sha256(b"").hexdigest()
_LOWER: Final = "lower_label"
_HOW: Final = "`printf %s KEY | sha256sum` gives the 64 digits; write `sha256:` before them"


def build_tenants(
    document: Mapping[str, Any], findings: Findings, privacy: Privacy, today: date
) -> dict[str, Tenant]:
    """Every tenant by name. ``today`` (UTC): the day on which keys may have expired.

    A key that cannot be read is told (LP606) and left out, one of two tenants is told (LP607). One whose last day is over
    is told (LP605) and kept: whoever shows it learns why it opens nothing.
    """
    reader = _KeyReader(findings, privacy, today)
    return {
        name: Tenant(
            name=name,
            keys=reader.read(row["keys"], ("tenants", name, "keys")),
            limits=build_limits(row.get("limits", {}), ("tenants", name, "limits"), findings),
            weight=float(row.get("weight", 1.0)),
            budget=build_tenant_budget(name, row, findings),
            label=_read_label(row, ("tenants", name), privacy, findings),
            place=findings.place(("tenants", name)),
        )
        for name, row in (document.get("tenants") or {}).items()
    }


class _KeyReader:
    """Reads the keys of one tenant after the other, and knows whose a key already is."""

    def __init__(self, findings: Findings, privacy: Privacy, today: date) -> None:
        self._findings = findings
        self._privacy = privacy
        self._today = today
        self._owners: dict[str, Path] = {}

    def read(self, written: Sequence[Any], path: Path) -> tuple[VirtualKey, ...]:
        keys = (self._key(entry, (*path, index)) for index, entry in enumerate(written))
        return tuple(key for key in keys if key is not None)

    def _key(self, written: Any, at: Path) -> VirtualKey | None:
        row: Mapping[str, Any] = {"hash": written} if isinstance(written, str) else written
        at_hash = at if isinstance(written, str) else (*at, "hash")
        digest = _read_hash(row["hash"].strip(), at_hash, self._findings)
        limits = build_limits(row.get("limits", {}), (*at, "limits"), self._findings)
        until, label = self._last_day(row, at), _read_label(row, at, self._privacy, self._findings)
        if digest is None:
            return None
        if digest in self._owners:
            _tell_shared(at_hash, self._owners[digest], self._findings)
            return None
        self._owners[digest] = at_hash
        return VirtualKey(
            digest,
            row.get("name", ""),
            until,
            limits,
            project=row.get("project"),
            user=row.get("user"),
            label=label,
            may_lower=_LOWER in row.get("may", ()),
        )

    def _last_day(self, row: Mapping[str, Any], at: Path) -> str | None:
        written = row.get("until")
        if written is None:
            return None
        try:
            until = date.fromisoformat(written)
        except ValueError:
            message = f"`{written}` is not a day of the calendar"
            self._findings.error("LP105", (*at, "until"), message, "write it as YYYY-MM-DD")
            return None
        if until <= self._today:
            self._findings.warning(
                "LP605",
                (*at, "until"),
                f"`keys[{at[-1]}]` of tenant `{at[1]}` is not taken any more",
                "delete the entry, or write a later day if its owner still needs it",
                label=f"today is {self._today.isoformat()} (UTC)",
            )
        return until.isoformat()


def _read_label(row: Mapping[str, Any], at: Path, privacy: Privacy, findings: Findings) -> str | None:
    """The entry's label, told (LP203) if there is no such one."""
    label: str | None = row.get("label")
    if label is not None and privacy.rank(label) is None:
        tell_unknown_label(findings, (*at, "label"), label, privacy)
    return label


def _read_hash(text: str, at: Path, findings: Findings) -> str | None:
    """64 lower-case digits; None after telling what is wrong."""
    found = _HASH.fullmatch(text)
    digits = found[1].lower() if found else None
    if digits == _OF_NOTHING:
        message = "this is the hash of an empty key"
        findings.error("LP606", at, message, f"was the variable empty? {_HOW}", label="opens nothing")
        return None
    if digits is None:
        message, help_ = _what_is_wrong(text)
        findings.error("LP606", at, message, help_, label="not `sha256:` and 64 digits")
    return digits


def _what_is_wrong(text: str) -> tuple[str, str]:
    if _DIGITS.fullmatch(text):
        return "the hash of a key begins with `sha256:`", "write `sha256:` before the 64 digits"
    if _ALMOST.match(text):
        return "the hash of a key is `sha256:` and 64 hexadecimal digits", _HOW
    return "this looks like a key, but only its hash belongs here", _HOW


def _tell_shared(at: Path, first: Path, findings: Findings) -> None:
    name, other = at[1], first[1]
    message = (
        f"tenant `{name}` lists the same key twice"
        if name == other
        else f"tenants `{other}` and `{name}` share a key: nobody could tell them apart"
    )
    help_ = "delete one of the two" if name == other else "give each tenant a key of its own"
    findings.error(
        "LP607",
        at,
        message,
        help_,
        label="the same key again",
        secondary=(findings.value(first, "first here"),),
    )
