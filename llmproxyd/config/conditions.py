"""``when`` -> Condition: one table from key to the function that reads its value.

A list is *one of*; for ``has``, *all of*. ``absent`` means that the request does not say. Nothing is evaluated here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from llmproxyd.config.expressions import compile_pattern_at
from llmproxyd.config.findings import Findings, did_you_mean, list_names
from llmproxyd.config.places import Path
from llmproxyd.config.policy import parse_share_at
from llmproxyd.config.privacy import read_kinds, tell_unknown_label
from llmproxyd.config.suggest import closest
from llmproxyd.config.units import parse_count
from llmproxyd.values.snapshot import (
    Absent,
    AllOf,
    AnyOf,
    Condition,
    During,
    HasAll,
    Holds,
    Matches,
    Not,
    OneOf,
    Privacy,
    Range,
)

CLAIMED: Final = ("project", "user", "task", "label", "header")
"""Facts that a client states about itself; in this version nothing stops it from stating another one."""

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_BOUNDS: Final = ("gt", "gte", "lt", "lte")

Reader: TypeAlias = Callable[["ConditionReader", str, Any, Path], Condition]


class ConditionReader:
    """Reads conditions that passed the schema; what is left to find wrong goes to ``findings``. ``tenants``: the names
    that are declared."""

    def __init__(self, findings: Findings, privacy: Privacy, tenants: Collection[str] = ()) -> None:
        self._findings = findings
        self._privacy = privacy
        self._tenants = tenants

    def read(self, when: Mapping[str, Any] | None, path: Path) -> Condition | None:
        """The condition at ``path``; None if it holds always."""
        if not when:
            return None
        parts = tuple(READERS[key](self, key, value, (*path, key)) for key, value in when.items())
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def texts(self, fact: str, value: Any, path: Path) -> Condition:
        return _texts(fact, value)

    def tenant(self, fact: str, value: Any, path: Path) -> Condition:
        """Names of tenants are ours, so a slip is told (LP209)."""
        condition = _texts(fact, value)
        inner = (*path, "any") if isinstance(value, dict) else path
        for index, name in enumerate(condition.values if isinstance(condition, OneOf) else ()):
            if name not in self._tenants:
                at = inner if isinstance(value, str) else (*inner, index)
                self._tell_unknown_tenant(str(name), at)
        return condition

    def keyed(self, fact: str, value: Any, path: Path) -> Condition:
        """``header`` and ``metadata``: a mapping of names to values. Names of headers know no capitals."""
        parts = tuple(
            _texts(fact, values, key.lower() if fact == "header" else key) for key, values in value.items()
        )
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def words(self, fact: str, value: Any, path: Path) -> Condition:
        return OneOf(fact, tuple(_listed(value)))

    def flag(self, fact: str, value: Any, path: Path) -> Condition:
        return OneOf(fact, (value,))

    def amount(self, fact: str, value: Any, path: Path) -> Condition:
        return Absent(fact) if value == "absent" else self.bounds(fact, value, path)

    def bounds(self, fact: str, value: Any, path: Path) -> Range:
        """A number, or bounds; told (LP303) if no number is between them."""
        bounds = value if isinstance(value, dict) else {"gte": value, "lte": value}
        at = {key: (*path, key) if isinstance(value, dict) else path for key in bounds}
        return self._checked(
            Range(fact, **{key: self._number(bound, at[key]) for key, bound in bounds.items()}), path
        )

    def shares(self, fact: str, value: Any, path: Path) -> Condition:
        """Bounds that are shares: 20% or 0.2."""
        if value == "absent":
            return Absent(fact)
        bounds = {key: parse_share_at(self._findings, (*path, key), bound) for key, bound in value.items()}
        return self._checked(Range(fact, **bounds), path)

    def has(self, fact: str, value: Any, path: Path) -> Condition:
        if isinstance(value, dict):
            return AnyOf(tuple(HasAll((word,)) for word in value["any"]))
        return HasAll(tuple(_listed(value)))

    def data(self, fact: str, value: Any, path: Path) -> Condition:
        return Holds(read_kinds(value, path, self._privacy, self._findings))

    def label(self, fact: str, value: Any, path: Path) -> Condition:
        if not isinstance(value, dict):
            return self._labels(value, path)
        bounds = {key: self._rank(value[key], (*path, key)) for key in _BOUNDS if key in value}
        parts: list[Condition] = [self._checked(Range(fact, **bounds), path)] if bounds else []
        if "any" in value:
            parts.append(self._labels(value["any"], (*path, "any")))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def prompt(self, fact: str, value: Any, path: Path) -> Condition:
        inner = (*path, "any") if isinstance(value, dict) else path
        patterns = list(_listed(value))
        paths = [inner] if isinstance(value, str) else [(*inner, index) for index in range(len(patterns))]
        found = [self._pattern(fact, pattern, at) for pattern, at in zip(patterns, paths, strict=True)]
        return found[0] if len(found) == 1 else AnyOf(tuple(found))

    def time(self, fact: str, value: Any, path: Path) -> Condition:
        start, end = (_minute(text) for text in value.get("between", ("00:00", "24:00")))
        zone = read_zone(value.get("zone", "UTC"), (*path, "zone"), self._findings)
        return During(_days(value.get("days", DAYS)), start, end, zone)

    def either(self, fact: str, value: Any, path: Path) -> Condition:
        return AnyOf(tuple(self.read(each, (*path, i)) or AllOf(()) for i, each in enumerate(value)))

    def negated(self, fact: str, value: Any, path: Path) -> Condition:
        return Not(self.read(value, path) or AllOf(()))

    def _labels(self, value: Any, path: Path) -> Condition:
        labels = tuple(_listed(value))
        for index, label in enumerate(labels):
            self._rank(label, path if isinstance(value, str) else (*path, index))
        return OneOf("label", labels)

    def _rank(self, label: str, path: Path) -> float:
        rank = self._privacy.rank(label)
        if rank is None:
            tell_unknown_label(self._findings, path, label, self._privacy)
        return float(rank or 0)

    def _tell_unknown_tenant(self, name: str, path: Path) -> None:
        self._findings.error(
            "LP209",
            path,
            f"unknown tenant `{name}`",
            did_you_mean(closest(name, self._tenants)),
            f"declared tenants: {list_names(self._tenants)}",
            label="not among `tenants`",
        )

    def _number(self, value: Any, path: Path) -> float:
        try:
            return float(parse_count(value)) if isinstance(value, str) else float(value)
        except (ValueError, OverflowError) as error:
            self._findings.error("LP105", path, str(error))
            return 0.0

    def _checked(self, bounds: Range, path: Path) -> Range:
        low = max((b for b in (bounds.gt, bounds.gte) if b is not None), default=float("-inf"))
        high = min((b for b in (bounds.lt, bounds.lte) if b is not None), default=float("inf"))
        if low > high or (low == high and low in (bounds.gt, bounds.lt)):
            message = f"nothing is in this range of `{path[-1]}`, so the rule can never match"
            self._findings.warning("LP303", path, message, "exchange the bounds")
        return bounds

    def _pattern(self, fact: str, pattern: str, path: Path) -> Matches:
        return Matches(fact, pattern, compile_pattern_at(pattern, path, self._findings))


READERS: Final[Mapping[str, Reader]] = {
    "model": ConditionReader.texts,
    "surface": ConditionReader.words,
    "operation": ConditionReader.words,
    "tenant": ConditionReader.tenant,
    "project": ConditionReader.texts,
    "user": ConditionReader.texts,
    "task": ConditionReader.texts,
    "label": ConditionReader.label,
    "data": ConditionReader.data,
    "has": ConditionReader.has,
    "tokens_in": ConditionReader.amount,
    "budget_left": ConditionReader.shares,
    "stream": ConditionReader.flag,
    "temperature": ConditionReader.amount,
    "n": ConditionReader.amount,
    "header": ConditionReader.keyed,
    "metadata": ConditionReader.keyed,
    "prompt": ConditionReader.prompt,
    "time": ConditionReader.time,
    "priority": ConditionReader.words,
    "any": ConditionReader.either,
    "not": ConditionReader.negated,
}
"""Every condition there is; the schema lists the same."""


def claims_in(when: Mapping[str, Any] | None, path: Path) -> Iterator[Path]:
    """Where a condition rests on what clients say of themselves."""
    for key, value in (when or {}).items():
        if key in CLAIMED:
            yield (*path, key)
        elif key == "not":
            yield from claims_in(value, (*path, key))
        elif key == "any":
            for index, inner in enumerate(value):
                yield from claims_in(inner, (*path, key, index))


def _texts(fact: str, value: Any, key: str = "") -> Condition:
    return Absent(fact, key) if value == "absent" else OneOf(fact, tuple(_listed(value)), key)


def _listed(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        value = value["any"]
    return (value,) if isinstance(value, str) else value


def _days(value: Any) -> frozenset[int]:
    """``mon-fri`` -> 0 to 4; ``sat-mon`` runs over Sunday."""
    found: set[int] = set()
    for text in _listed(value):
        first, _, last = text.partition("-")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found |= {(start + step) % 7 for step in range((end - start) % 7 + 1)}
    return frozenset(found)


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def read_zone(name: str, path: Path, findings: Findings) -> str:
    """``name``, the text at ``path``; UTC after telling (LP105) that no time zone is called so."""
    if _is_zone(name):
        return name
    help_ = did_you_mean(closest(name, available_timezones())) or "names look like Europe/Berlin"
    findings.error("LP105", path, f"unknown time zone `{name}`", help_)
    return "UTC"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, not a name at all, a directory of names
        return False
    return True
