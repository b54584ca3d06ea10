"""How the providers of the fault table behave, well or badly. All speak OpenAI's chat dialect."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache, partial
from itertools import cycle
from random import Random
from typing import Any

from tests.support.fake_provider import Exchange, Manner, answer, chat_body, chat_frames

MARK = b"~"
"""In every piece of content and nowhere else on the wire: who sees it has seen content."""

_NUMBER = re.compile(rb'"q(\d+)"')
_SSE = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
_ROLE_ONLY = chat_frames([])[0]


@dataclass(frozen=True, slots=True)
class Pace:
    """How a healthy provider speaks: seconds to the first piece, number of pieces, seconds between two."""

    first_s: float = 0.100
    pieces: int = 60
    pause_s: float = 0.015

    @property
    def text(self) -> str:
        """The whole answer. No piece is like another, so nothing can be lost or said twice unseen."""
        return "".join(self.words)

    @property
    def words(self) -> list[str]:
        return [f"w{number}~ " for number in range(self.pieces)]

    @property
    def total_s(self) -> float:
        return self.first_s + (self.pieces - 1) * self.pause_s


TABLE = Pace()
"""As the table has it: 100 ms, then 60 tokens at 15 ms."""
BRISK = Pace(first_s=0.030, pieces=20, pause_s=0.003)
"""The same for the short forms."""


def number_of(body: bytes) -> int:
    """Which request of the load it is."""
    found = _NUMBER.search(body)
    return int(found[1]) if found else -1


@cache
def frames_of(pace: Pace, said: int = 0) -> tuple[bytes, ...]:
    """The frames of an answer whose first ``said`` characters another provider has already spoken."""
    left, words = said, []
    for word in pace.words:
        words.append(word[left:])
        left = max(0, left - len(word))
    return tuple(chat_frames([word for word in words if word]))


def chat(pace: Pace) -> Manner:
    """A healthy provider. One that is shown the beginning of its answer says the rest."""

    async def manner(exchange: Exchange) -> None:
        asked = exchange.seen.json
        said = _already_said(asked, pace)
        if asked.get("stream"):
            await _stream(exchange, pace, frames_of(pace, said))
            return
        await _until(exchange.seen.at_s + pace.total_s)
        exchange.seen.first_s = time.monotonic()
        await answer(body=chat_body(pace.text[said:]))(exchange)

    return manner


def _already_said(asked: dict[str, Any], pace: Pace) -> int:
    """How much of the answer stands in the request's last turn of the assistant."""
    for message in reversed(asked["messages"]):
        text = message.get("content")
        if message["role"] == "assistant" and isinstance(text, str) and pace.text.startswith(text):
            return len(text)
    return 0


async def _stream(exchange: Exchange, pace: Pace, frames: tuple[bytes, ...]) -> None:
    role, *rest = frames
    await exchange.head(200, _SSE)
    await exchange.chunk(role)
    due_s = exchange.seen.at_s + pace.first_s
    for frame in rest:
        if MARK in frame:
            await _until(due_s)
            due_s += pace.pause_s
            exchange.seen.first_s = exchange.seen.first_s or time.monotonic()
        await exchange.chunk(frame)
    await exchange.last_chunk()


async def _until(due_s: float) -> None:
    await asyncio.sleep(max(0.0, due_s - time.monotonic()))


def refusal(status: int, **headers: str) -> Manner:
    """Answers at once, with nothing but an error."""
    body = json.dumps({"error": {"message": f"status {status}", "type": "server_error"}}).encode()
    return answer(status, body, **headers)


def cut(pace: Pace, *, after_bytes: int) -> Manner:
    """A stream whose connection closes after so many bytes of its body, wherever that is. Whole answers likewise."""

    async def manner(exchange: Exchange) -> None:
        await _until(exchange.seen.at_s + pace.first_s)
        if exchange.seen.json.get("stream"):
            body = stream_body(frames_of(pace, _already_said(exchange.seen.json, pace)))
            await exchange.head(200, _SSE)
        else:
            body = chat_body(pace.text)
            await exchange.head(200, {"content-type": "application/json", "content-length": str(len(body))})
        exchange.seen.first_s = time.monotonic()
        await exchange.write(body[:after_bytes])
        exchange.writer.close()

    return manner


def stream_body(frames: tuple[bytes, ...]) -> bytes:
    """A whole chunked body, as it is on the wire."""
    return b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames) + b"0\r\n\r\n"


def cut_after(pace: Pace, pieces: int) -> Manner:
    """At the usual pace, until ``pieces`` have been said; then the connection closes without an end."""
    return partial(_partly, pace, pieces, False)


def stall_after(pace: Pace, pieces: int) -> Manner:
    """At the usual pace, until ``pieces`` have been said; then nothing more, for as long as the peer waits."""
    return partial(_partly, pace, pieces, True)


async def _partly(pace: Pace, pieces: int, stalls: bool, exchange: Exchange) -> None:
    if not exchange.seen.json.get("stream"):
        await (exchange.gone.wait() if stalls else _half_a_body(exchange, pace))
        return
    said = _already_said(exchange.seen.json, pace)
    frames = frames_of(pace, said)[: pieces + 1]
    role, *rest = frames
    await exchange.head(200, _SSE)
    await exchange.chunk(role)
    due_s = exchange.seen.at_s + pace.first_s
    for frame in rest:
        await _until(due_s)
        due_s += pace.pause_s
        exchange.seen.first_s = exchange.seen.first_s or time.monotonic()
        await exchange.chunk(frame)
    if stalls:
        await exchange.gone.wait()
    else:
        exchange.writer.close()


async def _half_a_body(exchange: Exchange, pace: Pace) -> None:
    await _until(exchange.seen.at_s + pace.first_s)
    body = chat_body(pace.text)
    await exchange.head(200, {"content-type": "application/json", "content-length": str(len(body))})
    await exchange.write(body[: len(body) // 2])
    exchange.writer.close()


def pinging(first_s: float, *, every_s: float, pace: Pace) -> Manner:
    """Headers and the role at once, then signs of life, and the first content only after ``first_s``."""

    async def manner(exchange: Exchange) -> None:
        if not exchange.seen.json.get("stream"):
            await asyncio.wait_for(exchange.gone.wait(), first_s)
            return
        await exchange.head(200, _SSE)
        await exchange.chunk(_ROLE_ONLY)
        while time.monotonic() < exchange.seen.at_s + first_s and not exchange.gone.is_set():
            await asyncio.sleep(every_s)
            await exchange.chunk(b": ping\n\n")
        if not exchange.gone.is_set():
            await _stream_rest(exchange, pace)

    return manner


async def _stream_rest(exchange: Exchange, pace: Pace) -> None:
    for frame in frames_of(pace)[1:]:
        exchange.seen.first_s = exchange.seen.first_s or time.monotonic()
        await exchange.chunk(frame)
    await exchange.last_chunk()


def sometimes(share: float, bad: Manner, good: Manner, *, seed: int) -> Manner:
    """``bad`` for a ``share`` of the calls, drawn at random; for the same requests every time for the same seed."""
    calls: Counter[int] = Counter()

    async def manner(exchange: Exchange) -> None:
        number = number_of(exchange.seen.body)
        calls[number] += 1
        drawn = Random(f"{seed}/{number}/{calls[number]}").random()
        await (bad if drawn < share else good)(exchange)

    return manner


def by_turns(*manners: Manner) -> Manner:
    """Each in turn, over and over."""
    turns = cycle(manners)

    async def manner(exchange: Exchange) -> None:
        await next(turns)(exchange)

    return manner
