"""OpenAI's chat completions and embeddings, and Azure, which speaks them behind other paths and another header.

OpenAI shows no thoughts in this dialect. Those who do (OpenRouter among them) use ``reasoning_details``, which clients
send back: so do these doubles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydantic
from openai.types import CreateEmbeddingResponse, EmbeddingCreateParams
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from tests.matrix.scene import TOOL, Said, Tokens, ToolUse
from tests.matrix.shape import check
from tests.matrix.upstreams.base import (
    EMBED_MODEL,
    MODEL,
    Embeds,
    Recording,
    Upstream,
    encode,
    frame,
    halves,
    vector,
)
from tests.support.records import replace

_SEAL = "c2VhbC1vZi1hLXRob3VnaHQ="
_USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 14,
    "total_tokens": 134,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
_TOKENS = Tokens(120, 14, 64)
_CHAT_MODEL = "gpt-4.1"
_NEWER_MODEL = "gpt-6-sol"
_NOT_OPENAIS = ("reasoning_details", "reasoning_content")


def write(said: Said) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": said.whole or None, "refusal": None}
    message |= _thought(said)
    if said.calls:
        message["tool_calls"] = [_call(call, call.arguments) for call in said.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said)}
    return encode({**_head("chat.completion"), "choices": [choice], "usage": _USAGE})


def write_stream(said: Said) -> list[bytes]:
    chunks = [*(_chunk(delta, None) for delta in _deltas(said)), _chunk({}, _finish(said))]
    usage = {**_head("chat.completion.chunk"), "choices": [], "usage": _USAGE}
    return [*map(frame, chunks), frame(usage), b"data: [DONE]\n\n"]


def _deltas(said: Said) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    if said.thought:
        yield _thought(said)
    for piece in said.text:
        yield {"content": piece}
    for index, call in enumerate(said.calls):
        yield {"tool_calls": [{"index": index, **_call(call, "")}]}
        for piece in halves(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**_head("chat.completion.chunk"), "choices": [choice], "usage": None}


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1795000000, "model": MODEL}


def _thought(said: Said) -> dict[str, Any]:
    if not said.thought:
        return {}
    detail = {"type": "reasoning.text", "text": said.thought, "signature": _SEAL, "index": 0}
    return {"reasoning_details": [detail]}


def _call(call: ToolUse, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": TOOL, "arguments": arguments}}


def _finish(said: Said) -> str:
    return "tool_calls" if said.calls else "stop"


def write_vectors(count: int) -> bytes:
    data = [{"object": "embedding", "index": n, "embedding": vector(n)} for n in range(count)]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return encode({"object": "list", "model": EMBED_MODEL, "data": data, "usage": usage})


def check_request(body: dict[str, Any]) -> None:
    kind = CompletionCreateParamsStreaming if body.get("stream") else CompletionCreateParamsNonStreaming
    check(kind, {**body, "messages": [_as_typed(message) for message in body["messages"]]})


def _as_typed(message: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's SDK does not know what servers of its dialect added for thoughts; and results have carried their tool's
    name since OpenAI's first examples, without its types ever learning of it."""
    unknown = ("name",) if message["role"] == "tool" else _NOT_OPENAIS
    return {key: value for key, value in message.items() if key not in unknown}


def check_embedding(body: dict[str, Any]) -> None:
    check(EmbeddingCreateParams, body)


def check_answer(body: dict[str, Any]) -> None:
    _validate(ChatCompletion, body)


def check_frame(body: dict[str, Any]) -> None:
    _validate(ChatCompletionChunk, body)


def check_vectors(body: dict[str, Any]) -> None:
    _validate(CreateEmbeddingResponse, body)


def _validate(model: type[pydantic.BaseModel], body: dict[str, Any]) -> None:
    model.model_validate(body, strict=True)


def error(status: int, words: str) -> bytes:
    codes = {
        401: ("invalid_request_error", "invalid_api_key"),
        404: ("invalid_request_error", "model_not_found"),
    }
    kind, code = codes.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return encode({"error": {"message": words, "type": kind, "param": None, "code": code}})


def azure_error(status: int, words: str) -> bytes:
    return encode({"error": {"code": str(status), "message": words}})


def dated(path: str) -> str:
    return f"/openai/deployments/{path}?api-version=2024-10-21"


OPENAI = Upstream(
    name="openai_chat",
    preset="openai",
    key_env="OPENAI_API_KEY",
    auth=("authorization", "Bearer key-openai_chat"),
    path=lambda stream: "/v1/chat/completions",
    write=write,
    write_stream=write_stream,
    check_request=check_request,
    check_answer=check_answer,
    check_frame=check_frame,
    whole=Recording("openai_chat/whole/response.json", Said(("It is 7 °C in Łódź. 🌧",)), _TOKENS),
    streamed=Recording("openai_chat/text/response.sse", Said(("It is 7 °C in Łódź. 🌧",)), _TOKENS),
    error=error,
    errors={429: "openai_chat/whole/error_429.json"},
    seal=_SEAL,
    embeds=Embeds("/v1/embeddings", write_vectors, check_embedding),
    # Its newer models are asked by Responses, and so are all for a client of that dialect.
    model=_CHAT_MODEL,
    surfaces=frozenset({"openai_chat", "anthropic_messages", "gemini", "ollama"}),
)

COMPATIBLE = replace(
    OPENAI,
    name="compatible",
    preset="openai-compatible",
    key_env="COMPATIBLE_KEY",
    auth=("authorization", "Bearer key-compatible"),
    options=" api_key: '${env:COMPATIBLE_KEY}',",
    # Whoever copied the dialect copied chat: no model's name changes that.
    model=_NEWER_MODEL,
    surfaces=None,
)

AZURE = Upstream(
    name="azure",
    preset="azure",
    key_env="AZURE_OPENAI_API_KEY",
    auth=("api-key", "key-azure"),
    path=lambda stream: dated(f"{MODEL}/chat/completions"),
    write=write,
    write_stream=write_stream,
    check_request=check_request,
    check_answer=check_answer,
    check_frame=check_frame,
    whole=Recording("openai_chat/whole/azure_response.json", Said(("It is 7 °C in Łódź.",)), _TOKENS),
    streamed=Recording("openai_chat/azure/response.sse", Said(("It is 7 °C in Łódź.",)), _TOKENS),
    error=azure_error,
    errors={
        404: "openai_chat/whole/azure_error_404_deployment.json",
        429: "openai_chat/whole/azure_error_429.json",
    },
    options=" api_version: '2024-10-21',",
    seal=_SEAL,
    embeds=Embeds(dated(f"{EMBED_MODEL}/embeddings"), write_vectors, check_embedding),
)

AZURE_V1 = replace(
    AZURE,
    name="azure_v1",
    key_env="AZURE_V1_KEY",
    auth=("api-key", "key-azure_v1"),
    path=lambda stream: "/openai/v1/chat/completions",
    options=" api_version: v1, api_key: '${env:AZURE_V1_KEY}',",
    embeds=Embeds("/openai/v1/embeddings", write_vectors, check_embedding),
    model=_CHAT_MODEL,
    surfaces=OPENAI.surfaces,
)
