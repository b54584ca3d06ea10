"""Values that the tests of Anthropic's dialect start from."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.anthropic_messages import ADAPTER
from llmproxyd.surfaces.anthropic_messages import PATHS
from llmproxyd.values.contracts import Call
from llmproxyd.values.request import (
    NO_OVERRIDES,
    Chat,
    Dialect,
    Message,
    Operation,
    Overrides,
    Part,
    Request,
    Role,
    Text,
)
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Auth, Deployment, Provider, Quirks, Zone

NEW, OLD = "claude-opus-5-5", "claude-sonnet-4-5"


def provider(**fields: Any) -> Provider:
    given: dict[str, Any] = {
        "name": "anthropic",
        "preset": "anthropic",
        "dialect": Dialect.ANTHROPIC_MESSAGES,
        "base_url": "https://api.example.test/v1",
        "zone": Zone.EXTERNAL,
        "clearance": 1,
        "auth": Auth.X_API_KEY,
        "secret": Secret("k-123"),
        "headers": MappingProxyType({"anthropic-version": "2023-06-01"}),
        "quirks": Quirks(),
    }
    return Provider(**(given | fields))


def deployment(upstream: str = NEW, *, max_output_tokens: int | None = None, **fields: Any) -> Deployment:
    return Deployment(
        f"anthropic/{upstream}", provider(**fields), upstream, upstream, max_output_tokens=max_output_tokens
    )


def ask(path: str = "/v1/messages", /, headers: dict[str, str] | None = None, **document: Any) -> Request:
    """A request as a client would send it; it says hello unless told otherwise."""
    body = {"model": NEW, "max_tokens": 1024, "messages": [{"role": "user", "content": "hello"}], **document}
    return PATHS[path].parse_request(headers or {}, jsontext.encode(body), path)


def envelope(
    dialect: Dialect = Dialect.OPENAI_CHAT, operation: Operation = Operation.CHAT, *, stream: bool = False
) -> Request:
    """A request of another dialect, for those who look at nothing but the envelope."""
    return Request(operation, dialect, dialect.value, "m", stream, b"{}", {})


def turn(role: Role, *parts: Part | str) -> Message:
    return Message(role, tuple(Text(part) if isinstance(part, str) else part for part in parts))


def user(*parts: Part | str) -> Message:
    return turn(Role.USER, *parts)


def assistant(*parts: Part | str) -> Message:
    return turn(Role.ASSISTANT, *parts)


def chat(*messages: Message, **fields: Any) -> Chat:
    return Chat(messages or (user("hello"),), **fields)


def call_for(
    content: Chat,
    target: Deployment | None = None,
    overrides: Overrides = NO_OVERRIDES,
    request: Request | None = None,
) -> Call:
    return ADAPTER.format_call(request or envelope(), content, target or deployment(), overrides)


def body_for(
    content: Chat,
    target: Deployment | None = None,
    overrides: Overrides = NO_OVERRIDES,
    request: Request | None = None,
) -> dict[str, Any]:
    document: dict[str, Any] = jsontext.decode(call_for(content, target, overrides, request).body)
    return document


def warnings_for(content: Chat, target: Deployment | None = None, request: Request | None = None) -> str:
    return "\n".join(call_for(content, target, request=request).warnings)
