"""Ollama's client: chat. Its answers are checked by the client's own models as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ollama

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

_TOOLS = [
    {"type": "function", "function": {"name": TOOL, "description": TOOL_WORDS, "parameters": PARAMETERS}}
]


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ollama.ResponseError as error:
        raise Refusal(Refused(error.status_code, error.error)) from error


class OllamaClient(Client):
    counts_cache = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sdk = ollama.Client(host=url, timeout=TIMEOUT_S, event_hooks={"response": [self.hear]})

    def close(self) -> None:
        self.sdk.close()  # type: ignore[no-untyped-call]  # the SDK leaves it bare

    def ask(self, wish: Wish) -> Heard:
        with _refusals():
            if wish.stream:
                return _heard(list(self.sdk.chat(**_fields(wish), stream=True)), wish)
            return _heard([self.sdk.chat(**_fields(wish))], wish)


def _fields(wish: Wish) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": wish.model,
        "messages": list(_messages(wish)),
        "options": {"num_predict": MAX_TOKENS},
    }
    if wish.tools:
        fields["tools"] = _TOOLS
    if wish.schema:
        fields["format"] = SCHEMA
    if wish.think:
        fields["think"] = True
    return fields


def _messages(wish: Wish) -> Iterator[dict[str, Any]]:
    yield {"role": "user", "content": wish.text, **({"images": [PNG]} if wish.image else {})}
    if wish.after is not None:
        yield wish.after.turn
        yield from ({"role": "tool", "tool_name": name, "content": RESULT} for name, _ in wish.after.calls)


def _heard(lines: list[ollama.ChatResponse], wish: Wish) -> Heard:
    last = lines[-1]
    assert last.model == wish.model
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert last.done_reason == "stop"
    messages = [line.message for line in lines]
    calls = [call for message in messages for call in message.tool_calls or ()]
    texts = [message.content for message in messages if message.content]
    thought = "".join(message.thinking or "" for message in messages)
    turn = ollama.Message(
        role="assistant", content="".join(texts), thinking=thought or None, tool_calls=calls or None
    )
    return Heard(
        text="".join(texts),
        thought=thought,
        calls=tuple((call.function.name, dict(call.function.arguments)) for call in calls),
        stopped=not calls,
        tokens=Tokens(last.prompt_eval_count or 0, last.eval_count or 0),
        turn=turn.model_dump(exclude_none=True),
        call_ids=tuple("" for _ in calls),
        pieces=len(texts),
    )
