from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.surfaces.openai_completions import SURFACE
from llmproxyd.values.answer import (
    Answer,
    Choice,
    Event,
    Failed,
    Finish,
    Finished,
    Pinged,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    UsageReported,
    Vectors,
)
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import (
    Chat,
    Dialect,
    Message,
    Operation,
    Request,
    Role,
    Sampling,
    Text,
    Thinking,
)


def ask(**document: Any) -> Request:
    body = json.dumps({"model": "m", "prompt": "once", **document}).encode()
    return SURFACE.parse_request({}, body, "/v1/completions")


def test_the_envelope_says_it_is_a_completion() -> None:
    request = ask(stream=True, max_tokens=0)
    assert (request.operation, request.surface) == (Operation.COMPLETION, "openai-completions")
    assert (request.stream, request.max_output_tokens, request.wants_usage) == (True, 0, False)


@pytest.mark.parametrize("prompt", ["once", ["once"]])
def test_a_single_text_becomes_what_a_user_says(prompt: Any) -> None:
    chat = SURFACE.parse_content(
        ask(prompt=prompt, max_tokens=5, stop=["#"], user="u", echo=False, best_of=1, suffix="")
    )
    assert chat == Chat(
        (Message(Role.USER, (Text("once"),)),), sampling=Sampling(max_tokens=5, stop=("#",)), user="u"
    )


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1, 2]], ["a"]])
def test_every_form_of_prompt_passes_the_door(prompt: Any) -> None:
    assert ask(prompt=prompt).document["prompt"] == prompt


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": ["a", {}]}, "prompt[1]"),
        ({"model": 7}, "model"),
        ({"max_tokens": -1}, "max_tokens"),
        # what only a server with this path can do
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 0}, "logprobs"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(document: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        SURFACE.parse_content(ask(**document))
    assert refused.value.failure.param == param


def test_a_whole_answer_has_the_old_form() -> None:
    choices = (Choice((Thinking("Hm."), Text("a"), Text("b")), Finish.LENGTH), Choice((), None))
    body = SURFACE.format_answer(
        Answer("", "", choices, Usage(1, 2)), ask(), model="alias", id="ours", created_s=9
    )
    document = json.loads(body)
    assert document.pop("usage")["total_tokens"] == 3
    assert document == {
        "id": "ours",
        "object": "text_completion",
        "created": 9,
        "model": "alias",
        "choices": [
            {"text": "ab", "index": 0, "logprobs": None, "finish_reason": "length"},
            {"text": "", "index": 1, "logprobs": None, "finish_reason": "stop"},
        ],
    }
    with pytest.raises(TypeError):
        SURFACE.format_answer(Vectors("m", ()), ask(), model="m", id="x", created_s=1)


def stream(*events: Event, **document: Any) -> list[Any]:
    encoder = SURFACE.new_encoder(ask(stream=True, **document), model="alias", id="ours", created_s=9)
    data = b"".join(map(encoder.feed, events)) + encoder.close()
    *frames, done, rest = data.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames if not frame.startswith(b":")]


def test_a_stream_has_the_old_form() -> None:
    events = (Started("theirs", "x", 5), ThinkingDelta("Hm."), TextDelta("a"), RefusalDelta("b"), Pinged())
    frames = stream(*events, Finished(Finish.STOP), UsageReported(Usage(1, 2)))
    assert [(frame["id"], frame["model"], frame["created"]) for frame in frames] == [
        ("theirs", "alias", 5)
    ] * 3
    assert [(f["choices"][0]["text"], f["choices"][0]["finish_reason"]) for f in frames] == [
        ("a", None),
        ("b", None),
        ("", "stop"),
    ]


def test_usage_ends_a_stream_only_if_asked_for() -> None:
    events = (TextDelta("a"), Finished(Finish.STOP), UsageReported(Usage(1, 2)))
    assert all("usage" not in frame for frame in stream(*events))
    *others, last = stream(*events, stream_options={"include_usage": True})
    assert [frame["usage"] for frame in others] == [None, None]
    assert (last["choices"], last["usage"]["prompt_tokens"]) == ([], 1)


def test_a_failure_in_the_stream_is_an_error_object() -> None:
    encoder = SURFACE.new_encoder(ask(stream=True), model="a", id="b", created_s=1)
    data = encoder.feed(Failed(Failure(FailureKind.TIMEOUT, "late")))
    assert json.loads(data.removeprefix(b"data: "))["error"]["code"] == "timeout"
    assert SURFACE.dialect is Dialect.OPENAI_CHAT
