"""What clients speak on /v1/chat/completions.

Two readings of one body. ``parse_request`` looks at what routing must know and leaves the rest to the provider, so
that a body which only passes through costs little and new fields work at once. ``parse_content`` takes all of it apart
for a translation, and refuses what cannot be carried instead of losing it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmproxyd.surfaces.effort import openai_effort
from llmproxyd.surfaces.openai_answer import format_answer
from llmproxyd.surfaces.openai_failure import format_failure
from llmproxyd.surfaces.openai_fields import (
    decode_body,
    empty,
    missing,
    read_bool,
    read_int,
    read_metadata,
    read_model,
    read_number,
    read_object,
    read_objects,
    read_text,
    read_wants_usage,
)
from llmproxyd.surfaces.openai_messages import parse_messages
from llmproxyd.surfaces.openai_options import (
    parse_output_format,
    parse_sampling,
    parse_tool_choice,
    parse_tools,
    read_effort,
    read_max_tokens,
)
from llmproxyd.surfaces.openai_stream import new_encoder
from llmproxyd.values.contracts import Headers, Surface
from llmproxyd.values.request import Capability, Chat, Dialect, Document, Operation, Request

_PART_NEEDS: Mapping[str, Capability] = {
    "image_url": Capability.VISION,
    "input_audio": Capability.AUDIO,
    "file": Capability.FILES,
}

# Fields with a place in the envelope or in Chat; all others are this dialect's own and ride along in ``extras``.
_KNOWN = frozenset(
    {
        "model", "messages", "stream", "stream_options", "tools", "functions", "tool_choice", "function_call",
        "parallel_tool_calls", "response_format", "temperature", "top_p", "top_k", "max_tokens",
        "max_completion_tokens", "stop", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs",
        "top_logprobs", "n", "reasoning_effort", "user", "metadata", "service_tier",
    }
)  # fmt: skip


def parse_request(headers: Headers, body: bytes, target: str) -> Request:
    """headers and target say nothing in this dialect. Raises BadRequest for what no provider could answer."""
    document = decode_body(body)
    model = read_model(document)
    if document.get("messages") is None:
        raise missing("messages")
    messages = read_objects(document, "messages")
    if not messages:
        raise empty("messages")
    stream = read_bool(document, "stream") or False
    wants_usage = read_wants_usage(document)
    return Request(
        operation=Operation.CHAT,
        dialect=Dialect.OPENAI_CHAT,
        surface=SURFACE.name,
        model=model,
        stream=stream,
        body=body,
        document=document,
        needs=_find_needs(document, messages),
        max_output_tokens=read_max_tokens(document),
        temperature=read_number(document, "temperature"),
        n=read_int(document, "n", low=1, high=128),
        metadata=read_metadata(document),
        wants_usage=wants_usage or not stream,
        effort=openai_effort(document),
    )


def parse_content(request: Request) -> Chat:
    """All of a request in canonical form. Raises BadRequest naming what is wrong or cannot be carried."""
    document = request.document
    return Chat(
        messages=parse_messages(read_objects(document, "messages")),
        tools=parse_tools(document),
        tool_choice=parse_tool_choice(document),
        parallel_tool_calls=read_bool(document, "parallel_tool_calls"),
        output_format=parse_output_format(document),
        sampling=parse_sampling(document),
        effort=read_effort(document),
        user=read_text(document, "user"),
        metadata=request.metadata,
        service_tier=read_text(document, "service_tier"),
        extras=own_fields(document, _KNOWN),
    )


def own_fields(document: Document, known: frozenset[str]) -> dict[Dialect, Document]:
    """What only this dialect's adapter will read."""
    extras = {name: value for name, value in document.items() if name not in known and value is not None}
    return {Dialect.OPENAI_CHAT: extras} if extras else {}


def _find_needs(document: Document, messages: Iterable[Document]) -> frozenset[Capability]:
    needs: set[Capability] = set()
    if read_objects(document, "tools") or read_objects(document, "functions"):
        needs.add(Capability.TOOLS)
    wanted = read_object(document, "response_format")
    if wanted is not None and wanted.get("type") == "json_schema":
        needs.add(Capability.JSON_SCHEMA)
    modalities = document.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        needs.add(Capability.AUDIO)
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            needs.update(_part_needs(content))
    return frozenset(needs)


def _part_needs(content: list[Any]) -> Iterable[Capability]:
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in _PART_NEEDS:
            yield _PART_NEEDS[kind]


SURFACE = Surface(
    name="openai-chat",
    dialect=Dialect.OPENAI_CHAT,
    operation=Operation.CHAT,
    parse_request=parse_request,
    parse_content=parse_content,
    format_answer=format_answer,
    new_encoder=new_encoder,
    format_failure=format_failure,
)
