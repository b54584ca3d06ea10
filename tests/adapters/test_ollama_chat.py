from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.ollama_chat import (
    OllamaDecoder,
    format_call,
    format_probe,
    parse_answer,
    parse_models,
)
from llmproxyd.framing import MAX_FRAME_BYTES
from llmproxyd.values.answer import Answer, Choice, Failed, Finish, ToolCallDelta, UsageReported, Vectors
from llmproxyd.values.contracts import BadRequest, Call, Listed
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import (
    NO_OVERRIDES,
    Audio,
    CacheMark,
    Capability,
    Chat,
    Dialect,
    Embed,
    File,
    Image,
    Message,
    Operation,
    OutputFormat,
    Overrides,
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
from llmproxyd.values.snapshot import Deployment, Probe
from tests import wire
from tests.adapters.build import ask, bare, deployment, provider, said
from tests.support.records import replace

OLLAMA: dict[str, Any] = {
    "dialect": Dialect.OLLAMA_CHAT,
    "base_url": "http://localhost:11434",
    "secret": None,
}
THERE = deployment(upstream="llama3.2:3b", **OLLAMA)


def call_for(
    chat: Chat | Embed, path: str = "/v1/chat/completions", there: Deployment = THERE, **asked: Any
) -> Call:
    return format_call(ask(path, **asked), chat, there, NO_OVERRIDES)


def body_of(chat: Chat | Embed, path: str = "/v1/chat/completions", **asked: Any) -> dict[str, Any]:
    document = json.loads(call_for(chat, path, **asked).body)
    assert isinstance(document, dict)
    return document


def messages(*turns: Message) -> Any:
    return body_of(Chat(turns))["messages"]


def decode(*lines: Any) -> list[Any]:
    data = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    return wire.decode(OllamaDecoder, [data])


@pytest.mark.parametrize("case", wire.cases("ollama_chat"))
def test_a_recording_gives_the_same_events_wherever_it_is_cut(case: str) -> None:
    data, expected = wire.stream("ollama_chat", case), wire.expected("ollama_chat", case)
    for pieces in wire.pieces_of(data):
        assert wire.as_json(wire.decode(OllamaDecoder, pieces)) == expected


def test_each_operation_has_its_address_and_streams_only_if_asked() -> None:
    chat = call_for(said(), stream=True)
    assert (chat.url, chat.stream, chat.headers["accept"]) == (
        "http://localhost:11434/api/chat",
        True,
        "application/x-ndjson",
    )
    assert json.loads(chat.body)["stream"] is True
    assert body_of(said())["stream"] is False
    generate = call_for(said("once"), "/v1/completions")
    assert generate.url == "http://localhost:11434/api/generate"
    assert json.loads(generate.body) == {"model": "llama3.2:3b", "prompt": "once", "stream": False}
    embed = call_for(Embed(("a", "b"), dimensions=8), "/v1/embeddings")
    assert embed.url == "http://localhost:11434/api/embed"
    assert json.loads(embed.body) == {"model": "llama3.2:3b", "input": ["a", "b"], "dimensions": 8}


def test_without_wishes_ollamas_own_defaults_are_kept() -> None:
    assert body_of(said()) == {
        "model": "llama3.2:3b",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": False,
    }


def test_sampling_goes_into_options_and_overrides_win() -> None:
    sampling = Sampling(
        temperature=0.2,
        top_p=0.9,
        top_k=5,
        max_tokens=128,
        stop=("###",),
        seed=7,
        frequency_penalty=1,
        presence_penalty=2,
    )
    chat = replace(said(), sampling=sampling)
    options = {
        "temperature": 0.2, "top_p": 0.9, "top_k": 5, "num_predict": 128, "stop": ["###"], "seed": 7,
        "frequency_penalty": 1, "presence_penalty": 2,
    }  # fmt: skip
    assert body_of(chat)["options"] == options
    call = format_call(ask(), chat, THERE, Overrides(temperature=0, max_tokens=9, effort="high"))
    sent = json.loads(call.body)
    assert sent["options"] == options | {"temperature": 0, "num_predict": 9}
    assert sent["think"] == "high"


@pytest.mark.parametrize(
    ("effort", "budget", "think"),
    [
        ("none", None, False),
        ("minimal", None, "low"),
        ("medium", None, "medium"),
        ("xhigh", None, "max"),
        (None, 5000, True),
        (None, 0, False),
        ("low", 5000, "low"),
    ],
)
def test_effort_becomes_think(effort: str | None, budget: int | None, think: bool | str) -> None:
    assert body_of(replace(said(), effort=effort, thinking_budget=budget))["think"] == think


def test_a_model_known_not_to_think_is_not_asked_to() -> None:
    dull = replace(THERE, capabilities=frozenset({Capability.TOOLS}))
    call = call_for(replace(said(), effort="high"), there=dull)
    assert "think" not in json.loads(call.body)
    assert "effort" in call.warnings[0]
    assert json.loads(call_for(replace(said(), effort="none"), there=dull).body)["think"] is False


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (OutputFormat("json_object"), "json"),
        (OutputFormat("json_schema", schema={"type": "object"}, name="x"), {"type": "object"}),
        (OutputFormat("json_schema", name="x"), "json"),
    ],
)
def test_the_form_of_the_answer_is_a_schema_or_a_word(wanted: OutputFormat, sent: Any) -> None:
    assert body_of(replace(said(), output_format=wanted))["format"] == sent
    assert "format" not in body_of(replace(said(), output_format=OutputFormat("text")))


