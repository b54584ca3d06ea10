"""Going on from an earlier response, and showing what is kept of one. Pure: who keeps it is handed in.

The conversation so far is put in front of the new input, so that any provider can go on with it. The instructions of
the earlier request are not: that is how the dialect has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.framing import SSESplitter
from llmproxyd.surfaces.openai_fields import wrong_value
from llmproxyd.surfaces.openai_responses import find_needs
from llmproxyd.surfaces.responses_object import RESOLVED, make_id
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Document, Request
from llmproxyd.values.stored import StoredResponse

Resolve: TypeAlias = Callable[[str, str], StoredResponse | None]
"""(id of a response, its owner) -> what is kept of it."""

DEFAULT_LISTED = 20
MAX_LISTED = 100

_PATH = re.compile(r"/v1/responses/([A-Za-z0-9_-]{1,128})(?:/(cancel|input_items))?")
_KEPT = ("completed", "incomplete")
_TERMINAL = ("response.completed", "response.incomplete", "response.failed")
_TERMINAL_BYTES = tuple(name.encode() for name in _TERMINAL)
_ITEM_PREFIXES = {
    "message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco",
    "custom_tool_call": "ctc", "custom_tool_call_output": "ctco",
}  # fmt: skip


def parse_path(path: str) -> tuple[str, str] | None:
    """``/v1/responses/resp_1/cancel`` -> (``resp_1``, ``cancel``); the second is empty for the response itself."""
    found = _PATH.fullmatch(path)
    return (found[1], found[2] or "") if found is not None else None


# --- going on ---------------------------------------------------------------------------------------------------


def continue_conversation(request: Request, owner: str, resolve: Resolve) -> Request | Failure:
    """The request with the conversation it refers to in front of its input; itself if it refers to none.

    A Failure (404) where that conversation is not known, or not this owner's.
    """
    previous = request.document.get("previous_response_id")
    if previous is None:
        return request
    if not isinstance(previous, str):
        return _wrong("'previous_response_id' must be a string.")
    if request.document.get("conversation") is not None:
        return _wrong("'previous_response_id' and 'conversation' exclude each other.")
    stored = resolve(previous, owner)
    if stored is None:
        return _previous_not_found(previous)
    said = [*jsontext.decode(stored.items), *jsontext.decode(stored.response)["output"]]
    items = [*said, *input_items(request.document)]
    document = {name: value for name, value in request.document.items() if name != "previous_response_id"}
    document |= {"input": items, RESOLVED: previous}
    body = jsontext.splice(request.body, {"input": jsontext.encode(items), "previous_response_id": None})
    return replace(request, body=body, document=document, needs=find_needs(document))


def input_items(document: Document) -> list[Document]:
    """The input of a request as items; a bare text is a message of the user."""
    given = document.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    return list(given) if isinstance(given, list) else []


def final_response(piece: bytes) -> Document | None:
    """The finished response in a piece of a stream as it went to the client (whole frames); None if none is in it."""
    if not any(name in piece for name in _TERMINAL_BYTES):
        return None
    splitter = SSESplitter()
    for _, data, _ in (*splitter.feed(piece), *splitter.close()):
        if any(name in data for name in _TERMINAL_BYTES):
            event = jsontext.decode(data)
            if isinstance(event, dict) and event.get("type") in _TERMINAL:
                response = event.get("response")
                return response if isinstance(response, dict) else None
    return None


def new_stored(
    request: Request, response: Document, *, owner: str, label: str | None = None
) -> StoredResponse | None:
    """What to keep of an answered request; None where the client did not want it kept, or it came to nothing.

    request: as it was answered (after ``continue_conversation``). response: as the client got it.
    """
    response_id = response.get("id")
    if request.document.get("store") is False or response.get("status") not in _KEPT:
        return None
    if not isinstance(response_id, str) or not isinstance(response.get("output"), list):
        return None
    items = jsontext.encode(input_items(request.document))
    return StoredResponse(response_id, owner, jsontext.encode(response), items, label)


# --- showing ----------------------------------------------------------------------------------------------------


def format_stored(stored: StoredResponse, query: str) -> bytes:
    """GET /v1/responses/{id}. Raises BadRequest where a stream of it is asked for: it is not kept as one."""
    if parse_qs(query).get("stream", ["false"])[-1].lower() == "true":
        raise BadRequest(
            "A stored response cannot be streamed again; ask for it without 'stream'.", param="stream"
        )
    return stored.response


def format_deleted(response_id: str) -> bytes:
    """DELETE /v1/responses/{id}."""
    return jsontext.encode({"id": response_id, "object": "response", "deleted": True})


def refuse_cancel(stored: StoredResponse) -> Failure:
    """POST /v1/responses/{id}/cancel of one that is not a background response: it is kept because it is complete."""
    return Failure(
        FailureKind.BAD_REQUEST,
        f"The response '{stored.id}' was not made in the background, and is complete: it cannot be cancelled.",
        param="response_id",
        code="response_not_cancellable",
    )


def format_input_items(stored: StoredResponse, query: str) -> bytes:
    """GET /v1/responses/{id}/input_items, with ``limit``, ``order`` and ``after``. Raises BadRequest for a wrong one."""
    given = {name: values[-1] for name, values in parse_qs(query).items()}
    limit, order = _read_limit(given.get("limit")), given.get("order", "desc")
    if order not in ("asc", "desc"):
        raise wrong_value("order", order, "Supported values are: 'asc', 'desc'.")
    items = [_with_id(item, stored.id, place) for place, item in enumerate(jsontext.decode(stored.items))]
    if order == "desc":
        items.reverse()
    items = _after(items, given.get("after"))
    page = items[:limit]
    return jsontext.encode(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(items) > limit,
        }
    )


def response_not_found(response_id: str) -> Failure:
    return Failure(
        FailureKind.NOT_FOUND,
        f"Response with id '{response_id[:128]}' not found.",
        param="response_id",
        code="response_not_found",
    )


def _previous_not_found(response_id: str) -> Failure:
    return Failure(
        FailureKind.NOT_FOUND,
        f"Previous response with id '{response_id[:128]}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


def _wrong(message: str) -> Failure:
    return Failure(FailureKind.BAD_REQUEST, message, param="previous_response_id", code="invalid_value")


def _read_limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LISTED
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not 1 <= int(text) <= MAX_LISTED:
        raise wrong_value("limit", text, f"Expected a whole number from 1 to {MAX_LISTED}.")
    return int(text)


def _with_id(item: dict[str, Any], response_id: str, place: int) -> dict[str, Any]:
    """Lists are paged by ids, which clients may leave out."""
    kind = item.get("type") or "message"
    prefix = _ITEM_PREFIXES.get(kind, "item") if isinstance(kind, str) else "item"
    if isinstance(item.get("id"), str):
        return {"type": kind, **item}
    return {"type": kind, **item, "id": make_id(prefix, response_id, place)}


def _after(items: list[dict[str, Any]], last_seen: str | None) -> list[dict[str, Any]]:
    if last_seen is None:
        return items
    places = [place for place, item in enumerate(items) if item["id"] == last_seen]
    if not places:
        raise BadRequest(
            "There is no item with the id given as 'after'.", param="after", code="invalid_value"
        )
    return items[places[0] + 1 :]
