"""The verbatim lane in Gemini's dialect: the provider's bytes go to the client as they are, and are only watched.

Changed is the model's name where the client is to see another one. Pieces before the first content are held back, so that
a provider that fails there can still be replaced. Nothing marks the end of a good stream; see ``gemini_stream``.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.adapters.failures import bad_answer
from llmproxyd.adapters.gemini_failures import blocked_prompt, failure_of_error
from llmproxyd.adapters.gemini_frames import GeminiSplitter
from llmproxyd.adapters.gemini_stream import broken_answer, is_broken, parse_finish, parse_usage
from llmproxyd.adapters.relaying import NO_RAW, StreamRelay, is_said, new_reader
from llmproxyd.framing import Frame, format_data
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Inspected, Progress
from llmproxyd.values.failure import Failure

_UNFINISHED = frozenset({None, "", "FINISH_REASON_UNSPECIFIED"})
_MODEL = re.compile(rb'("modelVersion"\s*:\s*)"(?:[^"\\]|\\.)*"')
_KEY = b'"modelVersion"'


class _Part(msgspec.Struct, gc=False):
    text: Any = None
    functionCall: Any = None  # noqa: N815 - the wire's name
    thoughtSignature: Any = None  # noqa: N815
    inlineData: Any = None  # noqa: N815
    executableCode: Any = None  # noqa: N815
    codeExecutionResult: Any = None  # noqa: N815
    toolCall: Any = None  # noqa: N815
    toolResponse: Any = None  # noqa: N815

    def says_something(self) -> bool:
        return bool(
            self.text
            or self.functionCall
            or self.thoughtSignature
            or self.inlineData
            or self.executableCode
            or self.codeExecutionResult
            or self.toolCall
            or self.toolResponse
        )


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False):
    content: _Content | None = None
    finishReason: str | None = None  # noqa: N815
    finishMessage: str | None = None  # noqa: N815
    index: int = 0


class _Piece(msgspec.Struct, gc=False):
    """What has to be seen of a response object; everything else is skipped unread."""

    candidates: list[_Candidate] | None = None
    modelVersion: Any = None  # noqa: N815
    usageMetadata: Any = None  # noqa: N815
    promptFeedback: Any = None  # noqa: N815
    error: Any = None
    embeddings: msgspec.Raw = NO_RAW
    embedding: msgspec.Raw = NO_RAW
    totalTokens: Any = None  # noqa: N815


_decode = new_reader(_Piece, "piece")


class _Echo:
    """Puts another model name into pieces and answers, and leaves every other byte alone."""

    __slots__ = ("_found", "_spellings", "_value")

    def __init__(self, model: str) -> None:
        self._value = jsontext.encode(model)
        self._found = ""
        self._spellings: tuple[tuple[bytes, bytes], ...] = ()

    def apply(self, raw: bytes, document: bytes, named: Any) -> bytes:
        """raw: the piece (or answer). document: the JSON in it. named: the model in it, if any."""
        if not isinstance(named, str):
            return raw
        if named != self._found:
            self._learn(named)
        if raw.count(_KEY) == 1:
            for old, new in self._spellings:
                if old in raw:
                    return raw.replace(old, new)
        changed, count = _MODEL.subn(lambda hit: hit[1] + self._value, raw)
        if count == 1:
            return changed
        # Arguments of a call may hold a key of the same name.
        spliced = jsontext.splice(document, {"modelVersion": self._value})
        return raw[: len(raw) - len(document)] + spliced if raw.endswith(document) else format_data(spliced)

    def _learn(self, named: str) -> None:
        """Most streams name one model throughout, and Google writes a space after the colon."""
        self._found = named
        text = jsontext.encode(named)
        self._spellings = tuple((_KEY + gap + text, _KEY + gap + self._value) for gap in (b": ", b":"))


class GeminiRelay(StreamRelay[Frame]):
    """The Relay of one stream, in either form."""

    __slots__ = ("_echo", "_finished", "_pieces", "_seen")

    def __init__(self, *, echo: str | None) -> None:
        self._pieces = GeminiSplitter()
        super().__init__(self._pieces)
        self._echo = None if echo is None else _Echo(echo)
        self._seen: set[int] = set()
        self._finished: set[int] = set()

    def close(self) -> Progress:
        last = super().close()
        # The failure is told within the array, which must not end before it.
        return replace(last, out=b"") if last.failure is not None and self._pieces.in_array else last

    def fail(self, said: bytes) -> bytes:
        """An array that has begun goes on, and does not begin again."""
        return said.replace(b"[", b",\r\n", 1) if self._pieces.in_array else said

    def _is_whole(self) -> bool:
        return bool(self._seen) and self._seen <= self._finished

    def _pass(self, frame: Frame) -> bytes:
        _, data, raw = frame
        if self._ended:
            return b""
        if not data.strip():
            return raw
        piece = _read_piece(data)
        if isinstance(piece, Failure):
            return self._fail(piece)
        for candidate in piece.candidates or ():
            self._observe(candidate)
        if piece.usageMetadata is not None:
            self._usage = parse_usage(piece.usageMetadata) or self._usage
        return raw if self._echo is None else self._echo.apply(raw, data, piece.modelVersion)

    def _observe(self, candidate: _Candidate) -> None:
        self._seen.add(candidate.index)
        parts = candidate.content.parts if candidate.content is not None else None
        if parts and not self._content:
            self._content = any(part.says_something() for part in parts)
        if candidate.finishReason not in _UNFINISHED:
            self._finished.add(candidate.index)
            self._finish = _finish_of(candidate)
            self._content = True


def new_relay(*, echo: str | None, keep_usage: bool) -> GeminiRelay:
    """``keep_usage`` is not asked: usage is part of every answer in this dialect."""
    return GeminiRelay(echo=echo)


def inspect_answer(body: bytes, echo: str | None) -> Inspected:
    """A whole 2xx body that passes through: conversation, embeddings or token count."""
    piece = _read_piece(body)
    if isinstance(piece, Failure):
        return Inspected(body, failure=piece)
    usage = parse_usage(piece.usageMetadata)
    shown = body if echo is None else _Echo(echo).apply(body, body, piece.modelVersion)
    if is_said(piece.embeddings) or is_said(piece.embedding) or piece.totalTokens is not None:
        return Inspected(shown, usage)
    if not piece.candidates:
        return Inspected(body, usage, failure=bad_answer("the answer has neither candidates nor embeddings"))
    return Inspected(shown, usage, _finish_of(piece.candidates[0]))


def _finish_of(candidate: _Candidate) -> Finish | None:
    if candidate.finishReason is None or candidate.finishReason in _UNFINISHED:
        return None
    parts = candidate.content.parts if candidate.content is not None else None
    return parse_finish(candidate.finishReason, called=any(part.functionCall for part in parts or ()))


def _read_piece(data: bytes) -> _Piece | Failure:
    piece = _decode(data)
    if isinstance(piece, Failure):
        return piece
    if piece.error:
        return failure_of_error(piece.error)
    feedback = piece.promptFeedback
    if not piece.candidates and isinstance(feedback, dict) and feedback.get("blockReason"):
        return blocked_prompt(feedback)
    for candidate in piece.candidates or ():
        if candidate.finishReason is not None and is_broken(candidate.finishReason):
            return broken_answer(candidate.finishReason, {"finishMessage": candidate.finishMessage})
    return piece
