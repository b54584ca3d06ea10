"""The table of paths: which view answers where."""

from __future__ import annotations

import re

from llmproxyd.server.handler import Handler
from llmproxyd.server.views import Views
from llmproxyd.server.web import Paths, surface_views
from llmproxyd.surfaces import SURFACES
from llmproxyd.surfaces.openai_failure import format_failure


def build_paths(handler: Handler, views: Views) -> Paths:
    exact = surface_views(SURFACES, handler.serve)
    for method in ("GET", "HEAD"):
        exact[method, "/"] = views.root
        exact[method, "/healthz"] = views.alive
        exact[method, "/readyz"] = views.readiness
        exact[method, "/metrics"] = views.metrics
    exact["GET", "/v1/models"] = views.models
    exact["GET", "/admin/v1/config"] = views.guarded(views.config)
    exact["POST", "/admin/v1/config/reload"] = views.guarded(views.reload)
    exact["GET", "/admin/v1/providers"] = views.guarded(views.providers)
    return Paths(
        exact=exact,
        patterns=(("GET", re.compile(r"/v1/models/.{1,512}"), views.model),),
        default_dialect=format_failure,
    )
