"""Surfaces and adapters together: what one writes the other reads, and every pair carries a conversation."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters import ADAPTERS, openai_chat
from llmproxyd.adapters.openai_answer import parse_answer
from llmproxyd.adapters.openai_relay import new_relay
from llmproxyd.adapters.openai_stream import new_decoder
from llmproxyd.surfaces import SURFACE_NAMES, SURFACES
from llmproxyd.values.answer import (
    Answer,
    Choice,
    Event,
    Finish,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenCount,
    ToolCallDelta,
    UsageReported,
    Vectors,
    fold,
    unfold,
)
from llmproxyd.values.contracts import Adapter, Surface
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import (
    NO_OVERRIDES,
    Audio,
    Chat,
    Dialect,
    Embed,
    File,
    Image,
    Message,
    Operation,
    OutputFormat,
    Part,
    Refusal,
    Request,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests import wire
from tests.adapters.build import MINE, PLACES, PLAIN, ask, bare, deployment, said, surface_at
from tests.support.records import replace

CHAT = SURFACES["/v1/chat/completions"]


@dataclass(frozen=True)
class Recorded:
    """What was recorded of a provider: whole bodies by operation, and streams."""

    folder: str
    whole: dict[Operation, str]
    streams: tuple[str, ...]


_TALKED = {Operation.CHAT: "response", Operation.COMPLETION: "response"}
RECORDED = {
    Dialect.OPENAI_CHAT: Recorded(
        "openai_chat",
        {**_TALKED, Operation.EMBEDDING: "embeddings_response"},
        ("text", "tools", "openrouter", "azure"),
    ),
    Dialect.OPENAI_RESPONSES: Recorded(
        "openai_responses",
        {**_TALKED, Operation.COUNT_TOKENS: "input_tokens"},
        ("text", "tools", "custom", "incomplete"),
    ),
    Dialect.ANTHROPIC_MESSAGES: Recorded(
        "anthropic-messages",
        {**_TALKED, Operation.COUNT_TOKENS: "count_tokens"},
        ("thinking_text_tool", "thought_omitted", "citations", "refusal"),
    ),
    Dialect.GEMINI_GENERATE: Recorded(
        "gemini-generate",
        {**_TALKED, Operation.COUNT_TOKENS: "count_tokens", Operation.EMBEDDING: "batch_embed"},
        ("text", "tools", "length"),
    ),
    Dialect.COHERE_CHAT: Recorded(
        "cohere_chat", {**_TALKED, Operation.EMBEDDING: "embed"}, ("text", "tools", "thinking", "cited")
    ),
    Dialect.OLLAMA_CHAT: Recorded(
        "ollama_chat", {**_TALKED, Operation.EMBEDDING: "embed"}, ("text", "tools", "generate")
    ),
}
SHOWN = {
    Operation.CHAT: "It is 7 °C in Łódź.",
    Operation.COMPLETION: "It is 7 °C in Łódź.",
    Operation.EMBEDDING: "[0.5, -0.25]",
    Operation.COUNT_TOKENS: "120",
}
"""What every whole recording says."""

ANSWERS: dict[Operation, type] = {
    Operation.CHAT: Answer,
    Operation.COMPLETION: Answer,
    Operation.EMBEDDING: Vectors,
    Operation.COUNT_TOKENS: TokenCount,
}
NAMELESS = {
    "openai-responses-input-tokens", "anthropic-count-tokens", "gemini-count-tokens", "gemini-embeddings",
    "ollama-embeddings",
}  # fmt: skip
"""Surfaces whose answers do not name a model."""

LAST = {
    "openai-chat": rb"data: \[DONE\]\n\n",
    "openai-completions": rb"data: \[DONE\]\n\n",
    "openai-responses": rb"event: response\.(completed|incomplete)\ndata: \{.*\}\n\n",
    "anthropic-messages": rb'event: message_stop\ndata: \{"type":"message_stop"\}\n\n',
    "gemini-generate": rb'"(finish|block)Reason":"[A-Z_]+".*\}\s*\]?\s*',
    "ollama-chat": rb'\{.*"done":true.*\}\n',
    "ollama-generate": rb'\{.*"done":true.*\}\n',
}
"""How a good stream ends."""

_CUTS = 40
TALK = {Operation.CHAT, Operation.COMPLETION}


def name_of(path: str, adapter: Adapter) -> str:
    return f"{path} to {adapter.dialect.value}"


PAIRS = [
    pytest.param(path, adapter, id=name_of(path, adapter))
    for path, adapter in product(PLACES, ADAPTERS.values())
    if surface_at(path).operation in adapter.operations
]
TALKING_PAIRS = [pair for pair in PAIRS if surface_at(str(pair.values[0])).operation in TALK]
STREAMING_PAIRS = [
    pytest.param(path, adapter, case, id=f"{name_of(path, adapter)}, {case}")
    for path, adapter in product(PLACES, ADAPTERS.values())
    if surface_at(path).operation in adapter.operations & TALK and not path.endswith(":generateContent")
    for case in RECORDED[adapter.dialect].streams
]


def stream_from(path: str, **document: Any) -> Request:
    """Google's clients choose by the address whether they stream."""
    return ask(path, **({} if ":" in path else {"stream": True}), **document)