def test_a_conversation_with_tools_is_told_in_ollamas_words() -> None:
    assert messages(
        Message(Role.DEVELOPER, (Text("Be brief."),)),
        Message(Role.USER, (Text("What is"), Text("this?"), Image(data="AAAA", media_type="image/png"))),
        Message(Role.ASSISTANT, (Thinking("Hm."), ToolCall("c1", "look", '{"at":"it"}'))),
        Message(Role.TOOL, (ToolResult("c1", (Text("a cat"), Image(data="BBBB"))),)),
        Message(Role.TOOL, (ToolResult("c9", (Text("none"),), is_error=True),)),
    ) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is\nthis?", "images": ["AAAA"]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm.",
            "tool_calls": [{"id": "c1", "function": {"name": "look", "arguments": {"at": "it"}}}],
        },
        {"role": "tool", "content": "a cat", "tool_call_id": "c1", "tool_name": "look"},
        {"role": "user", "content": "", "images": ["BBBB"]},
        {"role": "tool", "content": "Error: none", "tool_call_id": "c9"},
    ]


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("", {}),
        ("null", {}),
        ('{"a":1}', {"a": 1}),
        ("[1]", {"arguments": [1]}),
        ('{"a":', {"arguments": '{"a":'}),
    ],
)
def test_arguments_are_always_an_object(arguments: str, sent: Any) -> None:
    (turn,) = messages(Message(Role.ASSISTANT, (ToolCall("c1", "f", arguments),)))
    assert turn["tool_calls"][0]["function"]["arguments"] == sent


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Image(url="https://example.test/a.png"), "data: URL"),
        (Audio("AAAA", "wav"), "no audio"),
        (File(data="AAAA", media_type="application/pdf"), "no file"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(part: Part, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        messages(Message(Role.USER, (Text("a"),)), Message(Role.USER, (Text("b"), part)))
    assert refused.value.failure.param == "messages[1].content[1]"


@pytest.mark.parametrize(
    ("chat", "param"),
    [
        (replace(said(), sampling=Sampling(n=2)), "n"),
        (replace(said(), tools=(Tool("f"), Tool("g", kind="custom"))), "tools[1].type"),
        (Embed(("a", (1, 2))), "input"),
    ],
)
def test_wishes_that_cannot_be_fulfilled_are_refused_by_name(chat: Chat | Embed, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        call_for(chat)
    assert refused.value.failure.param == param


def test_tools_that_must_not_be_called_are_not_offered() -> None:
    tools = (Tool("f", "does f", {"type": "object"}, strict=True), Tool("g"))

    def offered(choice: ToolChoice | None) -> tuple[list[str], int]:
        call = call_for(replace(said(), tools=tools, tool_choice=choice))
        sent = json.loads(call.body).get("tools", [])
        told = [warning for warning in call.warnings if not warning.startswith("tools.strict")]
        return [tool["function"]["name"] for tool in sent], len(told)

    assert offered(None) == (["f", "g"], 0)
    assert offered(ToolChoice("none")) == ([], 0)
    assert offered(ToolChoice("auto", ("g",))) == (["g"], 0)
    assert offered(ToolChoice("required")) == (["f", "g"], 1)
    assert offered(ToolChoice("named", ("f",))) == (["f"], 1)
    assert body_of(replace(said(), tools=tools))["tools"][0] == {
        "type": "function",
        "function": {"name": "f", "description": "does f", "parameters": {"type": "object"}},
    }


def test_what_the_dialect_has_no_word_for_is_told_once() -> None:
    mark = CacheMark()
    chat = Chat(
        (
            Message(Role.USER, (Text("a", cache=mark), Image(data="AAAA", detail="high", cache=mark)), "bob"),
            Message(Role.ASSISTANT, (Thinking("", encrypted="x"), Text("b", citations=({"url": "x"},)))),
            Message(Role.ASSISTANT, (ToolCall("c", "f", "{}", signature="s"),)),
            Message(Role.TOOL, (ToolResult("c", (Text("d"),), cache=mark),)),
        ),
        tools=(Tool("f", cache=mark),),
        output_format=OutputFormat("json_schema", {"type": "object"}, description="short"),
        sampling=Sampling(logit_bias={"7": 1}),
        user="u",
        metadata={"a": "b"},
        service_tier="flex",
        extras={Dialect.OPENAI_CHAT: {"verbosity": "low"}, Dialect.OLLAMA_CHAT: {"keep_alive": "5m"}},
        left_out=("document.context",),
    )
    call = call_for(chat)
    assert call.warnings == tuple(
        f"{lost}: not carried to ollama-chat{why}"
        for lost, why in (
            ("document.context", ""),
            ("verbosity", ""),
            ("messages.name", ""),
            ("cache marks", ""),
            ("image_url.detail", ""),
            ("thinking", " (another model's)"),
            ("citations", ""),
            ("user", ""),
            ("metadata", ""),
            ("service_tier", ""),
            ("logit_bias", ""),
            ("response_format.description", ""),
        )
    )
    assert json.loads(call.body)["keep_alive"] == "5m"


def test_a_mark_on_a_text_that_a_tool_gave_is_told() -> None:
    result = ToolResult("c", (Text("d", cache=CacheMark()),))
    call = call_for(Chat((Message(Role.TOOL, (result,)),)))
    assert call.warnings == ("cache marks: not carried to ollama-chat",)


def test_embeddings_tell_their_losses_too() -> None:
    embed = Embed(("a",), user="u", input_type="query", extras={Dialect.OPENAI_CHAT: {"truncate": "END"}})
    call = call_for(embed, "/v1/embeddings")
    assert [warning.partition(":")[0] for warning in call.warnings] == ["truncate", "user", "input_type"]


def test_a_request_to_count_tokens_is_refused_since_ollama_does_not_count() -> None:
    with pytest.raises(BadRequest, match="does not count tokens"):
        call_for(said(), "/v1/messages/count_tokens")


# --- answers ------------------------------------------------------------------------------------------------------


def test_a_recorded_answer_is_read() -> None:
    assert parse_answer(bare(stream=False), wire.whole("ollama_chat", "response")) == Answer(
        "",
        "llama3.2:3b",
        (Choice((Text("It is 7 °C in Łódź."),), Finish.STOP, "stop"),),
        Usage(26, 12),
        1795248000,
    )


def test_recorded_embeddings_are_read() -> None:
    answer = parse_answer(bare(Operation.EMBEDDING, stream=False), wire.whole("ollama_chat", "embed"))
    assert answer == Vectors("nomic-embed-text", ((0.5, -0.25), (1.0, 0.125)), Usage(8))


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.EMBEDDING])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"embeddings":[]}', b'{"embeddings":[["x"]]}']
)
def test_what_is_no_answer_is_a_failure(operation: Operation, body: bytes) -> None:
    failure = parse_answer(bare(operation, stream=False), body)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.BAD_ANSWER


