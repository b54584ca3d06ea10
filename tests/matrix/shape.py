"""Does a JSON document have the shape an SDK's type promises? Unknown keys count as faults.

The SDKs read leniently and write what they are given, and pydantic checks ``Iterable`` fields only when somebody walks
them, so the type hints are walked here: TypedDicts (OpenAI, Anthropic) and pydantic models (Google, Cohere, Ollama).
"""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Any

import pydantic
import typing_extensions

_LISTS = (list, collections.abc.Iterable, collections.abc.Sequence)
_REQUIRED: Any = typing_extensions.Required
_WRAPPERS = (typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly)
_SCALARS: dict[Any, tuple[type, ...]] = {
    str: (str,), int: (int,), float: (int, float), bool: (bool,), bytes: (str,), type(None): (type(None),), None: (type(None),),
}  # fmt: skip
_MAX_FAULTS = 6


def check(hint: Any, value: Any) -> None:
    """Raises AssertionError naming the places where ``value``, decoded JSON, is not what ``hint`` says."""
    faults = list(find_faults(hint, value, "$"))
    assert not faults, "\n".join(faults[:_MAX_FAULTS])


def find_faults(hint: Any, value: Any, path: str) -> Iterator[str]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in _WRAPPERS or origin is typing.Annotated:
        yield from find_faults(args[0], value, path)
    elif origin is typing.Literal:
        if value not in args:
            yield f"{path}: {value!r} is none of {args}"
    elif origin in (typing.Union, types.UnionType):
        yield from _union_faults(args, value, path)
    elif typing_extensions.is_typeddict(hint):
        fields, required = _typed_dict_fields(hint)
        yield from _object_faults(hint.__name__, fields, required, value, path)
    elif isinstance(hint, type) and issubclass(hint, pydantic.BaseModel):
        fields, required = _model_fields(hint)
        yield from _object_faults(hint.__name__, fields, required, value, path)
    elif origin in (dict, collections.abc.Mapping):
        yield from _mapping_faults(args[1], value, path)
    elif origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr":
        yield from _list_faults(args[0], value, path)
    else:
        yield from _scalar_faults(hint, value, path)


def _union_faults(options: tuple[Any, ...], value: Any, path: str) -> Iterator[str]:
    """The faults of the option that comes closest: it is the one that was meant."""
    found = []
    for option in options:
        faults = list(find_faults(option, value, path))
        if not faults:
            return
        found.append(faults)
    # A fault further inside means that more of the option fitted.
    yield from max(found, key=lambda faults: (max(fault.count(".") for fault in faults), -len(faults)))


def _object_faults(
    name: str, fields: dict[str, Any], required: frozenset[str], value: Any, path: str
) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {name} is an object, not {value!r:.60}"
        return
    yield from (f"{path}: {name} needs {key!r}" for key in sorted(required - value.keys()))
    for key, item in value.items():
        if key in fields:
            yield from find_faults(fields[key], item, f"{path}.{key}")
        else:
            yield f"{path}.{key}: {name} has no such field"


def _mapping_faults(hint: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: an object is expected, not {value!r:.60}"
        return
    for key, item in value.items():
        yield from find_faults(hint, item, f"{path}.{key}")


def _list_faults(hint: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: an array is expected, not {value!r:.60}"
        return
    for index, item in enumerate(value):
        yield from find_faults(hint, item, f"{path}[{index}]")


def _scalar_faults(hint: Any, value: Any, path: str) -> Iterator[str]:
    if hint in (Any, object) or isinstance(hint, (typing.TypeVar, typing.ForwardRef, str)):
        return
    if isinstance(hint, type) and issubclass(hint, Enum):
        if value not in [member.value for member in hint]:
            yield f"{path}: {value!r} is no {hint.__name__}"
        return
    wanted = _SCALARS.get(hint, (hint,) if isinstance(hint, type) else ())
    if not isinstance(value, wanted) or (
        isinstance(value, bool) and bool not in wanted and wanted != (object,)
    ):
        yield f"{path}: {hint} is expected, not {value!r:.60}"


@cache
def _typed_dict_fields(hint: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Fields, and those that must be there: ``__required_keys__`` is wrong where annotations are postponed."""
    fields = typing_extensions.get_type_hints(hint, include_extras=True)
    marked = {name for name, kind in fields.items() if typing.get_origin(kind) == _REQUIRED}
    return fields, frozenset(marked)


@cache
def _model_fields(hint: type[pydantic.BaseModel]) -> tuple[dict[str, Any], frozenset[str]]:
    """Fields by the names they have on the wire, and those that must be there."""
    named = {_wire_name(name, field): field for name, field in hint.model_fields.items()}
    required = frozenset(name for name, field in named.items() if field.is_required())
    # Google reads both spellings, and its own SDK writes both.
    both = named | hint.model_fields if hint.model_config.get("populate_by_name") else named
    return {name: field.annotation for name, field in both.items()}, required


def _wire_name(name: str, field: Any) -> str:
    alias = field.serialization_alias or field.alias
    if alias:
        return str(alias)
    # Cohere's models keep the wire's name in an annotation of their own.
    return next((mark.alias for mark in field.metadata if hasattr(mark, "alias")), name)
