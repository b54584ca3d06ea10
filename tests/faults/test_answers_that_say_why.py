"""Refusals with a reason: what lies in the request, the key or the size is not tried where it must fail again."""

from __future__ import annotations

import json

import pytest

from tests.faults.conftest import NewRig
from tests.faults.load import Load
from tests.support.fake_provider import Manner, answer

ONE = Load(100.0, 1)


def error(status: int, code: str, message: str) -> Manner:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": code}}
    return answer(status, json.dumps(body).encode())


TOO_LONG = error(400, "context_length_exceeded", "This model's maximum context length is 8192 tokens.")
AGAINST_POLICY = error(400, "content_filter", "The response was filtered.")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_f12_too_long_a_request_goes_where_more_fits(new_rig: NewRig, stream: bool) -> None:
    windows = {"one": "8_192", "two": "8_192", "three": "128_000"}
    entries = {
        name: f"models: [{{id: m, price: free, context_window: {window}}}]"
        for name, window in windows.items()
    }
    async with new_rig(providers=entries) as rig:
        rig.one.manner = rig.two.manner = TOO_LONG
        told = await rig.ask(ONE, stream=stream)
    assert told.success, told
    assert told.text == rig.pace.text
    assert {name: len(fake.seen) for name, fake in rig.fakes.items()} == {"one": 1, "two": 0, "three": 1}


async def test_f12_what_is_against_a_policy_is_not_asked_elsewhere(new_rig: NewRig) -> None:
    async with new_rig() as rig:
        rig.one.manner = AGAINST_POLICY
        told = await rig.ask(ONE, stream=False)
    assert told.status == 400
    assert told.error is not None
    assert {name: len(fake.seen) for name, fake in rig.fakes.items()} == {"one": 1, "two": 0, "three": 0}


async def test_f12_unless_the_operator_wants_it_asked_elsewhere(new_rig: NewRig) -> None:
    routing = "version: 1\nmodels: {{careful: [{models}]}}\nfallback: {{on: [content_refused]}}\n"
    async with new_rig(routing=routing) as rig:
        rig.one.manner = AGAINST_POLICY
        told = await rig.ask(ONE, stream=False)
    assert told.success, told
    assert {name: len(fake.seen) for name, fake in rig.fakes.items()} == {"one": 1, "two": 1, "three": 0}