def test_the_tables_are_keyed_by_what_their_rows_say() -> None:
    assert {dialect: adapter.dialect for dialect, adapter in ADAPTERS.items()} == {d: d for d in ADAPTERS}
    assert set(ADAPTERS) == set(RECORDED) == set(Dialect)
    named = {surface.name: surface for surface in SURFACES.values()}
    assert all(named[surface.name] is surface for surface in SURFACES.values()), "two that share a name"


def test_every_surface_is_tested_here_and_known_to_rules() -> None:
    tested = {surface_at(path).name for path in PLACES}
    assert tested == SURFACE_NAMES
    assert tested >= {surface.name for surface in SURFACES.values()}


# --- every surface with every adapter -----------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "adapter"), PAIRS)
def test_every_surface_reaches_every_provider(path: str, adapter: Adapter) -> None:
    there = deployment(dialect=adapter.dialect)
    request = ask(path)
    call = adapter.format_call(request, surface_at(path).parse_content(request), there, NO_OVERRIDES)
    document = json.loads(call.body)
    assert "hello" in json.dumps(document)
    assert document.get("model") == "up-model" or "/models/up-model:" in call.url
    assert call.url.startswith(there.provider.base_url + "/")
    assert call.warnings == ()


@pytest.mark.parametrize(("path", "adapter"), TALKING_PAIRS)
def test_what_only_the_clients_dialect_knows_is_carried_or_told(path: str, adapter: Adapter) -> None:
    surface = surface_at(path)
    request = ask(path, frills="kept")
    there = deployment(dialect=adapter.dialect)
    call = adapter.format_call(request, surface.parse_content(request), there, NO_OVERRIDES)
    own = surface.dialect is adapter.dialect
    assert (json.loads(call.body).get("frills") == "kept") is own
    assert (f"frills: not carried to {adapter.dialect.value}" in call.warnings) is not own


@pytest.mark.parametrize(("path", "adapter"), PAIRS)
def test_every_recorded_answer_reaches_every_client(path: str, adapter: Adapter) -> None:
    surface, recorded, request = surface_at(path), RECORDED[adapter.dialect], ask(path)
    answer = adapter.parse_answer(request, wire.whole(recorded.folder, recorded.whole[surface.operation]))
    assert not isinstance(answer, Failure)
    assert isinstance(answer, ANSWERS[surface.operation])
    body = surface.format_answer(answer, request, model="alias", id="ours", created_s=1)
    shown = json.dumps(json.loads(body), ensure_ascii=False)
    assert SHOWN[surface.operation] in shown
    assert ('"alias"' in shown) is (surface.name not in NAMELESS)


