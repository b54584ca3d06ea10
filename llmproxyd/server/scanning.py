"""Looking into requests for personal and secret data before anything is decided.

Nobody looks where nothing could come of it: where no rule asks for a kind of data and every provider that could be asked
may see any label. Whoever looks does so in a thread and has a budget: what was not read by then counts as text that nobody
could read, and a detector that does not come back counts as if it had found everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from llmproxyd.detect.engine import Detectors, build_detectors
from llmproxyd.logs import get_logger
from llmproxyd.surfaces.pieces import pieces_of
from llmproxyd.values.privacy import NOTHING_FOUND, Piece, Scan
from llmproxyd.values.request import Request
from llmproxyd.values.snapshot import AllOf, AnyOf, Condition, Holds, Not, OwnPattern, Snapshot

BUDGET_S = 0.4
"""For one request; the fence holds whatever happens."""
PATIENCE_S = 2.0
"""Beyond the budget: a detector looks at the time between two of its steps, and one that hangs never does."""
THREADS = 2

_Wanted: TypeAlias = tuple[frozenset[str], tuple[OwnPattern, ...]]
_log = get_logger("privacy")


class Looked(msgspec.Struct, frozen=True):
    """What was found in a request, and the texts it was found in."""

    scan: Scan = NOTHING_FOUND
    pieces: tuple[Piece, ...] = ()


NOT_LOOKED = Looked()


class Scanner:
    """One for the whole daemon. ``clock``: monotonic seconds."""

    def __init__(
        self, clock: Callable[[], float], *, budget_s: float = BUDGET_S, patience_s: float = PATIENCE_S
    ) -> None:
        self._clock = clock
        self._budget_s = budget_s
        self._patience_s = patience_s
        self._snapshot: Snapshot | None = None
        self._detectors: Detectors | None = None
        self._built: tuple[_Wanted, Detectors] | None = None
        # Threads of its own: one that hangs must not take the place of those that read files.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="scan")

    def prepare(self, snapshot: Snapshot) -> None:
        """Build what this configuration has to look for: a quarter of a second, so not on the event loop."""
        self._build(_wanted(snapshot))

    def detectors(self, snapshot: Snapshot) -> Detectors | None:
        """What this configuration has to look for; None: nothing."""
        if snapshot is not self._snapshot:
            self._detectors, self._snapshot = self._build(_wanted(snapshot)), snapshot
        return self._detectors

    def _build(self, wanted: _Wanted) -> Detectors | None:
        if not wanted[0]:
            return None
        if self._built is None or self._built[0] != wanted:
            self._built = wanted, build_detectors(*wanted)
        return self._built[1]

    async def look(self, request: Request, detectors: Detectors) -> Looked:
        """Raises nothing: a detector that breaks, or hangs, makes a scan that says so."""
        pieces, unread = pieces_of(request)
        reading = asyncio.get_running_loop().run_in_executor(self._threads, self._scan, pieces, detectors)
        try:
            async with asyncio.timeout(self._budget_s + self._patience_s):
                scan = await reading
        except TimeoutError:
            scan = Scan(failed="a detector does not come back")
        if scan.failed is not None:
            _log.error("detector_failed", reason=scan.failed)
        unscanned = scan.unscanned | {each.kind for each in unread}
        return Looked(replace(scan, unscanned=unscanned, unread=unread), pieces)

    def _scan(self, pieces: tuple[Piece, ...], detectors: Detectors) -> Scan:
        return detectors.scan(pieces, clock=self._clock, budget_s=self._budget_s)

    def close(self) -> None:
        """Whatever hangs is left behind."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _wanted(snapshot: Snapshot) -> _Wanted:
    """(names of kinds and groups, the operator's own patterns); no names: nothing is looked for."""
    reading = frozenset(_read_by_rules(snapshot))
    if not reading and not _could_be_kept_from_somebody(snapshot):
        return frozenset(), ()
    detected = frozenset(kind for rule in snapshot.privacy.detect for kind in rule.kinds)
    return detected | reading, snapshot.privacy.patterns


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
