"""What the decoders of all dialects do alike: cut the bytes into frames, stop at the end, tell a cut stream from a whole.

A dialect adds what its frames mean. It reads one frame at a time; a frame after the end, or after a failure, is not
read at all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

from llmproxyd import jsontext
from llmproxyd.adapters.failures import bad_answer
from llmproxyd.framing import FrameTooLong
from llmproxyd.values.answer import Event, Failed
from llmproxyd.values.failure import Failure

FrameT = TypeVar("FrameT")


class Splitter(Protocol[FrameT]):
    """Bytes -> frames, indifferent to where the bytes are cut. ``feed`` raises FrameTooLong."""

    def feed(self, data: bytes) -> list[FrameT]: ...

    def close(self) -> list[FrameT]: ...


class StreamDecoder(ABC, Generic[FrameT]):
    """The Decoder of one stream, but for what its frames mean.

    A dialect sets ``_started`` once there is something of an answer, and ``_done`` at its own end.
    """

    def __init__(self, splitter: Splitter[FrameT]) -> None:
        self._splitter = splitter
        self._started = False
        self._done = False
        self._ended = False

    @abstractmethod
    def _read_frame(self, frame: FrameT) -> Iterable[Event]: ...

    def _is_whole(self) -> bool:
        """Whether the stream may end here."""
        return self._done

    def feed(self, data: bytes) -> list[Event]:
        if self._ended:
            return []
        try:
            return self._read(self._splitter.feed(data))
        except FrameTooLong as error:
            return [self._fail(bad_answer(str(error)))]

    def close(self) -> list[Event]:
        events = [] if self._ended else self._read(self._splitter.close())
        if self._ended:
            return events
        self._ended = True
        if self._is_whole():
            return events
        what = "cut short" if self._started else "without any answer"
        return [*events, Failed(bad_answer(f"the stream ended {what}"))]

    def _read(self, frames: list[FrameT]) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            if self._ended or self._done:
                break
            events.extend(self._read_frame(frame))
        return events

    def _fail(self, failure: Failure) -> Failed:
        self._ended = True
        return Failed(failure)


def read_object(data: bytes, word: str) -> dict[str, Any] | Failure:
    """The JSON object of one frame. ``word``: what the dialect calls a frame, for the message when it is none."""
    try:
        document = jsontext.decode(data)
    except jsontext.JSONError as error:
        return bad_answer(f"a {word} of the stream is not JSON: {error}")
    return (
        document if isinstance(document, dict) else bad_answer(f"a {word} of the stream is not a JSON object")
    )
