from __future__ import annotations

import base64
from typing import Any

import pytest

from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Audio,
    CacheMark,
    Dialect,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from tests.adapters.anthropic_build import (
    NEW,
    OLD,
    assistant,
    body_for,
    chat,
    deployment,
    envelope,
    turn,
    user,
    warnings_for,
)

OWN = Dialect.ANTHROPIC_MESSAGES
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 12).decode()
PDF = base64.b64encode(b"%PDF-1.7 and so on").decode()
SIGNED = Thinking("hm", "EqQB", origin=OWN)


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def messages_for(*messages: Message, model: str = NEW, own: bool = False) -> Any:
    request = envelope(OWN) if own else None
    return body_for(chat(*messages), deployment(model), request=request)["messages"]


def refusal_of(*messages: Message, model: str = NEW) -> str | None:
    with pytest.raises(BadRequest) as refused:
        messages_for(*messages, model=model)
    return refused.value.failure.param


def results(*parts: ToolResult) -> Message:
    return turn(Role.TOOL, *parts)


def result(call_id: str, value: str = "ok") -> ToolResult:
    return ToolResult(call_id, (Text(value),))


def called(*ids: str) -> Message:
    return assistant(*(ToolCall(call_id, "get", "{}") for call_id in ids))


# --- instructions -----------------------------------------------------------------------------------------------


