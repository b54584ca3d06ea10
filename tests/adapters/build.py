"""Values that the tests of dialects start from."""

from __future__ import annotations

from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces import SURFACES
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


def ask(path: str = "/v1/chat/completions", /, **document: Any) -> Request:
    """A request as a client would send it; a chat says hello unless told otherwise."""
    defaults: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
        "/v1/completions": {"prompt": "hello"},
        "/v1/embeddings": {"input": "hello"},
    }
    body = jsontext.encode({"model": "m", **defaults[path], **document})
    return SURFACES[path].parse_request({}, body, path)


def bare(operation: Operation = Operation.CHAT, *, stream: bool = True) -> Request:
    """A request for those who look at nothing but the envelope."""
    return Request(operation, Dialect.OPENAI_CHAT, "openai-chat", "m", stream, b"{}", {})


def said(text: str = "hello") -> Chat:
    return Chat(messages=(Message(Role.USER, (Text(text),)),))
