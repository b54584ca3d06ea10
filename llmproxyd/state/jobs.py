"""Requests that are answered later, kept in SQLite until their answer was fetched or is too old.

One thread of its own does all the reading and writing, so that a slow disk never holds up the event loop. What is
promised by returning is on the disk. Times are Unix seconds, because they outlive the process.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from llmproxyd.state.job_file import StoreError, describe, is_damage, open_file
from llmproxyd.values.job import Job, JobKind, JobResult, JobState, Task

MAX_WAITING = 1_000
MAX_WAITING_BYTES = 1 << 30
MAX_KEPT_BYTES = 1 << 30
MAX_FILE_BYTES = 4 << 30
TTL_S = 24 * 3600.0
ENTRY_BYTES = 1024
"""What a job costs besides its texts."""

_T = TypeVar("_T")
_BY_ID = """
SELECT id, kind, owner, target, headers, created_s, stream, rank, inherited, previous, key, digest, key_id, state,
  starts, completed_s, status, content_type, result_headers, iif(?, body, x''), iif(?, result, x'') FROM jobs WHERE id = ?
"""


class QueueFull(Exception):  # noqa: N818 - a verdict, not an error
    """As many jobs wait as may wait."""


class KeyTaken(Exception):  # noqa: N818 - a verdict, not an error
    """The idempotency key belongs to another request of the same owner."""


class JobStore:
    """Used from one event loop. Every method raises StoreError while the file cannot be used; the next call tries again.

    max_waiting, max_waiting_bytes: of jobs not begun. max_kept_bytes: of those that are over; the oldest go first.
    ttl_s: how long an answer is kept, how long a job may wait, and how long an idempotency key is remembered.
    """

    def __init__(
        self,
        path: Path,
        *,
        wall: Callable[[], float],
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        max_kept_bytes: int = MAX_KEPT_BYTES,
        max_file_bytes: int = MAX_FILE_BYTES,
        ttl_s: float = TTL_S,
    ) -> None:
        self._path = path
        self._wall = wall
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._max_kept_bytes = max_kept_bytes
        self._max_file_bytes = max_file_bytes
        self._ttl_s = ttl_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self._database: sqlite3.Connection | None = None
        self._closed = False

    # --- coming in ------------------------------------------------------------------------------------------------

    async def add(self, task: Task) -> tuple[Job, bool]:
        """Keep a new job; it is on the disk when this returns. -> the job, and whether it is new: the same request under
        the same idempotency key is the same job. Raises QueueFull, KeyTaken."""
        return await self._do(lambda database: self._add(database, task))

    def _add(self, database: sqlite3.Connection, task: Task) -> tuple[Job, bool]:
        known = self._find_key(database, task)
        if known is not None:
            return known, False
        count, waiting_bytes = database.execute(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM jobs WHERE state = 'queued'"
        ).fetchone()
        size = len(task.body) + ENTRY_BYTES
        if count >= self._max_waiting or waiting_bytes + size > self._max_waiting_bytes:
            raise QueueFull
        database.execute(
            "INSERT INTO jobs (id, kind, owner, target, headers, created_s, stream, rank, inherited, previous, key,"
            " digest, key_id, state, bytes, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?)",
            (
                task.id, task.kind, task.owner, task.target, json.dumps(dict(task.headers)), task.created_s,
                task.stream, task.rank, task.inherited, task.previous, task.key, task.digest, task.key_id, size,
                task.body,
            ),
        )  # fmt: skip
        return Job(task, JobState.QUEUED), True

    def _find_key(self, database: sqlite3.Connection, task: Task) -> Job | None:
        if task.key is None:
            return None
        since_s = self._wall() - self._ttl_s
        database.execute(
            "UPDATE jobs SET key = NULL WHERE owner = ? AND key = ? AND created_s <= ?",
            (task.owner, task.key, since_s),
        )
        row = database.execute(
            "SELECT id FROM jobs WHERE owner = ? AND key = ?", (task.owner, task.key)
        ).fetchone()
        job = None if row is None else _one(database, row[0])
        if job is not None and (job.task.digest, job.task.kind) != (task.digest, task.kind):
            raise KeyTaken
        return job

    # --- being done -----------------------------------------------------------------------------------------------

    async def take(self) -> Job | None:
        """The next job to do, with its body; from now on it is in progress. None: none waits."""
        return await self._do(self._take)

    def _take(self, database: sqlite3.Connection) -> Job | None:
        found = database.execute(
            "SELECT id FROM jobs WHERE state = 'queued' ORDER BY rank, created_s LIMIT 1"
        ).fetchone()
        if found is None:
            return None
        database.execute("UPDATE jobs SET state = 'in_progress', starts = starts + 1 WHERE id = ?", found)
        return _one(database, found[0], body=True)

    async def finish(self, job_id: str, state: JobState, result: JobResult) -> bool:
        """Keep the answer of a job in progress. False: nobody wants it any more."""
        return await self._do(lambda database: self._finish(database, job_id, state, result))

    def _finish(self, database: sqlite3.Connection, job_id: str, state: JobState, result: JobResult) -> bool:
        # A background response goes on to be the beginning of a conversation: what was asked is still needed.
        size = len(result.body) + ENTRY_BYTES
        changed = database.execute(
            "UPDATE jobs SET state = ?, completed_s = ?, status = ?, content_type = ?, result_headers = ?, result = ?,"
            " body = iif(kind = 'response', body, x''), bytes = ? + iif(kind = 'response', length(body), 0)"
            " WHERE id = ? AND state = 'in_progress'",
            (
                state, self._wall(), result.status, result.content_type, json.dumps(dict(result.headers)),
                result.body, size, job_id,
            ),
        ).rowcount  # fmt: skip
        self._make_room(database)
        return bool(changed)

    async def put_back(self) -> int:
        """At an orderly stop: what is in progress waits again, and that start does not count. -> how many."""
        return await self._do(
            lambda database: (
                database.execute(
                    "UPDATE jobs SET state = 'queued', starts = starts - 1 WHERE state = 'in_progress'"
                ).rowcount
            )
        )

    async def recover(self) -> int:
        """At the start: what a process that is no more had begun waits again. -> how many."""
        return await self._do(
            lambda database: (
                database.execute("UPDATE jobs SET state = 'queued' WHERE state = 'in_progress'").rowcount
            )
        )

    # --- being asked for ------------------------------------------------------------------------------------------

    async def get(self, job_id: str, owner: str, *, body: bool = False, result: bool = False) -> Job | None:
        """What is known of a job; None where there is none, or it is somebody else's. body, result: with these texts."""
        job = await self._do(lambda database: _one(database, job_id, body=body, result=result))
        return job if job is not None and job.task.owner == owner else None

    async def cancel(self, job_id: str) -> bool:
        """Whether it was still to be done, or being done."""
        return await self._do(
            lambda database: bool(
                database.execute(
                    "UPDATE jobs SET state = 'cancelled', completed_s = ?, body = iif(kind = 'response', body, x'')"
                    " WHERE id = ? AND state IN ('queued', 'in_progress')",
                    (self._wall(), job_id),
                ).rowcount
            )
        )

    async def delete(self, job_id: str) -> None:
        """Forget a job that is over."""
        await self._do(
            lambda database: database.execute(
                "DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'in_progress')", (job_id,)
            )
        )
        await self._forget()

    # --- staying within bounds ------------------------------------------------------------------------------------

    async def sweep(self) -> list[str]:
        """Forget what is too old, and give up what has waited too long. -> the ids of the latter"""
        gone = await self._do(self._sweep)
        await self._forget()
        return gone

    async def _forget(self) -> None:
        """What was deleted, or has its answer, still stands in the log beside the file: empty that too."""
        await self._do(
            lambda database: database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall(), plain=True
        )

    def _sweep(self, database: sqlite3.Connection) -> list[str]:
        now_s = self._wall()
        database.execute("DELETE FROM jobs WHERE completed_s <= ?", (now_s - self._ttl_s,))
        expired = database.execute(
            "UPDATE jobs SET state = 'expired', completed_s = ?, body = iif(kind = 'response', body, x'')"
            " WHERE state = 'queued' AND created_s <= ? RETURNING id",
            (now_s, now_s - self._ttl_s),
        ).fetchall()
        self._make_room(database)
        return [job_id for [job_id] in expired]

    def _make_room(self, database: sqlite3.Connection) -> None:
        [kept] = database.execute(
            "SELECT coalesce(sum(bytes), 0) FROM jobs WHERE completed_s IS NOT NULL"
        ).fetchone()
        excess, gone = kept - self._max_kept_bytes, []
        if excess <= 0:
            return
        oldest = database.execute(
            "SELECT rowid, bytes FROM jobs WHERE completed_s IS NOT NULL ORDER BY completed_s"
        )
        for rowid, size in oldest:
            gone.append((rowid,))
            excess -= size
            if excess <= 0:
                break
        database.executemany("DELETE FROM jobs WHERE rowid = ?", gone)

    async def close(self) -> None:
        """Waits for what is being written; nothing can be read or written after it."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    # --- the thread -----------------------------------------------------------------------------------------------

    async def _do(self, work: Callable[[sqlite3.Connection], _T], *, plain: bool = False) -> _T:
        """plain: not in a transaction."""
        if self._closed:
            raise StoreError("llmproxyd is stopping")
        # Shielded: whoever leaves while it is written must not leave it half done in his own mind.
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._perform, work, plain)
        return await asyncio.shield(running)

    def _perform(self, work: Callable[[sqlite3.Connection], _T], plain: bool) -> _T:
        if self._database is None:
            self._database = open_file(self._path, max_bytes=self._max_file_bytes, wall_s=self._wall())
        try:
            with nullcontext(self._database) if plain else _transaction(self._database) as database:
                return work(database)
        except sqlite3.Error as error:
            if is_damage(error):
                self._close()  # the next call opens it again, and finds and moves aside what is damaged
            raise StoreError(describe(error)) from error


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled back already.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _one(
    database: sqlite3.Connection, job_id: str, *, body: bool = False, result: bool = False
) -> Job | None:
    row = database.execute(_BY_ID, (body, result, job_id)).fetchone()
    return None if row is None else _read(row)


def _read(row: tuple[Any, ...]) -> Job:
    (
        job_id, kind, owner, target, headers, created_s, stream, rank, inherited, previous, key, digest,
        key_id, state, starts, completed_s, status, content_type, result_headers, body, result,
    ) = row  # fmt: skip
    task = Task(
        id=job_id,
        kind=JobKind(kind),
        owner=owner,
        target=target,
        headers=json.loads(headers),
        body=body,
        created_s=created_s,
        stream=bool(stream),
        rank=rank,
        inherited=inherited,
        previous=previous,
        key=key,
        digest=digest,
        key_id=key_id,
    )
    answered = None
    if status is not None:
        answered = JobResult(status, content_type, json.loads(result_headers), result or b"")
    return Job(task, JobState(state), starts, completed_s, answered)
