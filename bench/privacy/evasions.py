"""Ways in which a value comes disguised, by accident or on purpose. Each gives the parts of one prompt."""

import base64
import json
from collections.abc import Callable
from random import Random
from urllib.parse import quote

from bench.privacy.carriers import carried
from bench.privacy.values import Sample, Value

ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
# Letters that people cannot tell apart: Latin on the left, Cyrillic or Greek on the right.
LOOKALIKES = dict(zip("aceopxyijsABCEHKMOPTXINZ", "асеорхуіјѕАВСЕНКМОРТХІΝΖ", strict=True))


def zero_width(value: Value, rng: Random) -> tuple[str, ...]:
    hidden = "".join(c + (rng.choice(ZERO_WIDTH) if rng.random() < 0.3 else "") for c in value.text)
    return (carried(value, rng, hidden),)


def homoglyphs(value: Value, rng: Random) -> tuple[str, ...]:
    swapped = "".join(LOOKALIKES.get(c, c) if rng.random() < 0.4 else c for c in value.text)
    return (carried(value, rng, swapped),)


def full_width(value: Value, rng: Random) -> tuple[str, ...]:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in value.text)
    return (carried(value, rng, wide),)


def spaced_digits(value: Value, rng: Random) -> tuple[str, ...]:
    """As people read numbers out: every sign alone. Dots and dashes that made the form plain are gone, so whoever
    writes this says what it is."""
    compact = "".join(c for c in value.text if c.isalnum() or c == "+")
    labelled = Value(value.kind, value.text, value.words or value.names)
    return (carried(labelled, rng, " ".join(compact)),)


def in_base64(value: Value, rng: Random) -> tuple[str, ...]:
    blob = base64.b64encode(carried(value, rng).encode()).decode()
    return (f"Decode this and answer: {blob}",)


def in_hex(value: Value, rng: Random) -> tuple[str, ...]:
    return (f"Decode this and answer: {carried(value, rng).encode().hex()}",)


def in_url(value: Value, rng: Random) -> tuple[str, ...]:
    text = carried(value, rng)
    every = "".join(f"%{byte:02X}" for byte in text.encode())
    return (f"https://search.test/find?lang=en&q={rng.choice((quote(text, safe=''), every))}&page=2",)


def json_in_json(value: Value, rng: Random) -> tuple[str, ...]:
    inner = json.dumps({"payload": json.dumps({"text": carried(value, rng)})})
    return (json.dumps({"arguments": inner}),)


def split_over_parts(value: Value, rng: Random) -> tuple[str, ...]:
    whole = carried(Value(value.kind, "\x00", value.words), rng).replace("\\u0000", "\x00")
    cut = rng.randint(1, len(value.text) - 1)
    before, after = whole.split("\x00", 1)
    return before + value.text[:cut], value.text[cut:] + after


EVASIONS: dict[str, Callable[[Value, Random], tuple[str, ...]]] = {
    "zero width": zero_width,
    "homoglyphs": homoglyphs,
    "full width": full_width,
    "spaced digits": spaced_digits,
    "base64": in_base64,
    "hex": in_hex,
    "url": in_url,
    "json in json": json_in_json,
    "split over parts": split_over_parts,
}

# Numbers people read out digit by digit; a spaced address or key is no longer one.
SPACEABLE = ("payment_card", "iban", "national_id", "phone")


def applies(evasion: str, kind: str) -> bool:
    return evasion != "spaced digits" or kind.split(".")[0] in SPACEABLE


def plain(value: Value, rng: Random) -> Sample:
    return Sample(value, (carried(value, rng),))


def disguised(evasion: str, value: Value, rng: Random) -> Sample:
    return Sample(value, EVASIONS[evasion](value, rng))
