"""Values that the tests of Gemini's adapter start from."""

from __future__ import annotations

import json
from typing import Any

from llmproxyd.adapters.gemini_generate import ADAPTER
from llmproxyd.surfaces.gemini_generate import find_surface
from llmproxyd.values.contracts import Call
from llmproxyd.values.request import (
    NO_OVERRIDES,
    Capability,
    Chat,
    Dialect,
    Message,
    Operation,
    Overrides,
    Request,
    Role,
    Text,
)
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Auth, Deployment, Provider, Quirks, Zone

HELLO: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "hello"}]}]
PROVIDER = Provider(
    name="gemini",
    preset="gemini",
    dialect=Dialect.GEMINI_GENERATE,
    base_url="https://gemini.example.test/v1beta",
    zone=Zone.EXTERNAL,
    clearance=1,
    auth=Auth.X_GOOG_API_KEY,
    secret=Secret("k-123"),
)


def deployment(upstream: str = "gemini-3.8-flash", **fields: Any) -> Deployment:
    quirks = fields.pop("quirks", Quirks())
    provider = Provider(
        **{name: getattr(PROVIDER, name) for name in PROVIDER.__struct_fields__} | {"quirks": quirks}
    )
    return Deployment(f"gemini/{upstream}", provider, upstream, upstream, **fields)


def thinkless(upstream: str) -> Deployment:
    return deployment(upstream, capabilities=frozenset({Capability.TOOLS}))


def foreign(operation: Operation = Operation.CHAT, *, stream: bool = False) -> Request:
    """A request from a client of another dialect."""
    return Request(operation, Dialect.OPENAI_CHAT, "openai-chat", "m", stream, b"{}", {})


def ask(document: dict[str, Any], target: str = "/v1beta/models/alias:generateContent") -> Request:
    """A request as a Gemini client would send it."""
    surface = find_surface(target)
    assert surface is not None
    return surface.parse_request({}, json.dumps(document).encode(), target)


def call_for(
    chat: Chat, upstream: str = "gemini-3.8-flash", overrides: Overrides = NO_OVERRIDES, **fields: Any
) -> Call:
    return ADAPTER.format_call(foreign(), chat, deployment(upstream, **fields), overrides)


def body_of(call: Call) -> Any:
    return json.loads(call.body)


def formatted(chat: Chat, upstream: str = "gemini-3.8-flash", **fields: Any) -> Any:
    return body_of(call_for(chat, upstream, **fields))


def warnings_of(chat: Chat, upstream: str = "gemini-3.8-flash", **fields: Any) -> list[str]:
    """What was not carried, without the words that say so."""
    return [text.partition(": not carried")[0] for text in call_for(chat, upstream, **fields).warnings]


def user(*parts: Any) -> Message:
    return Message(Role.USER, tuple(Text(part) if isinstance(part, str) else part for part in parts))


def model(*parts: Any) -> Message:
    return Message(Role.ASSISTANT, tuple(Text(part) if isinstance(part, str) else part for part in parts))


def tool(*parts: Any) -> Message:
    return Message(Role.TOOL, parts)


def said(*messages: Message, **fields: Any) -> Chat:
    return Chat(messages or (user("hello"),), **fields)
