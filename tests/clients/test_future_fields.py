"""Fields that nobody knows yet, in every object there is, pass between a client and a provider of the same dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.record import VENDORS
from tests.clients.saying import name_model
from tests.clients.wire import Answered, Recorded, load, send
from tests.matrix.rig import Rig
from tests.matrix.scene import OSLO, THOUGHT, Said
from tests.matrix.upstreams import UPSTREAMS
from tests.matrix.upstreams.base import EMBED_MODEL, encode
from tests.support.fake_provider import answer, stream

FUTURE = {
    "x_future": {"deep": [1, {"Łódź": None}], "exact": 12345678901234567890, "share": 0.1, "": "\u2028"}
}
SAID = Said(("It is ", "7 °C."), THOUGHT, (OSLO,))
CUT_BYTES = 97
PAIRS = [*VENDORS.items(), ("openai_chat", "compatible"), ("openai_chat", "azure")]
EVERY_PAIR = pytest.mark.parametrize(("sdk", "provider"), PAIRS, ids=map("-".join, PAIRS))
RENAMED = {("compatible", "max_completion_tokens"): "max_tokens"}
"""Servers that copy OpenAI's dialect know the older name only."""
WITH_EVENT_TYPES = pytest.mark.parametrize("dialect", ["anthropic_messages", "openai_responses"])

