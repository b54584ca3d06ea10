"""What all decoders do alike; how each reads its frames is tested with its dialect."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmproxyd.adapters.decoding import StreamDecoder, read_object
from llmproxyd.framing import MAX_FRAME_BYTES, LineSplitter
from llmproxyd.values.answer import Event, Failed, TextDelta
from llmproxyd.values.failure import Failure, FailureKind


class Lines(StreamDecoder[bytes]):
    """A dialect of lines that are text; ``.`` is its end, ``!`` a failure."""

    def __init__(self) -> None:
        super().__init__(LineSplitter())

    def _read_frame(self, frame: bytes) -> Iterator[Event]:
        self._started = True
        self._done = frame == b"."
        if frame == b"!":
            yield self._fail(Failure(FailureKind.OVERLOADED, "busy"))
        elif not self._done:
            yield TextDelta(frame.decode())


def read(*pieces: bytes) -> list[Event]:
    decoder = Lines()
    return [*(event for piece in pieces for event in decoder.feed(piece)), *decoder.close(), *decoder.close()]


def details(events: list[Event]) -> list[str]:
    return [event.failure.detail or event.failure.message for event in events if isinstance(event, Failed)]


def test_nothing_is_read_after_the_end() -> None:
    assert read(b"a\n.\nb\n", b"c\n!\n") == [TextDelta("a")]


def test_nothing_is_read_after_a_failure() -> None:
    events = read(b"a\n!\nb\n", b"c\n")
    assert events[0] == TextDelta("a")
    assert details(events[1:]) == ["busy"]
    assert len(events) == 2


@pytest.mark.parametrize(("piece", "how"), [(b"", "without any answer"), (b"a", "cut short")])
def test_a_stream_without_its_end_is_one_failure_that_says_how_far_it_came(piece: bytes, how: str) -> None:
    assert details(read(piece)) == [f"the stream ended {how}"]


def test_a_frame_without_end_is_one_failure() -> None:
    (detail,) = details(read(b"x" * MAX_FRAME_BYTES, b"x", b"a\n"))
    assert "longer than" in detail


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b'{"a": "\xff"}', b"[" * 100_000])
def test_what_is_no_object_is_a_failure_that_names_the_frame(text: bytes) -> None:
    failure = read_object(text, "line")
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.BAD_ANSWER
    assert "a line of the stream is not " in failure.detail
