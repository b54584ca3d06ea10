"""Reads single fields of a client's JSON, and refuses wrong ones in the words OpenAI's users know.

Null counts as absent everywhere: the official clients send it for what was left out.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Document

MAX_MODEL_CHARS = 256

_TYPE_NAMES: Mapping[type, str] = {
    bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array", dict: "an object",
    type(None): "null",
}  # fmt: skip


def decode_body(body: bytes) -> dict[str, Any]:
    """The request's JSON object. Raises BadRequest."""
    # Readers disagree on a byte order mark, and NUL bytes this early are another encoding.
    if body.startswith(codecs.BOM_UTF8) or b"\0" in body[:4]:
        raise BadRequest("The JSON body of your request must be UTF-8 without a byte order mark.")
    try:
        document = jsontext.decode(body)
    except jsontext.JSONError as error:
        raise BadRequest(f"We could not parse the JSON body of your request: {error}.") from None
    if not isinstance(document, dict):
        raise BadRequest(f"The body of your request must be a JSON object, but it is {_name_of(document)}.")
    return document


def missing(param: str) -> BadRequest:
    return BadRequest(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def wrong_type(param: str, expected: str, got: Any) -> BadRequest:
    return BadRequest(
        f"Invalid type for '{param}': expected {expected}, but got {_name_of(got)} instead.",
        param=param,
        code="invalid_type",
    )


def wrong_value(param: str, got: object, supported: str) -> BadRequest:
    """``got`` is shown only if it is short: it is the caller's own, but a message is no place for a document."""
    shown = f": '{got}'" if isinstance(got, str) and len(got) <= 64 else ""
    return BadRequest(f"Invalid value for '{param}'{shown}. {supported}", param=param, code="invalid_value")


def empty(param: str) -> BadRequest:
    return BadRequest(
        f"Invalid '{param}': empty. Expected at least one item.", param=param, code="empty_array"
    )


def read_model(document: Document) -> str:
    model = document.get("model")
    if model is None:
        raise missing("model")
    if not isinstance(model, str):
        raise wrong_type("model", "a string", model)
    if not model.strip() or len(model) > MAX_MODEL_CHARS:
        raise wrong_value("model", "", f"Expected a name of 1 to {MAX_MODEL_CHARS} characters.")
    return model


def read_bool(document: Document, name: str, where: str = "") -> bool | None:
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(where + name, "a boolean", value)
    return value


def read_int(document: Document, name: str, *, low: int | None = None, high: int | None = None) -> int | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "an integer", value)
    if low is not None and value < low:
        raise _out_of_range(
            name, f"integer below minimum value. Expected a value >= {low}", "below_min", value
        )
    if high is not None and value > high:
        raise _out_of_range(
            name, f"integer above maximum value. Expected a value <= {high}", "above_max", value
        )
    return value


def _out_of_range(name: str, what: str, code: str, value: int) -> BadRequest:
    # A number with more digits than anyone meant is not repeated.
    got = f", but got {value} instead" if abs(value) < 10**18 else ""
    return BadRequest(f"Invalid '{name}': {what}{got}.", param=name, code=f"integer_{code}_value")


def read_number(document: Document, name: str) -> float | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type(name, "a decimal", value)
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong_value(name, "", "Expected a finite number.")
    return value


def read_text(document: Document, name: str, where: str = "") -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong_type(where + name, "a string", value)
    return value


def need_text(document: Document, name: str, where: str = "") -> str:
    value = read_text(document, name, where)
    if value is None:
        raise missing(where + name)
    return value


def read_object(document: Document, name: str, where: str = "") -> dict[str, Any] | None:
    value = document.get(name)
    if value is not None and not isinstance(value, dict):
        raise wrong_type(where + name, "an object", value)
    return value


def need_object(document: Document, name: str, where: str = "") -> dict[str, Any]:
    value = read_object(document, name, where)
    if value is None:
        raise missing(where + name)
    return value


def read_objects(document: Document, name: str, where: str = "") -> list[dict[str, Any]]:
    """A list of objects; empty where it is absent."""
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong_type(where + name, "an array of objects", value)
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise wrong_type(f"{where}{name}[{index}]", "an object", item)
    return value


def read_metadata(document: Document) -> dict[str, str]:
    metadata = read_object(document, "metadata") or {}
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{key[:64]}", "a string", value)
    return metadata


def read_wants_usage(document: Document) -> bool:
    """Whether a stream is to end with a usage frame."""
    options = read_object(document, "stream_options")
    return bool(options and read_bool(options, "include_usage", "stream_options."))


def _name_of(value: object) -> str:
    return _TYPE_NAMES.get(type(value), "something else")
