"""Words that stand nowhere else, one for each part of a request; and the search for them in whatever was written."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


def canary(place: str) -> str:
    """The word for one part of a request. Fit for a header, a name, a URL and a base64 text; no detector means it, and
    nothing that takes out keys or addresses."""
    return "Nary" + hashlib.sha256(place.encode()).hexdigest()[:20]


def encodings(word: str) -> dict[str, bytes]:
    """Each way in which it may be written; the plain one is searched in any case of letters, so upper and lower case need
    no entry. A JSON text or a URL may escape any letter, and some do so with all."""
    raw = word.lower().encode()
    forms = {
        "plain": raw,
        "backwards": raw[::-1],
        "hex": word.encode().hex().encode(),
        "JSON escapes": b"".join(b"\\u%04x" % byte for byte in word.encode()).lower(),
        "URL escapes": b"".join(b"%%%02x" % byte for byte in word.encode()),
    }
    for shift in range(3):
        # In base64 a word looks in three ways, as it begins at the first, second or third of three bytes.
        told = base64.b64encode(b"\0" * shift + word.encode() + b"\0" * 3)
        forms[f"base64, shifted by {shift}"] = told[4:32].lower()
    return forms


@dataclass(frozen=True, slots=True)
class Hit:
    place: str
    sink: str
    form: str
    around: str

    def __str__(self) -> str:
        return f"{self.place} in {self.sink} ({self.form}): …{self.around}…"


def search(places: Iterable[str], sinks: Mapping[str, bytes]) -> list[Hit]:
    """Every canary that stands in one of ``sinks`` (name -> all that was written there)."""
    wanted = [(place, encodings(canary(place))) for place in places]
    lowered = {name: written.lower() for name, written in sinks.items()}
    return [hit for sink, written in lowered.items() for hit in _in_one(wanted, sink, written)]


def _in_one(wanted: list[tuple[str, dict[str, bytes]]], sink: str, written: bytes) -> Iterator[Hit]:
    for place, forms in wanted:
        for form, needle in forms.items():
            at = written.find(needle)
            if at >= 0:
                around = written[max(0, at - 150) : at + len(needle) + 60]
                yield Hit(place, sink, form, around.decode("utf-8", "replace"))
