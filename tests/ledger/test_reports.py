"""Sums, projection, dearest requests and bills, out of a real ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmproxyd.ledger import reports
from llmproxyd.ledger.reports import DIMENSIONS, OTHERS, Row, Spent, Sums, Window
from llmproxyd.ledger.store import LedgerReader, LedgerUnreadable
from llmproxyd.values.cost import Usage
from tests.ledger.booking import book, entry

UTC_ZONE = ZoneInfo("UTC")
HOUR_S = 3600.0
DAY_S = 86_400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


START_S = at("2026-11-02T00:00")
WEEK = Window(START_S, START_S + 7 * DAY_S)


def test_sums_are_told_by_name_dearest_first(tmp_path: Path) -> None:
    reader = book(
        tmp_path,
        [
            entry(1, at_s=START_S, model="small", cost_nanos=10, usage=Usage(5, 1)),
            entry(2, at_s=START_S + 5, model="large", cost_nanos=200, usage=Usage(50, 10)),
            entry(3, at_s=START_S + 9, model="large", cost_nanos=None, usage=Usage(7, 3)),
            entry(4, at_s=START_S + 9, model="large", cost_nanos=0, saved_nanos=90, outcome="cached"),
        ],
    )
    rows = reports.sums_by(reader, "model", WEEK, UTC_ZONE)
    assert rows == (
        Row("large", Sums(3, 1057, 113, 200, 90, 1)),
        Row("small", Sums(1, 5, 1, 10, 0, 0)),
    )
    assert reports.add(row.sums for row in rows) == reports.in_all(reader, WEEK)


@pytest.mark.parametrize("by", DIMENSIONS)
def test_every_dimension_adds_up_to_the_whole(tmp_path: Path, by: str) -> None:
    names = {
        "tenant": "t",
        "project": "p",
        "user": "u",
        "key_id": "k",
        "provider": "v",
        "model": "m",
        "task": "x",
    }
    reader = book(
        tmp_path,
        [
            entry(n, at_s=START_S + n * HOUR_S, cost_nanos=n, **{f: f"{v}{n % 3}" for f, v in names.items()})
            for n in range(30)
        ],
    )
    rows = reports.sums_by(reader, by, WEEK, UTC_ZONE)
    assert reports.add(row.sums for row in rows) == reports.in_all(reader, WEEK)
    assert len(rows) == {"day": 2, "hour-of-week": 30}.get(by, 3)


def test_a_window_takes_the_hours_it_touches(tmp_path: Path) -> None:
    reader = book(tmp_path, [entry(n, at_s=START_S + n * 1800, cost_nanos=1) for n in range(8)])
    assert reports.in_all(reader, Window(START_S, START_S + HOUR_S)).attempts == 2
    assert reports.in_all(reader, Window(START_S + 1800, START_S + HOUR_S + 1)).attempts == 4
    assert reports.in_all(reader, Window(START_S + 9 * HOUR_S, START_S + 10 * HOUR_S)) == Sums()


def test_days_and_hours_are_those_of_the_zone(tmp_path: Path) -> None:
    """The night in which Berlin's clocks go back has 25 hours; two of them are called 02."""
    night_s = at("2026-10-24T22:00")
    reader = book(tmp_path, [entry(n, at_s=night_s + n * HOUR_S, cost_nanos=1) for n in range(26)])
    window, berlin = Window(night_s, night_s + 26 * HOUR_S), ZoneInfo("Europe/Berlin")
    days = reports.sums_by(reader, "day", window, berlin)
    assert [(row.name, row.sums.attempts) for row in days] == [("2026-10-25", 25), ("2026-10-26", 1)]
    hours = reports.sums_by(reader, "hour-of-week", window, berlin)
    assert [(row.name, row.sums.attempts) for row in hours][:2] == [("Mon 00", 1), ("Sun 00", 1)]
    assert {row.name: row.sums.attempts for row in hours}["Sun 02"] == 2


