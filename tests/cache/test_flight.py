from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmproxyd.cache.flight import AHEAD_BYTES, Broadcast, Flights, Seat
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind

KEY = b"k"
OVERLOADED = Failure(FailureKind.OVERLOADED, "too much to do")
WRONG = Failure(FailureKind.BAD_REQUEST, "cannot be read")


class Call:
    """An upstream call that goes on when it is told to."""

    def __init__(self, *pieces: bytes, failure: Failure | None = None, head: str = "head") -> None:
        self.pieces = pieces
        self.failure = failure
        self.head = head
        self.go = asyncio.Event()
        self.rest = asyncio.Event()
        self.rest.set()
        self.starts = 0
        self.ended = asyncio.Event()
        self.cancelled = False
        self.body: bytes | None = None

    async def __call__(self, out: Broadcast[str]) -> None:
        self.starts += 1
        try:
            await self.go.wait()
            if self.failure is not None and not self.pieces:
                raise ExchangeFailed(self.failure)
            out.begin(self.head)
            for piece in self.pieces:
                await out.send(piece)
                await self.rest.wait()
            if self.failure is not None:
                raise ExchangeFailed(self.failure)
            self.body = out.body()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.ended.set()


@pytest.fixture
async def flights() -> AsyncIterator[Flights[str]]:
    flights: Flights[str] = Flights()
    yield flights
    await flights.close()


async def heard(seat: Seat[str]) -> tuple[str, bytes]:
    try:
        return await seat.head(), b"".join([piece async for piece in seat])
    finally:
        seat.leave()


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


def called_off(call: Call) -> bool:
    return call.cancelled and call.ended.is_set()


async def test_a_thousand_joins_are_one_call_and_all_get_the_same_bytes(flights: Flights[str]) -> None:
    calls = [Call(*[b"%d;" % n for n in range(50)]) for _ in range(1000)]
    seats = [flights.join(KEY, call) for call in calls]
    listening = [asyncio.create_task(heard(seat)) for seat in seats]
    calls[0].go.set()
    results = await asyncio.gather(*listening)
    assert set(results) == {("head", b"".join(calls[0].pieces))}
    assert [call.starts for call in calls] == [1] + [0] * 999
    assert [seat.leads for seat in seats] == [True] + [False] * 999
    assert (calls[0].body, len(flights), flights.held_bytes) == (b"".join(calls[0].pieces), 0, 0)


async def test_whoever_comes_late_gets_everything_from_the_beginning(flights: Flights[str]) -> None:
    call = Call(b"a", b"b")
    call.go.set()
    call.rest.clear()
    first = flights.join(KEY, call)
    assert await first.head() == "head"
    assert await anext(first) == b"a"
    late = asyncio.create_task(heard(flights.join(KEY, Call())))
    await settle()
    call.rest.set()
    assert await late == ("head", b"ab")
    first.leave()


async def test_the_next_one_after_the_end_begins_anew(flights: Flights[str]) -> None:
    for text in (b"one", b"two"):
        call = Call(text)
        call.go.set()
        assert await heard(flights.join(KEY, call)) == ("head", text)


async def test_other_keys_fly_alone(flights: Flights[str]) -> None:
    calls = [Call(b"a"), Call(b"b")]
    seats = [flights.join(key, call) for key, call in zip((b"k1", b"k2"), calls, strict=True)]
    for call in calls:
        call.go.set()
    assert [await heard(seat) for seat in seats] == [("head", b"a"), ("head", b"b")]


# --- who leaves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True])
async def test_the_call_outlives_the_client_that_began_it(flights: Flights[str], begun: bool) -> None:
    call = Call(b"a", b"b")
    call.rest.clear()
    leader, follower = flights.join(KEY, call), flights.join(KEY, Call())
    if begun:
        call.go.set()
        await leader.head()
    leader.leave()
    leader.leave()
    call.go.set()
    call.rest.set()
    assert await heard(follower) == ("head", b"ab")
    assert not call.cancelled


async def test_a_cancelled_leader_does_not_end_the_call(flights: Flights[str]) -> None:
    call = Call(b"a")
    leading = asyncio.create_task(heard(flights.join(KEY, call)))
    following = asyncio.create_task(heard(flights.join(KEY, Call())))
    await settle()
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading
    call.go.set()
    assert await following == ("head", b"a")


