"""The world outside: providers that are up and down, and what becomes of a call made to one at some time.

Everything is drawn from the generator that is handed in, in the order of the calls: the same seed gives the same world.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from math import exp, inf, log
from random import Random

from llmproxyd.values.failure import Failure, FailureKind

SHORTEST_OUTAGE_S = 300.0
LONGEST_OUTAGE_S = 36_000.0

_TYPICAL_FIRST_CONTENT_S = 0.4
_TYPICAL_STREAM_S = 6.0
_CUT_SHARE = 1e-5
"""Of all streams, so many break off although the provider is well."""
_PROBE_S = 0.05


class Manner(StrEnum):
    """How a provider is down."""

    REFUSED = "refused"  # nobody listens
    BUSY = "busy"  # 503
    SILENT = "silent"  # takes calls and says nothing, to probes neither
    HOLLOW = "hollow"  # the same, but the free probe is answered
    THROTTLED = "throttled"  # 429 to everybody


@dataclass(frozen=True, slots=True)
class Outage:
    begins_s: float
    ends_s: float
    manner: Manner


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a call if nobody gives it up. ``refusal`` comes at ``refused_s``; else the content begins at
    ``content_s`` and is whole at ``whole_s``, unless nothing comes any more from ``mute_s``, or the connection breaks at
    ``cut_s``. All points in time; inf: never."""

    refused_s: float = inf
    refusal: Failure | None = None
    content_s: float = inf
    whole_s: float = inf
    mute_s: float = inf
    cut_s: float = inf


@dataclass(frozen=True, slots=True)
class ProbeFate:
    ends_s: float
    ok: bool
    alive: bool


class Server:
    """One provider. ``probe_limit_s``: how long a probe waits for a silent one. ``flaky_share`` of the calls made to it
    while it is up fail all the same."""

    def __init__(
        self,
        outages: tuple[Outage, ...],
        rng: Random,
        *,
        probe_limit_s: float = 5.0,
        flaky_share: float = 0.0,
    ) -> None:
        self.outages = outages
        self._begins = [outage.begins_s for outage in outages]
        self._rng = rng
        self._probe_limit_s = probe_limit_s
        self._flaky_share = flaky_share

    def outage_at(self, now_s: float) -> Outage | None:
        place = bisect_right(self._begins, now_s) - 1
        if place < 0 or self.outages[place].ends_s <= now_s:
            return None
        return self.outages[place]

    def called(self, now_s: float) -> Fate:
        down = self.outage_at(now_s)
        if down is None and self._rng.random() < self._flaky_share:
            failure, takes_s = self._refusal(Manner.BUSY)
            return Fate(refused_s=now_s + takes_s, refusal=failure)
        if down is None:
            return self._answers(now_s)
        if down.manner in (Manner.SILENT, Manner.HOLLOW):
            return Fate()
        failure, takes_s = self._refusal(down.manner)
        return Fate(refused_s=now_s + takes_s, refusal=failure)

    def _refusal(self, manner: Manner) -> tuple[Failure, float]:
        if manner is Manner.REFUSED:
            return Failure(FailureKind.UNREACHABLE, "nobody listens"), 0.001
        if manner is Manner.BUSY:
            return Failure(FailureKind.OVERLOADED, "busy", status=503), 0.05
        pause_s = float(self._rng.randint(1, 60))
        return Failure(FailureKind.RATE_LIMITED, "too many", status=429, retry_after_s=pause_s), 0.03

    def _answers(self, now_s: float) -> Fate:
        rng = self._rng
        content_s = now_s + _TYPICAL_FIRST_CONTENT_S * exp(rng.gauss(0.0, 0.35))
        whole_s = content_s + _TYPICAL_STREAM_S * exp(rng.gauss(0.0, 0.5))
        cut_s = content_s + rng.random() * (whole_s - content_s) if rng.random() < _CUT_SHARE else inf
        upset = self._next_after(now_s)
        if upset is None or upset.begins_s >= whole_s or upset.manner is Manner.THROTTLED:
            return Fate(content_s=content_s, whole_s=whole_s, cut_s=cut_s)
        if upset.manner in (Manner.SILENT, Manner.HOLLOW):
            return _silenced(Fate(content_s=content_s, whole_s=whole_s, cut_s=cut_s), upset.begins_s)
        if upset.begins_s < content_s:
            broken = Failure(FailureKind.UNREACHABLE, "the connection broke")
            return Fate(refused_s=upset.begins_s, refusal=broken)
        return Fate(content_s=content_s, whole_s=whole_s, cut_s=min(cut_s, upset.begins_s))

    def _next_after(self, now_s: float) -> Outage | None:
        place = bisect_right(self._begins, now_s)
        return self.outages[place] if place < len(self.outages) else None

    def probed(self, now_s: float) -> ProbeFate:
        """A free request whose answer does not depend on the models."""
        down = self.outage_at(now_s)
        if down is None or down.manner in (Manner.HOLLOW, Manner.THROTTLED):
            return ProbeFate(now_s + _PROBE_S, ok=True, alive=True)
        takes_s = self._probe_limit_s if down.manner is Manner.SILENT else _PROBE_S
        return ProbeFate(now_s + takes_s, ok=False, alive=False)


def _silenced(fate: Fate, mute_s: float) -> Fate:
    if mute_s < fate.content_s:
        return Fate()
    return Fate(
        content_s=fate.content_s, whole_s=inf, mute_s=mute_s, cut_s=fate.cut_s if fate.cut_s < mute_s else inf
    )


def draw_outages(rng: Random, horizon_s: float, share: float) -> tuple[Outage, ...]:
    """Outages that make up exactly ``share`` of the time up to ``horizon_s``, at random times, in random manners.

    Lengths are log-uniform between 5 minutes and 10 hours; the last is what is left, or lengthens the one before.
    """
    lengths: list[float] = []
    left_s = horizon_s * share
    while left_s > 0:
        drawn_s = exp(rng.uniform(log(SHORTEST_OUTAGE_S), log(LONGEST_OUTAGE_S)))
        if left_s - drawn_s < SHORTEST_OUTAGE_S:
            drawn_s = left_s
        lengths.append(drawn_s)
        left_s -= drawn_s
    up_s = horizon_s * (1 - share)
    marks = sorted(rng.uniform(0, up_s) for _ in lengths)
    outages, down_s = [], 0.0
    for mark_s, length_s in zip(marks, lengths, strict=True):
        begins_s = mark_s + down_s
        outages.append(Outage(begins_s, begins_s + length_s, rng.choice(list(Manner))))
        down_s += length_s
    return tuple(outages)
