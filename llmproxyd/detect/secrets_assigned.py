"""Secrets known by where they stand: the password of an address, the value given to a name such as ``api_key``.

A password may be short, so its place has to be certain; a value beside a mere name has to look random. Names are sought
by RE2, which takes no longer for twenty alternatives than for one; what follows a name is read by ``re`` from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import re2

from llmproxyd.detect.detector import Detector
from llmproxyd.detect.entropy import is_placeholder, looks_random
from llmproxyd.values.privacy import Finding

# Beyond so many names in one text the rest is generated code or an attack, and one finding was enough.
_MOST_NAMES = 2000

_ADDRESS = re.compile(
    r"://(?P<user>[^\s:/@\"'<>?#]{0,128}):(?P<password>[^\s/@\"'<>]{3,256})@(?:[A-Za-z0-9\[_.-]|\Z)"
)
_SCHEME_END = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}$")

_PW_NAMES = r"(?i:passw(?:or)?d|passphrase|pwd)"
_KEYWORD = re2.compile(r"(?i:password|pwd)\s?=\s?")
_KEYWORD_VALUE = re.compile(r"[^;\s\"'<>]{4,128}")
_BESIDE_PASSWORD = re.compile(
    r"(?i)(?:server|data source|host|user id|uid|user|database|initial catalog)\s?="
)

# What examples call a password, and what programs are installed with: known to everybody, so nobody's secret.
_COMMON_WORDS = """
    password passwd pass pwd passw0rd secret user username postgres root admin guest test mysql redis rabbitmq minioadmin
    token key passphrase mypassword mypass none null true false string str
"""
_COMMON = frozenset(_COMMON_WORDS.split())
# A variable or a field that a program fills in: ${PW}, $pw, DB_PASSWORD, %(pw)s, {pw}, <pw>, ****.
_FILLED_IN = re.compile(
    r"\$\{?[A-Z_][A-Z0-9_]*\}?|\$[a-z_]+|[A-Z]+(?:_[A-Z]+)+|%\(?\w*\)?s?%?|[{<(\[].*[}>)\]]|[*xX]+"
)

_NAMES = (
    r"(?i:secret|token|passw(?:or)?d|passphrase|pwd|credential|apikey|authkey|"
    r"(?:api|access|account|auth|private|secret|encryption|signing|master|client|service|license|app|admin|write|session)"
    r"[ _.-]?key)"
)
_GIVEN = r"[A-Za-z0-9_]*[\\\"'`\]\)]*\s*(?:value\s*|\([^)\n]*\)\s?)?(?:(?::=|=>|[:=]|is)\s*|, *)"
_ASSIGNED = re2.compile(_NAMES + _GIVEN)
_VALUE = re.compile(r"(?:Bearer )?[\\\"'`]{0,4}(?P<value>[A-Za-z0-9+/_.~=!@#%^&*:-]{16,512})")

# A constant named after a secret is reason enough to look a little farther for the value: to the end of the next line.
_CONSTANT = re2.compile(r"[A-Za-z0-9]_(?i:key|token|secret|password|pat)\b")
_REACH = 100
_NEARBY = re.compile(r"(?<=[\s\"'`=:(])[A-Za-z0-9+/_=.~:-]{20,512}")

_PASSWORD = re2.compile(_PW_NAMES + r"[A-Za-z0-9_]*[\"']?\s*[:=]\s*")
_QUOTED = re.compile(r"(?P<quote>[\"'])(?P<value>[^\s\"']{8,128})(?P=quote)")
_BEARER = re.compile(r"(?i:\bbearer)\s+(?P<value>[A-Za-z0-9+/_=.~-]{16,512})")
_USER_FLAG = re.compile(
    r"(?:^|\s)(?:-u|--user)[ =]{0,3}[\"']?(?P<user>[^\s:\"']{1,64}):(?P<value>[^\s\"']{6,128})", re.MULTILINE
)
_NETRC = re.compile(r"\blogin\s+(?P<user>\S{1,64})\s+password\s+(?P<value>\S{6,128})")
_CLASSES = tuple(re.compile(some) for some in ("[a-z]", "[A-Z]", "[0-9]", "[^A-Za-z0-9_]"))


def find_addresses(text: str) -> Iterator[Finding]:
    """``scheme://user:password@host``: all up to the password, so that masking leaves the host."""
    for match in _ADDRESS.finditer(text):
        scheme = _SCHEME_END.search(text[max(0, match.start() - 31) : match.start()])
        if scheme is not None and _is_password(match["password"], match["user"]):
            start = match.start() - len(scheme[0])
            yield Finding("secret.connection_string", start, match.end("password"), "connection_string")


