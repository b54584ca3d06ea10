from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.uptime import UNKNOWN, Shares, Uptime

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0


def test_nothing_is_known_before_anything_was_counted() -> None:
    assert Uptime().shares(1e6) == UNKNOWN


def test_what_has_just_happened_counts_at_once() -> None:
    uptime = Uptime()
    for up in (True, True, False, True):
        uptime.count(up, 1000.0)
    assert uptime.shares(1000.0) == Shares(0.75, 0.75, 0.75)


def test_asking_changes_nothing() -> None:
    uptime = Uptime()
    uptime.count(True, 1000.0)
    assert uptime.shares(1000.0) == uptime.shares(1000.0)
    uptime.count(False, 1001.0)
    assert uptime.shares(1001.0).hour_1 == 0.5


@pytest.mark.parametrize(
    ("later_s", "shares"),
    [
        (4 * MINUTE_S, Shares(0.0, 0.0, 0.0)),
        (6 * MINUTE_S, Shares(None, 0.0, 0.0)),
        (62 * MINUTE_S, Shares(None, None, 0.0)),
        (25 * HOUR_S, UNKNOWN),
    ],
)
def test_each_window_forgets_in_its_own_time(later_s: float, shares: Shares) -> None:
    uptime = Uptime()
    uptime.count(False, 1000.0)
    assert uptime.shares(1000.0 + later_s) == shares


def test_an_hour_down_is_a_part_of_the_day() -> None:
    uptime = Uptime()
    for n in range(int(DAY_S / 10)):
        uptime.count(not 40_000 <= 10 * n < 40_000 + HOUR_S, 10.0 * n)
    shares = uptime.shares(DAY_S)
    assert shares.hours_24 == pytest.approx(23 / 24, abs=0.01)
    assert shares.hour_1 == 1.0


@given(st.lists(st.tuples(st.floats(0, 40_000), st.booleans()), max_size=80))
def test_shares_are_shares_whatever_the_gaps(events: list[tuple[float, bool]]) -> None:
    uptime, now_s = Uptime(), 0.0
    for gap_s, up in events:
        now_s += gap_s
        uptime.count(up, now_s)
        for share in uptime.shares(now_s):
            assert share is not None
            assert 0.0 <= share <= 1.0
        if all(good for _, good in events):
            assert uptime.shares(now_s) == Shares(1.0, 1.0, 1.0)
