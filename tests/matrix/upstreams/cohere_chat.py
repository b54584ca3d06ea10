"""Cohere's v2 chat and embed."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import cohere
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse
from pydantic import TypeAdapter

from tests.matrix.scene import TOOL, Said, Tokens, ToolUse
from tests.matrix.shape import check
from tests.matrix.upstreams.base import Embeds, Recording, Upstream, encode, halves, named, vector

_USAGE = {
    "billed_units": {"input_tokens": 30, "output_tokens": 14},
    "tokens": {"input_tokens": 900, "output_tokens": 20},
    "cached_tokens": 64,
}
_TOKENS = Tokens(900, 20, 64)
_EVENT: TypeAdapter[Any] = TypeAdapter(V2ChatStreamResponse)
_MAX_TEXTS = 96


def _fields_of(method: Any) -> dict[str, Any]:
    """The body's fields, as the SDK's own method takes them."""
    hints = typing.get_type_hints(method)
    return {name: hint for name, hint in hints.items() if name not in ("return", "request_options")}


_CHAT = {**_fields_of(cohere.ClientV2.chat), "stream": bool}
_EMBED = _fields_of(cohere.ClientV2.embed)


def write(said: Said) -> bytes:
    message: dict[str, Any] = {"role": "assistant"}
    if said.calls:
        message["tool_calls"] = [_call(call, call.arguments) for call in said.calls]
    if said.thought or said.text:
        message["content"] = [block for block, _ in _blocks(said)]
    return encode({"id": "c-1", "finish_reason": _finish(said), "message": message, "usage": _USAGE})


def write_stream(said: Said) -> list[bytes]:
    return [*map(named, _events(said)), b"data: [DONE]\n\n"]


def _events(said: Said) -> Iterator[dict[str, Any]]:
    yield {"type": "message-start", "id": "c-1", "delta": {"message": {"role": "assistant"}}}
    index = 0
    for index, (block, pieces) in enumerate(_blocks(said)):
        kind = block["type"]
        yield {
            "type": "content-start",
            "index": index,
            "delta": {"message": {"content": {"type": kind, kind: ""}}},
        }
        for piece in pieces:
            yield {"type": "content-delta", "index": index, "delta": {"message": {"content": {kind: piece}}}}
        yield {"type": "content-end", "index": index}
    for index, call in enumerate(said.calls):
        yield _tool_event("tool-call-start", index, _call(call, ""))
        for piece in halves(call.arguments):
            yield _tool_event("tool-call-delta", index, {"function": {"arguments": piece}})
        yield {"type": "tool-call-end", "index": index}
    yield {"type": "message-end", "id": "c-1", "delta": {"finish_reason": _finish(said), "usage": _USAGE}}


def _tool_event(kind: str, index: int, call: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": {"tool_calls": call}}}


def _blocks(said: Said) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    if said.thought:
        yield {"type": "thinking", "thinking": said.thought}, (said.thought,)
    if said.text:
        yield {"type": "text", "text": said.whole}, said.text


def _call(call: ToolUse, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": TOOL, "arguments": arguments}}


def _finish(said: Said) -> str:
    return "TOOL_CALL" if said.calls else "COMPLETE"


def write_vectors(count: int) -> bytes:
    return encode(
        {
            "id": "e-1",
            "response_type": "embeddings_by_type",
            "embeddings": {"float": [vector(number) for number in range(count)]},
            "texts": [],
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 8}},
        }
    )


def check_request(body: dict[str, Any]) -> None:
    _check_fields(_CHAT, body)


def check_embedding(body: dict[str, Any]) -> None:
    _check_fields(_EMBED, body)
    assert {"texts", "input_type", "embedding_types"} <= body.keys()
    assert len(body["texts"]) <= _MAX_TEXTS


def _check_fields(fields: dict[str, Any], body: dict[str, Any]) -> None:
    assert body.keys() <= fields.keys(), body.keys() - fields.keys()
    for key, value in body.items():
        check(fields[key], value)


def check_answer(body: dict[str, Any]) -> None:
    V2ChatResponse.model_validate(body)


def check_frame(body: dict[str, Any]) -> None:
    _EVENT.validate_python(body)


def error(status: int, words: str) -> bytes:
    return encode({"id": f"err-{status}", "message": words})


COHERE = Upstream(
    name="cohere_chat",
    preset="cohere",
    key_env="COHERE_API_KEY",
    auth=("authorization", "Bearer key-cohere_chat"),
    path=lambda stream: "/v2/chat",
    write=write,
    write_stream=write_stream,
    check_request=check_request,
    check_answer=check_answer,
    check_frame=check_frame,
    whole=Recording("cohere_chat/whole/response.json", Said(("It is 7 °C in Łódź.",)), _TOKENS),
    streamed=Recording("cohere_chat/text/response.sse", Said(("It is 7 °C", " in Łódź.")), _TOKENS),
    error=error,
    errors={401: "cohere_chat/whole/error_401.json", 429: "cohere_chat/whole/error_429.json"},
    embeds=Embeds("/v2/embed", write_vectors, check_embedding),
)
