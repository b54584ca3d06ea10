"""The keys of one provider -> Credentials, best first: those that are written, or that of the usual variable.

A key that is not there is no fault: its provider is *not configured*, and says what is missing. A reference that is
written is never replaced by the usual variable. What a key is called in logs is how the file refers to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import msgspec

from llmproxyd.config.findings import Findings
from llmproxyd.config.places import Path, dotted
from llmproxyd.config.presets import Preset
from llmproxyd.config.problem import Span
from llmproxyd.config.references import Resolved
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Credential

_ONE: Final = "api_key"
_MANY: Final = "api_keys"
_OUTSIDE: Final = "keep it outside: `${env:NAME}`, `${file:/path}` or `${cred:name}`"


class Keys(msgspec.Struct, frozen=True):
    """``credentials``: those that may be used today. ``missing``: what to do so that there is one; empty with one."""

    credentials: tuple[Credential, ...] = ()
    missing: str = ""


class _Entry(msgspec.Struct, frozen=True):
    """One key as it is written. ``at``: where its value stands, ``until_at`` the last day's."""

    at: Path
    value: str
    until: str | None = None
    until_at: Path = ()


class KeyReader:
    """Reads the keys of one provider after the other. ``literals`` grows: where secrets stand in the open."""

    def __init__(
        self, resolved: Resolved, findings: Findings, environ: Mapping[str, str], today: date
    ) -> None:
        self.literals: list[Span] = []
        self._resolved = resolved
        self._findings = findings
        self._environ = environ
        self._today = today

    def read(self, path: Path, row: Mapping[str, Any], preset: Preset) -> Keys:
        """The keys of the provider at ``path``. Faults are told; a key with one is left out."""
        if _MANY in row:
            if _ONE in row or (*path, _ONE) in self._resolved.unset:
                self._tell_both(path)
            return self._several((*path, _MANY), row[_MANY])
        at = (*path, _ONE)
        if at in self._resolved.unset:
            return Keys(missing=f"set {self._resolved.unset[at]}")
        written = row.get(_ONE, "").strip()
        if written:
            return self._one(_Entry(at, written))
        return self._usual(path, preset)

    def tell_literal(self, at: Path, what: str) -> None:
        """LP602, unless a reference stands there."""
        if at in self._resolved.written:
            return
        span = self._findings.value(at, "stands here for everybody who can read the file")
        self.literals.append(span)
        self._findings.warning("LP602", span, f"{what} holds a secret in the open", _OUTSIDE)

    def _one(self, entry: _Entry) -> Keys:
        credential = self._credential(entry)
        return Keys((credential,)) if credential else Keys(missing="correct api_key")

    def _usual(self, path: Path, preset: Preset) -> Keys:
        variable = next((name for name in preset.key_env if self._environ.get(name, "").strip()), None)
        if variable is None:
            return Keys(missing=f"set {preset.key_env[0] if preset.key_env else 'a key'} or {_ONE}")
        key = self._environ[variable].strip()
        if _fits_header(key):
            return Keys((Credential(Secret(key), f"env:{variable}"),))
        fault = f"the value of {variable} holds characters that a key cannot have"
        self._findings.error("LP206", self._findings.key(path), fault, "set the variable again")
        return Keys(missing=f"correct {variable}")

    # --- several --------------------------------------------------------------------------------------------

    def _several(self, path: Path, rows: Sequence[Any]) -> Keys:
        entries = [_entry((*path, index), row) for index, row in enumerate(rows)]
        unset = [entry for entry in entries if entry.at in self._resolved.unset]
        valid = [entry for entry in entries if not self._has_expired(entry)]
        present = [entry for entry in valid if entry not in unset]
        credentials = self._distinct(present)
        if credentials:
            self._warn_of_unset(entry for entry in unset if entry in valid)
            return Keys(credentials)
        if not valid:
            return Keys(missing=f"add a key to {_MANY}: the last one has expired")
        names = dict.fromkeys(self._resolved.unset[entry.at] for entry in valid if entry in unset)
        return Keys(missing=f"set {' or '.join(names)}" if names else f"correct {_MANY}")

    def _distinct(self, entries: Iterable[_Entry]) -> tuple[Credential, ...]:
        found: dict[Secret, Credential] = {}
        places: dict[Secret, Path] = {}
        for entry in entries:
            credential = self._credential(entry)
            if credential is None:
                continue
            if credential.secret in found:
                self._tell_twice(entry.at, places[credential.secret])
                continue
            found[credential.secret], places[credential.secret] = credential, entry.at
        return tuple(found.values())

    def _credential(self, entry: _Entry) -> Credential | None:
        what = f"`{dotted(entry.at[2:])}`"
        key = entry.value.strip()
        if not key:
            self._findings.error(
                "LP105", entry.at, f"{what} is empty", "write a reference such as ${env:NAME}"
            )
            return None
        self.tell_literal(entry.at, what)
        if _fits_header(key):
            return Credential(Secret(key), self._name(entry.at), entry.until)
        self._findings.error(
            "LP105", entry.at, f"{what} holds characters that a key cannot have", "a key is one line of ASCII"
        )
        return None

    def _name(self, at: Path) -> str:
        """``${env:NAME:-default}`` -> ``env:NAME``: the default may be a secret."""
        written = self._resolved.written.get(at)
        if written is None:
            return dotted(at[2:]).removesuffix(".ref")
        return written.removeprefix("${").removesuffix("}").partition(":-")[0]

    def _has_expired(self, entry: _Entry) -> bool:
        if entry.until is None:
            return False
        try:
            until = date.fromisoformat(entry.until)
        except ValueError:
            message = f"`{entry.until}` is not a day of the calendar"
            self._findings.error("LP105", entry.until_at, message, "write it as YYYY-MM-DD")
            return False
        if until > self._today:
            return False
        self._findings.warning(
            "LP605",
            entry.until_at,
            f"`{dotted(entry.at[2:4])}` of provider `{entry.at[1]}` is not used any more",
            "delete the entry, or write a later day if the provider still takes the key",
            label=f"today is {self._today.isoformat()} (UTC)",
        )
        return True

    def _warn_of_unset(self, entries: Iterable[_Entry]) -> None:
        for entry in entries:
            self._findings.warning(
                "LP208",
                entry.at,
                f"environment variable `{self._resolved.unset[entry.at]}` is not set: this key is left out",
                "set it where the daemon is started, or delete the entry",
            )

    def _tell_both(self, path: Path) -> None:
        self._findings.error(
            "LP604",
            self._findings.key((*path, _MANY), "and again here"),
            f"provider `{path[-1]}` has both `{_ONE}` and `{_MANY}`",
            f"move the key of `{_ONE}` into `{_MANY}`, at the place where it is to be tried",
            secondary=(self._findings.key((*path, _ONE), "one key here"),),
        )

    def _tell_twice(self, at: Path, first: Path) -> None:
        self._findings.warning(
            "LP604",
            at,
            "this is the same key as another entry's: it is used once",
            "delete one of the two",
            label="the same key again",
            secondary=(self._findings.value(first, "first here"),),
        )


def _entry(at: Path, row: Any) -> _Entry:
    if isinstance(row, str):
        return _Entry(at, row)
    return _Entry((*at, "ref"), row["ref"], row.get("until"), (*at, "until"))


def _fits_header(key: str) -> bool:
    return key.isascii() and key.isprintable()
