"""The dialect is spoken on both sides: what one side writes the other reads back, and the official client agrees."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from llmproxyd import jsontext
from llmproxyd.adapters.anthropic_messages import ADAPTER
from llmproxyd.adapters.ollama_chat import ADAPTER as OLLAMA
from llmproxyd.adapters.openai_chat import ADAPTER as OPENAI
from llmproxyd.surfaces.anthropic_messages import COUNT_SURFACE, SURFACE
from llmproxyd.values.answer import Answer, Choice, Event, Finish, Started, TokenCount, fold, unfold
from llmproxyd.values.contracts import Adapter
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import (
    NO_OVERRIDES,
    CacheMark,
    Chat,
    Dialect,
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
from llmproxyd.values.snapshot import Deployment, Quirks
from tests import wire
from tests.adapters import build
from tests.adapters.anthropic_build import NEW, ask, deployment, envelope
from tests.support.records import replace
from tests.surfaces.test_anthropic_stream import frames_of, message_of

OWN = Dialect.ANTHROPIC_MESSAGES
PARAMS: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
COUNT_PARAMS: TypeAdapter[Any] = TypeAdapter(MessageCountTokensParams)


def check(adapter: TypeAdapter[Any], value: Any) -> None:
    """The client's models read lists only when somebody looks into them."""
    _read_all(adapter.validate_python(value))


def _read_all(value: Any) -> None:
    if isinstance(value, dict):
        value = value.values()
    elif isinstance(value, str) or not hasattr(value, "__iter__"):
        return
    for item in value:
        _read_all(item)


