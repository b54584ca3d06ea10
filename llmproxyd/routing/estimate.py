"""How many tokens a text has, about: for routing and admission, never for billing.

A tokenizer needs tens of megabytes for each vocabulary. This counts classes of bytes, and the few pairs of classes that
show where words, indents and random strings begin, and adds their weights.

Measured against the o200k vocabulary on 838 pieces of up to 8 KB, prose in 30 languages, code, markup, JSON, logs,
tables, base64: mean absolute error 10 %, 95 % of pieces within 25 %, the worst 41 %. By kind: English +5 %, Python
+6 %, JSON -3 %, logs -1 %, base64 -4 %, German -5 % (letters and stories +15 %), Russian +3 % (+16 %), French -3 %
(+12 %), Chinese -3 % simplified and -22 % traditional, Japanese -2 %, Thai -22 %. The weights were fitted to the same
pieces; six texts that were not among them came out between -4 % and +28 %. Other vocabularies differ by as much again.
"""

from __future__ import annotations

from collections.abc import Mapping

SAMPLED_ABOVE_CHARS = 65_536
"""Longer texts are judged by evenly spread samples, so that the time is bounded whatever a client sends."""

_SAMPLES = 16
_SAMPLE_CHARS = 4_096

_ASCII_CLASSES: Mapping[bytes, str] = {
    b"l": "abcdefghijklmnopqrstuvwxyz",
    b"U": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"d": "0123456789",
    b"s": " \t",
    b"n": "\n\r",
}
_OTHER_ASCII = b"p"
# First bytes of UTF-8 sequences, by the script they begin; continuation bytes weigh nothing.
_LEAD_CLASSES: tuple[tuple[int, int, bytes], ...] = (
    (0x80, 0xBF, b"c"),
    (0xC0, 0xCD, b"y"),  # Latin beyond ASCII, IPA, combining marks
    (0xC3, 0xC3, b"x"),  # Western European letters
    (0xCE, 0xCF, b"G"),  # Greek
    (0xD0, 0xD3, b"r"),  # Cyrillic
    (0xD4, 0xD7, b"h"),  # Armenian, Hebrew
    (0xD8, 0xDF, b"a"),  # Arabic
    (0xE0, 0xE0, b"i"),  # Indic scripts, Thai
    (0xE1, 0xE1, b"v"),  # Vietnamese letters, Georgian, Khmer
    (0xE2, 0xE2, b"q"),  # punctuation, symbols
    (0xE3, 0xE3, b"k"),  # kana, ideographic punctuation
    (0xE4, 0xE9, b"z"),  # Chinese characters
    (0xEA, 0xED, b"g"),  # Hangul
    (0xEE, 0xEF, b"q"),  # private use, full-width forms
    (0xF0, 0xFF, b"e"),  # emoji, rare characters
)

_ASCII_WEIGHTS: tuple[tuple[bytes, float], ...] = (
    (b"l", 0.25),
    (b"U", 0.23),
    (b"d", 0.85),
    (b"p", 0.15),
    (b"n", 0.25),
    (b"s", 0.105),
    (b"sl", -0.18),  # a space and the word after it are one token
    (b"pl", 0.515),  # punctuation begins a new one
    (b"lU", 1.46),  # camelCase, base64
    (b"ps", 1.145),
    (b"Ud", 1.2),
)
_LEAD_WEIGHTS: tuple[tuple[bytes, float], ...] = (
    (b"x", 0.99),
    (b"y", 1.31),
    (b"G", 0.425),
    (b"r", 0.29),
    (b"h", 0.455),
    (b"a", 0.355),
    (b"i", 0.37),
    (b"v", 0.21),
    (b"q", 0.625),
    (b"k", 0.72),
    (b"z", 0.825),
    (b"g", 0.74),
    (b"e", 1.5),
)


def _class_table() -> bytes:
    table = bytearray(_OTHER_ASCII * 256)
    for name, characters in _ASCII_CLASSES.items():
        for character in characters:
            table[ord(character)] = name[0]
    for first, last, name in _LEAD_CLASSES:
        table[first : last + 1] = name * (last + 1 - first)
    return bytes(table)


_CLASS_OF = _class_table()


def estimate_tokens(text: str) -> int:
    """About how many tokens ``text`` has: 0 for none, else at least 1 and at most its bytes in UTF-8.

    18 µs for 2 KB of ASCII, about 2 ms at most for any length. Raises nothing; half a surrogate pair counts
    as one character.
    """
    if not text:
        return 0
    if len(text) <= SAMPLED_ABOVE_CHARS:
        return _count(text)
    stride = (len(text) - _SAMPLE_CHARS) // (_SAMPLES - 1)
    sample = "".join(text[i * stride : i * stride + _SAMPLE_CHARS] for i in range(_SAMPLES))
    return _count(sample) * len(text) // len(sample)


def _count(text: str) -> int:
    data = text.encode("utf-8", "replace")
    classes = data.translate(_CLASS_OF)
    count = classes.count
    total = 0.0
    for pattern, weight in _ASCII_WEIGHTS:
        total += count(pattern) * weight
    if len(data) > len(text):
        for pattern, weight in _LEAD_WEIGHTS:
            total += count(pattern) * weight
    return min(max(1, round(total)), len(data))
