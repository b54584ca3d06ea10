"""The requests that a configuration can tell apart: finitely many, one to stand for each kind.

Every condition reads a fact that has few values worth telling apart: those the conditions name and one more, the borders
of their ranges and what lies between, present or not. A pattern or a kind of data is there or is not, whatever else is.
Two values for which all conditions say the same are one. The evaluator of conditions is the one that serves requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from math import ceil, floor
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from llmproxyd.routing.match import Facts, compile_condition
from llmproxyd.values.budget import Bound, Objection
from llmproxyd.values.plan import KnownPrompt, Question
from llmproxyd.values.privacy import GROUPS, KINDS, NOTHING_FOUND, Finding, Found, Scan, covers_any
from llmproxyd.values.request import Operation, Priority
from llmproxyd.values.snapshot import (
    Absent,
    AllOf,
    AnyOf,
    Condition,
    Deployment,
    During,
    HasAll,
    Holds,
    Matches,
    Not,
    OneOf,
    Range,
)

ANOTHER = "(another)"
"""A value that no condition names."""
_FLAG = "\0pattern "
_YES = "yes"
_YEAR = 2026

Fact: TypeAlias = tuple[str, str]
"""(name, key); the key of a header or an entry of the metadata, a word of `has`, a kind of data, a pattern."""
Value: TypeAlias = str | float | bool | None
World: TypeAlias = Mapping[Fact, Value]


class Axis(msgspec.Struct, frozen=True):
    """A fact and the values that stand for all others; the first one says the least."""

    fact: Fact
    values: tuple[Value, ...]


class _Purse(msgspec.Struct, frozen=True):
    """A purse with so much left, that objects to nothing."""

    left: float

    def objection(self, deployment: Deployment, bound: Bound) -> Objection | None:
        return None


# --- atoms ------------------------------------------------------------------------------------------------------


def flagged(condition: Condition) -> Condition:
    """The same with each pattern replaced by a flag of its own, which a world sets as it likes."""
    match condition:
        case Matches():
            return OneOf("metadata", (_YES,), _FLAG + _pattern(condition))
        case Not():
            return Not(flagged(condition.condition))
        case AllOf():
            return AllOf(tuple(map(flagged, condition.conditions)))
        case AnyOf():
            return AnyOf(tuple(map(flagged, condition.conditions)))
        case _:
            return condition


def _pattern(condition: Matches) -> str:
    return f"{condition.fact} {condition.pattern}"


def atoms(conditions: Iterable[Condition]) -> Iterator[Condition]:
    """The conditions that hold no others."""
    for condition in conditions:
        match condition:
            case Not():
                yield from atoms((condition.condition,))
            case AllOf() | AnyOf():
                yield from atoms(condition.conditions)
            case _:
                yield condition


def signed(condition: Condition, *, positive: bool = True) -> Iterator[tuple[Condition, bool]]:
    """Each atom, and whether more of it can only make the whole more true."""
    match condition:
        case Not():
            yield from signed(condition.condition, positive=not positive)
        case AllOf() | AnyOf():
            for inner in condition.conditions:
                yield from signed(inner, positive=positive)
        case _:
            yield condition, positive


def reads(atom: Condition, fact: Fact) -> bool:
    """Whether what this atom says can depend on the fact."""
    name, key = fact
    match atom:
        case OneOf() | Absent():
            return (atom.fact, atom.key) == fact
        case Range():
            return atom.fact == name
        case HasAll():
            return name == "has" and key in atom.values
        case Holds():
            return name == "data" and covers_any(atom.kinds, key)
        case _:
            return isinstance(atom, During) and name == "time"


# --- axes -------------------------------------------------------------------------------------------------------


def axes(
    conditions: Iterable[Condition], *, tasks: Iterable[str] = (), own_kinds: Iterable[str] = ()
) -> list[Axis]:
    """What to vary for these conditions (``flagged``), but for the name that is asked for, the operation and the label.

    tasks: others worth telling apart. own_kinds: kinds of data beside those that everybody knows.
    """
    found = list(dict.fromkeys(atoms(conditions)))
    by_fact: dict[Fact, list[Condition]] = {}
    for atom in found:
        if isinstance(atom, OneOf | Range | Absent):
            by_fact.setdefault((atom.fact, getattr(atom, "key", "")), []).append(atom)
    if tasks:
        by_fact.setdefault(("task", ""), []).append(OneOf("task", tuple(sorted(tasks))))
    for fact in (("model", ""), ("operation", ""), ("label", "")):
        by_fact.pop(fact, None)
    made = [_axis(fact, group) for fact, group in by_fact.items()]
    made += [Axis(("has", word), (False, True)) for word in sorted(_words(found))]
    made += [Axis(("data", kind), (False, True)) for kind in _kinds(found, own_kinds)]
    times = [atom for atom in found if isinstance(atom, During)]
    if times:
        made.append(Axis(("time", ""), tuple(_apart(("time", ""), _instants(times), times))))
    return [axis for axis in made if len(axis.values) > 1]


def _axis(fact: Fact, group: Sequence[Condition]) -> Axis:
    named = [value for atom in group if isinstance(atom, OneOf) for value in atom.values]
    borders = [
        border
        for atom in group
        if isinstance(atom, Range)
        for border in (atom.gt, atom.gte, atom.lt, atom.lte)
        if border is not None
    ]
    values = _VALUES.get(fact[0], _texts)(named, borders)
    return Axis(fact, tuple(_apart(fact, values, group)))


def _apart(fact: Fact, values: Iterable[Value], group: Sequence[Condition]) -> Iterator[Value]:
    """The first of those values for which all conditions say the same."""
    tests = [compile_condition(atom) for atom in group]
    seen: set[tuple[bool, ...]] = set()
    for value in values:
        facts = Facts(question_of({fact: value}), 0, "")
        said = tuple(test(facts) for test in tests)
        if said not in seen:
            seen.add(said)
            yield value


def _texts(named: Sequence[Any], borders: Sequence[float]) -> list[Value]:
    return [None, ANOTHER, *named]


def _choices(named: Sequence[Any], borders: Sequence[float]) -> list[Value]:
    return [ANOTHER, *named]


def _priorities(named: Sequence[Any], borders: Sequence[float]) -> list[Value]:
    return [Priority.NORMAL, *Priority]


def _flags(named: Sequence[Any], borders: Sequence[float]) -> list[Value]:
    return [False, True]


def _counts(named: Sequence[Any], borders: Sequence[float]) -> list[Value]:
    near = {number for b in borders for number in (floor(b) - 1, floor(b), ceil(b), ceil(b) + 1)}
    return [*sorted({0, *(float(n) for n in near if n > 0)})]


def _numbers(named: Sequence[Any], borders: Sequence[float]) -> list[Value]:
    points = sorted({0.0, *borders})
    between = [(low + high) / 2 for low, high in pairwise(points)]
    return [None, *sorted(p for p in {*points, *between, points[-1] + 1} if p >= 0)]


_VALUES: Mapping[str, Callable[[Sequence[Any], Sequence[float]], list[Value]]] = {
    "surface": _choices,
    "priority": _priorities,
    "stream": _flags,
    "tokens_in": _counts,
    "n": _numbers,
    "temperature": _numbers,
    "budget_left": _numbers,
}


def _words(found: Iterable[Condition]) -> set[str]:
    return {word for atom in found if isinstance(atom, HasAll) for word in atom.values}


def _kinds(found: Iterable[Condition], own: Iterable[str]) -> list[str]:
    """One kind to stand for all that the conditions do not tell apart."""
    lists = sorted({atom.kinds for atom in found if isinstance(atom, Holds)})
    named = {kind for kinds in lists for kind in kinds if kind not in GROUPS}
    known = sorted(KINDS | named | set(own))
    # What stands for its whole group only is not a kind that anything is found as.
    leaves = [kind for kind in known if not any(other.startswith(kind + ".") for other in known)]
    standing: dict[tuple[bool, ...], str] = {}
    for kind in leaves:
        said = tuple(covers_any(kinds, kind) for kinds in lists)
        if any(said):
            standing.setdefault(said, kind)
    return list(standing.values())


def _instants(times: Sequence[During]) -> list[Value]:
    """Just before, at, and just after every border of every day of a week in each month, Unix seconds."""
    found: set[float] = {datetime(_YEAR, 1, 15, 12, tzinfo=UTC).timestamp()}
    for span in times:
        zone = ZoneInfo(span.zone)
        for month in range(1, 13):
            midnight = datetime(_YEAR, month, 8)
            for day in range(8):
                for minute in (span.start_minute, span.end_minute):
                    at = (midnight + timedelta(days=day, minutes=minute)).replace(tzinfo=zone)
                    found.update(at.timestamp() + more_s for more_s in (-60.0, 0.0, 60.0))
    return [*sorted(found)]


# --- worlds -----------------------------------------------------------------------------------------------------


def count(given: Sequence[Axis]) -> int:
    total = 1
    for axis in given:
        total *= len(axis.values)
    return total


def worlds(given: Sequence[Axis]) -> Iterator[World]:
    """Every combination. The first says the least."""
    facts = [axis.fact for axis in given]
    for values in product(*(axis.values for axis in given)):
        yield dict(zip(facts, values, strict=True))


def question_of(world: World, model: str = "", operation: Operation = Operation.CHAT) -> Question:
    """The request that this world describes: as short as it allows, asking for one token."""
    plain: dict[str, Any] = {n: value for (n, key), value in world.items() if not key and n in _PLAIN}
    metadata = {
        key: value for (name, key), value in world.items() if name == "metadata" and value is not None
    }
    question = Question(
        model,
        operation,
        max_output_tokens=1,
        headers={k: str(v) for (name, k), v in world.items() if name == "header" and v is not None},
        metadata={key: str(value) for key, value in metadata.items()},
        prompt=KnownPrompt(
            tokens_in=int(world.get(("tokens_in", "")) or 0),
            has=frozenset(key for (name, key), value in world.items() if name == "has" and value),
        ),
        scan=_scan(key for (name, key), value in world.items() if name == "data" and value),
        now_s=float(world.get(("time", "")) or 0.0),
    )
    left = world.get(("budget_left", ""))
    purse = None if left is None else _Purse(float(left))
    return replace(question, purse=purse, **plain)


_PLAIN = frozenset(
    {
        "surface",
        "tenant",
        "project",
        "user",
        "task",
        "label",
        "lowered",
        "stream",
        "priority",
        "temperature",
        "n",
    }
)


def _scan(kinds: Iterable[str]) -> Scan:
    found = tuple(Found("", Finding(kind, 0, 0, "")) for kind in kinds)
    return Scan(found) if found else NOTHING_FOUND


def describe(world: World) -> list[str]:
    """What a world says beyond the least, for people: ``data: email``, ``project: hr``."""
    return [_SAY.get(name, _say_value)(name, key, value) for (name, key), value in world.items() if value]


def _say_value(name: str, key: str, value: Value) -> str:
    shown = str(value).lower() if isinstance(value, bool) else value
    return f"{name} {key}: {shown}" if key else f"{name}: {shown}"


def _say_metadata(name: str, key: str, value: Value) -> str:
    if key.startswith(_FLAG):
        fact, _, pattern = key.removeprefix(_FLAG).partition(" ")
        return f"{fact} {'matches' if value == _YES else 'does not match'} {pattern}"
    return _say_value(name, key, value)


def _say_time(name: str, key: str, value: Value) -> str:
    return f"time: {datetime.fromtimestamp(float(value or 0), UTC):%a %Y-%m-%d %H:%M} UTC"


def _say_part(name: str, key: str, value: Value) -> str:
    return f"{name}: {key}"


_SAY: Mapping[str, Callable[[str, str, Value], str]] = {
    "metadata": _say_metadata,
    "time": _say_time,
    "has": _say_part,
    "data": _say_part,
}
