"""Claude Code opens a session: a probe, the list of models, a question, the tool's result, and a count of tokens."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.claude_code import next_turn, read, read_events
from tests.clients.saying import TOO_LONG, break_off, heard, name_model, say, use
from tests.clients.wire import Answered, Recorded, load, send
from tests.matrix.rig import Rig
from tests.matrix.scene import Said, leaves
from tests.matrix.upstreams import UPSTREAMS
from tests.support.fake_provider import answer

OWN = "anthropic_messages"
OTHERS = ["compatible", "gemini_generate", "ollama_chat", "cohere_chat"]
EVERY_PROVIDER = pytest.mark.parametrize("provider", [OWN, *OTHERS])
EVERY_OTHER = pytest.mark.parametrize("provider", OTHERS)

QUESTION = "How many lines has README.md in Łódź's project?"
CALL = use("call_1", command="wc -l 'Łódź/README.md'", timeout=5000)
RESULT = "42 Łódź/README.md"
TEXT = ("It has ", "42 lines.")
ONLY_ANTHROPICS = {
    "x-anthropic-billing-header", "cache_control", "defer_loading", "eager_input_streaming", "context_management",
    "clear_thinking_20251015",
}  # fmt: skip


def ask(rig: Rig, provider: str, said: Said, recorded: Recorded) -> Answered:
    say(rig, provider, said, tool="Bash")
    return send(rig.url, recorded.for_model(name_model(provider)))


def opening() -> Recorded:
    return load("claude_code/opening")


# --- before anything is asked ---------------------------------------------------------------------------------------


def test_the_probe_is_answered_at_once(rig: Rig) -> None:
    answered = send(rig.url, load("claude_code/probe"))
    assert (answered.status, answered.body) == (200, b"")


def test_the_models_come_in_anthropics_form(rig: Rig) -> None:
    answered = send(rig.url, load("claude_code/models"))
    assert answered.status == 200
    page = answered.json
    assert {"auto"} <= {model["id"] for model in page["data"]}
    assert {model["type"] for model in page["data"]} == {"model"}
    assert all(model["display_name"] and model["created_at"] for model in page["data"])
    assert page["has_more"] is False
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])


# --- a question, a tool, an answer ----------------------------------------------------------------------------------


@EVERY_PROVIDER
def test_a_tool_call_and_its_result(rig: Rig, provider: str) -> None:
    first = read(ask(rig, provider, Said(("Let me count.",), "", (CALL,)), opening()))
    assert first.text == "Let me count."
    assert [(call["name"], call["input"]) for call in first.calls] == [
        ("Bash", {"command": "wc -l 'Łódź/README.md'", "timeout": 5000})
    ]
    assert (first.stop_reason, first.model) == ("tool_use", name_model(provider))
    assert first.output_tokens > 0

    second = read(ask(rig, provider, Said(TEXT), next_turn(opening(), first, RESULT)))
    assert (second.text, second.calls, second.stop_reason) == ("It has 42 lines.", [], "end_turn")
    told = "\n".join(leaves(rig.seen(provider)[-1].json))
    assert told.index(QUESTION) < told.index("wc -l 'Łódź/README.md'") < told.index(RESULT)


@EVERY_PROVIDER
def test_a_thought_and_a_call_come_as_blocks_of_their_own(rig: Rig, provider: str) -> None:
    turn = read(ask(rig, provider, Said(("Counting.",), "Ask wc.", (CALL,)), opening()))
    assert [block["type"] for block in turn.content] == ["thinking", "text", "tool_use"]
    assert read(ask(rig, provider, Said(TEXT), next_turn(opening(), turn, RESULT))).text == "It has 42 lines."


@EVERY_OTHER
def test_others_get_a_body_they_know_with_all_that_matters(rig: Rig, provider: str) -> None:
    read(ask(rig, provider, Said(TEXT), opening()))
    document = heard(rig, provider)
    told = " ".join(leaves(document))
    assert not [word for word in ONLY_ANTHROPICS if word in told]
    for kept in (
        "Anthropic's official CLI",
        "Prefer the tools you have",
        "opened README.md",
        QUESTION,
        "TodoWrite",
    ):
        assert kept in told
    seen = rig.seen(provider)[-1]
    assert not [
        name for name in seen.headers if name.startswith(("anthropic-", "x-claude", "x-stainless", "x-app"))
    ]


def test_anthropic_gets_the_body_and_its_headers_unchanged(rig: Rig) -> None:
    read(ask(rig, OWN, Said(TEXT), opening()))
    seen = rig.seen(OWN)[-1]
    assert seen.json == {**opening().json, "model": UPSTREAMS[OWN].model}
    sent = dict(opening().headers)
    assert seen.headers["anthropic-beta"] == sent["anthropic-beta"]
    assert seen.headers["anthropic-version"] == sent["anthropic-version"]


@EVERY_PROVIDER
def test_a_stream_that_broke_can_be_asked_again_without_streaming(rig: Rig, provider: str) -> None:
    rig.behave(provider, answer(body=UPSTREAMS[provider].write(Said(TEXT))))
    document = {**opening().json, "stream": False}
    answered = send(rig.url, opening().with_document(document).for_model(name_model(provider)))
    assert answered.status == 200
    message = answered.json
    assert [block["text"] for block in message["content"]] == ["It has 42 lines."]
    assert message["usage"]["output_tokens"] > 0
    assert answered.headers["request-id"]


@EVERY_PROVIDER
def test_a_refusal_is_told_in_anthropics_words(rig: Rig, provider: str) -> None:
    rig.behave(provider, answer(429, UPSTREAMS[provider].error_body(429, "Slow down."), retry_after="7"))
    throttled = f"{rig.spare(provider)}/{UPSTREAMS[provider].model}"
    answered = send(rig.url, opening().for_model(throttled))
    assert answered.status == 429
    assert answered.json["error"]["type"] == "rate_limit_error"
    assert int(answered.headers["retry-after"]) > 0


@EVERY_PROVIDER
def test_a_stream_that_breaks_off_ends_in_an_error(rig: Rig, provider: str) -> None:
    """Claude Code then asks again; without the event it would take the half for the whole."""
    break_off(rig, provider, TEXT)
    answered = send(rig.url, opening().for_model(name_model(provider)))
    *said, last = list(read_events(answered.body.decode()))
    deltas = [event["delta"]["text"] for event in said if event["type"] == "content_block_delta"]
    assert deltas == ["It has "]
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    assert last["error"]["message"]


@pytest.mark.parametrize("provider", [OWN, "compatible", "gemini_generate", "ollama_chat"])
def test_a_conversation_that_is_too_long_is_told_in_the_words_claude_code_looks_for(
    rig: Rig, provider: str
) -> None:
    """By them it knows that it has to shorten the conversation, and not to ask the same again."""
    rig.behave(provider, answer(400, UPSTREAMS[provider].error_body(400, TOO_LONG[provider])))
    answered = send(rig.url, opening().for_model(name_model(provider)))
    assert answered.status == 400
    assert answered.json["error"]["type"] == "invalid_request_error"
    assert answered.json["error"]["message"].startswith("prompt is too long: ")
    assert answered.headers["x-should-retry"] == "false"


def test_events_without_names_would_be_noticed() -> None:
    with pytest.raises((AssertionError, ValueError)):
        list(read_events('data: {"type":"ping"}\n\n'))


# --- tokens ---------------------------------------------------------------------------------------------------------


def count(rig: Rig, provider: str) -> tuple[Any, Answered]:
    answered = send(rig.url, load("claude_code/count_tokens").for_model(name_model(provider)))
    assert answered.status == 200, answered.body
    return answered.json, answered


def test_anthropic_counts_tokens_itself(rig: Rig) -> None:
    rig.behave(OWN, answer(body=b'{"input_tokens":14213}'))
    counted, _ = count(rig, OWN)
    assert counted == {"input_tokens": 14213}
    assert rig.seen(OWN)[-1].path == "/v1/messages/count_tokens"
    assert rig.seen(OWN)[-1].json == {**load("claude_code/count_tokens").json, "model": UPSTREAMS[OWN].model}


@pytest.mark.parametrize("provider", ["compatible", "ollama_chat"])
def test_where_nobody_counts_tokens_are_estimated(rig: Rig, provider: str) -> None:
    rig.behave(provider, answer(404, b"{}"))
    counted, answered = count(rig, provider)
    characters = len(load("claude_code/count_tokens").body)
    assert characters / 8 < counted["input_tokens"] < characters
    assert "estimated" in answered.headers["x-llmproxyd-warnings"]
