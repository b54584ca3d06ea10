"""Who may knock: checks made before anything of a request is read. A daemon on loopback is reachable by every web page.

Host: exactly one, on the allow-list (against DNS rebinding). Origin: absent or allowed; `Sec-Fetch-Site: cross-site` is
refused (against pages that spend money blindly). A body must be declared JSON, which no page can send unasked.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from multidict import CIMultiDictProxy

from llmproxyd.values.failure import Failure, FailureKind

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Refusal(msgspec.Struct, frozen=True):
    """``status`` is HTTP's own; the connection is closed where the peer is not who we speak with."""

    status: int
    failure: Failure
    close: bool = True


def _refuse(status: int, message: str, code: str) -> Refusal:
    return Refusal(status, Failure(FailureKind.FORBIDDEN, message, code=code))


_TWO_HOSTS = _refuse(400, "A request needs exactly one Host header.", "bad_host")
_CROSS_SITE = _refuse(403, "Requests from other web sites are refused.", "cross_site")


def allowed_hosts(ports: Iterable[int], extra: Iterable[str]) -> frozenset[str]:
    """Host header values that are ours: the loopback names with our ports, and what the operator added.

    An entry of ``extra`` without a port stands for every port in ``ports`` and for none.
    """
    ports = tuple(ports)
    hosts = {f"{name}:{port}" for name in LOOPBACK_NAMES for port in ports}
    for entry in extra:
        hosts.add(entry.lower())
        if not entry.rpartition("]")[2].rpartition(":")[1]:
            hosts.update(f"{entry.lower()}:{port}" for port in ports)
    if 80 in ports:
        hosts.update(LOOPBACK_NAMES)
    return frozenset(hosts)


class Admission:
    """The checks, with the allow-lists of this process. ``local``: over the Unix socket, where no browser comes from."""

    def __init__(self, hosts: frozenset[str], origins: frozenset[str]) -> None:
        self._hosts = hosts
        self._origins = origins

    def check(self, headers: CIMultiDictProxy[str], *, local: bool) -> Refusal | None:
        """None: come in."""
        hosts = headers.getall("Host", [])
        if len(hosts) > 1 or (not hosts and not local):
            return _TWO_HOSTS
        if not local and hosts[0] not in self._hosts and hosts[0].lower() not in self._hosts:
            return _refuse(
                421,
                f"The host {hosts[0][:100]!r} is not served here; allow it with --allow-host.",
                "host_not_allowed",
            )
        origin = headers.get("Origin")
        if origin is not None and origin not in self._origins:
            return _refuse(
                403,
                f"The origin {origin[:100]!r} is not allowed; allow it with --allow-origin.",
                "origin_not_allowed",
            )
        if origin is None and headers.get("Sec-Fetch-Site") == "cross-site":
            return _CROSS_SITE
        return None


def check_json(headers: CIMultiDictProxy[str]) -> Failure | None:
    """A body must say that it is JSON. None: it does."""
    declared = headers.get("Content-Type", "")
    if declared == "application/json":
        return None
    kind = declared.partition(";")[0].strip().lower()
    if kind == "application/json":
        return None
    seen = f"not {kind[:60]!r}" if kind else "and there is none"
    return Failure(
        FailureKind.BAD_REQUEST,
        f"The Content-Type must be application/json, {seen} (curl: -H 'content-type: application/json').",
        status=415,
        code="unsupported_media_type",
    )