def test_a_prompt_found_in_the_cache_is_not_counted() -> None:
    done = {"message": {"content": "a"}, "done": True, "eval_count": 4}
    assert UsageReported(Usage(0, 4)) in decode(done)
    assert not any(isinstance(e, UsageReported) for e in decode({"done": True}))


def test_invented_ids_are_the_same_for_the_same_call_and_differ_otherwise() -> None:
    def ids(created_at: str) -> list[str | None]:
        call = {"function": {"name": "f", "arguments": {"a": 1}}}
        line = {"created_at": created_at, "message": {"tool_calls": [call, call]}, "done": True}
        return [event.id for event in decode(line) if isinstance(event, ToolCallDelta)]

    first = ids("2026-11-21T08:00:00Z")
    assert first == ids("2026-11-21T08:00:00Z")
    assert len({*first, *ids("2026-11-21T08:00:01Z")}) == 4


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"message": {"content": "a"}, "done": False}],
        [{"message": {"content": "a"}}, b"{"],
        [{"message": {"content": "a"}}, b"[]"],
        [b"<html>busy</html>"],
    ],
)
def test_a_stream_that_is_not_whole_is_a_failure(lines: list[Any]) -> None:
    last = decode(*lines)[-1]
    assert isinstance(last, Failed)
    assert last.failure.kind is FailureKind.BAD_ANSWER


