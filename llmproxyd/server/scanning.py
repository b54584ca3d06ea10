"""Looking into requests for personal and secret data before anything is decided.

Nobody looks where nothing could come of it: where no rule asks for a kind of data and every provider that could be asked
may see any label. Short requests are read at once, long ones in a thread; either has a budget, and what was not read by
then counts as text that nobody could read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from llmproxyd.detect.engine import Detectors, build_detectors
from llmproxyd.logs import get_logger
from llmproxyd.surfaces.pieces import pieces_of
from llmproxyd.values.privacy import NOTHING_FOUND, Piece, Scan
from llmproxyd.values.request import Request
from llmproxyd.values.snapshot import AllOf, AnyOf, Condition, Holds, Not, Snapshot

AT_ONCE_BYTES = 8 * 1024
"""A longer request is read off the event loop: what is longer than this may take more than two milliseconds."""
BUDGET_S = 0.4
"""For one request. The fence holds whatever happens: what was not read has the label of `unscanned: text`."""

_log = get_logger("privacy")


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in a request, and the texts it was found in."""

    scan: Scan = NOTHING_FOUND
    pieces: tuple[Piece, ...] = ()


NOT_LOOKED = Looked()


class Scanner:
    """One for the whole daemon. ``clock``: monotonic seconds."""

    def __init__(self, clock: Callable[[], float], *, budget_s: float = BUDGET_S) -> None:
        self._clock = clock
        self._budget_s = budget_s
        self._snapshot: Snapshot | None = None
        self._detectors: Detectors | None = None

    def detectors(self, snapshot: Snapshot) -> Detectors | None:
        """What this configuration has to look for; None: nothing. Compiled once."""
        if snapshot is not self._snapshot:
            self._detectors, self._snapshot = _detectors_for(snapshot), snapshot
        return self._detectors

    async def look(self, request: Request, detectors: Detectors) -> Looked:
        """Raises nothing: a detector that breaks makes a scan that says so."""
        if len(request.body) <= AT_ONCE_BYTES:
            return self._read(request, detectors)
        return await asyncio.to_thread(self._read, request, detectors)

    def _read(self, request: Request, detectors: Detectors) -> Looked:
        pieces, unscanned = pieces_of(request)
        scan = detectors.scan(pieces, clock=self._clock, budget_s=self._budget_s)
        if scan.failed is not None:
            _log.error("detector_failed", reason=scan.failed)
        if unscanned:
            scan = replace(scan, unscanned=scan.unscanned | unscanned)
        return Looked(scan, pieces)


def _detectors_for(snapshot: Snapshot) -> Detectors | None:
    reading = frozenset(_read_by_rules(snapshot))
    if not reading and not _could_be_kept_from_somebody(snapshot):
        return None
    names = {kind for rule in snapshot.privacy.detect for kind in rule.kinds} | reading
    return build_detectors(names, snapshot.privacy.patterns) if names else None


def _could_be_kept_from_somebody(snapshot: Snapshot) -> bool:
    """Whether a finding could keep a request from a provider that might be asked."""
    highest = len(snapshot.privacy.labels) - 1
    return bool(snapshot.privacy.detect) and any(
        provider.clearance < highest
        for provider in snapshot.providers.values()
        if provider.enabled and provider.configured
    )


def _read_by_rules(snapshot: Snapshot) -> Iterator[str]:
    """Kinds and groups that rules mask, or ask for."""
    for rule in snapshot.rules:
        yield from rule.mask
        if rule.when is not None:
            yield from _kinds_in(rule.when)
    for kept in snapshot.cache.rules:
        if kept.when is not None:
            yield from _kinds_in(kept.when)


def _kinds_in(condition: Condition) -> Iterable[str]:
    match condition:
        case Holds(kinds):
            return kinds
        case Not(inner):
            return _kinds_in(inner)
        case AllOf(several) | AnyOf(several):
            return [kind for each in several for kind in _kinds_in(each)]
        case _:
            return ()
