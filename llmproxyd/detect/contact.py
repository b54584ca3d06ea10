"""Ways to reach a person: e-mail addresses and telephone numbers.

Telephone numbers: with `+` and a country's code as ITU-T E.164 has them; as people write them at home where the grouping
is typical of a country, or where a word beside them says that somebody can be called there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmproxyd.detect.context import PHONE
from llmproxyd.detect.detector import Detector
from llmproxyd.detect.numbers import Row, is_glued_behind
from llmproxyd.values.privacy import Finding

_MAX_LOCAL_CHARS = 64
_MAX_DOMAIN_CHARS = 253
_LOCAL_END = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+\Z")
_DOMAIN = re.compile(
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:[^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})(?![\w-])"
)
_NO_DOMAINS = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "py", "html", "htm", "json", "yaml", "yml", "txt",
     "service", "socket", "timer", "target", "mount", "conf", "md", "so", "exe", "dll"}
)  # fmt: skip
"""What stands behind a dot in names of files and units, such as ``icon@2x.png`` and ``getty@tty1.service``."""
_NOBODY = frozenset({"git", "hg", "svn"})

# Calling codes and how many digits follow them; those not listed: 7 to 12.
_CALLING: dict[str, range] = {
    "1": range(10, 11), "7": range(10, 11), "20": range(8, 11), "27": range(9, 10), "30": range(10, 11), "31": range(9, 10),
    "32": range(8, 10), "33": range(9, 10), "34": range(9, 10), "36": range(8, 10), "39": range(6, 12), "40": range(9, 10),
    "41": range(9, 10), "43": range(6, 14), "44": range(9, 11), "45": range(8, 9), "46": range(7, 11), "47": range(8, 9),
    "48": range(9, 10), "49": range(6, 14), "52": range(10, 12), "54": range(10, 12), "55": range(10, 12),
    "60": range(8, 11), "61": range(9, 10), "62": range(8, 13), "63": range(8, 11), "64": range(8, 11), "65": range(8, 9),
    "66": range(8, 10), "81": range(9, 11), "82": range(8, 11), "84": range(9, 11), "86": range(10, 12),
    "90": range(10, 11), "91": range(10, 11), "92": range(9, 11), "93": range(9, 10), "94": range(9, 10), "95": range(7, 11),
    "98": range(10, 11),
}  # fmt: skip
_ANY_LENGTH = range(7, 13)
_INTERNATIONAL = re.compile(r"(?:\+|(?<![0-9])00)(?=[ ]?[1-9])[0-9 ().\-/]{7,26}[0-9]")
_BRACKETED = re.compile(r"\(\+?([0-9]{1,5})\)[ .-]{0,2}[0-9][0-9 .\-/]{4,14}[0-9]")
_TRUNK = re.compile(r"\((0)\)")


# --- e-mail -----------------------------------------------------------------------------------------------------


def find_emails(text: str) -> Iterator[Finding]:
    at = text.find("@")
    while at >= 0:
        local = _LOCAL_END.search(text, max(0, at - _MAX_LOCAL_CHARS), at)
        domain = _DOMAIN.match(text, at + 1, at + 1 + _MAX_DOMAIN_CHARS) if local else None
        if local and domain:
            start = local.start() + len(local[0]) - len(local[0].lstrip(".!#$%&'*+/=?^`{|}~-"))
            if start < at and _is_mailbox(text[start:at], domain[0], text[domain.end() : domain.end() + 1]):
                yield Finding("email", start, domain.end(), "email")
        at = text.find("@", at + 1)


def _is_mailbox(local: str, domain: str, behind: str) -> bool:
    if domain.rpartition(".")[2].lower() in _NO_DOMAINS or local.endswith("."):
        return False
    return not (behind == ":" and local.lower() in _NOBODY)


# --- telephone --------------------------------------------------------------------------------------------------


def find_phones(text: str) -> Iterator[Finding]:
    """Numbers with a country's code, and numbers with an area in brackets."""
    for match in _INTERNATIONAL.finditer(text):
        start = match.start()
        if start and (text[start - 1].isascii() and (text[start - 1].isalnum() or text[start - 1] in "_.+")):
            continue
        end = _international_end(text, start, match.end())
        if end is not None:
            yield Finding("phone", start, end, "phone")
    for match in _BRACKETED.finditer(text):
        if _is_bracketed(text, match):
            yield Finding("phone", match.start(), match.end(), "phone")


def _international_end(text: str, start: int, end: int) -> int | None:
    """The longest beginning that is a whole number: what follows may be another one."""
    while end > start + 7:
        whole = end >= len(text) or not text[end].isdigit()
        if whole and not is_glued_behind(text, end) and _is_international(text[start:end]):
            if text[start] == "+" or PHONE.beside(text, start, end):
                return end
            return None
        end = max(text.rfind(sign, start, end) for sign in " .-/()")
    return None


