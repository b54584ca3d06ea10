"""Anthropic's messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from pydantic import TypeAdapter

from tests.matrix.scene import TOOL, Said, Tokens, ToolUse
from tests.matrix.shape import check
from tests.matrix.upstreams.base import Recording, Upstream, encode, halves, named

_MODEL = "claude-opus-5-5"
_SEAL = "EqQBCkYIBhgCKkDsealofathought"
_READ = {
    "input_tokens": 56,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 64,
    "service_tier": "standard",
}
_USAGE = {**_READ, "output_tokens": 42}
_TOKENS = Tokens(120, 42, 64)
_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
}


def write(said: Said) -> bytes:
    return encode({**_message(_USAGE), "content": list(_blocks(said)), "stop_reason": _stop_reason(said)})


def write_stream(said: Said) -> list[bytes]:
    return [named(event) for event in _events(said)]


def _events(said: Said) -> Iterator[dict[str, Any]]:
    start = {**_message({**_READ, "output_tokens": 1}), "content": [], "stop_reason": None}
    yield {"type": "message_start", "message": start}
    yield {"type": "ping"}
    for index, block in enumerate(_blocks(said)):
        empty, deltas = _opened(block, said)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": _stop_reason(said), "stop_sequence": None},
        "usage": {"output_tokens": 42},
    }
    yield {"type": "message_stop"}


def _opened(block: dict[str, Any], said: Said) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a block begins, and the deltas that fill it."""
    match block["type"]:
        case "thinking":
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
        case "text":
            return {"type": "text", "text": ""}, [
                {"type": "text_delta", "text": piece} for piece in said.text
            ]
        case _:
            pieces = halves(json.dumps(block["input"], ensure_ascii=False))
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": p} for p in pieces]


def _blocks(said: Said) -> Iterator[dict[str, Any]]:
    if said.thought:
        yield {"type": "thinking", "thinking": said.thought, "signature": _SEAL}
    if said.text:
        yield {"type": "text", "text": said.whole}
    yield from map(_tool_use, said.calls)


def _tool_use(call: ToolUse) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{call.id}", "name": TOOL, "input": json.loads(call.arguments)}


def _message(usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": _MODEL,
        "stop_sequence": None,
        "usage": usage,
    }


def _stop_reason(said: Said) -> str:
    return "tool_use" if said.calls else "end_turn"


def check_request(body: dict[str, Any]) -> None:
    check(MessageCreateParamsStreaming if body.get("stream") else MessageCreateParamsNonStreaming, body)


def check_answer(body: dict[str, Any]) -> None:
    Message.model_validate(body)


def check_frame(body: dict[str, Any]) -> None:
    if body["type"] != "ping":
        _EVENT.validate_python(body)


def error(status: int, words: str) -> bytes:
    detail = {"type": _KINDS[status], "message": words}
    return encode({"type": "error", "error": detail, "request_id": "req_1"})


ANTHROPIC = Upstream(
    name="anthropic_messages",
    preset="anthropic",
    key_env="ANTHROPIC_API_KEY",
    auth=("x-api-key", "key-anthropic_messages"),
    path=lambda stream: "/v1/messages",
    write=write,
    write_stream=write_stream,
    check_request=check_request,
    check_answer=check_answer,
    check_frame=check_frame,
    whole=Recording(
        "anthropic-messages/whole/response.json",
        Said(("It is 7 °C in Łódź.",), "Use the tool result."),
        _TOKENS,
    ),
    streamed=Recording(
        "anthropic-messages/thinking_text_tool/response.sse",
        Said(("It is 7 °C", " in Łódź."), "Use the tool result.", (ToolUse("toolu_01B", "Oslo"),)),
        _TOKENS,
    ),
    error=error,
    errors={529: "anthropic-messages/whole/error_529.json"},
    headers={"anthropic-version": "2023-06-01"},
    model=_MODEL,
    seal=_SEAL,
)