async def test_when_all_have_left_the_call_is_cancelled_and_nobody_can_join_it(flights: Flights[str]) -> None:
    call = Call(b"a")
    seats = [flights.join(KEY, call), flights.join(KEY, Call())]
    await settle()
    for seat in seats:
        seat.leave()
    assert len(flights) == 0
    again = Call(b"again")
    again.go.set()
    assert await heard(flights.join(KEY, again)) == ("head", b"again")
    await asyncio.wait_for(call.ended.wait(), 5)
    assert called_off(call)


async def test_whoever_leaves_at_once_leaves_nothing_behind(flights: Flights[str]) -> None:
    call = Call(b"a")
    flights.join(KEY, call).leave()
    await settle()
    assert (call.starts, len(flights)) == (0, 0)


# --- what fails -------------------------------------------------------------------------------------------------


async def test_after_a_failure_the_next_in_line_takes_over_at_once(flights: Flights[str]) -> None:
    failing, working, spare = Call(failure=OVERLOADED), Call(b"a"), Call(b"b")
    working.go.set()
    seats = [flights.join(KEY, call) for call in (failing, working, spare)]
    listening = [asyncio.create_task(heard(seat)) for seat in seats]
    await settle()
    failing.go.set()
    await settle()  # a few turns of the loop, no timer
    assert working.starts == 1
    results = await asyncio.gather(*listening, return_exceptions=True)
    assert isinstance(results[0], ExchangeFailed)
    assert results[0].failure is OVERLOADED
    assert results[1:] == [("head", b"a")] * 2
    assert [call.starts for call in (failing, working, spare)] == [1, 1, 0]
    assert [seat.told for seat in seats] == [(), (OVERLOADED,), (OVERLOADED,)]
    assert [seat.leads for seat in seats] == [True, True, False]


async def test_each_tries_once_and_the_last_failure_is_everybodys() -> None:
    flights: Flights[str] = Flights(max_takeovers=2)
    calls = [Call(failure=Failure(FailureKind.OVERLOADED, str(n))) for n in range(100)]
    for call in calls:
        call.go.set()
    results: list[Any] = await asyncio.gather(
        *[heard(flights.join(KEY, call)) for call in calls], return_exceptions=True
    )
    assert [result.failure.message for result in results] == ["0", "1", "2"] + ["2"] * 97
    assert [call.starts for call in calls] == [1, 1, 1] + [0] * 97
    assert len(flights) == 0


async def test_what_lies_in_the_question_is_told_to_all_without_asking_again(flights: Flights[str]) -> None:
    calls = [Call(failure=WRONG) for _ in range(3)]
    calls[0].go.set()
    results: list[Any] = await asyncio.gather(
        *[heard(flights.join(KEY, call)) for call in calls], return_exceptions=True
    )
    assert [result.failure for result in results] == [WRONG] * 3
    assert [call.starts for call in calls] == [1, 0, 0]


async def test_after_the_commit_all_are_told_that_it_broke_off(flights: Flights[str]) -> None:
    call = Call(b"a", b"b", failure=OVERLOADED)
    call.go.set()
    seats = [flights.join(KEY, call), flights.join(KEY, Call(b"never"))]

    async def listen(seat: Seat[str]) -> tuple[bytes, Failure | None]:
        got = b""
        try:
            async for piece in seat:
                got += piece
        except ExchangeFailed as failed:
            return got, failed.failure
        finally:
            seat.leave()
        return got, None

    assert await asyncio.gather(*map(listen, seats)) == [(b"ab", OVERLOADED)] * 2


async def test_a_bug_is_raised_to_the_one_whose_call_it_was(flights: Flights[str]) -> None:
    async def bug(out: Broadcast[str]) -> None:
        raise ZeroDivisionError

    working = Call(b"a")
    working.go.set()
    results: list[Any] = list(
        await asyncio.gather(
            heard(flights.join(KEY, bug)), heard(flights.join(KEY, working)), return_exceptions=True
        )
    )
    assert isinstance(results[0], ZeroDivisionError)
    assert results[1] == ("head", b"a")


async def test_a_bug_after_the_commit_is_told_to_the_others_as_ours(flights: Flights[str]) -> None:
    async def bug(out: Broadcast[str]) -> None:
        out.begin("head")
        raise ZeroDivisionError

    results: list[Any] = list(
        await asyncio.gather(
            heard(flights.join(KEY, bug)), heard(flights.join(KEY, Call())), return_exceptions=True
        )
    )
    assert isinstance(results[0], ZeroDivisionError)
    assert results[1].failure.kind is FailureKind.INTERNAL


