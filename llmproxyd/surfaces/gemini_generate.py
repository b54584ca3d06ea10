"""The Gemini surfaces: generateContent, streamGenerateContent, countTokens, embedContent, batchEmbedContents.

Model, method and form of stream stand in the address, so the table of paths cannot be exact: the server matches
``CALL_PATH`` and asks ``find_surface`` for the record. A stream without ``alt=sse`` is one JSON array with a content type
of its own; it has a record of its own under the same name, since to rules both are one API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmproxyd.surfaces.effort import gemini_effort
from llmproxyd.surfaces.gemini_answer import format_answer, new_array_encoder, new_encoder
from llmproxyd.surfaces.gemini_chat import MAX_CHOICES, call_fields, parse_chat, parse_labels
from llmproxyd.surfaces.gemini_contents import media_types
from llmproxyd.surfaces.gemini_embed import embed_fields, format_embedding, parse_embed
from llmproxyd.surfaces.gemini_failure import format_failure
from llmproxyd.surfaces.gemini_fields import Fields, decode_body
from llmproxyd.surfaces.gemini_models import format_model, format_models
from llmproxyd.surfaces.gemini_target import CALL_PATH, LIST_PATH, MODEL_PATH, parse_model_path, parse_target
from llmproxyd.values.contracts import BadRequest, Headers, Surface
from llmproxyd.values.request import Capability, Chat, Content, Dialect, Operation, Request

__all__ = [
    "CALL_PATH",
    "COUNT",
    "EMBED",
    "GENERATE",
    "LIST_PATH",
    "MODEL_PATH",
    "STREAM_ARRAY",
    "find_surface",
    "format_failure",
    "format_model",
    "format_models",
    "parse_model_path",
]

_JSON = "application/json"
_STREAM_METHOD = "streamGenerateContent"


def _parse_generate(headers: Headers, body: bytes, target: str) -> Request:
    """headers are not asked. Raises BadRequest for what can never be answered."""
    place = parse_target(target)
    document = decode_body(body)
    fields = call_fields(document)
    contents = _need_contents(fields)
    config = fields.object("generationConfig") or Fields({}, fields.path("generationConfig"))
    stream = place.method == _STREAM_METHOD
    return Request(
        operation=Operation.CHAT,
        dialect=Dialect.GEMINI_GENERATE,
        surface="gemini-generate",
        model=place.model,
        stream=stream,
        body=body,
        document=document,
        needs=_needs(fields, contents, config),
        max_output_tokens=config.integer("maxOutputTokens", low=1),
        temperature=config.number("temperature"),
        n=config.integer("candidateCount", low=1, high=MAX_CHOICES),
        metadata=parse_labels(fields),
        # What the provider is asked for in turn, where bytes pass through.
        headers={"accept": _JSON} if stream and not place.sse else {},
        effort=gemini_effort(config.get("thinkingConfig")),
    )


def _parse_count(headers: Headers, body: bytes, target: str) -> Request:
    place = parse_target(target)
    document = decode_body(body)
    _need_contents(call_fields(document))
    return Request(
        operation=Operation.COUNT_TOKENS,
        dialect=Dialect.GEMINI_GENERATE,
        surface="gemini-count-tokens",
        model=place.model,
        stream=False,
        body=body,
        document=document,
    )


def _parse_embed(headers: Headers, body: bytes, target: str) -> Request:
    place = parse_target(target)
    document = decode_body(body)
    for entry in embed_fields(document):
        if entry.object("content") is None:
            raise BadRequest(f"{entry.path('content')} is not specified.", param=entry.path("content"))
    return Request(
        operation=Operation.EMBEDDING,
        dialect=Dialect.GEMINI_GENERATE,
        surface="gemini-embeddings",
        model=place.model,
        stream=False,
        body=body,
        document=document,
    )


def _need_contents(fields: Fields) -> list[Fields]:
    contents = fields.objects("contents")
    if not contents:
        raise BadRequest(f"{fields.path('contents')} is not specified.", param=fields.path("contents"))
    return contents


def _needs(fields: Fields, contents: Iterable[Fields], config: Fields) -> frozenset[Capability]:
    needs = {_need_of(media_type) for media_type in media_types(contents)}
    if any("functionDeclarations" in tool for tool in fields.objects("tools")):
        needs.add(Capability.TOOLS)
    if "responseSchema" in config or "responseJsonSchema" in config:
        needs.add(Capability.JSON_SCHEMA)
    return frozenset(needs)


def _need_of(media_type: str) -> Capability:
    kinds = {"image": Capability.VISION, "audio": Capability.AUDIO}
    return kinds.get(media_type.partition("/")[0], Capability.FILES)


def _parse_chat_content(request: Request) -> Chat:
    return parse_chat(request.document)


def _parse_embed_content(request: Request) -> Content:
    return parse_embed(request)


GENERATE = Surface(
    name="gemini-generate",
    dialect=Dialect.GEMINI_GENERATE,
    operation=Operation.CHAT,
    parse_request=_parse_generate,
    parse_content=_parse_chat_content,
    format_answer=format_answer,
    new_encoder=new_encoder,
    format_failure=format_failure,
)
STREAM_ARRAY = Surface(
    name="gemini-generate",
    dialect=Dialect.GEMINI_GENERATE,
    operation=Operation.CHAT,
    parse_request=_parse_generate,
    parse_content=_parse_chat_content,
    format_answer=format_answer,
    new_encoder=new_array_encoder,
    format_failure=format_failure,
    stream_type=_JSON,
)
COUNT = Surface(
    name="gemini-count-tokens",
    dialect=Dialect.GEMINI_GENERATE,
    operation=Operation.COUNT_TOKENS,
    parse_request=_parse_count,
    parse_content=_parse_chat_content,
    format_answer=format_answer,
    new_encoder=new_encoder,
    format_failure=format_failure,
)
EMBED = Surface(
    name="gemini-embeddings",
    dialect=Dialect.GEMINI_GENERATE,
    operation=Operation.EMBEDDING,
    parse_request=_parse_embed,
    parse_content=_parse_embed_content,
    format_answer=format_embedding,
    new_encoder=new_encoder,
    format_failure=format_failure,
)

_METHODS: Mapping[str, Surface] = {
    "generateContent": GENERATE,
    _STREAM_METHOD: GENERATE,
    "countTokens": COUNT,
    "embedContent": EMBED,
    "batchEmbedContents": EMBED,
}


def find_surface(target: str) -> Surface | None:
    """The surface that serves a POST to ``target`` (path with query, as sent); None: no such method or model path."""
    try:
        place = parse_target(target)
    except BadRequest:
        return None
    if place.method == _STREAM_METHOD and not place.sse:
        return STREAM_ARRAY
    return _METHODS.get(place.method)