JSON = (("Content-Type", "application/json"),)
COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1795000000,
    "model": "m",
    "choices": [{"text": "x", "index": 0, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
GENERATED = {
    "model": "m",
    "created_at": "2026-11-21T08:00:00Z",
    "response": "x",
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 1,
    "eval_count": 1,
}


def vectors(provider: str) -> bytes:
    embeds = UPSTREAMS[provider].embeds
    assert embeds is not None
    return embeds.write(1)


OTHER_CALLS: list[tuple[str, str, dict[str, Any], bytes]] = [
    ("compatible", "/v1/embeddings", {"model": f"compatible/{EMBED_MODEL}", "input": ["a"], "encoding_format": "float"}, vectors("compatible")),
    ("compatible", "/v1/completions", {"model": name_model("compatible"), "prompt": "a"}, encode(COMPLETION)),
    ("ollama_chat", "/api/embed", {"model": f"ollama_chat/{EMBED_MODEL}", "input": ["a"]}, vectors("ollama_chat")),
    ("ollama_chat", "/api/generate", {"model": name_model("ollama_chat"), "prompt": "a", "stream": False}, encode(GENERATED)),
    ("gemini_generate", f"/v1beta/models/{name_model('gemini_generate')}:countTokens", {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}, b'{"totalTokens": 7}'),
    ("anthropic_messages", "/v1/messages/count_tokens", {"model": name_model("anthropic_messages"), "messages": [{"role": "user", "content": "a"}]}, b'{"input_tokens": 7}'),
]  # fmt: skip
"""Provider, path, what is asked, what is answered."""


def enrich(value: Any) -> Any:
    """The same document with the future in each of its objects."""
    if isinstance(value, dict):
        return {key: enrich(item) for key, item in value.items()} | FUTURE
    return [enrich(item) for item in value] if isinstance(value, list) else value


def enrich_lines(body: bytes) -> bytes:
    """A stream whose every document is enriched; its frames stay."""
    return b"".join(_enrich_line(line) for line in body.splitlines(keepends=True))


def _enrich_line(line: bytes) -> bytes:
    prefix, brace, rest = line.partition(b"{")
    if not brace or prefix not in (b"", b"data: "):
        return line
    # Escaped throughout: Ollama's lines may not hold what Unicode takes for the end of one.
    return prefix + json.dumps(enrich(json.loads(brace + rest))).encode() + b"\n"


def documents(body: bytes) -> Iterator[Any]:
    """What a stream holds, JSON lines or server-sent events, in order."""
    for line in body.split(b"\n"):
        text = line.removeprefix(b"data: ")
        if text.startswith(b"{"):
            yield json.loads(text)


def request(sdk: str, provider: str, *, streamed: bool) -> Recorded:
    """The SDK's request with two turns and a tool, each object of it enriched."""
    recorded = load(f"sdk_{sdk}/result")
    document = recorded.json
    if not streamed and sdk == "gemini":
        target = recorded.target.replace("streamGenerateContent?alt=sse", "generateContent")
        recorded = Recorded(recorded.method, target, recorded.headers, recorded.body)
    elif not streamed:
        document = {k: v for k, v in document.items() if k != "stream_options"} | {"stream": False}
    return recorded.with_document(enrich(document)).for_model(name_model(provider))


def as_named(document: Any, model: str) -> Any:
    """With the name the client asked for, the only thing that may differ."""
    if not isinstance(document, dict):
        return document
    own = {key: model for key in ("model", "modelVersion") if key in document}
    inner = {key: as_named(document[key], model) for key in ("message", "response") if key in document}
    return {**document, **inner, **own}


def ask(rig: Rig, sdk: str, provider: str, *, streamed: bool) -> Answered:
    answered = send(rig.url, request(sdk, provider, streamed=streamed))
    assert answered.status == 200, answered.body
    return answered


def behave(rig: Rig, provider: str, body: bytes) -> None:
    pieces = [body[at : at + CUT_BYTES] for at in range(0, len(body), CUT_BYTES)]
    rig.behave(provider, stream(pieces, content_type=UPSTREAMS[provider].stream_type))


@EVERY_PAIR
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_what_a_client_sends_arrives_at_the_provider(
    rig: Rig, sdk: str, provider: str, streamed: bool
) -> None:
    upstream = UPSTREAMS[provider]
    if streamed:
        behave(rig, provider, b"".join(upstream.write_stream(SAID)))
    else:
        rig.behave(provider, answer(body=upstream.write(SAID)))
    ask(rig, sdk, provider, streamed=streamed)
    sent = request(sdk, provider, streamed=streamed).json
    model = {} if sdk == "gemini" else {"model": upstream.model}
    expected = {RENAMED.get((provider, name), name): value for name, value in sent.items()}
    assert rig.seen(provider)[-1].json == {**expected, **model}


@EVERY_PAIR
def test_what_a_provider_answers_arrives_at_the_client(rig: Rig, sdk: str, provider: str) -> None:
    said = enrich(json.loads(UPSTREAMS[provider].write(SAID)))
    rig.behave(provider, answer(body=json.dumps(said).encode()))
    answered = ask(rig, sdk, provider, streamed=False)
    assert answered.json == as_named(said, name_model(provider))


@EVERY_PAIR
def test_what_a_provider_streams_arrives_at_the_client(rig: Rig, sdk: str, provider: str) -> None:
    said = enrich_lines(b"".join(UPSTREAMS[provider].write_stream(SAID)))
    behave(rig, provider, said)
    answered = ask(rig, sdk, provider, streamed=True)
    expected = [as_named(document, name_model(provider)) for document in documents(said)]
    assert len(expected) > 2
    assert list(documents(answered.body)) == expected


@pytest.mark.parametrize(
    ("provider", "path", "body", "said"), OTHER_CALLS, ids=[row[1] for row in OTHER_CALLS]
)
def test_calls_that_do_not_chat_carry_them_too(
    rig: Rig, provider: str, path: str, body: dict[str, Any], said: bytes
) -> None:
    answer_body, document = enrich(json.loads(said)), enrich(body)
    rig.behave(provider, answer(body=json.dumps(answer_body).encode()))
    answered = send(rig.url, Recorded("POST", path, JSON).with_document(document))
    assert answered.status == 200, answered.body
    assert answered.json == as_named(answer_body, body.get("model", ""))
    model = {"model": body["model"].removeprefix(f"{provider}/")} if "model" in body else {}
    assert rig.seen(provider)[-1].json == {**document, **model}


@WITH_EVENT_TYPES
def test_an_event_of_an_unknown_type_arrives_at_the_client(rig: Rig, dialect: str) -> None:
    frames = UPSTREAMS[dialect].write_stream(SAID)
    event = {"type": "future.event", "sequence_number": len(frames), **FUTURE}
    frames.insert(-1, b"event: future.event\ndata: " + json.dumps(event).encode() + b"\n\n")
    behave(rig, dialect, b"".join(frames))
    answered = ask(rig, dialect, dialect, streamed=True)
    assert b"event: future.event\n" in answered.body
    assert list(documents(answered.body))[-2] == event
