"""The names a client may ask for, told in its own API's form. `/v1/models` belongs to three of them."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from aiohttp import web

from llmproxyd.in_force import Generation, InForce
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.reply import Written, send
from llmproxyd.surfaces import anthropic_models, gemini_models, openai_models
from llmproxyd.surfaces.anthropic_failure import format_failure as format_anthropic_failure
from llmproxyd.surfaces.gemini_failure import format_failure as format_gemini_failure
from llmproxyd.surfaces.openai_failure import format_failure as format_openai_failure
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import Failure, FailureKind

_GEMINI_HEADERS = ("x-goog-api-key", "x-goog-api-client")
_NO_STORE = {"Cache-Control": "no-store"}


class NameViews:
    """Lists and single models, for OpenAI's, Anthropic's and Google's clients."""

    def __init__(self, in_force: InForce) -> None:
        self._in_force = in_force

    async def listed(self, http: web.BaseRequest) -> Written:
        generation = self._in_force.current
        names, since_s = generation.routes.listed_names(), int(generation.since_s)
        client = client_of(http)
        if client == "anthropic":
            return await send(http, 200, anthropic_models.format_models(names, since_s), _NO_STORE)
        if client == "openai":
            return await send(http, 200, openai_models.format_models(names, since_s), _NO_STORE)
        try:
            body = gemini_models.format_models(names, http.raw_path)
        except BadRequest as bad:
            return await self._refuse(http, client, bad.failure)
        return await send(http, 200, body, _NO_STORE)

    async def one(self, http: web.BaseRequest) -> Written:
        generation, client = self._in_force.current, client_of(http)
        name = unquote(http.raw_path.partition("?")[0].partition("/models/")[2])
        if generation.routes.resolve(name) is None:
            message = f"The model `{name[:200]}` does not exist here."
            failure = Failure(FailureKind.NOT_FOUND, message, code="model_not_found", param="model")
            return await self._refuse(http, client, failure)
        return await send(http, 200, _FORMATS[client](name, generation), _NO_STORE)

    async def _refuse(self, http: web.BaseRequest, client: str, failure: Failure) -> Written:
        body = _FAILURES[client](failure, new_request_id())
        return await send(http, failure.client_status, body, _NO_STORE)


def client_of(http: web.BaseRequest) -> str:
    """Whose client asks on a path that several APIs share: openai, anthropic or gemini."""
    path, _, query = http.raw_path.partition("?")
    if path.startswith(("/v1beta/", "/v1alpha/")):
        return "gemini"
    if "anthropic-version" in http.headers or path.startswith("/anthropic/"):
        return "anthropic"
    if any(name in http.headers for name in _GEMINI_HEADERS) or query.startswith("key=") or "&key=" in query:
        return "gemini"
    return "openai"


_FORMATS: dict[str, Callable[[str, Generation], bytes]] = {
    "openai": lambda name, generation: openai_models.format_model(name, int(generation.since_s)),
    "anthropic": lambda name, generation: anthropic_models.format_model(name, int(generation.since_s)),
    "gemini": lambda name, _: gemini_models.format_model(name),
}
_FAILURES = {
    "openai": format_openai_failure,
    "anthropic": format_anthropic_failure,
    "gemini": format_gemini_failure,
}