def test_many_names_end_in_one_row_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_ROWS", 3)
    reader = book(tmp_path, [entry(n, at_s=START_S, user=f"u{n}", cost_nanos=n) for n in range(10)])
    rows = reports.sums_by(reader, "user", WEEK, UTC_ZONE)
    assert [(row.name, row.sums.cost_nanos) for row in rows] == [
        ("u9", 9),
        ("u8", 8),
        ("u7", 7),
        (OTHERS, 21),
    ]


def test_without_a_ledger_the_reader_says_so(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnreadable):
        reports.in_all(LedgerReader(tmp_path), WEEK)


# --- the month --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "zone", "since", "until"),
    [
        ("2026-11-21T12:00", "UTC", "2026-11-01T00:00", "2026-12-01T00:00"),
        ("2026-12-31T23:30", "Europe/Berlin", "2026-12-31T23:00", "2027-01-31T23:00"),
        ("2028-02-29T23:59", "UTC", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("2026-03-15T00:00", "America/New_York", "2026-03-01T05:00", "2026-04-01T04:00"),
    ],
)
def test_a_month_is_that_of_the_zone(now: str, zone: str, since: str, until: str) -> None:
    assert reports.month_of(at(now), ZoneInfo(zone)) == Window(at(since), at(until))


def test_a_month_goes_on_at_the_pace_of_the_last_seven_days(tmp_path: Path) -> None:
    """10 a day for 20 days, and ten days to go."""
    now_s = at("2026-11-21T00:00")
    reader = book(
        tmp_path, [entry(n, at_s=at("2026-11-01T12:00") + n * DAY_S, cost_nanos=10) for n in range(20)]
    )
    found = reports.project(reader, now_s, UTC_ZONE)
    assert (found.month, found.spent_nanos) == ("2026-11", 200)
    assert (found.rate_nanos_per_day, found.expected_nanos) == (10, 300)
    assert found.rate_from_s == at("2026-11-14T00:00")


def test_a_young_ledger_goes_by_the_time_since_its_first_entry_and_at_least_a_day(tmp_path: Path) -> None:
    reader = book(tmp_path, [entry(1, at_s=at("2026-11-19T00:00"), cost_nanos=40)])
    assert reports.project(reader, at("2026-11-21T00:00"), UTC_ZONE).rate_nanos_per_day == 20
    assert reports.project(reader, at("2026-11-19T06:00"), UTC_ZONE).rate_nanos_per_day == 40


def test_a_month_without_anything_lately_stays_as_it_is(tmp_path: Path) -> None:
    reader = book(tmp_path, [entry(1, at_s=at("2026-11-01T00:00"), cost_nanos=40)])
    found = reports.project(reader, at("2026-11-21T00:00"), UTC_ZONE)
    assert (found.spent_nanos, found.rate_nanos_per_day, found.expected_nanos) == (40, 0, 40)


def test_an_empty_ledger_says_nothing_of_the_month(tmp_path: Path) -> None:
    found = reports.project(book(tmp_path, []), at("2026-11-21T00:00"), UTC_ZONE)
    assert (found.spent_nanos, found.rate_nanos_per_day, found.expected_nanos) == (0, None, None)


# --- single requests --------------------------------------------------------------------------------------------


def test_the_dearest_requests_count_all_their_attempts(tmp_path: Path) -> None:
    reader = book(
        tmp_path,
        [
            entry(1, id="a.1", request_id="a", at_s=START_S, cost_nanos=60, provider="one", outcome="failed"),
            entry(2, id="a.2", request_id="a", at_s=START_S + 1, cost_nanos=70, provider="two"),
            entry(3, id="b.1", request_id="b", at_s=START_S, cost_nanos=100),
            entry(4, id="c.1", request_id="c", at_s=START_S, cost_nanos=None),
            entry(5, id="d.1", request_id="d", at_s=START_S - 1, cost_nanos=999),
        ],
    )
    first, second = reports.top_requests(reader, WEEK, 5)
    assert (first.request_id, first.cost_nanos, first.attempts, first.provider) == ("a", 130, 2, "two")
    assert (second.request_id, second.cost_nanos) == ("b", 100)
    assert reports.top_requests(reader, WEEK, 1) == (first,)
    assert reports.top_requests(reader, WEEK, 0) == ()


