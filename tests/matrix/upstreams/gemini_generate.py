"""Google's generateContent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from google.genai import types

from tests.matrix.scene import TOOL, Said, Tokens
from tests.matrix.shape import check
from tests.matrix.upstreams.base import EMBED_MODEL, Embeds, Recording, Upstream, encode, frame, vector

_MODEL = "gemini-3.8-flash"
_SEAL = "c2VhbC1vZi1hLXRob3VnaHQ="
_USAGE = {
    "promptTokenCount": 120,
    "cachedContentTokenCount": 64,
    "candidatesTokenCount": 22,
    "thoughtsTokenCount": 20,
    "totalTokenCount": 162,
}
_TOKENS = Tokens(120, 42, 64)
_FIELDS: dict[str, Any] = {
    "contents": list[types.Content],
    "systemInstruction": types.Content,
    "tools": list[types.Tool],
    "toolConfig": types.ToolConfig,
    "safetySettings": list[types.SafetySetting],
    "generationConfig": types.GenerationConfig,
}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    500: "INTERNAL",
    529: "UNAVAILABLE",
}


def write(said: Said) -> bytes:
    return encode(_answer(list(_parts(said)), last=True))


def write_stream(said: Said) -> list[bytes]:
    parts = list(_parts(said))
    return [frame(_answer([part], last=part is parts[-1])) for part in parts]


def _parts(said: Said) -> Iterator[dict[str, Any]]:
    if said.thought:
        yield {"text": said.thought, "thought": True}
    yield from ({"text": piece} for piece in said.text)
    for index, call in enumerate(said.calls):
        part: dict[str, Any] = {
            "functionCall": {"id": call.id, "name": TOOL, "args": json.loads(call.arguments)}
        }
        # Only the first of several calls carries the signature.
        yield part | ({"thoughtSignature": _SEAL} if said.thought and index == 0 else {})


def _answer(parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    answer: dict[str, Any] = {"candidates": [candidate], "modelVersion": _MODEL, "responseId": "r-1"}
    if last:
        candidate["finishReason"] = "STOP"
        answer["usageMetadata"] = _USAGE
    return answer


def write_vectors(count: int) -> bytes:
    return encode({"embeddings": [{"values": vector(number)} for number in range(count)]})


def check_request(body: dict[str, Any]) -> None:
    assert body.keys() <= _FIELDS.keys(), body.keys() - _FIELDS.keys()
    for key, value in body.items():
        check(_FIELDS[key], value)


def check_embedding(body: dict[str, Any]) -> None:
    assert body.keys() == {"requests"}
    for request in body["requests"]:
        assert request["model"] == f"models/{EMBED_MODEL}"
        types.Content.model_validate(request["content"])


def check_answer(body: dict[str, Any]) -> None:
    types.GenerateContentResponse.model_validate(body)


def error(status: int, words: str) -> bytes:
    return encode({"error": {"code": status, "message": words, "status": _STATUSES[status]}})


GEMINI = Upstream(
    name="gemini_generate",
    preset="gemini",
    key_env="GEMINI_API_KEY",
    auth=("x-goog-api-key", "key-gemini_generate"),
    path=lambda stream: (
        f"/v1beta/models/{_MODEL}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"
    ),
    write=write,
    write_stream=write_stream,
    check_request=check_request,
    check_answer=check_answer,
    check_frame=check_answer,
    whole=Recording(
        "gemini-generate/whole/response.json", Said(("It is 7 °C in Łódź.",), "Use the tool result."), _TOKENS
    ),
    streamed=Recording(
        "gemini-generate/text/response.sse",
        Said(("It is 7 °C", " in Łódź."), "Use the tool result."),
        _TOKENS,
    ),
    error=error,
    errors={429: "gemini-generate/whole/error_429.json"},
    model=_MODEL,
    seal=_SEAL,
    embeds=Embeds(
        f"/v1beta/models/{EMBED_MODEL}:batchEmbedContents", write_vectors, check_embedding, tokens=0
    ),
)
