"""What Ollama's clients ask beside generating: which models there are, what one can do, which version this is.

Calls that manage models are refused: those here are declared in providers.yaml.
"""

from __future__ import annotations

from aiohttp import web

from llmproxyd.in_force import InForce
from llmproxyd.server.admission import check_json
from llmproxyd.server.body import read_body
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.reply import Written, send
from llmproxyd.surfaces import ollama_models
from llmproxyd.surfaces.ollama_answer import format_failure
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import ExchangeFailed, Failure

_BODY_BYTES = 64 * 1024
_NO_STORE = {"Cache-Control": "no-store"}


class OllamaViews:
    def __init__(self, in_force: InForce) -> None:
        self._in_force = in_force

    async def tags(self, http: web.BaseRequest) -> Written:
        generation = self._in_force.current
        shown = [
            ollama_models.shown_of(name, target)
            for name in generation.routes.listed_names()
            if (target := generation.routes.resolve(name)) is not None
        ]
        body = ollama_models.format_tags(shown, int(generation.since_s))
        return await send(http, 200, body, _NO_STORE)

    async def show(self, http: web.BaseRequest) -> Written:
        refused = check_json(http.headers)
        if refused is not None:
            return await self._refuse(http, refused)
        try:
            name = ollama_models.parse_show(await read_body(http, _BODY_BYTES))
        except BadRequest as bad:
            return await self._refuse(http, bad.failure)
        except ExchangeFailed as failed:
            return await self._refuse(http, failed.failure)
        generation = self._in_force.current
        target = generation.routes.resolve(name)
        if target is None:
            return await send(http, 404, ollama_models.format_unknown(name), _NO_STORE)
        shown = ollama_models.shown_of(name, target)
        return await send(http, 200, ollama_models.format_show(shown, int(generation.since_s)), _NO_STORE)

    async def running(self, http: web.BaseRequest) -> Written:
        return await send(http, 200, ollama_models.format_ps(), _NO_STORE)

    async def version(self, http: web.BaseRequest) -> Written:
        return await send(http, 200, ollama_models.format_version(), _NO_STORE)

    async def manage(self, http: web.BaseRequest) -> Written:
        path = http.raw_path.partition("?")[0]
        return await send(http, 403, ollama_models.format_management_refusal(path), _NO_STORE, close=True)

    async def _refuse(self, http: web.BaseRequest, failure: Failure) -> Written:
        return await send(
            http, failure.client_status, format_failure(failure, new_request_id()), _NO_STORE, close=True
        )
