"""Anthropic's stream -> canonical events.

What a frame is, its ``type`` says; the event name beside it only repeats it. Blocks come one at a time. A stream that
ends without a stop reason was cut, and is a failure; one that lacks only its last frame was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from llmproxyd.adapters.anthropic_answer import (
    input_text,
    merge_usage,
    parse_finish,
    parse_usage,
    text_of,
)
from llmproxyd.adapters.anthropic_failure import failure_of_error
from llmproxyd.adapters.anthropic_tools import parse_name
from llmproxyd.adapters.decoding import StreamDecoder, read_object
from llmproxyd.adapters.failures import bad_answer
from llmproxyd.framing import Frame, SSESplitter
from llmproxyd.values.answer import (
    CitationDelta,
    Event,
    Finish,
    Finished,
    Pinged,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Dialect, Request

_ORIGIN = Dialect.ANTHROPIC_MESSAGES


class AnthropicDecoder(StreamDecoder[Frame]):
    """The Decoder of one stream."""

    def __init__(self) -> None:
        super().__init__(SSESplitter())
        self._usage: dict[str, Any] = {}
        self._block = ""  # the type of the open block
        self._new_thought = False
        self._tools = 0
        self._finished = False

    def _is_whole(self) -> bool:
        return self._finished

    def _read_frame(self, frame: Frame) -> Iterable[Event]:
        _, data, _ = frame
        return self._read_data(data) if data else (Pinged(),)

    def _read_data(self, data: bytes) -> Iterator[Event]:
        frame = read_object(data, "frame")
        if isinstance(frame, Failure):
            yield self._fail(frame)
            return
        read = _READERS.get(text_of(frame, "type"))
        if read is not None:
            yield from read(self, frame)
        elif frame.get("error"):
            yield from self._read_error(frame)

    def _read_start(self, frame: dict[str, Any]) -> Iterator[Event]:
        message = _object(frame, "message")
        self._started = True
        self._usage = merge_usage({}, message.get("usage"))
        yield Started(text_of(message, "id"), text_of(message, "model"), usage=parse_usage(self._usage))

    def _read_block_start(self, frame: dict[str, Any]) -> Iterator[Event]:
        block = _object(frame, "content_block")
        self._block = text_of(block, "type")
        self._new_thought = self._block == "thinking"
        if self._block == "text" and text_of(block, "text"):
            yield TextDelta(text_of(block, "text"))
        elif self._block == "thinking":
            yield from self._think(text_of(block, "thinking"), text_of(block, "signature"))
        elif self._block == "redacted_thinking":
            yield ThinkingDelta(encrypted=text_of(block, "data"), origin=_ORIGIN, new_block=True)
        elif self._block == "tool_use":
            index, self._tools = self._tools, self._tools + 1
            name = parse_name(text_of(block, "name"))
            yield ToolCallDelta(index, text_of(block, "id"), name, input_text(block.get("input")))

    def _read_delta(self, frame: dict[str, Any]) -> Iterator[Event]:
        delta = _object(frame, "delta")
        match delta.get("type"):
            case "text_delta" if text_of(delta, "text"):
                yield TextDelta(text_of(delta, "text"))
            case "thinking_delta":
                yield from self._think(text_of(delta, "thinking"), "")
            case "signature_delta":
                yield from self._think("", text_of(delta, "signature"))
            case "input_json_delta" if self._block == "tool_use" and text_of(delta, "partial_json"):
                yield ToolCallDelta(self._tools - 1, arguments=text_of(delta, "partial_json"))
            case "citations_delta" if isinstance(delta.get("citation"), dict):
                yield CitationDelta(delta["citation"], origin=_ORIGIN)

    def _think(self, text: str, signature: str) -> Iterator[Event]:
        """Thought may be left out of the answer: then its signature is all there is of the block, and is needed."""
        if text or signature:
            new, self._new_thought = self._new_thought, False
            yield ThinkingDelta(text, signature=signature or None, origin=_ORIGIN, new_block=new)

    def _read_message_delta(self, frame: dict[str, Any]) -> Iterator[Event]:
        delta = _object(frame, "delta")
        native = text_of(delta, "stop_reason") or None
        reason = parse_finish(native, called=self._tools > 0)
        if reason is not None and not self._finished:
            self._finished = True
            yield Finished(reason, native=native, stop_sequence=text_of(delta, "stop_sequence") or None)
        self._usage = merge_usage(self._usage, frame.get("usage"))
        usage = parse_usage(self._usage)
        if usage is not None:
            yield UsageReported(usage)

    def _read_stop(self, frame: dict[str, Any]) -> Iterator[Event]:
        self._done = True
        if not self._started:
            yield self._fail(bad_answer("the stream ended without any answer"))
        elif not self._finished:
            self._finished = True
            yield Finished(Finish.TOOL_CALLS if self._tools else Finish.STOP)

    def _read_ping(self, frame: dict[str, Any]) -> Iterator[Event]:
        yield Pinged()

    def _read_error(self, frame: dict[str, Any]) -> Iterator[Event]:
        yield self._fail(failure_of_error(frame.get("error")))


_READERS: Mapping[str, Callable[[AnthropicDecoder, dict[str, Any]], Iterator[Event]]] = {
    "message_start": AnthropicDecoder._read_start,
    "content_block_start": AnthropicDecoder._read_block_start,
    "content_block_delta": AnthropicDecoder._read_delta,
    "message_delta": AnthropicDecoder._read_message_delta,
    "message_stop": AnthropicDecoder._read_stop,
    "ping": AnthropicDecoder._read_ping,
    "error": AnthropicDecoder._read_error,
}


def new_decoder(request: Request) -> AnthropicDecoder:
    """``request`` is not asked: the stream says all."""
    return AnthropicDecoder()


def _object(frame: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = frame.get(name)
    return value if isinstance(value, dict) else {}