def test_leading_instructions_become_the_system_prompt() -> None:
    marked = Message(Role.DEVELOPER, (Text("Be kind.", CacheMark("1h")),))
    body = body_for(chat(turn(Role.SYSTEM, "Be brief."), marked, user("hi")))
    assert body["system"] == [
        text("Be brief."),
        {**text("Be kind."), "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    assert body["messages"] == [{"role": "user", "content": [text("hi")]}]


def test_pitfall_22_a_later_instruction_stays_in_its_place() -> None:
    conversation = (user("hi"), turn(Role.SYSTEM, "Prefer Celsius."), assistant("ok"), user("go"))
    assert [m["role"] for m in messages_for(*conversation)] == ["user", "system", "assistant", "user"]


def test_pitfall_22_models_without_such_turns_read_it_marked_in_the_users() -> None:
    first, *_ = messages_for(user("hi"), turn(Role.DEVELOPER, "Prefer Celsius."), model=OLD)
    assert first == {"role": "user", "content": [text("hi"), text("<system>\nPrefer Celsius.\n</system>")]}


def test_instructions_alone_are_sent_as_the_users_message() -> None:
    body = body_for(chat(turn(Role.SYSTEM, "Say hello.")))
    assert body["messages"] == [{"role": "user", "content": [text("Say hello.")]}]
    assert "system" not in body


# --- tool calls and their results -------------------------------------------------------------------------------


def test_pitfall_8_parallel_results_become_one_user_turn_with_the_text_after_them() -> None:
    answer = messages_for(
        user("go"), called("a", "b"), results(result("b")), results(result("a")), user("and?")
    )[2]
    assert answer["role"] == "user"
    assert [block.get("tool_use_id") for block in answer["content"]] == ["b", "a", None]
    assert answer["content"][2] == text("and?")


def test_results_come_before_what_the_user_said_even_if_they_came_later() -> None:
    answer = messages_for(user("go"), called("a"), user("quick!"), results(result("a")))[2]
    assert [block["type"] for block in answer["content"]] == ["tool_result", "text"]


def test_an_instruction_between_a_call_and_its_result_follows_the_result() -> None:
    conversation = messages_for(user("go"), called("a"), turn(Role.SYSTEM, "Hurry."), results(result("a")))
    assert [m["role"] for m in conversation] == ["user", "assistant", "user", "system"]


def test_pitfall_7_a_call_without_a_result_gets_an_error_in_its_place() -> None:
    conversation = messages_for(
        user("go"), called("a", "b"), results(result("a")), assistant("well"), user("on")
    )
    given, invented = conversation[2]["content"]
    assert (given["tool_use_id"], given.get("is_error")) == ("a", None)
    assert (invented["tool_use_id"], invented["is_error"]) == ("b", True)
    content = chat(user("go"), called("a"), user("never mind"))
    assert "tool_call: not carried to anthropic-messages (without a result" in warnings_for(content)


def test_pitfall_7_a_call_at_the_very_end_is_completed_too() -> None:
    last = messages_for(user("go"), called("a"))[-1]
    assert (last["role"], last["content"][0]["is_error"]) == ("user", True)


def test_pitfall_7_a_result_without_its_call_is_left_out_and_said() -> None:
    content = chat(user("go"), results(result("ghost")), user("on"))
    assert body_for(content)["messages"] == [{"role": "user", "content": [text("go"), text("on")]}]
    assert "tool_result: not carried to anthropic-messages (without its call)" in warnings_for(content)


def test_a_second_result_of_the_same_call_is_left_out() -> None:
    answer = messages_for(user("go"), called("a"), results(result("a", "1"), result("a", "2")))[2]
    assert [block["content"] for block in answer["content"]] == [[text("1")]]


def test_pitfall_5_ids_are_made_to_fit_and_stay_with_their_results() -> None:
    _, spoken, answer = messages_for(user("go"), called("call.1/x"), results(result("call.1/x")))
    wire_id = spoken["content"][0]["id"]
    assert wire_id.startswith("call_")
    assert answer["content"][0]["tool_use_id"] == wire_id


def test_ids_that_repeat_from_answer_to_answer_are_told_apart() -> None:
    conversation = messages_for(
        user("go"), called("call_0"), results(result("call_0")), called("call_0"), results(result("call_0"))
    )
    used = [m["content"][0].get("id") or m["content"][0].get("tool_use_id") for m in conversation[1:]]
    assert used[0] == used[1] != used[2] == used[3]


def test_two_calls_of_one_turn_with_the_same_id_get_their_results_in_order() -> None:
    _, spoken, answer = messages_for(
        user("go"), called("x", "x"), results(result("x", "1"), result("x", "2"))
    )
    assert [block["id"] for block in spoken["content"]] == [
        block["tool_use_id"] for block in answer["content"]
    ]


def test_pitfall_9_an_error_stays_an_error() -> None:
    failed = ToolResult("a", (Text("no"),), is_error=True, cache=CacheMark())
    answer = messages_for(user("go"), called("a"), results(failed))[2]["content"][0]
    assert (answer["is_error"], answer["cache_control"]) == (True, {"type": "ephemeral"})


def test_pitfall_10_a_result_may_hold_an_image() -> None:
    shown = ToolResult("a", (Text(""), Image(PNG, "image/png")))
    answer = messages_for(user("go"), called("a"), results(shown))[2]["content"][0]
    assert [block["type"] for block in answer["content"]] == ["image"]


@pytest.mark.parametrize(
    ("arguments", "wire"),
    [
        ("", {}),
        (" \n", {}),
        ("null", {}),
        ('{"a":1}', {"a": 1}),
        ("[1]", {"arguments": [1]}),
        ('{"a":', {"arguments": '{"a":'}),
    ],
)
def test_pitfall_11_arguments_are_always_an_object(arguments: str, wire: object) -> None:
    history = messages_for(user("go"), assistant(ToolCall("a", "get", arguments)), results(result("a")))
    assert history[1]["content"][0]["input"] == wire


# --- what the API refuses ---------------------------------------------------------------------------------------


def test_pitfall_20_empty_texts_are_dropped() -> None:
    history = messages_for(user("go", ""), assistant("", ToolCall("a", "get", "{}")), results(result("a")))
    assert history[0]["content"] == [text("go")]
    assert [block["type"] for block in history[1]["content"]] == ["tool_use"]


@pytest.mark.parametrize("blank", [assistant(), assistant(""), assistant(" \n"), assistant(SIGNED)])
def test_an_assistants_turn_that_says_nothing_is_dropped_and_said(blank: Message) -> None:
    content = chat(user("go"), blank, user("on"))
    assert [m["content"] for m in body_for(content)["messages"]] == [[text("go")], [text("on")]]
    assert "messages: not carried to anthropic-messages (empty ones)" in warnings_for(content)


@pytest.mark.parametrize("blank", [user(), user(""), user("  \n")])
def test_a_users_turn_that_says_nothing_is_dropped_and_said(blank: Message) -> None:
    content = chat(user("go"), assistant("yes"), blank, assistant("well?"), user("on"))
    assert [m["role"] for m in body_for(content)["messages"]] == ["user", "assistant", "assistant", "user"]
    assert "messages: not carried to anthropic-messages (empty ones)" in warnings_for(content)


def test_a_conversation_of_nothing_is_refused() -> None:
    assert refusal_of(user("  ")) == "messages"


def test_a_conversation_begins_with_the_user() -> None:
    content = chat(assistant("Welcome!"), user("hi"))
    assert [m["role"] for m in body_for(content)["messages"]] == ["user", "assistant", "user"]
    assert "the first must be the user's" in warnings_for(content)


def test_pitfall_21_consecutive_turns_of_one_role_are_one() -> None:
    assert messages_for(user("a"), user("b")) == [{"role": "user", "content": [text("a"), text("b")]}]


def test_pitfall_27_a_message_to_be_continued_goes_to_old_models_only() -> None:
    conversation = (user("list"), assistant("1. \n", " "))
    assert messages_for(*conversation, model=OLD)[-1]["content"] == [text("1.")]
    assert refusal_of(*conversation) == "messages"


def test_pitfall_28_names_are_dropped_and_said() -> None:
    content = chat(Message(Role.USER, (Text("hi"),), name="ann"))
    assert "messages.name: not carried" in warnings_for(content)


# --- thoughts ---------------------------------------------------------------------------------------------------


def test_pitfall_23_thoughts_go_back_unchanged_and_in_order() -> None:
    spoken = assistant(
        Thinking("", "sig-only", origin=OWN),
        Thinking(encrypted="EmwK", origin=OWN),
        SIGNED,
        ToolCall("a", "get", "{}"),
    )
    assert messages_for(user("go"), spoken, results(result("a")))[1]["content"][:3] == [
        {"type": "thinking", "thinking": "", "signature": "sig-only"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
    ]


@pytest.mark.parametrize(
    "foreign",
    [
        Thinking("hm", "sig", origin=Dialect.GEMINI_GENERATE),
        Thinking("hm", origin=Dialect.OPENAI_CHAT),
        Thinking("hm", origin=OWN),
        Thinking("hm", "", origin=OWN),
        Thinking("hm", "sig"),
    ],
)
def test_pitfall_24_thoughts_of_others_and_unsigned_ones_stay_behind(foreign: Thinking) -> None:
    content = chat(user("go"), assistant(foreign, "yes"), user("on"))
    assert body_for(content)["messages"][1]["content"] == [text("yes")]
    assert "thinking: not carried to anthropic-messages" in warnings_for(content)


def test_pitfall_23_a_tool_loop_begun_without_thought_goes_on_without_it() -> None:
    loop = (user("go"), called("a"), results(result("a")))
    assert "thinking" not in body_for(chat(*loop, effort="high"), deployment(OLD, max_output_tokens=64_000))
    signed = (user("go"), assistant(SIGNED, ToolCall("a", "get", "{}")), results(result("a")))
    assert "thinking" in body_for(chat(*signed, effort="high"), deployment(OLD, max_output_tokens=64_000))


# --- images and documents ---------------------------------------------------------------------------------------


def first_block(part: Part, own: bool = False) -> dict[str, Any]:
    block: dict[str, Any] = messages_for(user(part), own=own)[0]["content"][0]
    return block


@pytest.mark.parametrize("declared", ["image/png", "image/jpeg", None, "image/svg+xml"])
def test_pitfall_25_an_image_is_sent_as_what_it_is(declared: str | None) -> None:
    block = first_block(Image(PNG, declared, cache=CacheMark()))
    assert block["source"] == {"type": "base64", "media_type": "image/png", "data": PNG}
    assert block["cache_control"] == {"type": "ephemeral"}


def test_an_image_by_its_address() -> None:
    assert first_block(Image(url="https://x.test/a.png"))["source"] == {
        "type": "url",
        "url": "https://x.test/a.png",
    }


def test_the_wish_for_detail_is_said_to_be_lost() -> None:
    assert "image_url.detail" in warnings_for(chat(user(Image(PNG, detail="high"))))
    assert warnings_for(chat(user(Image(PNG, detail="auto")))) == ""


@pytest.mark.parametrize("media_type", ["application/pdf", None])
def test_a_pdf(media_type: str | None) -> None:
    block = first_block(File(PDF, media_type, filename="a.pdf"))
    assert block == {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        "title": "a.pdf",
    }


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (File(text="żółw"), {"type": "text", "media_type": "text/plain", "data": "żółw"}),
        (
            File(base64.b64encode("żółw".encode()).decode(), "text/csv; charset=utf-8"),
            {"type": "text", "media_type": "text/plain", "data": "żółw"},
        ),
        (File(url="https://x.test/a.pdf"), {"type": "url", "url": "https://x.test/a.pdf"}),
    ],
)
def test_other_documents(file: File, source: dict[str, Any]) -> None:
    assert first_block(file)["source"] == source


def test_a_picture_sent_as_a_file_is_a_picture() -> None:
    assert first_block(File(PNG, "image/png"))["type"] == "image"


def test_a_file_in_the_providers_store_is_known_to_its_own_clients_only() -> None:
    assert first_block(File(file_id="file_1"), own=True)["source"] == {"type": "file", "file_id": "file_1"}
    assert refusal_of(user(File(file_id="file_1"))) == "messages[0].content[0]"


@pytest.mark.parametrize(
    "part",
    [
        Audio("AAAA", "wav"),
        Image("QUJD", "image/bmp"),
        Image("not base64", None),
        File("QUJD", "application/zip"),
        File("/w==", "text/plain"),
        File("!", "text/plain"),
        ToolCall("a", "get", "{}"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_its_place(part: Part) -> None:
    assert refusal_of(user("see", part)) == "messages[0].content[1]"


@pytest.mark.parametrize("part", [Image(PNG), File(PDF, "application/pdf")])
def test_an_assistant_shows_no_pictures(part: Part) -> None:
    assert refusal_of(user("see"), assistant(part), user("so")) == "messages[1].content[0]"


def test_a_refusal_is_text_in_the_history() -> None:
    assert messages_for(user("a"), assistant(Refusal("No.")), user("b"))[1]["content"] == [text("No.")]


def test_instructions_are_text_only() -> None:
    assert refusal_of(turn(Role.SYSTEM, Image(PNG)), user("a")) == "messages[0].content[0]"
