"""OpenAI's responses, and Azure's behind its own path and header.

Whoever speaks the dialect gets it, and since gpt-5.6 whoever is translated anyway. A chat completion goes there where
OpenAI refuses it elsewhere: function tools with an effort.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import TypeAdapter

from tests.matrix.scene import TOOL, Said, Tokens, ToolUse
from tests.matrix.shape import check
from tests.matrix.upstreams.base import Recording, Upstream, encode, halves, named
from tests.matrix.upstreams.openai_chat import azure_error, error
from tests.support.records import replace

_SEAL = "gAAAAsealofathought"
_USAGE = {
    "input_tokens": 120,
    "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 0},
    "output_tokens": 42,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 162,
}
_TOKENS = Tokens(120, 42, 64)
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_MODEL = "gpt-6-sol"
_THOUGHT = "Look up, then answer."


def write(said: Said) -> bytes:
    return encode(_response("completed", list(_items(said)), _USAGE))


def write_stream(said: Said) -> list[bytes]:
    events = [*_events(said)]
    return [named({**event, "sequence_number": number}) for number, event in enumerate(events)]


def _response(status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1795000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": _MODEL,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage,
    }


def _items(said: Said) -> Iterator[dict[str, Any]]:
    if said.thought or said.silent:
        summary = [{"type": "summary_text", "text": said.thought}] if said.thought else []
        yield {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": _SEAL}
    if said.text:
        yield {**_MESSAGE, "status": "completed", "content": [_output_text(said.whole)]}
    for call in said.calls:
        yield {**_call(call), "arguments": call.arguments, "status": "completed"}


_MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant"}


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call(call: ToolUse) -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id, "name": TOOL}


def _events(said: Said) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": _response("in_progress", [], None)}
    items = list(_items(said))
    calls = {f"fc_{call.id}": call for call in said.calls}
    for index, item in enumerate(items):
        at = {"item_id": item["id"], "output_index": index}
        match item["type"]:
            case "reasoning":
                yield _added(index, {**item, "summary": [], "encrypted_content": None})
                yield from _summary(at, said.thought)
            case "message":
                yield _added(index, {**item, "status": "in_progress", "content": []})
                yield from _text(at, said)
            case _:
                yield _added(index, {**item, "status": "in_progress", "arguments": ""})
                yield from _arguments(at, calls[item["id"]])
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": _response("completed", items, _USAGE)}


def _added(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _summary(at: dict[str, Any], thought: str) -> Iterator[dict[str, Any]]:
    if not thought:
        return
    at = {**at, "summary_index": 0}
    name = "response.reasoning_summary"
    yield {"type": f"{name}_part.added", **at, "part": {"type": "summary_text", "text": ""}}
    yield {"type": f"{name}_text.delta", **at, "delta": thought}
    yield {"type": f"{name}_text.done", **at, "text": thought}
    yield {"type": f"{name}_part.done", **at, "part": {"type": "summary_text", "text": thought}}


def _text(at: dict[str, Any], said: Said) -> Iterator[dict[str, Any]]:
    at = {**at, "content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": _output_text("")}
    for piece in said.text:
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": said.whole, "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": _output_text(said.whole)}


def _arguments(at: dict[str, Any], call: ToolUse) -> Iterator[dict[str, Any]]:
    name = "response.function_call_arguments"
    for piece in halves(call.arguments):
        yield {"type": f"{name}.delta", **at, "delta": piece}
    yield {"type": f"{name}.done", **at, "arguments": call.arguments, "name": TOOL}


def check_request(body: dict[str, Any]) -> None:
    check(ResponseCreateParamsStreaming if body.get("stream") else ResponseCreateParamsNonStreaming, body)


def check_answer(body: dict[str, Any]) -> None:
    Response.model_validate(body)


def check_frame(body: dict[str, Any]) -> None:
    _EVENT.validate_python(body)


RESPONSES = Upstream(
    name="openai_responses",
    preset="openai",
    key_env="RESPONSES_KEY",
    auth=("authorization", "Bearer key-openai_responses"),
    path=lambda stream: "/v1/responses",
    write=write,
    write_stream=write_stream,
    check_request=check_request,
    check_answer=check_answer,
    check_frame=check_frame,
    whole=Recording(
        "openai_responses/whole/response.json", Said(("It is 7 °C in Łódź.",), _THOUGHT), _TOKENS
    ),
    streamed=Recording(
        "openai_responses/text/response.sse", Said(("It is 7 °C", " in Łódź."), _THOUGHT), _TOKENS
    ),
    error=error,
    options=" api_key: '${env:RESPONSES_KEY}',",
    model=_MODEL,
    seal=_SEAL,
    silent=True,
    forced={"openai_chat": {"tools": True, "think": True}},
)

AZURE_RESPONSES = replace(
    RESPONSES,
    name="azure_responses",
    preset="azure",
    key_env="AZURE_RESPONSES_KEY",
    auth=("api-key", "key-azure_responses"),
    path=lambda stream: "/openai/v1/responses",
    error=azure_error,
    options=" api_version: v1, api_key: '${env:AZURE_RESPONSES_KEY}',",
)
