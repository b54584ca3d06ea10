from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmproxyd.cache import store as store_module
from llmproxyd.cache.file import MIN_BYTES
from llmproxyd.cache.store import FILE, QUEUE_BYTES, CacheStore
from tests.cache.asking import cached_of

NOW_S = 1_800_000_000.0
ROOT = Path(__file__).resolve().parents[2]


def key(number: int) -> bytes:
    return number.to_bytes(32)


def opened(state_dir: Path, max_bytes: int = 64 << 20) -> CacheStore:
    return CacheStore(state_dir / FILE, max_bytes=max_bytes, stale_s=60.0, wall=lambda: NOW_S)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CacheStore]:
    store = opened(tmp_path)
    yield store
    await store.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else writes, and does not end."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        database.execute("ROLLBACK")
        database.close()


async def test_an_answer_outlives_the_process(tmp_path: Path) -> None:
    first = opened(tmp_path)
    assert first.put(key(1), cached_of(b"one"), NOW_S + 5, NOW_S)
    await first.close()
    second = opened(tmp_path)
    assert await second.read(key(1)) == (NOW_S + 5, cached_of(b"one"))
    assert await second.read(key(2)) is None
    await second.close()


async def test_nothing_is_opened_before_there_is_something_to_keep(tmp_path: Path) -> None:
    store = opened(tmp_path / "state")
    assert await store.read(key(1)) is None
    await store.flush()
    assert not (tmp_path / "state").exists()
    await store.close()


async def test_what_is_still_to_be_written_can_be_read(store: CacheStore) -> None:
    store.put(key(1), cached_of(b"one"), NOW_S + 5, NOW_S)
    assert await store.read(key(1)) == (NOW_S + 5, cached_of(b"one"))


async def test_the_last_word_counts(store: CacheStore) -> None:
    store.put(key(1), cached_of(b"one"), NOW_S + 5, NOW_S)
    store.put(key(1), cached_of(b"two"), NOW_S + 6, NOW_S)
    store.put(key(2), cached_of(b"gone"), NOW_S + 6, NOW_S)
    store.forget(key(2))
    await store.flush()
    assert await store.read(key(1)) == (NOW_S + 6, cached_of(b"two"))
    assert await store.read(key(2)) is None


async def test_forgetting_reaches_the_disk(store: CacheStore) -> None:
    for number in range(3):
        store.put(key(number), cached_of(), NOW_S + 5, NOW_S)
    await store.flush()
    store.forget(key(0))
    await store.flush()
    assert [await store.read(key(n)) is None for n in range(3)] == [True, False, False]
    store.clear()
    await store.flush()
    assert [await store.read(key(n)) is None for n in range(3)] == [True, True, True]


async def test_many_answers_are_written_in_many_batches(tmp_path: Path) -> None:
    store = opened(tmp_path, 16 << 20)
    bodies = [os.urandom(50_000) for _ in range(100)]
    for number, body in enumerate(bodies):
        assert store.put(key(number), cached_of(body), NOW_S + 5, NOW_S)
    await store.flush()
    found = [await store.read(key(number)) for number in range(100)]
    assert [entry[1].body for entry in found if entry] == bodies
    await store.close()


async def test_the_queue_is_bounded(store: CacheStore, tmp_path: Path) -> None:
    store.put(key(0), cached_of(), NOW_S + 5, NOW_S)
    await store.flush()
    with locked(tmp_path / FILE):
        size, queued = 1 << 20, 0
        while store.put(key(1 + queued), cached_of(bytes(size)), NOW_S, NOW_S):
            queued += 1
            assert queued <= 3 * QUEUE_BYTES // size
    assert store.lost > 0


async def test_an_answer_too_large_for_the_file_is_not_written(tmp_path: Path) -> None:
    store = opened(tmp_path, MIN_BYTES)
    store.put(key(1), cached_of(os.urandom(MIN_BYTES // 2)), NOW_S + 5, NOW_S)
    store.put(key(2), cached_of(b"small"), NOW_S + 5, NOW_S)
    await store.flush()
    assert store.lost == 1
    assert await store.read(key(1)) is None
    assert await store.read(key(2)) is not None
    await store.close()


async def test_a_damaged_file_begins_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(os.urandom(10_000))
    store = opened(tmp_path)
    assert await store.read(key(1)) is None
    store.put(key(1), cached_of(), NOW_S + 5, NOW_S)
    await store.flush()
    store.put(key(2), cached_of(), NOW_S + 5, NOW_S)
    await store.flush()
    assert await store.read(key(2)) is not None
    assert store.fault is None
    await store.close()


async def test_a_flipped_bit_in_a_value_is_a_miss_and_is_forgotten(store: CacheStore, tmp_path: Path) -> None:
    store.put(key(1), cached_of(b"right"), NOW_S + 5, NOW_S)
    await store.flush()
    with sqlite3.connect(tmp_path / FILE) as database:
        [value] = database.execute("SELECT value FROM entries").fetchone()
        database.execute("UPDATE entries SET value = ?", (value.replace(b"right", b"wrong"),))
    database.close()
    assert await store.read(key(1)) is None
    await store.flush()
    with sqlite3.connect(tmp_path / FILE) as database:
        assert database.execute("SELECT count(*) FROM entries").fetchone() == (0,)
    database.close()


async def test_a_disk_that_refuses_is_told_and_recovers_alone(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory belongs")
    store = opened(tmp_path / "state")
    store.put(key(1), cached_of(), NOW_S + 5, NOW_S)
    await store.flush()
    told, lost = store.fault, store.lost
    assert told
    assert lost == 1
    (tmp_path / "state").unlink()
    store.put(key(2), cached_of(), NOW_S + 5, NOW_S)
    await store.flush()
    assert store.fault is None
    assert await store.read(key(2)) is not None
    await store.close()


async def test_a_disk_that_does_not_answer_is_a_miss(
    store: CacheStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(key(1), cached_of(), NOW_S + 5, NOW_S)
    await store.flush()
    answers = threading.Event()
    monkeypatch.setattr(store_module, "READ_TIMEOUT_S", 0.02)
    monkeypatch.setattr(store._reader, "read", lambda _: answers.wait(10))
    try:
        found = await asyncio.gather(*[store.read(key(1)) for _ in range(200)])
        assert found == [None] * 200
    finally:
        answers.set()


_CHILD = """
import asyncio, os, sys
from pathlib import Path
from llmproxyd.cache.store import FILE, CacheStore
from tests.cache.asking import cached_of

async def main():
    store = CacheStore(Path(sys.argv[1]) / FILE, max_bytes=4 << 20, stale_s=60.0, wall=lambda: 0.0)
    number = 0
    while True:
        for _ in range(20):
            store.put(number.to_bytes(32), cached_of(os.urandom(3000)), 1e9, float(number))
            number += 1
        await store.flush()
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("batches", [1, 5, 40])
async def test_a_killed_process_leaves_a_file_that_can_be_used(tmp_path: Path, batches: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    try:
        written = [int(child.stdout.readline()) for _ in range(batches)][-1]
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
    store = opened(tmp_path, 4 << 20)
    newest = range(max(0, written - 20), written)
    assert [await store.read(key(number)) is not None for number in newest] == [True] * len(newest)
    store.put(key(0), cached_of(b"again"), NOW_S + 5, NOW_S)
    await store.flush()
    assert (store.fault, store.lost) == (None, 0)
    with sqlite3.connect(tmp_path / FILE) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    await store.close()
