from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from llmproxyd.surfaces.gemini_chat import parse_chat
from llmproxyd.surfaces.gemini_generate import GENERATE
from llmproxyd.surfaces.gemini_seals import format_signature, parse_signature
from llmproxyd.values.answer import Answer, Choice, Event, Finish, Finished, TextDelta, ThinkingDelta
from llmproxyd.values.request import Dialect, Part, Request, Text, Thinking

ANTHROPIC = Dialect.ANTHROPIC_MESSAGES
FOREIGN = [
    Thinking("hm", "c2ln", origin=ANTHROPIC),
    Thinking("", "c2ln", origin=ANTHROPIC),
    Thinking("", None, "ZW5j", ANTHROPIC),
    Thinking("", None, "ZW5j", Dialect.OPENAI_RESPONSES, "rs_1"),
]


def ask(*, thoughts: bool) -> Request:
    body = {
        "contents": [{"parts": [{"text": "hi"}]}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": thoughts}},
    }
    return GENERATE.parse_request({}, json.dumps(body).encode(), "/v1/models/m:streamGenerateContent?alt=sse")


def handed_back(parts: list[Any]) -> tuple[Part, ...]:
    (message,) = parse_chat({"contents": [{"role": "model", "parts": parts}]}).messages
    return message.parts


def whole(*parts: Part, thoughts: bool = True) -> list[Any]:
    answer = Answer("", "m", (Choice(parts, Finish.STOP),))
    body = GENERATE.format_answer(answer, ask(thoughts=thoughts), model="m", id="r", created_s=0)
    shown: list[Any] = json.loads(body)["candidates"][0]["content"]["parts"]
    return shown


def streamed(*events: Event, thoughts: bool = True) -> list[Any]:
    encoder = GENERATE.new_encoder(ask(thoughts=thoughts), model="m", id="r", created_s=0)
    data = b"".join([*map(encoder.feed, events), encoder.feed(Finished(Finish.STOP)), encoder.close()])
    pieces = [json.loads(frame[6:]) for frame in data.split(b"\n\n") if frame]
    return [part for piece in pieces for part in piece["candidates"][0]["content"]["parts"]]


@pytest.mark.parametrize("thought", FOREIGN)
def test_pitfall_23_a_thought_that_another_maker_signed_comes_back_as_it_was(thought: Thinking) -> None:
    assert handed_back(whole(thought, Text("a"))) == (thought, Text("a"))
    assert handed_back(whole(Text("a"), thought)) == (Text("a"), thought)


def test_pitfall_23_it_does_so_from_a_stream_too() -> None:
    parts = streamed(
        ThinkingDelta("h", origin=ANTHROPIC),
        ThinkingDelta("m", origin=ANTHROPIC),
        ThinkingDelta("", signature="c2ln", origin=ANTHROPIC),
        TextDelta("a"),
    )
    assert handed_back(parts) == (Thinking("hm", "c2ln", origin=ANTHROPIC), Text("a"))


def test_pitfall_23_an_encrypted_one_keeps_the_name_its_maker_gave_it() -> None:
    origin = Dialect.OPENAI_RESPONSES
    parts = streamed(
        ThinkingDelta("hm", origin=origin),
        ThinkingDelta("", encrypted="ZW5j", origin=origin, item_id="rs_1"),
        TextDelta("a"),
    )
    assert handed_back(parts) == (Thinking("hm", None, "ZW5j", origin, "rs_1"), Text("a"))


def test_signatures_are_base64_since_the_client_decodes_them() -> None:
    for thought in FOREIGN:
        base64.b64decode(format_signature(thought) or "", validate=True)


def test_the_signature_of_a_hidden_thought_is_hidden_with_it() -> None:
    events = (
        ThinkingDelta("hm", origin=ANTHROPIC),
        ThinkingDelta("", signature="c2ln", origin=ANTHROPIC),
        ThinkingDelta("", encrypted="ZW5j", origin=ANTHROPIC, new_block=True),
        TextDelta("a"),
    )
    shown = handed_back(streamed(*events, thoughts=False))
    assert shown == (Thinking("", None, "ZW5j", ANTHROPIC), Text("a"))
    assert whole(Thinking("hm", "c2ln", origin=ANTHROPIC), Text("a"), thoughts=False) == [{"text": "a"}]


@pytest.mark.parametrize("signature", [None, "b3BhcXVl", "no base64!", "ł", "bGxtcHJveHlk"])
def test_geminis_own_signatures_are_left_alone(signature: str | None) -> None:
    own = Thinking("hm", signature, origin=Dialect.GEMINI_GENERATE)
    assert parse_signature("hm", signature) == own
    assert format_signature(own) == signature
