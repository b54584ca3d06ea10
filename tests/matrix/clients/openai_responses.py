"""OpenAI's SDK: responses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.matrix.clients.openai_chat import OpenAIClient, refusals
from tests.matrix.scene import (
    MAX_TOKENS,
    PARAMETERS,
    PNG,
    RESULT,
    SCHEMA,
    TOOL,
    TOOL_WORDS,
    Heard,
    Tokens,
    Wish,
)
from tests.support.records import replace

_TOOLS = [
    {"type": "function", "name": TOOL, "description": TOOL_WORDS, "parameters": PARAMETERS, "strict": False}
]
_FORMAT = {"format": {"type": "json_schema", "name": "weather", "schema": SCHEMA, "strict": True}}
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


class ResponsesClient(OpenAIClient):
    def ask(self, wish: Wish) -> Heard:
        with refusals():
            return self._stream(wish) if wish.stream else self._whole(wish)

    def _whole(self, wish: Wish) -> Heard:
        raw = self.sdk.responses.with_raw_response.create(**_fields(wish))
        return _heard(Response.model_validate_json(raw.text, strict=True), wish)

    def _stream(self, wish: Wish) -> Heard:
        events = []
        for event in self.sdk.responses.create(**_fields(wish), stream=True):
            document = event.to_dict(mode="json")
            _EVENT.validate_python(document, strict=True)
            events.append(document)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["type"] == "response.completed", events[-1]
        heard = _heard(Response.model_validate(events[-1]["response"], strict=True), wish)
        deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
        assert "".join(deltas) == heard.text
        return replace(heard, pieces=len(deltas))


def _fields(wish: Wish) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": wish.model,
        "input": list(_items(wish)),
        "max_output_tokens": MAX_TOKENS,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    if wish.tools:
        fields["tools"] = _TOOLS
    if wish.schema:
        fields["text"] = _FORMAT
    if wish.think:
        fields["reasoning"] = {"effort": "medium", "summary": "auto"}
    return fields


def _items(wish: Wish) -> Iterator[dict[str, Any]]:
    content: list[dict[str, Any]] = [{"type": "input_text", "text": wish.text}]
    if wish.image:
        image = {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG}"}
        content.append(image)
    yield {"type": "message", "role": "user", "content": content}
    if wish.after is not None:
        yield from wish.after.turn
        for call_id in wish.after.call_ids:
            yield {"type": "function_call_output", "call_id": call_id, "output": RESULT}


def _heard(done: Response, wish: Wish) -> Heard:
    assert done.model == wish.model
    assert done.status == "completed"
    calls = [item for item in done.output if item.type == "function_call"]
    thoughts = [item for item in done.output if item.type == "reasoning"]
    return Heard(
        text=done.output_text,
        thought="".join(piece.text for item in thoughts for piece in (*item.summary, *(item.content or ()))),
        calls=tuple((call.name, json.loads(call.arguments)) for call in calls),
        stopped=not calls,
        tokens=_tokens(done),
        turn=[item.model_dump(mode="json", exclude_none=True) for item in done.output],
        call_ids=tuple(call.call_id for call in calls),
    )


def _tokens(done: Response) -> Tokens | None:
    if done.usage is None:
        return None
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens
    details = done.usage.input_tokens_details
    return Tokens(done.usage.input_tokens, done.usage.output_tokens, details.cached_tokens)
