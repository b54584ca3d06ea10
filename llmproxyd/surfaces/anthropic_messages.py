"""What clients speak on /v1/messages and /v1/messages/count_tokens, Claude Code above all.

``parse_request`` looks at what routing must know; a body that goes on to Anthropic stays as it is, whatever new fields
it has and whichever of the two API versions it was written for. ``parse_content`` takes it apart for a translation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from llmproxyd.surfaces.anthropic_answer import format_answer
from llmproxyd.surfaces.anthropic_blocks import BlockReader
from llmproxyd.surfaces.anthropic_failure import format_failure
from llmproxyd.surfaces.anthropic_options import (
    parse_sampling,
    parse_thought,
    parse_tier,
    parse_tool_choice,
    parse_tools,
    read_user,
    shorten_user,
)
from llmproxyd.surfaces.anthropic_stream import new_encoder
from llmproxyd.surfaces.anthropic_turns import parse_turns
from llmproxyd.surfaces.effort import anthropic_effort
from llmproxyd.surfaces.openai_fields import (
    decode_body,
    empty,
    missing,
    read_bool,
    read_int,
    read_model,
    read_number,
    read_objects,
)
from llmproxyd.values.contracts import Headers, Surface
from llmproxyd.values.request import Capability, Chat, Dialect, Document, Operation, Request

FORWARDED_HEADERS = ("anthropic-version", "anthropic-beta")
"""What a gateway must pass on unchanged; all else is between the client and us."""

_BLOCK_NEEDS: Mapping[str, Capability] = {"image": Capability.VISION, "document": Capability.FILES}

# Fields with a place in the envelope or in Chat; all others are this dialect's own and ride along in ``extras``.
_KNOWN = frozenset(
    {
        "model", "messages", "system", "max_tokens", "stream", "tools", "tool_choice", "stop_sequences", "metadata",
        "thinking", "output_config", "output_format", "service_tier", "temperature", "top_p", "top_k",
    }
)  # fmt: skip


def parse_request(headers: Headers, body: bytes, target: str) -> Request:
    """headers: ``anthropic-version`` and ``anthropic-beta`` go on to a provider of the same dialect. target: its query
    (``?beta=true``) says nothing that the headers do not. Raises BadRequest for what no provider could answer."""
    return _parse_envelope(headers, body, SURFACE)


def parse_count_request(headers: Headers, body: bytes, target: str) -> Request:
    """The same for /v1/messages/count_tokens, whose body has no ``max_tokens`` and never streams."""
    return _parse_envelope(headers, body, COUNT_SURFACE)


def parse_content(request: Request) -> Chat:
    """All of a request in canonical form. Raises BadRequest naming what is wrong or cannot be carried."""
    document = request.document
    reader = BlockReader()
    messages, tools = parse_turns(document, reader), parse_tools(document, reader)
    choice, parallel = parse_tool_choice(document)
    thought, user = parse_thought(document), read_user(document)
    short = None if user is None else shorten_user(user)
    extras = {name: value for name, value in document.items() if name not in _KNOWN and value is not None}
    extras |= thought.extras
    if user != short:
        extras["metadata"] = document["metadata"]
    return Chat(
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        output_format=thought.output_format,
        sampling=parse_sampling(document),
        effort=thought.effort,
        thinking_budget=thought.budget,
        user=short,
        service_tier=parse_tier(document),
        extras={Dialect.ANTHROPIC_MESSAGES: extras} if extras else {},
        left_out=tuple(reader.left_out),
    )


def _parse_envelope(headers: Headers, body: bytes, surface: Surface) -> Request:
    document = decode_body(body)
    model = read_model(document)
    generates = surface.operation is Operation.CHAT
    max_tokens = read_int(document, "max_tokens", low=0)
    if generates and max_tokens is None:
        raise missing("max_tokens")
    if document.get("messages") is None:
        raise missing("messages")
    messages = read_objects(document, "messages")
    if not messages:
        raise empty("messages")
    user = read_user(document)
    return Request(
        operation=surface.operation,
        dialect=surface.dialect,
        surface=surface.name,
        model=model,
        stream=generates and bool(read_bool(document, "stream")),
        body=body,
        document=document,
        needs=_find_needs(document, messages),
        max_output_tokens=max_tokens,
        temperature=read_number(document, "temperature"),
        metadata={} if user is None else {"user_id": user},
        headers={name: headers[name] for name in FORWARDED_HEADERS if headers.get(name)},
        effort=anthropic_effort(document),
    )


def _find_needs(document: Document, messages: Iterable[Document]) -> frozenset[Capability]:
    """Thinking is not among them: Claude Code asks for it always, and a model without it answers as well."""
    needs: set[Capability] = set()
    if read_objects(document, "tools"):
        needs.add(Capability.TOOLS)
    config = document.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else None
    if wanted or document.get("output_format"):
        needs.add(Capability.JSON_SCHEMA)
    for message in messages:
        needs.update(_block_needs(message.get("content")))
    return frozenset(needs)


def _block_needs(content: Any, *, inner: bool = False) -> Iterator[Capability]:
    for block in content if isinstance(content, list) else ():
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "tool_result" and not inner:
            yield from _block_needs(block.get("content"), inner=True)
        elif isinstance(kind, str) and kind in _BLOCK_NEEDS and not _is_plain_text(block):
            yield _BLOCK_NEEDS[kind]


def _is_plain_text(block: Document) -> bool:
    """A document that is text already needs nobody who reads files."""
    source = block.get("source")
    return isinstance(source, dict) and source.get("type") in ("text", "content")


SURFACE = Surface(
    name="anthropic-messages",
    dialect=Dialect.ANTHROPIC_MESSAGES,
    operation=Operation.CHAT,
    parse_request=parse_request,
    parse_content=parse_content,
    format_answer=format_answer,
    new_encoder=new_encoder,
    format_failure=format_failure,
)
COUNT_SURFACE = replace(
    SURFACE,
    name="anthropic-count-tokens",
    operation=Operation.COUNT_TOKENS,
    parse_request=parse_count_request,
)

PATHS: Mapping[str, Surface] = {
    f"{prefix}/v1/messages{rest}": surface
    for prefix in ("", "/anthropic")
    for rest, surface in (("", SURFACE), ("/count_tokens", COUNT_SURFACE))
}
"""Where it is served: at the root, and under a prefix for those who serve several vendors side by side."""
