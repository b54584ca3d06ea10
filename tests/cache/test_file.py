from __future__ import annotations

import os
import random
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmproxyd.cache.file import MIN_BYTES, Bounds, CacheFile, CacheReader, Row, is_damage

DAY_S = 86_400.0
NOW_S = 1_800_000_000.0


def key(number: int) -> bytes:
    return number.to_bytes(32)


def row(number: int, size: int = 100, *, used_s: float = NOW_S, expires_s: float = NOW_S + DAY_S) -> Row:
    return Row(key(number), used_s, expires_s, random.Random(number).randbytes(size))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "cache.sqlite"


@pytest.fixture
def file(path: Path) -> Iterator[CacheFile]:
    file = CacheFile(path, max_bytes=MIN_BYTES, stale_s=DAY_S)
    yield file
    file.close()


def size_of(path: Path) -> int:
    """All of it: the database and its side files."""
    return sum(each.stat().st_size for each in path.parent.iterdir())


def kept(path: Path, numbers: range) -> list[int]:
    reader = CacheReader(path)
    try:
        return [number for number in numbers if reader.read(key(number)) is not None]
    finally:
        reader.close()


def test_what_is_written_can_be_read_also_while_the_writer_is_there(path: Path, file: CacheFile) -> None:
    reader = CacheReader(path)
    assert reader.read(key(1)) is None
    file.write([row(1), row(2)], [], NOW_S)
    assert reader.read(key(1)) == (NOW_S + DAY_S, row(1).value)
    file.write([row(1, 50, expires_s=NOW_S + 5)], [], NOW_S)
    assert reader.read(key(1)) == (NOW_S + 5, row(1, 50).value)
    file.forget([key(1)])
    assert reader.read(key(1)) is None
    assert reader.read(key(2)) is not None
    reader.close()


def test_the_file_and_its_side_files_are_for_their_owner_only(path: Path, file: CacheFile) -> None:
    file.write([row(1)], [], NOW_S)
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_reader_notices_that_the_file_began_anew(path: Path, file: CacheFile) -> None:
    file.write([row(1)], [], NOW_S)
    reader = CacheReader(path)
    assert reader.read(key(1)) is not None
    file.clear()
    assert reader.read(key(1)) is None
    file.write([row(2)], [], NOW_S)
    assert reader.read(key(1)) is None
    assert reader.read(key(2)) is not None
    reader.close()


@pytest.mark.parametrize("max_bytes", [MIN_BYTES, 3 * MIN_BYTES])
def test_the_bound_is_never_exceeded(path: Path, max_bytes: int) -> None:
    bounds, chance = Bounds.of(max_bytes), random.Random(7)
    file = CacheFile(path, max_bytes=max_bytes, stale_s=DAY_S)
    number, largest = 0, 0
    for _ in range(300):
        rows, room = [], bounds.batch_bytes
        while room > 0:
            size = min(chance.choice([40, 700, 5_000, 20_000, bounds.value_bytes]), bounds.value_bytes)
            rows.append(row(number, size, used_s=NOW_S + number))
            number, room = number + 1, room - size
        file.write(rows, [], NOW_S)
        largest = max(largest, size_of(path))
        assert largest <= max_bytes
    assert largest > max_bytes // 2  # it was worth something
    assert file.evicted > 0
    newest = range(number - 3, number)
    assert kept(path, newest) == list(newest)
    file.close()


def test_what_is_of_no_use_goes_before_what_was_used_long_ago(path: Path, file: CacheFile) -> None:
    file.write([row(n, 4000, used_s=NOW_S - DAY_S) for n in range(10)], [], NOW_S)
    file.write([row(n, 4000, used_s=NOW_S, expires_s=NOW_S - 2 * DAY_S) for n in range(10, 20)], [], NOW_S)
    number = 20
    while not file.evicted:
        file.write([row(n, 4000) for n in range(number, number + 5)], [], NOW_S)
        number += 5
    assert kept(path, range(20)) == list(range(10))


def test_what_was_used_least_recently_goes_first(path: Path, file: CacheFile) -> None:
    file.write([row(n, 4000, used_s=NOW_S + n) for n in range(20)], [], NOW_S)
    file.write([], [(NOW_S + 1000, key(0))], NOW_S)
    number = 20
    while file.evicted < 5:
        file.write([row(n, 4000, used_s=NOW_S + n) for n in range(number, number + 5)], [], NOW_S)
        number += 5
    survivors = kept(path, range(20))
    assert 0 in survivors
    assert survivors[1:] == list(range(20))[-len(survivors[1:]) :]


def test_less_room_shrinks_the_file(path: Path) -> None:
    file = CacheFile(path, max_bytes=8 * MIN_BYTES, stale_s=DAY_S)
    for n in range(0, 1000, 20):
        file.write([row(m, 6000, used_s=NOW_S + m) for m in range(n, n + 20)], [], NOW_S)
    assert size_of(path) > 4 * MIN_BYTES
    file.resize(2 * MIN_BYTES, NOW_S)
    assert size_of(path) <= 2 * MIN_BYTES
    assert kept(path, range(999, 1000)) == [999]
    file.close()


def test_half_a_transaction_is_none(path: Path, file: CacheFile) -> None:
    file.write([row(1)], [], NOW_S)
    with pytest.raises(sqlite3.Error):
        file.write([row(2), Row(key(3), NOW_S, NOW_S, "text")], [], NOW_S)  # type: ignore[arg-type]
    assert kept(path, range(5)) == [1]
    file.write([row(4)], [], NOW_S)
    assert kept(path, range(5)) == [1, 4]


def test_damage_is_told_as_such(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(os.urandom(8192))
    file = CacheFile(path, max_bytes=MIN_BYTES, stale_s=DAY_S)
    with pytest.raises(sqlite3.DatabaseError) as told:
        file.write([row(1)], [], NOW_S)
    assert is_damage(told.value)
    file.clear()
    file.write([row(1)], [], NOW_S)
    assert kept(path, range(2)) == [1]
    file.close()


def test_a_file_of_another_form_is_as_good_as_damaged(path: Path, file: CacheFile) -> None:
    file.write([row(1)], [], NOW_S)
    file.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(sqlite3.DatabaseError) as told:
        file.write([row(2)], [], NOW_S)
    assert is_damage(told.value)
