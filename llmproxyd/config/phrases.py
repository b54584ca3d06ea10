"""Values and expectations in words: ``integer >= 1``, ``string "8"``, ``remove the quotes: `priority: 8` ``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from llmproxyd.config.scalars import resolve_plain

_KIND_NAMES: Final = {"object": "mapping", "array": "list", "null": "nothing"}
_PYTHON_KINDS: Final[dict[str, tuple[type, ...]]] = {"integer": (int,), "number": (int, float)}
_BOOLEANS: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_PLAIN_TEXT: Final = re.compile(r"[^\W_][\w./:%+ -]*(?<![: ])|\$\{[^{}]+\}")
_MAX_WORDS: Final = 8
_MAX_SHOWN: Final = 40


def kind_of(value: object) -> str:
    """``string``, ``integer``, ``number``, ``boolean``, ``list``, ``mapping`` or ``nothing``."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "boolean"
    names = ((str, "string"), (int, "integer"), (float, "number"), (list, "list"))
    return next((name for kind, name in names if isinstance(value, kind)), "mapping")


def json_types(schema: Mapping[str, Any]) -> list[str]:
    """The types a schema takes, in JSON Schema's words; empty if it does not say."""
    types = schema.get("type", [])
    return list(types) if isinstance(types, list) else [types]


def expected_kind(schema: Mapping[str, Any]) -> str:
    """What a schema takes: ``integer >= 1``, ``string or list``."""
    if "const" in schema or "enum" in schema:
        words = schema.get("enum", [schema.get("const")])
        return listed([f"`{inline(word)}`" for word in words[:_MAX_WORDS]], "or")
    bounds = _bounds(schema)
    names = [_KIND_NAMES.get(kind, kind) for kind in json_types(schema)]
    kinds = [f"{name} {bounds}" if bounds and name in ("integer", "number") else name for name in names]
    said = [kind for kind in kinds if kind != "nothing"] or kinds
    return listed(said, "or") or "another value"


def expected_number(schema: Mapping[str, Any]) -> str:
    """As ``expected_kind``, for a value that is a number and out of range."""
    kinds = [kind for kind in json_types(schema) if kind in ("integer", "number")] or ["number"]
    return expected_kind({**schema, "type": kinds})


def inline(value: object) -> str:
    """A value on one line as YAML, quoted only where it must be."""
    if isinstance(value, str):
        bare = _PLAIN_TEXT.fullmatch(value) and resolve_plain(value) == value and ": " not in value
        return value if bare else json.dumps(value, ensure_ascii=not value.isprintable())
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(inline, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def clip(text: str) -> str:
    """At most 40 characters, for values quoted in a message."""
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def listed(parts: Iterable[str], word: str) -> str:
    """``a, b or c``; repeats are dropped."""
    *most, last = dict.fromkeys(parts) or ("",)
    return f"{', '.join(most)} {word} {last}" if most else last


def with_article(noun: str) -> str:
    """``a list``, ``an integer``."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def counted(number: int, singular: str) -> str:
    """``1 entry``, ``2 entries``, ``3 keys``."""
    plural = f"{singular[:-1]}ies" if singular == "entry" else f"{singular}s"
    return f"{number:,} {singular if number == 1 else plural}"


def first_sentence(text: str) -> str:
    """Without its full stop."""
    return re.split(r"(?<=[^.]{3})\.\s|\n", text.strip(), maxsplit=1)[0].rstrip(". ")


def how_to_write(key: str, value: object, kinds: Sequence[str], *, quoted: bool) -> str:
    """What to write instead of a value of the wrong type; empty if there is no telling. ``kinds``: JSON types."""
    if value is None:
        return f"give `{key}` a value, or delete the line"
    if isinstance(value, str):
        meant = _meant_by(value, kinds)
        if meant is not None:
            return f"{'remove the quotes' if quoted else 'write it as'}: `{key}: {meant}`"
    if "string" in kinds and isinstance(value, bool | int | float):
        return f'put it in quotes: `{key}: "{inline(value)}"`'
    if "array" in kinds and not isinstance(value, dict):
        return f"write a list: `{key}: [{clip(inline(value))}]`"
    return ""


def _meant_by(text: str, kinds: Sequence[str]) -> str | None:
    """The number or boolean that a text would be without its quotes, separators or old spelling."""
    plain = resolve_plain(text.strip().replace("_", ""))
    for kind in kinds:
        if kind in _PYTHON_KINDS and isinstance(plain, _PYTHON_KINDS[kind]) and not isinstance(plain, bool):
            return inline(plain)
        if kind == "boolean":
            return inline(plain) if isinstance(plain, bool) else _BOOLEANS.get(text.strip().lower())
    return None


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"from {low} to {high}"
    signs = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
    return " and ".join(f"{sign} {schema[bound]}" for bound, sign in signs if bound in schema)
