from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.exchange.room import ASSUMED_HOLDING_S, Bucket, Room
from llmproxyd.values.snapshot import Limits
from tests.exchange.virtual_time import VirtualLoop, run


class TestBucket:
    def test_it_is_full_at_first_and_refills_evenly(self) -> None:
        bucket = Bucket(60)
        bucket.take(60, 100.0)
        assert bucket.level(100.0) == 0
        assert bucket.level(110.0) == 10
        assert bucket.level(900.0) == 60

    def test_it_says_when_there_is_enough(self) -> None:
        bucket = Bucket(60)
        bucket.take(50, 100.0)
        assert bucket.ready_in_s(10, 100.0) == 0
        assert bucket.ready_in_s(25, 100.0) == 15
        assert bucket.ready_in_s(25, 100.0, ahead=5) == 20

    def test_what_was_used_beyond_the_estimate_is_a_debt(self) -> None:
        bucket = Bucket(60)
        bucket.take(100, 100.0)
        assert bucket.ready_in_s(1, 100.0) == 41

    def test_more_than_it_holds_may_be_taken_when_it_is_full(self) -> None:
        bucket = Bucket(60)
        assert bucket.ready_in_s(500, 100.0) == 0
        bucket.take(1, 100.0)
        assert bucket.ready_in_s(500, 100.0) == 1

    def test_a_claim_beyond_reason_closes_it_for_ten_minutes_not_for_ever(self) -> None:
        bucket = Bucket(60)
        bucket.take(10**12, 100.0)
        assert bucket.ready_in_s(1, 100.0) == 601

    def test_what_is_given_back_does_not_overflow(self) -> None:
        bucket = Bucket(60)
        bucket.take(-500, 100.0)
        assert bucket.level(100.0) == 60

    @pytest.mark.parametrize(
        ("used", "capacity", "level"), [(15, 120, 90), (15, 20, 15), (60, 120, 0), (90, 20, -10)]
    )
    def test_another_size_keeps_the_share_that_was_used(self, used: int, capacity: int, level: int) -> None:
        bucket = Bucket(60)
        bucket.take(used, 100.0)
        bucket.resize(capacity, 100.0)
        assert bucket.level(100.0) == level

    @given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 30)), max_size=60))
    def test_no_more_is_taken_than_a_full_bucket_and_what_flows_in(
        self, steps: list[tuple[float, int]]
    ) -> None:
        bucket, now_s, taken = Bucket(60), 0.0, 0
        for pause_s, tokens in steps:
            now_s += pause_s
            if bucket.ready_in_s(tokens, now_s) == 0:
                bucket.take(tokens, now_s)
                taken += tokens
            assert taken <= 60 + now_s + 1e-6


class TestRoom:
    def test_places_are_taken_and_left(self) -> None:
        room = Room(Limits(concurrency=1))
        assert room.fits(1, 10.0)
        room.enter(1, 1, 10.0)
        assert not room.fits(1, 11.0)
        assert room.lacks_s(1, 11.0) == inf
        room.leave(1, 10.0)
        assert room.fits(1, 12.0)

    def test_requests_are_paced_by_time(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            room = Room(Limits(requests_per_minute=6))
            for _ in range(6):
                assert room.fits(1, loop.time())
                room.enter(1, 1, loop.time())
            assert not room.fits(1, loop.time())
            assert room.lacks_s(1, loop.time()) == pytest.approx(10, abs=1e-4)

        run(main)

    def test_without_history_a_call_is_taken_to_last_a_second(self) -> None:
        room = Room(Limits(concurrency=2))
        room.enter(1, 0, 10.0)
        room.enter(1, 0, 10.0)
        assert room.expected_wait_s(0, 0, 1, 0, 10.0) == ASSUMED_HOLDING_S / 2
        assert room.expected_wait_s(3, 0, 1, 0, 10.0) == 4 * ASSUMED_HOLDING_S / 2

    def test_the_wait_follows_how_long_calls_lasted(self) -> None:
        room = Room(Limits(concurrency=2))
        for _ in range(100):
            room.observe(8.0)
        room.enter(1, 0, 10.0)
        room.enter(1, 0, 10.0)
        assert room.expected_wait_s(3, 0, 1, 0, 10.0) == pytest.approx(16.0)

    def test_calls_that_do_not_end_make_the_wait_longer(self) -> None:
        room = Room(Limits(concurrency=1))
        room.observe(1.0)
        room.enter(1, 0, 10.0)
        assert room.expected_wait_s(0, 0, 1, 0, 70.0) == 60.0

    def test_places_held_by_a_higher_class_are_not_counted_on(self) -> None:
        room = Room(Limits(concurrency=4))
        for rank in (0, 0, 0, 1):
            room.enter(1, rank, 10.0)
        assert room.expected_wait_s(0, 0, 1, 0, 10.0) == pytest.approx(0.25)
        assert room.expected_wait_s(0, 0, 1, 2, 10.0) == pytest.approx(0.25 / (1 - 4 / 5))

    def test_the_slowest_of_the_limits_says_how_long_it_takes(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            room = Room(Limits(requests_per_minute=60, tokens_per_minute=600, concurrency=100))
            for _ in range(60):
                room.enter(10, 1, loop.time())
            assert room.expected_wait_s(4, 40, 10, 1, loop.time()) == pytest.approx(5, abs=1e-3)
            assert room.expected_wait_s(4, 400, 10, 1, loop.time()) == pytest.approx(41, abs=1e-3)
            assert room.expected_wait_s(100, 0, 10, 1, loop.time()) == pytest.approx(101, abs=1e-3)

        run(main)

    @pytest.mark.parametrize(
        ("used", "after", "free"), [(60, 60, 0), (15, 120, 90), (15, 20, 15), (60, 120, 0)]
    )
    def test_another_rate_keeps_the_share_of_requests_that_was_used(
        self, used: int, after: int, free: int
    ) -> None:
        async def main(loop: VirtualLoop) -> None:
            room = Room(Limits(requests_per_minute=60))
            for _ in range(used):
                room.enter(0, 1, loop.time())
            for requests in (after + 1, after):
                room.adopt(Limits(requests_per_minute=requests), loop.time())
            entered = 0
            while room.fits(0, loop.time()):
                room.enter(0, 1, loop.time())
                entered += 1
            # Shares are found by halving, from the safe side.
            assert free - 1 <= entered <= free
            assert room.in_use == used + entered

        run(main)

    def test_sixty_reloads_do_not_refill_sixty_requests(self) -> None:
        async def main(loop: VirtualLoop) -> None:
            room = Room(Limits(requests_per_minute=60))
            entered = 0
            for other in (1, 61, 6000) * 20:
                for _ in range(3):
                    if room.fits(0, loop.time()):
                        room.enter(0, 1, loop.time())
                        entered += 1
                for requests in (other, 60):
                    room.adopt(Limits(requests_per_minute=requests), loop.time())
            assert 59 <= entered <= 60

        run(main)
