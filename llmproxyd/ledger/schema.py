"""All SQL that makes and fills the ledger's file, as literal text. What people may query is told in the views.

Batches go in by few statements of many rows: one per row would hand the interpreter's lock to and fro once per row, and
each time wait for the event loop; one for all, as a JSON array, takes four times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, LiteralString

VERSION: Final = 1

# Nothing that belongs to one attempt is ever changed; sums per hour are kept in the same transaction, so that limits
# and bills need not read entries, and outlive them.
CREATE: Final = """
BEGIN IMMEDIATE;
CREATE TABLE entries (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE, request_id TEXT NOT NULL, at_s REAL NOT NULL, settled_s REAL NOT NULL,
  provider TEXT NOT NULL, model TEXT NOT NULL, upstream TEXT NOT NULL, deployment TEXT NOT NULL,
  operation TEXT NOT NULL, surface TEXT NOT NULL, stream INTEGER NOT NULL, tenant TEXT NOT NULL, project TEXT NOT NULL,
  user TEXT NOT NULL, key_id TEXT NOT NULL, task TEXT NOT NULL, label TEXT NOT NULL, generation INTEGER NOT NULL,
  hedge INTEGER NOT NULL, reserved_nanos INTEGER, price_version TEXT NOT NULL,
  outcome TEXT NOT NULL, failure TEXT, disputed TEXT, estimated INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL, cache_write_1h_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
  cost_nanos INTEGER, saved_nanos INTEGER NOT NULL, first_content_s REAL, total_s REAL,
  usage TEXT, estimate TEXT
) STRICT;
CREATE INDEX entries_at ON entries (at_s);
CREATE TABLE hours (
  scope TEXT NOT NULL, hour_s INTEGER NOT NULL, name TEXT NOT NULL, attempts INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost_nanos INTEGER NOT NULL,
  saved_nanos INTEGER NOT NULL, unpriced INTEGER NOT NULL,
  PRIMARY KEY (scope, hour_s, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE known_providers (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL, endpoint TEXT NOT NULL,
  enabled INTEGER NOT NULL, priority INTEGER NOT NULL, created_s REAL NOT NULL
) STRICT;
CREATE TABLE known_credentials (
  provider_id INTEGER NOT NULL REFERENCES known_providers (id), credential_type TEXT NOT NULL,
  uses_environment INTEGER NOT NULL
) STRICT;
CREATE TABLE state (
  only INTEGER PRIMARY KEY CHECK (only = 1), clean INTEGER NOT NULL, synced INTEGER NOT NULL
) STRICT;
INSERT INTO state VALUES (1, 1, 0);
CREATE VIEW providers AS
  SELECT id, name, type, endpoint, enabled, priority,
         strftime('%Y-%m-%dT%H:%M:%SZ', created_s, 'unixepoch') AS created_at
  FROM known_providers;
CREATE VIEW provider_credentials AS
  SELECT provider_id, credential_type, uses_environment FROM known_credentials;
CREATE VIEW model_usage AS
  SELECT entries.id AS id, known_providers.id AS provider_id, model AS model_name, input_tokens AS request_tokens,
         output_tokens AS response_tokens, cost_nanos / 1e9 AS cost_dollars, operation AS request_type,
         strftime('%Y-%m-%dT%H:%M:%fZ', at_s, 'unixepoch') AS timestamp
  FROM entries LEFT JOIN known_providers ON known_providers.name = entries.provider;
PRAGMA user_version = 1;
COMMIT;
"""

KNOWN_IDS: Final = "SELECT id FROM entries WHERE id IN (SELECT value FROM json_each(?))"

ROWS_AT_ONCE: Final = (16, 8, 4, 2, 1)
"""How many rows one statement inserts; SQLite keeps each of them compiled. More would be more values than older ones bind."""


def _inserts(head: LiteralString, columns: int, tail: LiteralString = "") -> Mapping[int, LiteralString]:
    row = "(?" + ", ?" * (columns - 1) + ")"
    return {count: head + " VALUES " + row + (", " + row) * (count - 1) + tail for count in ROWS_AT_ONCE}


# The order of columns is that of `rows.entry_row`.
INSERT_ENTRIES: Final = _inserts(
    """
INSERT INTO entries (
  id, request_id, at_s, settled_s, provider, model, upstream, deployment, operation, surface, stream, tenant, project,
  user, key_id, task, label, generation, hedge, reserved_nanos, price_version, outcome, failure, disputed, estimated,
  input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens,
  cost_nanos, saved_nanos, first_content_s, total_s, usage, estimate)
""",
    columns=37,
    tail=" ON CONFLICT (id) DO NOTHING",
)

ADD_HOURS: Final = _inserts(
    """
INSERT INTO hours (
  scope, hour_s, name, attempts, input_tokens, output_tokens, cost_nanos, saved_nanos, unpriced)
""",
    columns=9,
    tail="""
ON CONFLICT (scope, hour_s, name) DO UPDATE SET
  attempts = attempts + excluded.attempts, input_tokens = input_tokens + excluded.input_tokens,
  output_tokens = output_tokens + excluded.output_tokens, cost_nanos = cost_nanos + excluded.cost_nanos,
  saved_nanos = saved_nanos + excluded.saved_nanos, unpriced = unpriced + excluded.unpriced
""",
)

# It counts, because a row that does not change is not written, and then nothing is synced.
MARK: Final = "UPDATE state SET clean = ?, synced = synced + 1"

DISABLE_PROVIDERS: Final = "UPDATE known_providers SET enabled = 0"
FORGET_CREDENTIALS: Final = "DELETE FROM known_credentials"
PUT_PROVIDERS: Final = """
INSERT INTO known_providers (name, type, endpoint, enabled, priority, created_s)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?) WHERE true
ON CONFLICT (name) DO UPDATE SET
  type = excluded.type, endpoint = excluded.endpoint, enabled = excluded.enabled, priority = excluded.priority
"""
PUT_CREDENTIALS: Final = """
INSERT INTO known_credentials (provider_id, credential_type, uses_environment)
SELECT known_providers.id, value ->> 1, value ->> 2
FROM json_each(?) JOIN known_providers ON known_providers.name = value ->> 0
"""

FORGET_ENTRIES: Final = """
DELETE FROM entries WHERE seq IN (
  SELECT seq FROM entries WHERE at_s < ? AND seq <= ? ORDER BY at_s LIMIT 500)
"""

TOTALS: Final = """
SELECT scope, name, sum(attempts), sum(input_tokens + output_tokens), sum(cost_nanos), sum(unpriced)
FROM hours WHERE scope IN (SELECT value FROM json_each(?)) AND hour_s >= ?
GROUP BY scope, name
"""
PART_OF_AN_HOUR: Final = """
SELECT tenant, project, user, key_id, provider, model, task, input_tokens + output_tokens, cost_nanos
FROM entries WHERE at_s >= ? AND at_s < ?
"""
