"""The ledger from begin to settle, through segments, stops and starts."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from llmproxyd.ledger.journal import parse_records, segments
from llmproxyd.ledger.ledger import MAX_OPEN_S, ROTATE_BYTES, Ledger
from llmproxyd.values.ledger import Intent, LedgerUnavailable, Total
from tests.ledger.build import NOON_S, book, intent, select, settlement, wall


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(tmp_path, wall=wall)
    yield ledger
    ledger.stop()


def ids(state_dir: Path) -> list[str]:
    return [id_ for (id_,) in select(state_dir, "SELECT id FROM entries ORDER BY seq")]


def carried(state_dir: Path) -> list[str]:
    """The intents in the journal."""
    return [
        record.id
        for path in segments(state_dir)
        for record in parse_records(path.read_bytes())
        if isinstance(record, Intent)
    ]


def test_an_intent_is_in_the_journal_when_begin_returns(ledger: Ledger, tmp_path: Path) -> None:
    ledger.begin(intent(1))
    assert carried(tmp_path) == ["req_1.1"]


def test_a_settled_attempt_is_one_entry(ledger: Ledger, tmp_path: Path) -> None:
    book(ledger, 1, 2)
    assert ledger.flush()
    assert ids(tmp_path) == ["req_1.1", "req_2.1"]
    assert ledger.totals(["tenant"], NOON_S) == {("tenant", "acme"): Total(2, 2_200, 3_000_000, 0)}


def test_an_open_attempt_cannot_begin_again(ledger: Ledger) -> None:
    ledger.begin(intent(1))
    with pytest.raises(ValueError, match="has begun already"):
        ledger.begin(intent(1))


def test_what_was_never_begun_or_is_settled_already_changes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    book(ledger, 1)
    ledger.settle(settlement(1, cost_nanos=9))
    ledger.settle(settlement(2))
    assert ledger.flush()
    assert select(tmp_path, "SELECT id, cost_nanos FROM entries") == [("req_1.1", 1_500_000)]


async def test_after_close_the_file_has_all_and_the_journal_nothing(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, wall=wall)
    book(ledger, *range(700))
    assert await ledger.close()
    assert len(ids(tmp_path)) == 700
    assert carried(tmp_path) == []
    assert select(tmp_path, "SELECT clean FROM state") == [(1,)]


def test_a_closed_ledger_takes_nothing_and_says_so(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, wall=wall)
    ledger.begin(intent(1))
    assert ledger.stop()
    assert ledger.stop()
    with pytest.raises(LedgerUnavailable, match="closed"):
        ledger.begin(intent(2))
    ledger.settle(settlement(1))
    Ledger.open(tmp_path, wall=wall).stop()
    assert select(tmp_path, "SELECT id, outcome FROM entries") == [("req_1.1", "orphaned")]


def test_a_second_daemon_is_told_that_the_directory_is_taken(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="another llmproxyd uses"):
        Ledger.open(tmp_path, wall=wall)


def test_the_directory_is_free_again_after_a_start_that_failed(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(LedgerUnavailable, match="cannot be opened"):
        Ledger.open(tmp_path, wall=wall)
    (tmp_path / "ledger.db").rmdir()
    Ledger.open(tmp_path, wall=wall).stop()


def test_the_journal_stays_small_and_carries_what_is_open(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, wall=wall)
    ledger.begin(intent(0))
    largest = 0
    for number in range(1, 20_001):
        book(ledger, number)
        if number % 500 == 0:
            assert ledger.flush()
            largest = max(largest, sum(path.stat().st_size for path in segments(tmp_path)))
    first = segments(tmp_path)[0].name
    assert ledger.stop()
    assert first != "ledger.journal-00000001"
    assert largest < 2 * ROTATE_BYTES
    assert carried(tmp_path) == ["req_0.1"]
    assert len(ids(tmp_path)) == 20_000


def test_what_is_older_than_the_time_to_keep_goes_and_its_sums_stay(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, wall=wall)
    book(ledger, 1, 2)
    ledger.stop()
    later = Ledger.open(tmp_path, wall=lambda: NOON_S + 401 * 86_400)
    later.begin(intent(3, at_s=NOON_S + 401 * 86_400))
    later.settle(settlement(3))
    # The thread tidies after it has stored, and takes the second flush after that.
    assert later.flush()
    assert later.flush()
    later.stop()
    assert ids(tmp_path) == ["req_3.1"]
    assert select(tmp_path, "SELECT sum(attempts) FROM hours WHERE scope = 'overall'") == [(3,)]


def test_what_the_journal_still_holds_is_not_forgotten_or_a_restart_would_book_it_twice(
    tmp_path: Path,
) -> None:
    ledger = Ledger.open(tmp_path, wall=lambda: NOON_S + 500 * 86_400)
    book(ledger, 1)
    assert ledger.flush()
    assert ledger.flush()
    assert ids(tmp_path) == ["req_1.1"]
    ledger.stop()


def test_a_forgotten_attempt_is_settled_after_a_day(tmp_path: Path) -> None:
    now_s = NOON_S
    ledger = Ledger.open(tmp_path, wall=lambda: now_s)
    ledger.begin(intent(1))
    ledger.begin(intent(2, at_s=NOON_S + 60))
    now_s = NOON_S + MAX_OPEN_S + 2
    ledger._settle_stale()
    assert ledger.flush()
    assert select(tmp_path, "SELECT id, outcome FROM entries") == [("req_1.1", "orphaned")]
    ledger.stop()


def test_threads_may_share_a_ledger(ledger: Ledger, tmp_path: Path) -> None:
    threads = [threading.Thread(target=book, args=(ledger, *range(n, 2_000, 4))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.flush()
    assert sorted(ids(tmp_path)) == sorted(f"req_{number}.1" for number in range(2_000))


# --- any order of things ----------------------------------------------------------------------------------------


class Books(RuleBasedStateMachine):
    """Against a plain dictionary, through segments and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.ledger = Ledger.open(self.directory, wall=wall)
        self.expected: dict[str, tuple[str, int | None]] = {}
        self.open: list[int] = []
        self.count = 0

    @rule(reserved=st.none() | st.integers(0, 1_000))
    def begin(self, reserved: int | None) -> None:
        self.count += 1
        self.ledger.begin(intent(self.count, reserved_nanos=reserved))
        self.expected[f"req_{self.count}.1"] = ("orphaned", reserved)
        self.open.append(self.count)

    @rule(cost=st.none() | st.integers(0, 1_000), which=st.integers(0, 100))
    def settle(self, cost: int | None, which: int) -> None:
        if self.open:
            number = self.open.pop(which % len(self.open))
            self.ledger.settle(settlement(number, cost_nanos=cost))
            self.expected[f"req_{number}.1"] = ("ok", cost)

    @rule()
    def rotate(self) -> None:
        self.ledger.rotate_journal()

    @rule()
    def restart(self) -> None:
        assert self.ledger.stop()
        self.ledger = Ledger.open(self.directory, wall=wall)
        self.open.clear()
        booked = select(self.directory, "SELECT id, outcome, cost_nanos FROM entries")
        assert len(booked) == len(self.expected)
        assert {id_: (outcome, cost) for id_, outcome, cost in booked} == self.expected
        [(attempts, cost)] = select(
            self.directory, "SELECT total(attempts), total(cost_nanos) FROM hours WHERE scope = 'overall'"
        )
        assert attempts == len(booked)
        assert cost == sum(cost or 0 for _, cost in self.expected.values())

    def teardown(self) -> None:
        self.restart()
        self.ledger.stop()
        shutil.rmtree(self.directory)


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


# --- speed ------------------------------------------------------------------------------------------------------


@pytest.mark.quiet
def test_begin_takes_microseconds_and_an_entry_is_in_sqlite_within_25_ms(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, wall=wall)
    took_s = []
    for number in range(5_000):
        one = intent(number)
        began_s = time.perf_counter()
        ledger.begin(one)
        took_s.append(time.perf_counter() - began_s)
        ledger.settle(settlement(number))
    ledger.flush()
    durable_s = []
    for number in range(5_000, 5_100):
        ledger.begin(intent(number))
        began_s = time.perf_counter()
        ledger.settle(settlement(number))
        assert ledger.flush()
        durable_s.append(time.perf_counter() - began_s)
    ledger.stop()
    assert sorted(took_s)[2_500] <= 20e-6
    assert sorted(durable_s)[95] <= 25e-3