@pytest.mark.parametrize(("path", "adapter", "case"), STREAMING_PAIRS)
def test_every_recorded_stream_reaches_every_client_wherever_it_is_cut(
    path: str, adapter: Adapter, case: str
) -> None:
    surface, request = surface_at(path), stream_from(path)
    data = wire.stream(RECORDED[adapter.dialect].folder, case)
    written = {
        encode(surface, request, wire.decode(lambda: adapter.new_decoder(request), [data[:cut], data[cut:]]))
        for cut in range(0, len(data), len(data) // _CUTS)
    }
    (only,) = written
    assert re.search(rb"(?:" + LAST[surface.name] + rb")\Z", only)
    assert b'"alias"' in only


# --- what one writes the other reads ------------------------------------------------------------------------------


def encode(surface: Surface, request: Request, events: list[Event]) -> bytes:
    encoder = surface.new_encoder(request, model="alias", id="ours", created_s=9)
    return b"".join(map(encoder.feed, events)) + encoder.close()


TEXT = st.text(st.characters(exclude_characters="<"), min_size=1, max_size=20)
NAME = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
CALL_ID = NAME.map(lambda name: f"call_{name}")
DATA = st.from_regex(r"[A-Za-z0-9+/]{4,12}", fullmatch=True)
OBJECT = st.dictionaries(NAME, st.none() | st.booleans() | st.integers(-9, 9) | TEXT, max_size=3)
CALLS = st.builds(ToolCall, CALL_ID, NAME, TEXT, st.sampled_from(["function", "custom"]), st.none() | NAME)
IMAGES = st.builds(
    Image, data=DATA, media_type=st.none() | st.just("image/png"), detail=st.sampled_from([None, "low"])
)
PICTURES = IMAGES | st.builds(Image, url=NAME.map(lambda name: f"https://example.test/{name}"))
FILES = st.builds(
    File, data=DATA, media_type=st.sampled_from([None, "application/pdf"]), filename=st.none() | NAME
)
AUDIO = st.builds(Audio, DATA, st.sampled_from(["wav", "mp3"]))
SPOKEN = st.lists(st.builds(Text, TEXT), min_size=1, max_size=3).map(tuple)
THOUGHTS = st.lists(
    st.builds(Thinking, TEXT, NAME, origin=st.just(Dialect.OPENAI_CHAT), item_id=st.none() | NAME)
    | st.builds(Thinking, st.just(""), st.none(), NAME, st.just(Dialect.OPENAI_CHAT)),
    max_size=2,
).map(tuple)
PLAIN_THOUGHT = st.builds(Thinking, TEXT, origin=st.just(Dialect.OPENAI_CHAT)).map(lambda thought: (thought,))


def joined(*groups: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(part for group in groups for part in group)


MESSAGES = st.one_of(
    st.builds(Message, st.sampled_from([Role.SYSTEM, Role.DEVELOPER]), SPOKEN, st.none() | NAME),
    st.builds(
        Message,
        st.just(Role.USER),
        st.lists(st.builds(Text, TEXT) | PICTURES | FILES | AUDIO, min_size=1, max_size=3).map(tuple),
        st.none() | NAME,
    ),
    st.builds(
        Message,
        st.just(Role.ASSISTANT),
        st.builds(
            joined,
            THOUGHTS | PLAIN_THOUGHT,
            st.just(()) | SPOKEN | st.builds(Refusal, TEXT).map(lambda refusal: (refusal,)),
            st.lists(CALLS, max_size=2).map(tuple),
        ),
    ),
    st.builds(
        lambda call_id, parts, name: Message(Role.TOOL, (ToolResult(call_id, parts, name),)),
        CALL_ID,
        SPOKEN,
        st.none() | NAME,
    ),
)
TOOLS = st.builds(Tool, NAME, st.none() | TEXT, st.none() | OBJECT, st.none() | st.booleans())
NUMBER = st.none() | st.floats(0, 2) | st.integers(0, 2)
COUNT = st.none() | st.integers(1, 100)
SAMPLING = st.builds(
    Sampling,
    temperature=NUMBER, top_p=NUMBER, max_tokens=COUNT, stop=st.lists(TEXT, max_size=2).map(tuple), seed=COUNT,
    frequency_penalty=NUMBER, presence_penalty=NUMBER, logit_bias=st.none() | st.just({"7": -1.5}),
    logprobs=st.none() | st.booleans(), top_logprobs=st.none() | st.integers(0, 20), n=st.none() | st.integers(1, 128),
)  # fmt: skip
OUTPUTS = st.none() | st.builds(
    OutputFormat, st.just("json_schema"), OBJECT, NAME, st.none() | st.booleans(), st.none() | TEXT
) | st.sampled_from([OutputFormat("text"), OutputFormat("json_object")])  # fmt: skip


@st.composite
def chats(draw: st.DrawFn) -> Chat:
    tools = tuple(draw(st.lists(TOOLS, max_size=2)))
    choices = [None, ToolChoice("auto"), ToolChoice("none"), ToolChoice("required")]
    if tools:
        choices += [ToolChoice("named", (tools[0].name,)), ToolChoice("auto", (tools[0].name,))]
    return Chat(
        messages=tuple(draw(st.lists(MESSAGES, min_size=1, max_size=4))),
        tools=tools,
        tool_choice=draw(st.sampled_from(choices)) if tools else None,
        parallel_tool_calls=draw(st.none() | st.booleans()) if tools else None,
        output_format=draw(OUTPUTS),
        sampling=draw(SAMPLING),
        effort=draw(st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max"])),
        user=draw(st.none() | TEXT),
        metadata=draw(st.dictionaries(NAME, TEXT, max_size=2)),
        service_tier=draw(st.sampled_from([None, "flex"])),
        extras=draw(st.sampled_from([{}, {Dialect.OPENAI_CHAT: {"verbosity": "low", "store": False}}])),
    )


@given(chats(), st.booleans())
def test_a_conversation_that_was_formatted_reads_back_the_same(chat: Chat, stream: bool) -> None:
    call = openai_chat.format_call(
        bare(stream=stream), chat, deployment(MINE, preset="openrouter"), NO_OVERRIDES
    )
    request = CHAT.parse_request({}, call.body, "/v1/chat/completions")
    assert CHAT.parse_content(request) == chat
    assert (request.model, request.stream) == ("up-model", stream)


@given(chats())
def test_splicing_changes_nothing_that_was_not_asked_for(chat: Chat) -> None:
    body = openai_chat.format_call(bare(stream=True), chat, deployment(MINE), NO_OVERRIDES).body
    request = CHAT.parse_request({}, body, "/v1/chat/completions")
    spliced = openai_chat.splice_call(request, deployment(MINE, upstream="other"), NO_OVERRIDES)
    assert json.loads(spliced.body) == json.loads(body) | {"model": "other"}


@given(st.lists(TEXT | st.lists(st.integers(0, 9), min_size=1).map(tuple), min_size=1), COUNT)
def test_inputs_to_embed_read_back_the_same(inputs: list[Any], dimensions: int | None) -> None:
    embed = Embed(tuple(inputs), dimensions, user="u", extras={Dialect.OPENAI_CHAT: {"truncate": "END"}})
    call = openai_chat.format_call(bare(Operation.EMBEDDING), embed, deployment(PLAIN), NO_OVERRIDES)
    surface = SURFACES["/v1/embeddings"]
    assert surface.parse_content(surface.parse_request({}, call.body, "/v1/embeddings")) == embed


def test_a_prompt_reads_back_the_same() -> None:
    call = openai_chat.format_call(bare(Operation.COMPLETION), said("once"), deployment(), NO_OVERRIDES)
    surface = SURFACES["/v1/completions"]
    assert surface.parse_content(surface.parse_request({}, call.body, "/v1/completions")) == said("once")


USAGES = st.none() | st.builds(
    Usage, st.integers(0, 99), st.integers(20, 99), st.integers(0, 9), st.integers(0, 9), reasoning_tokens=st.integers(0, 9)
)  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    choices = draw(
        st.lists(
            st.tuples(THOUGHTS | PLAIN_THOUGHT, st.none() | TEXT, st.lists(CALLS, max_size=2)),
            min_size=1,
            max_size=3,
        )
    )
    return Answer(
        id=draw(NAME),
        model="alias",
        choices=tuple(
            Choice(
                parts=(
                    # Where something was, its maker's name and seals come back; the id of a block only does so whole.
                    *(replace(thought, item_id=None) for thought in thoughts),
                    *([Text(text)] if text else []),
                    *calls,
                ),
                finish=Finish.TOOL_CALLS if calls else Finish.LENGTH,
                native_finish="tool_calls" if calls else "length",
            )
            for thoughts, text, calls in choices
        ),
        usage=draw(USAGES),
        created_s=draw(st.integers(1, 2**31)),
    )


@given(answers())
def test_a_whole_answer_that_was_formatted_reads_back_the_same(answer: Answer) -> None:
    body = CHAT.format_answer(answer, ask(), model="alias", id="ours", created_s=9)
    assert parse_answer(bare(), body) == answer


@given(answers(), st.data())
def test_a_stream_that_was_encoded_decodes_to_the_same_answer(answer: Answer, data: st.DataObject) -> None:
    # Reasoning text streams as it comes; a block that was never sealed has no border to the next.
    request = replace(ask(stream=True), wants_usage=True)
    written = encode(CHAT, request, unfold(answer))
    cut = data.draw(st.integers(0, len(written)))
    read = fold(wire.decode(lambda: new_decoder(request), [written[:cut], written[cut:]]))
    assert read == answer


@given(answers(), st.data())
def test_a_stream_that_was_encoded_passes_the_verbatim_lane_untouched(
    answer: Answer, data: st.DataObject
) -> None:
    written = encode(CHAT, replace(ask(stream=True), wants_usage=True), unfold(answer))
    cut = data.draw(st.integers(0, len(written)))
    relay = new_relay(echo="alias", keep_usage=True)
    progress = [relay.feed(written[:cut]), relay.feed(written[cut:]), relay.close()]
    assert b"".join(piece.out for piece in progress) == written
    assert [piece.failure for piece in progress] == [None] * 3


@pytest.mark.parametrize(
    "text", ["a\u2028b", "a\u2029b", "a\u0085b", "\ud83c", "a\x00b", "\r\n\r\ndata: [DONE]\r\n"]
)
def test_no_text_breaks_a_stream(text: str) -> None:
    request = ask(stream=True)
    events: list[Event] = [
        Started("a", "alias", 1),
        ThinkingDelta(text, origin=Dialect.OPENAI_CHAT),
        TextDelta(text),
        ToolCallDelta(0, "c", "f", text),
        Finished(Finish.TOOL_CALLS, native="tool_calls"),
        UsageReported(Usage(1, 2)),
    ]
    written = encode(CHAT, replace(request, wants_usage=True), events)
    read = wire.decode(lambda: new_decoder(request), [written[i : i + 1] for i in range(len(written))])
    assert read == events
