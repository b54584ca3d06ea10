"""A timer that ends a wait, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from llmproxyd.exchange.alarm import Alarm

SOON_S = 0.02
LONG_S = 30.0


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def wait(at_s: float | None, *then_s: float | None) -> None:
    """For ever, under an alarm that is set anew before the wait begins."""
    with Alarm(at_s) as alarm:
        for again_s in then_s:
            alarm.set(again_s)
        await for_ever()


async def test_it_ends_a_wait_when_its_time_has_come() -> None:
    start_s = now_s()
    with pytest.raises(TimeoutError), Alarm(start_s + SOON_S):
        await for_ever()
    assert SOON_S - 0.002 <= now_s() - start_s < 5


async def test_what_ends_in_time_is_left_alone() -> None:
    with Alarm(now_s() + LONG_S):
        await asyncio.sleep(0)
    assert_nothing_is_left()


async def test_a_time_that_has_passed_ends_the_first_wait() -> None:
    with pytest.raises(TimeoutError), Alarm(now_s() - 1):
        await for_ever()


async def test_without_a_time_the_wait_may_go_on() -> None:
    with Alarm(None):
        await asyncio.sleep(SOON_S)
    assert_nothing_is_left()


async def test_it_can_be_put_off() -> None:
    start_s = now_s()
    with pytest.raises(TimeoutError):
        await wait(start_s + SOON_S, start_s + 4 * SOON_S)
    assert now_s() - start_s >= 4 * SOON_S - 0.002


async def test_it_can_be_put_earlier() -> None:
    start_s = now_s()
    with pytest.raises(TimeoutError):
        await wait(start_s + LONG_S, start_s + SOON_S)
    assert now_s() - start_s < 5


async def test_it_can_rest_and_be_set_again() -> None:
    async def rest_and_wait() -> None:
        with Alarm(now_s() + SOON_S) as alarm:
            alarm.set(None)
            await asyncio.sleep(3 * SOON_S)
            alarm.set(now_s() + SOON_S)
            rested.append(True)
            await for_ever()

    rested: list[bool] = []
    with pytest.raises(TimeoutError):
        await rest_and_wait()
    assert rested


async def test_put_off_then_earlier_the_last_word_counts() -> None:
    start_s = now_s()
    with pytest.raises(TimeoutError):
        await wait(start_s + SOON_S, start_s + LONG_S, start_s + 2 * SOON_S)
    assert now_s() - start_s < 5


async def test_an_error_of_the_body_passes() -> None:
    with pytest.raises(KeyError), Alarm(now_s() + LONG_S):
        raise KeyError
    assert_nothing_is_left()


async def test_a_cancellation_from_outside_is_no_timeout() -> None:
    async def waiting() -> None:
        with Alarm(now_s() + LONG_S):
            await for_ever()

    task = asyncio.ensure_future(waiting())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_outside_wins_when_both_come_at_once() -> None:
    entered = asyncio.Event()

    async def waiting() -> None:
        with Alarm(now_s() + SOON_S):
            entered.set()
            await for_ever()

    task = asyncio.ensure_future(waiting())
    await entered.wait()
    # The loop is blocked until both are due, then both happen before the task runs again.
    asyncio.get_running_loop().call_later(SOON_S, task.cancel)
    time.sleep(2 * SOON_S)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_it_still_times_out_in_a_task_that_survived_a_cancellation() -> None:
    """Cleaning up after a cancellation is a wait like any other."""

    async def cleaning_up() -> str:
        try:
            await for_ever()
        except asyncio.CancelledError:
            with pytest.raises(TimeoutError), Alarm(now_s() + SOON_S):
                await for_ever()
        return "cleaned up"

    task = asyncio.ensure_future(cleaning_up())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "cleaned up"


async def test_after_it_went_off_the_task_can_wait_again() -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError), Alarm(now_s()):
            await for_ever()
    assert_nothing_is_left()
    await asyncio.sleep(SOON_S)


async def test_an_alarm_within_an_alarm_ends_the_inner_wait_alone() -> None:
    with Alarm(now_s() + LONG_S):
        with pytest.raises(TimeoutError), Alarm(now_s() + SOON_S):
            await for_ever()
        await asyncio.sleep(0)
    assert_nothing_is_left()


@pytest.mark.parametrize(
    "told", [test_it_ends_a_wait_when_its_time_has_come, test_it_can_be_put_off, test_it_can_be_put_earlier]
)
def test_it_keeps_time_on_the_loop_that_serves(told: Callable[[], Awaitable[None]]) -> None:
    """The faster loop's clock counts whole milliseconds, and runs its timers by them."""

    async def run() -> None:
        await told()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def assert_nothing_is_left() -> None:
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