async def test_a_leader_that_left_and_failed_leaves_the_call_to_the_next(flights: Flights[str]) -> None:
    failing, working = Call(failure=OVERLOADED), Call(b"a")
    working.go.set()
    leader, follower = flights.join(KEY, failing), flights.join(KEY, working)
    await settle()
    leader.leave()
    failing.go.set()
    assert await heard(follower) == ("head", b"a")


@pytest.mark.parametrize("started", [False, True])
async def test_stopping_ends_all_calls_and_tells_everybody(started: bool) -> None:
    flights: Flights[str] = Flights()
    call = Call(b"a")
    listening = [asyncio.create_task(heard(flights.join(KEY, call))) for _ in range(2)]
    if started:
        await settle()
    else:
        listening = [asyncio.create_task(heard(flights.join(b"other", call)))]
        flights.join(b"third", call)
    await flights.close()
    results: list[Any] = await asyncio.gather(*listening, return_exceptions=True)
    assert {result.failure.code for result in results} == {"stopping"}
    with pytest.raises(ExchangeFailed):
        flights.join(KEY, call)


async def test_a_task_that_never_ran_still_tells_its_seat() -> None:
    flights: Flights[str] = Flights()
    seat = flights.join(KEY, Call(b"a"))
    await flights.close()
    with pytest.raises(ExchangeFailed):
        await seat.head()


# --- paces ------------------------------------------------------------------------------------------------------

PIECE = bytes(64 * 1024)


async def test_a_slow_reader_slows_nobody(flights: Flights[str]) -> None:
    call = Call(*[PIECE] * 100)
    call.go.set()
    quick, slow = flights.join(KEY, call), flights.join(KEY, Call())
    assert await heard(quick) == ("head", PIECE * 100)
    assert await heard(slow) == ("head", PIECE * 100)


async def test_the_quickest_reader_sets_the_pace_of_the_call(flights: Flights[str]) -> None:
    sent = 0

    async def fly(out: Broadcast[str]) -> None:
        nonlocal sent
        out.begin("head")
        for _ in range(100):
            await out.send(PIECE)
            sent += len(PIECE)

    slow, slower = flights.join(KEY, fly), flights.join(KEY, fly)
    await settle()
    assert sent <= AHEAD_BYTES
    for _ in range(32):
        await anext(slow)
    await settle()
    assert 32 * len(PIECE) <= sent <= AHEAD_BYTES + 32 * len(PIECE)
    slow.leave()
    assert await heard(slower) == ("head", PIECE * 100)


async def test_whoever_lags_further_than_what_is_held_is_cut() -> None:
    flights: Flights[str] = Flights(max_bytes=4 * AHEAD_BYTES)
    call = Call(*[PIECE] * 200)
    call.go.set()
    quick, slow = flights.join(KEY, call), flights.join(KEY, Call())
    assert await slow.head() == "head"
    assert await anext(slow) == PIECE
    held = 0
    async for _ in quick:
        held = max(held, flights.held_bytes)
    quick.leave()
    assert held <= 4 * AHEAD_BYTES + len(PIECE)
    with pytest.raises(ExchangeFailed) as told:
        await anext(slow)
    assert told.value.failure.code == "too_slow"
    slow.leave()
    assert call.body is None  # not all of it is here any more, so nobody can keep it
    assert flights.held_bytes == 0


async def test_beyond_what_is_held_nobody_can_join() -> None:
    flights: Flights[str] = Flights(max_bytes=AHEAD_BYTES)
    call = Call(*[PIECE] * 40)
    call.go.set()
    first = flights.join(KEY, call)
    for _ in range(30):
        await anext(first)
    assert len(flights) == 0
    other = Call(b"other")
    other.go.set()
    assert await heard(flights.join(KEY, other)) == ("head", b"other")
    assert len(b"".join([piece async for piece in first])) == 10 * len(PIECE)
    first.leave()


async def test_all_flights_together_are_bounded() -> None:
    flights: Flights[str] = Flights(max_total_bytes=4 * AHEAD_BYTES)
    calls = [Call(*[PIECE] * 64) for _ in range(8)]
    pairs = []
    for number, call in enumerate(calls):
        call.go.set()
        pairs.append([flights.join(b"%d" % number, call), flights.join(b"%d" % number, call)])
    for quick, _ in pairs:
        assert await heard(quick) == ("head", PIECE * 64)
    assert flights.held_bytes <= 4 * AHEAD_BYTES + 8 * (2 * AHEAD_BYTES + len(PIECE))
    for _, slow in pairs:
        slow.leave()
    assert flights.held_bytes == 0
