"""A path into a document -> words for a reader: ``provider `openai` ``, ``rule `cheapest first` ``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_ANY: Final = None
"""Stands for any step of a path."""

_NAMED: Final[tuple[tuple[tuple[str | None, ...], str], ...]] = (
    (("providers", _ANY, "models", _ANY), "model"),
    (("providers", _ANY), "provider"),
    (("pipeline", _ANY, _ANY), "rule"),
    (("pipeline", _ANY), "stage"),
    (("models", _ANY), "name"),
    (("tenants", _ANY), "tenant"),
    (("budgets", _ANY), "budget"),
)
"""Path -> what stands there, longest first. Steps below are told as a dotted path behind it."""

_NAME_KEYS: Final = ("name", "id")


def describe(path: Path, data: object) -> str:
    """What stands at ``path`` of ``data``: its kind and name if it is a known place, else its dotted path."""
    if not path:
        return "the file"
    for shape, kind in _NAMED:
        here, below = path[: len(shape)], path[len(shape) :]
        name = _name(here, data) if _fits(path, shape) else None
        if name is not None and not (below and isinstance(below[0], int)):
            return f"`{dotted(below)}` of {kind} `{name}`" if below else f"{kind} `{name}`"
    return f"`{dotted(path)}`"


def dotted(path: Path) -> str:
    """``("pipeline", "cost", 0, "when")`` -> ``pipeline.cost[0].when``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def look_up(path: Path, data: object) -> Any:
    """The value at ``path``; None where the path leads nowhere."""
    for step in path:
        if not isinstance(data, dict | list):
            return None
        try:
            data = data[step]  # type: ignore[index]  # the wrong kind of step is a TypeError
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _fits(path: Path, shape: tuple[str | None, ...]) -> bool:
    return len(path) >= len(shape) and all(
        expected is _ANY or step == expected for step, expected in zip(path, shape, strict=False)
    )


def _name(path: Path, data: object) -> str | None:
    """A key is a name already; an item of a list goes by its own, if it has one."""
    last = path[-1]
    if isinstance(last, str):
        return last
    value = look_up(path, data)
    if isinstance(value, str):
        return value
    named = (
        value[key] for key in _NAME_KEYS if isinstance(value, Mapping) and isinstance(value.get(key), str)
    )
    return next(named, None)
