"""What people write for a time, and which time it is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.ledger.reports import Window
from llmproxyd.ledger.windows import UTC_ZONE, read_moment, read_window, read_zone


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW_S = at("2026-11-21T12:00")


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-11-01", "UTC", "2026-11-01T00:00"),
        ("2026-11-01", "Europe/Berlin", "2026-10-31T23:00"),
        ("2026-11", "UTC", "2026-11-01T00:00"),
        ("2026-11-01T09:30", "UTC", "2026-11-01T09:30"),
        ("2026-11-01T09:30+02:00", "America/New_York", "2026-11-01T07:30"),
        ("7d", "UTC", "2026-11-14T12:00"),
        ("90m", "Europe/Berlin", "2026-11-21T10:30"),
    ],
)
def test_a_moment_is_read_in_its_zone(text: str, zone: str, moment: str) -> None:
    assert read_moment(text, NOW_S, read_zone(zone)) == at(moment)


def test_what_is_left_out_is_the_running_month() -> None:
    assert read_window(None, None, UTC_ZONE, NOW_S) == Window(at("2026-11-01T00:00"), NOW_S)
    assert read_window("2026-10", "2026-11", UTC_ZONE, NOW_S) == Window(
        at("2026-10-01T00:00"), at("2026-11-01T00:00")
    )


@pytest.mark.parametrize(
    "text", ["yesterday", "", "2026-13", "2026-02-30", "7x", "9" * 400, "9" * 30 + "d", "-1d"]
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a day \(2026-11-01\)"):
        read_moment(text, NOW_S, UTC_ZONE)


def test_a_window_ends_after_it_begins() -> None:
    with pytest.raises(ValueError, match="ends before it begins"):
        read_window("2026-11-02", "2026-11-02", UTC_ZONE, NOW_S)


@pytest.mark.parametrize("name", ["Nowhere/Land", "", "../../etc/passwd", "/etc/passwd", "a" * 300, "Europe"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        read_zone(name)


@given(st.text(max_size=40))
def test_whatever_is_written_is_a_time_or_refused_with_words(text: str) -> None:
    try:
        moment = read_moment(text, NOW_S, UTC_ZONE)
    except ValueError as error:
        assert str(error).startswith("expected a day")  # noqa: PT017 - both outcomes are right
    else:
        assert moment == moment
