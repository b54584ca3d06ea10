"""The lane of a provider that may see only the masked copy: it reads names, the client reads values."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from llmproxyd import jsontext
from llmproxyd.adapters import ADAPTERS
from llmproxyd.detect.hidden import Hidden
from llmproxyd.detect.masking import MaskBook
from llmproxyd.detect.pseudonyms import TAG_ALPHABET, Keyring
from llmproxyd.exchange.continuation import ContinuableLane, Seam, may_continue
from llmproxyd.exchange.lane import Lane, Voice, choose_lane
from llmproxyd.exchange.masked import UNMASKED_CODE, MaskedLane, masked_adapter
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.request import NO_OVERRIDES, Dialect
from llmproxyd.values.snapshot import Deployment
from tests.exchange.build import CHAT, deployment_at, voice
from tests.support.fake_provider import chat_body, chat_frames

URL = "http://127.0.0.1:1/v1"
MAIL, SECRET = "ann@example.com", 'pass"word\\1'
NAME = re.compile(rf"(?:EMAIL|SECRET|PHONE)_[{TAG_ALPHABET}]{{6}}")
OPENAI = deployment_at(URL)
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": f"write to {MAIL}"}]}


def book(*values: str) -> MaskBook:
    key = Keyring(b"k" * 32).key_of("local", b"conversation")
    return MaskBook(key, [Hidden("secret.x" if '"' in value else "email", value) for value in values])


def lane_for(made: MaskBook, speaker: Voice, deployment: Deployment = OPENAI) -> Lane:
    return MaskedLane(speaker, ADAPTERS[deployment.provider.dialect], made)


def sent(lane: Lane, deployment: Deployment = OPENAI) -> str:
    return lane.format_call(deployment, NO_OVERRIDES).body.decode()


def text_of(said: bytes) -> str:
    """What a client of OpenAI's chat reads in a stream."""
    lines = [line[6:] for line in said.decode().split("\n") if line.startswith("data: {")]
    deltas = [choice["delta"] for line in lines for choice in json.loads(line).get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas)


class TestTheCall:
    @pytest.mark.parametrize("dialect", sorted(ADAPTERS))
    @pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
    def test_shows_no_provider_a_value_whoever_asks(self, path: str, dialect: Dialect) -> None:
        deployment = deployment_at(URL, dialect=dialect)
        asked = {"input": ASKED["messages"], "messages": None} if "responses" in path else ASKED
        speaker = voice(path, stream=False, **asked)
        body = sent(lane_for(book(MAIL), speaker, deployment), deployment)
        assert MAIL not in body
        assert len(NAME.findall(body)) == 1

    def test_holds_nothing_of_the_body_but_what_was_masked(self) -> None:
        """Same dialect on both sides: fields that nobody knows are masked or left out, never passed on as they came."""
        speaker = voice(**ASKED, unheard_of={"deep": [MAIL]}, user=MAIL, metadata={"to": MAIL})
        assert MAIL not in sent(lane_for(book(MAIL), speaker))

    def test_masks_definitions_and_earlier_calls_of_tools(self) -> None:
        arguments = json.dumps({"to": MAIL, "key": SECRET})
        call = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": arguments}}
        tool = {
            "name": "send",
            "description": f"by {MAIL}",
            "parameters": {"type": "object", "default": MAIL},
        }
        speaker = voice(
            messages=[
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": f"{MAIL} has {SECRET}"},
            ],
            tools=[{"type": "function", "function": tool}],
        )
        body = json.loads(sent(lane_for(book(MAIL, SECRET), speaker)))
        said = json.loads(body["messages"][1]["tool_calls"][0]["function"]["arguments"])
        assert body["messages"][2]["content"] == f"{said['to']} has {said['key']}"
        assert body["tools"][0]["function"]["description"] == f"by {said['to']}"
        assert "ann@" not in jsontext.encode(body).decode()

    def test_is_refused_where_a_value_cannot_be_masked(self) -> None:
        tool = {"name": "dial", "parameters": {"type": "object", "properties": {"n": {"const": 13800138000}}}}
        speaker = voice(
            messages=[{"role": "user", "content": "13800138000"}],
            tools=[{"type": "function", "function": tool}],
        )
        with pytest.raises(BadRequest) as caught:
            sent(lane_for(book("13800138000"), speaker))
        failure = caught.value.failure
        assert failure.code == UNMASKED_CODE
        assert "first may see this request only masked" in failure.message
        assert "138" not in failure.message

    def test_is_refused_where_a_header_that_is_passed_on_shows_a_value(self) -> None:
        speaker = voice("/v1/messages", **ASKED)
        request = speaker.surface.parse_request(
            {"anthropic-beta": MAIL}, speaker.request.body, "/v1/messages"
        )
        far = deployment_at(URL, dialect=Dialect.ANTHROPIC_MESSAGES)
        telling = Voice(request, speaker.surface, "m", "req_1", 0)
        assert MAIL in request.headers.values()
        with pytest.raises(BadRequest, match="cannot be masked"):
            sent(lane_for(book(MAIL), telling, far), far)

    def test_is_refused_for_texts_to_be_embedded(self) -> None:
        speaker = voice("/v1/embeddings", stream=False, input=MAIL, messages=None)
        with pytest.raises(BadRequest, match="only conversations"):
            sent(lane_for(book(MAIL), speaker))

    def test_never_takes_the_verbatim_lane(self) -> None:
        adapter = masked_adapter(ADAPTERS[Dialect.OPENAI_CHAT], book(MAIL))
        assert choose_lane(voice(), adapter, OPENAI).name == "translated"


