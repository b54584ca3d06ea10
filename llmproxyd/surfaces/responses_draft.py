"""Canonical events -> the items of a Responses answer and the events that tell of them.

Items open when there is something to put into them. Text and thought close when something else begins; tool calls stay
open to the end, since providers may send several at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from llmproxyd.surfaces.responses_items import CALL_SEAL
from llmproxyd.surfaces.responses_object import make_id
from llmproxyd.surfaces.responses_output import (
    CustomItem,
    FunctionItem,
    MessageItem,
    ReasoningItem,
    Wire,
)
from llmproxyd.surfaces.responses_tools import ToolBook, read_tools
from llmproxyd.values.answer import (
    CitationDelta,
    Event,
    Finish,
    Finished,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Dialect, Document, Request, Thinking

_Alone: TypeAlias = MessageItem | ReasoningItem
_Call: TypeAlias = FunctionItem | CustomItem

_COMPLETE = frozenset({Finish.STOP, Finish.STOP_SEQUENCE, Finish.TOOL_CALLS, Finish.REFUSAL})


class Draft:
    """The items of one answer. ``finish`` is None until the model stopped."""

    def __init__(self, request: Request, request_id: str) -> None:
        self._request = request
        self._request_id = request_id
        self._tools: ToolBook | None = None
        self._items: list[_Alone | _Call] = []
        self._current: _Alone | None = None
        self._calls: dict[int, _Call] = {}
        self.finish: Finish | None = None

    @property
    def output(self) -> list[dict[str, Any]]:
        """All items, in their order, as far as they have come."""
        return [item.document for item in self._items]

    def feed(self, event: Event) -> Iterator[Wire]:
        """Events that hold no content say nothing. A response has one choice; others are not asked for."""
        if self.finish is not None:
            return
        match event:
            case TextDelta():
                yield from self._say("output_text", event.text, _logprobs(event.logprobs))
            case RefusalDelta():
                yield from self._say("refusal", event.text, [])
            case ThinkingDelta():
                yield from self._think(event)
            case ToolCallDelta():
                yield from self._call(event)
            case CitationDelta():
                yield from self._cite(event)
            case Finished():
                yield from self.close(event.reason)
            case _:
                return

    def close(self, finish: Finish) -> Iterator[Wire]:
        """Nothing more comes: what is open ends."""
        if self.finish is not None:
            return
        self.finish = finish
        complete = finish in _COMPLETE
        yield from self._leave(complete=complete)
        for call in self._calls.values():
            yield from call.close(complete=complete)

    def _say(self, kind: str, text: str, logprobs: list[Document]) -> Iterator[Wire]:
        if not text and not logprobs:
            return
        message = self._current
        if not isinstance(message, MessageItem):
            yield from self._leave()
            message = MessageItem(len(self._items), self._new_id("msg"))
            yield from self._enter(message)
        yield from message.say(kind, text, logprobs)

    def _think(self, event: ThinkingDelta) -> Iterator[Wire]:
        thought = self._current
        if not isinstance(thought, ReasoningItem) or event.new_block:
            if not (event.text or event.signature or event.encrypted):
                return
            yield from self._leave()
            thought = ReasoningItem(len(self._items), self._new_id("rs"), event.origin)
            yield from self._enter(thought)
        if event.text:
            yield from thought.think(event.text)
        if event.signature is not None or event.encrypted is not None:
            thought.seal(Thinking("", event.signature, event.encrypted, event.origin, event.item_id))
            yield from self._leave()

    def _call(self, event: ToolCallDelta) -> Iterator[Wire]:
        call = self._calls.get(event.index)
        if call is None:
            yield from self._leave()
            call_id = event.id or self._new_id("call")
            if event.signature is not None:
                yield from self._sign(call_id, event.signature)
            call = self._new_call(event, call_id)
            self._items.append(call)
            self._calls[event.index] = call
            yield from call.begin()
        yield from call.argue(event.arguments)

    def _new_call(self, event: ToolCallDelta, call_id: str) -> _Call:
        name, index = self._book.find(event.name or ""), len(self._items)
        if name.custom or event.kind == "custom":
            return CustomItem(index, self._new_id("ctc"), call_id, name, plain=event.kind == "custom")
        return FunctionItem(index, self._new_id("fc"), call_id, name)

    def _sign(self, call_id: str, signature: str) -> Iterator[Wire]:
        """Clients keep no unknown fields of a call, but every thought: one without words carries the signature."""
        thought = ReasoningItem(len(self._items), self._new_id("rs"), Dialect.GEMINI_GENERATE)
        thought.seal(Thinking("", signature, None, Dialect.GEMINI_GENERATE, CALL_SEAL + call_id))
        yield from self._enter(thought)
        yield from self._leave()

    def _cite(self, event: CitationDelta) -> Iterator[Wire]:
        annotation = _annotation(event.citation)
        if annotation is not None and isinstance(self._current, MessageItem):
            yield from self._current.cite(annotation)

    def _enter(self, item: _Alone) -> Iterator[Wire]:
        self._items.append(item)
        self._current = item
        yield from item.begin()

    def _leave(self, *, complete: bool = True) -> Iterator[Wire]:
        if self._current is not None:
            yield from self._current.close(complete=complete)
            self._current = None

    def _new_id(self, prefix: str) -> str:
        return make_id(prefix, self._request_id, len(self._items))

    @property
    def _book(self) -> ToolBook:
        if self._tools is None:
            try:
                self._tools = read_tools(self._request.document)
            except BadRequest:
                # Definitions that only passed through may be of a form we do not know; names then stay as they are.
                self._tools = ToolBook()
        return self._tools


def _logprobs(document: Document | None) -> list[Document]:
    content = document.get("content") if document is not None else None
    return [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []


def _annotation(citation: Document) -> Document | None:
    """A citation in this dialect's form; those of others mean nothing to its clients and are left out."""
    kind = citation.get("type")
    nested = citation.get("url_citation")
    if kind == "url_citation" and isinstance(nested, dict):
        return {"type": kind, **nested}
    return (
        citation
        if kind in ("url_citation", "file_citation", "file_path", "container_file_citation")
        else None
    )
