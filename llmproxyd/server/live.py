"""The events of an answer in the making, for whoever wants to watch it: from the beginning, or from any number on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable


class Channel:
    """One answer's events. Readers come and go; the answer does not wait for them. As long as one answer may be.

    first_number: of the first event, so that those of an earlier try, which readers may have seen, are all lower.
    """

    def __init__(self, first_number: int = 0) -> None:
        self._first_number = first_number
        self._frames: list[tuple[int, bytes]] = []
        self._news = asyncio.Event()
        self._ended = False

    @property
    def empty(self) -> bool:
        return not self._frames

    @property
    def next_number(self) -> int:
        return self._frames[-1][0] + 1 if self._frames else self._first_number

    def put(self, frames: Iterable[tuple[int, bytes]]) -> None:
        self._frames.extend(frames)
        self._wake()

    def close(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._wake()

    def joined(self) -> bytes:
        return b"".join(frame for _, frame in self._frames)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self, after: int, *, ping_s: float) -> AsyncGenerator[bytes, None]:
        """What has a higher number than ``after``, until the end; empty bytes where nothing came for ``ping_s``."""
        place = 0
        while True:
            # Taken before looking: what comes between the look and the wait must not be missed.
            news = self._news
            fresh, place = self._frames[place:], len(self._frames)
            pending = b"".join(frame for number, frame in fresh if number > after)
            if pending:
                yield pending
                continue
            if self._ended:
                return
            try:
                async with asyncio.timeout(ping_s):
                    await news.wait()
            except TimeoutError:
                yield b""
