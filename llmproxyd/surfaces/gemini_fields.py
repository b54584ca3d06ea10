"""Reads the fields of a Gemini client's JSON, under either spelling, and refuses wrong ones in Google's words.

Google's servers read proto JSON: ``camelCase`` and ``snake_case`` name the same field at every level, null counts as
absent, a single object may stand for a list of one, and whole numbers may come as text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.values.contracts import BadRequest

_SNAKE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
_WHOLE = re.compile(r"-?\d{1,19}")


class Fields:
    """One JSON object of a request. ``where`` names it to the client, e.g. ``contents[2].parts[0]``; empty at the top.

    Raises BadRequest naming the field whenever one is not what it must be.
    """

    __slots__ = ("_values", "where")

    def __init__(self, document: Mapping[str, Any], where: str = "") -> None:
        self.where = where
        self._values: dict[str, Any] = {}
        for name, value in document.items():
            known = camel(name)
            # Whoever reads the other one of the two would see another request.
            if known in self._values:
                raise BadRequest(
                    f"Invalid value at '{self.path(known)}': the field is given twice.",
                    param=self.path(known),
                )
            self._values[known] = value

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def need_text(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise BadRequest(f"{self.path(name)} must not be empty.", param=self.path(name))
        return value

    def boolean(self, name: str) -> bool | None:
        value = self._values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def number(self, name: str) -> float | None:
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._wrong(name, "a number")
        return value

    def integer(self, name: str, *, low: int | None = None, high: int | None = None) -> int | None:
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, "a whole number")
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"between {low} and {high}"
            raise self._wrong(name, f"a whole number, {bounds}")
        return value

    def object(self, name: str) -> Fields | None:
        value = self.mapping(name)
        return None if value is None else Fields(value, self.path(name))

    def mapping(self, name: str) -> dict[str, Any] | None:
        """An object whose names are the caller's own: arguments, schemas, labels."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return value

    def objects(self, name: str) -> list[Fields]:
        """A list of objects; empty where it is absent."""
        value = self._values.get(name)
        if value is None:
            return []
        if isinstance(value, dict):
            return [Fields(value, self.path(name))]
        if not isinstance(value, list):
            raise self._wrong(name, "a list of objects")
        return [self._item(name, index, item) for index, item in enumerate(value)]

    def _item(self, name: str, index: int, item: Any) -> Fields:
        where = f"{self.path(name)}[{index}]"
        if not isinstance(item, dict):
            raise BadRequest(f"Invalid value at '{where}': expected an object.", param=where)
        return Fields(item, where)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._values.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name, "a list of strings")
        return tuple(value)

    def choice(self, name: str, values: Mapping[str, Any] | tuple[str, ...]) -> str | None:
        """One word of an enumeration, in capitals. Google's "unspecified" counts as absent."""
        value = self.text(name)
        if value is None or value.upper().endswith("UNSPECIFIED"):
            return None
        if value.upper() not in values:
            raise self._wrong(name, f"one of {', '.join(values)}")
        return value.upper()

    def others(self, *known: str) -> dict[str, Any]:
        """What is given beside ``known``, as it came."""
        return {
            name: value for name, value in self._values.items() if name not in known and value is not None
        }

    def refuse(self, name: str, why: str) -> BadRequest:
        """A field that is fine as such, but that nobody but Google could serve."""
        return BadRequest(
            f"'{self.path(name)}' cannot be carried to the chosen model: {why}.", param=self.path(name)
        )

    def _wrong(self, name: str, expected: str) -> BadRequest:
        return BadRequest(
            f"Invalid value at '{self.path(name)}': expected {expected}.", param=self.path(name)
        )


def camel(name: str) -> str:
    """``inline_data`` -> ``inlineData``; a name that is not in snake case stays as it is."""
    if "_" not in name or not _SNAKE.fullmatch(name):
        return name
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def decode_body(body: bytes) -> dict[str, Any]:
    """The request's JSON object. Raises BadRequest."""
    try:
        document = jsontext.decode(body)
    except jsontext.JSONError as error:
        raise BadRequest(f"Invalid JSON payload received: {error}.") from None
    if not isinstance(document, dict):
        raise BadRequest("Invalid JSON payload received: the body must be an object.")
    return document
