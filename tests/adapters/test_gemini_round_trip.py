"""What the adapter writes, the surface reads: the same conversation, the same answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd import jsontext
from llmproxyd.adapters.gemini_generate import ADAPTER
from llmproxyd.surfaces.gemini_generate import EMBED, GENERATE, STREAM_ARRAY
from llmproxyd.values.answer import Answer, Choice, Finish, TokenCount, Vectors, fold, unfold
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import (
    NO_OVERRIDES,
    Audio,
    Chat,
    Dialect,
    Embed,
    File,
    Image,
    Message,
    OutputFormat,
    Part,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.adapters.gemini_build import HELLO, ask, deployment

GEMINI = Dialect.GEMINI_GENERATE
REQUEST = ask(
    {"contents": HELLO, "generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
    "/v1beta/models/alias:streamGenerateContent",
)

texts = st.text(min_size=1, max_size=12)
words = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
signatures = st.none() | st.sampled_from(["c2ln", "YQ=="])
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
objects = st.dictionaries(texts, scalars | st.lists(scalars, max_size=2), max_size=3)
arguments = objects.map(lambda value: jsontext.encode(value).decode())

said = texts.map(Text)
media = (
    st.builds(Image, st.just("AAAA"), st.sampled_from(["image/png", "image/webp"]), detail=st.sampled_from([None, "low", "high"]))
    | st.builds(Image, url=st.just("https://x.test/a.png"), media_type=st.just("image/png"))
    | st.builds(Audio, st.just("AAAA"), st.sampled_from(["mp3", "wav", "ogg"]))
    | st.builds(File, st.just("AAAA"), st.sampled_from(["application/pdf", "video/mp4"]))
    | st.builds(File, url=st.just("https://x.test/f"))
)  # fmt: skip
thoughts = st.builds(Thinking, texts, signatures, origin=st.just(GEMINI))
seals = st.builds(Thinking, st.just(""), st.just("c2ln"), origin=st.just(GEMINI))


@st.composite
def results(draw: st.DrawFn, call: ToolCall) -> ToolResult:
    text = draw(texts | arguments.filter(lambda text: text != "{}"))
    return ToolResult(call.id, (Text(text),), call.name, is_error=draw(st.booleans()))


@st.composite
def exchanges(draw: st.DrawFn, number: int) -> tuple[Message, ...]:
    """A user's turn and the model's, and if that holds calls, their results and the model's last word."""
    user = Message(Role.USER, tuple(draw(st.lists(said | media, min_size=1, max_size=3))))
    spoken = draw(st.lists(thoughts | said | st.tuples(said, seals), min_size=1, max_size=3))
    parts = [part for item in spoken for part in (item if isinstance(item, tuple) else (item,))]
    names = draw(st.lists(words, max_size=3))
    calls = [
        ToolCall(f"id{number}{place}", name, draw(arguments), signature=draw(signatures) if place else "c2ln")
        for place, name in enumerate(names)
    ]
    if not calls:
        return user, Message(Role.ASSISTANT, tuple(parts))
    answers = tuple(draw(results(call)) for call in calls)
    last = Message(Role.ASSISTANT, (draw(said),))
    return user, Message(Role.ASSISTANT, (*parts, *calls)), Message(Role.TOOL, answers), last


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    system = draw(st.lists(said, max_size=2))
    head = (Message(Role.SYSTEM, tuple(system)),) if system else ()
    turns = [message for number in range(draw(st.integers(1, 3))) for message in draw(exchanges(number))]
    return (*head, *turns)


schemas = st.sampled_from([None, {"type": "object", "properties": {"a": {"const": 1}}}])
tools = st.builds(Tool, words, st.none() | texts, schemas)
choices = st.sampled_from(
    [None, ToolChoice("auto"), ToolChoice("none"), ToolChoice("required"), ToolChoice("named", ("f",)),
     ToolChoice("required", ("f", "g")), ToolChoice("auto", ("f",))]
)  # fmt: skip
formats = st.sampled_from(
    [None, OutputFormat("text"), OutputFormat("json_object"), OutputFormat("json_schema", {"type": "object"})]
)
shares = st.none() | st.floats(0, 2)
counts = st.none() | st.integers(1, 2**31)
samplings = st.builds(
    Sampling, shares, shares, counts, counts, st.lists(texts, max_size=3).map(tuple), counts, shares, shares, st.none(),
    st.none() | st.booleans(), counts, st.none() | st.integers(1, 8),
)  # fmt: skip
own_fields: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT"}]},
        {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}, "store": True},
    ]
)


