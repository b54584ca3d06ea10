"""The built-in provider's answers: what a model called `mock` says, as a pure function of what it was asked.

It speaks OpenAI's dialect, so that everything between a client and a real provider is exercised: it repeats the last
thing the user said, counts words as tokens, calls the tool it is forced to call, embeds text deterministically, and
fails as often as its configuration wants. Timing is the business of whoever sends the chunks.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.framing import format_data
from llmproxyd.values.contracts import Headers
from llmproxyd.values.snapshot import Mock

DEFAULT_DIMENSIONS = 64
MAX_DIMENSIONS = 4096
_MAX_CHOICES = 128
_RETRY_AFTER_S = 1
_SHARE_STEPS = 1_000_000  # shares are compared as integers: floats would make the spread uneven
_WORDS = re.compile(r"\S+\s*|\s+")
_ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
    404: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip
_EXAMPLES: Mapping[str, Any] = {
    "string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}, "null": None,
}  # fmt: skip

_JSON: Headers = {"content-type": "application/json"}
_STREAM: Headers = {"content-type": "text/event-stream"}


class MockAnswer(msgspec.Struct, frozen=True):
    """``chunks`` holds one item for a whole answer, and one per frame of a stream."""

    status: int
    headers: Headers
    chunks: tuple[bytes, ...]


def mock_answer(path: str, body: bytes, call_number: int, behaviour: Mock) -> MockAnswer:
    """Answer a call.

    path: of the request, e.g. ``/v1/chat/completions``; only its end counts. body: in OpenAI's dialect.
    call_number: counts this model's calls from 0; it decides which of them fail. Raises nothing.
    """
    if _fails(call_number, behaviour.fail_share):
        return _error(behaviour.fail_status, "The mock model was configured to fail this call.")
    answer = next((make for end, make in _PATHS.items() if path.endswith(end)), None)
    if answer is None:
        return _error(404, f"The mock provider has no {path}.")
    try:
        document = jsontext.decode(body)
    except jsontext.JSONError as error:
        return _error(400, f"The body is not JSON: {error}")
    if not isinstance(document, dict):
        return _error(400, "The body is not a JSON object.")
    digest = hashlib.sha256(body + call_number.to_bytes(8, "big")).hexdigest()[:24]
    return answer(document, digest)


def _fails(call_number: int, share: float) -> bool:
    """Whether this call is among the failing ones: as evenly spread as can be, and the same every time."""
    step = round(share * _SHARE_STEPS)
    return (call_number + 1) * step // _SHARE_STEPS > call_number * step // _SHARE_STEPS


def _error(status: int, message: str) -> MockAnswer:
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = "rate_limit_exceeded" if status == 429 else None
    headers = {**_JSON, "retry-after": str(_RETRY_AFTER_S)} if status == 429 else _JSON
    error = {"message": message, "type": kind, "param": None, "code": code}
    return MockAnswer(status, headers, (jsontext.encode({"error": error}),))


# --- chat -------------------------------------------------------------------------------------------------------


class _Said(msgspec.Struct, frozen=True):
    """One choice: words of text, or a tool call."""

    words: tuple[str, ...] = ()
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish: str = "stop"
    usage: Mapping[str, int] = msgspec.field(default_factory=dict)


def _answer_chat(document: Mapping[str, Any], digest: str) -> MockAnswer:
    said = _speak(document, digest)
    head = {"id": f"chatcmpl-mock-{digest}", "created": 0, "model": document.get("model")}
    count = _choices_wanted(document)
    if document.get("stream") is True:
        chunk_head = {**head, "object": "chat.completion.chunk"}
        return MockAnswer(200, _STREAM, tuple(_stream_chat(document, chunk_head, said, count)))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said.words), "refusal": None}
    if said.tool_calls:
        message |= {"content": None, "tool_calls": list(said.tool_calls)}
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": said.finish}
        for index in range(count)
    ]
    return _whole(
        {**head, "object": "chat.completion", "choices": choices, "usage": _times(said.usage, count)}
    )


def _speak(document: Mapping[str, Any], digest: str) -> _Said:
    asked = sum(len(text.split()) for message in _messages(document) for text in _texts(message))
    tool = _forced_tool(document)
    if tool is not None:
        call = {"id": f"call_{digest}", "type": "function", "function": _example_call(tool)}
        return _Said((), (call,), "tool_calls", _usage(asked, 1))
    text = _last_user_text(document)
    if _wants_json(document):
        text = jsontext.encode({"echo": text}).decode()
    words = tuple(_WORDS.findall(text))
    limit = _limit(document)
    kept = words if limit is None else words[:limit]
    return _Said(kept, (), "stop" if len(kept) == len(words) else "length", _usage(asked, len(kept)))


def _stream_chat(
    document: Mapping[str, Any], head: Mapping[str, Any], said: _Said, count: int
) -> Iterator[bytes]:
    for delta, finish in _deltas(said):
        for index in range(count):
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            yield _frame({**head, "choices": [choice]})
    yield from _end_stream(document, head, _times(said.usage, count))


def _deltas(said: _Said) -> Iterator[tuple[dict[str, Any], str | None]]:
    yield {"role": "assistant", "content": None if said.tool_calls else ""}, None
    for word in said.words:
        yield {"content": word}, None
    for index, call in enumerate(said.tool_calls):
        opening = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        yield {"tool_calls": [opening]}, None
        yield (
            {"tool_calls": [{"index": index, "function": {"arguments": call["function"]["arguments"]}}]},
            None,
        )
    yield {}, said.finish


def _end_stream(
    document: Mapping[str, Any], head: Mapping[str, Any], usage: Mapping[str, int]
) -> Iterator[bytes]:
    options = document.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        yield _frame({**head, "choices": [], "usage": usage})
    yield format_data(b"[DONE]")


def _forced_tool(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The function that ``tool_choice`` forces: the one it names, or any if one is required."""
    tools = document.get("tools")
    functions = [
        tool["function"]
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    choice = document.get("tool_choice")
    if choice == "required":
        return functions[0] if functions else None
    wanted = choice.get("function") if isinstance(choice, dict) else None
    name = wanted.get("name") if isinstance(wanted, dict) else None
    return next(
        (function for function in functions if name is not None and function.get("name") == name), None
    )


def _example_call(function: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that the schema allows as far as its required properties' types tell."""
    schema = function.get("parameters")
    schema = schema if isinstance(schema, dict) else {}
    properties, required = schema.get("properties"), schema.get("required")
    arguments: dict[str, Any] = {}
    for name in required if isinstance(required, list) else ():
        detail = properties.get(name) if isinstance(properties, dict) and isinstance(name, str) else None
        arguments[str(name)] = _example_value(detail if isinstance(detail, dict) else {})
    return {"name": str(function.get("name") or ""), "arguments": jsontext.encode(arguments).decode()}


def _example_value(schema: Mapping[str, Any]) -> Any:
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    kind = schema.get("type")
    return _EXAMPLES.get(kind) if isinstance(kind, str) else None


def _messages(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = document.get("messages")
    return [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []


def _texts(message: Mapping[str, Any]) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _last_user_text(document: Mapping[str, Any]) -> str:
    users = [message for message in _messages(document) if message.get("role") == "user"]
    return "\n".join(_texts(users[-1])) if users else ""


def _wants_json(document: Mapping[str, Any]) -> bool:
    wanted = document.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")


def _limit(document: Mapping[str, Any]) -> int | None:
    given = (_number(document, name) for name in ("max_completion_tokens", "max_tokens"))
    return next((limit for limit in given if limit is not None and limit >= 0), None)


def _choices_wanted(document: Mapping[str, Any]) -> int:
    return min(max(_number(document, "n") or 1, 1), _MAX_CHOICES)


# --- legacy completions and embeddings --------------------------------------------------------------------------


def _answer_completion(document: Mapping[str, Any], digest: str) -> MockAnswer:
    prompt = document.get("prompt")
    prompts = prompt if isinstance(prompt, list) and prompt else [prompt]
    texts = [text if isinstance(text, str) else "" for text in prompts]
    words = [tuple(_WORDS.findall(text))[: _limit(document)] for text in texts]
    usage = _usage(sum(len(text.split()) for text in texts), sum(map(len, words)))
    head = {
        "id": f"cmpl-mock-{digest}",
        "object": "text_completion",
        "created": 0,
        "model": document.get("model"),
    }
    if document.get("stream") is not True:
        choices = [_completion(index, "".join(said), "stop") for index, said in enumerate(words)]
        return _whole({**head, "choices": choices, "usage": usage})
    frames = [
        _frame({**head, "choices": [choice]})
        for index, said in enumerate(words)
        for choice in (*(_completion(index, word, None) for word in said), _completion(index, "", "stop"))
    ]
    return MockAnswer(200, _STREAM, (*frames, *_end_stream(document, head, usage)))


def _completion(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _answer_embedding(document: Mapping[str, Any], digest: str) -> MockAnswer:
    given = document.get("input")
    inputs = (
        given if isinstance(given, list) and not all(isinstance(item, int) for item in given) else [given]
    )
    dimensions = min(max(_number(document, "dimensions") or DEFAULT_DIMENSIONS, 1), MAX_DIMENSIONS)
    show: Callable[[list[float]], Any] = _base64 if document.get("encoding_format") == "base64" else list
    data = [
        {"object": "embedding", "index": index, "embedding": show(_unit_vector(item, dimensions))}
        for index, item in enumerate(inputs)
    ]
    words = sum(len(item.split()) if isinstance(item, str) else 1 for item in inputs)
    usage = {"prompt_tokens": words, "total_tokens": words}
    return _whole({"object": "list", "model": document.get("model"), "data": data, "usage": usage})


def _unit_vector(item: Any, dimensions: int) -> list[float]:
    """The same direction for the same text, another one for another; of length 1."""
    seed = hashlib.shake_256(jsontext.encode(item)).digest(4 * dimensions)
    raw = [number / 2**31 for number in struct.unpack(f"<{dimensions}i", seed)]
    length = math.sqrt(math.fsum(number * number for number in raw)) or 1.0
    return [number / length for number in raw]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


# --- shared -----------------------------------------------------------------------------------------------------


def _number(document: Mapping[str, Any], name: str) -> int | None:
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _usage(read: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _times(usage: Mapping[str, int], count: int) -> dict[str, int]:
    return _usage(usage["prompt_tokens"], usage["completion_tokens"] * count)


def _whole(document: Mapping[str, Any]) -> MockAnswer:
    return MockAnswer(200, _JSON, (jsontext.encode(document),))


def _frame(document: Mapping[str, Any]) -> bytes:
    return format_data(jsontext.encode(document))


_PATHS: Mapping[str, Callable[[Mapping[str, Any], str], MockAnswer]] = {
    "/chat/completions": _answer_chat,
    "/completions": _answer_completion,
    "/embeddings": _answer_embedding,
}
