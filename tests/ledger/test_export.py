"""Exports: every entry of a time once, in order, exact in money, in bounded memory."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from decimal import Decimal
from pathlib import Path

import pytest

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.export import Format, export, usd
from llmproxyd.ledger.store import LedgerReader, LedgerUnreadable, Store
from llmproxyd.values.ledger import Entry
from tests.ledger.build import NOON_S, intent, settlement


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "ledger.db", Disk())


def told(state_dir: Path, form: Format, since_s: float = 0.0, until_s: float | None = None) -> str:
    out = io.StringIO()
    count = export(LedgerReader(state_dir), form, out, since_s=since_s, until_s=until_s)
    lines = out.getvalue().splitlines()
    assert count == len(lines) - (form == "csv" and bool(lines))
    return out.getvalue()


def test_json_lines_hold_every_column_as_it_is(store: Store, tmp_path: Path) -> None:
    store.add([Entry(intent(5, user="=1+1", stream=True), settlement(5))])
    [line] = told(tmp_path, "jsonl").splitlines()
    record = json.loads(line)
    assert record["at"] == "2025-12-31T12:00:05.000000Z"
    assert record["settled_at"] == "2025-12-31T12:00:06.000000Z"
    assert (record["cost_usd"], record["cost_nanos"]) == ("0.0015", 1_500_000)
    assert (record["user"], record["stream"], record["hedge"]) == ("=1+1", True, False)
    assert record["usage"] == {"input_tokens": 1_000, "output_tokens": 100, "cache_read_tokens": 400}
    assert record["estimate"] is None


def test_csv_has_one_head_and_no_formula(store: Store, tmp_path: Path) -> None:
    store.add(
        [Entry(intent(1, user="=1+1", project='a "b", c'), settlement(1)), Entry(intent(2), settlement(2))]
    )
    rows = list(csv.DictReader(io.StringIO(told(tmp_path, "csv"))))
    assert [row["id"] for row in rows] == ["req_1.1", "req_2.1"]
    assert (rows[0]["user"], rows[0]["project"], rows[0]["stream"]) == ("'=1+1", 'a "b", c', "0")
    assert rows[0]["failure"] == ""


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_every_page_follows_the_one_before(store: Store, tmp_path: Path, form: Format) -> None:
    at_s = [NOON_S + number // 7 for number in range(2_500)]  # many at the same moment, also across pages
    store.add([Entry(intent(number, at_s=at), settlement(number)) for number, at in enumerate(at_s)])
    text = told(tmp_path, form)
    ids = (
        [json.loads(line)["id"] for line in text.splitlines()]
        if form == "jsonl"
        else [row["id"] for row in csv.DictReader(io.StringIO(text))]
    )
    assert ids == [f"req_{number}.1" for number in range(2_500)]


def test_a_time_includes_its_first_moment_and_not_its_last(store: Store, tmp_path: Path) -> None:
    store.add([Entry(intent(number), settlement(number)) for number in range(10)])
    lines = told(tmp_path, "jsonl", NOON_S + 3, NOON_S + 6).splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["req_3.1", "req_4.1", "req_5.1"]


def test_nothing_to_export_is_an_empty_file(store: Store, tmp_path: Path) -> None:
    assert told(tmp_path, "jsonl") == ""


def test_memory_does_not_grow_with_the_entries(store: Store, tmp_path: Path) -> None:
    class Sink(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    for first in range(0, 6_000, 2_000):
        store.add([Entry(intent(number), settlement(number)) for number in range(first, first + 2_000)])
    reader = LedgerReader(tmp_path)
    tracemalloc.start()
    assert export(reader, "jsonl", Sink()) == 6_000
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 5 << 20


def test_without_a_ledger_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnreadable, match="there is no"):
        export(LedgerReader(tmp_path), "csv", io.StringIO())


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0.0"),
        (1, "0.000000001"),
        (1_500_000, "0.0015"),
        (12 * 10**9, "12.0"),
        (-5, "-0.000000005"),
        (None, None),
    ],
)
def test_dollars_are_exact(nanos: int | None, text: str | None) -> None:
    assert usd(nanos) == text
    if nanos is not None and text is not None:
        assert Decimal(text) * 10**9 == nanos
