"""Texts in plain form, so that a detector meets one spelling of what people and programs write in many.

In this order: compatibility forms (NFKC), digits of other scripts, what has no width; letters of other alphabets that look
like ours, in words that hold ours as well; escapes of URLs, JSON, programs and HTML, several times over; blanks between
single digits. Text without any of these is left as it is, at the price of looking.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote_to_bytes

import re2

from llmproxyd.detect.view import Cut, View

_ROUNDS = 3
"""How often escapes are undone: a URL in a URL in a JSON text."""

_FOREIGN = re.compile(r"[^\x00-\x7f]")
_OURS = re.compile(r"[0-9A-Za-z]")
_LETTERS = re.compile(r"[A-Za-z]")
# All begin with one of three signs, written first: so `re` skips to them as fast as memory is read.
_ESCAPE = re.compile(
    r"[%\\&](?:(?<=%)(?P<percent>[0-9A-Fa-f]{2}(?:%[0-9A-Fa-f]{2})*)"
    r"|(?<=\\)\\{0,7}(?:u(?P<long>[0-9A-Fa-f]{4})|x(?P<short>[0-9A-Fa-f]{2}(?:\\{1,8}x[0-9A-Fa-f]{2})*)|(?P<sign>[\"'/nrtbf@]))"
    r"|(?<=&)(?:\#(?P<decimal>[0-9]{1,7});|\#[xX](?P<hex>[0-9A-Fa-f]{1,6});"
    r"|(?P<name>amp|lt|gt|quot|apos|nbsp|commat|period|hyphen|plus|colon|sol);))"
)
_PERCENT = re.compile(r"%[2-7][0-9A-Fa-f]")
_ESCAPED_X = re.compile(r"\\+x")
_SIGNS = {"n": "\n", "r": "\n", "t": " ", "b": " ", "f": " "}
_NAMES = {
    "amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": " ", "commat": "@", "period": ".",
    "hyphen": "-", "plus": "+", "colon": ":", "sol": "/",
}  # fmt: skip
_PLUS_WORDS = re.compile(r"(?<![\w%.,:@()/-])[\w%.,:@()/-]++(?:\+[\w%.,:@()/-]++){2,}")
_SPACED_SIGNS = re.compile(r"(?<![A-Za-z0-9])(?:[A-Za-z0-9@.+/():_-] {1,3}){6,200}[A-Za-z0-9](?![A-Za-z0-9])")
_SPACED_DIGITS = re.compile(r"[0-9](?: {1,3}(?:[-./():+] {0,3})?[0-9](?![0-9])){5,80}")
_PARTED_SIGNS = re.compile(
    r"(?<![0-9A-Za-z.])[0-9A-Za-z]([-._,*|]| [-._*|] )[0-9A-Za-z](?:\1[0-9A-Za-z]){6,80}(?![0-9A-Za-z])"
)
_MIN_SPACED_DIGITS = 4

# Letters of Cyrillic, Greek, Armenian and Latin's own extensions that are drawn like those of ASCII.
_LOOK_ALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТУХҮԌԚԜаеорсухіјѕһԁԛԝѵӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧοανιρυχκγϲϳօսոցհզɡɑıⲟᴏᴠᴡᴢꓐꓑꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴ‚․∕⁄‐‑‒–—―−∶ꓸ",
    "ABESIJKMHOPCTYXYGQWaeopcyxijshdqwvlABEZHIKMNOPTYXoavipuxkycjounghqgaioovwzBPDTGKJCZFMNLSRVHWXYAEIOU,.//-------:.",
)
_DIGIT_ALIKES = str.maketrans("ОоΟοՕօЗзІіӀӏΙιБƧƽ", "00000033111111625"[:17])


_ALIKE = frozenset(map(chr, (*_LOOK_ALIKES, *_DIGIT_ALIKES)))
_WORD_BORDER = re.compile(r"([ \n\t\r\"'(),:;<=>\[\]{|}])")
_OURS_OR_AT = re.compile(r"[0-9A-Za-z@]")
_MAX_INITIALS = 2
# What each step of normalisation needs to find before it is worth its time.
_ESCAPED, _PLUSES, _SIGNS_SPACED, _DIGITS_SPACED, _PARTED = range(5)
_HIDING_PATTERNS = (
    r"%[0-9A-Fa-f]{2}|\\[ux\"'/nrtbf@]|&(?:#[0-9xX]|amp|lt|gt|quot|apos|nbsp|commat|period|hyphen|plus|colon|sol)",
    r"[\pL\pN_%.,:@()/-]\+[\pL\pN_%.,:@()/-]+\+[\pL\pN_%.,:@()/-]",
    r"(?:^|[^0-9A-Za-z])(?:[0-9A-Za-z@.+/():_-] [ ]?[ ]?){6}[0-9A-Za-z]",
    r"(?:[0-9] [-./():+ ]{0,6}){5}[0-9]",
    r"[0-9A-Za-z](?:"
    + "|".join(
        f"(?:{mark}[0-9A-Za-z]){{7}}" for mark in (" ?- ?", r" ?\. ?", " ?_ ?", ",", r" ?\* ?", r" ?\| ?")
    )
    + ")",
)


def _hiding_set() -> re2.Set:
    options = re2.Options()
    options.log_errors = False
    signs = re2.Set.SearchSet(options)
    for pattern in _HIDING_PATTERNS:
        signs.Add(pattern)
    signs.Compile()
    return signs


_HIDING = _hiding_set()


class _Folds(dict[str, str]):
    """Character -> what it stands for; worked out once for each character anybody ever sent, so bounded by Unicode."""

    def __missing__(self, sign: str) -> str:
        self[sign] = folded = _fold(sign)
        return folded


def _fold(sign: str) -> str:
    if "\ud800" <= sign <= "\udfff":
        return "\ufffd"  # half of a character has no UTF-8 form, which RE2 needs
    digit = unicodedata.decimal(sign, None)
    if digit is not None:
        return str(digit)
    if (
        unicodedata.category(sign) == "Cf"
        or "\ufe00" <= sign <= "\ufe0f"
        or sign in "\u034f\u115f\u1160\u3164\uffa0"
    ):
        return ""
    plain = unicodedata.normalize("NFKC", sign)
    return "".join(" " if part.isspace() else part for part in plain)


_FOLDS = _Folds()


def to_plain(view: View) -> tuple[View, tuple[View, ...]]:
    """A view whose characters are folded -> the same without escapes; and other readings of it, mostly none.

    Other readings: without blanks, or marks, between single digits or signs; with pluses read as blanks, as forms in URLs
    have them. Each may be wrong where the plain one is right, so each is read for itself.
    """
    hidden = _hidden_in(view.text)
    # In a form's data a plus is a blank and `%2B` a plus: after the escapes are undone nobody can tell them apart.
    is_form = {_ESCAPED, _PLUSES} <= hidden and _PERCENT.search(view.text)
    form = _with_pluses_as_blanks(view) if is_form else None
    view, hidden = _unescaped(view, hidden)
    readings = [_READINGS[number](view) for number in sorted(hidden) if number in _READINGS]
    if form is not None:
        readings.append(_unescaped(form, hidden | {_ESCAPED})[0])
    return view, tuple(reading for reading in readings if reading.text != view.text)


def _unescaped(view: View, hidden: frozenset[int]) -> tuple[View, frozenset[int]]:
    """The view without escapes, and what is hidden in it then."""
    for _ in range(_ROUNDS):
        if _ESCAPED not in hidden:
            break
        before, view = view, fold_characters(view.replaced(_cuts(view.text, _ESCAPE, _unescape)))
        hidden = _hidden_in(view.text)
        if view.text == before.text:
            break
    return view, hidden


def _hidden_in(text: str) -> frozenset[int]:
    return frozenset(_HIDING.Match(text.encode()) or ())


def fold_characters(view: View) -> View:
    """Compatibility forms, foreign digits and look-alikes; nothing to do for ASCII."""
    text = view.text
    if text.isascii():
        return view
    folds = {sign: _FOLDS[sign] for sign in set(_FOREIGN.findall(text))}
    changed = {sign: plain for sign, plain in folds.items() if sign != plain}
    if changed and all(len(plain) == 1 for plain in changed.values()):
        view = view.translated(text.translate({ord(sign): plain for sign, plain in changed.items()}))
    elif changed:
        view = view.replaced(_cuts(text, _FOREIGN, lambda match: changed.get(match[0])))
    if all(map(_ALIKE.isdisjoint, folds.values())):
        return view
    return view.translated("".join(_fold_words(view.text)))


def _fold_words(text: str) -> Iterator[str]:
    """The text in pieces, with the words that hold look-alikes as they look. Words all in another alphabet, which may be all
    there are, are passed over quickly unless they are as short as initials."""
    for piece in _WORD_BORDER.split(text):
        passed = piece.isascii() or (len(piece) > _MAX_INITIALS and not _OURS_OR_AT.search(piece))
        yield piece if passed else _fold_word(piece)


def _fold_word(word: str) -> str:
    plain = word.translate(_LOOK_ALIKES)
    if plain == word:
        return word
    if not _OURS.search(word):
        # All in one alphabet: a word of its language, unless nothing is left of it once it is read as ours.
        ours = "@" in plain or (len(plain) <= _MAX_INITIALS and plain.isupper())
        return plain if plain.isascii() and ours else word
    return plain if _LETTERS.search(word) else word.translate(_DIGIT_ALIKES).translate(_LOOK_ALIKES)


def _cuts(
    text: str, pattern: re.Pattern[str], instead: Callable[[re.Match[str]], str | None]
) -> Iterator[Cut]:
    for match in pattern.finditer(text):
        plain = instead(match)
        if plain is not None:
            yield match.start(), match.end(), plain


# --- escapes ----------------------------------------------------------------------------------------------------


def _unescape(match: re.Match[str]) -> str | None:
    kind, written = match.lastgroup, match[match.lastgroup or 0]
    if kind == "percent":
        return _from_utf8(unquote_to_bytes(f"%{written}"))
    if kind == "short":
        return _from_bytes(bytes.fromhex(_ESCAPED_X.sub("", written)))
    if kind == "sign":
        return _SIGNS.get(written, written)
    if kind == "name":
        return _NAMES[written]
    number = int(written, 10 if kind == "decimal" else 16)
    return chr(number) if 8 < number < 0xD800 or 0xE000 <= number <= 0x10FFFF else None


def _from_bytes(raw: bytes) -> str | None:
    """Bytes one by one: those of UTF-8, or else each a character of its own."""
    text = _from_utf8(raw) or raw.decode("latin-1")
    return text if min(text) > "\x08" else None


def _from_utf8(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


# --- blanks -----------------------------------------------------------------------------------------------------


def _with_pluses_as_blanks(view: View) -> View:
    return view.translated(_PLUS_WORDS.sub(lambda match: match[0].replace("+", " "), view.text))


def _spaced(text: str, pattern: re.Pattern[str], mark: str | None) -> Iterator[Cut]:
    for match in pattern.finditer(text):
        if sum(map(str.isdigit, match[0])) < _MIN_SPACED_DIGITS and "@" not in match[0]:
            continue
        yield from _marks(text, match.start(), match.end(), mark or match[1])


def _marks(text: str, start: int, end: int, mark: str) -> Iterator[Cut]:
    at = text.find(mark, start, end)
    while at >= 0:
        stop = at + len(mark)
        while text.startswith(mark, stop):
            stop += len(mark)
        yield at, stop, ""
        at = text.find(mark, stop, end)


_READINGS: Mapping[int, Callable[[View], View]] = {
    _PLUSES: _with_pluses_as_blanks,
    _SIGNS_SPACED: lambda view: view.replaced(_spaced(view.text, _SPACED_SIGNS, " ")),
    _DIGITS_SPACED: lambda view: view.replaced(_spaced(view.text, _SPACED_DIGITS, " ")),
    _PARTED: lambda view: view.replaced(_spaced(view.text, _PARTED_SIGNS, None)),
}
