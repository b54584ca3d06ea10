"""JSON text taken apart no further than into its strings and what lies between them, so that the rest keeps its form."""

from __future__ import annotations

import re
from typing import Any, Final

from llmproxyd import jsontext

PIECE: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[^"]+', re.DOTALL)
"""A string, quotation marks included, or what stands between two. A text is these pieces, one after the other."""

NUMBER_LITERAL: Final = re.compile(r"-?[0-9][0-9.eE+-]*")
_HALF_A_PAIR: Final = re.compile("[\ud800-\udfff]")


def literal(piece: str) -> str:
    """What a JSON string says; of one that is broken, its letters."""
    if not piece.startswith('"'):
        return piece
    inner = piece[1:-1] if len(piece) > 1 and piece.endswith('"') else piece[1:]
    if "\\" not in inner:
        return inner
    said = decoded(piece)
    return inner if said is None else said


def decoded(text: str) -> str | None:
    """What a JSON string says, quotation marks included; None if it is none."""
    try:
        said = parsed(text)
    except jsontext.JSONError:
        return None
    return said if isinstance(said, str) else None


def parsed(text: str) -> Any:
    """JSON text -> value. Raises JSONError."""
    try:
        return jsontext.decode(text)
    except UnicodeEncodeError:
        # Half a surrogate pair has no UTF-8 form; written as an escape it means the same.
        return jsontext.decode(_HALF_A_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", text))


def is_json(text: str) -> bool:
    """Whether a text is JSON."""
    try:
        parsed(text)
    except jsontext.JSONError:
        return False
    return True


def escaped(text: str) -> str:
    """How JSON writes a text, without the quotation marks."""
    return jsontext.encode(text).decode()[1:-1]


def same_json(one: str, other: str) -> bool:
    """Whether two texts are equal, or mean the same as JSON."""
    if one == other:
        return True
    try:
        return bool(parsed(one) == parsed(other))
    except jsontext.JSONError:
        return False
