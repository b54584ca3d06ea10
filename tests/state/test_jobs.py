"""The store of jobs on a real file: what it promises, its bounds, and how it takes damage and a full disk."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmproxyd.state.job_file import VERSION, StoreError
from llmproxyd.state.jobs import ENTRY_BYTES, JobStore, KeyTaken, QueueFull
from llmproxyd.values.job import JobKind, JobResult, JobState, Task
from tests.support.records import replace

NOW_S = 1_795_000_000.0
DAY_S = 24 * 3600.0
ANSWER = JobResult(200, "application/json", {"x-a": "1"}, b'{"said": 1}')


class Wall:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def task(name: str, **fields: Any) -> Task:
    plain = Task(name, JobKind.ASYNC, "alice", "/v1/x", {"content-type": "application/json"}, b"{}", NOW_S)
    return replace(plain, **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "jobs.db"


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
async def store(path: Path, wall: Wall) -> AsyncIterator[JobStore]:
    opened = JobStore(path, wall=wall)
    yield opened
    await opened.close()


async def done(store: JobStore, result: JobResult = ANSWER) -> None:
    job = await store.take()
    assert job is not None
    assert await store.finish(job.task.id, JobState.COMPLETED, result)


async def test_a_job_is_kept_with_everything_it_needs(path: Path, wall: Wall) -> None:
    given = task("a", inherited="internal", previous="resp_1", stream=True, rank=2, key="k", digest=b"d")
    store = JobStore(path, wall=wall)
    await store.add(given)
    await store.close()
    assert path.stat().st_mode & 0o777 == 0o600
    again = JobStore(path, wall=wall)
    job = await again.take()
    assert job is not None
    assert (job.task, job.state, job.starts) == (given, JobState.IN_PROGRESS, 1)
    await again.close()


async def test_the_more_urgent_and_then_the_older_is_taken_first(store: JobStore) -> None:
    await store.add(task("late", created_s=NOW_S + 1))
    await store.add(task("batch", rank=2, created_s=NOW_S - 9))
    await store.add(task("early"))
    taken = [await store.take() for _ in range(4)]
    assert [job and job.task.id for job in taken] == ["early", "late", "batch", None]


async def test_an_answer_is_found_by_its_owner_only(store: JobStore) -> None:
    await store.add(task("a"))
    await done(store)
    assert await store.get("a", "bob") is None
    assert await store.get("nobody", "alice") is None
    found = await store.get("a", "alice", result=True)
    assert found is not None
    assert (found.state, found.result, found.completed_s) == (JobState.COMPLETED, ANSWER, NOW_S)


async def test_what_was_cancelled_takes_no_answer_any_more(store: JobStore) -> None:
    await store.add(task("a"))
    await store.take()
    assert await store.cancel("a")
    assert not await store.cancel("a")
    assert not await store.finish("a", JobState.COMPLETED, ANSWER)
    found = await store.get("a", "alice", result=True)
    assert found is not None
    assert (found.state, found.result) == (JobState.CANCELLED, None)


async def test_only_what_is_over_can_be_deleted(store: JobStore) -> None:
    await store.add(task("a"))
    await store.delete("a")
    assert await store.get("a", "alice") is not None
    await done(store)
    await store.delete("a")
    assert await store.get("a", "alice") is None


@pytest.mark.parametrize("how", ["deleted", "swept"])
async def test_what_is_forgotten_is_in_no_file_any_more(
    store: JobStore, path: Path, wall: Wall, how: str
) -> None:
    words = b"the words of a client "
    for name in ("a", "b"):  # in its page beside another, and in pages of its own
        await store.add(task(name, body=words * (1 if name == "a" else 4096), headers={"x": words.decode()}))
        await done(store, replace(ANSWER, body=words))
    await store.add(task("kept", body=b"another's words"))
    assert words in everything_beside(path), "the search finds what is there"
    if how == "deleted":
        await store.delete("a")
        await store.delete("b")
    else:
        wall.now_s += DAY_S
        await store.sweep()
    assert words not in everything_beside(path)


def everything_beside(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


async def test_a_start_counts_unless_it_was_put_back(store: JobStore) -> None:
    await store.add(task("a"))
    await store.take()
    assert await store.put_back() == 1
    again = await store.take()
    assert again is not None
    assert again.starts == 1
    assert await store.recover() == 1
    again = await store.take()
    assert again is not None
    assert again.starts == 2


async def test_no_more_wait_than_may(path: Path, wall: Wall) -> None:
    store = JobStore(path, wall=wall, max_waiting=2, max_waiting_bytes=10 * ENTRY_BYTES)
    await store.add(task("a"))
    await store.add(task("b"))
    with pytest.raises(QueueFull):
        await store.add(task("c"))
    await store.take()
    with pytest.raises(QueueFull):
        await store.add(task("d", body=b"x" * 9 * ENTRY_BYTES))
    await store.add(task("e"))
    await store.close()


class TestAnIdempotencyKey:
    async def test_names_one_job(self, store: JobStore) -> None:
        assert (await store.add(task("a", key="k", digest=b"1")))[1] is True
        job, fresh = await store.add(task("b", key="k", digest=b"1"))
        assert (job.task.id, fresh) == ("a", False)

    async def test_with_another_request_is_refused(self, store: JobStore) -> None:
        await store.add(task("a", key="k", digest=b"1"))
        with pytest.raises(KeyTaken):
            await store.add(task("b", key="k", digest=b"2"))

    async def test_belongs_to_its_owner(self, store: JobStore) -> None:
        await store.add(task("a", key="k", digest=b"1"))
        assert (await store.add(task("b", key="k", digest=b"2", owner="bob")))[1] is True

    async def test_is_free_again_after_a_day(self, store: JobStore, wall: Wall) -> None:
        await store.add(task("a", key="k", digest=b"1"))
        wall.now_s += DAY_S
        assert (await store.add(task("b", key="k", digest=b"2")))[1] is True


async def test_answers_go_after_a_day_and_what_waited_a_day_expires(store: JobStore, wall: Wall) -> None:
    await store.add(task("answered"))
    await done(store)
    await store.add(task("waiting"))
    wall.now_s += DAY_S
    assert await store.sweep() == ["waiting"]
    assert await store.get("answered", "alice") is None
    waiting = await store.get("waiting", "alice")
    assert waiting is not None
    assert waiting.state is JobState.EXPIRED
    wall.now_s += DAY_S
    await store.sweep()
    assert await store.get("waiting", "alice") is None


@given(sizes=st.lists(st.integers(0, 4 * ENTRY_BYTES), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_answers_never_outgrow_their_room_and_the_oldest_go_first(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    wall, room = Wall(), 8 * ENTRY_BYTES
    store = JobStore(tmp_path_factory.mktemp("jobs") / "jobs.db", wall=wall, max_kept_bytes=room)
    for number, size in enumerate(sizes):
        wall.now_s += 1
        await store.add(task(str(number)))
        await done(store, replace(ANSWER, body=b"x" * size))
    kept = [n for n in range(len(sizes)) if await store.get(str(n), "alice") is not None]
    assert sum(sizes[n] + ENTRY_BYTES for n in kept) <= room
    assert kept == list(range(len(sizes) - len(kept), len(sizes)))
    if kept and kept[0] > 0:
        assert sum(sizes[n] + ENTRY_BYTES for n in (kept[0] - 1, *kept)) > room
    await store.close()


FIRST_FORM = """
CREATE TABLE jobs (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL, rank INTEGER NOT NULL,
  starts INTEGER NOT NULL DEFAULT 0, created_s REAL NOT NULL, completed_s REAL, bytes INTEGER NOT NULL,
  stream INTEGER NOT NULL, key TEXT, digest BLOB NOT NULL, inherited TEXT, previous TEXT, status INTEGER,
  content_type TEXT, target TEXT NOT NULL, headers TEXT NOT NULL, result_headers TEXT, body BLOB NOT NULL, result BLOB
) STRICT;
CREATE INDEX jobs_waiting ON jobs (rank, created_s, bytes) WHERE state = 'queued';
CREATE INDEX jobs_over ON jobs (completed_s, bytes) WHERE completed_s IS NOT NULL;
CREATE UNIQUE INDEX jobs_key ON jobs (owner, key) WHERE key IS NOT NULL;
PRAGMA user_version = 1;
"""


class TestTheFile:
    async def test_of_a_newer_version_is_left_alone(self, path: Path, wall: Wall) -> None:
        path.parent.mkdir()
        with sqlite3.connect(path) as newer:
            newer.execute(f"PRAGMA user_version = {VERSION + 1}")
        newer.close()
        store = JobStore(path, wall=wall)
        with pytest.raises(StoreError, match="newer version"):
            await store.add(task("a"))
        assert [file.name for file in path.parent.glob("*corrupt*")] == []
        await store.close()

    async def test_of_an_older_version_is_brought_to_this_one(self, path: Path, wall: Wall) -> None:
        path.parent.mkdir()
        with sqlite3.connect(path) as older:
            older.executescript(FIRST_FORM)
            older.execute(
                "INSERT INTO jobs (id, kind, owner, state, rank, created_s, bytes, stream, digest, target, headers, body)"
                " VALUES ('old', 'async', 'alice', 'queued', 0, ?, 2, 0, x'', '/v1/x', '{}', x'7b7d')",
                (wall.now_s,),
            )
        older.close()
        store = JobStore(path, wall=wall)
        await store.add(replace(task("new"), key_id="12345678"))
        found = [await store.get(name, "alice") for name in ("old", "new")]
        assert [job.task.key_id for job in found if job is not None] == ["", "12345678"]
        await store.close()

    async def test_is_used_by_one_process_at_a_time(self, store: JobStore, path: Path, wall: Wall) -> None:
        await store.add(task("a"))
        second = JobStore(path, wall=wall)
        with pytest.raises(StoreError, match="locked"):
            await second.take()
        await store.close()
        job = await second.take()
        assert job is not None
        await second.close()

    async def test_that_is_damaged_is_moved_aside_with_its_contents(self, path: Path, wall: Wall) -> None:
        store = JobStore(path, wall=wall)
        for number in range(40):
            await store.add(task(str(number), body=b"x" * 5000))
        await store.close()
        whole = bytearray(path.read_bytes())
        whole[8192:40960] = b"\xff" * (40960 - 8192)
        path.write_bytes(whole)
        again = JobStore(path, wall=wall)
        assert await again.get("1", "alice") is None
        [aside] = [file for file in path.parent.iterdir() if ".corrupt-" in file.name]
        assert aside.read_bytes() == bytes(whole)
        await again.close()

    async def test_that_cannot_be_made_is_told_and_tried_again(self, path: Path, wall: Wall) -> None:
        path.parent.write_text("a file where the directory should be")
        store = JobStore(path, wall=wall)
        with pytest.raises(StoreError):
            await store.add(task("a"))
        path.parent.unlink()
        assert (await store.add(task("a")))[1] is True
        await store.close()

    async def test_that_is_full_takes_nothing_and_loses_nothing(self, path: Path, wall: Wall) -> None:
        store = JobStore(path, wall=wall, max_file_bytes=64 * 4096)
        await store.add(task("small"))
        with pytest.raises(StoreError, match="full"):
            await store.add(task("large", body=b"x" * 100 * 4096))
        assert await store.get("large", "alice") is None
        await done(store)
        assert (await store.add(task("another")))[1] is True
        await store.close()
