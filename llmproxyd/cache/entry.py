"""One kept answer, and the bytes it is kept as.

A blob is: form (1 byte), packing (1 byte), digest (16 bytes), payload. The digest is keyed with the entry's own key, so
that a torn value, a flipped bit and a value in another entry's place all read as "there is none".
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

import msgspec

from llmproxyd.values.cost import Usage

KEY_BYTES: Final = 32
MAX_BODY_BYTES: Final = 16 << 20
"""A longer answer is not kept: it would push out thousands of others."""
PACKED_ABOVE_BYTES: Final = 4096

_FORM: Final = 1
_PLAIN, _PACKED = 0, 1
_LEVEL: Final = 1
_DIGEST_BYTES: Final = 16
_HEAD_BYTES: Final = 2 + _DIGEST_BYTES
_MAX_PAYLOAD_BYTES: Final = MAX_BODY_BYTES + (1 << 20)


@dataclass(frozen=True, slots=True)
class Cached:
    """An answer as its client got it.

    ``form``: how ``body`` is said, see ``replay.form_of``. ``cost_nanos``: what the call cost, which is what each hit
    saves; None: unknown. ``deployment``: who answered. ``created_s``: Unix seconds. ``warnings``: what a translation
    could not carry; they are as true of every later hit.
    """

    surface: str
    form: str
    content_type: str
    body: bytes = field(repr=False)
    deployment: str
    created_s: float
    status: int = 200
    usage: Usage | None = None
    cost_nanos: int | None = None
    warnings: tuple[str, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Cached).decode


def format_entry(key: bytes, cached: Cached) -> bytes:
    """The blob; long ones are packed. Takes milliseconds for megabytes: not for the event loop."""
    payload, packing = _encode(cached), _PLAIN
    if len(payload) > PACKED_ABOVE_BYTES:
        packed = zlib.compress(payload, _LEVEL)
        if len(packed) < len(payload):
            payload, packing = packed, _PACKED
    return bytes((_FORM, packing)) + _digest(key, packing, payload) + payload


def parse_entry(key: bytes, blob: bytes) -> Cached | None:
    """The answer; None for whatever is not, byte for byte, what ``format_entry`` gave for this key."""
    if len(blob) < _HEAD_BYTES or blob[0] != _FORM:
        return None
    packing, payload = blob[1], blob[_HEAD_BYTES:]
    if not compare_digest(blob[2:_HEAD_BYTES], _digest(key, packing, payload)):
        return None
    try:
        return _decode(_unpack(payload) if packing == _PACKED else payload)
    except (zlib.error, msgspec.DecodeError):
        return None


def _digest(key: bytes, packing: int, payload: bytes) -> bytes:
    return blake2b(payload, digest_size=_DIGEST_BYTES, key=key, salt=bytes((_FORM, packing))).digest()


def _unpack(payload: bytes) -> bytes:
    """Raises zlib.error, also where the text would be longer than any entry is."""
    inflater = zlib.decompressobj()
    text = inflater.decompress(payload, _MAX_PAYLOAD_BYTES)
    if not inflater.eof:
        raise zlib.error("it does not end")
    return text
