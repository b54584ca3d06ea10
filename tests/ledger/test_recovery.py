"""Starts after bad ends: orphans, damaged files, damaged journals, a million entries."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.journal import Head, format_record, segments
from llmproxyd.ledger.ledger import Ledger
from llmproxyd.ledger.recovery import Replayed, replay
from llmproxyd.ledger.store import LedgerReader, Store
from llmproxyd.values.ledger import LedgerUnavailable
from tests.ledger.build import NOON_S, Alarms, book, intent, select, settlement, wall


def journal(state_dir: Path, *lines: bytes, number: int = 1) -> Path:
    path = state_dir / f"ledger.journal-{number:08d}"
    path.write_bytes(b"".join((format_record(Head(1)), *lines)))
    return path


def entries(state_dir: Path) -> list[tuple[str, str, int | None]]:
    return select(state_dir, "SELECT id, outcome, cost_nanos FROM entries ORDER BY id")


def restart(state_dir: Path) -> None:
    Ledger.open(state_dir, wall=wall).stop()


def test_what_was_never_settled_is_orphaned_at_the_most_it_can_cost(tmp_path: Path) -> None:
    journal(tmp_path, format_record(intent(1)), format_record(intent(2, reserved_nanos=None)))
    restart(tmp_path)
    assert entries(tmp_path) == [("req_1.1", "orphaned", 5_000_000), ("req_2.1", "orphaned", None)]
    assert select(tmp_path, "SELECT DISTINCT estimated, settled_s FROM entries") == [(1, NOON_S)]


def test_segments_are_read_together_and_what_is_in_both_counts_once(tmp_path: Path) -> None:
    journal(tmp_path, format_record(intent(1)), format_record(intent(2)), format_record(settlement(2)))
    journal(tmp_path, format_record(intent(1)), format_record(settlement(1)), number=2)
    restart(tmp_path)
    assert entries(tmp_path) == [("req_1.1", "ok", 1_500_000), ("req_2.1", "ok", 1_500_000)]


def test_recovering_twice_changes_nothing(tmp_path: Path) -> None:
    path = journal(tmp_path, format_record(intent(1)), format_record(settlement(1)), format_record(intent(2)))
    store = Store(tmp_path / "ledger.db", Disk())
    assert replay([path], Disk(), store, orphaned_s=NOON_S) == Replayed(booked=2, orphaned=1)
    assert replay([path], Disk(), store, orphaned_s=NOON_S) == Replayed()
    store.close()


def test_a_torn_end_is_cut(tmp_path: Path) -> None:
    journal(tmp_path, format_record(intent(1)), format_record(intent(2))[:-9])
    restart(tmp_path)
    assert entries(tmp_path) == [("req_1.1", "orphaned", 5_000_000)]


def test_a_settlement_whose_intent_is_damaged_is_still_booked(tmp_path: Path) -> None:
    journal(tmp_path, format_record(intent(1)).replace(b"acme", b"acne"), format_record(settlement(1)))
    restart(tmp_path)
    assert entries(tmp_path) == [("req_1.1", "ok", 1_500_000)]
    assert select(tmp_path, "SELECT request_id, tenant FROM entries") == [("req_1", "")]


def test_a_journal_of_a_newer_version_is_not_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal-00000001"
    path.write_bytes(format_record(Head(2)))
    with pytest.raises(LedgerUnavailable, match="newer version"):
        restart(tmp_path)
    assert path.exists()


def test_after_a_start_the_old_segments_are_gone(tmp_path: Path) -> None:
    old = journal(tmp_path, format_record(intent(1)))
    restart(tmp_path)
    assert old not in segments(tmp_path)
    assert len(segments(tmp_path)) == 1


# --- damaged files ----------------------------------------------------------------------------------------------


def aside(state_dir: Path) -> list[Path]:
    return sorted(state_dir.glob("ledger.db.corrupt-*Z"))


def test_a_file_that_is_no_database_is_moved_aside_and_begun_anew_with_the_journal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ledger.db").write_bytes(b"this is no database" * 500)
    journal(tmp_path, format_record(intent(1)), format_record(settlement(1)))
    restart(tmp_path)
    assert entries(tmp_path) == [("req_1.1", "ok", 1_500_000)]
    [moved] = aside(tmp_path)
    assert moved.read_bytes().startswith(b"this is no database")
    told = capfd.readouterr().err
    assert "ledger.corrupt" in told
    assert ".recover" in told


def filled(state_dir: Path, count: int) -> None:
    ledger = Ledger.open(state_dir, wall=wall)
    book(ledger, *range(count))
    assert ledger.stop()


def spoil(state_dir: Path) -> None:
    """Overwrite the middle of the tables, so that the file opens but cannot be trusted."""
    path = state_dir / "ledger.db"
    database = sqlite3.connect(path)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = [
        page for (page,) in database.execute("SELECT rootpage FROM sqlite_schema WHERE name LIKE '%entries%'")
    ]
    database.close()
    data = bytearray(path.read_bytes())
    for page in pages:
        data[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    path.write_bytes(data)


def spoil_one_page(state_dir: Path) -> None:
    """Overwrite a page of entries that no start looks at, as after a stop that was none."""
    path = state_dir / "ledger.db"
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE state SET clean = 0")
    database.close()
    data = bytearray(path.read_bytes())
    leaves = [
        at for at in range(0, len(data), 4096) if data[at] == 0x0D and b"req_250." in data[at : at + 4096]
    ]
    data[leaves[0] : leaves[0] + 4096] = b"\xff" * 4096
    path.write_bytes(data)


def test_damage_that_shows_when_the_journal_is_booked_is_handled_at_the_start(tmp_path: Path) -> None:
    filled(tmp_path, 500)
    spoil(tmp_path)
    journal(tmp_path, format_record(intent(9_001)), format_record(settlement(9_001)), number=90)
    restart(tmp_path)
    assert entries(tmp_path) == [("req_9001.1", "ok", 1_500_000)]
    assert len(aside(tmp_path)) == 1


def test_damage_that_shows_while_running_loses_nothing_the_journal_has(tmp_path: Path) -> None:
    alarms = Alarms()
    ledger = Ledger.open(tmp_path, wall=wall, alarm=alarms, retry_s=0.005)
    book(ledger, 1, 2)
    assert ledger.flush()
    ledger.begin(intent(3))
    writer = ledger._writer
    assert writer is not None
    writer._damage = "a page was read that makes no sense"
    book(ledger, 4)
    assert ledger.flush()
    ledger.settle(settlement(3))
    assert ledger.stop()
    assert [id_ for id_, *_ in entries(tmp_path)] == ["req_1.1", "req_2.1", "req_3.1", "req_4.1"]
    assert len(aside(tmp_path)) == 1
    assert select(tmp_path, "SELECT attempts FROM hours WHERE scope = 'overall'") == [(4,)]


def test_after_an_unclean_stop_the_whole_file_is_checked_beside_the_work(tmp_path: Path) -> None:
    filled(tmp_path, 500)
    spoil_one_page(tmp_path)
    ledger = Ledger.open(tmp_path, wall=wall, retry_s=0.005, check_after_s=0.0)
    writer = ledger._writer
    assert writer is not None
    assert writer._checker is not None
    writer._checker.join(20)
    book(ledger, 1)
    assert ledger.flush()
    ledger.stop()
    assert entries(tmp_path) == [("req_1.1", "ok", 1_500_000)]
    assert len(aside(tmp_path)) == 1


def test_the_check_waits_until_the_start_is_long_over_and_holds_up_no_stop(tmp_path: Path) -> None:
    filled(tmp_path, 500)
    spoil_one_page(tmp_path)
    ledger = Ledger.open(tmp_path, wall=wall, check_after_s=600.0)
    writer = ledger._writer
    assert writer is not None
    assert writer._checker is not None
    assert ledger.flush()
    assert writer._checker.is_alive()
    assert ledger.stop()
    writer._checker.join(20)
    assert not writer._checker.is_alive()
    assert aside(tmp_path) == []


def test_after_a_clean_stop_nothing_is_checked(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    ledger = Ledger.open(tmp_path, wall=wall)
    writer = ledger._writer
    assert writer is not None
    assert writer._checker is None
    ledger.stop()


def test_a_file_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, wall=wall, retry_s=0.005)
    book(ledger, 1)
    assert ledger.flush()
    ledger.stop()
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()
    restart(tmp_path)
    assert entries(tmp_path) == []


# --- a million entries ------------------------------------------------------------------------------------------

MILLION = """
INSERT INTO entries (
  id, request_id, at_s, settled_s, provider, model, upstream, deployment, operation, surface, stream, tenant, project,
  user, key_id, task, label, generation, hedge, reserved_nanos, price_version, outcome, estimated, input_tokens,
  output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost_nanos, saved_nanos)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999999)
