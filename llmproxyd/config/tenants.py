"""``tenants`` of routing.yaml -> Tenants: who may ask, by the hashes of their keys, and how much.

A hash opens nothing, but a key that stands here by mistake would: no message repeats what is written in ``keys``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from llmproxyd.config.findings import Findings
from llmproxyd.config.limits import build_limits
from llmproxyd.config.places import Path
from llmproxyd.values.snapshot import Tenant

_HASH: Final = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE)
_DIGITS: Final = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_ALMOST: Final = re.compile(r"sha-?256[:=\s]", re.IGNORECASE)
_OF_NOTHING: Final = sha256(b"").hexdigest()
_HOW: Final = "`printf %s KEY | sha256sum` gives the 64 digits; write `sha256:` before them"


def build_tenants(document: Mapping[str, Any], findings: Findings) -> dict[str, Tenant]:
    """Every tenant by name. A key that cannot be read is told (LP606) and left out, one of two tenants is told (LP607)."""
    owners: dict[str, Path] = {}
    return {
        name: Tenant(
            name=name,
            keys=_read_keys(row["keys"], ("tenants", name, "keys"), owners, findings),
            limits=build_limits(row.get("limits", {}), ("tenants", name, "limits"), findings),
            weight=float(row.get("weight", 1.0)),
            place=findings.place(("tenants", name)),
        )
        for name, row in (document.get("tenants") or {}).items()
    }


def _read_keys(
    written: list[str], path: Path, owners: dict[str, Path], findings: Findings
) -> tuple[str, ...]:
    keys: list[str] = []
    for index, text in enumerate(written):
        at = (*path, index)
        key = _read_key(text.strip(), at, findings)
        if key is None:
            continue
        if key in owners:
            _tell_shared(at, owners[key], findings)
            continue
        owners[key] = at
        keys.append(key)
    return tuple(keys)


def _read_key(text: str, at: Path, findings: Findings) -> str | None:
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
