"""Saying no in time: the least urgent first, by lag and by number, and yes again only when it is calm."""

from __future__ import annotations

import asyncio
import time

import pytest

from llmproxyd.server.overload import BEAT_S, Overload
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.request import Priority

BATCH, NORMAL, INTERACTIVE = Priority.BATCH, Priority.NORMAL, Priority.INTERACTIVE
ALL = (BATCH, NORMAL, INTERACTIVE)


class Beating(Overload):
    """Its loop is as late as a test says."""

    def __init__(self, max_in_flight: int = 100) -> None:
        super().__init__(lambda: self.now_s, max_in_flight=max_in_flight)
        self.now_s = 1000.0
        self.beat(self.now_s)

    def late(self, late_s: float, beats: int = 30) -> None:
        for _ in range(beats):
            self.now_s += BEAT_S + late_s
            self.beat(self.now_s)

    def admitted(self) -> tuple[Priority, ...]:
        return tuple(priority for priority in ALL if self.refusal(priority, self.now_s) is None)


@pytest.fixture
def overload() -> Beating:
    return Beating()


class TestByLag:
    @pytest.mark.parametrize(
        ("lag_s", "admitted"),
        [
            (0.0, ALL),
            (0.09, ALL),
            (0.11, (NORMAL, INTERACTIVE)),
            (0.24, (NORMAL, INTERACTIVE)),
            (0.26, (INTERACTIVE,)),
            (0.9, (INTERACTIVE,)),
            (1.1, ()),
        ],
    )
    def test_the_least_urgent_go_first(
        self, overload: Beating, lag_s: float, admitted: tuple[Priority, ...]
    ) -> None:
        overload.late(lag_s)
        assert overload.admitted() == admitted
        assert overload.lag_s == pytest.approx(lag_s, rel=0.01)

    def test_one_late_beat_is_no_overload(self, overload: Beating) -> None:
        overload.late(0.3, beats=1)
        assert overload.admitted() == ALL

    def test_who_was_turned_away_comes_in_again_only_when_it_is_calm(self, overload: Beating) -> None:
        overload.late(0.3)
        assert overload.admitted() == (INTERACTIVE,)
        overload.late(0.2)
        assert overload.admitted() == (INTERACTIVE,), "better, but not well"
        overload.late(0.12)
        assert overload.admitted() == (NORMAL, INTERACTIVE)
        overload.late(0.04)
        assert overload.admitted() == ALL

    def test_a_beat_that_is_long_overdue_counts_before_it_comes(self, overload: Beating) -> None:
        overload.now_s += 10.0
        assert overload.admitted() == ()
        overload.late(0.0)
        assert overload.admitted() == ALL


class TestByNumber:
    @pytest.mark.parametrize(
        ("in_flight", "admitted"),
        [
            (59, ALL),
            (60, (NORMAL, INTERACTIVE)),
            (89, (NORMAL, INTERACTIVE)),
            (90, (INTERACTIVE,)),
            (100, ()),
        ],
    )
    def test_each_may_fill_its_share(
        self, overload: Beating, in_flight: int, admitted: tuple[Priority, ...]
    ) -> None:
        for _ in range(in_flight):
            overload.began()
        assert overload.admitted() == admitted

    def test_an_end_makes_room(self, overload: Beating) -> None:
        for _ in range(100):
            overload.began()
        assert overload.refusal(INTERACTIVE, overload.now_s) is not None
        overload.ended()
        assert overload.refusal(INTERACTIVE, overload.now_s) is None


class TestTheRefusal:
    def test_says_why_and_when_to_come_again(self, overload: Beating) -> None:
        overload.late(0.3)
        failure = overload.refusal(BATCH, overload.now_s)
        assert failure is not None
        assert (failure.kind, failure.code, failure.client_status) == (
            FailureKind.SATURATED,
            "overloaded",
            503,
        )
        assert "priority batch must wait" in failure.message
        assert failure.detail == "in flight 0, loop lag 300 ms"

    def test_sends_them_away_for_longer_the_harder_it_is(self, overload: Beating) -> None:
        waits = []
        for lag_s in (0.11, 0.5, 1.0, 60.0):
            overload.late(lag_s)
            failure = overload.refusal(BATCH, overload.now_s)
            assert failure is not None
            assert failure.retry_after_s is not None
            waits.append(failure.retry_after_s)
        assert waits == sorted(waits)
        assert 1.0 <= waits[0] < 2.0
        assert waits[-1] == 5.0

    def test_is_counted_by_priority(self, overload: Beating) -> None:
        overload.late(0.3)
        for priority in (BATCH, BATCH, NORMAL, INTERACTIVE):
            overload.refusal(priority, overload.now_s)
        assert overload.shed == {BATCH: 2, NORMAL: 1, INTERACTIVE: 0}


def test_pressure_is_the_worse_of_the_two(overload: Beating) -> None:
    assert overload.pressure == 0.0
    for _ in range(50):
        overload.began()
    assert overload.pressure == 0.5
    overload.late(0.8)
    assert overload.pressure == pytest.approx(0.8, rel=0.01)


async def test_a_loop_that_is_held_up_is_found_late() -> None:
    overload = Overload(time.monotonic)
    overload.start()
    try:
        async with asyncio.timeout(5.0):
            while overload.lag_s < 0.02:
                time.sleep(0.1)  # what holds it up is the point
                await asyncio.sleep(0)
    finally:
        overload.stop()
    held_up_s = overload.lag_s
    await asyncio.sleep(2 * BEAT_S)
    assert overload.lag_s == held_up_s, "stopped is stopped"
