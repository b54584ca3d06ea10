"""Payment cards and bank accounts.

Cards: issuers' ranges and lengths as the networks publish them, and Luhn's check digit. Accounts: the register of IBANs
(ISO 13616), each country with its length, and the check by 97.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmproxyd.detect.checksums import luhn, mod_97_iban
from llmproxyd.detect.context import CARD
from llmproxyd.detect.detector import Detector
from llmproxyd.detect.numbers import Row, is_glued_behind
from llmproxyd.detect.regions import Signs
from llmproxyd.values.privacy import Finding

_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (2200, 2204, frozenset(range(16, 20))),
    (2221, 2720, frozenset({16})),
    (3000, 3059, frozenset(range(14, 20))),
    (3095, 3095, frozenset(range(14, 20))),
    (3400, 3499, frozenset({15})),
    (3528, 3589, frozenset(range(16, 20))),
    (3600, 3699, frozenset(range(14, 20))),
    (3700, 3799, frozenset({15})),
    (3800, 3999, frozenset(range(14, 20))),
    (4000, 4999, frozenset({13, 16, 19})),
    (5018, 5018, frozenset(range(13, 20))),
    (5020, 5020, frozenset(range(13, 20))),
    (5038, 5038, frozenset(range(13, 20))),
    (5080, 5089, frozenset({16})),
    (5100, 5599, frozenset({16})),
    (5612, 5612, frozenset(range(13, 20))),
    (5893, 5893, frozenset(range(13, 20))),
    (6011, 6011, frozenset(range(16, 20))),
    (6200, 6299, frozenset(range(16, 20))),
    (6304, 6304, frozenset(range(13, 20))),
    (6390, 6390, frozenset(range(13, 20))),
    (6440, 6599, frozenset(range(16, 20))),
    (6759, 6763, frozenset(range(13, 20))),
    (8100, 8171, frozenset(range(16, 20))),
    (8200, 8299, frozenset({16})),
    (9792, 9792, frozenset({16})),
)
"""First four digits from and to, and how long such numbers are."""

_IBAN_CHARS: dict[str, int] = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28,
    "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
    "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
    "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26,
    "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
_IBAN_SIGN = rf"(?i)\b(?:{'|'.join(_IBAN_CHARS)})[ .-]?[0-9][0-9]"
_IBAN_SIGNS = Signs(_IBAN_SIGN, behind=0)
_IBAN_HEAD = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})[ .-]?[0-9]{2}")
_IBAN_TAIL = re.compile(r"(?:[ .-]{0,2}[A-Za-z0-9]){11,30}")


def is_card(number: str) -> bool:
    """Whether an issuer gives out numbers like this, and the check digit is right. 13 to 19 digits."""
    head = int(number[:4])
    size = len(number)
    if not any(low <= head <= high and size in sizes for low, high, sizes in _ISSUERS):
        return False
    return luhn(number) and len(set(number)) > 1


CARD_ROWS = (
    Row("payment_card", ("14", "15", "16", "17", "18", "19"), is_card),
    Row("payment_card", ("13", "12"), lambda number: len(number) == 13 and is_card(number), CARD),
    *(
        Row("payment_card", (shape.replace(" ", separator),), is_card, alone=False, weak=False, sequence_of=CARD)
        for shape in ("4 4 4 4", "4 4 4 4 3", "4 6 5", "4 6 4", "4 4 4 1", "4 4 4 2", "4 4 4 3", "6 13", "4 4 4 4 2", "4 4 4 4 1")
        for separator in " -."
    ),
)  # fmt: skip
LOOSE_CARD = Row("payment_card", (), is_card)


def find_ibans(text: str) -> Iterator[Finding]:
    end = 0
    for head in _IBAN_SIGNS.matches(_IBAN_HEAD, text):
        size = _IBAN_CHARS.get(head[1].upper())
        tail = _IBAN_TAIL.match(text, head.end()) if size and head.start() >= end else None
        if size is None or tail is None:
            continue
        stop = _iban_end(text, head.start(), tail.end(), size)
        if stop is not None:
            end = stop
            yield Finding("iban", head.start(), end, "iban")


def _iban_end(text: str, start: int, stop: int, size: int) -> int | None:
    """Where an account of ``size`` signs ends; what follows before ``stop`` may be another word."""
    kept = [at for at in range(start, stop) if text[at].isalnum()]
    if len(kept) < size:
        return None
    end = kept[size - 1] + 1
    iban = "".join(text[at] for at in kept[:size]).upper()
    goes_on = end < len(text) and text[end].isascii() and text[end].isalnum()
    return None if goes_on or is_glued_behind(text, end) or not mod_97_iban(iban) else end


IBAN = Detector(
    "iban",
    frozenset({"iban"}),
    (_IBAN_SIGN + r"[ .-]?[ .-]?[A-Z0-9][A-Z0-9]",),
    find_ibans,
)
