"""Requests as clients send them, the plans they get, and answers to keep."""

from __future__ import annotations

import json
from typing import Any

from llmproxyd.cache.entry import Cached
from llmproxyd.surfaces import SURFACES
from llmproxyd.surfaces.gemini_generate import find_surface
from llmproxyd.values.contracts import Surface
from llmproxyd.values.cost import Usage
from llmproxyd.values.plan import Plan
from llmproxyd.values.request import Request
from tests.routing.build import ask, deployment, snapshot

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
GEMINI = "/v1beta/models/m:generateContent"
GEMINI_SSE = "/v1beta/models/m:streamGenerateContent?alt=sse"
GEMINI_ARRAY = "/v1beta/models/m:streamGenerateContent"
OLLAMA = "/api/chat"
EMBEDDINGS = "/v1/embeddings"

SECRET = bytes(range(32))
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
LEAST: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": HELLO},
    RESPONSES: {"model": "m", "input": "Hello", "store": False},
    MESSAGES: {"model": "m", "max_tokens": 64, "messages": HELLO},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
    OLLAMA: {"model": "m", "messages": HELLO, "stream": False},
    EMBEDDINGS: {"model": "m", "input": "Hello"},
    "/v1/completions": {"model": "m", "prompt": "Hello"},
    "/api/generate": {"model": "m", "prompt": "Hello", "stream": False},
}
LEAST[GEMINI_SSE] = LEAST[GEMINI_ARRAY] = LEAST[GEMINI]


def surface_of(path: str) -> Surface:
    surface = SURFACES.get(path) or find_surface(path)
    assert surface is not None
    return surface


def request_of(path: str = CHAT, /, **fields: Any) -> Request:
    """The least that the surface takes, with these fields; None takes one away."""
    document = {name: value for name, value in (LEAST[path] | fields).items() if value is not ...}
    return parse(path, json.dumps(document).encode())


def parse(path: str, body: bytes, headers: dict[str, str] | None = None) -> Request:
    return surface_of(path).parse_request(headers or {}, body, path)


def plan_of(*names: str, **facts: Any) -> Plan:
    """Asked for these, or for ``openai/m``."""
    return ask(snapshot(*map(deployment, names or ("openai/m",))), **facts)


def cached_of(body: bytes = b"{}", **fields: Any) -> Cached:
    given: dict[str, Any] = {
        "surface": "openai-chat",
        "form": "whole",
        "content_type": "application/json",
        "deployment": "openai/m",
        "created_s": 1000.0,
        "usage": Usage(input_tokens=3, output_tokens=5, tier="flex", billed=(3, 5)),
        "cost_nanos": 1_076_800,
    }
    return Cached(body=body, **(given | fields))