def _is_international(written: str) -> bool:
    plain = _TRUNK.sub("", written)
    number = "".join(filter(str.isdigit, plain))
    if not written.startswith("+"):
        number = number[2:]
    code = next((number[:size] for size in (1, 2) if number[:size] in _CALLING), None)
    if code is None:
        return len(number) - 3 in _ANY_LENGTH and number[:1] != "0"
    rest = number[len(code) :]
    if code == "1" and (rest[:1] < "2" or rest[3:4] < "2"):
        return False
    # The 0 that is dialled at home stands there by mistake, or in brackets that are gone.
    return len(rest) in _CALLING[code] or (rest[:1] == "0" and len(rest) - 1 in _CALLING[code])


def _is_bracketed(text: str, match: re.Match[str]) -> bool:
    start, end = match.span()
    if is_glued_behind(text, end) or (start and text[start - 1].isascii() and text[start - 1].isalnum()):
        return False
    area, rest = match[1], "".join(filter(str.isdigit, text[match.end(1) : end]))
    if not 8 <= len(area) + len(rest) <= 13:
        return False
    clear = (
        (len(area) == 3 and len(rest) == 7 and area[0] > "1" and rest[0] > "1")
        or (area[0] == "0" and len(area) > 1 and len(area) + len(rest) >= 8)
        or (len(area) == 2 and len(rest) in (8, 9) and area[0] != "0" and "-" in match[0])
    )
    return clear or PHONE.beside(text, start, end)


def is_nanp(number: str) -> bool:
    """North America: area and exchange begin with 2 to 9 and are no service codes."""
    number = number[-10:]
    return number[0] > "1" and number[3] > "1" and number[1:3] != "11" and number[4:6] != "11"


def _is_nanp_long(number: str) -> bool:
    return number[0] == "1" and is_nanp(number)


def could_be_called(number: str) -> bool:
    """Whether bare digits could be a telephone number: a country's code and its length, or a trunk prefix."""
    if number[0] == "0":
        return len(number) in range(9, 13) and _has_trunk(number)
    return _is_international(f"+{number}") or (len(number) == 10 and is_nanp(number))


def _has_trunk(number: str) -> bool:
    return number[0] == "0" and number[1] != "0" and len(set(number)) > 2


def _is_callable(number: str) -> bool:
    """What may be a number at home, if a word says so."""
    return len(set(number)) > 2 and number[:2] != "00"


PHONE_ROWS = (
    Row("phone", ("3-3-4", "3.3.4"), is_nanp),
    Row("phone", ("1-3-3-4", "1.3.3.4", "1 3 3 4"), _is_nanp_long),
    Row("phone", ("2 2 2 2 2", "2.2.2.2.2", "2-2-2-2-2"), _has_trunk),
    Row("phone", ("5 6", "5 3 3", "3 4 4", "4 3 4", "3/7", "3/8", "4/6", "4/7", "4/8", "5/5", "5/6"), _has_trunk),
    Row("phone", ("2-8", "3-7", "4-6", "4-7", "4-8", "3-8", "5-6", "4-3-4", "3-4-4", "5-3-3", "3-3 2 2"), _has_trunk),
    Row("phone", ("3 2 2 2", "3-2-2-2"), lambda number: number[0] in "6789" and len(set(number)) > 2),
    Row("phone", ("5 5", "5-5"), lambda number: number[0] in "06789" and len(set(number)) > 2),
    Row("phone", ("2 5-4", "2 4-4"), lambda number: number[0] != "0" and number[1] != "0"),
)  # fmt: skip
_HOME_CHARS = range(8, 13)
LOOSE_PHONES = {size: (Row("phone", (), _is_callable, PHONE),) for size in _HOME_CHARS}
SPOKEN_PHONES = Row(
    "phone",
    (*map(str, _HOME_CHARS), "3 3 4", "3 3 3", "3-3-3", "3.3.3", "3 7", "4 6", "4 7", "4 8", "3 8", "2 4 4", "2 8", "3-4", "4-4", "5-4"),
    lambda number: len(number) > 7 and _is_callable(number),
    PHONE,
)  # fmt: skip

EMAIL = Detector("email", frozenset({"email"}), (r"[^\s@]@[^\s@]+\.[^\s\d]",), find_emails)
PHONES = Detector(
    "phone",
    frozenset({"phone"}),
    (r"\+ ?[1-9][0-9 ().\-/]{6}", r"\b00[1-9][0-9 ().\-/]{6}", r"\(\+?[0-9]+\)[ .-]?[ .-]?[0-9]"),
    find_phones,
)
