"""Kept answers in memory: bounded by bytes, what was asked for least recently goes first. Used by the event loop only."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from llmproxyd.cache.entry import Cached

MAX_BYTES: Final = 64 << 20
ENTRY_BYTES: Final = 1024
"""What an entry costs besides its body: objects, names, places in the table."""
_LARGEST_SHARE: Final = 4
"""No entry takes more than a quarter: one answer must not empty the rest."""


class Held(msgspec.Struct):
    """``expires_s``, ``touched_s``: Unix seconds; the latter is when its use was last noted on disk."""

    cached: Cached
    expires_s: float
    touched_s: float

    @property
    def cost_bytes(self) -> int:
        return len(self.cached.body) + ENTRY_BYTES


class CacheMemory:
    """max_bytes: of all entries together, with what each costs besides its body."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        # Ordered: a plain dict that is emptied from its front gets slower with every entry that left.
        self._entries: OrderedDict[bytes, Held] = OrderedDict()  # least recently used first
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def get(self, key: bytes) -> Held | None:
        held = self._entries.get(key)
        if held is not None:
            self._entries.move_to_end(key)
        return held

    def put(self, key: bytes, held: Held) -> bool:
        """Whether it is kept; one that is too large is not, and takes an older one of its key with it."""
        self.drop(key)
        if held.cost_bytes > self._max_bytes // _LARGEST_SHARE:
            return False
        self._entries[key] = held
        self._size_bytes += held.cost_bytes
        self._trim()
        return True

    def drop(self, key: bytes) -> None:
        held = self._entries.pop(key, None)
        if held is not None:
            self._size_bytes -= held.cost_bytes

    def clear(self) -> None:
        self._entries.clear()
        self._size_bytes = 0

    def resize(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._trim()

    def _trim(self) -> None:
        while self._size_bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._size_bytes -= oldest.cost_bytes
