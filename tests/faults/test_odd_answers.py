"""Answers as no specification has them: what can be understood is delivered, the rest ends at once and with an error."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Rig
from tests.faults.load import Told
from tests.faults.manners import BRISK, chat, frames_of
from tests.support.fake_provider import Exchange, Manner

FRAMES = frames_of(BRISK)
BODY = b"".join(FRAMES)
MIDDLE = len(FRAMES) // 2
UNTIL_THEN, AFTER = b"".join(FRAMES[:MIDDLE]), b"".join(FRAMES[MIDDLE:])
BYTES_PER_S = 100e6
LONG = b"data: {" + b" " * 10_000_000 + b"}\n\n"


@dataclass(frozen=True, slots=True)
class Odd:
    """``pieces`` are written one by one, as chunks unless ``raw``. ``whole``: the answer can be understood."""

    pieces: tuple[bytes, ...]
    whole: bool
    raw: bool = False


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


ODD: dict[str, Odd] = {
    "no [DONE]": Odd((b"".join(FRAMES[:-1]),), whole=True),
    "CRLF": Odd((BODY.replace(b"\n", b"\r\n"),), whole=True),
    "CR": Odd((BODY.replace(b"\n", b"\r"),), whole=True),
    "LF and CRLF by turns": Odd(
        tuple(f if n % 2 else f.replace(b"\n", b"\r\n") for n, f in enumerate(FRAMES)), whole=True
    ),
    "one byte at a time": Odd(tuple(BODY[n : n + 1] for n in range(len(BODY))), whole=True),
    "comments and unknown events between": Odd(
        tuple(b": hello\n\nevent: thing\ndata: {}\n\n" + f for f in FRAMES), whole=True
    ),
    "a NUL between two frames": Odd((UNTIL_THEN + b"\0\n\n" + AFTER,), whole=True),
    "a frame that is no JSON": Odd(
        (
            UNTIL_THEN,
            b"data: {not json\n\n" + AFTER,
        ),
        whole=False,
    ),
    "a chunk without a size": Odd((chunk(UNTIL_THEN), b"zz\r\n" + AFTER), whole=False, raw=True),
    "a chunk larger than it says": Odd((chunk(UNTIL_THEN), b"3\r\n" + AFTER), whole=False, raw=True),
    "a line of 10 MB": Odd((UNTIL_THEN, LONG, AFTER), whole=True),
    "no end after the last frame": Odd((chunk(BODY),), whole=True, raw=True),
}


def said(odd: Odd) -> Manner:
    async def manner(exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        exchange.seen.first_s = time.monotonic()
        for piece in odd.pieces:
            await (exchange.write if odd.raw else exchange.chunk)(piece)
            if not odd.whole:
                await asyncio.sleep(0.05)  # the first piece is with the client, and the answer committed
        if not odd.raw:
            await exchange.last_chunk()
        exchange.seen.wrote_s = time.monotonic()
        exchange.writer.close()

    return manner


@pytest.mark.quiet
async def test_f11_an_odd_answer_is_understood_or_ends_with_an_error(
    new_rig: NewRig, figures: Figures
) -> None:
    async with new_rig(count=1) as rig:
        for kind, odd in ODD.items():
            rig.one.manner = said(odd)
            told = await rig.ask(rig.single)
            rig.one.manner = chat(rig.pace)
            healthy = [await rig.ask(rig.single, stream=stream) for stream in (True, False)]
            assert all(h.success and h.text == rig.pace.text for h in healthy), (
                f"after {kind}: {rig.report(healthy).explain(healthy)}"
            )
            judge(kind, odd, told, rig, figures)


def judge(kind: str, odd: Odd, told: Told, rig: Rig, figures: Figures) -> None:
    assert not told.broken, (kind, told)
    assert told.ended_s is not None, kind
    wrote_s = rig.report([told]).tries[told.number][0].seen.wrote_s
    assert wrote_s is not None, kind
    reading_s = sum(map(len, odd.pieces)) / BYTES_PER_S
    figures.at_most(f"end after the provider's, {kind}", told.ended_s - wrote_s - reading_s, 0.100, "ms")
    if odd.whole:
        assert told.success, (kind, told.body[-400:])
        assert told.text == rig.pace.text, kind
    else:
        assert not told.success, kind
        assert told.error, (kind, told.body[-400:])
        assert rig.pace.text.startswith(told.text), kind


async def test_f11_fifty_of_them_at_once_take_no_memory(new_rig: NewRig, figures: Figures) -> None:
    """Streams of which each piece is but a byte, and none of which ever ends a line."""
    count = 50

    async def endless(exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        await exchange.chunk(UNTIL_THEN)
        for _ in range(400):
            await exchange.chunk(b"x")
            await asyncio.sleep(0.002)
        exchange.writer.close()

    async with new_rig(count=1) as rig:
        await asyncio.gather(*(rig.ask(rig.single) for _ in range(count)))
        before_kib = rig.daemon.resident_kib()
        rig.one.manner = endless
        told = await asyncio.gather(*(rig.ask(rig.single) for _ in range(count)))
        grown_kib = rig.daemon.resident_kib() - before_kib
    assert not any(t.success for t in told)
    figures.at_most("memory per stream", grown_kib / count, 256, "KiB")
