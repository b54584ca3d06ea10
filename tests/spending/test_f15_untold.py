"""F15, the other side: providers that never say what they used. Every frame counts, wherever the wire cuts it."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.manners import Pace, frames_of, stream_body
from tests.spending.audit import rows_of
from tests.spending.clients import ask, state_dir
from tests.spending.served import PRICED, PROMPT_TOKENS
from tests.support.fake_provider import Exchange, Manner

LONG = Pace(first_s=0.0, pieces=300, pause_s=0.0)


def in_slices(pace: Pace, size: int) -> Manner:
    """The whole answer but its usage, written so many bytes at a time."""
    *frames, _, done = frames_of(pace)
    body = stream_body((*frames, done))

    async def manner(exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for at in range(0, len(body), size):
            await exchange.write(body[at : at + size])
            await asyncio.sleep(0)

    return manner


@pytest.mark.parametrize("size", [151, 1_000, 1 << 20])
async def test_f15_an_answer_without_usage_is_estimated_by_its_frames(
    new_rig: NewRig, size: int, figures: Figures
) -> None:
    async with new_rig(provider=PRICED, count=1) as rig:
        rig.one.manner = in_slices(LONG, size)
        told = await ask(rig)
    assert told.text == LONG.text
    [row] = rows_of(state_dir(rig))
    assert (row.outcome, row.estimated) == ("ok", 1)
    served = PROMPT_TOKENS + LONG.pieces
    missed = abs(row.input + row.output - served) / served
    figures.at_most(f"no usage, {size} bytes a write: error", missed, 0.02, "%", repr(row))
