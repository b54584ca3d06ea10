"""The thread that writes logs: order, bounds, a slow or broken other end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxyd.line_writer import LineWriter


def loss(count: int) -> bytes:
    return b"dropped %d\n" % count


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def read_until(fd: int, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        data += os.read(fd, 65_536)
    return data


@settings(max_examples=20, deadline=None)
@given(st.lists(st.binary(max_size=50)))
def test_every_line_arrives_once_and_in_order(lines: list[bytes]) -> None:
    read, write = os.pipe()
    writer = LineWriter(write, format_loss=loss, gather_s=0)
    for line in lines:
        writer.write(line + b"\n")
    assert writer.close()
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        assert stream.read() == b"".join(line + b"\n" for line in lines)


def test_lines_of_several_threads_are_never_mixed(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        writer = LineWriter(file.fileno(), format_loss=loss)

        def write_500(number: int) -> None:
            for _ in range(500):
                writer.write(b"%d\n" % number)

        threads = [threading.Thread(target=write_500, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert writer.close()
    assert sorted((tmp_path / "log").read_bytes().split()) == sorted(
        b"0123"[n : n + 1] for n in range(4) for _ in range(500)
    )


def test_an_urgent_line_does_not_wait_to_be_gathered(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], format_loss=loss, gather_s=60)
    writer.write(b"slow\n")
    writer.write(b"urgent\n", urgent=True)
    assert read_until(pipe[0], b"urgent\n") == b"slow\nurgent\n"
    assert writer.close()


def test_flush_returns_when_everything_taken_so_far_has_left(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], format_loss=loss, gather_s=60)
    writer.write(b"one\n")
    assert writer.flush(10)
    os.set_blocking(pipe[0], False)
    assert os.read(pipe[0], 100) == b"one\n"
    assert writer.close()


def fill(fd: int) -> int:
    """Make a pipe so full that the next write blocks; how many bytes it took."""
    os.set_blocking(fd, False)
    taken = 0
    try:
        while True:
            taken += os.write(fd, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(fd, True)
    return taken


def test_a_slow_reader_never_blocks_a_writer_and_what_was_dropped_is_told(pipe: tuple[int, int]) -> None:
    read, write = pipe
    filled = fill(write)
    writer = LineWriter(write, format_loss=loss, max_lines=10, gather_s=0)
    began_s = time.monotonic()
    writer.write(b"first\n", urgent=True)
    while writer._lines:  # until the thread has taken it and hangs in the full pipe
        assert time.monotonic() < began_s + 10
        time.sleep(0)
    for number in range(25):
        writer.write(b"line %d\n" % number)
    assert not writer.flush(0.01)
    assert writer.lost == 15
    while filled:
        filled -= len(os.read(read, filled))
    said = read_until(read, b"dropped 15\n")
    assert said == b"first\n" + b"".join(b"line %d\n" % n for n in range(10)) + b"dropped 15\n"
    assert writer.close()


def test_the_buffer_is_bounded_in_bytes_as_well(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], format_loss=loss, max_bytes=100, gather_s=60)
    writer.write(b"a" * 99 + b"\n")
    writer.write(b"b\n")
    assert writer.close()
    assert read_until(pipe[0], b"dropped 1\n") == b"a" * 99 + b"\ndropped 1\n"


def test_a_non_blocking_descriptor_is_waited_for(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.set_blocking(write, False)
    writer = LineWriter(write, format_loss=loss, gather_s=0)
    writer.write(b"z" * 300_000 + b"\n")
    assert len(read_until(read, b"\n")) == 300_001
    assert writer.close()
    assert writer.lost == 0


def test_a_broken_descriptor_is_counted_and_survived() -> None:
    read, write = os.pipe()
    writer = LineWriter(write, format_loss=loss, gather_s=0)
    os.close(read)
    writer.write(b"nobody reads this\n")
    assert writer.flush(10)
    assert writer.lost == 1
    assert writer.close()
    os.close(write)


def test_closing_the_descriptor_elsewhere_does_not_redirect_our_lines(tmp_path: Path) -> None:
    read, write = os.pipe()
    writer = LineWriter(write, format_loss=loss)
    os.close(write)
    with (tmp_path / "victim").open("wb") as victim:
        reused = victim.fileno() == write
        writer.write(b"to the log\n", urgent=True)
        assert read_until(read, b"\n") == b"to the log\n"
        assert writer.close()
    os.close(read)
    assert reused
    assert (tmp_path / "victim").read_bytes() == b""


def test_a_process_started_without_stderr_logs_to_nobody() -> None:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    writer = LineWriter(write, format_loss=loss)
    writer.write(b"hello\n")
    assert writer.close()
    assert writer.lost == 0


def test_a_line_after_closing_is_counted_as_lost(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], format_loss=loss)
    assert writer.close()
    writer.write(b"late\n")
    assert writer.lost == 1
