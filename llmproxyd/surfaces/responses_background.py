"""Responses that are made in the background: what is sent on in their place, and how their answer is told.

The provider is asked for an ordinary answer; id, time and state are ours. Events are numbered anew, since two of them
come before the provider's first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.framing import SSESplitter
from llmproxyd.surfaces.openai_fields import wrong_value
from llmproxyd.surfaces.responses_object import RESOLVED, failed, new_response
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Dialect, Document, Operation, Request

ID_PREFIX = "resp_bg"
"""How ids of background responses begin, so that those of others are not looked for on a disk."""

_MAX_DIGITS = 15


class Replay(msgspec.Struct, frozen=True):
    """A response is to be streamed again, from the event after this number on."""

    after: int = -1


def wants_background(request: Request) -> bool:
    return (
        request.dialect is Dialect.OPENAI_RESPONSES
        and request.operation is Operation.CHAT
        and request.document.get("background") is True
    )


def foreground_body(request: Request) -> bytes:
    """The body without the wish to be answered in the background, which is ours to fulfil."""
    return jsontext.splice(request.body, {"background": None})


def with_previous(request: Request, previous: str | None) -> Request:
    """Once more what ``continue_conversation`` made: the body holds the conversation, its id is not in there."""
    return replace(request, document={**request.document, RESOLVED: previous}) if previous else request


def read_replay(query: str) -> Replay | None:
    """``stream=true&starting_after=3``; None where no stream is asked for. Raises BadRequest."""
    given = {name: values[-1] for name, values in parse_qs(query).items()}
    if given.get("stream", "false").lower() != "true":
        return None
    after = given.get("starting_after")
    if after is None:
        return Replay()
    if not after.isascii() or not after.isdigit() or len(after) > _MAX_DIGITS:
        raise wrong_value("starting_after", after, "Expected the sequence number of an event.")
    return Replay(int(after))


def refuse_replay() -> BadRequest:
    return BadRequest(
        "This response was not created with 'stream': true, so that there are no events to stream.",
        param="stream",
        code="unsupported_parameter",
    )


# --- the response -----------------------------------------------------------------------------------------------


def new_background(request: Request, *, id: str, created_s: int, status: str) -> dict[str, Any]:  # noqa: A002
    """The response while nothing is known of its answer. status: as the dialect calls it."""
    response = new_response(request, model=request.model, request_id=id, created_s=created_s)
    return {**response, "id": id, "background": True, "status": status}


def retell(response: Document, face: Document) -> dict[str, Any]:
    """A provider's response under our own face: what ``new_background`` gave."""
    ours = {name: face[name] for name in ("id", "created_at", "background", "previous_response_id")}
    return {**response, **ours}


def retell_failure(face: Document, failure: Failure) -> dict[str, Any]:
    return failed(face, [], failure)


# --- its events -------------------------------------------------------------------------------------------------


class Retelling:
    """The events of one background response. ``face``: what ``new_background`` gave; ``number``: of the next event."""

    def __init__(self, face: Document, number: int = 0) -> None:
        self._face = face
        self.number = number
        self._splitter = SSESplitter()

    def begin(self) -> list[tuple[int, bytes]]:
        """What can be said before anybody was asked."""
        queued = {**self._face, "status": "queued"}
        return [self._say({"type": f"response.{name}", "response": queued}) for name in ("created", "queued")]

    def feed(self, piece: bytes) -> list[tuple[int, bytes]]:
        """The next bytes of the provider's events as (number, frame)."""
        return [told for _, data, _ in self._splitter.feed(piece) for told in self._retell(data)]

    def fail(self, failure: Failure) -> list[tuple[int, bytes]]:
        """Nobody could be asked with success: this is the end."""
        return [self._say({"type": "response.failed", "response": retell_failure(self._face, failure)})]

    def _retell(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        event = _decode(data)
        if event is None or event.get("type") in ("response.created", "response.queued"):
            return
        response = event.get("response")
        if isinstance(response, dict):
            event["response"] = retell(response, self._face)
        yield self._say(event)

    def _say(self, event: dict[str, Any]) -> tuple[int, bytes]:
        number, self.number = self.number, self.number + 1
        name = str(event.get("type", "message"))
        data = jsontext.encode({**event, "sequence_number": number})
        return number, b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def _decode(data: bytes) -> dict[str, Any] | None:
    """None for what is no event: keep-alives, and the [DONE] that some servers say goodbye with."""
    try:
        event = jsontext.decode(data)
    except jsontext.JSONError:
        return None
    return event if isinstance(event, dict) else None


def frames_after(kept: bytes, after: int) -> bytes:
    """Of a kept stream the events with a higher number than ``after``."""
    if after < 0:
        return kept
    splitter = SSESplitter()
    frames = (*splitter.feed(kept), *splitter.close())
    return b"".join(raw for _, data, raw in frames if jsontext.decode(data)["sequence_number"] > after)
