"""The stream of the Responses dialect -> canonical events.

What an event is, its ``type`` says. Items are told apart by their place in the output; what came of one in pieces is
remembered, so that servers which send an item only when it is done, or only in the final response, are understood too.
A stream without ``completed``, ``incomplete`` or ``failed`` was cut, and is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from llmproxyd.adapters.decoding import StreamDecoder
from llmproxyd.adapters.failures import bad_answer, failure_of_error
from llmproxyd.adapters.openai_answer import text_of
from llmproxyd.adapters.responses_answer import (
    CALLS,
    DIALECT,
    content_parts,
    created_of,
    find_failure,
    find_usage,
    logprobs_of,
    objects,
    parse_call,
    parse_finish,
    parse_thought,
    read_object,
)
from llmproxyd.framing import Frame, SSESplitter
from llmproxyd.values.answer import (
    CitationDelta,
    Event,
    Failed,
    Finished,
    Pinged,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Request, Text

MAX_ITEMS = 4096
"""No honest answer has as many."""


class _Item(msgspec.Struct):
    """What came of one item. ``call``: the index of its tool call. ``thought``: under which of two names it thinks."""

    streamed: bool = False
    done: bool = False
    call: int | None = None
    thought: str = ""


class ResponsesDecoder(StreamDecoder[Frame]):
    """The Decoder of one stream."""

    def __init__(self) -> None:
        super().__init__(SSESplitter())
        self._items: dict[int, _Item] = {}
        self._places: dict[str, int] = {}  # of items, by their ids
        self._calls = 0
        self._thoughts = 0
        self._id = ""

    def _read_frame(self, frame: Frame) -> Iterable[Event]:
        _, data, _ = frame
        return self._read_data(data) if data and data.strip() != b"[DONE]" else (Pinged(),)

    def _read_data(self, data: bytes) -> Iterator[Event]:
        frame = read_object(data)
        if isinstance(frame, Failure):
            yield self._fail(frame)
            return
        kind = text_of(frame, "type")
        read = _READERS.get(kind)
        if read is not None:
            yield from read(self, frame)
        elif frame.get("error"):
            yield self._fail(failure_of_error(frame["error"]))
        elif kind not in _SILENT:
            # Hosted tools tell of their progress, which says no more than that somebody is at work.
            yield Pinged()

    # --- the whole response -----------------------------------------------------------------------------------

    def _begin(self, frame: dict[str, Any]) -> Iterator[Event]:
        if self._started:
            return
        response = _object(frame, "response")
        self._started = True
        self._id = text_of(response, "id")
        yield Started(self._id, text_of(response, "model"), created_of(response))

    def _finish(self, frame: dict[str, Any]) -> Iterator[Event]:
        yield from self._begin(frame)
        response = _object(frame, "response")
        failure = find_failure(response)
        if failure is not None:
            yield self._fail(failure)
            return
        for place, item in enumerate(objects(response.get("output"))):
            # Streams may leave gaps between places; the final output has none.
            yield from self._complete(self._places.get(text_of(item, "id"), place), item)
            if self._ended:
                return
        usage = find_usage(response)
        if usage is not None:
            yield UsageReported(usage)
        self._done = True
        finish, native = parse_finish(response, called=self._calls > 0)
        yield Finished(finish, native=native)

    def _break(self, frame: dict[str, Any]) -> Iterator[Event]:
        """``response.failed`` has its error inside the response, ``error`` is one itself, nested or flat."""
        response = _object(frame, "response")
        error = response.get("error") or frame.get("error") or {**frame, "type": None}
        yield self._fail(failure_of_error(error))

    # --- one item ---------------------------------------------------------------------------------------------

    def _item(self, frame: dict[str, Any]) -> _Item | None:
        given = frame.get("output_index", 0)
        if not isinstance(given, int) or not 0 <= given < MAX_ITEMS:
            return None
        return self._items.setdefault(given, _Item())

    def _add(self, frame: dict[str, Any]) -> Iterator[Event]:
        state, item = self._item(frame), _object(frame, "item")
        if state is None:
            yield self._too_many()
            return
        self._remember(frame, item)
        if text_of(item, "type") in CALLS and state.call is None:
            yield from self._call(state, item)

    def _remember(self, frame: dict[str, Any], item: dict[str, Any]) -> None:
        if text_of(item, "id"):
            self._places[text_of(item, "id")] = frame.get("output_index", 0)

    def _call(self, state: _Item, item: dict[str, Any]) -> Iterator[Event]:
        call = parse_call(item, f"{self._id}.{self._calls}")
        state.call = self._calls
        state.streamed = bool(call.arguments)
        self._calls += 1
        yield ToolCallDelta(state.call, call.id, call.name, call.arguments, kind=call.kind)

    def _say(self, frame: dict[str, Any]) -> Iterator[Event]:
        text, logprobs = text_of(frame, "delta"), logprobs_of(frame)
        if (text or logprobs is not None) and self._mark(frame):
            yield TextDelta(text, logprobs=logprobs)

    def _refuse(self, frame: dict[str, Any]) -> Iterator[Event]:
        if text_of(frame, "delta") and self._mark(frame):
            yield RefusalDelta(text_of(frame, "delta"))

    def _cite(self, frame: dict[str, Any]) -> Iterator[Event]:
        if isinstance(frame.get("annotation"), dict):
            yield CitationDelta(frame["annotation"], origin=DIALECT)

    def _mark(self, frame: dict[str, Any]) -> bool:
        """Note that an item comes in pieces."""
        state = self._item(frame)
        if state is not None:
            state.streamed = True
        return state is not None

    def _think(self, frame: dict[str, Any]) -> Iterator[Event]:
        state, text, name = self._item(frame), text_of(frame, "delta"), text_of(frame, "type")
        # The thought and its summary are the same thing twice: the first to come is kept.
        if state is None or not text or (state.thought and state.thought != name):
            return
        yield ThinkingDelta(text, origin=DIALECT, new_block=self._begins_block(state, name))

    def _next_summary(self, frame: dict[str, Any]) -> Iterator[Event]:
        state = self._item(frame)
        if state is not None and state.thought.startswith("response.reasoning_summary"):
            yield ThinkingDelta("\n\n", origin=DIALECT)

    def _begins_block(self, state: _Item, name: str) -> bool:
        if state.thought:
            return False
        state.thought = name
        state.streamed = True
        self._thoughts += 1
        return self._thoughts > 1

    def _argue(self, frame: dict[str, Any]) -> Iterator[Event]:
        state, text = self._item(frame), text_of(frame, "delta")
        if state is None or state.call is None or not text:
            return
        state.streamed = True
        kind = "custom" if "custom" in text_of(frame, "type") else "function"
        yield ToolCallDelta(state.call, arguments=text, kind=kind)

    def _end_item(self, frame: dict[str, Any]) -> Iterator[Event]:
        place, item = frame.get("output_index", 0), _object(frame, "item")
        if self._item(frame) is not None:
            self._remember(frame, item)
        yield from self._complete(place, item)

    def _complete(self, place: Any, item: dict[str, Any]) -> Iterator[Event]:
        """An item in full: what did not come in pieces comes now."""
        state = self._item({"output_index": place})
        if state is None:
            yield self._too_many()
            return
        if state.done:
            return
        state.done = True
        match item.get("type"):
            case "message" if not state.streamed:
                yield from _speak(item)
            case "reasoning":
                yield from self._seal(state, item)
            case "function_call" | "custom_tool_call":
                yield from self._complete_call(state, item)
            case _:
                return

    def _complete_call(self, state: _Item, item: dict[str, Any]) -> Iterator[Event]:
        if state.call is None:
            yield from self._call(state, item)
        elif not state.streamed:
            call = parse_call(item, "")
            if call.arguments:
                yield ToolCallDelta(state.call, arguments=call.arguments, kind=call.kind)

    def _seal(self, state: _Item, item: dict[str, Any]) -> Iterator[Event]:
        thought = parse_thought(item)
        text = "" if state.streamed else thought.text
        if text or thought.encrypted is not None:
            begins = self._begins_block(state, "response.output_item.done")
            yield ThinkingDelta(
                text,
                encrypted=thought.encrypted,
                origin=DIALECT,
                new_block=begins,
                item_id=thought.item_id if thought.encrypted is not None else None,
            )

    def _too_many(self) -> Failed:
        return self._fail(bad_answer(f"the stream has more than {MAX_ITEMS} items"))


def new_decoder(request: Request) -> ResponsesDecoder:
    """All streams of this dialect are read alike, whoever asked."""
    return ResponsesDecoder()


def _speak(item: dict[str, Any]) -> Iterator[Event]:
    for part in content_parts(item):
        if not isinstance(part, Text):
            yield RefusalDelta(part.text)
            continue
        if part.text:
            yield TextDelta(part.text)
        for citation in part.citations:
            yield CitationDelta(citation, origin=DIALECT)


def _object(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


# They repeat in one piece what is known, or announce what comes at once.
_SILENT = frozenset(
    {
        "response.content_part.added", "response.content_part.done", "response.output_text.done",
        "response.refusal.done", "response.reasoning_summary_part.done", "response.reasoning_summary_text.done",
        "response.reasoning_text.done", "response.function_call_arguments.done",
        "response.custom_tool_call_input.done",
    }
)  # fmt: skip

_READERS: Mapping[str, Callable[[ResponsesDecoder, dict[str, Any]], Iterator[Event]]] = {
    "response.created": ResponsesDecoder._begin,
    "response.in_progress": ResponsesDecoder._begin,
    "response.queued": ResponsesDecoder._begin,
    "response.output_item.added": ResponsesDecoder._add,
    "response.output_text.delta": ResponsesDecoder._say,
    "response.output_text.annotation.added": ResponsesDecoder._cite,
    "response.refusal.delta": ResponsesDecoder._refuse,
    "response.reasoning_summary_part.added": ResponsesDecoder._next_summary,
    "response.reasoning_summary_text.delta": ResponsesDecoder._think,
    "response.reasoning_text.delta": ResponsesDecoder._think,
    "response.function_call_arguments.delta": ResponsesDecoder._argue,
    "response.custom_tool_call_input.delta": ResponsesDecoder._argue,
    "response.output_item.done": ResponsesDecoder._end_item,
    "response.completed": ResponsesDecoder._finish,
    "response.incomplete": ResponsesDecoder._finish,
    "response.failed": ResponsesDecoder._break,
    "error": ResponsesDecoder._break,
}
