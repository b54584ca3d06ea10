"""Digits spelt out one by one, with blanks between them: nobody writes a version or an order number like that.

Grouping and `+` are gone, so numbers are taken by their length and check alone, without a word beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmproxyd.detect.contact import could_be_called
from llmproxyd.detect.finance import is_card
from llmproxyd.detect.identifiers import LOOSE_IDS
from llmproxyd.values.privacy import Finding

_SPELT = re.compile(
    r"(?<![0-9A-Za-z])\+?[0-9](?: {1,3}(?:[-./()] {0,3})?[0-9](?![0-9])){8,18}(?! ?[0-9])(?![0-9A-Za-z])"
)
_CARD_DIGITS = range(13, 20)


def find_spelt(text: str) -> Iterator[Finding]:
    for match in _SPELT.finditer(text):
        for kind in _kinds_of("".join(filter(str.isdigit, match[0]))):
            yield Finding(kind, match.start(), match.end(), "spelt")


def _kinds_of(number: str) -> Iterator[str]:
    if len(number) in _CARD_DIGITS and is_card(number):
        yield "payment_card"
    yield from (row.kind for row in LOOSE_IDS.get(len(number), ()) if row.check(number))
    if could_be_called(number):
        yield "phone"