SELECT 'old_' || i || '.1', 'old_' || i, ?1 + i * 2.5, ?1 + i * 2.5, 'openai', 'large', 'large', 'd', 'chat',
       'openai-chat', 0, 'tenant' || (i % 20), 'project' || (i % 30), 'user' || (i % 200), 'key' || (i % 40), 'task',
       'internal', 1, 0, 5000000, 'operator', 'ok', 0, 1000, 100, 0, 0, 0, 0, 1500000, 0
FROM n
"""
MILLION_HOURS = """
INSERT INTO hours
SELECT ?1, CAST(at_s / 3600 AS INTEGER) * 3600,
       CASE ?1 WHEN 'tenant' THEN tenant WHEN 'user' THEN user WHEN 'key' THEN key_id ELSE '' END,
       count(*), sum(input_tokens), sum(output_tokens), sum(cost_nanos), 0, 0
FROM entries GROUP BY 2, 3
"""


@pytest.mark.proof
def test_a_start_after_a_kill_with_a_million_entries_takes_less_than_a_second(tmp_path: Path) -> None:
    restart(tmp_path)
    database = sqlite3.connect(tmp_path / "ledger.db")
    with database:
        database.execute(MILLION, (NOON_S,))
        for scope in ("overall", "tenant", "user", "key"):
            database.execute(MILLION_HOURS, (scope,))
        database.execute("UPDATE state SET clean = 0")
    database.close()
    lines = [line for n in range(5_000) for line in (format_record(intent(n)), format_record(settlement(n)))]
    journal(tmp_path, *lines, format_record(intent(5_000)), number=50)
    began_s = time.perf_counter()
    ledger = Ledger.open(tmp_path, wall=wall)
    totals = ledger.totals(["overall", "tenant", "user", "key"], NOON_S + 86_400)
    ready_s = time.perf_counter() - began_s
    ledger.stop()
    assert totals["overall", ""].attempts == 1_000_000 - 86_400 / 2.5
    assert select(tmp_path, "SELECT count(*) FROM entries") == [(1_005_001,)]
    assert ready_s <= 1.0


def test_a_window_of_totals_is_read_from_sums_not_from_entries(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    plan = LedgerReader(tmp_path).query(
        "EXPLAIN QUERY PLAN SELECT scope, name, sum(cost_nanos) FROM hours "
        "WHERE scope IN (SELECT value FROM json_each(?)) AND hour_s >= ? GROUP BY scope, name",
        (json.dumps(["tenant"]), 0),
    )
    told = " ".join(row["detail"] for row in plan)
    assert "SEARCH hours USING PRIMARY KEY (scope=? AND hour_s>?)" in told
