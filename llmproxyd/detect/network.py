"""Addresses of machines: IP of both versions and MAC.

Four small numbers with dots are a version as often as an address, so those need a word beside them. Addresses that are the
same on every machine (loopback, unspecified, broadcast, netmasks) say nothing of anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address

from llmproxyd.detect.context import IP, VERSION
from llmproxyd.detect.detector import Detector
from llmproxyd.detect.regions import Signs
from llmproxyd.values.privacy import Finding

_V4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_V4_LEFT = re.compile(r"(?:[\w.]|\w-)\Z")
_V4_RIGHT = re.compile(r"\w|\.[0-9]|-[A-Za-z0-9]")
# `home:` in front is a key and its colon none of the address's; `abc:` might be either, so that is not read as a key.
_BEGIN = r"(?:(?<![\w:.-])|(?<=[G-Zg-z_][A-Za-z_]:)|(?<=[G-Zg-z_][A-Za-z_]{2}:)|(?<=[A-Za-z_][G-Zg-z_]:))"
_V6 = re.compile(
    _BEGIN
    + r"(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?:%[\w]{1,16})?(?![\w:])"
)
_PAIRS = re.compile(
    _BEGIN + r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w]|[:-][0-9A-Fa-f]{2})"
)
_QUADS = re.compile(r"(?<![\w.])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![\w]|\.[0-9A-Fa-f])")
_SMALL = 30
"""Parts of versions are rarely larger."""
_MIN_GROUPS = 3
_PRODUCT = re.compile(r"(?:[A-Za-z][\w.]*[/-]|[<>=~^!]=\s?|[<~^]\s?|[\w\])]\s?>\s?|\bv\.?\s?)$")
_TAG_END = re.compile(r"<[^<>\n]*>\s?$")
_TAG_CHARS = 200
_NEAR_CHARS = 24


def find_v4(text: str) -> Iterator[Finding]:
    for match in _V4.finditer(text):
        start, end = match.span()
        octets = [int(part) for part in match[0].split(".")]
        if max(octets) > 255 or not _is_host(octets):
            continue
        if _V4_LEFT.search(text, max(0, start - 2), start) or _V4_RIGHT.match(text, end):
            continue
        if not _is_version(text, start, end, octets):
            yield Finding("ip", start, end, "ip")


def find_v6(text: str) -> Iterator[Finding]:
    for match in _V6_SIGNS.matches(_V6, text):
        if _is_v6(match[0]):
            yield Finding("ip", match.start(), match.end(), "ip")


def _is_host(octets: list[int]) -> bool:
    return octets[0] not in (0, 127, 255) and not (octets[0] >= 224 and octets[3] == 0)


def _is_version(text: str, start: int, end: int, octets: list[int]) -> bool:
    near = text[max(0, start - _NEAR_CHARS) : start]
    product = _PRODUCT.search(near) and not near.endswith("//")
    if (product and not _TAG_END.search(text, max(0, start - _TAG_CHARS), start)) or VERSION.occurs(near):
        return True
    return max(octets) < _SMALL and text[end : end + 1] not in (":", "/") and not IP.beside(text, start, end)


def _is_v6(written: str) -> bool:
    address = written.partition("%")[0]
    if address.endswith("::"):
        return False  # a network, not a machine
    groups = [group for group in address.split(":") if group]
    try:
        known = IPv6Address(address)
    except AddressValueError:
        return False
    if known.is_loopback or known.is_unspecified or known.is_multicast:
        return False
    # `a::b` is more often two words of a program than an address.
    return len(groups) >= _MIN_GROUPS or any(len(group) == 4 for group in groups)


def find_macs(text: str) -> Iterator[Finding]:
    for pattern in (_PAIRS, _QUADS):
        for match in _MAC_SIGNS.matches(pattern, text):
            signs = {sign for sign in match[0].lower() if sign.isalnum()}
            if len(signs) > 1 and not (pattern is _QUADS and signs <= set("0123456789")):
                yield Finding("mac", match.start(), match.end(), "mac")


_V6_MARKS = (
    r"[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:",
    r"[0-9A-Fa-f]{2,4}::[0-9A-Fa-f]",
    r"::[Ff]{4}:",
    r"[0-9A-Fa-f]{4}::",
)
_V6_SIGNS = Signs(*_V6_MARKS, before=48, behind=72)
_MAC_MARKS = (
    r"[0-9A-Fa-f][0-9A-Fa-f][:-][0-9A-Fa-f][0-9A-Fa-f][:-][0-9A-Fa-f][0-9A-Fa-f][:-]",
    r"[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}",
)
_MAC_SIGNS = Signs(*_MAC_MARKS, before=3, behind=12)
IPS = (
    Detector("ip", frozenset({"ip"}), (r"[0-9]\.[0-9]+\.[0-9]+\.[0-9]",), find_v4),
    Detector(
        "ip",
        frozenset({"ip"}),
        _V6_MARKS,
        find_v6,
    ),
)
MACS = Detector(
    "mac",
    frozenset({"mac"}),
    _MAC_MARKS,
    find_macs,
)
