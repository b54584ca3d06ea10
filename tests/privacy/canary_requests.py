"""A request for each part of requests that can hold a canary, in every dialect; and how each kind of them is to fail."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.privacy.canaries import canary

MAX_BODY = 64 * 1024
KEY = canary("the client's own key")
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"


@dataclass(frozen=True, slots=True)
class Asked:
    """``raw``: sent instead of ``body``."""

    path: str
    body: dict[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None

    @property
    def sent(self) -> bytes:
        return json.dumps(self.body).encode() if self.raw is None else self.raw


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


HELLO = said("user", "Hello there")


def chat(*messages: dict[str, Any], **more: Any) -> Asked:
    return Asked(CHAT, {"messages": list(messages or (HELLO,)), **more})


def with_header(name: str) -> Callable[[str], Asked]:
    return lambda word: Asked(CHAT, {"messages": [HELLO]}, {name: word})


def part(**content: Any) -> Asked:
    return chat(said("user", [{"type": "text", "text": "Look"}, content]))


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, **function}}


def called(arguments: Any, call_id: str = "c1", result: str = "done") -> Asked:
    call = {
        "id": call_id,
        "type": "function",
        "function": {"name": "look", "arguments": json.dumps(arguments)},
    }
    answered = said("tool", result, tool_call_id=call_id)
    return chat(HELLO, said("assistant", None, tool_calls=[call]), answered, tools=[tool()])


def anthropic(*messages: dict[str, Any], **more: Any) -> Asked:
    return Asked(MESSAGES, {"max_tokens": 50, "messages": list(messages or (HELLO,)), **more})


def gemini(*parts: dict[str, Any], model: str = "{model}", **more: Any) -> Asked:
    contents = [{"role": "user", "parts": list(parts or ({"text": "Hello"},))}]
    return Asked(f"/v1beta/models/{model}:generateContent", {"contents": contents, **more})


def ollama(**more: Any) -> Asked:
    return Asked("/api/chat", {"messages": [HELLO], "stream": False, **more})


def encoded(word: str) -> str:
    return base64.b64encode(word.encode() * 3).decode()


PLACES: dict[str, Callable[[str], Asked]] = {
    "user text": lambda word: chat(said("user", f"Say {word} to me")),
    "system text": lambda word: chat(said("system", word), HELLO),
    "earlier answer": lambda word: chat(HELLO, said("assistant", word), HELLO),
    "speaker's name": lambda word: chat(said("user", "Hello", name=word)),
    "text with escapes": lambda word: chat(said("user", f'"{word}"\n\\ä{word}\u2028')),
    "tool name": lambda word: chat(tools=[tool(name=word)]),
    "tool description": lambda word: chat(tools=[tool(description=word)]),
    "tool parameter": lambda word: chat(tools=[tool(parameters={"type": "object", "properties": {word: {}}})]),
    "tool choice": lambda word: chat(tools=[tool()], tool_choice={"type": "function", "function": {"name": word}}),
    "call arguments": lambda word: called({"where": word}),
    "call id": lambda word: called({}, call_id=word),
    "tool result": lambda word: called({}, result=word),
    "metadata": lambda word: chat(metadata={"note": word}),
    "metadata name": lambda word: chat(metadata={word: "note"}),
    "user field": lambda word: chat(user=word),
    "stop": lambda word: chat(stop=[word]),
    "answer schema": lambda word: chat(
        response_format={"type": "json_schema", "json_schema": {"name": word, "schema": {"type": "object"}}}
    ),
    "unknown field": lambda word: chat(**{word: 1}),
    "unknown value": lambda word: chat(frobnicate=[word]),
    "wrong type": lambda word: chat(temperature=word),
    "wrong role": lambda word: chat(said(word, "Hello")),
    "wrong part": lambda word: part(type=word),
    "image URL": lambda word: part(type="image_url", image_url={"url": f"https://pictures.example/{word}.png"}),
    "image data": lambda word: part(type="image_url", image_url={"url": f"data:image/png;base64,{encoded(word)}"}),
    "file name": lambda word: part(type="file", file={"filename": word, "file_data": "data:text/plain;base64,aGk="}),
    "file data": lambda word: part(
        type="file", file={"filename": "a", "file_data": f"data:text/plain;base64,{encoded(word)}"}
    ),
    "sound": lambda word: part(type="input_audio", input_audio={"data": encoded(word), "format": "wav"}),
    "project claim": with_header("x-llmproxyd-project"),
    "user claim": with_header("x-llmproxyd-user"),
    "task claim": with_header("x-llmproxyd-task"),
    "label": with_header("x-llmproxyd-label"),
    "deadline": with_header("x-llmproxyd-deadline"),
    "price limit": with_header("x-llmproxyd-max-cost"),
    "unknown header": with_header("x-note"),
    "program": with_header("user-agent"),
    "content type": with_header("content-type"),
    "referer": with_header("referer"),
    "origin": with_header("origin"),
    "host": with_header("host"),
    "wrong key": lambda word: Asked(CHAT, {"messages": [HELLO]}, {"authorization": f"Bearer {word}"}),
    "second key": with_header("x-goog-api-key"),
    "key in the query": lambda word: Asked(f"{CHAT}?key={word}", {"messages": [HELLO]}),
    "model": lambda word: chat(model=word),
    "query": lambda word: Asked(f"{CHAT}?note={word}", {"messages": [HELLO]}),
    "path": lambda word: Asked(f"/v1/{word}", {}),
    "malformed JSON": lambda word: Asked(CHAT, raw=b'{"messages": [' + word.encode()),
    "JSON that is no object": lambda word: Asked(CHAT, raw=json.dumps([word]).encode()),
    "too large a body": lambda word: Asked(CHAT, raw=word.encode() * (MAX_BODY // 10)),
    "invalid UTF-8": lambda word: Asked(
        CHAT, raw=b'{"messages": [{"role": "user", "content": "\xff' + word.encode() + b'"}]}'
    ),
    "half a character": lambda word: Asked(
        CHAT, raw=b'{"messages": [{"role": "user", "content": "\\ud800' + word.encode() + b'"}]}'
    ),
    "previous response": lambda word: Asked(RESPONSES, {"input": "go on", "previous_response_id": word}),
    "instructions": lambda word: Asked(RESPONSES, {"input": "Hello", "instructions": word}),
    "response input": lambda word: Asked(RESPONSES, {"input": [said("user", word)]}),
    "embedding input": lambda word: Asked("/v1/embeddings", {"input": [word]}),
    "completion prompt": lambda word: Asked("/v1/completions", {"prompt": word}),
    "Anthropic system": lambda word: anthropic(system=word),
    "Anthropic text": lambda word: anthropic(said("user", [{"type": "text", "text": word}])),
    "Anthropic block": lambda word: anthropic(said("user", [{"type": word}])),
    "Anthropic arguments": lambda word: anthropic(
        HELLO,
        said("assistant", [{"type": "tool_use", "id": "c1", "name": "look", "input": {"where": word}}]),
        said("user", [{"type": "tool_result", "tool_use_id": "c1", "content": "done"}]),
    ),
    "Anthropic user": lambda word: anthropic(metadata={"user_id": word}),
    "Gemini text": lambda word: gemini({"text": word}),
    "Gemini instruction": lambda word: gemini(systemInstruction={"parts": [{"text": word}]}),
    "Gemini data": lambda word: gemini({"inlineData": {"mimeType": "image/png", "data": encoded(word)}}),
    "Gemini field": lambda word: gemini(generationConfig={word: {}}),
    "Gemini model": lambda word: gemini(model=word),
    "Ollama text": lambda word: ollama(messages=[said("user", word)]),
    "Ollama picture": lambda word: ollama(messages=[said("user", "Look", images=[encoded(word)])]),
    "Ollama option": lambda word: ollama(options={word: 1}),
}  # fmt: skip
WRITTEN_DOWN = frozenset({"project claim", "user claim", "task claim"})
"""These name who asks and what for. They are in the log and in the ledger, as documented."""
NAMED = frozenset({"model", "Gemini model"})
"""The log has the name of the model that was asked for, as documented."""
