"""Equal requests that are under way at the same time share one call: the first flies, the others come along.

Whoever joins has a ``Seat`` and gets every piece from the beginning, at its own pace. The call runs in a task of its own,
so it outlives the client that began it while somebody else still listens, and ends when nobody does. If it fails before
it could say anything, the next in line tries with a call of its own. No sockets here: pieces are bytes, and what the
head of an answer is, only those who fly know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind

HeadT = TypeVar("HeadT")

MAX_BYTES: Final = 64 << 20
MAX_TOTAL_BYTES: Final = 256 << 20
AHEAD_BYTES: Final = 1 << 20
"""How far a call may run ahead of the quickest of its readers."""
MAX_TAKEOVERS: Final = 3
"""How many more calls a failed one may lead to, however many wait: what fails for four fails for a thousand."""
CLOSE_TIMEOUT_S: Final = 5.0

_SAME_FOR_ALL: Final = frozenset(
    {
        FailureKind.BAD_REQUEST,
        FailureKind.NOT_FOUND,
        FailureKind.REJECTED,
        FailureKind.NO_CANDIDATE,
        FailureKind.PRIVACY_NO_ROUTE,
        FailureKind.UNSUPPORTED,
        FailureKind.TOO_LARGE,
        FailureKind.CONTENT_REFUSED,
    }
)
"""These lie in what was asked: whoever asks the same is told the same."""

_STOPPED: Final = Failure(FailureKind.OVERLOADED, "llmproxyd is stopping; ask again.", code="stopping")
_BROKEN: Final = Failure(
    FailureKind.INTERNAL, "llmproxyd failed on an equal request that this one waited for."
)
_TOO_SLOW: Final = Failure(
    FailureKind.TIMEOUT,
    "The answer was read too slowly to be kept for this client any longer.",
    code="too_slow",
)


class Broadcast(Generic[HeadT]):
    """What whoever flies speaks into."""

    def __init__(self, flight: _Flight[HeadT]) -> None:
        self._flight = flight

    def begin(self, head: HeadT) -> None:
        """The commit: from here on nobody else takes over."""
        self._flight.begin(head)

    async def send(self, piece: bytes) -> None:
        """To everybody. Waits while even the quickest reader is AHEAD_BYTES behind."""
        await self._flight.send(piece)

    def body(self) -> bytes | None:
        """All pieces up to now; None if they are not all here any more."""
        return self._flight.body()


class Seat(Generic[HeadT]):
    """One client of a flight: ``head`` first, then iterate over the pieces; ``leave`` whatever happened.

    ``leads``: its own call is the one that runs, or ran. ``told``: why earlier calls failed, while this one waited.
    """

    def __init__(self, flight: _Flight[HeadT], fly: Fly[HeadT]) -> None:
        self._flight = flight
        self.fly = fly
        self.leads = False
        self.told: tuple[Failure, ...] = ()
        self.read_bytes = 0
        self.at = 0
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def head(self) -> HeadT:
        """Raises ExchangeFailed if there will be no answer; from the one who flew, whatever its call raised."""
        while True:
            if self._error is not None:
                raise self._error
            if self._flight.begun:
                return self._flight.head
            await self._wait()

    def __aiter__(self) -> Seat[HeadT]:
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Raises ExchangeFailed after the last one of an answer that broke off."""
        while True:
            if self._error is not None:
                raise self._error
            piece = self._flight.piece(self)
            if piece is not None:
                return piece
            if self._flight.ended:
                if self._flight.error is not None:
                    raise self._flight.error
                raise StopAsyncIteration
            await self._wait()

    def leave(self) -> None:
        """May be called more than once."""
        self._flight.leave(self)

    def fail(self, error: BaseException) -> None:
        self._error = error
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Flights(Generic[HeadT]):
    """All calls that are shared. One for the whole daemon, used from its event loop.

    max_bytes: of one answer's pieces that are held for its readers; beyond it nobody can join any more, and whoever lags
    that far is cut. max_total_bytes: of all of them; beyond it each may hold AHEAD_BYTES more only.
    """

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        max_total_bytes: int = MAX_TOTAL_BYTES,
        max_takeovers: int = MAX_TAKEOVERS,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._max_takeovers = max_takeovers
        self._flights: dict[bytes, _Flight[HeadT]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.held_bytes = 0

    def __len__(self) -> int:
        """How many can be joined now."""
        return len(self._flights)

    def join(self, key: bytes, fly: Fly[HeadT]) -> Seat[HeadT]:
        """A seat in the flight of this key; where there is none, one begins with ``fly``.

        ``fly`` makes the whole call: ``begin`` once, ``send`` each piece, raise ExchangeFailed where it fails, and
        release what it holds even when cancelled. It is called at most once, now or when those before have failed.
        Raises ExchangeFailed after ``close``.
        """
        if self._closed:
            raise ExchangeFailed(_STOPPED)
        flight = self._flights.get(key)
        if flight is not None:
            return flight.join(fly)
        flight = self._flights[key] = _Flight(self, key)
        seat = flight.join(fly)
        flight.task = asyncio.create_task(flight.run(seat, self._max_takeovers), name="flight")
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step never runs at all.
        flight.task.add_done_callback(flight.landed)
        return seat

    def close_to_others(self, flight: _Flight[HeadT]) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def room_for(self, flight: _Flight[HeadT]) -> int:
        """How many bytes this one may hold."""
        return self._max_bytes if self.held_bytes <= self._max_total_bytes else AHEAD_BYTES * 2

    async def close(self) -> None:
        """End all calls; who still listens is told."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)


class _Flight(Generic[HeadT]):
    """``error``: why it ended, None if well. ``dropped``: pieces at the front that nobody needs any more."""

    def __init__(self, flights: Flights[HeadT], key: bytes) -> None:
        self._flights = flights
        self.key = key
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        self.ended = False
        self.error: BaseException | None = None
        self._head: HeadT | None = None
        self._seats: dict[Seat[HeadT], None] = {}  # in the order they were taken
        self._pieces: list[bytes] = []
        self._dropped = 0
        self._held_bytes = 0
        self._sent_bytes = 0
        self._front_bytes = 0
        self._room: asyncio.Future[None] | None = None

    @property
    def head(self) -> HeadT:
        assert self.begun, "nobody waits for a head that is there"
        return self._head  # type: ignore[return-value]  # a head may be None

    # --- seats ------------------------------------------------------------------------------------------------------

    def join(self, fly: Fly[HeadT]) -> Seat[HeadT]:
        seat = Seat(self, fly)
        self._seats[seat] = None
        return seat

    def leave(self, seat: Seat[HeadT]) -> None:
        if seat not in self._seats:
            return
        del self._seats[seat]
        if not self._seats:
            self._flights.close_to_others(self)
            self._release()
            if not self.ended and self.task is not None:
                self.task.cancel()
            return
        self._front_bytes = max(other.read_bytes for other in self._seats)
        self._make_room()

    def piece(self, seat: Seat[HeadT]) -> bytes | None:
        """The next piece for this seat; None if there is none yet."""
        place = seat.at - self._dropped
        if place >= len(self._pieces):
            return None
        piece = self._pieces[place]
        seat.at += 1
        seat.read_bytes += len(piece)
        if seat.read_bytes > self._front_bytes:
            self._front_bytes = seat.read_bytes
            self._make_room()
        return piece

    def _wake(self) -> None:
        for seat in self._seats:
            seat.wake()

    # --- the call ---------------------------------------------------------------------------------------------------

    async def run(self, pilot: Seat[HeadT], takeovers: int) -> None:
        """Calls, one after the other, until one got through or nobody is to try any more."""
        try:
            flying: Seat[HeadT] | None = pilot
            while flying is not None:
                failure = await self._try(flying)
                if failure is None:
                    return
                flying = self._next_pilot(failure) if takeovers > 0 else None
                takeovers -= 1
                if flying is None:
                    self._end(ExchangeFailed(failure))
        except asyncio.CancelledError:
            self._end(ExchangeFailed(_STOPPED))
            raise
        finally:
            self._flights.close_to_others(self)

    async def _try(self, pilot: Seat[HeadT]) -> Failure | None:
        """One call; why it failed before it had begun, None if it ended otherwise."""
        pilot.leads = True
        try:
            await pilot.fly(Broadcast(self))
        except ExchangeFailed as failed:
            failure, error = failed.failure, failed
        except Exception as bug:  # noqa: BLE001 - it is raised again, to the one whose call it was
            return self._crashed(pilot, bug)
        else:
            if self.begun:
                self._end(None)
                return None
            return self._crashed(pilot, RuntimeError("a call ended without a head"))
        if self.begun:
            self._end(error)
            return None
        self._dismiss(pilot, error, failure)
        return failure

    def _crashed(self, pilot: Seat[HeadT], bug: Exception) -> Failure | None:
        if self.begun:
            pilot.fail(bug)
            self._end(ExchangeFailed(_BROKEN))
            return None
        self._dismiss(pilot, bug, _BROKEN)
        return _BROKEN

    def _dismiss(self, pilot: Seat[HeadT], error: BaseException, failure: Failure) -> None:
        self._seats.pop(pilot, None)
        pilot.fail(error)
        for seat in self._seats:
            seat.told = (*seat.told, failure)

    def _next_pilot(self, failure: Failure) -> Seat[HeadT] | None:
        return None if failure.kind in _SAME_FOR_ALL else next(iter(self._seats), None)

    def begin(self, head: HeadT) -> None:
        assert not self.begun, "a call begins once"
        self.begun, self._head = True, head
        self._wake()

    async def send(self, piece: bytes) -> None:
        assert self.begun, "the head comes first"
        self._pieces.append(piece)
        self._sent_bytes += len(piece)
        self._hold(len(piece))
        limit = self._flights.room_for(self)
        if self._held_bytes > limit:
            self._shorten(limit)
        self._wake()
        while self._sent_bytes - self._front_bytes > AHEAD_BYTES and self._seats:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def body(self) -> bytes | None:
        return None if self._dropped else b"".join(self._pieces)

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def landed(self, task: asyncio.Task[None]) -> None:
        if not self.ended:
            self._flights.close_to_others(self)
            self._end(ExchangeFailed(_STOPPED))

    def _end(self, error: ExchangeFailed | None) -> None:
        self.ended, self.error = True, error
        if error is not None and not self.begun:
            for seat in self._seats:
                seat.fail(error)
        self._wake()

    # --- what is held -----------------------------------------------------------------------------------------------

    def _hold(self, size_bytes: int) -> None:
        self._held_bytes += size_bytes
        self._flights.held_bytes += size_bytes

    def _release(self) -> None:
        self._dropped += len(self._pieces)
        self._pieces.clear()
        self._hold(-self._held_bytes)

    def _shorten(self, limit_bytes: int) -> None:
        """Nobody can join any more. What all have read goes; if that is not enough, so do those who are furthest behind."""
        self._flights.close_to_others(self)
        self._drop_read()
        while self._held_bytes > limit_bytes and len(self._seats) > 1:
            slowest = min(self._seats, key=lambda seat: seat.at)
            del self._seats[slowest]
            slowest.fail(ExchangeFailed(_TOO_SLOW))
            self._drop_read()

    def _drop_read(self) -> None:
        needed = min((seat.at for seat in self._seats), default=self._dropped)
        read = self._pieces[: needed - self._dropped]
        del self._pieces[: len(read)]
        self._dropped += len(read)
        self._hold(-sum(map(len, read)))


Fly = Callable[[Broadcast[HeadT]], Awaitable[None]]
"""One whole call, spoken into a Broadcast."""
