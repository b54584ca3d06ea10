"""What Ollama's clients ask: envelope, conversation, and the round trip through the adapter of the same dialect."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama._types import ChatRequest

from llmproxyd import jsontext
from llmproxyd.adapters import ollama_relay
from llmproxyd.adapters.ollama_chat import format_call
from llmproxyd.surfaces.ollama_chat import CHAT, GENERATE
from llmproxyd.surfaces.ollama_embed import EMBED, EMBEDDINGS
from llmproxyd.surfaces.ollama_fields import USUAL_BUDGET
from llmproxyd.values.contracts import BadRequest, Surface
from llmproxyd.values.request import (
    NO_OVERRIDES,
    Capability,
    Chat,
    Dialect,
    Image,
    Message,
    Operation,
    OutputFormat,
    Part,
    Request,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from tests import wire
from tests.adapters.build import deployment

HELLO = {"role": "user", "content": "hello"}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 8).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + b"\xfb\xef" * 6).decode()
WEBP = base64.b64encode(b"RIFF\x10\0\0\0WEBPVP8 ").decode()
GIF = base64.b64encode(b"GIF89a" + b"\0" * 6).decode()
OWN = Dialect.OLLAMA_CHAT
THERE = deployment(upstream="m", dialect=OWN, base_url="http://localhost:11434", secret=None)


def ask(surface: Surface = CHAT, /, **document: Any) -> Request:
    given_fields: dict[str, Any] = {"messages": [HELLO]} if surface is CHAT else {"prompt": "hello"}
    body = json.dumps({"model": "m", **given_fields, **document}).encode()
    return surface.parse_request({}, body, "/api/chat")


def content(surface: Surface = CHAT, /, **document: Any) -> Chat:
    parsed = surface.parse_content(ask(surface, **document))
    assert isinstance(parsed, Chat)
    return parsed


def turns(*messages: Any) -> tuple[Message, ...]:
    return content(messages=list(messages)).messages


def refused_param(surface: Surface = CHAT, /, **document: Any) -> str | None:
    with pytest.raises(BadRequest) as refused:
        surface.parse_content(ask(surface, **document))
    failure = refused.value.failure
    assert failure.param is None or failure.param in failure.message
    return failure.param


# --- the envelope -----------------------------------------------------------------------------------------------------


def test_the_envelope_holds_what_routing_must_know() -> None:
    document = {"model": "m", "messages": [HELLO], "options": {"num_predict": 9, "temperature": 0.5}}
    body = json.dumps(document).encode()
    assert CHAT.parse_request({}, body, "/api/chat") == Request(
        operation=Operation.CHAT,
        dialect=OWN,
        surface="ollama-chat",
        model="m",
        stream=True,
        body=body,
        document=document,
        max_output_tokens=9,
        temperature=0.5,
    )


@pytest.mark.parametrize("surface", [CHAT, GENERATE])
def test_who_does_not_say_gets_a_stream(surface: Surface) -> None:
    assert ask(surface).stream
    assert ask(surface, stream=None).stream
    assert ask(surface, stream=True).stream
    assert not ask(surface, stream=False).stream
    assert surface.stream_type == "application/x-ndjson"


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("llama3", "llama3"),
        ("llama3:latest", "llama3"),
        ("llama3:8b", "llama3:8b"),
        ("p/m:latest", "p/m"),
        (":latest", ":latest"),
    ],
)
def test_a_name_with_and_without_the_tag_is_one_name(sent: str, meant: str) -> None:
    assert ask(model=sent).model == meant


@pytest.mark.parametrize(
    ("document", "needs"),
    [
        ({}, set()),
        ({"tools": [], "format": "json", "think": True}, set()),
        ({"tools": [{"function": {"name": "f"}}]}, {Capability.TOOLS}),
        ({"format": {"type": "object"}}, {Capability.JSON_SCHEMA}),
        ({"messages": [HELLO, {"role": "user", "images": [PNG]}]}, {Capability.VISION}),
        ({"messages": [{"role": "user", "images": []}]}, set()),
    ],
)
def test_needs_are_what_an_answer_would_be_wrong_without(
    document: dict[str, Any], needs: set[Capability]
) -> None:
    assert ask(**document).needs == needs


def test_pictures_of_a_generate_are_a_need_too() -> None:
    assert ask(GENERATE, images=[PNG]).needs == {Capability.VISION}


@pytest.mark.parametrize("limit", [-2, -1, 0])
def test_numbers_that_set_no_limit_are_none(limit: int) -> None:
    request = ask(options={"num_predict": limit})
    assert request.max_output_tokens is None
    chat = content(options={"num_predict": limit})
    assert chat.sampling.max_tokens is None
    assert chat.extras == {OWN: {"options": {"num_predict": limit}}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"model":"m","messages":NaN}', None),
        (b"{}", "model"),
        (b'{"model":""}', "model"),
        (b'{"model":"m","messages":{}}', "messages"),
        (b'{"model":"m","messages":["a"]}', "messages[0]"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b'{"model":"m","options":[]}', "options"),
        (b'{"model":"m","options":{"num_predict":1.5}}', "options.num_predict"),
        (b'{"model":"m","options":{"temperature":"hot"}}', "options.temperature"),
    ],
)
def test_what_nobody_could_answer_is_refused_by_name(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        CHAT.parse_request({}, body, "/api/chat")
    assert refused.value.failure.param == param
    assert refused.value.failure.message


# --- a conversation ---------------------------------------------------------------------------------------------------


def test_the_recorded_request_is_read_and_is_what_the_official_client_sends() -> None:
    document = json.loads(wire.whole("ollama_chat", "request"))
    ChatRequest.model_validate(document)
    chat = CHAT.parse_content(CHAT.parse_request({}, json.dumps(document).encode(), "/api/chat"))
    assert isinstance(chat, Chat)
    system, user, assistant, tool = chat.messages
    assert system == Message(Role.SYSTEM, (Text("Answer in one short sentence."),))
    assert user == Message(
        Role.USER, (Text("Weather in Łódź?"), Image(document["messages"][1]["images"][0], "image/png"))
    )
    (call,) = assistant.parts
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("get_weather", '{"city":"Łódź"}')
    assert tool == Message(Role.TOOL, (ToolResult(call.id, (Text('{"temp_c":7}'),), "get_weather"),))
    assert chat.sampling == Sampling(temperature=0.2, max_tokens=128, seed=7, stop=("###",))
    assert chat.tools[0].name == "get_weather"
    assert chat.effort == "none"
    assert chat.extras == {OWN: {"keep_alive": "5m", "options": {"num_ctx": 8192}}}


def test_pitfall_5_calls_without_ids_get_ones_that_stay_the_same_and_differ() -> None:
    call = {"function": {"name": "f", "arguments": {}}}
    history = [HELLO, {"role": "assistant", "tool_calls": [call, call]}]
    first, longer = turns(*history), turns(*history, {"role": "tool", "content": "a"}, HELLO)
    assert longer[: len(first)] == first
    ids = [part.id for part in first[1].parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 2
    assert all(call_id.startswith("call_") and len(call_id) <= 40 for call_id in ids)


@pytest.mark.parametrize(
    ("results", "answered"),
    [
        ([{"tool_call_id": "c2"}, {"tool_call_id": "c1"}], ["c2", "c1"]),
        ([{"tool_name": "g"}, {"tool_name": "f"}], ["c2", "c1"]),
        ([{"name": "g"}, {"name": "f"}], ["c2", "c1"]),
        ([{}, {}], ["c1", "c2"]),
        ([{"tool_call_id": "other"}, {"tool_name": "g"}], ["other", "c2"]),
    ],
)
def test_pitfall_12_results_find_their_call_by_id_by_name_or_by_order(
    results: list[dict[str, str]], answered: list[str]
) -> None:
    calls = [{"id": f"c{i}", "function": {"name": name, "arguments": {}}} for i, name in ((1, "f"), (2, "g"))]
    told = [{"role": "tool", "content": "x", **result} for result in results]
    parsed = turns({"role": "assistant", "content": "", "tool_calls": calls}, *told)[1:]
    found = [part for message in parsed for part in message.parts if isinstance(part, ToolResult)]
    assert [result.call_id for result in found] == answered
    names = {"c1": "f", "c2": "g"}
    assert [result.name for result in found if result.call_id in names] == [
        names[result.call_id] for result in found if result.call_id in names
    ]


def test_calls_of_an_earlier_turn_are_not_answered_later() -> None:
    old, new = ({"id": i, "function": {"name": "f", "arguments": {}}} for i in ("old", "new"))
    parsed = turns(
        {"role": "assistant", "tool_calls": [old]}, {"role": "assistant", "tool_calls": [new]}, {"role": "tool", "content": "x"}
    )  # fmt: skip
    assert parsed[2].parts == (ToolResult("new", (Text("x"),), "f"),)


def test_a_result_without_any_call_still_has_an_id_of_its_own() -> None:
    first, second = turns({"role": "tool", "content": "x"}, {"role": "tool", "content": "y"})
    (one,), (two,) = first.parts, second.parts
    assert isinstance(one, ToolResult)
    assert isinstance(two, ToolResult)
    assert one.call_id != two.call_id


@pytest.mark.parametrize(
    ("arguments", "text"), [({"a": 1}, '{"a":1}'), ({}, "{}"), (None, ""), ('{"a": 1}', '{"a": 1}')]
)
def test_arguments_are_objects_and_become_text(arguments: Any, text: str) -> None:
    (message,) = turns(
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    )
    (call,) = message.parts
    assert isinstance(call, ToolCall)
    assert call.arguments == text


@pytest.mark.parametrize(
    ("sent", "image"),
    [
        (PNG, Image(PNG, "image/png")),
        (JPEG, Image(JPEG, "image/jpeg")),
        (WEBP, Image(WEBP, "image/webp")),
        (GIF, Image(GIF, "image/gif")),
        (f"data:image/gif;base64,{PNG}", Image(PNG, "image/png")),
        ("data:image/avif;base64,AAAA", Image("AAAA", "image/avif")),
        (f" {PNG[:8]}\n{PNG[8:]}", Image(PNG, "image/png")),
        (JPEG.replace("+", "-").replace("/", "_"), Image(JPEG, "image/jpeg")),
        ("AAAA", Image("AAAA", None)),
    ],
)
def test_pitfall_26_pictures_are_base64_and_what_they_are_is_seen_in_their_bytes(
    sent: str, image: Image
) -> None:
    assert turns({"role": "user", "content": "", "images": [sent]})[0].parts == (image,)


def test_pitfall_20_empty_texts_are_dropped() -> None:
    assert turns({"role": "user", "content": ""}, {"role": "assistant"}) == (
        Message(Role.USER, ()),
        Message(Role.ASSISTANT, ()),
    )


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{}], "messages[0].role"),
        ([{"role": "control"}], "messages[0].role"),
        ([HELLO, {"role": "user", "content": [{"type": "text"}]}], "messages[1].content"),
        ([{"role": "user", "images": PNG}], "messages[0].images"),
        ([{"role": "user", "images": [7]}], "messages[0].images[0]"),
        ([{"role": "user", "images": ["no base64!"]}], "messages[0].images[0]"),
        ([{"role": "user", "images": ["https://example.test/a.png"]}], "messages[0].images[0]"),
        ([{"role": "assistant", "tool_calls": [{}]}], "messages[0].tool_calls[0].function"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "messages[0].tool_calls[0].function.name"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 7}}]}], "messages[0].tool_calls[0].function.arguments"),
    ],
)  # fmt: skip
def test_messages_that_cannot_be_carried_are_refused_by_their_place(messages: list[Any], param: str) -> None:
    assert refused_param(messages=messages) == param


# --- what surrounds it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("think", "effort", "budget"),
    [
        (None, None, None),
        (True, None, USUAL_BUDGET),
        (False, "none", None),
        ("low", "low", None),
        ("max", "max", None),
    ],
)
def test_think_is_an_effort_or_a_usual_budget(think: Any, effort: str | None, budget: int | None) -> None:
    chat = content(think=think)
    assert (chat.effort, chat.thinking_budget) == (effort, budget)


@pytest.mark.parametrize(
    ("wanted", "output"),
    [
        (None, None),
        ("", None),
        ("json", OutputFormat("json_object")),
        ({"type": "object"}, OutputFormat("json_schema", schema={"type": "object"})),
    ],
)
def test_the_form_of_the_answer_is_a_word_or_a_schema(wanted: Any, output: OutputFormat | None) -> None:
    assert content(format=wanted).output_format == output


def test_options_that_others_know_are_sampling_and_the_rest_is_kept_for_ollama() -> None:
    options = {
        "temperature": 0, "top_p": 0.5, "top_k": 4.0, "seed": 7, "num_predict": 9, "stop": ["a"],
        "frequency_penalty": 1, "presence_penalty": 2, "min_p": 0.1, "num_ctx": 64, "mirostat": None,
    }  # fmt: skip
    chat = content(options=options, logprobs=True, top_logprobs=3, keep_alive=-1, truncate=False)
    assert chat.sampling == Sampling(
        0, 0.5, 4, 9, ("a",), 7, frequency_penalty=1, presence_penalty=2, logprobs=True, top_logprobs=3
    )
    assert chat.extras == {
        OWN: {"keep_alive": -1, "truncate": False, "options": {"min_p": 0.1, "num_ctx": 64}}
    }


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"think": 7}, "think"),
        ({"think": "very"}, "think"),
        ({"format": "xml"}, "format"),
        ({"format": 7}, "format"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"options": {"stop": "a"}}, "options.stop"),
        ({"options": {"stop": [7]}}, "options.stop"),
        ({"options": {"top_k": 1.5}}, "options.top_k"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
    ],
)
def test_wishes_that_cannot_be_understood_are_refused_by_name(document: dict[str, Any], param: str) -> None:
    assert refused_param(**document) == param


# --- generate ---------------------------------------------------------------------------------------------------------


def test_a_generate_is_a_conversation_of_one_turn() -> None:
    document = {
        "system": "Be brief.",
        "images": [PNG],
        "think": False,
        "raw": False,
        "suffix": "",
        "context": [],
    }
    request = ask(GENERATE, **document)
    assert (request.operation, request.surface) == (Operation.CHAT, "ollama-generate")
    chat = GENERATE.parse_content(request)
    assert isinstance(chat, Chat)
    assert chat.messages == (
        Message(Role.SYSTEM, (Text("Be brief."),)),
        Message(Role.USER, (Text("hello"), Image(PNG, "image/png"))),
    )
    assert (chat.effort, chat.extras) == ("none", {})


@pytest.mark.parametrize(
    "document", [{"raw": True}, {"template": "{{ .Prompt }}"}, {"suffix": "}"}, {"context": [1, 2]}]
)
def test_what_only_ollama_can_serve_is_refused_by_name_when_translated(document: dict[str, Any]) -> None:
    assert ask(GENERATE, **document).model == "m"
    assert refused_param(GENERATE, **document) == next(iter(document))


def test_a_generate_needs_a_prompt() -> None:
    assert refused_param(GENERATE, prompt="") == "prompt"
    with pytest.raises(BadRequest):
        ask(GENERATE, prompt=7)


def test_every_surface_of_the_dialect_has_its_path_in_the_verbatim_lane() -> None:
    assert {surface.name for surface in (CHAT, GENERATE, EMBED, EMBEDDINGS)} == set(ollama_relay.PATHS)


def test_what_the_official_client_sends_is_read() -> None:
    seen: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"message": {"role": "assistant"}, "response": "", "done": True})

    def add(a: int, b: int) -> int:
        """Add two numbers.

        Args:
          a: one
          b: another
        """
        return a + b

    client = ollama.Client(host="http://ollama.test", transport=httpx.MockTransport(serve))
    picture = base64.b64decode(PNG)
    turn = {"role": "user", "content": "hello", "images": [picture]}
    client.chat("m", [turn], tools=[add], think="low", format={"type": "object"}, options={"seed": 1})
    client.generate("m", "hello", images=[picture], system="Be brief.", keep_alive="5m")
    chat, generate = (
        surface.parse_content(surface.parse_request({}, request.content, request.url.path))
        for surface, request in zip((CHAT, GENERATE), seen, strict=True)
    )
    assert isinstance(chat, Chat)
    assert isinstance(generate, Chat)
    asked = Message(Role.USER, (Text("hello"), Image(PNG, "image/png")))
    assert (chat.messages, chat.effort, chat.sampling.seed) == ((asked,), "low", 1)
    assert [tool.name for tool in chat.tools] == ["add"]
    assert generate.messages == (Message(Role.SYSTEM, (Text("Be brief."),)), asked)
    assert generate.extras == {OWN: {"keep_alive": "5m"}}


# --- there and back ---------------------------------------------------------------------------------------------------

_TEXTS = st.text(min_size=1, max_size=20).filter(str.strip)
_NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
_JSON = st.dictionaries(_NAMES, st.none() | st.booleans() | st.integers(-9, 9) | _TEXTS, max_size=3)
_IMAGES = st.sampled_from([Image(PNG, "image/png"), Image(JPEG, "image/jpeg"), Image(GIF, "image/gif")])
_USERS = st.builds(
    lambda text, images: Message(Role.USER, (Text(text), *images)), _TEXTS, st.lists(_IMAGES, max_size=2)
)
_SYSTEMS = _TEXTS.map(lambda text: Message(Role.SYSTEM, (Text(text),)))


@st.composite
def _tool_turns(draw: st.DrawFn) -> list[Message]:
    names = draw(st.lists(_NAMES, min_size=1, max_size=3))
    calls = [ToolCall(f"c{draw(st.uuids())}", name, jsontext.encode(draw(_JSON)).decode()) for name in names]
    said: list[Part] = [Thinking(text, origin=OWN) for text in draw(st.lists(_TEXTS, max_size=1))]
    said += [Text(text) for text in draw(st.lists(_TEXTS, max_size=1))]
    results = [
        Message(Role.TOOL, (ToolResult(call.id, (Text(draw(_TEXTS)),), call.name),))
        for call in draw(st.permutations(calls))
    ]
    return [Message(Role.ASSISTANT, (*said, *calls)), *results]


_TURNS = st.lists(
    st.one_of(_USERS.map(lambda m: [m]), _SYSTEMS.map(lambda m: [m]), _tool_turns()), min_size=1, max_size=5
)
_THINKING = st.one_of(
    st.just((None, None)), st.just((None, USUAL_BUDGET)), st.sampled_from(["none", "low", "medium", "high", "max"]).map(lambda e: (e, None))
)  # fmt: skip
_SAMPLING = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(0, 99),
    max_tokens=st.none() | st.integers(1, 9999),
    stop=st.lists(_TEXTS, max_size=2).map(tuple),
    seed=st.none() | st.integers(-9, 9),
    frequency_penalty=st.none() | st.floats(-2, 2),
    presence_penalty=st.none() | st.floats(-2, 2),
)
_OUTPUTS = st.sampled_from(
    [None, OutputFormat("json_object"), OutputFormat("json_schema", schema={"type": "object"})]
)
_TOOLS = st.lists(
    st.builds(Tool, name=_NAMES, description=_TEXTS, parameters=_JSON.filter(bool)), max_size=2
).map(tuple)


@given(_TURNS, _THINKING, _SAMPLING, _OUTPUTS, _TOOLS)
def test_parsing_what_the_adapter_formatted_gives_the_request_back(
    groups: list[list[Message]],
    thinking: tuple[str | None, int | None],
    sampling: Sampling,
    output: OutputFormat | None,
    tools: tuple[Tool, ...],
) -> None:
    chat = Chat(
        messages=tuple(message for group in groups for message in group),
        tools=tools,
        output_format=output,
        sampling=sampling,
        effort=thinking[0],
        thinking_budget=thinking[1],
        extras={OWN: {"keep_alive": "5m", "options": {"num_ctx": 64}}},
    )
    call = format_call(ask(), chat, THERE, NO_OVERRIDES)
    assert call.warnings == ()
    assert CHAT.parse_content(CHAT.parse_request({}, call.body, "/api/chat")) == chat
