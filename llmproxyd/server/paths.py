"""The table of paths: which view answers where, and in whose words a refusal is told."""

from __future__ import annotations

import re

from aiohttp import web

from llmproxyd.server.async_calls import PATH as ASYNC_PATH
from llmproxyd.server.async_calls import AsyncCalls
from llmproxyd.server.background import PATH as BACKGROUND_PATH
from llmproxyd.server.background import Background
from llmproxyd.server.callers import Callers
from llmproxyd.server.cost_views import BUDGETS_PATH, COST_PATH, CostViews
from llmproxyd.server.handler import Handler
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.names import NameViews
from llmproxyd.server.ollama_views import OllamaViews
from llmproxyd.server.reply import send
from llmproxyd.server.responses import PATH as RESPONSE_PATH
from llmproxyd.server.responses import ResponseKeeper
from llmproxyd.server.trial import TEST_PATH, ProviderTest
from llmproxyd.server.views import Views
from llmproxyd.server.web import Paths, View, surface_views
from llmproxyd.surfaces import SURFACES, gemini_generate, ollama_models
from llmproxyd.surfaces.anthropic_failure import format_failure as format_anthropic_failure
from llmproxyd.surfaces.gemini_failure import format_failure as format_gemini_failure
from llmproxyd.surfaces.ollama_answer import format_failure as format_ollama_failure
from llmproxyd.surfaces.openai_failure import format_failure as format_openai_failure
from llmproxyd.values.failure import Failure, FailureKind

_BLOBS = re.compile(re.escape(ollama_models.MANAGEMENT_PREFIX) + r"[^?]*")
_ONE_MODEL = re.compile(r"/(?:anthropic/)?v1/models/[^?]{1,512}")


def build_paths(
    handler: Handler,
    views: Views,
    names: NameViews,
    ollama: OllamaViews,
    keeper: ResponseKeeper,
    provider_test: ProviderTest,
    async_calls: AsyncCalls,
    background: Background,
    callers: Callers,
    costs: CostViews,
) -> Paths:
    """``callers`` asks for a key where one is needed, at the paths of clients that are no exchanges."""
    known = callers.known
    exact = surface_views(SURFACES, handler.serve)
    for method in ("GET", "HEAD"):
        exact[method, "/"] = views.root
        exact[method, "/healthz"] = views.alive
        exact[method, "/readyz"] = views.readiness
        exact[method, "/metrics"] = views.metrics
    exact["GET", "/v1/models"] = exact["GET", "/anthropic/v1/models"] = known(names.listed)
    exact["GET", "/admin/v1/config"] = views.guarded(views.config)
    exact["POST", "/admin/v1/config/reload"] = views.guarded(views.reload)
    exact["GET", "/admin/v1/providers"] = views.guarded(views.providers)
    exact["GET", COST_PATH] = views.guarded(costs.cost)
    exact["GET", BUDGETS_PATH] = views.guarded(costs.budgets)
    exact["GET", "/admin/v1/events"] = views.guarded(views.events)
    for method in ("GET", "HEAD"):
        exact[method, "/api/tags"] = known(ollama.tags)
        exact[method, "/api/version"] = ollama.version
        exact[method, "/api/ps"] = known(ollama.running)
    exact["POST", "/api/show"] = known(ollama.show)
    for call in ollama_models.MANAGEMENT:
        exact[call] = known(ollama.manage)
    return Paths(
        exact=exact,
        patterns=(
            *((method, ASYNC_PATH, known(async_calls.view)) for method in ("GET", "DELETE")),
            *((method, BACKGROUND_PATH, known(background.view)) for method in ("GET", "DELETE", "POST")),
            *((method, RESPONSE_PATH, known(keeper.view)) for method in ("GET", "DELETE", "POST")),
            *((method, _BLOBS, known(ollama.manage)) for method in ("GET", "HEAD", "POST")),
            ("POST", gemini_generate.CALL_PATH, _gemini_view(handler)),
            ("POST", TEST_PATH, views.guarded(provider_test.view)),
            ("GET", _ONE_MODEL, known(names.one)),
            ("GET", gemini_generate.LIST_PATH, known(names.listed)),
            ("GET", gemini_generate.MODEL_PATH, known(names.one)),
        ),
        dialects={
            "/v1/messages": format_anthropic_failure,
            "/anthropic/": format_anthropic_failure,
            "/v1beta/": format_gemini_failure,
            "/v1alpha/": format_gemini_failure,
            "/api/": format_ollama_failure,
        },
        default_dialect=format_openai_failure,
    )


def _gemini_view(handler: Handler) -> View:
    """Google's paths hold model and method, so the surface is found by the path itself."""

    async def view(http: web.BaseRequest) -> web.StreamResponse:
        surface = gemini_generate.find_surface(http.raw_path)
        if surface is not None:
            return await handler.serve(http, surface)
        method = http.raw_path.partition("?")[0].rpartition(":")[2]
        failure = Failure(FailureKind.NOT_FOUND, f"The method {method[:60]} is not served here.")
        return await send(http, 404, format_gemini_failure(failure, new_request_id()), {})

    return view
