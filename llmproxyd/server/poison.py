"""Requests that crash us are not tried for ever.

A bug ends the request that met it, not the process. But a client that repeats that request costs a traceback each time,
and perhaps more. So a request that has crashed three times is refused before anybody touches it, for ten minutes. Known
are only keyed digests, with a key of this process: the table says nothing of what was asked.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from math import inf

import msgspec

from llmproxyd.values.failure import Failure, FailureKind

CRASHES = 3
WITHIN_S = 600.0
"""So many crashes within this time, and for so long the request stays out after the last of them."""
MAX_REQUESTS = 1024

_DIGEST_BYTES = 16


class _Suspect(msgspec.Struct):
    """When it crashed, the last few times (monotonic seconds), and the id of the last."""

    crashed_s: tuple[float, ...] = ()
    request_id: str = ""

    def out_until_s(self) -> float:
        return self.crashed_s[-1] + WITHIN_S if len(self.crashed_s) >= CRASHES else -inf


class Quarantine:
    """While nothing has crashed lately it costs one comparison, and no body is looked at. ``refused``: how many so far."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._suspects: dict[bytes, _Suspect] = {}
        self._watch_until_s = -inf
        self.refused = 0

    def refusal(self, surface_name: str, body: bytes, now_s: float) -> Failure | None:
        """None: nothing is known against it."""
        if now_s >= self._watch_until_s:
            return None
        suspect = self._suspects.get(self._digest(surface_name, body))
        if suspect is None or now_s >= (until_s := suspect.out_until_s()):
            return None
        self.refused += 1
        return Failure(
            FailureKind.INTERNAL,
            f"This request made llmproxyd fail {CRASHES} times and is refused for a while; "
            f"its log tells more under {suspect.request_id}.",
            detail=f"quarantined after {suspect.request_id}",
            code="quarantined",
            retry_after_s=until_s - now_s,
        )

    def crashed(self, surface_name: str, body: bytes, request_id: str, now_s: float) -> bool:
        """Its handling raised what nobody foresaw. Whether it is out from now on."""
        self._forget(now_s)
        digest = self._digest(surface_name, body)
        suspect = self._suspects.pop(digest, None) or _Suspect()
        recent = [at_s for at_s in suspect.crashed_s if at_s > now_s - WITHIN_S]
        suspect.crashed_s = (*recent, now_s)[-CRASHES:]
        suspect.request_id = request_id
        self._suspects[digest] = suspect
        self._watch_until_s = now_s + WITHIN_S
        return suspect.out_until_s() > now_s

    def _forget(self, now_s: float) -> None:
        """Whoever has not crashed for so long, and whoever is one too many. The first in line crashed longest ago."""
        while self._suspects:
            oldest = next(iter(self._suspects))
            expired = self._suspects[oldest].crashed_s[-1] <= now_s - WITHIN_S
            if not expired and len(self._suspects) < MAX_REQUESTS:
                return
            del self._suspects[oldest]

    def _digest(self, surface_name: str, body: bytes) -> bytes:
        digest = blake2b(surface_name.encode(), key=self._key, digest_size=_DIGEST_BYTES)
        digest.update(b"\0")
        digest.update(body)
        return digest.digest()
