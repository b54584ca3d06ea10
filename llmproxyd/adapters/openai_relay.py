"""The verbatim lane in OpenAI's dialect: the provider's bytes go to the client as they are, and are only watched.

Changed are the model's name where the client is to see another one, and the usage frame that only we asked for, which
is left out. A stream that lacks its ``[DONE]`` gets one, since many clients wait for it. Frames before the first
content (role, comments) are held back, so that a provider that fails there can still be replaced.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.adapters.failures import bad_answer, failure_of_error
from llmproxyd.adapters.openai_answer import parse_finish
from llmproxyd.adapters.openai_usage import find_usage
from llmproxyd.adapters.relaying import NO_RAW, StreamRelay, is_said, new_reader
from llmproxyd.framing import Frame, SSESplitter, format_data
from llmproxyd.values.contracts import Inspected
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure

_DONE = b"[DONE]"


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None

    def says_more(self) -> bool:
        return bool(
            self.tool_calls
            or self.reasoning_content
            or self.reasoning
            or self.refusal
            or self.reasoning_details
            or self.function_call
            or self.audio
        )


class _Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    message: _Delta | None = None


class _Chunk(msgspec.Struct, gc=False):
    """What has to be seen of a chunk or an answer; everything else is skipped unread."""

    choices: list[_Choice] | None = None
    model: msgspec.Raw = NO_RAW
    usage: Any = None
    error: Any = None
    x_groq: Any = None
    service_tier: Any = None
    data: msgspec.Raw = NO_RAW


_decode = new_reader(_Chunk, "chunk")


class _Echo:
    """Puts another model name into frames and answers, and leaves every other byte alone."""

    __slots__ = ("_found", "_new", "_old", "_pattern", "_value")

    def __init__(self, model: str) -> None:
        self._value = jsontext.encode(model)
        self._new = b'"model":' + self._value
        self._found = NO_RAW
        self._old = b""
        self._pattern = re.compile(b"")

    def apply(self, raw: bytes, document: bytes, named: msgspec.Raw) -> bytes:
        """raw: the frame (or answer). document: the JSON in it. named: the JSON text of the model in it, or empty."""
        if named != self._found:
            self._learn(bytes(named))
        if not self._old:
            return raw
        # Within strings quotes are escaped: a single hit is the key itself. More of them need a closer look.
        if raw.count(b'"model"') == 1:
            if self._old in raw:
                return raw.replace(self._old, self._new)
            changed, count = self._pattern.subn(lambda hit: hit[1] + self._value, raw)
            if count == 1:
                return changed
        spliced = jsontext.splice(document, {"model": self._value})
        return spliced if raw is document else format_data(spliced)

    def _learn(self, named: bytes) -> None:
        """Most streams name one model throughout; chunks that name none (Azure's first) are left as they are."""
        self._found = msgspec.Raw(named)
        self._old = b"" if named in (b"", b'""', b"null") else b'"model":' + named
        self._pattern = re.compile(rb'("model"\s*:\s*)' + re.escape(named))


class OpenAIRelay(StreamRelay[Frame]):
    """The Relay of one stream."""

    __slots__ = ("_echo", "_finished", "_keep_usage", "_last_choice")

    def __init__(self, *, echo: str | None, keep_usage: bool) -> None:
        super().__init__(SSESplitter())
        self._echo = None if echo is None else _Echo(echo)
        self._keep_usage = keep_usage
        self._finished: set[int] = set()
        self._last_choice = -1

    def _is_whole(self) -> bool:
        return 0 <= self._last_choice < len(self._finished)

    def _round_off(self, out: bytes) -> bytes:
        # The last frame may lack its blank line.
        end = b"\n\n" if out and not out.endswith(b"\n\n") else b""
        return out + end + format_data(_DONE)

    def _pass(self, frame: Frame) -> bytes:
        _, data, raw = frame
        if self._done or self._ended:
            return b""
        if not data:
            return raw
        if data[:6] == _DONE:
            return self._finish_stream(raw)
        chunk = _read_chunk(data)
        if isinstance(chunk, Failure):
            return self._fail(chunk)
        speaks = self._observe(chunk.choices) if chunk.choices else False
        if chunk.usage is not None or chunk.x_groq is not None:
            usage = _usage_of(chunk)
            self._usage = usage or self._usage
            bare = not speaks and (not chunk.choices or bool(self._finished))
            if usage is not None and bare and not self._keep_usage:
                return b""
        return raw if self._echo is None else self._echo.apply(raw, data, chunk.model)

    def _finish_stream(self, raw: bytes) -> bytes:
        if self._last_choice < 0:
            return self._fail(bad_answer("the stream ended without any answer"))
        self._done = True
        # An answer may be empty: its end is then all there is to send.
        self._content = self._content or not self._open
        return raw

    def _observe(self, choices: list[_Choice]) -> bool:
        """Note what a chunk's choices hold; whether that is content or an end."""
        speaks = False
        for choice in choices:
            index = choice.index or 0
            if index > self._last_choice:
                self._last_choice = index
            if choice.finish_reason:
                self._finished.add(index)
                self._finish = parse_finish(choice.finish_reason, called=False)
                speaks = True
            elif not speaks:
                speaks = _says_something(choice)
        if speaks:
            self._content = True
        return speaks


def new_relay(*, echo: str | None, keep_usage: bool) -> OpenAIRelay:
    return OpenAIRelay(echo=echo, keep_usage=keep_usage)


def inspect_answer(body: bytes, echo: str | None) -> Inspected:
    """A whole 2xx body that passes through: chat, completion or embeddings."""
    chunk = _read_chunk(body)
    if isinstance(chunk, Failure):
        return Inspected(body, failure=chunk)
    if not chunk.choices and not is_said(chunk.data):
        return Inspected(body, failure=bad_answer("the answer has neither choices nor data"))
    choice = chunk.choices[0] if chunk.choices else None
    called = choice is not None and choice.message is not None and bool(choice.message.tool_calls)
    return Inspected(
        body=body if echo is None else _Echo(echo).apply(body, body, chunk.model),
        usage=_usage_of(chunk),
        finish=parse_finish(choice.finish_reason, called=called) if choice is not None else None,
    )


def _usage_of(chunk: _Chunk) -> Usage | None:
    return find_usage({"usage": chunk.usage, "x_groq": chunk.x_groq, "service_tier": chunk.service_tier})


def _says_something(choice: _Choice) -> bool:
    delta = choice.delta
    if delta is not None:
        return bool(delta.content) or delta.says_more()
    return bool(choice.text)


def _read_chunk(data: bytes) -> _Chunk | Failure:
    chunk = _decode(data)
    if isinstance(chunk, Failure):
        return chunk
    if chunk.error:
        return failure_of_error(chunk.error)
    if chunk.choices and any(choice.finish_reason == "error" for choice in chunk.choices):
        return bad_answer("the stream ended with finish_reason error")
    return chunk
