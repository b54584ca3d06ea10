from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.values.replay import SEAL_PREFIX, is_seal, safe_tool_id, seal_thought, unseal_thought
from llmproxyd.values.request import Dialect, Thinking

LOOSE = st.none() | st.text(max_size=20)


@given(st.text(max_size=20), LOOSE, LOOSE, st.none() | st.sampled_from(Dialect), LOOSE)
def test_a_sealed_thought_comes_back_as_it_was(
    text: str, signature: str | None, encrypted: str | None, origin: Dialect | None, item_id: str | None
) -> None:
    thought = Thinking(text, signature, encrypted, origin, item_id)
    seal = seal_thought(thought)
    assert is_seal(seal)
    assert unseal_thought(text, seal) == thought


@given(st.text(max_size=40))
def test_a_broken_seal_leaves_the_bare_text(rest: str) -> None:
    thought = unseal_thought("so", SEAL_PREFIX + "!" + rest)
    assert (thought.text, thought.signature, thought.encrypted) == ("so", None, None)


@pytest.mark.parametrize("kept", ["[]", "7", '{"o":"klingon"}', "[" * 5000, "{"])
def test_a_seal_with_anything_else_inside_leaves_the_bare_text(kept: str) -> None:
    import base64

    seal = SEAL_PREFIX + base64.urlsafe_b64encode(kept.encode()).decode()
    assert unseal_thought("so", seal) == Thinking("so")


@pytest.mark.parametrize("signature", [None, "", "EqQB", "llmproxyd", 7])
def test_no_other_signature_looks_like_a_seal(signature: object) -> None:
    assert not is_seal(signature)


@pytest.mark.parametrize("call_id", ["toolu_01A", "call-1", "a" * 64])
def test_an_id_that_fits_everywhere_is_kept(call_id: str) -> None:
    assert safe_tool_id(call_id) == call_id


@given(st.text(max_size=80))
def test_pitfall_5_every_other_id_becomes_one_that_fits_and_stays_the_same(call_id: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", safe_tool_id(call_id))
    assert safe_tool_id(safe_tool_id(call_id)) == safe_tool_id(call_id) == safe_tool_id(call_id)


def test_different_ids_stay_different() -> None:
    assert len({safe_tool_id(f"call.{n}") for n in range(100)}) == 100
