"""Stored responses: what a client of OpenAI's Responses may come back to, kept in memory for a while."""

from __future__ import annotations

import re
from collections.abc import Callable

from aiohttp import web

from llmproxyd import jsontext
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.reply import Written, send
from llmproxyd.surfaces import responses_stored as stored
from llmproxyd.surfaces.openai_failure import format_failure
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import ExchangeFailed, Failure
from llmproxyd.values.request import Dialect, Document, Operation, Request
from llmproxyd.values.stored import ResponseStore, StoredResponse

LOCAL_OWNER = "local"
"""Who asks where no keys are declared: every client of this daemon is the same owner then."""

PATH = re.compile(r"/v1/responses/[^/?]{1,256}(?:/(?:cancel|input_items))?")
_NO_STORE = {"Cache-Control": "no-store"}


class ResponseKeeper:
    """``clock``: monotonic seconds. ``owner_of`` says who makes a request."""

    def __init__(
        self,
        store: ResponseStore,
        clock: Callable[[], float],
        owner_of: Callable[[web.BaseRequest], str] = lambda _: LOCAL_OWNER,
    ) -> None:
        self._store = store
        self._clock = clock
        self._owner_of = owner_of

    # --- around an exchange -----------------------------------------------------------------------------------

    def resume(
        self, request: Request, owner: str, recalled: StoredResponse | None = None
    ) -> tuple[Request, str | None]:
        """The request with the conversation it refers to, and that conversation's label. Raises ExchangeFailed.

        recalled: that conversation, where somebody else keeps it.
        """
        if request.dialect is not Dialect.OPENAI_RESPONSES:
            return request, None
        labels: list[str | None] = [None]

        def resolve(response_id: str, owner: str) -> StoredResponse | None:
            found = recalled or self._store.get(response_id, owner, self._clock())
            if found is not None:
                labels.append(found.label)
            return found

        resumed = stored.continue_conversation(request, owner, resolve)
        if isinstance(resumed, Failure):
            raise ExchangeFailed(resumed)
        return resumed, labels[-1]

    def listener(self, request: Request, label: str, owner: str) -> Callable[[bytes], None] | None:
        """Shown every piece of the answer as the client gets it; keeps what the client wanted kept. None: nothing to keep."""
        if request.dialect is not Dialect.OPENAI_RESPONSES or request.operation is not Operation.CHAT:
            return None
        if request.document.get("store") is False:
            return None

        def hear(piece: bytes) -> None:
            response = stored.final_response(piece) if request.stream else jsontext.decode(piece)
            if response is not None:
                self._keep(request, response, label, owner)

        return hear

    def _keep(self, request: Request, response: Document, label: str, owner: str) -> None:
        made = stored.new_stored(request, response, owner=owner, label=label)
        if made is not None:
            self._store.put(made, self._clock())

    # --- coming back ------------------------------------------------------------------------------------------

    async def view(self, http: web.BaseRequest) -> Written:
        """GET and DELETE /v1/responses/{id}, POST …/cancel, GET …/input_items."""
        path, _, query = http.raw_path.partition("?")
        place, owner = stored.parse_path(path), self._owner_of(http)
        found = None if place is None else self._store.get(place[0], owner, self._clock())
        if place is None or found is None:
            return await self._refuse(http, stored.response_not_found(place[0] if place else path))
        try:
            body = self._told(http.method, place[1], found, query)
        except BadRequest as bad:
            return await self._refuse(http, bad.failure)
        except ExchangeFailed as failed:
            return await self._refuse(http, failed.failure)
        return await send(http, 200, body, _NO_STORE)

    def _told(self, method: str, part: str, found: StoredResponse, query: str) -> bytes:
        if method == "DELETE" and not part:
            self._store.delete(found.id, found.owner, self._clock())
            return stored.format_deleted(found.id)
        if method == "POST" and part == "cancel":
            raise ExchangeFailed(stored.refuse_cancel(found))
        if method == "GET" and part == "input_items":
            return stored.format_input_items(found, query)
        if method == "GET" and not part:
            return stored.format_stored(found, query)
        raise BadRequest(f"{method} is not served at this path.")

    async def _refuse(self, http: web.BaseRequest, failure: Failure) -> Written:
        body = format_failure(failure, new_request_id())
        return await send(http, failure.client_status, body, _NO_STORE)
