"""Numbers of states, passports and patients that hold letters, or that only their context tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from llmproxyd.detect.checksums import codice_fiscale, dni_letter, mod_97_nir
from llmproxyd.detect.context import BEFORE_CHARS, MEDICAL, PAN, PASSPORT, Context
from llmproxyd.detect.detector import Detector
from llmproxyd.detect.numbers import is_glued_before, is_glued_behind
from llmproxyd.detect.regions import Signs
from llmproxyd.values.privacy import Finding

_ALONE = r"(?<![A-Za-z0-9_])"
_MOST_CHARS = 48
"""No number here is longer, separators included."""
_NINO = re.compile(
    _ALONE + r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
    r"[ .-]?[0-9]{2}([ .-]?)[0-9]{2}\1[0-9]{2}[ .-]?[A-D]"
    r"(?![A-Za-z0-9_])",
    re.IGNORECASE,
)
_DNI = re.compile(
    _ALONE + r"[0-9]{2}\.?[0-9]{3}\.?[0-9]{3}[ -]?[A-HJ-NP-TV-Z](?![A-Za-z0-9_])", re.IGNORECASE
)
_NIE = re.compile(
    _ALONE + r"[XYZ][ -]?[0-9]\.?[0-9]{3}\.?[0-9]{3}[ -]?[A-HJ-NP-TV-Z](?![A-Za-z0-9_])", re.IGNORECASE
)
_DIGIT_OR_CLASH = "[0-9LMNPQRSTUV]"
_FISCAL = re.compile(
    rf"{_ALONE}[A-Z]{{3}} ?[A-Z]{{3}} ?{_DIGIT_OR_CLASH}{{2}}[ABCDEHLMPRST]{_DIGIT_OR_CLASH}{{2}} ?"
    rf"[A-Z]{_DIGIT_OR_CLASH}{{3}} ?[A-Z](?![A-Za-z0-9_])",
    re.IGNORECASE,
)
_PAN = re.compile(
    _ALONE + r"[A-Z]{3}[ABCFGHJLPTK][A-Z][ -]?[0-9]{4}[ -]?[A-Z](?![A-Za-z0-9_])", re.IGNORECASE
)
_CORSICAN = re.compile(
    _ALONE + r"[1-478](?:[ .-]?[0-9]{2}){2}[ .-]?2[AB](?:[ .-]?[0-9]{3}){2}[ .-]?[0-9]{2}(?![A-Za-z0-9_])",
    re.IGNORECASE,
)
_MRZ = re.compile(r"(?<![A-Z0-9<])([A-Z0-9<]{9})([0-9])[A-Z<]{3}([0-9]{6})([0-9])[MFX<]([0-9]{6})([0-9])")
_DOCUMENT = re.compile(
    r"(?<![A-Za-z0-9_])(?:[A-Za-z]{1,3}[ -]?[0-9]{5,9}|(?=[A-Z0-9]{0,8}[0-9])[A-Z0-9]{6,10}"
    r"|[CFGHJKLMNPRTVWXYZ]{9})(?![A-Za-z0-9_])"
)
_RECORD = re.compile(r"(?<![A-Za-z0-9_])(?:[A-Za-z]{1,4}[ -]?)?[0-9](?:[ /-]?[0-9]){4,11}(?![A-Za-z0-9_])")


def _formatted(
    kind: str, sign: str, *patterns: re.Pattern[str], check: Callable[[str], bool]
) -> Callable[[str], Iterator[Finding]]:
    """``sign``: RE2; what every match begins with, up to some letters and digits of it."""
    signs = Signs(sign, before=_MOST_CHARS, behind=_MOST_CHARS)

    def find(text: str) -> Iterator[Finding]:
        for pattern in patterns:
            for match in signs.matches(pattern, text):
                code = re.sub(r"[ .-]", "", match[0]).upper()
                if not _is_part(text, match) and check(code):
                    yield Finding(kind, match.start(), match.end(), kind)

    return find


def _is_part(text: str, match: re.Match[str]) -> bool:
    return is_glued_before(text, match.start()) or is_glued_behind(text, match.end())


def _named(kind: str, context: Context, pattern: re.Pattern[str]) -> Callable[[str], Iterator[Finding]]:
    """What stands next to a word that says what it is: the first code within reach behind it."""
    signs = Signs(context.pattern, behind=BEFORE_CHARS + _MOST_CHARS)

    def find(text: str) -> Iterator[Finding]:
        for match in signs.matches(pattern, text):
            start, digit = match.start(), _first_digit(match)
            if is_glued_before(text, start) or text[start - 1 : start].isalpha():
                start = (
                    digit  # the letters end the word that says what it is: Patienten-ID 123, prontuário 123
                )
            glued = is_glued_before(text, start) or is_glued_behind(text, match.end())
            if not glued and context.before(text, digit):
                yield Finding(kind, start, match.end(), kind)

    return find


def _first_digit(match: re.Match[str]) -> int:
    """Where the number itself begins: letters before it may be part of it, or of the word that says what it is."""
    return next((at for at in range(*match.span()) if match.string[at].isdigit()), match.start())


_named_passports = _named("passport", PASSPORT, _DOCUMENT)


def _passports(text: str) -> Iterator[Finding]:
    yield from _named_passports(text)
    for match in _MRZ_SIGN.matches(_MRZ, text):
        if all(_mrz_check(match[at]) == int(match[at + 1]) for at in (1, 3, 5)):
            yield Finding("passport", match.start(1), match.end(), "passport")


def _mrz_check(field: str) -> int:
    """ICAO 9303: weights 7, 3, 1; letters from 10, fillers 0."""
    return (
        sum((7, 3, 1)[place % 3] * (0 if sign == "<" else int(sign, 36)) for place, sign in enumerate(field))
        % 10
    )


_MRZ_MARK = r"[A-Z0-9<]{9}[0-9][A-Z<]{3}[0-9]{7}[MFX<][0-9]{7}"
_MRZ_SIGN = Signs(_MRZ_MARK, behind=1)


def _in_form(
    kind: str, sign: str, *patterns: re.Pattern[str], check: Callable[[str], bool] = lambda code: True
) -> Detector:
    return Detector(kind, frozenset({kind}), (sign,), _formatted(kind, sign, *patterns, check=check))


_PAN_SIGN = r"(?i)\b[A-Z]{5}[ -]?[0-9]{4}[ -]?[A-Z]\b"
_any_pans = _formatted("national_id.in_pan", _PAN_SIGN, _PAN, check=lambda code: True)


def _pans(text: str) -> Iterator[Finding]:
    """In small letters, or parted (`TOTAL 1000 A`), only where something says what it is."""
    for finding in _any_pans(text):
        written = text[finding.start : finding.end]
        if (written.isupper() and written.isalnum()) or PAN.before(text, finding.start):
            yield finding


LETTERED = (
    _in_form(
        "national_id.uk_nino",
        r"(?i)\b[A-Z]{2}[ .-]?[0-9][0-9][ .-]?[0-9][0-9][ .-]?[0-9][0-9][ .-]?[A-D]\b",
        _NINO,
    ),
    _in_form(
        "national_id.es_dni",
        r"(?i)[0-9][0-9]\.?[0-9][0-9][0-9]\.?[0-9][0-9][0-9][ -]?[A-Z]\b",
        _DNI,
        check=dni_letter,
    ),
    _in_form(
        "national_id.es_nie",
        r"(?i)\b[XYZ][ -]?[0-9]\.?[0-9][0-9][0-9]\.?[0-9][0-9][0-9][ -]?[A-Z]\b",
        _NIE,
        check=dni_letter,
    ),
    _in_form(
        "national_id.it_codice_fiscale",
        r"(?i)\b[A-Z]{3} ?[A-Z]{3} ?[0-9L-NP-V]{2}[A-EHLMPR-T][0-9L-NP-V]{2} ?[A-Z]",
        _FISCAL,
        check=codice_fiscale,
    ),
    _in_form(
        "national_id.fr_nir",
        r"(?i)[0-9][0-9][ .-]?2[AB][ .-]?[0-9][0-9][0-9]",
        _CORSICAN,
        check=mod_97_nir,
    ),
    Detector("national_id.in_pan", frozenset({"national_id.in_pan"}), (_PAN_SIGN,), _pans),
    Detector("passport", frozenset({"passport"}), (PASSPORT.pattern, _MRZ_MARK), _passports),
    Detector(
        "medical_record",
        frozenset({"medical_record"}),
        (MEDICAL.pattern,),
        _named("medical_record", MEDICAL, _RECORD),
    ),
)
