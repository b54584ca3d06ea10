"""Everything in a request that would leave as text, with its place in the document; and what nobody can read.

Written for every dialect at once, and the other way round than the readers of ``facts``: every text of the document is
given, whatever it is called, so that a field which a dialect invents tomorrow is read today. Only what cannot be text is
left out: bytes in Base64, which are named as unscanned kinds, and the seals that providers put on their own thoughts.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from llmproxyd.surfaces.gemini_fields import camel
from llmproxyd.values.privacy import Piece, Unread
from llmproxyd.values.request import Request

MAX_DEPTH: Final = 64
"""What lies deeper is not read, and counts as unscanned text: each level costs stack."""

_TURNS: Final = frozenset(
    {
        "messages",
        "contents",
        "content",
        "parts",
        "input",
        "prompt",
        "instructions",
        "system",
        "systemInstruction",
    }
)
"""Where texts that follow one another are one to the model, so that something may be split between two of them."""
_DIALECT_WORDS: Final = frozenset({"type", "role", "status", "object", "cache_control", "ttl"})
_WORD: Final = re.compile(r"[a-z][a-z_]{0,31}")
_SEALS: Final = frozenset({"encrypted_content", "signature", "thoughtSignature", "thought_signature"})

# Ways to attach something, by the block's own type; the second name is the field that must be there as well.
_ATTACHED: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "image_url": ("image", ("image_url",)),
    "input_image": ("image", ("image_url", "file_id")),
    "image": ("image", ("source",)),
    "input_audio": ("audio", ("input_audio",)),
    "file": ("file", ("file",)),
    "input_file": ("file", ("file_id", "file_data", "file_url")),
    "document": ("file", ("source",)),
    "container_upload": ("file", ("file_id",)),
}
_READABLE_SOURCES: Final = frozenset({"text", "content"})
_GEMINI_MEDIA: Final = frozenset({"inlineData", "fileData"})
_MEDIA_KINDS: Final = (("image", "image"), ("video", "image"), ("audio", "audio"))

_BASE64_HEAD: Final = re.compile(r"[A-Za-z0-9+/_-]{32,}={0,2}")
_HEAD_CHARS: Final = 256
_DATA_URL: Final = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_URL_SAFE: Final = str.maketrans("-_", "+/")

_SMALLEST_TOLD: Final = 10**7
_TOLD_DIGITS: Final = 6
_LONG_NAME_CHARS: Final = 64
_MANY_NUMBERS: Final = 16


def pieces_of(request: Request) -> tuple[tuple[Piece, ...], tuple[Unread, ...]]:
    """The texts of a request, in the document's order, and what in it cannot be read. Headers that its dialect passes on
    are texts as well. No place tells what was written there: names that may be anybody's are `*`."""
    walk = _Walk()
    walk.read(request.document, "", "", 0, turn=False)
    for name, value in request.headers.items():
        walk.pieces.append(Piece(f"header {name}", value))
    return tuple(walk.pieces), tuple(walk.unread)


