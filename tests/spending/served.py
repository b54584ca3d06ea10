"""Providers that keep a bill of every call: what they counted, what they told of it, how much they said."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.harness import Rig
from tests.faults.manners import MARK, Pace, frames_of, number_of
from tests.support.fake_provider import Exchange, Manner, Seen, answer, chat_body

INPUT_NANOS, CACHED_NANOS, OUTPUT_NANOS = 3_000, 300, 15_000
PRICED = "models: [{id: m, price: {input: 3, cached_input: 0.3, output: 15}}]"
"""The same prices, as an operator writes them: USD per million tokens."""

PROMPT_TOKENS = 9
"""Of a message such as ``q17``: two tokens of its own, and seven around it."""

_SSE = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens, as a provider counts them; ``cached`` are among the prompt's."""

    prompt: int
    completion: int
    cached: int = 0

    @property
    def nanos(self) -> int:
        fresh = self.prompt - self.cached
        return fresh * INPUT_NANOS + self.cached * CACHED_NANOS + self.completion * OUTPUT_NANOS

    @property
    def usage(self) -> dict[str, Any]:
        """As OpenAI's dialect says it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@dataclass(slots=True)
class Bill:
    """One call. ``told``: the usage that was written to the client; None: none was. ``said``: pieces of content that
    were written. ``refused``: an error was all there was."""

    provider: str
    number: int
    seen: Seen
    told: Counts | None = None
    said: int = 0
    refused: bool = False

    @property
    def task(self) -> str:
        """As the request's header has it."""
        return f"q{self.number}"


def odd_counts(number: int, pieces: int) -> Counts:
    """Different for each request, so that no bill can be mistaken for another."""
    prompt = 1_000 + 7 * number
    return Counts(prompt, pieces, cached=prompt // 3 if number % 2 else 0)


def plain_counts(number: int, pieces: int) -> Counts:
    """What there really is: the prompt, and a token for each piece."""
    return Counts(PROMPT_TOKENS, pieces)


class Metered:
    """One provider's till. ``counts``: what a request comes to, by its number and the pieces of its answer."""

    def __init__(self, name: str, counts: Callable[[int, int], Counts] = odd_counts) -> None:
        self.name = name
        self.bills: list[Bill] = []
        self._counts = counts

    def serving(self, pace: Pace, *, before_usage_s: float = 0.0) -> Manner:
        """Answers well. ``before_usage_s``: silence between the last piece and the usage."""

        async def manner(exchange: Exchange) -> None:
            bill = self._open(exchange)
            if not exchange.seen.json.get("stream"):
                await self._whole(exchange, bill, pace)
            elif await self._speak(exchange, bill, pace, pace.pieces):
                await self._end(exchange, bill, pace, before_usage_s)

        return manner

    def refusing(self, status: int) -> Manner:
        body = json.dumps({"error": {"message": f"status {status}", "type": "server_error"}}).encode()

        async def manner(exchange: Exchange) -> None:
            self._open(exchange).refused = True
            await answer(status, body)(exchange)

        return manner

    def cutting(self, pace: Pace, pieces: int) -> Manner:
        """Says so many pieces and closes the connection; of a whole answer it sends half."""

        async def manner(exchange: Exchange) -> None:
            bill = self._open(exchange)
            if exchange.seen.json.get("stream"):
                await self._speak(exchange, bill, pace, pieces)
            else:
                body = chat_body(pace.text)
                head = {"content-type": "application/json", "content-length": str(len(body))}
                await exchange.head(200, head)
                await exchange.write(body[: len(body) // 2])
            exchange.writer.close()

        return manner

    def resetting(self, after: asyncio.Event) -> Manner:
        """Takes the call, waits, and resets the connection."""

        async def manner(exchange: Exchange) -> None:
            self._open(exchange).refused = True
            await after.wait()
            exchange.seen.wrote_s = time.monotonic()
            exchange.reset()

        return manner

    def held(self, until: asyncio.Event, then: Manner) -> Manner:
        async def manner(exchange: Exchange) -> None:
            await until.wait()
            await then(exchange)

        return manner

    def _open(self, exchange: Exchange) -> Bill:
        bill = Bill(self.name, number_of(exchange.seen.body), exchange.seen)
        self.bills.append(bill)
        return bill

    async def _whole(self, exchange: Exchange, bill: Bill, pace: Pace) -> None:
        if await _gone_before(exchange, exchange.seen.at_s + pace.total_s):
            return
        counts = self._counts(bill.number, pace.pieces)
        document = json.loads(chat_body(pace.text)) | {"usage": counts.usage}
        bill.told, bill.said = counts, pace.pieces
        await answer(body=json.dumps(document).encode())(exchange)

    async def _speak(self, exchange: Exchange, bill: Bill, pace: Pace, pieces: int) -> bool:
        """The head and so many pieces; whether the client heard them out."""
        role, *words = (frame for frame in frames_of(pace)[: 1 + pieces])
        await exchange.head(200, _SSE)
        await exchange.chunk(role)
        due_s = exchange.seen.at_s + pace.first_s
        for word in words:
            if await _gone_before(exchange, due_s):
                return False
            due_s += pace.pause_s
            await exchange.chunk(word)
            bill.said += 1
        return True

    async def _end(self, exchange: Exchange, bill: Bill, pace: Pace, before_usage_s: float) -> None:
        finish, usage, done = frames_of(pace)[-3:]
        assert MARK not in finish
        await exchange.chunk(finish)
        if await _gone_before(exchange, time.monotonic() + before_usage_s):
            return
        counts = self._counts(bill.number, pace.pieces)
        bill.told = counts
        last = json.loads(usage[6:]) | {"usage": counts.usage}
        await exchange.chunk(b"data: " + json.dumps(last).encode() + b"\n\n")
        await exchange.chunk(done)
        await exchange.last_chunk()


async def _gone_before(exchange: Exchange, due_s: float) -> bool:
    """Waits until ``due_s``; whether the peer closed before."""
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + due_s - time.monotonic()):
            await exchange.gone.wait()
    except TimeoutError:
        return False
    return True


def metered(rig: Rig, counts: Callable[[int, int], Counts] = odd_counts) -> dict[str, Metered]:
    """A till for each of the rig's providers, all serving at its pace."""
    tills = {name: Metered(name, counts) for name in rig.fakes}
    for name, till in tills.items():
        rig.fakes[name].manner = till.serving(rig.pace)
    return tills


def all_bills(tills: dict[str, Metered]) -> Sequence[Bill]:
    return [bill for till in tills.values() for bill in till.bills]
