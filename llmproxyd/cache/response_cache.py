"""Answers that are kept: memory in front, the store behind it. One for the whole daemon, used from its event loop.

``now_s`` is Unix seconds everywhere here, because answers outlive the process. An entry is fresh until its time is up,
to the second, and stale for as long again as the operator allows; stale ones are only for when nobody can answer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from secrets import token_bytes
from typing import Final

import msgspec

from llmproxyd.cache.entry import MAX_BODY_BYTES, Cached
from llmproxyd.cache.key import SECRET_BYTES, load_secret
from llmproxyd.cache.memory import MAX_BYTES, CacheMemory, Held
from llmproxyd.cache.store import FILE, CacheStore
from llmproxyd.logs import get_logger
from llmproxyd.values.snapshot import CachePolicy

_TOUCH_EVERY_S: Final = 3600.0
"""How exactly the file knows when an entry was last used: most hits write nothing."""

_log = get_logger("cache")


class Hit(msgspec.Struct, frozen=True):
    """``age_s``: whole seconds since it was made. ``stale``: its time is up."""

    cached: Cached
    age_s: int
    stale: bool = False


class Counts(msgspec.Struct):
    """Since the start. ``saved_nanos``: what hits would have cost where that is known."""

    hits: int = 0
    stale_hits: int = 0
    misses: int = 0
    kept: int = 0
    refused: int = 0
    saved_nanos: int = 0


class CacheReport(msgspec.Struct, frozen=True):
    """For people and metrics. ``fault``: why nothing can be written to disk, None if all is well."""

    counts: Counts
    entries: int
    memory_bytes: int
    evicted: int
    lost: int
    fault: str | None


class ResponseCache:
    """``secret`` keys all digests. ``store`` None: memory only. ``stale_s``: how long an expired entry is kept."""

    def __init__(
        self,
        *,
        secret: bytes,
        store: CacheStore | None = None,
        memory_bytes: int = MAX_BYTES,
        stale_s: float = CachePolicy().stale_s,
    ) -> None:
        self.secret = secret
        self.counts = Counts()
        self._memory = CacheMemory(memory_bytes)
        self._store = store
        self._stale_s = stale_s

    @classmethod
    def open(cls, state_dir: Path | None, policy: CachePolicy, *, wall: Callable[[], float]) -> ResponseCache:
        """With the files of ``state_dir``; None, or one that cannot be used (told in the log): in memory only."""
        memory_bytes = min(MAX_BYTES, policy.max_bytes)
        if state_dir is not None:
            try:
                secret = load_secret(state_dir)
            except OSError as error:
                help_ = "answers are kept in memory only; make the state directory writable for llmproxyd"
                _log.warning("cache.no_secret", reason=error.strerror or str(error), help=help_)
            else:
                store = CacheStore(
                    state_dir / FILE, max_bytes=policy.max_bytes, stale_s=policy.stale_s, wall=wall
                )
                return cls(secret=secret, store=store, memory_bytes=memory_bytes, stale_s=policy.stale_s)
        return cls(secret=token_bytes(SECRET_BYTES), memory_bytes=memory_bytes, stale_s=policy.stale_s)

    def reconcile(self, policy: CachePolicy) -> None:
        """Adopt what a reload changed; entries stay as far as they fit."""
        self._stale_s = policy.stale_s
        self._memory.resize(min(MAX_BYTES, policy.max_bytes))
        if self._store is not None:
            self._store.resize(policy.max_bytes)

    def peek(
        self, key: bytes, now_s: float, *, max_age_s: float | None = None, allow_stale: bool = False
    ) -> Hit | None:
        """What is in memory, without waiting. Whoever awaited ``get`` peeks again right before joining a flight:
        between the two somebody else may have landed. Counts nothing."""
        held = self._memory.get(key)
        if held is None:
            return None
        if now_s >= held.expires_s + self._stale_s:
            self._memory.drop(key)
            return None
        return self._judge(key, held, now_s, max_age_s, allow_stale=allow_stale)

    async def get(
        self,
        key: bytes,
        now_s: float,
        *,
        max_age_s: float | None = None,
        allow_stale: bool = False,
        persisted: bool = True,
    ) -> Hit | None:
        """A kept answer that is at most ``max_age_s`` old; with ``allow_stale`` one whose time is up will do, and its age
        does not matter. ``persisted`` False: such answers are never on disk. Counts the hit or the miss."""
        hit = self.peek(key, now_s, max_age_s=max_age_s, allow_stale=allow_stale)
        if hit is None and persisted and self._store is not None:
            hit = await self._fetch(key, self._store, now_s, max_age_s, allow_stale=allow_stale)
        self._count(hit)
        return hit

    async def _fetch(
        self, key: bytes, store: CacheStore, now_s: float, max_age_s: float | None, *, allow_stale: bool
    ) -> Hit | None:
        found = await store.read(key)
        if found is None:
            return None
        # A newer one may have come meanwhile; and what expired long ago is for the writer to clear away.
        newer = self._memory.get(key)
        held = newer or Held(found[1], found[0], touched_s=0.0)
        if now_s >= held.expires_s + self._stale_s:
            return None
        if newer is None:
            self._memory.put(key, held)
        return self._judge(key, held, now_s, max_age_s, allow_stale=allow_stale)

    def _judge(
        self, key: bytes, held: Held, now_s: float, max_age_s: float | None, *, allow_stale: bool
    ) -> Hit | None:
        # A clock that was set back must not make an answer younger than new.
        age_s = max(0.0, now_s - held.cached.created_s)
        fresh = now_s < held.expires_s and (max_age_s is None or age_s < max_age_s)
        if not fresh and not allow_stale:
            return None
        if self._store is not None and now_s - held.touched_s >= _TOUCH_EVERY_S:
            held.touched_s = now_s
            self._store.touch(key, now_s)
        return Hit(held.cached, int(age_s), stale=not fresh)

    def _count(self, hit: Hit | None) -> None:
        if hit is None:
            self.counts.misses += 1
            return
        self.counts.hits += 1
        self.counts.stale_hits += hit.stale
        self.counts.saved_nanos += hit.cached.cost_nanos or 0

    def put(self, key: bytes, cached: Cached, ttl_s: float, now_s: float, *, persist: bool = True) -> bool:
        """Keep it for ``ttl_s`` seconds from now; whether it is kept. ``persist`` False: in memory only, and what the
        disk has of that key goes."""
        if len(cached.body) > MAX_BODY_BYTES:
            self.counts.refused += 1
            return False
        expires_s = now_s + ttl_s
        kept = self._memory.put(key, Held(cached, expires_s, touched_s=now_s))
        if self._store is not None:
            if persist:
                kept = self._store.put(key, cached, expires_s, now_s) or kept
            else:
                self._store.forget(key)
        self.counts.kept += kept
        self.counts.refused += not kept
        return kept

    def clear(self) -> None:
        """Forget every answer."""
        self._memory.clear()
        if self._store is not None:
            self._store.clear()

    def report(self) -> CacheReport:
        store = self._store
        return CacheReport(
            counts=self.counts,
            entries=len(self._memory),
            memory_bytes=self._memory.size_bytes,
            evicted=store.evicted if store else 0,
            lost=store.lost if store else 0,
            fault=store.fault if store else None,
        )

    async def flush(self) -> None:
        """Returns once the disk has what was put, or was given up on."""
        if self._store is not None:
            await self._store.flush()

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()
