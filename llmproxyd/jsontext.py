"""JSON text <-> values, strictly, and the splice that changes one field and leaves every other byte alone.

msgspec does the work; what it cannot read but JSON allows (lone surrogates in escapes) goes to the standard library.
NaN, Infinity and a byte order mark are refused: two readers of one body must not see two things.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Never

import msgspec

_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

# Some clients split lines at these although JSON allows them raw; escaped they mean the same.
_UNSAFE = (("\u2028", b"\\u2028"), ("\u2029", b"\\u2029"), ("\u0085", b"\\u0085"))
_UNSAFE_BYTES = tuple((char.encode(), escape) for char, escape in _UNSAFE)


class JSONError(ValueError):
    """The text is not JSON, or nested too deeply. The message is fit for a client."""


def _refuse(constant: str) -> Never:
    raise JSONError(f"{constant} is not valid JSON")


def decode(data: bytes | str) -> Any:
    """Text -> value. Raises JSONError."""
    try:
        return _decode(data)
    except msgspec.DecodeError as first:
        try:
            # As text: given bytes, the standard library would guess at other encodings.
            return json.loads(data if isinstance(data, str) else data.decode(), parse_constant=_refuse)
        except JSONError:
            raise
        except RecursionError:
            raise JSONError("nested too deeply") from None
        except UnicodeDecodeError:
            raise JSONError("not valid UTF-8") from None
        except ValueError:
            raise JSONError(str(first)) from None
    except RecursionError:
        raise JSONError("nested too deeply") from None
    except UnicodeDecodeError:
        raise JSONError("not valid UTF-8") from None


def encode(value: Any) -> bytes:
    """Value -> compact UTF-8, with the line separators some clients stumble over escaped."""
    try:
        data = _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
    for raw, escape in _UNSAFE_BYTES:
        if raw in data:
            data = data.replace(raw, escape)
    return data


def splice(body: bytes, fields: Mapping[str, bytes | None]) -> bytes:
    """Put ``fields`` (name -> JSON text; None removes) into the object ``body``; every other value keeps its bytes.

    Raises JSONError if ``body`` is not an object.
    """
    try:
        raw = _decode_raw(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _splice_slowly(body, fields)
    merged: dict[str, Any] = {**raw, **fields}
    return (
        b"{"
        + b",".join(
            _encode(name) + b":" + (value if isinstance(value, bytes) else bytes(value))
            for name, value in merged.items()
            if value is not None
        )
        + b"}"
    )


def _splice_slowly(body: bytes, fields: Mapping[str, bytes | None]) -> bytes:
    document = decode(body)
    if not isinstance(document, dict):
        raise JSONError("expected a JSON object")
    for name, value in fields.items():
        if value is None:
            document.pop(name, None)
        else:
            document[name] = json.loads(value)
    return json.dumps(document, separators=(",", ":")).encode()