WORDS = st.text(min_size=1, max_size=8).filter(lambda text: bool(text.strip()))
MARKS = st.none() | st.builds(CacheMark, st.sampled_from([None, "5m", "1h"]))
TEXTS = st.builds(Text, WORDS, MARKS)
PNG, PDF = "iVBORw0KGgoAAAANSUhEUg==", "JVBERi0xLjcK"
PICTURES = st.sampled_from([Image(PNG, "image/png"), Image(url="https://x.test/a.png", cache=CacheMark())])
DOCUMENTS = st.sampled_from(
    [
        File(PDF, "application/pdf", filename="a.pdf"),
        File(text="x"),
        File(url="https://x.test/a"),
        File(file_id="f"),
    ]
)
THOUGHTS = st.one_of(
    st.builds(lambda text: Thinking(text, "EqQB", origin=OWN), st.text(max_size=5)),
    st.just(Thinking(encrypted="EmwK", origin=OWN)),
)
INPUTS = st.sampled_from(["", '{"a":1}', '{"a":{"b":["é",null]}}'])


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns as every dialect has them: a user's, an assistant's with calls, their results."""
    messages = [Message(Role.SYSTEM, tuple(draw(st.lists(TEXTS, min_size=1, max_size=2))))] * draw(
        st.integers(0, 1)
    )
    calls = 0
    for _ in range(draw(st.integers(1, 3))):
        shown = draw(st.lists(TEXTS | PICTURES | DOCUMENTS, min_size=1, max_size=3))
        messages.append(Message(Role.USER, tuple(shown)))
        spoken: list[Part] = [
            *draw(st.lists(THOUGHTS, max_size=2)),
            *draw(st.lists(TEXTS, min_size=1, max_size=2)),
        ]
        made = [
            ToolCall(f"toolu_{calls + i}", draw(st.sampled_from(["get", "mcp-put"])), draw(INPUTS))
            for i in range(draw(st.integers(0, 2)))
        ]
        calls += len(made)
        messages.append(Message(Role.ASSISTANT, (*spoken, *made)))
        if made:
            results = [
                ToolResult(
                    call.id,
                    tuple(draw(st.lists(TEXTS | PICTURES, max_size=2))),
                    None,
                    draw(st.booleans()),
                    draw(MARKS),
                )
                for call in made
            ]
            messages.append(Message(Role.TOOL, tuple(results)))
    messages.append(Message(Role.USER, (draw(TEXTS),)))
    return tuple(messages)


TOOLS = st.lists(
    st.builds(
        Tool,
        st.sampled_from(["get", "mcp-put"]),
        st.none() | WORDS,
        st.just({"type": "object", "properties": {"a": {"type": "integer"}}}),
        st.none() | st.booleans(),
        cache=MARKS,
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda tool: tool.name,
)
CHATS = st.builds(
    Chat,
    messages=conversations(),
    tools=TOOLS.map(tuple),
    tool_choice=st.sampled_from([ToolChoice("auto"), ToolChoice("none")]),
    output_format=st.none() | st.just(OutputFormat("json_schema", {"type": "object", "minProperties": 1})),
    sampling=st.builds(
        Sampling, max_tokens=st.integers(0, 64_000), stop=st.lists(WORDS, max_size=2).map(tuple)
    ),
    effort=st.sampled_from([None, "none", "low", "medium", "high", "xhigh", "max"]),
    user=st.none() | st.text(min_size=1, max_size=64),
    service_tier=st.sampled_from([None, "auto", "default"]),
    extras=st.sampled_from([{}, {OWN: {"speed": "fast", "context_management": {"edits": []}}}]),
)


@given(CHATS)
def test_what_the_adapter_writes_the_surface_reads_back(chat: Chat) -> None:
    call = ADAPTER.format_call(envelope(OWN), chat, deployment(), NO_OVERRIDES)
    assert call.warnings == ()
    read = SURFACE.parse_content(SURFACE.parse_request(call.headers, call.body, "/v1/messages"))
    assert read == chat


@given(CHATS)
def test_the_official_client_would_send_what_the_adapter_writes(chat: Chat) -> None:
    body = jsontext.decode(ADAPTER.format_call(envelope(OWN), chat, deployment(), NO_OVERRIDES).body)
    check(PARAMS, body)
    count = ADAPTER.format_call(envelope(OWN, Operation.COUNT_TOKENS), chat, deployment(), NO_OVERRIDES)
    check(COUNT_PARAMS, jsontext.decode(count.body))


PARTS = st.lists(
    st.one_of(
        WORDS.map(Text),
        st.builds(lambda text: Thinking(text, "EqQB", origin=OWN), st.text(max_size=5)),
        st.just(Thinking(encrypted="EmwK", origin=OWN)),
    ),
    max_size=4,
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    parts: list[Part] = []
    for part in draw(PARTS):
        if not (parts and isinstance(parts[-1], Text) and isinstance(part, Text)):
            parts.append(part)
    parts += [ToolCall(f"toolu_{i}", "get", draw(INPUTS)) for i in range(draw(st.integers(0, 2)))]
    reason = (
        "tool_use"
        if isinstance(parts[-1] if parts else None, ToolCall)
        else draw(st.sampled_from(["end_turn", "max_tokens"]))
    )
    finish = {"tool_use": Finish.TOOL_CALLS, "end_turn": Finish.STOP, "max_tokens": Finish.LENGTH}[reason]
    shares = draw(st.tuples(*[st.integers(0, 9)] * 4))
    usage = Usage(
        input_tokens=sum(shares),
        output_tokens=20,
        cache_read_tokens=shares[0],
        cache_write_tokens=shares[1],
        cache_write_1h_tokens=shares[2],
        reasoning_tokens=draw(st.integers(0, 20)),
    )
    return Answer("msg_1", "smart", (Choice(tuple(parts), finish, reason),), usage)


REQUEST = Request(Operation.CHAT, OWN, "anthropic-messages", "smart", True, b"{}", {})


@given(answers())
def test_a_whole_answer_comes_back_as_it_was(answer: Answer) -> None:
    body = SURFACE.format_answer(answer, REQUEST, model="smart", id="r", created_s=0)
    assert ADAPTER.parse_answer(REQUEST, body) == answer


@given(answers(), st.data())
def test_a_stream_comes_back_as_it_was(answer: Answer, data: st.DataObject) -> None:
    encoder = SURFACE.new_encoder(REQUEST, model="smart", id="r", created_s=0)
    out = b"".join(map(encoder.feed, unfold(answer))) + encoder.close()
    cut = data.draw(st.integers(0, len(out)))
    events = wire.decode(lambda: ADAPTER.new_decoder(REQUEST), [out[:cut], out[cut:]])
    read = fold(events)
    assert isinstance(read, Answer)
    assert _without_empty_objects(read) == answer


def _without_empty_objects(answer: Answer) -> Answer:
    """A stream says ``{}`` for a call without arguments, so that clients have something to read."""
    choice = answer.choices[0]
    parts = tuple(
        replace(part, arguments="") if isinstance(part, ToolCall) and part.arguments == "{}" else part
        for part in choice.parts
    )
    return replace(answer, choices=(replace(choice, parts=parts),))


# --- Claude Code, answered by somebody else ---------------------------------------------------------------------

CLAUDE_CODE: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 64_000,
    "stream": True,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329.abc; cc_entrypoint=cli;"},
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "Work in /src.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "fix it", "cache_control": {"type": "ephemeral"}}],
        },
        {"role": "system", "content": "Today is Saturday."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": "EqQB"},
                {"type": "tool_use", "id": "toolu_1", "name": "ToolSearch", "input": {"query": "edit"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "tool_reference", "tool_name": "Edit"}],
                }
            ],
        },
    ],
    "tools": [
        {"name": "ToolSearch", "description": "d", "input_schema": {"type": "object", "properties": {}}},
        {"name": "Edit", "description": "d", "input_schema": {"type": "object"}, "defer_loading": True},
    ],
    "metadata": {"user_id": json.dumps({"device_id": "d" * 64, "session_id": "s"})},
    "thinking": {"type": "adaptive", "display": "omitted"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
}
HEADERS = {"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219,effort-2025-11-24"}


def test_claude_code_works_with_an_openai_like_server() -> None:
    request = SURFACE.parse_request(HEADERS, jsontext.encode(CLAUDE_CODE), "/v1/messages?beta=true")
    call = OPENAI.format_call(request, SURFACE.parse_content(request), build.deployment(), NO_OVERRIDES)
    body = jsontext.decode(call.body)
    assert "billing" not in call.body.decode()
    assert not {"anthropic-version", "anthropic-beta"} & call.headers.keys()
    assert not {"context_management", "thinking", "output_config"} & body.keys()
    assert [message["role"] for message in body["messages"]] == [
        "system",
        "user",
        "system",
        "assistant",
        "tool",
    ]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["ToolSearch", "Edit"]
    assert (body["reasoning_effort"], body["stream"]) == ("high", True)
    assert len(body["user"]) <= 64


def test_claude_code_reaches_anthropic_as_it_is() -> None:
    assert ADAPTER.splice_call is not None
    data = jsontext.encode(CLAUDE_CODE)
    request = SURFACE.parse_request(HEADERS, data, "/v1/messages?beta=true")
    call = ADAPTER.splice_call(request, deployment(), NO_OVERRIDES)
    assert (call.body, call.warnings) == (data, ())
    assert HEADERS.items() <= call.headers.items()


def test_claude_code_is_translated_for_a_server_that_wants_no_foreign_bodies() -> None:
    request = SURFACE.parse_request(HEADERS, jsontext.encode(CLAUDE_CODE), "/v1/messages")
    target: Deployment = deployment(NEW, quirks=Quirks(verbatim=False))
    call = ADAPTER.format_call(request, SURFACE.parse_content(request), target, NO_OVERRIDES)
    body = jsontext.decode(call.body)
    for name in ("thinking", "output_config", "context_management", "metadata", "max_tokens", "stream"):
        assert body[name] == CLAUDE_CODE[name]
    assert body["messages"][2] == CLAUDE_CODE["messages"][2]
    assert call.warnings == ("tools.defer_loading: not carried to anthropic-messages",)
    check(
        PARAMS, {name: value for name, value in body.items() if name not in ("context_management", "stream")}
    )


# --- other dialects' answers, and other dialects' clients --------------------------------------------------------


def recordings(adapter: Adapter) -> list[tuple[Adapter, str, str]]:
    """Those that end well."""
    dialect = adapter.dialect.value.replace("-", "_")
    good = [case for case in wire.cases(dialect) if wire.expected(dialect, case)[-1]["event"] != "Failed"]
    return [(adapter, dialect, case) for case in good]


@pytest.mark.parametrize(("adapter", "dialect", "case"), [*recordings(OPENAI), *recordings(OLLAMA)])
def test_a_recorded_answer_of_another_dialect_reaches_the_official_client(
    adapter: Adapter, dialect: str, case: str
) -> None:
    events = wire.decode(lambda: adapter.new_decoder(build.bare()), [wire.stream(dialect, case)])
    encoder = SURFACE.new_encoder(REQUEST, model="smart", id="r", created_s=0)
    documents = frames_of(b"".join(map(encoder.feed, events)) + encoder.close())
    message = message_of([document for document in documents if document["type"] != "ping"])
    wanted = fold(events)
    assert isinstance(wanted, Answer)
    told = "".join(part.text for part in wanted.choices[0].parts if isinstance(part, (Text, Refusal)))
    called = [part.name for part in wanted.choices[0].parts if isinstance(part, ToolCall)]
    assert "".join(block.text for block in message.content if block.type == "text") == told
    assert [block.name for block in message.content if block.type == "tool_use"] == called


@pytest.mark.parametrize("case", [case for case in wire.cases("anthropic-messages") if case != "error"])
def test_a_recorded_answer_of_anthropics_comes_out_of_its_own_surface_as_it_went_in(case: str) -> None:
    events = wire.decode(lambda: ADAPTER.new_decoder(REQUEST), [wire.stream("anthropic-messages", case)])
    encoder = SURFACE.new_encoder(REQUEST, model="claude-opus-5-5", id="r", created_s=0)
    out = b"".join(map(encoder.feed, events)) + encoder.close()
    again = fold(wire.decode(lambda: ADAPTER.new_decoder(REQUEST), [out]))
    wanted = fold(events)
    assert isinstance(again, Answer)
    assert isinstance(wanted, Answer)
    assert _without_empty_objects(again) == wanted


# --- the next turn, at another provider -------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [Dialect.OPENAI_RESPONSES, Dialect.GEMINI_GENERATE, Dialect.OLLAMA_CHAT])
def test_pitfall_24_a_thought_made_elsewhere_survives_the_client_and_never_reaches_anthropic(
    origin: Dialect,
) -> None:
    thought = Thinking("hm", None if origin is Dialect.OLLAMA_CHAT else "sig", origin=origin)
    events: list[Event] = [
        Started("x", "up"),
        *unfold(Answer("x", "up", (Choice((thought, Text("Hi.")), Finish.STOP),))),
    ]
    encoder = SURFACE.new_encoder(REQUEST, model="smart", id="r", created_s=0)
    out = b"".join(map(encoder.feed, events)) + encoder.close()
    frames = [json.loads(line[6:]) for line in out.split(b"\n") if line.startswith(b"data: ")]
    (signature,) = [
        f["delta"]["signature"] for f in frames if f.get("delta", {}).get("type") == "signature_delta"
    ]
    blocks = [{"type": "thinking", "thinking": "hm", "signature": signature}, {"type": "text", "text": "Hi."}]
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": "b"},
    ]
    request = ask(messages=messages)
    assert SURFACE.parse_content(request).messages[1].parts[0] == thought  # type: ignore[union-attr]
    assert ADAPTER.splice_call is not None
    passed = jsontext.decode(ADAPTER.splice_call(request, deployment(), NO_OVERRIDES).body)
    assert passed["messages"][1]["content"] == blocks[1:]


def test_a_count_goes_there_and_back() -> None:
    request = ask("/v1/messages/count_tokens", max_tokens=None)
    call = ADAPTER.format_call(request, COUNT_SURFACE.parse_content(request), deployment(), NO_OVERRIDES)
    check(COUNT_PARAMS, jsontext.decode(call.body))
    count = ADAPTER.parse_answer(request, wire.whole("anthropic-messages", "count_tokens"))
    assert isinstance(count, TokenCount)
    shown = COUNT_SURFACE.format_answer(count, request, model="m", id="r", created_s=0)
    assert json.loads(shown) == {"input_tokens": 120}