@st.composite
def chats(draw: st.DrawFn) -> Chat:
    offered = tuple(draw(st.lists(tools, max_size=2)))
    extras: dict[str, Any] = draw(own_fields)
    return Chat(
        messages=draw(conversations()),
        tools=offered,
        tool_choice=draw(choices) if offered else None,
        output_format=draw(formats),
        sampling=draw(samplings),
        effort=draw(st.sampled_from([None, "minimal", "low", "medium", "high", "xhigh"])),
        metadata=draw(st.sampled_from([{}, {"team": "blue"}])),
        service_tier=draw(st.sampled_from([None, "default", "flex", "priority"])),
        extras={GEMINI: extras} if extras else {},
    )


def reread(chat: Chat, upstream: str = "gemini-3.8-flash") -> Any:
    call = ADAPTER.format_call(REQUEST, chat, deployment(upstream), NO_OVERRIDES)
    assert call.warnings == ()
    return GENERATE.parse_content(ask(json.loads(call.body)))


@given(chats())
def test_a_conversation_comes_back_as_it_went_out(chat: Chat) -> None:
    assert reread(chat) == chat


@pytest.mark.parametrize("budget", [0, 512, 24576])
def test_a_budget_comes_back_as_it_went_out(budget: int) -> None:
    chat = Chat((Message(Role.USER, (Text("hi"),)),), thinking_budget=budget)
    assert reread(chat, "gemini-2.5-flash") == chat


@given(st.lists(texts, min_size=1, max_size=3), counts, st.sampled_from([None, "search_query", "clustering"]))
def test_texts_to_embed_come_back_as_they_went_out(
    inputs: list[str], size: int | None, kind: str | None
) -> None:
    embed = Embed(tuple(inputs), size, input_type=kind, extras={GEMINI: {"title": "t"}})
    call = ADAPTER.format_call(REQUEST, embed, deployment(), NO_OVERRIDES)
    assert EMBED.parse_content(ask(json.loads(call.body), "/v1/models/m:batchEmbedContents")) == embed


# --- answers ----------------------------------------------------------------------------------------------------

usages = st.builds(
    lambda read, cached, written, thought: Usage(read + cached, written + thought, cached, reasoning_tokens=thought),
    st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6),
)  # fmt: skip
finishes = st.sampled_from(
    [(Finish.STOP, "STOP"), (Finish.LENGTH, "MAX_TOKENS"), (Finish.CONTENT_FILTER, "RECITATION")]
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    made = []
    for _ in range(draw(st.integers(1, 2))):
        parts: list[Part] = [draw(thoughts), draw(said)]
        calls = [
            ToolCall(f"c{place}", draw(words), draw(arguments), signature=draw(signatures))
            for place in range(draw(st.integers(0, 2)))
        ]
        finish, native = draw(finishes)
        if calls and finish is Finish.STOP:
            finish = Finish.TOOL_CALLS
        made.append(Choice((*parts, *calls), finish, native))
    return Answer("r-1", "alias", tuple(made), draw(usages))


@given(answers())
def test_an_answer_comes_back_as_it_went_out(answer: Answer) -> None:
    body = GENERATE.format_answer(answer, REQUEST, model="alias", id="x", created_s=0)
    assert ADAPTER.parse_answer(REQUEST, body) == answer


@given(answers())
def test_a_stream_comes_back_as_it_went_out_in_both_forms(answer: Answer) -> None:
    for surface in (GENERATE, STREAM_ARRAY):
        encoder = surface.new_encoder(REQUEST, model="alias", id="x", created_s=0)
        data = b"".join([*(encoder.feed(event) for event in unfold(answer)), encoder.close()])
        decoder = ADAPTER.new_decoder(REQUEST)
        assert fold([*decoder.feed(data), *decoder.close()]) == answer


def test_counts_and_vectors_come_back_as_they_went_out() -> None:
    count = ask({"contents": HELLO}, "/v1/models/m:countTokens")
    body = GENERATE.format_answer(TokenCount(7), count, model="m", id="x", created_s=0)
    assert ADAPTER.parse_answer(count, body) == TokenCount(7)
    embed = ask({"content": HELLO[0]}, "/v1/models/m:embedContent")
    vectors = Vectors("", ((0.5, -1.0),), Usage(3))
    body = EMBED.format_answer(vectors, embed, model="m", id="x", created_s=0)
    assert ADAPTER.parse_answer(embed, body) == vectors
