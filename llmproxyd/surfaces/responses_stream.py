"""Canonical events -> the stream of the Responses dialect, and whole answers, which are what such a stream ends with.

The order clients rely on: ``created`` and ``in_progress`` first, each with the whole response; the items; exactly one of
``completed``, ``incomplete`` and ``failed`` last, with the whole response again. Events are numbered from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.responses_draft import Draft
from llmproxyd.surfaces.responses_object import completed, failed, new_response
from llmproxyd.surfaces.responses_output import Wire
from llmproxyd.values.answer import (
    Answer,
    Event,
    Failed,
    Finish,
    Pinged,
    Started,
    TokenCount,
    UsageReported,
    Vectors,
    unfold,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Document, Request

KEEP_ALIVE = b": keep-alive\n\n"


class ResponsesEncoder:
    """The Encoder of one stream."""

    def __init__(self, request: Request, *, model: str, id: str, created_s: int) -> None:  # noqa: A002
        self._response = new_response(request, model=model, request_id=id, created_s=created_s)
        self._draft = Draft(request, id)
        self._usage: Usage | None = None
        self._number = 0
        self._begun = False
        self._pinged = False

    def feed(self, event: Event) -> bytes:
        match event:
            case Started():
                return self._start(event)
            case UsageReported():
                self._usage = event.usage
                return b""
            case Pinged():
                return self.ping()
            case Failed():
                return self.fail(event.failure)
            case _:
                said = list(self._draft.feed(event))
                return self._write(said) if said else b""

    def close(self) -> bytes:
        last = list(self._draft.close(Finish.STOP))
        finish = self._draft.finish or Finish.STOP
        response = completed(self._response, self._draft.output, finish, self._usage)
        return self._write([*last, _lifecycle(response, response["status"])])

    def fail(self, failure: Failure) -> bytes:
        """A bare ``error`` event would have agents repeat the request; ``failed`` ends their turn.

        Where neither an event nor a ping came before, somebody else's events did: then there is no beginning to make,
        and no number to go on from.
        """
        event = _lifecycle(failed(self._response, self._draft.output, failure), "failed")
        if not self._begun and not self._pinged:
            return _frame(event)
        return self._write([event])

    def ping(self) -> bytes:
        self._pinged = True
        return KEEP_ALIVE

    def _start(self, event: Started) -> bytes:
        """Says nothing yet: a provider may still refuse after this."""
        if event.created_s is not None and not self._begun:
            self._response["created_at"] = event.created_s
        self._usage = event.usage or self._usage
        return b""

    def _write(self, events: Iterable[Wire]) -> bytes:
        return b"".join(_frame(self._numbered(event)) for event in (*self._beginning(), *events))

    def _beginning(self) -> Iterator[Wire]:
        if self._begun:
            return
        self._begun = True
        yield _lifecycle(self._response, "created")
        yield _lifecycle(self._response, "in_progress")

    def _numbered(self, event: Wire) -> Wire:
        event["sequence_number"] = self._number
        self._number += 1
        return event


def new_encoder(request: Request, *, model: str, id: str, created_s: int) -> ResponsesEncoder:  # noqa: A002
    return ResponsesEncoder(request, model=model, id=id, created_s=created_s)


def format_answer(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002 - as the dialect calls it
    created_s: int,
) -> bytes:
    """A whole response, the same as a stream would have ended with; or a count of tokens."""
    if isinstance(answer, TokenCount):
        return jsontext.encode({"object": "response.input_tokens", "input_tokens": answer.input_tokens})
    if isinstance(answer, Vectors):
        raise TypeError("a conversation is not answered with vectors")
    since_s = created_s if answer.created_s is None else answer.created_s
    response = new_response(request, model=model, request_id=id, created_s=since_s)
    draft = Draft(request, id)
    for event in unfold(answer):
        _exhaust(draft.feed(event))
    _exhaust(draft.close(Finish.STOP))
    return jsontext.encode(completed(response, draft.output, draft.finish or Finish.STOP, answer.usage))


def _exhaust(events: Iterator[Wire]) -> None:
    for _ in events:
        pass


def _lifecycle(response: Document, name: str) -> dict[str, Any]:
    return {"type": f"response.{name}", "response": response}


def _frame(event: Wire) -> bytes:
    name: str = event["type"]
    return b"event: " + name.encode() + b"\ndata: " + jsontext.encode(event) + b"\n\n"
