"""Whether a string looks made by a machine at random, or is a stand-in that people write where a secret would go.

Random strings change between lower case, upper case and digits at every other character; words and identifiers do so
at every tenth. That share tells them apart better than Shannon's entropy, which is as high for an English identifier of
twenty characters as for twenty random hexadecimal digits. Thresholds are those of the table in docs/privacy-detectors.md.
"""

from __future__ import annotations

import re

_SHORTEST = 16
_FEWEST_DISTINCT = 7
_LEAST_CHANGES = 0.2
# Without a digit it may be CamelCase, which changes class twice a word.
_LEAST_CHANGES_OF_LETTERS = 0.3
# Long sequences without words or changes of class are no sign of chance either: 'aaaa', '----', '1111'.
_REPEATED = re.compile(r"(.)\1{5}")
_STAND_IN = re.compile(
    r"example|placeholder|change_?me|your[_-]|[_-]your|<your|x{4}|\*{3}|\.{3}|dummy|sample|redacted|not_?real|insert[_-]"
    r"|fake_?(?:key|token)|my[_-](?:api|secret|token|key|password)|0{6}|12345678|abcdefg|deadbeef|\$\{|\{\{|<[a-z_ -]+>"
    r"|replace_?me|todo_|foobar|lorem",
    re.IGNORECASE,
)
_CHANGE = re.compile(r"(?=[a-z][A-Z0-9]|[A-Z][a-z0-9]|[0-9][A-Za-z])")
# Digits of base 16 alone, dashes as UUIDs have them: some have few changes, and no words are spelt so.
_HEX = re.compile(r"(?=.*[0-9])(?=.*[a-fA-F])[0-9a-fA-F-]{24,512}")
_DIGIT = re.compile(r"[0-9]")
# A path of names in CamelCase or with numbers in them, one of which says what it names: `x25519.X25519PrivateKey`.
_NAMED = re.compile(
    r"(?:^|[._A-Za-z0-9])(?:Key|Token|Secret|Password|Credential)|(?:^|[._])(?:key|token|secret|credential)"
)
_NAME_PART = re.compile(r"[._]?[A-Z]{0,6}(?:[a-z]+|[0-9]{1,5})")
_LEAST_PART_CHARS = 4
_PAIR = re.compile(r"(?=[A-Za-z0-9]{2})")


def changes(text: str) -> float:
    """The share of neighbouring letters and digits that differ in class (lower, upper, digit): 0 to 1."""
    pairs = len(_PAIR.findall(text))
    return len(_CHANGE.findall(text)) / pairs if pairs else 0.0


def is_placeholder(text: str) -> bool:
    """Whether `text` is what manuals write instead of a secret: ``sk-xxxx``, ``YOUR_API_KEY``, ``AKIA...EXAMPLE``."""
    return bool(_STAND_IN.search(text) or _REPEATED.search(text))


def is_name(text: str) -> bool:
    """Whether `text` is what programs call a secret, not one: words, with a capital or a number here and there."""
    if _NAMED.search(text) is None:
        return False
    parts = _NAME_PART.findall(text)
    return len(parts) * _LEAST_PART_CHARS <= len(text) and "".join(parts) == text


def looks_random(text: str) -> bool:
    """Whether `text` (sixteen characters or more) is hexadecimal or changes class as often as random strings do."""
    if len(text) < _SHORTEST or len(set(text)) < _FEWEST_DISTINCT or is_name(text):
        return False
    least = _LEAST_CHANGES if _DIGIT.search(text) else _LEAST_CHANGES_OF_LETTERS
    return changes(text) >= least or _HEX.fullmatch(text) is not None
