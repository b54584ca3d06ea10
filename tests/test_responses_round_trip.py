"""The Responses dialect is spoken on both sides: what the adapter writes, the surface reads back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.openai_responses import format_call
from llmproxyd.surfaces.openai_responses import parse_content, parse_request
from llmproxyd.values.request import (
    Audio,
    Chat,
    Dialect,
    File,
    Image,
    Message,
    OutputFormat,
    Overrides,
    Part,
    Refusal,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmproxyd.values.responses import HOSTED_TOOLS
from tests.adapters.build import bare, deployment

HOME = deployment(dialect=Dialect.OPENAI_RESPONSES)

_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
_NAME = st.from_regex(r"[a-z]{1,8}(_[a-z]{1,8})?", fullmatch=True)
_DATA = st.sampled_from(["aGk=", "AAAA", "b///"])
_URL = st.just("https://example.test/a")

_texts = st.builds(Text, _TEXT)
_images = st.builds(
    Image, data=_DATA, media_type=st.just("image/png"), detail=st.sampled_from([None, "low"])
) | (st.builds(Image, url=_URL))
_files = (
    st.builds(File, data=_DATA, media_type=st.just("application/pdf"), filename=_NAME)
    | st.builds(File, url=_URL)
    | st.builds(File, file_id=_NAME)
)
_audio = st.builds(Audio, _DATA, st.sampled_from(["wav", "mp3"]))
_thoughts = st.builds(
    Thinking,
    st.one_of(st.just(""), _TEXT),
    encrypted=_TEXT,
    origin=st.just(Dialect.OPENAI_RESPONSES),
    item_id=st.none() | _NAME,
)
_said = st.builds(Text, _TEXT) | st.builds(Refusal, _TEXT)


@st.composite
def _turns(draw: st.DrawFn) -> tuple[Message, ...]:
    """A conversation as the dialect can hold it: every call has its result, every thought leads to something."""
    messages: list[Message] = []
    for number in range(draw(st.integers(1, 4))):
        user = draw(st.lists(_texts | _images | _files | _audio, min_size=1, max_size=3))
        messages.append(Message(draw(st.sampled_from([Role.USER, Role.DEVELOPER])), tuple(user)))
        if messages[-1].role is Role.DEVELOPER:
            messages[-1] = Message(Role.DEVELOPER, (draw(_texts),))
        parts: list[Part] = []
        results: list[Message] = []
        for part in draw(st.lists(_thoughts | _said | st.just("call"), max_size=4)):
            if not isinstance(part, str):
                parts.append(part)
                continue
            call_id = f"call_{number}_{len(parts)}"
            parts.append(ToolCall(call_id, draw(_NAME), draw(_TEXT)))
            content = draw(st.lists(_texts | _images | _files, max_size=2))
            results.append(Message(Role.TOOL, (ToolResult(call_id, tuple(content)),)))
        while parts and isinstance(parts[-1], Thinking):
            parts.pop()
        if parts:
            messages += [Message(Role.ASSISTANT, tuple(parts)), *results]
    if draw(st.booleans()):
        messages.insert(0, Message(Role.SYSTEM, (draw(_texts),)))
    return tuple(messages)


_schemas = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
_tools = st.lists(
    st.builds(Tool, _NAME, st.none() | _TEXT, _schemas, st.booleans()),
    max_size=3,
    unique_by=lambda tool: tool.name,
)
_formats = (
    st.none()
    | st.sampled_from([OutputFormat("text"), OutputFormat("json_object")])
    | st.builds(
        OutputFormat, st.just("json_schema"), _schemas, _NAME, st.none() | st.booleans(), st.none() | _TEXT
    )
)
_samplings = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    max_tokens=st.none() | st.integers(16, 10**6),
    logprobs=st.sampled_from([None, True]),
    top_logprobs=st.none() | st.integers(0, 20),
)


@st.composite
def _chats(draw: st.DrawFn) -> Chat:
    tools = tuple(draw(_tools))
    choices = [None, ToolChoice("auto"), ToolChoice("required")]
    if tools:
        choices += [
            ToolChoice("named", (tools[0].name,)),
            ToolChoice("auto", tuple(tool.name for tool in tools)),
        ]
    own = draw(st.dictionaries(st.sampled_from(["truncation", "brand_new"]), _TEXT))
    if draw(st.booleans()):
        own[HOSTED_TOOLS] = [{"type": "web_search"}]  # type: ignore[assignment]
    return Chat(
        messages=draw(_turns()),
        tools=tools,
        tool_choice=draw(st.sampled_from(choices)) if tools else None,
        parallel_tool_calls=draw(st.none() | st.booleans()) if tools else None,
        output_format=draw(_formats),
        sampling=draw(_samplings),
        effort=draw(st.sampled_from([None, "none", "low", "max"])),
        user=draw(st.none() | _TEXT),
        metadata=draw(st.dictionaries(_NAME, _TEXT, max_size=2)),
        service_tier=draw(st.sampled_from([None, "flex"])),
        extras={Dialect.OPENAI_RESPONSES: own} if own else {},
    )


@given(_chats())
def test_what_the_adapter_writes_the_surface_reads_back(chat: Chat) -> None:
    call = format_call(bare(stream=False), chat, HOME, Overrides())
    assert parse_content(parse_request({}, call.body, "/v1/responses")) == chat
    assert call.warnings == ()
