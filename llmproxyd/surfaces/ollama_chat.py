"""What clients speak on Ollama's /api/chat and /api/generate. Both stream unless told not to.

A generate is a conversation of one turn, put into the model's own template, and is served by whoever serves
conversations. What goes around the template (``raw``, ``template``, ``suffix``, the tokens of an earlier ``context``)
means something to an Ollama server only, and is refused by name when the request has to be translated. A request
without messages or prompt only loads a model; ``ollama_load`` answers it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmproxyd.surfaces.effort import ollama_effort
from llmproxyd.surfaces.ollama_answer import format_answer, format_failure, format_generated
from llmproxyd.surfaces.ollama_fields import (
    own_fields,
    parse_output_format,
    parse_sampling,
    parse_think,
    parse_tools,
    read_max_tokens,
    read_name,
    read_options,
    read_stream,
    read_temperature,
    refuse,
    wants_schema,
)
from llmproxyd.surfaces.ollama_messages import has_images, parse_images, parse_messages
from llmproxyd.surfaces.ollama_stream import new_encoder, new_generate_encoder
from llmproxyd.surfaces.openai_fields import decode_body, empty, read_objects, read_text
from llmproxyd.values.contracts import Headers, Surface
from llmproxyd.values.request import (
    Capability,
    Chat,
    Dialect,
    Document,
    Message,
    Operation,
    Request,
    Role,
    Text,
    Tool,
)

STREAM_TYPE = "application/x-ndjson"

_COMMON = ("model", "stream", "options", "format", "think", "logprobs", "top_logprobs")
_CHAT_FIELDS = frozenset({*_COMMON, "messages", "tools"})
_REFUSED: Mapping[str, str] = {
    "raw": "only Ollama takes a prompt without a template",
    "template": "only Ollama applies a template of the caller's",
    "suffix": "only Ollama fills in between a prompt and a suffix",
    "context": "these are tokens of Ollama's; use /api/chat for a conversation",
}
_GENERATE_FIELDS = frozenset({*_COMMON, "prompt", "system", "images", *_REFUSED})


def parse_request(headers: Headers, body: bytes, target: str) -> Request:
    """A request of /api/chat. Raises BadRequest for what no provider could answer."""
    document = decode_body(body)
    messages = read_objects(document, "messages")
    return _envelope(CHAT.name, body, document, seen=any(map(has_images, messages)))


def parse_generate(headers: Headers, body: bytes, target: str) -> Request:
    """A request of /api/generate."""
    document = decode_body(body)
    read_text(document, "prompt")
    return _envelope(GENERATE.name, body, document, seen=has_images(document))


def parse_content(request: Request) -> Chat:
    """A conversation in canonical form. Raises BadRequest naming what is wrong or cannot be carried."""
    messages = parse_messages(request.document)
    if not messages:
        raise empty("messages")
    return _chat(request.document, messages, parse_tools(request.document), _CHAT_FIELDS)


def parse_generate_content(request: Request) -> Chat:
    """The one turn, after its instructions."""
    document = request.document
    for name, why in _REFUSED.items():
        if document.get(name):
            raise refuse(name, why)
    return _chat(document, tuple(_turns(document)), (), _GENERATE_FIELDS)


def _turns(document: Document) -> Iterable[Message]:
    system, prompt = read_text(document, "system"), read_text(document, "prompt")
    if not prompt:
        raise empty("prompt")
    if system:
        yield Message(Role.SYSTEM, (Text(system),))
    yield Message(Role.USER, (Text(prompt), *parse_images(document)))


def _envelope(surface: str, body: bytes, document: dict[str, Any], *, seen: bool) -> Request:
    options = read_options(document)
    return Request(
        operation=Operation.CHAT,
        dialect=Dialect.OLLAMA_CHAT,
        surface=surface,
        model=read_name(document),
        stream=read_stream(document),
        body=body,
        document=document,
        needs=_find_needs(document, seen=seen),
        max_output_tokens=read_max_tokens(options),
        temperature=read_temperature(options),
        effort=ollama_effort(document),
    )


def _find_needs(document: Document, *, seen: bool) -> frozenset[Capability]:
    needs = {
        Capability.VISION: seen,
        Capability.TOOLS: bool(read_objects(document, "tools")),
        Capability.JSON_SCHEMA: wants_schema(document),
    }
    return frozenset(need for need, holds in needs.items() if holds)


def _chat(
    document: Document, messages: tuple[Message, ...], tools: tuple[Tool, ...], known: frozenset[str]
) -> Chat:
    effort, budget = parse_think(document)
    return Chat(
        messages=messages,
        tools=tools,
        output_format=parse_output_format(document),
        sampling=parse_sampling(document),
        effort=effort,
        thinking_budget=budget,
        extras=own_fields(document, known),
    )


CHAT = Surface(
    name="ollama-chat",
    dialect=Dialect.OLLAMA_CHAT,
    operation=Operation.CHAT,
    parse_request=parse_request,
    parse_content=parse_content,
    format_answer=format_answer,
    new_encoder=new_encoder,
    format_failure=format_failure,
    stream_type=STREAM_TYPE,
)
GENERATE = Surface(
    name="ollama-generate",
    dialect=Dialect.OLLAMA_CHAT,
    operation=Operation.CHAT,
    parse_request=parse_generate,
    parse_content=parse_generate_content,
    format_answer=format_generated,
    new_encoder=new_generate_encoder,
    format_failure=format_failure,
    stream_type=STREAM_TYPE,
)
