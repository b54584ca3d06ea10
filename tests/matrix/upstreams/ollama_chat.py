"""Ollama's own chat and embed; its streams are JSON lines, its tool calls come whole."""

from __future__ import annotations

import json
from typing import Any

from ollama import ChatResponse
from ollama._types import ChatRequest, EmbedRequest

from tests.matrix.scene import TOOL, Said, Tokens
from tests.matrix.shape import check
from tests.matrix.upstreams.base import EMBED_MODEL, MODEL, Embeds, Recording, Upstream, encode, vector

_DONE = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 4883583458,
    "load_duration": 1334875,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 342546000,
    "eval_count": 12,
    "eval_duration": 453547200,
}
_TOKENS = Tokens(26, 12)


def write(said: Said) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": said.whole}
    message |= {"thinking": said.thought} if said.thought else {}
    message |= {"tool_calls": _calls(said)} if said.calls else {}
    return encode(_line(message, _DONE))


def write_stream(said: Said) -> list[bytes]:
    messages: list[dict[str, Any]] = []
    if said.thought:
        messages.append({"content": "", "thinking": said.thought})
    messages += ({"content": piece} for piece in said.text)
    messages += ({"content": "", "tool_calls": [call]} for call in _calls(said))
    lines = [_line({"role": "assistant", **message}, {"done": False}) for message in messages]
    # Ollama's own client ends a line wherever Unicode does, so the server must escape what could end one.
    lines.append(_line({"role": "assistant", "content": ""}, _DONE))
    return [json.dumps(line).encode() + b"\n" for line in lines]


def _line(message: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    return {"model": MODEL, "created_at": "2026-11-21T08:00:00.123456Z", "message": message, **rest}


def _calls(said: Said) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "function": {"index": index, "name": TOOL, "arguments": json.loads(call.arguments)}}
        for index, call in enumerate(said.calls)
    ]


def write_vectors(count: int) -> bytes:
    embeddings = [vector(number) for number in range(count)]
    return encode(
        {"model": EMBED_MODEL, "embeddings": embeddings, "total_duration": 1, "prompt_eval_count": 8}
    )


def check_request(body: dict[str, Any]) -> None:
    messages = [
        {**message, "tool_calls": [_known(call) for call in message["tool_calls"]]}
        if "tool_calls" in message
        else message
        for message in body["messages"]
    ]
    check(ChatRequest, {**body, "messages": [_known_message(message) for message in messages]})


def _known(call: dict[str, Any]) -> dict[str, Any]:
    """The server takes an ``id`` with a call; its Python client has not learnt of it yet."""
    function = {key: value for key, value in call["function"].items() if key != "index"}
    return {**{key: value for key, value in call.items() if key not in ("id", "type")}, "function": function}


def _known_message(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "tool_call_id"}


def check_embedding(body: dict[str, Any]) -> None:
    check(EmbedRequest, body)


def check_answer(body: dict[str, Any]) -> None:
    ChatResponse.model_validate(body)


def error(status: int, words: str) -> bytes:
    return encode({"error": words})


OLLAMA = Upstream(
    name="ollama_chat",
    preset="ollama",
    key_env="OLLAMA_API_KEY",
    auth=("authorization", "Bearer key-ollama_chat"),
    path=lambda stream: "/api/chat",
    write=write,
    write_stream=write_stream,
    check_request=check_request,
    check_answer=check_answer,
    check_frame=check_answer,
    whole=Recording("ollama_chat/whole/response.json", Said(("It is 7 °C in Łódź.",)), _TOKENS),
    streamed=Recording("ollama_chat/text/response.ndjson", Said(("It is 7 °C", " in Łódź."), "Hm."), _TOKENS),
    error=error,
    errors={404: "ollama_chat/whole/error_404.json"},
    stream_type="application/x-ndjson",
    embeds=Embeds("/api/embed", write_vectors, check_embedding),
)
