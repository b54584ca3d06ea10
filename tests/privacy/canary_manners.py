"""A provider that repeats what it was asked wherever it can: in refusals of every status, heads, broken and whole answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.support.fake_provider import Exchange, Manner, answer, chat_body, good_chat, hang, reset, stream

STATUSES = (400, 402, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)
_WORD = re.compile(r"Nary[0-9a-f]{20}")
_TO_KEEP = re.compile(r'"temperature": ?0\b')
Echo = Callable[[str, str], Manner]
"""(a canary out of the request, all of the request) -> what to do."""


def refusing(status: int) -> Echo:
    def in_json(word: str, text: str) -> Manner:
        error = {"message": f"bad: {text}", "type": word, "code": word, "param": word, "status": word}
        more = {"details": [{"reason": word, "quotaId": word}], "metadata": {"error_type": word, "raw": text}}
        return answer(
            status, json.dumps({"error": {**error, **more}}).encode(), x_error=word, retry_after_ms="1"
        )

    return in_json


def raw(*pieces: bytes) -> Manner:
    async def manner(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.write(piece)
        exchange.writer.close()

    return manner


def frame(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def delta(word: str, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
    return frame(
        {
            "id": word,
            "object": "chat.completion.chunk",
            "created": 1,
            "model": word,
            "choices": [choice],
            **more,
        }
    )


def whole(word: str, **fields: Any) -> bytes:
    return json.dumps(json.loads(chat_body("Good.")) | fields).encode()


SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

ECHOES: dict[str, Echo] = {
    **{f"status {status}": refusing(status) for status in STATUSES},
    "a text instead of JSON": lambda word, text: answer(500, f"<html>{text}</html>".encode(), "text/html"),
    "an error that is a text": lambda word, text: answer(503, json.dumps({"error": text}).encode()),
    "an error in an array": lambda word, text: answer(503, json.dumps([{"error": {"message": text, "status": word}}]).encode()),
    "an error with status 200": lambda word, text: answer(body=json.dumps({"error": {"message": text, "code": word}}).encode()),
    "a head that is no HTTP": lambda word, text: raw(f"{word} {word} {word}\r\n\r\n".encode()),
    "a status that is a word": lambda word, text: raw(f"HTTP/1.1 {word} {word}\r\n\r\n".encode()),
    "a reason": lambda word, text: raw(f"HTTP/1.1 500 {word}\r\ncontent-length: 0\r\n\r\n".encode()),
    "a header without a value": lambda word, text: raw(f"HTTP/1.1 500 No\r\n{word}\r\n\r\n".encode()),
    "a length that is a word": lambda word, text: raw(f"HTTP/1.1 500 No\r\ncontent-length: {word}\r\n\r\n".encode()),
    "a pause that is a word": lambda word, text: answer(429, b"{}", retry_after=word),
    "an encoding that is a word": lambda word, text: answer(body=text.encode(), content_encoding=word),
    "no gzip": lambda word, text: answer(body=text.encode(), content_encoding="gzip"),
    "a chunk that is a word": lambda word, text: raw(SSE, f"{word}\r\n{word}\r\n".encode()),
    "no JSON": lambda word, text: answer(body=text.encode() + b"}"),
    "nothing but a text": lambda word, text: answer(body=json.dumps(text).encode()),
    "choices that are a text": lambda word, text: answer(body=whole(word, choices=word)),
    "choices by name": lambda word, text: answer(body=whole(word, choices={word: word})),
    "vectors that are words": lambda word, text: answer(body=json.dumps({"data": [{"embedding": [word]}]}).encode()),
    "usage that is a text": lambda word, text: answer(body=whole(word, usage={"prompt_tokens": word, word: word})),
    "usage that cannot be": lambda word, text: answer(body=whole(word, usage={"prompt_tokens": -5}, id=word)),
    "its own names": lambda word, text: answer(body=whole(word, id=word, model=word, system_fingerprint=word)),
    "an end that is a word": lambda word, text: answer(
        body=whole(word, choices=[{"index": 0, "message": {"role": word, "content": None}, "finish_reason": word}])
    ),
    "an error in a stream": lambda word, text: stream([frame({"error": {"message": text, "type": word, "code": word}})]),
    "an error after content": lambda word, text: stream([delta(word), frame({"error": {"message": text, "code": word}})]),
    "a frame that is no JSON": lambda word, text: stream([delta(word), frame(b"{" + word.encode())]),
    "a frame of another form": lambda word, text: stream([frame({"choices": word, "usage": word})]),
    "a frame of another form after content": lambda word, text: stream([delta(word), frame({"choices": [{"delta": word}]})]),
    "an event that nobody knows": lambda word, text: stream([f"event: {word}\nid: {word}\n\n".encode(), frame({"type": word})]),
    "a cut": lambda word, text: stream([delta(word)] * 3, cut_after=2),
    "a cut before content": lambda word, text: stream([delta("")] * 3, cut_after=1),
    "a length that is not kept": lambda word, text: raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n" + text.encode()),
    "silence": lambda word, text: hang,
    "a reset": lambda word, text: reset,
}  # fmt: skip
RARE = frozenset({"silence", "a pause that is a word", "status 402"})
"""Each takes as long as a timer, or makes a pause."""


class Parrot:
    """The manner of a provider that repeats what it was asked, each time in another way. ``told``: how often in each.

    Where the answer may be kept it repeats nothing: an answer is kept as it is, but nothing of its request beside it.
    """

    def __init__(self, seed: int) -> None:
        self._names = _turns(Random(seed))
        self.told: dict[str, int] = {}

    async def __call__(self, exchange: Exchange) -> None:
        text = exchange.seen.body.decode("utf-8", "replace")
        if _TO_KEEP.search(text):
            await (good_chat if exchange.seen.path.endswith("/chat/completions") else reset)(exchange)
            return
        name = next(self._names)
        self.told[name] = self.told.get(name, 0) + 1
        found = _WORD.search(text + exchange.seen.path)
        await ECHOES[name](found[0] if found else "nobody", text)(exchange)


def _turns(random: Random) -> Iterator[str]:
    number = 0
    while True:
        names = [name for name in ECHOES if name not in RARE or number % 10 == 0]
        random.shuffle(names)
        yield from names
        number += 1
