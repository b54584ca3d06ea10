"""Windows by the calendar: where they begin and end, in zones that change their clocks."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmproxyd.state.periods import Period, Window
from llmproxyd.values.budget import Per

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "Pacific/Apia",
)


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("per", "zone", "now", "begin", "end"),
    [
        (Per.HOUR, "UTC", "2026-11-21T10:30", "2026-11-21T10:00", "2026-11-21T11:00"),
        (Per.HOUR, "Asia/Kolkata", "2026-11-21T10:30", "2026-11-21T10:00", "2026-11-21T11:00"),
        (Per.DAY, "Europe/Berlin", "2026-11-21T10:30", "2026-11-21T00:00", "2026-11-22T00:00"),
        (Per.DAY, "Europe/Berlin", "2026-11-21T00:00", "2026-11-21T00:00", "2026-11-22T00:00"),
        (Per.WEEK, "Europe/Berlin", "2026-11-21T10:30", "2026-11-16T00:00", "2026-11-23T00:00"),
        (Per.WEEK, "UTC", "2026-11-16T00:00", "2026-11-16T00:00", "2026-11-23T00:00"),
        (Per.MONTH, "America/New_York", "2026-11-21T10:30", "2026-11-01T00:00", "2026-12-01T00:00"),
        (Per.MONTH, "UTC", "2028-02-29T23:59", "2028-02-01T00:00", "2028-03-01T00:00"),
        (Per.MONTH, "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        # Egypt's clocks leave out the first hour of this day, Apia left out the whole 30th.
        (Per.DAY, "Africa/Cairo", "2026-04-24T12:00", "2026-04-24T01:00", "2026-04-25T00:00"),
        (Per.DAY, "Pacific/Apia", "2011-12-31T12:00", "2011-12-31T00:00", "2012-01-01T00:00"),
    ],
)
def test_a_window_is_what_the_calendar_on_the_wall_says(
    per: Per, zone: str, now: str, begin: str, end: str
) -> None:
    assert Period(per, zone).window(at(now, zone)) == Window(at(begin, zone), at(end, zone))


def test_the_days_on_which_clocks_change_are_shorter_and_longer() -> None:
    berlin = Period(Per.DAY, "Europe/Berlin")
    lengths = [
        (window.to_s - window.from_s) / 3600
        for window in (
            berlin.window(at(day, "Europe/Berlin")) for day in ("2026-03-29T12:00", "2026-10-25T12:00")
        )
    ]
    assert lengths == [23, 25]


def test_an_hour_that_the_clock_shows_twice_is_two_windows() -> None:
    berlin = Period(Per.HOUR, "Europe/Berlin")
    first = berlin.window(at("2026-10-25T00:30"))  # 02:30 in summer time
    second = berlin.window(at("2026-10-25T01:30"))  # 02:30 again
    assert first == Window(at("2026-10-25T00:00"), at("2026-10-25T01:00"))
    assert second == Window(first.to_s, first.to_s + 3600)


@example(Per.DAY, "UTC", [at("2037-01-01") - 2e-7])
@given(
    per=st.sampled_from(Per),
    zone=st.sampled_from(ZONES),
    moments=st.lists(st.floats(at("2009-01-01"), at("2037-01-01")), min_size=1, max_size=5),
)
def test_every_moment_is_in_its_window_whatever_was_asked_before(
    per: Per, zone: str, moments: list[float]
) -> None:
    period = Period(per, zone)
    for now_s in moments:
        window = period.window(now_s)
        assert window.from_s <= now_s < window.to_s
        assert Period(per, zone).window(window.from_s) == window
        assert Period(per, zone).window(window.to_s).from_s == window.to_s


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("per", Per)
def test_windows_follow_each_other_without_gap_or_overlap(per: Per, zone: str) -> None:
    period, now_s, windows = Period(per, zone), at("2026-03-20"), []
    for _ in range(400):
        windows.append(period.window(now_s))
        now_s = windows[-1].to_s
    assert all(one.to_s == other.from_s for one, other in pairwise(windows))
