"""How long answers of a deployment usually take, by kind of call, and which timers follow from that.

A kind is: streamed or whole, the effort that was asked for, and the size of the request by powers of four. Only good
answers teach anything. A wrong timeout costs a good answer, so limits are multiples of the slowest of the last 128
answers but one, since a single hiccup shall not make every silence longer; only the time to hedge, which costs less, is
a percentile.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from math import ceil

import msgspec
from msgspec.structs import replace

from llmproxyd.state.health import Outcome

KEPT = 128
ENOUGH = 20
"""Samples before anything is said."""
MAX_KINDS = 32
FIRST_CONTENT_FLOOR_S = 0.2
HEDGE_FLOOR_S = 0.05
TOTAL_FLOOR_S = 1.0
STALL_FLOOR_S = 3.0
_MAX_DOUBLINGS = 6
_TRIALS_PER_DOUBLING = 8
_MAX_EFFORT_CHARS = 32


class Timers(msgspec.Struct, frozen=True):
    """Learnt limits in seconds since dispatch (``stall_s``: since the last content). None: not enough history.

    ``total_s`` is for whole answers, ``first_content_s`` and ``stall_s`` are for streams. ``hedge_after_s``: by then 95 %
    of the streams had begun, or of the whole answers had come.
    """

    first_content_s: float | None = None
    total_s: float | None = None
    stall_s: float | None = None
    hedge_after_s: float | None = None


UNKNOWN = Timers()


class Learnt(msgspec.Struct, frozen=True):
    """The timers of one kind of call, for people. ``below_bytes``: requests of a quarter of that size up to it."""

    stream: bool
    effort: str | None
    below_bytes: int
    samples: int
    timers: Timers


class Recent:
    """The last ``KEPT`` numbers, also in order of size: a number costs a shift in a short list, a percentile nothing."""

    __slots__ = ("_arrived", "_sorted")

    def __init__(self) -> None:
        self._arrived: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, number: float) -> None:
        if len(self._arrived) == KEPT:
            del self._sorted[bisect_left(self._sorted, self._arrived.popleft())]
        self._arrived.append(number)
        insort(self._sorted, number)

    @property
    def largest_but_one(self) -> float:
        """Of at least two."""
        return self._sorted[-2]

    def percentile(self, share: float) -> float:
        """The smallest number that at least ``share`` (0..1) of them do not exceed."""
        return self._sorted[max(0, ceil(share * len(self._sorted)) - 1)]


class _Kind:
    """What was seen of one kind of call. ``timers`` None: to be worked out anew. ``uses`` fades when room is made."""

    __slots__ = ("begun", "gaps", "timers", "uses")

    def __init__(self) -> None:
        self.begun = Recent()
        self.gaps = Recent()
        self.timers: Timers | None = None
        self.uses = 0

    def learn(self, stream: bool, outcome: Outcome) -> None:
        sample_s = outcome.first_content_s if stream else outcome.total_s
        if sample_s is not None:
            self.begun.add(sample_s)
            self.timers = None
        if stream and outcome.longest_gap_s is not None:
            self.gaps.add(outcome.longest_gap_s)
            self.timers = None

    def work_out(self, stream: bool) -> Timers:
        stall_s = max(STALL_FLOOR_S, 4 * self.gaps.largest_but_one) if len(self.gaps) >= ENOUGH else None
        if len(self.begun) < ENOUGH:
            return UNKNOWN if stall_s is None else Timers(stall_s=stall_s)
        slowest_s = 2 * self.begun.largest_but_one
        return Timers(
            first_content_s=max(FIRST_CONTENT_FLOOR_S, slowest_s) if stream else None,
            total_s=None if stream else max(TOTAL_FLOOR_S, slowest_s),
            stall_s=stall_s,
            hedge_after_s=max(HEDGE_FLOOR_S, self.begun.percentile(0.95)),
        )


_Key = tuple[bool, str | None, int]


class Timing:
    """Of one deployment; at most ``MAX_KINDS`` kinds, the least used makes room."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[_Key, _Kind] = {}

    def learn(self, outcome: Outcome) -> None:
        """A good answer teaches; anything else is ignored."""
        if not outcome.ok:
            return
        key = _key(outcome.stream, outcome.effort, outcome.bytes_in)
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                self._make_room()
            kind = self._kinds[key] = _Kind()
        kind.uses += 1
        kind.learn(outcome.stream, outcome)

    def _make_room(self) -> None:
        del self._kinds[min(self._kinds, key=lambda key: self._kinds[key].uses)]
        # Kinds that were common once must not keep out for ever those that are common now.
        for kind in self._kinds.values():
            kind.uses //= 2

    def timers(self, stream: bool, effort: str | None, bytes_in: int, failed_trials: int = 0) -> Timers:
        """For a call of this kind. ``failed_trials`` double the limits: it may just have become slower."""
        kind = self._kinds.get(_key(stream, effort, bytes_in))
        if kind is None:
            return UNKNOWN
        if kind.timers is None:
            kind.timers = kind.work_out(stream)
        return _widen(kind.timers, failed_trials) if failed_trials else kind.timers

    def learnt(self) -> Iterator[Learnt]:
        """Every kind of which enough is known, for people."""
        for (stream, effort, size), kind in self._kinds.items():
            timers = kind.work_out(stream)
            if timers != UNKNOWN:
                yield Learnt(stream, effort, 4**size, len(kind.begun), timers)


def _widen(timers: Timers, failed_trials: int) -> Timers:
    """A trial is somebody's request: it may take a little longer, in case the deployment has become slower for good, and
    only if trials go on failing much longer."""
    factor = 2.0 ** min(failed_trials // _TRIALS_PER_DOUBLING, _MAX_DOUBLINGS)
    return replace(
        timers,
        first_content_s=None if timers.first_content_s is None else timers.first_content_s * factor,
        total_s=None if timers.total_s is None else timers.total_s * factor,
    )


def _key(stream: bool, effort: str | None, bytes_in: int) -> _Key:
    # A client chooses the word, so it is cut: what is kept of it must not depend on the client.
    word = effort if effort is None or len(effort) <= _MAX_EFFORT_CHARS else effort[:_MAX_EFFORT_CHARS]
    return stream, word, (bytes_in.bit_length() + 1) // 2