def test_a_line_without_end_is_a_failure() -> None:
    decoder = OllamaDecoder()
    assert isinstance(decoder.feed(b"x" * (MAX_FRAME_BYTES + 1))[-1], Failed)
    assert decoder.feed(b"{}\n") == decoder.close() == []


def test_an_error_in_the_stream_ends_it() -> None:
    events = decode({"message": {"content": "a"}}, {"error": "model 'x' not found"}, {"done": True})
    assert isinstance(events[-1], Failed)
    assert events[-1].failure.kind is FailureKind.MODEL_UNAVAILABLE


# --- models -------------------------------------------------------------------------------------------------------


def test_a_probe_asks_for_the_version_or_the_models() -> None:
    assert format_probe(provider(**OLLAMA)).url == "http://localhost:11434/api/version"
    there = provider(probe=Probe("/api/tags", lists_models=True), **OLLAMA)
    assert format_probe(there).url == "http://localhost:11434/api/tags"


def test_models_are_listed_with_what_they_can_do() -> None:
    assert parse_models(wire.whole("ollama_chat", "tags")) == (
        Listed("llama3.2:3b", capabilities=frozenset({"tools"})),
    )
    entries = [
        {"name": "nomic-embed-text"},
        {"model": "b", "capabilities": ["embedding"], "details": {"context_length": 2048}},
        {"model": "c", "capabilities": None, "details": None},
        {},
        7,
    ]
    assert parse_models(json.dumps({"models": entries}).encode()) == (
        Listed("nomic-embed-text", embeds=True),
        Listed("b", 2048, frozenset(), embeds=True),
        Listed("c"),
    )


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"models":7}'])
def test_what_is_no_list_of_models_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse_models(body)
