"""The disguises that the detectors promise to see through, each done in another way than in the first family."""

import base64
import json
import re
from collections.abc import Callable
from random import Random
from urllib.parse import quote

from bench.privacy.heldout.documents import document
from bench.privacy.heldout.numbers import Number

WIDTHLESS = "\u200b\u200e\u2061\u2062\u2063\u2064\u180e\ufe0f\u061c"
# Cyrillic, Greek and Armenian letters as a reader would take them for ours.
LIKE = {"A": "Α", "B": "В", "C": "С", "E": "Ε", "H": "Η", "I": "І", "J": "Ј", "K": "Κ", "M": "Μ", "N": "Ν", "O": "О", "P": "Р", "S": "Ѕ",
        "T": "Τ", "X": "Χ", "Y": "Υ", "Z": "Ζ", "a": "а", "c": "с", "d": "ԁ", "e": "е", "h": "һ", "i": "і", "j": "ј", "l": "ӏ", "o": "ο",
        "p": "р", "q": "ԛ", "s": "ѕ", "u": "ս", "v": "ν", "w": "ԝ", "x": "х", "y": "у"}  # fmt: skip


def without_width(number: Number, rng: Random) -> tuple[str, ...]:
    text = number.text
    for _ in range(3):
        at = rng.randint(1, len(text) - 1)
        text = text[:at] + rng.choice(WIDTHLESS) + text[at:]
    return (document(number, rng, text)[1],)


def alike(number: Number, rng: Random) -> tuple[str, ...]:
    places = [at for at, sign in enumerate(number.text) if sign in LIKE]
    swapped = set(rng.sample(places, min(len(places), 2)))
    return (
        document(
            number, rng, "".join(LIKE[sign] if at in swapped else sign for at, sign in enumerate(number.text))
        )[1],
    )


def other_digits(number: Number, rng: Random) -> tuple[str, ...]:
    """Mathematical, Arabic, Persian, Devanagari and full-width digits; all have a decimal value in Unicode."""
    zero = rng.choice((0x1D7CE, 0x1D7E2, 0x1D7F6, 0x0660, 0x06F0, 0x0966, 0xFF10))
    text = "".join(chr(zero + int(sign)) if sign in "0123456789" else sign for sign in number.text)
    return (document(number, rng, text)[1],)


def apart(number: Number, rng: Random) -> tuple[str, ...]:
    """Every digit alone, with one of several signs between them; always with a word that says what it is."""
    gap = rng.choice((" ", "  ", "\u2009", "\u00a0", "-", ".", " - "))
    signs = [sign for sign in number.text if sign.isalnum()]
    named = Number(number.kind, number.text, named=True)
    return (document(named, rng, ("+" if number.text.startswith("+") else "") + gap.join(signs))[1],)


def encoded(number: Number, rng: Random) -> tuple[str, ...]:
    raw = document(number, rng)[1].encode()
    text = rng.choice((base64.encodebytes(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")))
    return (f"data: {text}\nWhat is this?",)


def as_bytes(number: Number, rng: Random) -> tuple[str, ...]:
    raw = document(number, rng)[1].encode()
    return (
        rng.choice(
            (raw.hex(" "), raw.hex(":"), raw.hex().upper(), "".join(f"\\x{byte:02x}" for byte in raw))
        ),
    )


def in_address(number: Number, rng: Random) -> tuple[str, ...]:
    once = quote(document(number, rng)[1], safe="")
    as_form = re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), once).replace("%20", "+")
    return (f"https://track.test/c?u={rng.choice((once, quote(once, safe=''), as_form))}#top",)


def in_strings(number: Number, rng: Random) -> tuple[str, ...]:
    text: object = document(number, rng)[1]
    for _ in range(3):
        text = json.dumps({rng.choice(("body", "raw", "input")): text}, ensure_ascii=rng.random() < 0.5)
    return (str(text),)


def as_references(number: Number, rng: Random) -> tuple[str, ...]:
    form = rng.choice(("&#{};", "&#x{:x};"))
    return (document(number, rng, "".join(form.format(ord(sign)) for sign in number.text))[1],)


def in_three(number: Number, rng: Random) -> tuple[str, ...]:
    text = document(number, rng)[1]
    at = text.find(number.text)
    if at < 0 or len(number.text) < 3:
        return (text,)
    first, second = sorted(rng.sample(range(1, len(number.text)), 2))
    return text[: at + first], text[at + first : at + second], text[at + second :]


DISGUISES: dict[str, Callable[[Number, Random], tuple[str, ...]]] = {
    "no width": without_width,
    "look-alikes": alike,
    "other digits": other_digits,
    "digits apart": apart,
    "base64": encoded,
    "bytes": as_bytes,
    "url": in_address,
    "json thrice": in_strings,
    "html references": as_references,
    "three parts": in_three,
}
SPELT = ("payment_card", "iban", "national_id", "phone")


def applies(disguise: str, kind: str) -> bool:
    """Numbers with letters and digits are read out; keys, addresses and records are not. Cards and accounts have no word."""
    return disguise != "digits apart" or kind.startswith(SPELT)
