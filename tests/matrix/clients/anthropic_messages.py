"""Anthropic's SDK: messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

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
from tests.support.records import replace

_TOOLS = [{"name": TOOL, "description": TOOL_WORDS, "input_schema": PARAMETERS}]
_FORMAT = {"format": {"type": "json_schema", "schema": SCHEMA}}
_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
_BUDGET = 2048


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except anthropic.APIStatusError as error:
        raise Refusal(Refused(error.status_code, error.message)) from error


class MessagesClient(Client):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        http = httpx2.Client(event_hooks={"response": [self.hear]}, timeout=TIMEOUT_S)
        self.sdk = anthropic.Anthropic(api_key="any", base_url=url, max_retries=0, http_client=http)
        self.own_headers = {"anthropic-version": str(self.sdk.default_headers["anthropic-version"])}

    def close(self) -> None:
        self.sdk.close()

    def ask(self, wish: Wish) -> Heard:
        with _refusals():
            return self._stream(wish) if wish.stream else self._whole(wish)

    def _whole(self, wish: Wish) -> Heard:
        raw = self.sdk.messages.with_raw_response.create(**_fields(wish))
        return _heard(Message.model_validate_json(raw.text(), strict=True), wish)

    def _stream(self, wish: Wish) -> Heard:
        snapshot, pieces, json_bufs = None, 0, dict[int, bytes]()
        for event in self.sdk.messages.create(**_fields(wish), stream=True):
            document = event.to_dict(mode="json")
            checked = _EVENT.validate_python(document, strict=True)
            snapshot = accumulate_event(event=checked, current_snapshot=snapshot, json_bufs=json_bufs)
            pieces += document.get("delta", {}).get("type") == "text_delta"
        assert snapshot is not None
        return replace(_heard(Message.model_validate(snapshot.to_dict(mode="json")), wish), pieces=pieces)


def _fields(wish: Wish) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": wish.model,
        "max_tokens": MAX_TOKENS,
        "messages": list(_messages(wish)),
    }
    if wish.tools:
        fields["tools"] = _TOOLS
    if wish.schema:
        fields["output_config"] = _FORMAT
    if wish.think:
        fields["thinking"] = {"type": "enabled", "budget_tokens": _BUDGET}
    return fields


def _messages(wish: Wish) -> Iterator[dict[str, Any]]:
    text = {"type": "text", "text": wish.text}
    yield {"role": "user", "content": [text, _IMAGE] if wish.image else wish.text}
    if wish.after is not None:
        yield {"role": "assistant", "content": wish.after.turn}
        results = [
            {"type": "tool_result", "tool_use_id": call_id, "content": RESULT}
            for call_id in wish.after.call_ids
        ]
        yield {"role": "user", "content": results}


def _heard(done: Message, wish: Wish) -> Heard:
    assert done.model == wish.model
    calls = [block for block in done.content if block.type == "tool_use"]
    usage = done.usage
    cached = usage.cache_read_input_tokens
    read = usage.input_tokens + (cached or 0) + (usage.cache_creation_input_tokens or 0)
    return Heard(
        text="".join(block.text for block in done.content if block.type == "text"),
        thought="".join(block.thinking for block in done.content if block.type == "thinking"),
        calls=tuple((call.name, call.input) for call in calls),
        stopped=done.stop_reason == "end_turn",
        tokens=Tokens(read, usage.output_tokens, cached),
        turn=[block.to_dict(mode="json", exclude_none=True) for block in done.content],
        call_ids=tuple(call.id for call in calls),
    )
