"""Whole answers of Gemini -> canonical ones: conversations, vectors, token counts."""

from __future__ import annotations

from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.failures import bad_answer
from llmproxyd.adapters.gemini_failures import failure_of_error
from llmproxyd.adapters.gemini_stream import GeminiDecoder, parse_usage
from llmproxyd.values.answer import Answer, Event, TokenCount, Vectors, fold
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Operation, Request


def parse_answer(request: Request, body: bytes) -> Answer | Vectors | TokenCount | Failure:
    """A whole 2xx body, or a stream's JSON array -> what was asked for, or the Failure it turns out to be."""
    try:
        document = jsontext.decode(body)
    except jsontext.JSONError as error:
        return bad_answer(f"the answer is not JSON: {error}")
    pieces = document if isinstance(document, list) else [document]
    if not pieces or not all(isinstance(piece, dict) for piece in pieces):
        return bad_answer("the answer is not a JSON object")
    if pieces[0].get("error"):
        return failure_of_error(pieces[0]["error"])
    if request.operation is Operation.EMBEDDING:
        return _parse_vectors(pieces[0])
    if request.operation is Operation.COUNT_TOKENS:
        return _parse_count(pieces[0])
    decoder = GeminiDecoder()
    events: list[Event] = []
    for piece in pieces:
        events += decoder.read(piece)
    return fold([*events, *decoder.close()])


def _parse_vectors(document: dict[str, Any]) -> Vectors | Failure:
    embeddings = document.get("embeddings", [document.get("embedding")])
    if not isinstance(embeddings, list) or not embeddings:
        return bad_answer("the answer has no embeddings")
    try:
        vectors = tuple(tuple(float(number) for number in entry["values"]) for entry in embeddings)
    except (TypeError, ValueError, KeyError) as error:
        return bad_answer(f"an embedding cannot be read: {type(error).__name__}", error)
    return Vectors("", vectors, parse_usage(document.get("usageMetadata")))


def _parse_count(document: dict[str, Any]) -> TokenCount | Failure:
    count = document.get("totalTokens", 0)  # a zero is left out on this wire
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        return bad_answer("the answer has no count of tokens")
    return TokenCount(count)
