"""Embeddings as Gemini's clients ask for them: one text (embedContent) or several at once (batchEmbedContents)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.gemini_fields import Fields
from llmproxyd.surfaces.gemini_parts import format_usage
from llmproxyd.values.answer import Answer, TokenCount, Vectors
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Dialect, Embed, Request

MAX_INPUTS = 2048

_INPUT_TYPES: Mapping[str, str] = {
    "RETRIEVAL_QUERY": "search_query",
    "RETRIEVAL_DOCUMENT": "search_document",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
}
_KNOWN = ("model", "content", "outputDimensionality")


def embed_fields(document: Mapping[str, Any]) -> list[Fields]:
    """One for each text: the entries of a batch, or the request itself. Raises BadRequest."""
    fields = Fields(document)
    if "requests" not in fields:
        return [fields]
    requests = fields.objects("requests")
    if not 1 <= len(requests) <= MAX_INPUTS:
        raise BadRequest(f"'requests' must hold 1 to {MAX_INPUTS} entries.", param="requests")
    return requests


def parse_embed(request: Request) -> Embed:
    """Raises BadRequest naming what cannot be carried: data, or entries that differ in more than their text."""
    entries = embed_fields(request.document)
    dimensions = entries[0].integer("outputDimensionality", low=1)
    extras = entries[0].others(*_KNOWN)
    for entry in entries[1:]:
        if entry.integer("outputDimensionality", low=1) != dimensions:
            raise entry.refuse("outputDimensionality", "it must be the same for all entries")
        own = entry.others(*_KNOWN)
        for name in own.keys() | extras.keys():
            if own.get(name) != extras.get(name):
                raise entry.refuse(name, "it must be the same for all entries")
    task = entries[0].text("taskType")
    input_type = _INPUT_TYPES.get((task or "").upper())
    if input_type is not None:
        extras.pop("taskType")
    return Embed(
        inputs=tuple(_parse_text(entry) for entry in entries),
        dimensions=dimensions,
        input_type=input_type,
        extras={Dialect.GEMINI_GENERATE: extras} if extras else {},
    )


def _parse_text(entry: Fields) -> str:
    content = entry.object("content")
    parts = content.objects("parts") if content is not None else []
    if not parts:
        raise BadRequest(f"{entry.path('content')} must not be empty.", param=entry.path("content"))
    for part in parts:
        if "text" not in part:
            raise BadRequest(
                f"'{part.where}' cannot be carried to the chosen model: it embeds text only.",
                param=part.where,
            )
    return "\n".join(part.text("text") or "" for part in parts)


def format_embedding(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002
    created_s: int,
) -> bytes:
    """The body of an embedContent or batchEmbedContents answer."""
    if not isinstance(answer, Vectors):
        raise TypeError("embeddings are answered with vectors")
    embeddings = [{"values": list(vector)} for vector in answer.vectors]
    batch = "requests" in Fields(request.document)
    body: dict[str, Any] = {"embeddings": embeddings} if batch else {"embedding": embeddings[0]}
    if answer.usage is not None:
        body["usageMetadata"] = format_usage(answer.usage)
    return jsontext.encode(body)
