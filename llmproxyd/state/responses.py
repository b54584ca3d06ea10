"""Stored responses in memory: bounded by bytes, by number and by age. What is asked for least goes first.

A restart forgets them; clients are then told that the previous response is not known, and send the whole conversation.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

from llmproxyd.values.stored import StoredResponse

MAX_BYTES = 64 * 1024 * 1024
MAX_COUNT = 10_000
TTL_S = 24 * 3600.0

ENTRY_BYTES = 512
"""What an entry costs besides its texts: keys, objects, places in the tables."""

_Key: TypeAlias = tuple[str, str]


class ResponseMemory:
    """A ResponseStore. One for the whole daemon, used from its event loop only.

    max_bytes: of all entries together. ttl_s: seconds after ``put``, however often it is asked for.
    """

    def __init__(
        self, *, max_bytes: int = MAX_BYTES, max_count: int = MAX_COUNT, ttl_s: float = TTL_S
    ) -> None:
        self._max_bytes = max_bytes
        self._max_count = max_count
        self._ttl_s = ttl_s
        # Ordered: a plain dict that is emptied from its front gets slower with every entry that left.
        self._entries: OrderedDict[_Key, StoredResponse] = OrderedDict()  # least recently used first
        self._expires_s: OrderedDict[_Key, float] = OrderedDict()  # oldest first
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """What all entries cost together."""
        return self._size_bytes

    def put(self, stored: StoredResponse, now_s: float) -> bool:
        key = (stored.owner, stored.id)
        self._drop(key)
        self._expire(now_s)
        cost = _cost(stored)
        if cost > self._max_bytes or self._max_count < 1:
            return False
        while self._size_bytes + cost > self._max_bytes or len(self._entries) >= self._max_count:
            self._drop(next(iter(self._entries)))
        self._entries[key] = stored
        self._expires_s[key] = now_s + self._ttl_s
        self._size_bytes += cost
        return True

    def get(self, response_id: str, owner: str, now_s: float) -> StoredResponse | None:
        self._expire(now_s)
        key = (owner, response_id)
        stored = self._entries.get(key)
        if stored is not None:
            self._entries.move_to_end(key)
        return stored

    def delete(self, response_id: str, owner: str, now_s: float) -> bool:
        self._expire(now_s)
        return self._drop((owner, response_id))

    def _expire(self, now_s: float) -> None:
        while self._expires_s:
            key, expires_s = next(iter(self._expires_s.items()))
            if expires_s > now_s:
                return
            self._drop(key)

    def _drop(self, key: _Key) -> bool:
        stored = self._entries.pop(key, None)
        if stored is None:
            return False
        del self._expires_s[key]
        self._size_bytes -= _cost(stored)
        return True


def _cost(stored: StoredResponse) -> int:
    return stored.size_bytes + ENTRY_BYTES
