"""Which lane an answer takes, and what the translated one holds back until it may not be taken back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd import jsontext
from llmproxyd.adapters import ADAPTERS
from llmproxyd.exchange.lane import Lane, Voice, choose_dialect, choose_lane
from llmproxyd.framing import format_data
from llmproxyd.surfaces import SURFACES, gemini_generate
from llmproxyd.values.answer import Finish
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import NO_OVERRIDES, Dialect, Request
from llmproxyd.values.snapshot import Deployment, Quirks
from tests.exchange.build import deployment_at, voice
from tests.support.fake_provider import chat_body, chat_frames
from tests.support.records import replace

URL = "http://127.0.0.1:1/v1"
OPENAI = deployment_at(URL)
ANTHROPIC = deployment_at(URL, dialect=Dialect.ANTHROPIC_MESSAGES)
MESSAGES = "/v1/messages"


def lane_for(speaker: Voice, deployment: Deployment) -> Lane:
    return choose_lane(speaker, ADAPTERS[choose_dialect(speaker.request, deployment)], deployment)


def told(data: bytes) -> list[Any]:
    lines = [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line) if line != "[DONE]" else line for line in lines]


class TestTheChoice:
    def test_is_verbatim_where_both_speak_the_same_dialect(self) -> None:
        assert lane_for(voice(), OPENAI).name == "verbatim"
        assert lane_for(voice(MESSAGES), ANTHROPIC).name == "verbatim"

    def test_is_translated_where_they_do_not(self) -> None:
        assert lane_for(voice(MESSAGES), OPENAI).name == "translated"
        assert lane_for(voice(), ANTHROPIC).name == "translated"

    def test_is_translated_where_the_server_does_not_take_bodies_as_they_are(self) -> None:
        picky = deployment_at(URL, quirks=Quirks(verbatim=False))
        assert lane_for(voice(), picky).name == "translated"

    def test_is_made_anew_for_every_deployment(self) -> None:
        """One client, two candidates: an attempt must find nothing of the one before it."""
        speaker = voice()
        assert lane_for(speaker, OPENAI) is not lane_for(speaker, OPENAI)


class TestTheCall:
    def test_goes_out_as_it_came_but_for_the_model(self) -> None:
        speaker = voice(model="alias", stream=False, unheard_of={"kept": [1, 2]})
        call = lane_for(speaker, OPENAI).format_call(OPENAI, NO_OVERRIDES)
        assert json.loads(call.body) == {**json.loads(speaker.request.body), "model": "m"}

    def test_is_said_in_the_other_dialect_where_that_is_needed(self) -> None:
        call = lane_for(voice(MESSAGES), OPENAI).format_call(OPENAI, NO_OVERRIDES)
        assert call.url == URL + "/chat/completions"
        assert json.loads(call.body)["messages"] == [{"role": "user", "content": "hello"}]


class TestVerbatim:
    def test_the_bytes_pass(self) -> None:
        frames = chat_frames()
        lane = lane_for(voice(stream_options={"include_usage": True}), OPENAI)
        assert b"".join(lane.feed(frame).out for frame in frames) == b"".join(frames)

    def test_the_client_sees_the_name_it_asked_for(self) -> None:
        lane = lane_for(voice(model="alias"), OPENAI)
        out = b"".join(lane.feed(frame).out for frame in chat_frames())
        assert {chunk["model"] for chunk in told(out)[:-1]} == {"alias"}

    def test_a_whole_answer_passes_and_is_counted(self) -> None:
        whole = lane_for(voice(stream=False), OPENAI).whole(chat_body())
        assert whole.body == chat_body()
        assert whole.usage is not None
        assert (whole.usage.input_tokens, whole.usage.output_tokens) == (5, 3)
        assert whole.finish is Finish.STOP

    def test_a_failure_is_said_in_the_dialect(self) -> None:
        last = lane_for(voice(), OPENAI).fail(Failure(FailureKind.OVERLOADED, "first is overloaded"))
        assert told(last)[0]["error"]["message"] == "first is overloaded"


class TestTranslated:
    def test_what_comes_before_content_is_held_back(self) -> None:
        role, content, *_ = chat_frames(["Hi"])
        lane = lane_for(voice(MESSAGES), OPENAI)
        opening = lane.feed(role)
        assert (opening.out, opening.content) == (b"", False)
        said = lane.feed(content)
        assert said.content
        assert [event["type"] for event in told(said.out)][:2] == ["message_start", "content_block_start"]

    def test_what_was_held_back_is_sent_once(self) -> None:
        lane = lane_for(voice(MESSAGES), OPENAI)
        out = b"".join(lane.feed(frame).out for frame in chat_frames(["Hi", " you"])) + lane.close().out
        kinds = [event["type"] for event in told(out)]
        assert kinds.count("message_start") == 1
        assert kinds[-1] == "message_stop"

    def test_an_answer_without_content_still_begins_before_it_ends(self) -> None:
        lane = lane_for(voice(MESSAGES), OPENAI)
        frames = chat_frames([])
        out = b"".join(lane.feed(frame).out for frame in frames) + lane.close().out
        kinds = [event["type"] for event in told(out)]
        assert kinds[0] == "message_start"
        assert kinds[-1] == "message_stop"

    def test_nor_does_one_that_has_no_end_lose_its_beginning(self) -> None:
        answer = json.loads(chat_body(""))
        answer["choices"][0]["finish_reason"] = None
        progress = lane_for(voice(MESSAGES), OPENAI).whole_as_stream(json.dumps(answer).encode())
        kinds = [event["type"] for event in told(progress.out)]
        assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")

    def test_a_failure_before_content_gives_the_client_nothing(self) -> None:
        lane = lane_for(voice(MESSAGES), OPENAI)
        lane.feed(chat_frames()[0])
        failed = lane.feed(b'data: {"error": {"message": "no", "type": "server_error"}}\n\n')
        assert failed.failure is not None
        assert failed.out == b""

    def test_a_cut_stream_is_a_failure(self) -> None:
        lane = lane_for(voice(MESSAGES), OPENAI)
        for frame in chat_frames()[:2]:
            lane.feed(frame)
        cut = lane.close()
        assert cut.failure is not None
        assert cut.failure.kind is FailureKind.BAD_ANSWER
        assert not cut.done

    def test_a_whole_answer_is_said_in_the_clients_dialect(self) -> None:
        whole = lane_for(voice(MESSAGES, model="alias", stream=False), OPENAI).whole(chat_body("Hi"))
        answer = json.loads(whole.body)
        assert answer["content"][0]["text"] == "Hi"
        assert answer["model"] == "alias"
        assert whole.usage is not None
        assert whole.finish is Finish.STOP

    def test_one_that_cannot_be_read_is_a_failure(self) -> None:
        whole = lane_for(voice(MESSAGES, stream=False), OPENAI).whole(b"<html>")
        assert whole.failure is not None
        assert whole.failure.kind is FailureKind.BAD_ANSWER


@pytest.mark.parametrize("path", ["/v1/chat/completions", MESSAGES])
def test_a_whole_answer_to_who_asked_for_a_stream_becomes_one(path: str) -> None:
    progress = lane_for(voice(path), OPENAI).whole_as_stream(chat_body("Hi there"))
    assert progress.done
    assert progress.content
    assert progress.failure is None
    assert progress.usage is not None
    assert b"Hi there" in progress.out
    events = told(progress.out)
    assert events[-1] == "[DONE]" or events[-1]["type"] == "message_stop"


# --- which of OpenAI's two dialects -----------------------------------------------------------------------------

RESPONSES = "/v1/responses"
TRANSLATED = [MESSAGES, "/v1beta/models/alias:generateContent", "/api/chat"]
CHAT = "/v1/chat/completions"
BOTH = Quirks(responses=True)
FUNCTION = {"type": "function", "function": {"name": "f"}}
NEW, OLD = ("gpt-5.6", "gpt-6-sol", "gpt-10"), ("gpt-5.5", "gpt-4.1", "gpt-5", "o3", "some-model")


def at_openai(model: str, **changes: Any) -> Deployment:
    return replace(deployment_at(URL, **{"quirks": BOTH, **changes}), model=model)


def asked(path: str, **fields: Any) -> Request:
    """What a client that says hello there asks."""
    messages: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}
    own: dict[str, dict[str, Any]] = {
        RESPONSES: {"input": "hello"},
        "/v1/completions": {"prompt": "hello"},
        TRANSLATED[1]: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    }
    surface = SURFACES.get(path, gemini_generate.GENERATE)
    return surface.parse_request(
        {}, jsontext.encode({"model": "alias", **own.get(path, messages), **fields}), path
    )


class TestTheDialectAtOpenAI:
    @pytest.mark.parametrize("model", [*NEW, *OLD])
    def test_is_responses_for_who_speaks_it_whatever_the_model(self, model: str) -> None:
        assert choose_dialect(asked(RESPONSES), at_openai(model)) is Dialect.OPENAI_RESPONSES

    @pytest.mark.parametrize("path", TRANSLATED)
    @pytest.mark.parametrize("model", NEW)
    def test_is_responses_for_who_is_translated_anyway_where_the_model_is_newer(
        self, model: str, path: str
    ) -> None:
        assert choose_dialect(asked(path), at_openai(model)) is Dialect.OPENAI_RESPONSES

    @pytest.mark.parametrize("path", TRANSLATED)
    @pytest.mark.parametrize("model", OLD)
    def test_is_chat_for_them_where_it_is_not(self, model: str, path: str) -> None:
        assert choose_dialect(asked(path), at_openai(model)) is Dialect.OPENAI_CHAT

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"tools": [FUNCTION]},
            {"reasoning_effort": "high"},
            {"tools": [FUNCTION], "reasoning_effort": "none"},
            {"tools": [], "reasoning_effort": "high"},
        ],
    )
    def test_is_chat_for_a_chat_that_chat_takes(self, fields: dict[str, Any]) -> None:
        assert choose_dialect(asked(CHAT, **fields), at_openai(NEW[0])) is Dialect.OPENAI_CHAT

    @pytest.mark.parametrize("model", [*NEW, *OLD])
    def test_is_responses_for_a_chat_that_newer_models_refuse(self, model: str) -> None:
        request = asked(CHAT, tools=[FUNCTION], reasoning_effort="low")
        taken = Dialect.OPENAI_RESPONSES if model in NEW else Dialect.OPENAI_CHAT
        assert choose_dialect(request, at_openai(model)) is taken

    @pytest.mark.parametrize("path", ["/v1/completions", "/v1/messages/count_tokens"])
    def test_is_only_chosen_for_conversations(self, path: str) -> None:
        assert choose_dialect(asked(path), at_openai(NEW[0])) is Dialect.OPENAI_CHAT

    @pytest.mark.parametrize("path", [RESPONSES, *TRANSLATED])
    @pytest.mark.parametrize(
        ("changes", "taken"),
        [
            ({"api_version": "v1"}, Dialect.OPENAI_RESPONSES),
            ({"api_version": "2024-10-21"}, Dialect.OPENAI_CHAT),
            ({"quirks": Quirks()}, Dialect.OPENAI_CHAT),
        ],
        ids=["azure-v1", "azure-dated", "compatible"],
    )
    def test_is_responses_only_where_that_is_served(
        self, path: str, changes: dict[str, Any], taken: Dialect
    ) -> None:
        assert choose_dialect(asked(path), at_openai(NEW[0], **changes)) is taken


class TestAFailureAfterTheCommit:
    def test_is_told_of_the_response_the_client_has_been_hearing_of(self) -> None:
        own = {"input": "hello", "stream": True}
        speaker = replace(voice(), request=asked(RESPONSES, **own), surface=SURFACES[RESPONSES])
        lane = lane_for(speaker, at_openai(NEW[0]))
        assert lane.name == "verbatim"
        begun = {"id": "resp_theirs", "created_at": 7, "status": "in_progress", "output": []}
        events = (
            {"type": "response.created", "response": begun, "sequence_number": 0},
            {"type": "response.output_text.delta", "delta": "a", "sequence_number": 1},
        )
        sent = b"".join(lane.feed(format_data(jsontext.encode(event))).out for event in events)
        *_, last = told(sent + lane.fail(Failure(FailureKind.TIMEOUT, "too late")))
        assert (last["type"], last["sequence_number"]) == ("response.failed", 2)
        assert (last["response"]["id"], last["response"]["created_at"]) == ("resp_theirs", 7)
        assert "too late" in last["response"]["error"]["message"]

    def test_is_one_more_piece_of_an_array_that_has_begun(self) -> None:
        speaker = replace(voice(), request=asked(TRANSLATED[1]), surface=gemini_generate.STREAM_ARRAY)
        lane = lane_for(speaker, deployment_at(URL, dialect=Dialect.GEMINI_GENERATE))
        assert lane.name == "verbatim"
        sent = lane.feed(b'[{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}').out
        pieces = json.loads(sent + lane.fail(Failure(FailureKind.TIMEOUT, "too late")))
        assert [list(piece) for piece in pieces] == [["candidates"], ["error"]]
