"""What has happened lately, for people and programs that watch: a ring of events, and those who follow it.

An event is about the daemon and its providers. It holds names and numbers, never a word of what a client said.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Self, TypeAlias

import msgspec

Fact: TypeAlias = str | int | float | None

KEPT = 1000
WAITING = 256
FOLLOWERS = 64
LOST = "lost"
_MAX_FACT_CHARS = 500
_COUNT = re.compile(r"\d{1,15}", re.ASCII)


class Event(msgspec.Struct, frozen=True):
    """``id`` is ``EPOCH-NUMBER``: numbers count from 1 within one process, the epoch names the process. ``at_s`` is wall
    clock, Unix seconds. ``subject``: a deployment, a provider, or empty."""

    id: str
    at_s: float
    kind: str
    subject: str
    facts: Mapping[str, Fact]


class TooManyFollowers(Exception):  # noqa: N818 - it is an answer, not a bug
    """As many as may follow the events do so already."""


class Subscription:
    """An async iterator over events; ends when it or its source is closed. For one task.

    A follower who is slow loses the oldest of what waits for it, and is told how many by one event of kind ``lost``.
    """

    def __init__(
        self, leave: Callable[[Subscription], None], backlog: deque[Event], lost: Event | None
    ) -> None:
        self._leave = leave
        self._backlog = backlog
        self._waiting: deque[Event] = deque()
        self._lost = lost
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        """Called by the source alone."""
        if len(self._waiting) >= WAITING:
            self._lose(self._waiting.popleft())
        self._waiting.append(event)
        self._wake.set()

    def _lose(self, event: Event) -> None:
        count = int(self._lost.facts["count"] or 0) if self._lost is not None else 0
        self._lost = _lost(count + 1, event.id, event.at_s)

    def end(self) -> None:
        """What waits is still handed out."""
        self._closed = True
        self._wake.set()

    def close(self) -> None:
        """The follower goes."""
        self.end()
        self._leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """May be cancelled at any time: no event is lost by that."""
        while (event := self._take()) is None:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return event

    def _take(self) -> Event | None:
        # What waits is newer than the backlog, and so is what was lost of it; a gap before the backlog comes first.
        if self._backlog and (self._lost is None or _number(self._lost.id) > _number(self._backlog[0].id)):
            return self._backlog.popleft()
        if self._lost is not None:
            lost, self._lost = self._lost, None
            return lost
        return self._waiting.popleft() if self._waiting else None


class Events:
    """The last ``size`` events. Everything here runs on the event loop.

    ``counts``: events by kind since the start; another thread may copy it. ``epoch``: other than that of any process
    before, so that an id of one of those is not taken for one of ours.
    """

    def __init__(self, wall: Callable[[], float], size: int = KEPT, *, epoch: str | None = None) -> None:
        self._wall = wall
        self._ring: deque[Event] = deque(maxlen=size)
        self._epoch = epoch or secrets.token_hex(4)
        self._number = 0
        self._followers: set[Subscription] = set()
        self._closed = False
        self.counts: Counter[str] = Counter()

    def publish(self, kind: str, subject: str = "", **facts: Fact) -> Event:
        """``facts``: names, numbers and our own words; long ones are clipped."""
        self._number += 1
        clipped = {name: _clip(fact) for name, fact in facts.items()}
        event = Event(f"{self._epoch}-{self._number}", self._wall(), kind, subject, clipped)
        self._ring.append(event)
        self.counts[kind] += 1
        for follower in self._followers:
            follower.put(event)
        return event

    def after(self, last_id: str | None = None) -> tuple[Event, ...]:
        """What is kept and came after ``last_id``, oldest first: everything if that is none of ours, or None."""
        known = self._known(last_id) or 0
        return tuple(event for event in self._ring if _number(event.id) > known)

    def subscribe(self, after: str | None = None) -> Subscription:
        """Follow what happens from now on; ``after``: and what is kept since that id. Raises TooManyFollowers."""
        if len(self._followers) >= FOLLOWERS:
            raise TooManyFollowers
        backlog = () if after is None else self.after(after)
        follower = Subscription(self._followers.discard, deque(backlog), self._gap(after))
        if self._closed:
            follower.end()
        else:
            self._followers.add(follower)
        return follower

    def close(self) -> None:
        """Let all followers go, for instance because the daemon does."""
        self._closed = True
        for follower in tuple(self._followers):
            follower.end()

    def _known(self, last_id: str | None) -> int | None:
        epoch, _, number = (last_id or "").rpartition("-")
        ours = epoch == self._epoch and _COUNT.fullmatch(number)
        return int(number) if ours else None

    def _gap(self, after: str | None) -> Event | None:
        """What somebody who has seen ``after`` can no longer be told."""
        known = self._known(after)
        if known is None or not self._ring:
            return None
        missing = _number(self._ring[0].id) - known - 1
        return (
            None if missing <= 0 else _lost(missing, f"{self._epoch}-{known + missing}", self._ring[0].at_s)
        )


def _lost(count: int, last_id: str, at_s: float) -> Event:
    return Event(last_id, at_s, LOST, "", {"count": count})


def _number(event_id: str) -> int:
    return int(event_id.rpartition("-")[2])


def _clip(fact: Fact) -> Fact:
    return fact[:_MAX_FACT_CHARS] if isinstance(fact, str) else fact
