"""A leave to send cannot be made, moved or raised by anybody but the decision."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest

from llmproxyd.values.clearance import Clearance, ConstantCall, NotCleared, constant_call, grant, require
from llmproxyd.values.contracts import Call
from tests.routing.build import deployment, provider
from tests.support.records import replace

OUTSIDE = provider("openai", clearance=1)
GPT = deployment("openai/gpt", OUTSIDE)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_label_within_the_clearance_is_let_through(rank: int) -> None:
    require(grant(GPT, rank), GPT)


@pytest.mark.parametrize("rank", [2, 3, 99])
def test_a_label_beyond_it_is_never_granted(rank: int) -> None:
    with pytest.raises(NotCleared, match="openai/gpt may see labels up to rank 1"):
        grant(GPT, rank)


def test_nobody_makes_one_by_hand() -> None:
    with pytest.raises(NotCleared):
        Clearance(GPT.key, 0, object())
    with pytest.raises(NotCleared):
        ConstantCall(Call("POST", "http://openai.example/v1", {}, b"text", False), OUTSIDE.identity, object())


def test_it_is_neither_changed_nor_copied_nor_written_down() -> None:
    given = grant(GPT, 1)
    with pytest.raises(FrozenInstanceError):
        given.label_rank = 0  # type: ignore[misc]
    with pytest.raises((ValueError, NotCleared)):
        replace(given, deployment="another")
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(NotCleared):
            way(given)


def test_something_that_looks_like_one_is_none() -> None:
    class Alike:
        deployment = GPT.key
        label_rank = 0

    with pytest.raises(NotCleared):
        require(Alike(), GPT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        Call("POST", f"{OUTSIDE.base_url}/models", {}, b"", False),
        Call("GET", f"{OUTSIDE.base_url}/models", {}, b"a client's words", False),
        Call("GET", f"{OUTSIDE.base_url}/models", {}, b"", True),
        Call("GET", "http://elsewhere.example/v1/models", {}, b"", False),
        Call("GET", "https://openai.example/v1/models", {}, b"", False),
    ],
    ids=["method", "body", "stream", "host", "scheme"],
)
def test_a_probe_can_carry_nothing_of_a_clients(call: Call) -> None:
    with pytest.raises(NotCleared):
        constant_call(call, OUTSIDE)


def test_an_ordinary_probe_is_one() -> None:
    call = Call("GET", f"{OUTSIDE.base_url}/models", {"authorization": "Bearer k"}, b"", False)
    assert constant_call(call, OUTSIDE).call is call
