"""Google's SDK: generateContent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from google import genai
from google.genai import errors, types

from tests.matrix.clients.base import TIMEOUT_S, Client, Refusal
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

_FUNCTION = {"name": TOOL, "description": TOOL_WORDS, "parametersJsonSchema": PARAMETERS}
_BUDGET = 2048


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except errors.APIError as error:
        raise Refusal(Refused(error.code, error.message or "")) from error


class GeminiClient(Client):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._http = httpx.Client(event_hooks={"response": [self.hear]}, timeout=TIMEOUT_S)
        options = types.HttpOptions(base_url=url, httpx_client=self._http)
        self.sdk = genai.Client(api_key="any", http_options=options)

    def close(self) -> None:
        self._http.close()

    def ask(self, wish: Wish) -> Heard:
        fields: dict[str, Any] = {
            "model": wish.model,
            "contents": list(_contents(wish)),
            "config": _config(wish),
        }
        with _refusals():
            if not wish.stream:
                return _heard([self.sdk.models.generate_content(**fields)])
            return _heard(list(self.sdk.models.generate_content_stream(**fields)))


def _config(wish: Wish) -> types.GenerateContentConfig:
    fields: dict[str, Any] = {
        "max_output_tokens": MAX_TOKENS,
        "automatic_function_calling": {"disable": True},
    }
    if wish.tools:
        fields["tools"] = [{"functionDeclarations": [_FUNCTION]}]
    if wish.schema:
        fields |= {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
    if wish.think:
        fields["thinking_config"] = {"include_thoughts": True, "thinking_budget": _BUDGET}
    return types.GenerateContentConfig(**fields)


def _contents(wish: Wish) -> Iterator[types.Content | dict[str, Any]]:
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    yield {"role": "user", "parts": [{"text": wish.text}, *([image] if wish.image else [])]}
    if wish.after is not None:
        yield types.Content(role="model", parts=wish.after.turn)
        results = [
            {"functionResponse": {"id": call_id, "name": TOOL, "response": {"output": RESULT}}}
            for call_id in wish.after.call_ids
        ]
        yield {"role": "user", "parts": results}


def _heard(answers: list[types.GenerateContentResponse]) -> Heard:
    parts = [part for answer in answers for part in _parts(answer)]
    calls = [part.function_call for part in parts if part.function_call]
    finishes = [c.finish_reason for answer in answers for c in answer.candidates or () if c.finish_reason]
    assert finishes == [types.FinishReason.STOP]
    texts = [part.text for part in parts if part.text and not part.thought]
    return Heard(
        text="".join(texts),
        thought="".join(part.text for part in parts if part.text and part.thought),
        calls=tuple((call.name or "", call.args) for call in calls),
        stopped=not calls,
        tokens=_tokens(answers[-1].usage_metadata),
        turn=parts,
        call_ids=tuple(call.id or "" for call in calls),
        pieces=len(texts),
    )


def _parts(answer: types.GenerateContentResponse) -> list[types.Part]:
    return [part for c in answer.candidates or () if c.content for part in c.content.parts or ()]


def _tokens(usage: types.GenerateContentResponseUsageMetadata | None) -> Tokens | None:
    if usage is None:
        return None
    written = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    read = usage.prompt_token_count or 0
    assert usage.total_token_count == read + written
    return Tokens(read, written, usage.cached_content_token_count)
