"""OpenAI's SDK: chat completions and embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.matrix.clients.base import TIMEOUT_S, Client, Refusal, Vectors
from tests.matrix.scene import (
    MAX_TOKENS,
    PARAMETERS,
    PNG,
    RESULT,
    SCHEMA,
    TOOL,
    TOOL_WORDS,
    Heard,
    Refused,
    Tokens,
    Wish,
)
from tests.support.records import replace

_TOOLS = [
    {"type": "function", "function": {"name": TOOL, "description": TOOL_WORDS, "parameters": PARAMETERS}}
]
_FORMAT = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}


@contextmanager
def refusals() -> Iterator[None]:
    """The SDK's exceptions as Refusal: a refused call, and a stream that said it failed."""
    try:
        yield
    except openai.APIStatusError as error:
        raise Refusal(Refused(error.status_code, error.message)) from error
    except openai.APIError as error:
        raise Refusal(Refused(0, error.message)) from error


class OpenAIClient(Client):
    """What both of OpenAI's dialects share."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        http = httpx2.Client(event_hooks={"response": [self.hear]}, timeout=TIMEOUT_S)
        self.sdk = openai.OpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0, http_client=http)

    def close(self) -> None:
        self.sdk.close()


class ChatClient(OpenAIClient):
    def ask(self, wish: Wish) -> Heard:
        with refusals():
            return self._stream(wish) if wish.stream else self._whole(wish)

    def _whole(self, wish: Wish) -> Heard:
        raw = self.sdk.chat.completions.with_raw_response.create(**_fields(wish))
        done = ChatCompletion.model_validate_json(raw.text, strict=True)
        choice = done.choices[0]
        message = choice.message.model_dump(exclude_none=True)
        calls = message.get("tool_calls", [])
        assert done.model == wish.model
        return _heard(message, calls, choice.finish_reason, done.usage)

    def _stream(self, wish: Wish) -> Heard:
        asked = self.sdk.chat.completions.create(
            **_fields(wish), stream=True, stream_options={"include_usage": True}
        )
        # Azure's first chunk has nothing but its filter's verdict on the prompt, not even the dialect's own name.
        known = [chunk for chunk in asked if chunk.object or chunk.choices]
        chunks = [
            ChatCompletionChunk.model_validate(chunk.to_dict(mode="json"), strict=True) for chunk in known
        ]
        assert len({chunk.id for chunk in chunks if chunk.id}) == 1
        deltas = [choice.delta.model_dump(exclude_none=True) for chunk in chunks for choice in chunk.choices]
        finishes = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
        assert len(finishes) == 1
        message: dict[str, Any] = {"role": "assistant", "content": _joined(deltas, "content")}
        message |= _joined_thoughts(deltas)
        calls = _joined_calls(deltas)
        if calls:
            message["tool_calls"] = calls
        pieces = sum(1 for delta in deltas if delta.get("content"))
        return replace(_heard(message, calls, finishes[0], chunks[-1].usage), pieces=pieces)


class EmbeddingsClient:
    """Embeddings. The SDK asks for base64 behind its caller's back."""

    def __init__(self, url: str) -> None:
        self.sdk = openai.OpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0, timeout=TIMEOUT_S)

    def close(self) -> None:
        self.sdk.close()

    def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        with refusals():
            raw = self.sdk.embeddings.with_raw_response.create(model=model, input=list(texts))
            done = raw.parse()
        CreateEmbeddingResponse.model_validate(done.to_dict(mode="json"), strict=True)
        assert [entry.index for entry in done.data] == list(range(len(texts)))
        return Vectors(tuple(tuple(entry.embedding) for entry in done.data), done.usage.prompt_tokens)


def _fields(wish: Wish) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": wish.model,
        "messages": list(_messages(wish)),
        "max_completion_tokens": MAX_TOKENS,
    }
    if wish.tools:
        fields["tools"] = _TOOLS
    if wish.schema:
        fields["response_format"] = _FORMAT
    if wish.think:
        fields["reasoning_effort"] = "medium"
    return fields


def _messages(wish: Wish) -> Iterator[dict[str, Any]]:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    yield {
        "role": "user",
        "content": [{"type": "text", "text": wish.text}, image] if wish.image else wish.text,
    }
    if wish.after is not None:
        yield wish.after.turn
        for call_id in wish.after.call_ids:
            yield {"role": "tool", "tool_call_id": call_id, "content": RESULT}


def _heard(message: dict[str, Any], calls: Sequence[dict[str, Any]], finish: str, usage: Any) -> Heard:
    details = message.get("reasoning_details", [])
    shown = message.get("reasoning_content") or "".join(detail.get("text", "") for detail in details)
    return Heard(
        text=message.get("content") or "",
        thought=shown,
        calls=tuple((c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls),
        stopped=finish == "stop",
        tokens=_tokens(usage),
        turn=message,
        call_ids=tuple(call["id"] for call in calls),
    )


def _tokens(usage: Any) -> Tokens:
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    details = usage.prompt_tokens_details
    return Tokens(usage.prompt_tokens, usage.completion_tokens, details and details.cached_tokens)


def _joined(deltas: Iterable[dict[str, Any]], name: str) -> str:
    return "".join(delta.get(name) or "" for delta in deltas)


def _joined_thoughts(deltas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """As clients of OpenRouter do it: details are collected in their order, text of one block is joined."""
    blocks: dict[int, dict[str, Any]] = {}
    for detail in (detail for delta in deltas for detail in delta.get("reasoning_details", ())):
        block = blocks.setdefault(detail.get("index", 0), {})
        text = block.get("text", "") + (detail.get("text") or "")
        block |= detail | ({"text": text} if text else {})
    plain = _joined(deltas, "reasoning_content")
    fields: dict[str, Any] = {"reasoning_content": plain} if plain else {}
    return fields | ({"reasoning_details": list(blocks.values())} if blocks else {})


def _joined_calls(deltas: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    calls: dict[int, dict[str, Any]] = {}
    for piece in (piece for delta in deltas for piece in delta.get("tool_calls", ())):
        known = calls.setdefault(piece["index"], {"type": "function", "function": {"arguments": ""}})
        function = piece.get("function", {})
        known["id"] = known.get("id") or piece.get("id")
        known["function"]["name"] = known["function"].get("name") or function.get("name")
        known["function"]["arguments"] += function.get("arguments") or ""
        if "extra_content" in piece:
            known["extra_content"] = piece["extra_content"]
    assert list(calls) == list(range(len(calls)))
    return list(calls.values())
