"""What the relays of all dialects do alike: cut the bytes into frames, hold back what comes first, say how it ended.

A dialect adds what its frames mean. It looks at one frame at a time and notes what it saw; what a whole read came to is
put together here. Nothing is changed here: the bytes are the dialect's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar, get_args

import msgspec
from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.adapters.decoding import FrameT, Splitter
from llmproxyd.adapters.failures import bad_answer
from llmproxyd.framing import FrameTooLong
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Progress
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure

MAX_HELD_BYTES = 1024 * 1024
"""What may come before the first content. More of it is no answer."""

NOTHING = Progress()
NO_RAW = msgspec.Raw(b"")
"""A field that is kept as JSON text and is not there. (``msgspec.Raw | None`` would take nothing but null.)"""

StructT = TypeVar("StructT", bound=msgspec.Struct)


class StreamRelay(ABC, Generic[FrameT]):
    """The Relay of one stream, but for what its frames mean.

    ``_pass`` sets what it sees: ``_content``, ``_usage`` and ``_finish`` count for the read in hand, ``_done`` for good.
    """

    __slots__ = (
        "_content", "_done", "_ended", "_failure", "_finish", "_held", "_max_held_bytes", "_open", "_splitter", "_usage",
    )  # fmt: skip

    def __init__(self, splitter: Splitter[FrameT], *, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._splitter = splitter
        self._max_held_bytes = max_held_bytes
        self._held = bytearray()
        self._open = False  # content was seen: nothing is held back any more
        self._done = False
        self._ended = False
        # What the read in hand came to:
        self._content = False
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._failure: Failure | None = None

    @abstractmethod
    def _pass(self, frame: FrameT) -> bytes:
        """One frame -> what the client gets for it. Is also asked for frames after the end, which are to be dropped."""

    def _is_whole(self) -> bool:
        """Whether a stream that lacks the dialect's own end is complete nevertheless."""
        return False

    def _has_begun(self) -> bool:
        """Whether there was something of an answer, for the message when there is not enough of it."""
        return self._open

    def _round_off(self, out: bytes) -> bytes:
        """The last bytes of a whole stream that lacks the dialect's own end -> the same with it."""
        return out

    def feed(self, data: bytes) -> Progress:
        if self._ended:
            return NOTHING
        try:
            return self._relay(self._splitter.feed(data))
        except FrameTooLong as error:
            self._ended = True
            return Progress(failure=bad_answer(str(error)))

    def close(self) -> Progress:
        if self._ended:
            return NOTHING
        last = self._relay(self._splitter.close())
        self._ended = True
        if last.failure is not None or last.done:
            return last
        if self._is_whole():
            return replace(last, out=self._round_off(last.out), done=True)
        what = "cut short" if self._has_begun() else "without any answer"
        return replace(last, failure=bad_answer(f"the stream ended {what}"))

    def fail(self, said: bytes) -> bytes:
        return said

    def _relay(self, frames: list[FrameT]) -> Progress:
        self._content = False
        self._usage = self._finish = None
        out = b"".join([self._pass(frame) for frame in frames])
        if not self._open:
            out = self._hold(out)
        return Progress(out, self._content, self._usage, self._finish, self._failure, self._done)

    def _hold(self, out: bytes) -> bytes:
        self._held += out
        if self._content:
            self._open = True
            out = bytes(self._held)
            self._held.clear()
            return out
        if len(self._held) > self._max_held_bytes and self._failure is None:
            self._fail(bad_answer(f"{self._max_held_bytes} bytes came without any content"))
        return b""

    def _fail(self, failure: Failure) -> bytes:
        """The stream reported a failure, or is one. -> what the client gets for the frame that said so: nothing."""
        self._ended = True
        self._failure = failure
        return b""


def new_reader(kind: type[StructT], word: str) -> Callable[[bytes], StructT | Failure]:
    """-> a function from the JSON of a frame to a ``kind``, which holds what has to be seen of it.

    ``word``: what the dialect calls a frame, for the message when one cannot be read.
    """
    decode = msgspec.json.Decoder(kind).decode

    def read(data: bytes) -> StructT | Failure:
        try:
            return decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _read_slowly(data, kind, word)

    return read


def _read_slowly(data: bytes, kind: type[StructT], word: str) -> StructT | Failure:
    """What msgspec refuses and JSON allows: half an emoji, whose other half comes in the next frame."""
    try:
        document = jsontext.decode(data)
        if not isinstance(document, dict):
            return bad_answer(f"a {word} of the answer is not a JSON object")
        return msgspec.convert(_with_raw(document, kind), kind, strict=False)
    except (jsontext.JSONError, msgspec.ValidationError) as error:
        return bad_answer(f"a {word} of the answer cannot be read: {error}")
    except UnicodeEncodeError:
        return bad_answer(f"a {word} of the answer has half a character in the name of a field")


def _with_raw(document: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """``document`` with those of its fields as JSON text that ``kind`` keeps as such."""
    fields = dict(document)
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if name not in fields:
            continue
        if field.type is msgspec.Raw:
            fields[name] = msgspec.Raw(jsontext.encode(fields[name]))
        elif isinstance(fields[name], dict):
            inner = next((one for one in get_args(field.type) if _is_struct(one)), None)
            fields[name] = fields[name] if inner is None else _with_raw(fields[name], inner)
    return fields


def is_said(field: msgspec.Raw) -> bool:
    """Whether a field that is kept as JSON text is there and not null."""
    return bytes(field) not in (b"", b"null")


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
