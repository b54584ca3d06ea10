"""Codex in both of its forms: tools as it sends them to models that it does not know, and those to models that it does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clients.codex import Turn, next_turn, read, read_events
from tests.clients.saying import TOO_LONG, break_off, heard, name_model, say, use
from tests.clients.wire import Recorded, load, send
from tests.matrix.rig import Rig
from tests.matrix.scene import Said, ToolUse, leaves
from tests.matrix.upstreams import UPSTREAMS
from tests.matrix.upstreams.base import WIRE
from tests.support.fake_provider import answer, stream

OWN = "openai_responses"
OTHERS = ["compatible", "anthropic_messages", "gemini_generate", "ollama_chat", "cohere_chat"]
EVERY_PROVIDER = pytest.mark.parametrize("provider", [OWN, *OTHERS])
EVERY_OTHER = pytest.mark.parametrize("provider", OTHERS)
BOTH_FORMS = pytest.mark.parametrize("form", ["classic", "lite"])

QUESTION = "How many lines has README.md in Łódź's project?"
COMMAND = "wc -l 'Łódź/README.md'"
RESULT = "42 Łódź/README.md"
TEXT = Said(("It has ", "42 lines."))


def opening(form: str) -> Recorded:
    return load(f"codex/{form}")


def ask(rig: Rig, provider: str, said: Said, recorded: Recorded, tool: str = "exec_command") -> Turn:
    say(rig, provider, said, tool=tool)
    turn = read(send(rig.url, recorded.for_model(name_model(provider))))
    assert turn.completed["model"] == name_model(provider)
    return turn


def called(call: ToolUse) -> Said:
    return Said(("Let me count.",), "", (call,))


@EVERY_PROVIDER
def test_a_function_and_its_output(rig: Rig, provider: str) -> None:
    said = called(use("call_1", cmd=COMMAND, max_output_tokens=500))
    first = ask(rig, provider, said, opening("classic"))
    assert first.text == "Let me count."
    (call,) = first.calls
    assert (call["type"], call["name"]) == ("function_call", "exec_command")
    assert json.loads(call["arguments"]) == {"cmd": COMMAND, "max_output_tokens": 500}

    second = ask(rig, provider, TEXT, next_turn(opening("classic"), first, RESULT))
    assert (second.text, second.calls) == ("It has 42 lines.", [])
    assert_in_order(rig.seen(provider)[-1].json, QUESTION, COMMAND, RESULT)


@EVERY_OTHER
def test_a_tool_of_a_namespace_comes_back_into_it(rig: Rig, provider: str) -> None:
    said = called(use("call_1", project="LP"))
    first = ask(rig, provider, said, opening("classic"), tool="mcp__tracker__list_issues")
    (call,) = first.calls
    assert (call["namespace"], call["name"]) == ("mcp__tracker", "list_issues")
    ask(rig, provider, TEXT, next_turn(opening("classic"), first, RESULT))
    told = list(leaves(heard(rig, provider)))
    assert told.count("mcp__tracker__list_issues") >= 2  # its definition and its call


@EVERY_OTHER
def test_a_custom_tool_and_its_output(rig: Rig, provider: str) -> None:
    said = called(use("call_1", input=COMMAND))
    first = ask(rig, provider, said, opening("lite"), tool="functions__exec")
    (call,) = first.calls
    assert (call["type"], call["namespace"], call["name"]) == ("custom_tool_call", "functions", "exec")
    assert call["input"] == COMMAND

    second = ask(rig, provider, TEXT, next_turn(opening("lite"), first, RESULT))
    assert second.text == "It has 42 lines."
    assert_in_order(rig.seen(provider)[-1].json, QUESTION, COMMAND, RESULT)


def test_openais_custom_tool_call_comes_as_openai_said_it(rig: Rig) -> None:
    recorded = (WIRE / "openai_responses" / "custom" / "response.sse").read_bytes()
    rig.behave(OWN, stream([recorded[at : at + 13] for at in range(0, len(recorded), 13)]))
    first = read(send(rig.url, opening("lite").for_model(name_model(OWN))))
    (call,) = first.calls
    assert (call["type"], call["name"]) == ("custom_tool_call", "apply_patch")
    assert call["input"] == "*** Begin\n+ Łódź\n"
    second = ask(rig, OWN, TEXT, next_turn(opening("lite"), first, RESULT))
    assert second.text == "It has 42 lines."
    assert rig.seen(OWN)[-1].json["input"][-2:] == [call, output_of(call)]


def output_of(call: dict[str, Any]) -> dict[str, Any]:
    return {"type": "custom_tool_call_output", "id": "out_0", "call_id": call["call_id"], "output": RESULT}


@BOTH_FORMS
def test_openai_gets_the_body_unchanged(rig: Rig, form: str) -> None:
    ask(rig, OWN, TEXT, opening(form))
    seen = rig.seen(OWN)[-1]
    assert seen.json == {**opening(form).json, "model": UPSTREAMS[OWN].model}
    lite = "x-openai-internal-codex-responses-lite"
    assert seen.headers.get(lite) == dict(opening(form).headers).get(lite)


@EVERY_OTHER
@BOTH_FORMS
def test_others_get_a_body_they_know_with_all_that_matters(rig: Rig, provider: str, form: str) -> None:
    ask(rig, provider, TEXT, opening(form))
    told = " ".join(leaves(heard(rig, provider)))
    tools = {"classic": ("exec_command", "update_plan", "mcp__tracker__list_issues"), "lite": ("functions__exec", "functions__apply_patch", "*** Begin Patch")}  # fmt: skip
    for kept in ("You are Codex", "environment_context", QUESTION, *tools[form]):
        assert kept in told
    for dropped in (
        "namespace",
        "additional_tools",
        "web_search",
        "client_metadata",
        "reasoning.encrypted_content",
    ):
        assert dropped not in told
    assert not [name for name in rig.seen(provider)[-1].headers if "codex" in name or name == "originator"]


@EVERY_PROVIDER
def test_a_thought_comes_as_an_item_and_may_go_back(rig: Rig, provider: str) -> None:
    said = Said(("Counting.",), "Ask wc.", (use("call_1", cmd=COMMAND),))
    first = ask(rig, provider, said, opening("classic"))
    kinds = [item["type"] for item in first.items]
    # Google signs the call: its signature is an item of its own, right before it.
    signed = ["reasoning"] if provider == "gemini_generate" else []
    assert kinds == ["reasoning", "message", *signed, "function_call"]
    assert ask(rig, provider, TEXT, next_turn(opening("classic"), first, RESULT)).text == "It has 42 lines."
    told = set(leaves(rig.seen(provider)[-1].json))
    assert (UPSTREAMS[provider].seal or "Ask wc.") in told


@EVERY_PROVIDER
def test_a_bad_request_is_told_once_with_the_providers_words(rig: Rig, provider: str) -> None:
    """Whatever is not a 400 is asked six times over."""
    rig.behave(provider, answer(400, UPSTREAMS[provider].error_body(400, "The tool is not supported.")))
    answered = send(rig.url, opening("classic").for_model(name_model(provider)))
    assert answered.status == 400
    assert "The tool is not supported." in answered.json["error"]["message"]


@EVERY_PROVIDER
def test_a_stream_that_breaks_off_ends_in_a_failed_response(rig: Rig, provider: str) -> None:
    """After a bare error, or after nothing, Codex would send the whole request five times more."""
    break_off(rig, provider, ("It has ", "42 lines."))
    answered = send(rig.url, opening("classic").for_model(name_model(provider)))
    *said, last = read_events(answered)
    assert [event["delta"] for event in said if event["type"] == "response.output_text.delta"] == ["It has "]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["message"]
    assert "error" not in {event["type"] for event in said}


@pytest.mark.parametrize("provider", TOO_LONG)
def test_a_conversation_that_is_too_long_has_the_code_codex_looks_for(rig: Rig, provider: str) -> None:
    rig.behave(provider, answer(400, UPSTREAMS[provider].error_body(400, TOO_LONG[provider])))
    answered = send(rig.url, opening("classic").for_model(name_model(provider)))
    assert (answered.status, answered.json["error"]["code"]) == (400, "context_length_exceeded")


def assert_in_order(document: Any, *texts: str) -> None:
    told = "\n".join(leaves(document))
    places = [told.index(text) for text in texts]
    assert places == sorted(places)