class _Walk(msgspec.Struct):
    pieces: list[Piece] = msgspec.field(default_factory=list)
    unread: list[Unread] = msgspec.field(default_factory=list)
    speaking: bool = False  # the text before belongs to what is said

    def read(self, value: Any, place: str, name: str, depth: int, *, turn: bool) -> None:
        """``name``: the field's own. ``turn``: it belongs to what is said, not to what surrounds it."""
        if depth > MAX_DEPTH:
            self._leave(place, "text")
        elif isinstance(value, str):
            self._text(value, place, name, turn=turn)
        elif isinstance(value, int) and abs(value) >= _SMALLEST_TOLD:
            # A card number is one without quotes too; what is smaller is a setting.
            self.pieces.append(Piece(place, str(value)))
        elif isinstance(value, list):
            self._list(value, place, name, depth, turn=turn)
        elif isinstance(value, dict):
            self._object(value, place, depth, turn=turn)

    def _leave(self, place: str, kind: str) -> None:
        """Note what is not read; once, if it stands in something that has just been noted."""
        last = self.unread[-1] if self.unread else None
        if last is None or last.kind != kind or not place.startswith((f"{last.place}.", f"{last.place}[")):
            self.unread.append(Unread(place, kind))

    def _text(self, text: str, place: str, name: str, *, turn: bool) -> None:
        if name in _DIALECT_WORDS and _WORD.fullmatch(text):
            return
        if is_opaque(text):
            if name not in _SEALS:
                self._leave(place, _kind_of(text[5:]) if text[:5].lower() == "data:" else "file")
            return
        self.pieces.append(Piece(place, text, joined=turn and self.speaking))
        self.speaking = turn

    def _list(self, values: list[Any], place: str, name: str, depth: int, *, turn: bool) -> None:
        if len(values) > _MANY_NUMBERS and all(isinstance(value, int) for value in values):
            self._leave(place, "text")  # token ids: only a model can read them
        for number, value in enumerate(values):
            if name == "images" and isinstance(value, str) and is_opaque(value):
                self._leave(f"{place}[{number}]", "image")
            else:
                self.read(value, f"{place}[{number}]", name, depth + 1, turn=turn)

    def _object(self, row: Mapping[str, Any], place: str, depth: int, *, turn: bool) -> None:
        kind = attached_kind(row)
        if kind is not None:
            self._leave(place, kind)
        media = _declared(row)
        for name, value in row.items():
            shown = name
            if _is_telling(name):
                shown = "*"
                self.pieces.append(Piece(f"{place} (a name in it)".lstrip(), name))
            inner = f"{place}.{shown}" if place else shown
            if media is not None and isinstance(value, str) and is_opaque(value):
                self._leave(inner, media)
            elif not (kind is not None and isinstance(value, str) and is_opaque(value)):
                self.read(value, inner, name, depth + 1, turn=turn or camel(name) in _TURNS)


def attached_kind(row: Mapping[str, Any]) -> str | None:
    """What a block of any dialect attaches: image, audio or file; None if it is no such block, or all of it is text."""
    kind, fields = _ATTACHED.get(str(row.get("type")), ("", ()))
    if any(row.get(name) for name in fields):
        source = row.get("source")
        readable = isinstance(source, dict) and source.get("type") in _READABLE_SOURCES
        return None if readable else kind
    for name in _GEMINI_MEDIA:
        held = next((value for key, value in row.items() if camel(key) == name), None)
        if isinstance(held, dict):
            return _kind_of(_media_type(held))
    return None


def is_opaque(text: str) -> bool:
    """Whether a text is Base64 of bytes that are no text themselves. Judged by its beginning: these may be megabytes."""
    head = text[:_HEAD_CHARS]
    url = _DATA_URL.match(head)
    signs = text[url.end() : url.end() + _HEAD_CHARS] if url else head
    whole = "".join(signs.split())
    if not _BASE64_HEAD.fullmatch(whole) or len(whole) < (32 if url else 128):
        return False
    plain = whole.rstrip("=").translate(_URL_SAFE)
    try:
        raw = binascii.a2b_base64(plain[: len(plain) // 4 * 4])
    except binascii.Error:
        return False
    return not _is_text(raw)


def _is_text(raw: bytes) -> bool:
    text = raw.decode("utf-8", "replace")
    return sum(sign.isprintable() and sign != "\ufffd" for sign in text) >= 0.9 * len(text)


def _declared(row: Mapping[str, Any]) -> str | None:
    """The kind of the bytes beside a media type, or beside a format as audio has it."""
    media_type = _media_type(row)
    if media_type:
        return _kind_of(media_type)
    return "audio" if "data" in row and isinstance(row.get("format"), str) else None


def _media_type(row: Mapping[str, Any]) -> str:
    found = (row.get(name) for name in ("media_type", "mime_type", "mimeType"))
    return next((value for value in found if isinstance(value, str)), "")


def _kind_of(media_type: str) -> str:
    lowered = media_type.lower()
    return next((kind for word, kind in _MEDIA_KINDS if lowered.startswith(word)), "file")


def _is_telling(name: str) -> bool:
    """Names of fields are the dialect's, except in arguments and metadata, where they may be anybody's."""
    return "@" in name or len(name) > _LONG_NAME_CHARS or sum(map(str.isdigit, name)) >= _TOLD_DIGITS
