"""Requests that ask for nothing but a model in memory: what the server answers without asking anybody.

Clients of Ollama warm a model up, or unload it, by a request without messages, prompt or input. Models of a proxy are
always there, so such a request is answered as Ollama would, as one JSON object, even where a stream was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.ollama_answer import format_head
from llmproxyd.surfaces.ollama_chat import CHAT, GENERATE
from llmproxyd.surfaces.ollama_embed import EMBED, EMBEDDINGS, parse_inputs
from llmproxyd.values.request import Document, Request

_NO_TIME = frozenset({"0", "0s", "0m", "0h", "0ms"})


def answer_load(request: Request, created_s: int) -> bytes | None:
    """The whole answer to a request that only loads (or unloads) a model; None where it asks for more.

    request: of any surface, already parsed; whether its model exists is the caller's to check. created_s: Unix seconds.
    """
    loads = _LOADS.get(request.surface)
    if loads is None:
        return None
    asks_nothing, format_fields = loads
    if not asks_nothing(request.document):
        return None
    return jsontext.encode(format_fields(request, created_s))


def _format_chat(request: Request, created_s: int) -> Document:
    return _format_done(request, created_s, {"message": {"role": "assistant", "content": ""}})


def _format_generate(request: Request, created_s: int) -> Document:
    return _format_done(request, created_s, {"response": ""})


def _format_done(request: Request, created_s: int, content: Document) -> Document:
    reason = "unload" if _lets_go(request.document.get("keep_alive")) else "load"
    return {**format_head(request.model, created_s), **content, "done": True, "done_reason": reason}


def _format_embed(request: Request, created_s: int) -> Document:
    return {"model": request.model, "embeddings": []}


def _format_embeddings(request: Request, created_s: int) -> Document:
    return {"embedding": []}


def _lets_go(keep_alive: Any) -> bool:
    if isinstance(keep_alive, str):
        return keep_alive in _NO_TIME
    return isinstance(keep_alive, (int, float)) and not isinstance(keep_alive, bool) and keep_alive == 0


_Load = tuple[Callable[[Document], bool], Callable[[Request, int], Document]]

_LOADS: Mapping[str, _Load] = {
    CHAT.name: (lambda document: not document.get("messages"), _format_chat),
    GENERATE.name: (lambda document: not document.get("prompt"), _format_generate),
    EMBED.name: (lambda document: not parse_inputs(document), _format_embed),
    EMBEDDINGS.name: (lambda document: not document.get("prompt"), _format_embeddings),
}