def find_keyword_connections(text: str) -> Iterator[Finding]:
    """``Server=...;Password=...``: the password, where another keyword of a connection stands near."""
    for name in islice(_KEYWORD.finditer(text), _MOST_NAMES):
        value = _KEYWORD_VALUE.match(text, name.end())
        # "--password=" is an option in a manual more often than a part of a connection.
        if value is None or text[name.start() - 1 : name.start()] == "-" or not _is_password(value[0], ""):
            continue
        near = text[max(0, name.start() - 200) : value.end() + 100]
        if ";" in near and _BESIDE_PASSWORD.search(near):
            yield Finding("secret.connection_string", *value.span(), "connection_string")


def find_assigned(text: str) -> Iterator[Finding]:
    """Random-looking values given to a name that speaks of a secret."""
    for name in islice(_ASSIGNED.finditer(text), _MOST_NAMES):
        value = _VALUE.match(text, name.end())
        if value is not None and _is_secret(value["value"]):
            yield Finding("secret.assigned", *value.span("value"), "assigned")


def find_near_constants(text: str) -> Iterator[Finding]:
    """Random-looking values on the line of a constant such as ``DD_API_KEY``, or on the next."""
    for name in islice(_CONSTANT.finditer(text), _MOST_NAMES):
        for value in _NEARBY.finditer(text, name.end(), _reach(text, name.end())):
            if _is_secret(value[0]):
                yield Finding("secret.assigned", *value.span(), "constant")


def find_passwords(text: str) -> Iterator[Finding]:
    """Quoted passwords of mixed characters, too short to look random."""
    for name in islice(_PASSWORD.finditer(text), _MOST_NAMES):
        value = _QUOTED.match(text, name.end())
        if value is None or not _is_password(value["value"], ""):
            continue
        if _is_mixed(value["value"]):
            yield Finding("secret.password", *value.span("value"), "password")


def find_credentials(text: str) -> Iterator[Finding]:
    """What a call or a tool is given to show who asks: a bearer's token, `-u user:password`, a line of .netrc."""
    for match in islice(_BEARER.finditer(text), _MOST_NAMES):
        if _is_secret(match["value"]):
            yield Finding("secret.assigned", *match.span("value"), "bearer")
    for pattern in (_USER_FLAG, _NETRC):
        for match in islice(pattern.finditer(text), _MOST_NAMES):
            word = match["value"]
            if _is_password(word, match["user"]) and (looks_random(word) or _is_mixed(word)):
                yield Finding("secret.password", *match.span("value"), "credentials")


def _is_mixed(word: str) -> bool:
    """Whether small letters, capitals, digits and signs are mixed as those do who are told to."""
    return sum(some.search(word) is not None for some in _CLASSES) >= 3


def _reach(text: str, start: int) -> int:
    """Where to stop looking for the value of a name that ends at `start`."""
    line_end = text.find("\n", start, start + _REACH)
    if line_end < 0:
        return start + _REACH * 2
    next_end = text.find("\n", line_end + 1, line_end + _REACH)
    return next_end if next_end >= 0 else line_end + _REACH


def _is_password(word: str, user: str) -> bool:
    if word.lower() in _COMMON or word == user or _FILLED_IN.fullmatch(word):
        return False
    return not is_placeholder(word)


def _is_secret(value: str) -> bool:
    # The full stop of a sentence is no part of the value.
    return looks_random(value.rstrip(".:")) and not is_placeholder(value)


_CONNECTION = frozenset({"secret.connection_string"})
_ASSIGNED_KIND = frozenset({"secret.assigned"})

ASSIGNED: tuple[Detector, ...] = (
    Detector("connection_string", _CONNECTION, (r"://[^\s/@\"'<>]*:[^\s/@\"'<>]+@",), find_addresses),
    Detector("keyword_connection", _CONNECTION, (r"(?i:password|pwd)\s?=",), find_keyword_connections),
    Detector("assigned", _ASSIGNED_KIND, (_NAMES + _GIVEN,), find_assigned),
    Detector(
        "credentials",
        _ASSIGNED_KIND | {"secret.password"},
        (r"(?i:bearer)\s+[A-Za-z0-9+/_=.~-]{6}", r"(?:-u|--user)[ =]", r"login\s+\S+\s+password\s"),
        find_credentials,
    ),
    Detector("constant", _ASSIGNED_KIND, (r"[A-Za-z0-9]_(?i:key|token|secret|password|pat)\b",), find_near_constants),
    Detector("password", frozenset({"secret.password"}), (_PW_NAMES + r"[A-Za-z0-9_]*[\"']?\s*[:=]",), find_passwords),
)  # fmt: skip
