from __future__ import annotations

from typing import Any

import pytest

from llmproxyd.adapters.gemini_contents import LOST_SIGNATURE
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
from tests.adapters.gemini_build import formatted, model, said, tool, user, warnings_of

GEMINI = Dialect.GEMINI_GENERATE
OLD = "gemini-2.5-flash"
"""Has no use for signatures, which keeps examples short."""

CALL = ToolCall("1", "f", '{"a":1}')
RESULT = ToolResult("1", (Text("7"),))
WIRE_CALL = {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}}
WIRE_RESULT = {"functionResponse": {"id": "1", "name": "f", "response": {"output": "7"}}}


def contents(*messages: Message, upstream: str = OLD) -> Any:
    return formatted(said(*messages), upstream)["contents"]


def parts_of(*parts: Part, upstream: str = OLD) -> Any:
    return contents(Message(Role.USER, parts), upstream=upstream)[0]["parts"]


def turn(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def text(text: str) -> dict[str, Any]:
    return {"text": text}


# --- instructions -----------------------------------------------------------------------------------------------


def test_leading_instructions_are_joined_in_their_own_place() -> None:
    body = formatted(
        said(Message(Role.SYSTEM, (Text("a"),)), Message(Role.DEVELOPER, (Text("b"), Text(""))), user("hi"))
    )
    assert body["systemInstruction"] == {"parts": [text("a"), text("b")]}
    assert body["contents"] == [turn("user", text("hi"))]


def test_pitfall_22_a_later_instruction_becomes_a_marked_user_turn_in_its_place() -> None:
    told = contents(user("hi"), model("yes"), Message(Role.SYSTEM, (Text("Be brief."),)), user("so?"))
    assert told[2:] == [turn("user", text("<system>\nBe brief.\n</system>"), text("so?"))]


def test_instructions_alone_are_taken_for_the_question() -> None:
    body = formatted(said(Message(Role.SYSTEM, (Text("Say hello."),))))
    assert body == {"contents": [turn("user", text("Say hello."))]}


# --- turns ------------------------------------------------------------------------------------------------------


def test_pitfall_21_consecutive_turns_of_one_side_are_merged() -> None:
    assert contents(user("a"), user("b"), model("c"), model("d"), user("e")) == [
        turn("user", text("a"), text("b")),
        turn("model", text("c"), text("d")),
        turn("user", text("e")),
    ]


def test_pitfall_20_empty_texts_and_empty_turns_are_left_out() -> None:
    assert contents(user("a", ""), model(""), user("b")) == [turn("user", text("a"), text("b"))]
    with pytest.raises(BadRequest) as caught:
        formatted(said(user("")))
    assert caught.value.failure.param == "messages"


def test_pitfall_27_a_last_turn_of_the_model_stays() -> None:
    assert contents(user("a"), model("{"))[-1] == turn("model", text("{"))


def test_pitfall_28_a_speakers_name_is_named_as_left_out() -> None:
    assert warnings_of(said(Message(Role.USER, (Text("a"),), name="Ann"))) == ["messages[0].name"]


# --- calls and results ------------------------------------------------------------------------------------------


def test_a_call_and_its_result_are_a_model_and_a_user_turn() -> None:
    assert contents(user("?"), model(CALL), tool(RESULT)) == [
        turn("user", text("?")),
        turn("model", WIRE_CALL),
        turn("user", WIRE_RESULT),
    ]


def test_pitfall_8_parallel_results_are_one_user_turn_in_the_order_of_the_calls_before_the_text() -> None:
    second = ToolCall("2", "g", "")
    told = contents(
        user("?"),
        model("Wait.", CALL, second),
        tool(ToolResult("2", (Text("8"),))),
        user("also"),
        tool(RESULT),
    )
    other = {"functionResponse": {"id": "2", "name": "g", "response": {"output": "8"}}}
    assert told[2:] == [turn("user", WIRE_RESULT, other, text("also"))]


def test_pitfall_12_the_name_of_a_result_is_that_of_its_call() -> None:
    wrong = ToolResult("1", (Text("7"),), name="other")
    assert contents(user("?"), model(CALL), tool(wrong))[-1] == turn("user", WIRE_RESULT)


def test_pitfall_12_where_an_id_is_used_twice_each_result_has_the_name_of_its_own_turn() -> None:
    told = contents(user("?"), model(CALL), tool(RESULT), model(ToolCall("1", "g", "")), tool(RESULT))
    assert [part["functionResponse"]["name"] for part in (told[2]["parts"][0], told[4]["parts"][0])] == [
        "f",
        "g",
    ]


def test_a_result_without_an_id_answers_the_first_call_of_its_name() -> None:
    calls = (ToolCall("", "f", ""), ToolCall("", "g", ""))
    told = contents(
        user("?"), model(*calls), tool(ToolResult("", (Text("8"),), "g"), ToolResult("", (Text("7"),), "f"))
    )
    assert told[-1]["parts"] == [
        {"functionResponse": {"name": "f", "response": {"output": "7"}}},
        {"functionResponse": {"name": "g", "response": {"output": "8"}}},
    ]


@pytest.mark.parametrize("after", [(), (user("never mind"),), (user("never mind"), model("ok"))])
def test_pitfall_7_a_call_without_a_result_gets_one_that_says_so(after: tuple[Message, ...]) -> None:
    messages = (user("?"), model(CALL), *after)
    (response, *_) = contents(*messages)[2]["parts"]
    assert response["functionResponse"] | {"response": None} == {"id": "1", "name": "f", "response": None}
    assert "error" in response["functionResponse"]["response"]
    assert warnings_of(said(*messages), OLD) == [
        "tool calls without a result (an error was put in its place)"
    ]


def test_pitfall_7_a_result_without_a_call_is_dropped_and_named() -> None:
    messages = (user("a"), model("b"), tool(RESULT), model("c"), user("d"))
    assert contents(*messages) == [
        turn("user", text("a")),
        turn("model", text("b"), text("c")),
        turn("user", text("d")),
    ]
    assert warnings_of(said(*messages), OLD) == ["tool results without a call"]


def test_a_result_given_twice_answers_once() -> None:
    assert contents(user("?"), model(CALL), tool(RESULT, RESULT))[-1] == turn("user", WIRE_RESULT)


def test_a_history_that_begins_with_a_call_gets_a_beginning() -> None:
    told = contents(model(CALL), tool(RESULT))
    assert [content["role"] for content in told] == ["user", "model", "user"]


@pytest.mark.parametrize(
    ("result", "response"),
    [
        (ToolResult("1", (Text('{"temp": 7}'),)), {"temp": 7}),
        (ToolResult("1", (Text("[7]"),)), {"output": "[7]"}),
        (ToolResult("1", (Text('{"output": "x"}'),)), {"output": '{"output": "x"}'}),
        (ToolResult("1", (Text("a"), Text("b"))), {"output": "a\nb"}),
        (ToolResult("1", ()), {}),
        (ToolResult("1", (Text("{}"),)), {"output": "{}"}),
        (ToolResult("1", (Text("broken"),), is_error=True), {"error": "broken"}),
    ],
)
def test_pitfall_9_a_result_is_an_object_and_an_error_says_so(result: ToolResult, response: Any) -> None:
    (wire,) = contents(user("?"), model(CALL), tool(result))[-1]["parts"]
    assert wire["functionResponse"]["response"] == response


def test_pitfall_10_images_of_a_result_follow_it() -> None:
    result = ToolResult("1", (Text("7"), Image("AA", "image/png")))
    image = {"inlineData": {"mimeType": "image/png", "data": "AA"}}
    assert contents(user("?"), model(CALL), tool(result))[-1] == turn("user", WIRE_RESULT, image)


@pytest.mark.parametrize(
    ("arguments", "args"),
    [
        ("", {}),
        ("null", {}),
        ('{"a":1}', {"a": 1}),
        ("[1]", {"arguments": [1]}),
        ('{"a', {"arguments": '{"a'}),
    ],
)
def test_pitfall_11_arguments_that_are_no_object_are_kept_in_one(arguments: str, args: Any) -> None:
    told = contents(user("?"), model(ToolCall("1", "f", arguments)))
    assert told[1]["parts"][0]["functionCall"]["args"] == args


def test_other_calls_than_of_functions_are_refused_by_name() -> None:
    with pytest.raises(BadRequest) as caught:
        contents(user("?"), model(ToolCall("1", "f", "x", kind="custom")))
    assert caught.value.failure.param == "messages[1].content[0].type"


# --- thoughts and signatures ------------------------------------------------------------------------------------


def test_pitfall_23_its_own_thoughts_go_back_with_their_signatures() -> None:
    own = (Thinking("hm", "s1", origin=GEMINI), Text("a"), Thinking("", "s2", origin=GEMINI))
    assert contents(user("?"), model(*own))[1]["parts"] == [
        {"text": "hm", "thought": True, "thoughtSignature": "s1"},
        {"text": "a", "thoughtSignature": "s2"},
    ]


def test_pitfall_23_a_signature_without_text_is_kept() -> None:
    own = (Thinking("", "s", origin=GEMINI), CALL, Thinking("", "t", origin=GEMINI))
    assert contents(user("?"), model(*own))[1]["parts"] == [
        {"text": "", "thoughtSignature": "s"},
        WIRE_CALL,
        {"text": "", "thoughtSignature": "t"},
    ]


def test_pitfall_24_thoughts_of_others_stay_here() -> None:
    other = (Thinking("hm", "s", origin=Dialect.ANTHROPIC_MESSAGES), Thinking(encrypted="e"), Text("a"))
    assert contents(user("?"), model(*other))[1]["parts"] == [text("a")]
    assert warnings_of(said(user("?"), model(*other))) == ["thoughts of another model"]


def test_pitfall_6_a_lost_signature_is_replaced_on_the_first_call_of_a_step() -> None:
    second = ToolCall("2", "f", "")
    told = contents(
        user("?"),
        model("Wait.", CALL, second),
        tool(RESULT),
        model(CALL),
        tool(RESULT),
        upstream="gemini-3.8-flash",
    )
    assert told[1]["parts"] == [
        text("Wait."),
        {**WIRE_CALL, "thoughtSignature": LOST_SIGNATURE},
        {"functionCall": {"id": "2", "name": "f", "args": {}}},
    ]
    assert told[3]["parts"] == [{**WIRE_CALL, "thoughtSignature": LOST_SIGNATURE}]


def test_a_lost_signature_is_named() -> None:
    lost = said(user("?"), model(CALL), tool(RESULT))
    assert "the signature of a function call" in warnings_of(lost)


def test_pitfall_6_a_signature_that_is_there_stays() -> None:
    signed = ToolCall("1", "f", '{"a":1}', signature="s")
    told = contents(user("?"), model(signed), tool(RESULT), upstream="gemini-flash-latest")
    assert told[1]["parts"] == [{**WIRE_CALL, "thoughtSignature": "s"}]


def test_models_that_sign_nothing_get_no_replacement() -> None:
    assert contents(user("?"), model(CALL), upstream="gemini-2.5-pro")[1]["parts"] == [WIRE_CALL]


# --- media ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Image("AA", "image/png"), {"inlineData": {"mimeType": "image/png", "data": "AA"}}),
        (Image("iVBORw0KGgoAAA"), {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgoAAA"}}),
        (Image("/9j/4AAQ"), {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/4AAQ"}}),
        (
            Image(url="https://x.test/a.JPG?w=1"),
            {"fileData": {"fileUri": "https://x.test/a.JPG?w=1", "mimeType": "image/jpeg"}},
        ),
        (Image(url="https://x.test/a"), {"fileData": {"fileUri": "https://x.test/a"}}),
        (Audio("AA", "mp3"), {"inlineData": {"mimeType": "audio/mp3", "data": "AA"}}),
        (File("AA", "application/pdf"), {"inlineData": {"mimeType": "application/pdf", "data": "AA"}}),
        (File(text="inside"), {"text": "inside"}),
        (
            File(url="https://x.test/f", media_type="video/mp4"),
            {"fileData": {"fileUri": "https://x.test/f", "mimeType": "video/mp4"}},
        ),
        (Refusal("No."), {"text": "No."}),
    ],
)
def test_a_part_has_its_form(part: Part, expected: Any) -> None:
    assert parts_of(part) == [expected]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (Image("AAAA"), "messages[0].content[0].media_type"),
        (Image(url="file:///etc/passwd"), "messages[0].content[0].url"),
        (File(file_id="file-1"), "messages[0].content[0].file_id"),
    ],
)
def test_pitfall_25_media_that_cannot_be_carried_are_refused_by_name(part: Part, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parts_of(part)
    assert caught.value.failure.param == param


def test_the_detail_of_an_image_is_its_resolution_where_the_model_takes_one() -> None:
    image = Image("AA", "image/png", detail="low")
    (new,) = parts_of(image, upstream="gemini-3.8-flash")
    (old,) = parts_of(image)
    assert new["mediaResolution"] == {"level": "MEDIA_RESOLUTION_LOW"}
    assert "mediaResolution" not in old
    assert warnings_of(said(user(image)), OLD) == ["messages[0].content[0].detail"]
    assert warnings_of(said(user(Image("AA", "image/png", detail="auto"))), OLD) == []


def test_hints_that_are_left_out_are_named_once() -> None:
    marked = Text("a", cache=CacheMark(), citations=({"url": "u"},))
    file = File("AA", "application/pdf", filename="a.pdf")
    assert warnings_of(said(user(marked, marked, file))) == [
        "cache marks",
        "citations",
        "messages[0].content[2].filename",
    ]