class TestTheAnswer:
    def test_is_restored_wherever_it_is_cut(self) -> None:
        made = book(MAIL, SECRET)
        text = made.mask_text(f"To {MAIL}: {SECRET}, {MAIL}.")
        for place in range(len(text) + 1):
            lane = lane_for(made, voice(**ASKED))
            frames = chat_frames([piece for piece in (text[:place], text[place:]) if piece])
            out = b"".join([*(lane.feed(frame).out for frame in frames), lane.close().out])
            assert text_of(out) == f"To {MAIL}: {SECRET}, {MAIL}."

    def test_is_restored_byte_by_byte(self) -> None:
        made = book(MAIL)
        lane = lane_for(made, voice(**ASKED))
        raw = b"".join(chat_frames([made.mask_text(MAIL), " EMAIL_"]))
        out = b"".join(lane.feed(raw[i : i + 1]).out for i in range(len(raw))) + lane.close().out
        assert text_of(out) == f"{MAIL} EMAIL_"

    def test_is_restored_in_one_piece_and_as_a_stream_of_one_piece(self) -> None:
        made = book(SECRET)
        body = chat_body(f"it is {made.mask_text(SECRET)}")
        whole = lane_for(made, voice(stream=False, **ASKED)).whole(body)
        assert json.loads(whole.body)["choices"][0]["message"]["content"] == f"it is {SECRET}"
        assert whole.finish is Finish.STOP
        progress = lane_for(made, voice(**ASKED)).whole_as_stream(body)
        assert text_of(progress.out) == f"it is {SECRET}"

    def test_in_a_tools_arguments_stays_json(self) -> None:
        made = book(SECRET)
        call = {"name": "login", "arguments": json.dumps({"key": made.mask_text(SECRET)})}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": call}],
        }
        body = jsontext.encode(
            {
                "id": "x",
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            }
        )
        whole = lane_for(made, voice(stream=False, **ASKED)).whole(body)
        (made_call,) = json.loads(whole.body)["choices"][0]["message"]["tool_calls"]
        assert json.loads(made_call["function"]["arguments"]) == {"key": SECRET}

    def test_that_is_structured_stays_json(self) -> None:
        made = book(SECRET)
        lane = lane_for(made, voice(stream=False, response_format={"type": "json_object"}, **ASKED))
        sent(lane)
        whole = lane.whole(chat_body(json.dumps({"key": made.mask_text(SECRET)})))
        assert json.loads(json.loads(whole.body)["choices"][0]["message"]["content"]) == {"key": SECRET}

    def test_that_cannot_be_read_is_a_failure_as_ever(self) -> None:
        whole = lane_for(book(MAIL), voice(stream=False, **ASKED)).whole(b"<html>")
        assert whole.failure is not None
        assert whole.failure.kind is FailureKind.BAD_ANSWER

    def test_of_another_requests_names_is_passed_on_as_it_is(self) -> None:
        name = book(MAIL).mask_text(MAIL)
        lane = lane_for(book(SECRET), voice(**ASKED))
        out = b"".join([*(lane.feed(frame).out for frame in chat_frames([name])), lane.close().out])
        assert text_of(out) == name


def test_a_broken_answer_is_taken_up_in_names_again() -> None:
    made = book(MAIL)
    adapter = masked_adapter(ADAPTERS[Dialect.OPENAI_CHAT], made)
    first = ContinuableLane(voice(**ASKED), adapter)
    first.format_call(OPENAI, NO_OVERRIDES)
    out = b"".join(first.feed(frame).out for frame in chat_frames([f"Dear {made.mask_text(MAIL)}, "])[:2])
    assert text_of(out) == f"Dear {MAIL}, "
    assert may_continue(first)
    second = Seam(voice(**ASKED), first).new_lane(adapter)
    body = sent(second)
    assert MAIL not in body
    assert json.loads(body)["messages"][-2]["content"] == f"Dear {made.mask_text(MAIL)}, "
    rest = b"".join(second.feed(frame).out for frame in chat_frames([f"or {made.mask_text(MAIL)}"]))
    assert text_of(rest) == f"or {MAIL}"
