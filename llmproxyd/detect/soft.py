"""Soft entities: persons, addresses, dates of birth, health. Best effort by cues and shapes, in eight languages.

They run only where the files ask for their kinds: what they miss and mistake is in docs/privacy-detectors.md. Everything
is matched by RE2, in time linear in the text; the words are data in ``soft_words``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

import re2

from llmproxyd.detect import soft_words as words
from llmproxyd.detect.detector import Detector, Find
from llmproxyd.values.privacy import Finding

_UPPER, _LETTER = r"\p{Lu}", r"[\p{L}'’-]"
_PARTICLE = r"(?:van|von|der|den|de|da|di|del|della|dos|la|le|el|al|bin|ibn|zu|ter|ten)"
_NAME_WORD = rf"{_UPPER}{_LETTER}+"
_NAME = rf"{_NAME_WORD}(?:[ ](?:{_PARTICLE}[ ]){{0,2}}{_NAME_WORD}){{0,3}}"
_FULL_NAME = rf"{_NAME_WORD}(?:[ ](?:{_PARTICLE}[ ]){{0,2}}{_NAME_WORD}){{1,3}}"


def _any_of(phrases: Iterable[str]) -> str:
    return "(?:" + "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True)) + ")"


_PERSON = (
    rf"(?i:\b{_any_of(words.INTRODUCTIONS)})[ ]({_FULL_NAME})",
    rf"\b{_any_of(words.TITLES)}[ ]({_NAME})",
    rf"(?i:\b{_any_of(words.FIELDS)})[\"']?[ ]?[:=][ ]?[\"']?({_FULL_NAME})",
    rf"(?i:\b{_any_of(words.CLOSINGS)}),?\s*\n\s*({_NAME})",
    rf"\b((?:{'|'.join(words.GIVEN_NAMES)})(?:[ ](?:{_PARTICLE}[ ]){{0,2}}{_NAME_WORD}){{1,2}})",
)

_HOUSE = r"\d{1,5}[ ]?[a-zA-Z]?\b"
_PLACE_WORD = rf"{_UPPER}\p{{Ll}}{_LETTER}*"
_PLACE = rf"{_PLACE_WORD}(?:[ ]{_PLACE_WORD}){{0,2}}"
_ZIP_PLACE = rf"(?:,[ ]?|[ ]|\n)(?:[A-Z]{{1,2}}-)?(?:\d{{4,5}}(?:[ ]?[A-Z]{{2}}\b)?|\d{{2}}-\d{{3}}|\d{{4,5}}-\d{{3}})[ ]{_PLACE}"
_STREET_EN = r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Boulevard|Blvd|Court|Terrace|Close|Crescent|Parkway|Highway|Way|Square)"
_END_EN = (
    rf"(?:,[ ](?:Apt|Suite|Unit|Flat|Floor)\.?[ ]?\w{{1,6}})?(?:,[ ]{_PLACE}){{0,2}}"
    r"(?:,?[ ][A-Z]{2}[ ]\d{5}(?:-\d{4})?|,?[ ][A-Z]{1,2}\d[A-Z0-9]?[ ]\d[A-Z]{2})?"
)
_STREET_BEFORE = (
    r"(?:Calle|C/|Avenida|Avda?\.|Plaza|Paseo|Carrer|Via|Viale|Piazza|Corso|Vicolo|Rua|Travessa|Praça|Largo|ul\.|al\.|ulica"
    r"|aleja|plac|os\.)"
)
_STREET_FR = r"(?i:rue|avenue|boulevard|place|chemin|allée|impasse|quai|cours|route)"
_STREET_ENDING = r"(?:straße|strasse|str\.|weg|platz|allee|gasse|damm|ufer|straat|laan|gracht|plein|kade|dijk|singel|[ ]Straße)"
_ADDRESS = (
    rf"\b({_HOUSE}[ ](?:{_NAME_WORD}[ ]){{1,3}}{_STREET_EN}\b{_END_EN})",
    rf"(\b{_UPPER}[\p{{L}}-]*{_STREET_ENDING}[ ]{_HOUSE}(?:{_ZIP_PLACE})?)",
    rf"\b(\d{{1,4}}(?:[ ]bis|[ ]ter)?,?[ ]{_STREET_FR}[ ](?:[\p{{L}}'’-]+[ ]?){{1,5}}(?:{_ZIP_PLACE})?)",
    rf"\b({_STREET_BEFORE}[ ](?:[\p{{L}}'’.-]+[ ]){{0,4}}[\p{{L}}'’-]+,?[ ](?:n\.?º[ ]?)?{_HOUSE}(?:{_ZIP_PLACE})?)",
)

_MONTH = "(?i:" + "|".join(words.MONTHS) + r")\.?"
_DATE = (
    rf"(?:(?:19|20)\d{{2}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.][ ]?\d{{1,2}}[-/.][ ]?(?:19|20)?\d{{2}}"
    rf"|\d{{1,2}}(?:st|nd|rd|th|er|º|\.)?[ ](?:de[ ]|of[ ])?{_MONTH},?[ ](?:de[ ])?(?:19|20)\d{{2}}"
    rf"|{_MONTH}[ ]\d{{1,2}}(?:st|nd|rd|th)?,?[ ](?:19|20)\d{{2}})"
)
_BIRTH = (rf"(?i:\b{_any_of(words.BIRTH_CUES)})[\"']?[ ]?[:=]?[ ]?[\"'(]?({_DATE})",)

_HEALTH = (r"(?i:\b((?:" + "|".join(words.HEALTH_STEMS) + r")[\p{L}-]*))",)


@cache
def _compiled(pattern: str) -> re2._Regexp:
    # On first use: nobody pays for them who does not ask for soft kinds. Tables of words need room.
    options = re2.Options()
    options.max_mem = 32 << 20
    return re2.compile(pattern, options)


def _finder(kind: str, patterns: tuple[str, ...]) -> Find:
    def find(text: str) -> Iterator[Finding]:
        spans = {match.span(1) for pattern in patterns for match in _compiled(pattern).finditer(text)}
        for start, end in sorted(spans):
            if kind != "person" or not _is_thing(text[start:end]):
                yield Finding(kind, start, end, kind)

    return find


def _is_thing(name: str) -> bool:
    """Whether a name is that of a street, a prize, a company: ``Victoria Station``."""
    return name.rpartition(" ")[2] in words.NOT_SURNAMES


def _detector(kind: str, patterns: tuple[str, ...], *prefilter: str) -> Detector:
    return Detector(kind, frozenset({kind}), prefilter, _finder(kind, patterns))


SOFT: tuple[Detector, ...] = (
    _detector("person", _PERSON, r"\p{Lu}\p{L}"),
    _detector("address", _ADDRESS, r"[0-9] \p{Lu}", r"[\p{L}.,] [0-9]", "[0-9],? (?i:rue|avenue|boulevard|place|chemin|all)"),
    _detector("date_of_birth", _BIRTH, r"(?i:born|birth|d\.?o\.?b|gebo|gebu|geb\.|n[ée]e? le|naiss|naci|nac[ií]|nat[oa] |nasc|urodz)"),
    _detector("health", _HEALTH),
)  # fmt: skip
"""Detectors of the soft kinds, one each; off until the files name a kind."""
