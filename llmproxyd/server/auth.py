"""Who is calling: the key a client shows -> its tenant. Pure; the handler says who is at the other end of a socket.

Clients show a key where their dialect puts it: ``Authorization: Bearer``, ``x-api-key``, ``x-goog-api-key``, or
``?key=`` in the address. Keys are known by SHA-256 alone: what is looked up is a digest, so how long the look-up takes
says nothing that would help to guess a key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from multidict import MultiMapping

from llmproxyd.values.contracts import Headers
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Limits, Snapshot, Tenant, VirtualKey

_KEY_HEADERS: Final = ("x-api-key", "x-goog-api-key")
_PARAMETER: Final = "key"
_MAX_PARAMETERS: Final = 64
_HOW: Final = "Send it as `Authorization: Bearer KEY`, `x-api-key` or `x-goog-api-key`."


class Caller(msgspec.Struct, frozen=True):
    """``tenant`` None: no key was asked for. ``key``: the one that was shown, None where none was needed."""

    tenant: Tenant | None = None
    key: VirtualKey | None = None

    @property
    def key_id(self) -> str:
        """The first 8 hexadecimal digits of the key's SHA-256; empty without one."""
        return "" if self.key is None else self.key.id

    @property
    def key_limits(self) -> Limits:
        """The key's own limits, which hold beside those of its tenant."""
        return _NO_LIMITS if self.key is None else self.key.limits


_NO_LIMITS: Final = Limits()
ANYBODY: Final = Caller()


class Doorkeeper:
    """One for the whole daemon. ``exposed``: other machines can connect, so that without a declared key nobody is let in
    over TCP. The start is refused then; a reload that takes the last key away must not open the door either. ``wall``:
    Unix seconds, for keys that have a last day."""

    def __init__(self, *, exposed: bool = False, wall: Callable[[], float] = time.time) -> None:
        self.exposed = exposed
        self._wall = wall
        self._snapshot: Snapshot | None = None
        self._callers: Mapping[str, Caller] = {}

    def identify(
        self, headers: Headers, snapshot: Snapshot, *, local: bool, target: str = ""
    ) -> Caller | Failure:
        """Who asks, or why nobody is let in (`unauthenticated`).

        headers: names in lower case, or a mapping that does not tell cases apart. local: root or the daemon's own user
        at the Unix socket, who need no key but may show one. target: path with query, as sent.
        """
        if not snapshot.tenants and not self.exposed:
            return ANYBODY
        shown = dict.fromkeys(_shown_keys(headers, target))
        if not shown:
            return ANYBODY if local else _NO_KEY if snapshot.tenants else _CLOSED
        if len(shown) > 1:
            return _SEVERAL
        return self._known(next(iter(shown)), snapshot, local=local)

    def _known(self, key: str, snapshot: Snapshot, *, local: bool) -> Caller | Failure:
        if snapshot is not self._snapshot:
            self._callers, self._snapshot = _callers_by_digest(snapshot), snapshot
        digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        caller = self._callers.get(digest)
        if caller is not None and not self._has_expired(caller.key):
            return caller
        # Tools often insist on some key; for those who need none, one that is not ours says nothing.
        if local:
            return ANYBODY
        return _unknown(digest) if caller is None else _expired(caller.key_id)

    def _has_expired(self, key: VirtualKey | None) -> bool:
        if key is None or key.until is None:
            return False
        # Days are ISO dates, which sort as they follow each other.
        return datetime.fromtimestamp(self._wall(), UTC).date().isoformat() >= key.until


def _callers_by_digest(snapshot: Snapshot) -> dict[str, Caller]:
    return {key.digest: Caller(tenant, key) for tenant in snapshot.tenants.values() for key in tenant.keys}


def _shown_keys(headers: Headers, target: str) -> Iterator[str]:
    """Every key that the request holds; an empty one is none."""
    for value in _values(headers, "authorization"):
        scheme, _, key = value.partition(" ")
        if scheme.lower() == "bearer" and key.strip():
            yield key.strip()
    for name in _KEY_HEADERS:
        yield from (value.strip() for value in _values(headers, name) if value.strip())
    query = target.partition("?")[2]
    if _PARAMETER in query:
        yield from _keys_in(query)


def _keys_in(query: str) -> Iterator[str]:
    try:
        pairs = parse_qsl(query, errors="surrogateescape", max_num_fields=_MAX_PARAMETERS)
    except ValueError:  # more parameters than any client sends
        return
    yield from (value.strip() for name, value in pairs if name == _PARAMETER and value.strip())


def _values(headers: Headers, name: str) -> list[str]:
    if isinstance(headers, MultiMapping):
        return headers.getall(name, [])
    value = headers.get(name)
    return [] if value is None else [value]


def _refusal(message: str, code: str, detail: str) -> Failure:
    return Failure(FailureKind.UNAUTHENTICATED, message, detail=detail, code=code)


def _unknown(digest: str) -> Failure:
    """The operator may compare the digits with those in `tenants`; the client learns nothing."""
    return _refusal(
        "This key is not known here. Ask the operator of this proxy for one.",
        "invalid_api_key",
        f"no tenant has the key sha256:{VirtualKey(digest).id}...",
    )


def _expired(key_id: str) -> Failure:
    return _refusal(
        "This key is not taken any more: its time is over. Ask the operator of this proxy for a new one.",
        "expired_api_key",
        f"the key sha256:{key_id}... has passed its `until`",
    )


_NO_KEY: Final = _refusal(f"A key of this proxy is needed. {_HOW}", "missing_api_key", "no key was shown")
_SEVERAL: Final = _refusal(
    "The request shows several keys that differ, so it is not clear who asks. Send one key, in one place: "
    "`Authorization: Bearer KEY`, `x-api-key`, `x-goog-api-key` or `?key=`.",
    "conflicting_api_keys",
    "several different keys were shown",
)
_CLOSED: Final = _refusal(
    "This proxy knows no keys at the moment, so it serves nobody over the network. Ask its operator.",
    "no_keys_declared",
    "other machines can connect, but routing.yaml declares no tenant: add `tenants`, or listen on loopback only",
)
