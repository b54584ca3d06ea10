"""What clients speak on /v1/embeddings: texts (or token ids) in, vectors out, as numbers or as base64."""

from __future__ import annotations

import base64
import struct
from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.openai_chat import own_fields
from llmproxyd.surfaces.openai_failure import format_failure
from llmproxyd.surfaces.openai_fields import (
    decode_body,
    empty,
    missing,
    read_int,
    read_metadata,
    read_model,
    read_text,
    wrong_type,
    wrong_value,
)
from llmproxyd.surfaces.openai_stream import new_encoder
from llmproxyd.values.answer import Answer, TokenCount, Vectors
from llmproxyd.values.contracts import Headers, Surface
from llmproxyd.values.request import Dialect, Document, Embed, Operation, Request

_ENCODINGS = ("float", "base64")
_KNOWN = frozenset(
    {"model", "input", "dimensions", "encoding_format", "user", "input_type", "metadata", "stream"}
)


def parse_request(headers: Headers, body: bytes, target: str) -> Request:
    """headers and target say nothing in this dialect. Raises BadRequest for what no provider could answer."""
    document = decode_body(body)
    model = read_model(document)
    _parse_inputs(document)
    _read_encoding(document)
    read_int(document, "dimensions", low=1)
    return Request(
        operation=Operation.EMBEDDING,
        dialect=Dialect.OPENAI_CHAT,
        surface=SURFACE.name,
        model=model,
        stream=False,
        body=body,
        document=document,
        metadata=read_metadata(document),
    )


def parse_content(request: Request) -> Embed:
    document = request.document
    return Embed(
        inputs=_parse_inputs(document),
        dimensions=read_int(document, "dimensions", low=1),
        encoding=_read_encoding(document),
        user=read_text(document, "user"),
        input_type=read_text(document, "input_type"),
        extras=own_fields(document, _KNOWN),
    )


def _read_encoding(document: Document) -> str:
    encoding = read_text(document, "encoding_format") or "float"
    if encoding not in _ENCODINGS:
        raise wrong_value("encoding_format", encoding, "Supported values are: 'float', 'base64'.")
    return encoding


def _parse_inputs(document: Document) -> tuple[str | tuple[int, ...], ...]:
    """A text, texts, token ids, or lists of token ids."""
    given = document.get("input")
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list):
        raise wrong_type("input", "a string or an array", given)
    if not given:
        raise empty("input")
    if _is_token(given[0]):
        return (_parse_tokens(given, "input"),)
    return tuple(_parse_input(item, f"input[{index}]") for index, item in enumerate(given))


def _parse_input(item: Any, where: str) -> str | tuple[int, ...]:
    if isinstance(item, str):
        return item
    if isinstance(item, list) and item:
        return _parse_tokens(item, where)
    raise wrong_type(where, "a string or an array of token ids", item)


def _parse_tokens(items: list[Any], where: str) -> tuple[int, ...]:
    for index, item in enumerate(items):
        if not _is_token(item):
            raise wrong_type(f"{where}[{index}]", "a token id", item)
    return tuple(items)


def _is_token(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)


def format_answer(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002 - unused: embeddings have no id
    created_s: int,
) -> bytes:
    """``{"object": "list", "data": [...]}``, each vector in the encoding the client asked for."""
    if not isinstance(answer, Vectors):
        raise TypeError(f"embeddings are not answered with {type(answer).__name__}")
    packed = _read_encoding(request.document) == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _pack(vector) if packed else vector}
        for index, vector in enumerate(answer.vectors)
    ]
    tokens = answer.usage.input_tokens if answer.usage is not None else 0
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return jsontext.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _pack(vector: tuple[float, ...]) -> str:
    """Little-endian 32-bit floats, as the official client reads them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


SURFACE = Surface(
    name="openai-embeddings",
    dialect=Dialect.OPENAI_CHAT,
    operation=Operation.EMBEDDING,
    parse_request=parse_request,
    parse_content=parse_content,
    format_answer=format_answer,
    new_encoder=new_encoder,  # never asked for: embeddings do not stream
    format_failure=format_failure,
)