def test_attempts_are_read_newest_first_page_by_page(tmp_path: Path) -> None:
    reader = book(tmp_path, [entry(n, at_s=START_S + n // 3, cost_nanos=n) for n in range(2500)])
    found = list(reports.spent(reader, WEEK, 2200))
    assert [one.cost_nanos for one in found] == list(range(2499, 299, -1))
    assert list(reports.spent(reader, WEEK, 0)) == []
    assert len(list(reports.spent(reader, Window(START_S, START_S + 1), 100))) == 3


def test_what_is_disputed_counts_as_we_counted_it(tmp_path: Path) -> None:
    reader = book(
        tmp_path,
        [
            entry(
                1, at_s=START_S, usage=Usage(10**9), disputed="absurd", estimate=Usage(10, 2, estimated=True)
            ),
            entry(2, at_s=START_S + 1, usage=None, cost_nanos=None, outcome="failed"),
        ],
    )
    newest, oldest = reports.spent(reader, WEEK, 10)
    assert isinstance(newest, Spent)
    assert (newest.usage, newest.cost_nanos, newest.outcome) == (None, None, "failed")
    assert oldest.usage == Usage(10, 2, estimated=True)


def test_a_bill_is_added_up_by_day_and_model_without_what_came_from_the_cache(tmp_path: Path) -> None:
    reader = book(
        tmp_path,
        [
            entry(1, at_s=START_S, upstream="m-1", model="m", cost_nanos=10, usage=Usage(5, 1)),
            entry(2, at_s=START_S + DAY_S - 1, upstream="m-1", model="m", cost_nanos=None, usage=Usage(5, 1)),
            entry(3, at_s=START_S + DAY_S, upstream="m-1", model="m", cost_nanos=1, usage=Usage(1, 1)),
            entry(4, at_s=START_S, upstream="m-1", model="m", outcome="cached", cost_nanos=0),
            entry(5, at_s=START_S, provider="another", cost_nanos=5),
        ],
    )
    found = sorted(reports.billed(reader, "openai", WEEK), key=lambda one: one.day)
    assert [(one.day, one.input_tokens, one.cost_nanos, one.unpriced) for one in found] == [
        ("2026-11-02", 10, 10, 1),
        ("2026-11-03", 1, 1, 0),
    ]
    assert reports.providers_seen(reader) == ("another", "openai")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from("ab"), st.none() | st.integers(0, 10**12)), max_size=30
    ),
    since=st.integers(0, 100),
    length=st.integers(1, 100),
)
def test_sums_are_those_of_the_entries_in_these_hours(
    tmp_path_factory: pytest.TempPathFactory,
    made: list[tuple[int, str, int | None]],
    since: int,
    length: int,
) -> None:
    reader = book(
        tmp_path_factory.mktemp("ledger"),
        [
            entry(n, at_s=START_S + hour * HOUR_S, tenant=tenant, cost_nanos=cost)
            for n, (hour, tenant, cost) in enumerate(made)
        ],
    )
    window = Window(START_S + since * HOUR_S, START_S + (since + length) * HOUR_S)
    wanted = [one for one in made if since <= one[0] < since + length]
    rows = {row.name: row.sums for row in reports.sums_by(reader, "tenant", window, UTC_ZONE)}
    for tenant in "ab":
        costs = [cost for _, name, cost in wanted if name == tenant]
        if costs:
            sums = rows[tenant]
            assert (sums.attempts, sums.unpriced) == (len(costs), costs.count(None))
            assert sums.cost_nanos == sum(cost or 0 for cost in costs)
