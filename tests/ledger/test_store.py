"""The SQLite file: what is in the tables and views, sums, and readers beside the writer."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.rows import parse_usage
from llmproxyd.ledger.store import LedgerReader, LedgerUnreadable, Store
from llmproxyd.values.cost import Usage
from llmproxyd.values.ledger import SCOPE_FIELDS, SCOPES, Entry, LedgerUnavailable, Total
from llmproxyd.values.request import Dialect
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Auth, Credential, Provider, Zone
from tests.ledger.build import NOON_S, intent, select, settlement
from tests.programs import program


def entry(number: int = 0, **changes: Any) -> Entry:
    mine = {name: changes.pop(name) for name in list(changes) if name in INTENT_FIELDS}
    return Entry(intent(number, **mine), settlement(number, **changes))


INTENT_FIELDS = (
    "at_s",
    "tenant",
    "project",
    "user",
    "key_id",
    "provider",
    "model",
    "task",
    "operation",
    "request_id",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "ledger.db", Disk())


def provider(name: str, **changes: Any) -> Provider:
    known: dict[str, Any] = {
        "preset": "openai",
        "dialect": Dialect.OPENAI_CHAT,
        "base_url": f"https://{name}.example/v1",
        "zone": Zone.EXTERNAL,
        "clearance": 1,
    }
    return Provider(name, **known | changes)


def test_only_the_owner_may_read_the_file(store: Store, tmp_path: Path) -> None:
    store.add([entry()])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_every_column_of_an_entry_is_kept(store: Store, tmp_path: Path) -> None:
    store.add([entry(7, disputed="no output", estimate=Usage(990, 90, estimated=True), failure=None)])
    reader = LedgerReader(tmp_path)
    [row] = reader.query("SELECT * FROM entries")
    told = dict(zip(row.keys(), row, strict=True))
    assert parse_usage(told.pop("usage")) == Usage(1_000, 100, cache_read_tokens=400)
    assert parse_usage(told.pop("estimate")) == Usage(990, 90, estimated=True)
    assert told == {
        "seq": 1,
        "id": "req_7.1",
        "request_id": "req_7",
        "at_s": NOON_S + 7,
        "settled_s": NOON_S + 8,
        "provider": "openai",
        "model": "large",
        "upstream": "large-2026",
        "deployment": "openai|https://api.example|large-2026",
        "operation": "chat",
        "surface": "openai-chat",
        "stream": 0,
        "tenant": "acme",
        "project": "website",
        "user": "alice",
        "key_id": "key_1",
        "task": "documentation",
        "label": "internal",
        "generation": 3,
        "hedge": 0,
        "reserved_nanos": 5_000_000,
        "price_version": "operator",
        "outcome": "ok",
        "failure": None,
        "disputed": "no output",
        "estimated": 1,
        "input_tokens": 990,
        "output_tokens": 90,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": 0,
        "cost_nanos": 1_500_000,
        "saved_nanos": 0,
        "first_content_s": 0.25,
        "total_s": 1.0,
    }


def test_an_entry_is_booked_once_however_often_it_comes(store: Store, tmp_path: Path) -> None:
    assert store.add([entry(1), entry(2), entry(1)]) == 2
    assert store.add([entry(2), entry(3)]) == 1
    assert select(tmp_path, "SELECT id FROM entries") == [("req_1.1",), ("req_2.1",), ("req_3.1",)]
    [(attempts,)] = select(tmp_path, "SELECT sum(attempts) FROM hours WHERE scope = 'overall'")
    assert attempts == 3


def test_one_entry_no_table_can_hold_does_not_keep_the_others_out(store: Store, tmp_path: Path) -> None:
    assert store.add([entry(1), entry(2, at_s=float("nan")), entry(3)]) == 2
    assert select(tmp_path, "SELECT id FROM entries") == [("req_1.1",), ("req_3.1",)]


def test_a_batch_goes_in_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path / "ledger.db", Disk())
    store._database.execute("CREATE TRIGGER no BEFORE INSERT ON hours BEGIN SELECT raise(ABORT, 'no'); END")
    assert store.add([entry(1)]) == 0
    assert select(tmp_path, "SELECT count(*) FROM entries") == [(0,)]


names = st.sampled_from(["", "a", "b"])
entries = st.lists(
    st.builds(
        lambda at, tenant, user, model, cost, tokens: (at, tenant, user, model, cost, tokens),
        st.integers(0, 4 * 3600 * 4).map(lambda quarters: NOON_S + quarters / 4),
        names,
        names,
        names,
        st.none() | st.integers(0, 10**9),
        st.integers(0, 10**6),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=30)
@given(rows=entries, since=st.integers(0, 4 * 3600).map(lambda s: NOON_S + s))
def test_totals_are_the_sums_of_the_entries_from_any_second_on(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], since: float
) -> None:
    directory = tmp_path_factory.mktemp("ledger")
    booked = [
        entry(number, at_s=at, tenant=tenant, user=user, model=model, cost_nanos=cost, usage=Usage(tokens, 1))
        for number, (at, tenant, user, model, cost, tokens) in enumerate(rows)
    ]
    store = Store(directory / "ledger.db", Disk())
    for first in range(0, len(booked), 7):
        store.add(booked[first : first + 7])
    store.close()
    expected: dict[tuple[str, str], Counter[str]] = {}
    for one in booked:
        if one.intent.at_s < since:
            continue
        for scope in SCOPES:
            name = "" if scope == "overall" else getattr(one.intent, SCOPE_FIELDS[scope])
            cost = one.settlement.cost_nanos
            counted = one.settlement.counted
            assert counted is not None
            expected.setdefault((scope, name), Counter()).update(
                attempts=1,
                tokens=counted.input_tokens + counted.output_tokens,
                cost_nanos=cost or 0,
                unpriced=int(cost is None),
            )
    assert LedgerReader(directory).totals(SCOPES, since) == {
        key: Total(**sums) for key, sums in expected.items()
    }


def test_totals_of_an_unknown_scope_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such scope: planet"):
        LedgerReader(tmp_path).totals(["planet"], 0)


# --- views ------------------------------------------------------------------------------------------------------


def test_the_views_show_providers_credentials_and_usage(store: Store, tmp_path: Path) -> None:
    keys = (
        Credential(Secret("sk-very-secret"), "env:OPENAI_API_KEY"),
        Credential(Secret("sk-2"), "file:/key"),
    )
    store.describe(
        [
            provider("openai", priority=10, auth=Auth.BEARER, credentials=keys),
            provider("ollama", preset="ollama", enabled=False, base_url="http://127.0.0.1:11434"),
        ],
        NOON_S,
    )
    store.add([entry(3)])
    assert select(tmp_path, "SELECT * FROM providers") == [
        (1, "openai", "openai", "https://openai.example/v1", 1, 10, "2025-12-31T12:00:00Z"),
        (2, "ollama", "ollama", "http://127.0.0.1:11434", 0, 100, "2025-12-31T12:00:00Z"),
    ]
    assert select(tmp_path, "SELECT * FROM provider_credentials") == [(1, "bearer", 1), (1, "bearer", 0)]
    assert select(tmp_path, "SELECT * FROM model_usage") == [
        ("req_3.1", 1, "large", 1_000, 100, 0.0015, "chat", "2025-12-31T12:00:03.000Z")
    ]


@pytest.mark.parametrize(
    ("view", "columns"),
    [
        ("providers", "id name type endpoint enabled priority created_at"),
        ("provider_credentials", "provider_id credential_type uses_environment"),
        (
            "model_usage",
            "id provider_id model_name request_tokens response_tokens cost_dollars request_type timestamp",
        ),
    ],
)
def test_a_view_has_the_promised_columns(store: Store, tmp_path: Path, view: str, columns: str) -> None:
    told = select(tmp_path, "SELECT name FROM pragma_table_info(?)", view)
    assert [name for (name,) in told] == columns.split()


def test_no_secret_reaches_the_file(store: Store, tmp_path: Path) -> None:
    key = Credential(Secret("sk-very-secret"), "${env:KEY}")
    store.describe([provider("openai", credentials=(key,), secret=key.secret)], NOON_S)
    store.close()
    assert all(b"sk-very-secret" not in path.read_bytes() for path in tmp_path.iterdir())


def test_a_provider_keeps_its_id_and_age_through_changes_and_stays_when_it_is_gone(
    store: Store, tmp_path: Path
) -> None:
    store.describe([provider("openai"), provider("other")], NOON_S)
    store.describe([provider("other", priority=1)], NOON_S + 60)
    assert select(tmp_path, "SELECT id, name, enabled, priority, created_at FROM providers") == [
        (1, "openai", 0, 100, "2025-12-31T12:00:00Z"),
        (2, "other", 1, 1, "2025-12-31T12:00:00Z"),
    ]


def test_the_sqlite3_program_reads_while_the_writer_writes(store: Store, tmp_path: Path) -> None:
    store.add([entry(number) for number in range(5)])
    told = subprocess.run(
        [
            program("sqlite3", "sqlite3"),
            "-readonly",
            str(tmp_path / "ledger.db"),
            "SELECT sum(cost_dollars) FROM model_usage",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert told.stdout.strip() == "0.0075"
    assert store.add([entry(9)]) == 1


# --- reading ----------------------------------------------------------------------------------------------------


def test_a_reader_cannot_write(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LedgerUnreadable, match="readonly"):
        LedgerReader(tmp_path).query("DELETE FROM entries")


def test_a_question_has_an_end_in_time(store: Store, tmp_path: Path) -> None:
    reader = LedgerReader(tmp_path, timeout_s=0.05)
    with pytest.raises(LedgerUnreadable, match=r"longer than 0\.05 s"):
        reader.query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")


def test_a_missing_ledger_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnreadable, match="the daemon makes it when it starts"):
        LedgerReader(tmp_path).query("SELECT 1")


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Store(path, Disk()).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(LedgerUnavailable, match="newer version"):
        Store(path, Disk())
    assert path.exists()


# --- room -------------------------------------------------------------------------------------------------------


def test_old_entries_go_in_small_steps_and_give_back_their_room_while_sums_stay(
    store: Store, tmp_path: Path
) -> None:
    store.add([entry(number, disputed="x" * 200) for number in range(1_200)])
    store.checkpoint()
    full_bytes = (tmp_path / "ledger.db").stat().st_size
    steps = []
    while forgotten := store.forget(NOON_S + 1_100, up_to_seq=1_050):
        steps.append(forgotten)
    while store.shrink():
        pass
    store.checkpoint()
    assert steps == [500, 500, 50]
    assert select(tmp_path, "SELECT count(*), min(seq) FROM entries") == [(150, 1_051)]
    assert select(tmp_path, "SELECT sum(attempts) FROM hours WHERE scope = 'user'") == [(1_200,)]
    assert (tmp_path / "ledger.db").stat().st_size < full_bytes / 2


def test_usage_is_kept_as_the_fields_that_say_something(store: Store, tmp_path: Path) -> None:
    store.add([entry(1, usage=Usage(5, 6, billed=(7, 8), tier="batch")), entry(2, usage=None)])
    texts = [text for (text,) in select(tmp_path, "SELECT usage FROM entries")]
    assert json.loads(texts[0]) == {"input_tokens": 5, "output_tokens": 6, "billed": [7, 8], "tier": "batch"}
    assert [parse_usage(text) for text in texts] == [Usage(5, 6, billed=(7, 8), tier="batch"), None]
