"""Providers that say what cannot be: the answer is served, what it cost is marked as disputed and never negative."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.faults.conftest import NewRig
from tests.support.fake_provider import Manner, answer, chat_body, chat_frames, stream

WORDS = ["w0~ ", "w1~ ", "w2~ "]
PRICED = "models: [{id: m, price: {input: 1.0, output: 2.0}}]"


def usage(prompt: int, completion: int, total: int | None = None, **more: Any) -> dict[str, Any]:
    total = prompt + completion if total is None else total
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **more}


LIES: dict[str, dict[str, Any]] = {
    "zero": usage(0, 0),
    "less than nothing": usage(-5, -3),
    "more than was said": usage(5, 1_000_000),
    "more cached than read": usage(5, 3, prompt_tokens_details={"cached_tokens": 500}),
}


def whole(told: dict[str, Any]) -> Manner:
    return answer(body=chat_body("".join(WORDS), **told))


def streamed(told: dict[str, Any], *, middle: bool = False) -> Manner:
    frames = chat_frames(WORDS)
    lie = json.loads(frames[-2][6:]) | {"usage": told}
    rest = [*frames[:-2], frames[-1]]
    rest.insert(2 if middle else -1, b"data: " + json.dumps(lie).encode() + b"\n\n")
    return stream(rest)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "whole"])
async def test_f32_usage_that_cannot_be_is_disputed(new_rig: NewRig, lie: str, is_stream: bool) -> None:
    async with new_rig(count=1, provider=PRICED) as rig:
        rig.one.manner = streamed(LIES[lie]) if is_stream else whole(LIES[lie])
        told = await rig.ask(rig.single, stream=is_stream)
        entry = await rig.daemon.logged("exchange")
    assert told.success, told
    assert told.text == "".join(WORDS)
    assert entry.get("usage_disputed"), entry
    assert min(entry["input_tokens"], entry["output_tokens"], entry["cost_nanos"]) > 0


async def test_f32_honest_usage_in_an_odd_place_is_believed(new_rig: NewRig) -> None:
    async with new_rig(count=1, provider=PRICED) as rig:
        rig.one.manner = streamed(usage(5, 6), middle=True)
        told = await rig.ask(rig.single)
        entry = await rig.daemon.logged("exchange")
    assert told.success, told
    assert told.text == "".join(WORDS)
    assert (entry["input_tokens"], entry["output_tokens"]) == (5, 6)
    assert not entry.get("usage_disputed"), entry


async def test_f32_two_reasons_to_finish_are_one_end(new_rig: NewRig) -> None:
    frames = chat_frames(WORDS)
    async with new_rig(count=1, provider=PRICED) as rig:
        rig.one.manner = stream([*frames[:-2], frames[-3].replace(b'"stop"', b'"length"'), *frames[-2:]])
        told = await rig.ask(rig.single)
        entry = await rig.daemon.logged("exchange")
    assert told.success, told
    assert told.text == "".join(WORDS)
    assert told.body.count(b"[DONE]") == 1
    assert entry["ending"] == "served"
