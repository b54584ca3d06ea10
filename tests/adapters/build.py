"""Values that the tests of dialects start from."""

from __future__ import annotations

from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces import SURFACES
from llmproxyd.surfaces.gemini_generate import find_surface
from llmproxyd.values.contracts import Surface
from llmproxyd.values.request import Chat, Dialect, Message, Operation, Request, Role, Text
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Deployment, Provider, Quirks, Zone

MINE = Quirks(developer_role=True, max_completion_tokens=True)
"""OpenAI's own server."""


PLAIN = Quirks()


def provider(quirks: Quirks = PLAIN, **fields: Any) -> Provider:
    given: dict[str, Any] = {
        "name": "p",
        "preset": "openai",
        "dialect": Dialect.OPENAI_CHAT,
        "base_url": "https://api.example.test/v1",
        "zone": Zone.EXTERNAL,
        "clearance": 1,
        "secret": Secret("k-123"),
        "quirks": quirks,
    }
    return Provider(**(given | fields))


def deployment(quirks: Quirks = PLAIN, upstream: str = "up-model", **fields: Any) -> Deployment:
    return Deployment("p/up-model", provider(quirks, **fields), "up-model", upstream)


_TURNS = {"messages": [{"role": "user", "content": "hello"}]}
_CONTENTS = {"contents": [{"parts": [{"text": "hello"}]}]}
_CONTENT = {"content": {"parts": [{"text": "hello"}]}}
_HELLO: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": _TURNS,
    "/v1/completions": {"prompt": "hello"},
    "/v1/embeddings": {"input": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/responses/input_tokens": {"input": "hello"},
    "/v1/messages": {"max_tokens": 64, **_TURNS},
    "/v1/messages/count_tokens": _TURNS,
    "/v1beta/models/m:generateContent": _CONTENTS,
    "/v1beta/models/m:streamGenerateContent": _CONTENTS,
    "/v1beta/models/m:streamGenerateContent?alt=sse": _CONTENTS,
    "/v1beta/models/m:countTokens": _CONTENTS,
    "/v1beta/models/m:embedContent": _CONTENT,
    "/v1beta/models/m:batchEmbedContents": {"requests": [{"model": "models/m", **_CONTENT}]},
    "/api/chat": {"stream": False, **_TURNS},
    "/api/generate": {"stream": False, "prompt": "hello"},
    "/api/embed": {"input": "hello"},
    "/api/embeddings": {"prompt": "hello"},
}
"""Every place where something can be asked, and the least that says hello there."""

PLACES = tuple(_HELLO)


def surface_at(path: str) -> Surface:
    surface = SURFACES.get(path) or find_surface(path)
    assert surface is not None, path
    return surface


def ask(path: str = "/v1/chat/completions", /, **document: Any) -> Request:
    """A request as a client would send it; it says hello unless told otherwise."""
    named = {} if ":" in path else {"model": "m"}
    body = jsontext.encode({**named, **_HELLO[path], **document})
    return surface_at(path).parse_request({}, body, path)


def bare(operation: Operation = Operation.CHAT, *, stream: bool = True) -> Request:
    """A request for those who look at nothing but the envelope."""
    return Request(operation, Dialect.OPENAI_CHAT, "openai-chat", "m", stream, b"{}", {})


def said(text: str = "hello") -> Chat:
    return Chat(messages=(Message(Role.USER, (Text(text),)),))
