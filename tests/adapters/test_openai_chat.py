from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.openai_chat import (
    format_call,
    format_probe,
    parse_models,
    passes_verbatim,
    splice_call,
)
from llmproxyd.values.contracts import BadRequest, Call, Listed
from llmproxyd.values.request import (
    NO_OVERRIDES,
    CacheMark,
    Chat,
    Dialect,
    Embed,
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
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Auth, Deployment, Probe, Quirks
from tests import wire
from tests.adapters.build import MINE, PLAIN, ask, deployment, provider, said
from tests.support.records import replace

AZURE: dict[str, Any] = {
    "base_url": "https://a.example.test",
    "api_version": "2024-10-21",
    "auth": Auth.API_KEY,
}


def body_of(call: Call) -> dict[str, Any]:
    document = json.loads(call.body)
    assert isinstance(document, dict)
    return document


def formatted(
    chat: Chat, quirks: Quirks = PLAIN, overrides: Overrides = NO_OVERRIDES, **asked: Any
) -> dict[str, Any]:
    return body_of(format_call(ask(**asked), chat, deployment(quirks), overrides))


def messages(*parts: Part, role: Role = Role.USER, quirks: Quirks = PLAIN) -> Any:
    return formatted(Chat((Message(role, parts),)), quirks)["messages"]


# --- where and how ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content", "url"),
    [
        ("/v1/chat/completions", said(), "https://api.example.test/v1/chat/completions"),
        ("/v1/completions", said(), "https://api.example.test/v1/completions"),
        ("/v1/embeddings", Embed(("a",)), "https://api.example.test/v1/embeddings"),
    ],
)
def test_each_operation_has_its_address(path: str, content: Chat | Embed, url: str) -> None:
    request = ask(path)
    assert format_call(request, content, deployment(), NO_OVERRIDES).url == url
    assert splice_call(request, deployment(), NO_OVERRIDES).url == url


def test_azures_classic_paths_name_the_deployment_and_the_version() -> None:
    there = deployment(upstream="my deployment/1", **AZURE)
    url = "https://a.example.test/openai/deployments/my%20deployment%2F1/chat/completions?api-version=2024-10-21"
    assert format_call(ask(), said(), there, NO_OVERRIDES).url == url
    assert splice_call(ask(), there, NO_OVERRIDES).url == url


def test_azures_new_paths_are_like_all_others() -> None:
    there = deployment(base_url="https://a.example.test/openai/v1", api_version="v1")
    assert (
        format_call(ask(), said(), there, NO_OVERRIDES).url
        == "https://a.example.test/openai/v1/chat/completions"
    )


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (Auth.BEARER, ("authorization", "Bearer k-123")),
        (Auth.X_API_KEY, ("x-api-key", "k-123")),
        (Auth.API_KEY, ("api-key", "k-123")),
        (Auth.X_GOOG_API_KEY, ("x-goog-api-key", "k-123")),
        (Auth.NONE, None),
    ],
)
def test_the_key_goes_where_the_provider_wants_it(auth: Auth, header: tuple[str, str] | None) -> None:
    headers = splice_call(ask(), deployment(auth=auth), NO_OVERRIDES).headers
    assert {name: value for name, value in headers.items() if "k-123" in value} == dict(
        [header] if header else []
    )


def test_answers_are_asked_for_uncompressed_and_the_operators_headers_win() -> None:
    own = {"X-Title": "me", "Accept-Encoding": "br", "X-Key": Secret("s-1")}
    headers = splice_call(ask(stream=True), deployment(headers=own), NO_OVERRIDES).headers
    assert headers["accept"] == "text/event-stream"
    assert headers["content-type"] == "application/json"
    assert (headers["x-title"], headers["accept-encoding"], headers["x-key"]) == ("me", "br", "s-1")
    plain = splice_call(ask(), deployment(), NO_OVERRIDES).headers
    assert (plain["accept"], plain["accept-encoding"]) == ("application/json", "identity")


def test_a_probe_is_a_free_get() -> None:
    assert format_probe(provider()).url == "https://api.example.test/v1/models"
    own = format_probe(provider(probe=Probe("/key")))
    assert (own.method, own.url, own.body, own.stream) == (
        "GET",
        "https://api.example.test/v1/key",
        b"",
        False,
    )
    azure = format_probe(provider(probe=Probe("/openai/models"), **AZURE))
    assert azure.url == "https://a.example.test/openai/models?api-version=2024-10-21"


def test_models_are_listed_with_what_servers_say_of_them() -> None:
    assert parse_models(wire.whole("openai_chat", "models")) == (
        Listed("gpt-6-sol"),
        Listed("text-embedding-3-small", embeds=True),
    )
    entries = [
        {"id": "a", "max_model_len": 4096},
        {"id": "b", "context_length": 8192, "type": "embeddings"},
        {"id": "c", "context_window": 0},
        {"id": ""},
        {"object": "model"},
        None,
    ]
    assert parse_models(json.dumps({"data": entries}).encode()) == (
        Listed("a", 4096),
        Listed("b", 8192, embeds=True),
        Listed("c"),
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"data":{}}', b"7"])
def test_what_is_no_list_of_models_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse_models(body)


# --- the client's own bytes ---------------------------------------------------------------------------------------


def spliced(quirks: Quirks = PLAIN, overrides: Overrides = NO_OVERRIDES, /, **asked: Any) -> dict[str, Any]:
    return body_of(splice_call(ask(**asked), deployment(quirks), overrides))


def test_only_the_model_changes_and_every_other_value_keeps_its_bytes() -> None:
    values = (
        b'"messages":[ {"role":"user" , "content":"\\u00e9 1.0"} ],"temperature":1.00,"unknown":{"a" : 1e3}'
    )
    request = replace(ask(), body=b'{"model":"m",' + values + b"}")
    assert splice_call(request, deployment(), NO_OVERRIDES).body == b'{"model":"up-model",' + values + b"}"


def test_usage_is_asked_for_in_streams_where_the_server_knows_it() -> None:
    known, unknown = Quirks(), Quirks(stream_usage=False)
    assert "stream_options" not in spliced(known)
    assert spliced(known, stream=True)["stream_options"] == {"include_usage": True}
    options = {"include_usage": False, "include_obfuscation": False}
    asked = spliced(known, stream=True, stream_options=options)
    assert asked["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert "stream_options" not in spliced(unknown, stream=True, stream_options=options)
    assert "stream_options" not in spliced(unknown, stream=True)


@pytest.mark.parametrize(
    ("quirks", "asked", "sent"),
    [
        (PLAIN, {}, {}),
        (PLAIN, {"max_tokens": 5}, {"max_tokens": 5}),
        (PLAIN, {"max_completion_tokens": 5}, {"max_tokens": 5}),
        (MINE, {"max_tokens": 5}, {"max_completion_tokens": 5}),
        (MINE, {"max_tokens": 5, "max_completion_tokens": 6}, {"max_completion_tokens": 6}),
        (Quirks(default_max_tokens=99), {}, {"max_tokens": 99}),
        (Quirks(default_max_tokens=99), {"max_tokens": 5}, {"max_tokens": 5}),
    ],
)
def test_the_limit_goes_under_the_name_that_the_server_knows(
    quirks: Quirks, asked: dict[str, int], sent: dict[str, int]
) -> None:
    names = ("max_tokens", "max_completion_tokens")
    assert {name: value for name, value in spliced(quirks, **asked).items() if name in names} == sent
    content = Chat(
        said().messages,
        sampling=Sampling(max_tokens=asked.get("max_completion_tokens", asked.get("max_tokens"))),
    )
    assert {name: value for name, value in formatted(content, quirks).items() if name in names} == sent


def test_overrides_replace_what_the_client_wished() -> None:
    overrides = Overrides(temperature=0.5, top_p=0.9, max_tokens=7, effort="low", seed=3)
    wish = {"temperature": 1, "max_tokens": 100, "reasoning_effort": "high"}
    expected = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "reasoning_effort": "low", "seed": 3}
    assert spliced(PLAIN, overrides, **wish).items() >= expected.items()
    chat = Chat(said().messages, sampling=Sampling(temperature=1, max_tokens=100), effort="high")
    assert formatted(chat, overrides=overrides).items() >= expected.items()


def test_messages_are_repaired_only_where_the_server_would_refuse_them() -> None:
    developer = {"role": "developer", "content": "Be brief."}
    empty: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": []}
    asked = {"messages": [developer, empty]}
    strict = Quirks(null_content=False)
    assert spliced(MINE, **asked)["messages"] == asked["messages"]
    assert spliced(PLAIN, **asked)["messages"] == [{**developer, "role": "system"}, empty]
    assert spliced(strict, **asked)["messages"] == [{**developer, "role": "system"}, {**empty, "content": ""}]


def test_a_completion_passes_only_where_the_server_has_that_path() -> None:
    completion, chat = ask("/v1/completions"), ask()
    lacking = Quirks(completions=False)
    assert passes_verbatim(completion, provider())
    assert passes_verbatim(chat, provider(lacking))
    assert not passes_verbatim(completion, provider(lacking))
    assert not passes_verbatim(chat, provider(Quirks(verbatim=False)))
    assert not passes_verbatim(chat, provider(dialect=Dialect.OLLAMA_CHAT))
    with pytest.raises(BadRequest):
        splice_call(completion, deployment(lacking), NO_OVERRIDES)


def test_a_completion_becomes_a_chat_where_the_server_has_no_such_path() -> None:
    call = format_call(
        ask("/v1/completions"), said("once"), deployment(Quirks(completions=False)), NO_OVERRIDES
    )
    assert call.url.endswith("/chat/completions")
    assert body_of(call)["messages"] == [{"role": "user", "content": "once"}]


def test_a_completion_keeps_the_old_name_of_the_limit() -> None:
    chat = Chat(said("once").messages, sampling=Sampling(max_tokens=5), user="u")
    call = format_call(ask("/v1/completions"), chat, deployment(MINE), NO_OVERRIDES)
    assert body_of(call) == {"model": "up-model", "prompt": "once", "max_tokens": 5, "user": "u"}


# --- canonical content --------------------------------------------------------------------------------------------


def test_embeddings_are_asked_for_as_numbers() -> None:
    def sent(embed: Embed) -> dict[str, Any]:
        return body_of(format_call(ask("/v1/embeddings"), embed, deployment(), NO_OVERRIDES))

    assert sent(Embed(("a",), encoding="base64")) == {"model": "up-model", "input": "a"}
    many = sent(Embed(("a", (1, 2)), dimensions=8, user="u", input_type="query"))
    assert many == {
        "model": "up-model",
        "input": ["a", [1, 2]],
        "dimensions": 8,
        "user": "u",
        "input_type": "query",
    }


def test_developers_are_systems_where_the_role_is_unknown() -> None:
    assert messages(Text("a"), role=Role.DEVELOPER)[0]["role"] == "system"
    assert messages(Text("a"), role=Role.DEVELOPER, quirks=MINE)[0]["role"] == "developer"


def test_a_single_text_is_a_plain_string() -> None:
    assert messages(Text("a")) == [{"role": "user", "content": "a"}]
    assert messages(Text("a"), Text("b"))[0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]


def test_content_of_an_assistant_that_only_calls_is_null_or_empty() -> None:
    call = ToolCall("c1", "f", "{}")
    wire_call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert messages(call, role=Role.ASSISTANT) == [
        {"role": "assistant", "content": None, "tool_calls": [wire_call]}
    ]
    strict = Quirks(null_content=False)
    assert messages(call, role=Role.ASSISTANT, quirks=strict)[0]["content"] == ""
    assert messages(Refusal("No."), role=Role.ASSISTANT, quirks=strict)[0] == {
        "role": "assistant",
        "content": "",
        "refusal": "No.",
    }


def test_results_come_first_and_their_images_move_to_the_user() -> None:
    image = Image(url="https://example.test/a.png", detail="low")
    result = ToolResult("c1", (Text("a"), image), is_error=True)
    assert messages(Text("and?"), result, ToolResult("c2", ()), role=Role.USER) == [
        {"role": "tool", "tool_call_id": "c1", "content": "Error: a"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://example.test/a.png", "detail": "low"}},
                {"type": "text", "text": "and?"},
            ],
        },
    ]


def test_only_thoughts_of_this_dialect_go_back() -> None:
    foreign = Thinking("b", "S", origin=Dialect.ANTHROPIC_MESSAGES)
    own = Thinking("a", origin=Dialect.OPENAI_CHAT)
    assert messages(foreign, own, Text("c"), role=Role.ASSISTANT) == [
        {"role": "assistant", "content": "c", "reasoning_content": "a"}
    ]


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ((Text("a"), File(url="https://example.test/a.pdf")), "messages[0].content[1]"),
        ((Text("a"), Thinking("b")), "messages[0].content[1]"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(parts: tuple[Part, ...], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        messages(*parts)
    assert refused.value.failure.param == param


def test_a_file_that_is_text_goes_as_text() -> None:
    assert messages(File(text="a"), Text("b"))[0]["content"][0] == {"type": "text", "text": "a"}


def test_tool_fields_without_tools_are_left_out() -> None:
    chat = Chat(said().messages, tool_choice=ToolChoice("required"), parallel_tool_calls=False)
    assert formatted(chat).keys() == {"model", "messages"}


def test_choices_refer_to_tools_by_their_kind() -> None:
    raw = {"type": "custom", "custom": {"name": "g"}}
    tools = (Tool("f"), Tool("g", kind="custom", raw=raw))

    def choice(wanted: ToolChoice) -> Any:
        return formatted(Chat(said().messages, tools=tools, tool_choice=wanted))["tool_choice"]

    f, g = {"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}
    assert choice(ToolChoice("named", ("g",))) == g
    assert choice(ToolChoice("auto", ("f", "g"))) == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [f, g]},
    }
    assert choice(ToolChoice("none")) == "none"


def test_top_k_is_left_out_with_a_warning_where_it_is_refused() -> None:
    chat = Chat(said().messages, sampling=Sampling(top_k=5))
    assert formatted(chat)["top_k"] == 5
    call = format_call(ask(), chat, deployment(MINE), NO_OVERRIDES)
    assert "top_k" not in body_of(call)
    assert "top_k" in call.warnings[0]


# --- what is lost, and what only some servers know ------------------------------------------------------------------


def call_to(there: Deployment, *turns: Message, **fields: Any) -> Call:
    return format_call(ask(), Chat(turns, **fields), there, NO_OVERRIDES)


def test_what_the_dialect_has_no_word_for_is_told_once() -> None:
    foreign = Thinking("hm", "seal", origin=Dialect.ANTHROPIC_MESSAGES)
    call = call_to(
        deployment(),
        Message(Role.USER, (Text("a", cache=CacheMark()), Text("b", cache=CacheMark("1h")))),
        Message(Role.ASSISTANT, (foreign, Text("c", citations=({"url": "x"},)))),
        Message(Role.ASSISTANT, (foreign,)),
        tools=(Tool("f", cache=CacheMark()),),
        extras={Dialect.ANTHROPIC_MESSAGES: {"container": "x"}, Dialect.OPENAI_CHAT: {"store": False}},
        left_out=("document.context",),
    )
    assert call.warnings == (
        "document.context: not carried to openai-chat",
        "container: not carried to openai-chat",
        "cache marks: not carried to openai-chat",
        "citations: not carried to openai-chat",
        "thinking: not carried to openai-chat (another model's)",
        "cache marks of tools: not carried to openai-chat",
    )
    assert body_of(call)["store"] is False


def test_embeddings_and_completions_tell_their_losses_too() -> None:
    embed = Embed(("a",), extras={Dialect.COHERE_CHAT: {"truncate": "END"}})
    call = format_call(ask("/v1/embeddings"), embed, deployment(), NO_OVERRIDES)
    assert call.warnings == ("truncate: not carried to openai-chat",)
    call = format_call(ask("/v1/completions"), said(), deployment(), Overrides(effort="low"))
    assert call.warnings == ("reasoning_effort: not carried to openai-chat (a completion has none)",)
    assert "reasoning_effort" not in body_of(call)


def test_a_request_to_count_tokens_is_refused_since_nobody_here_counts() -> None:
    with pytest.raises(BadRequest, match="does not count tokens"):
        format_call(ask("/v1/messages/count_tokens"), said(), deployment(), NO_OVERRIDES)


@pytest.mark.parametrize(
    ("preset", "base_url", "signed"),
    [
        ("openrouter", "https://openrouter.example.test/api/v1", True),
        ("gemini", "https://google.example.test/v1beta/openai", True),
        ("openai-compatible", "https://generativelanguage.googleapis.com/v1beta/openai", True),
        ("openai-compatible", "https://generativelanguage.googleapis.com.example.test/v1", False),
        ("openai", "https://api.example.test/v1", False),
        ("vllm", "http://localhost:8000/v1", False),
    ],
)
def test_googles_signatures_go_to_google_only(preset: str, base_url: str, signed: bool) -> None:
    there = deployment(preset=preset, base_url=base_url)
    call = call_to(there, Message(Role.ASSISTANT, (ToolCall("c", "f", "{}", signature="sig"),)))
    (sent,) = body_of(call)["messages"][0]["tool_calls"]
    assert sent.get("extra_content") == ({"google": {"thought_signature": "sig"}} if signed else None)


@pytest.mark.parametrize(
    ("preset", "upstream", "model", "marked"),
    [
        ("openai", "gpt-5.6-sol", "gpt-5.6-sol", True),
        ("openai", "gpt-6", "gpt-6", True),
        ("azure", "our-best", "gpt-6-sol", True),
        ("azure", "our-best", "our-best", False),
        ("openai", "gpt-5.5", "gpt-5.5", False),
        ("openai", "gpt-5", "gpt-5", False),
        ("openai", "gpt-4o", "gpt-4o", False),
        ("openrouter", "openai/gpt-6", "gpt-6", False),
    ],
)
def test_cache_marks_go_where_openais_models_know_them(
    preset: str, upstream: str, model: str, marked: bool
) -> None:
    there = replace(deployment(MINE, upstream=upstream, preset=preset), model=model)
    call = call_to(there, Message(Role.USER, (Text("a", cache=CacheMark("5m")),)))
    breakpoint_ = {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert body_of(call)["messages"][0]["content"] == ([breakpoint_] if marked else "a")
    assert call.warnings == (() if marked else ("cache marks: not carried to openai-chat",))


def test_every_part_that_can_carry_a_mark_does() -> None:
    there = deployment(MINE, upstream="gpt-6")
    mark = CacheMark("30m")
    call = call_to(
        there,
        Message(
            Role.USER, (Image(url="x", cache=mark), File(file_id="f", cache=mark), Text("a", cache=mark))
        ),
        Message(Role.TOOL, (ToolResult("c", (Text("b"), Text("d")), cache=mark),)),
    )
    user, tool = body_of(call)["messages"]
    sent = {"mode": "explicit", "ttl": "30m"}
    assert [part["prompt_cache_breakpoint"] for part in user["content"]] == [sent] * 3
    assert [part.get("prompt_cache_breakpoint") for part in tool["content"]] == [None, sent]
    assert call.warnings == ()


def test_a_wish_for_a_longer_cache_than_there_is_is_told() -> None:
    there = deployment(MINE, upstream="gpt-6")
    call = call_to(there, Message(Role.USER, (Text("a", cache=CacheMark("1h")),)))
    (part,) = body_of(call)["messages"][0]["content"]
    assert part["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert "lifetime" in call.warnings[0]
    empty = call_to(there, Message(Role.TOOL, (ToolResult("c", (), cache=CacheMark()),)))
    assert body_of(empty)["messages"][0]["content"] == ""
    assert "a result without text" in empty.warnings[0]


@pytest.mark.parametrize(
    ("budget", "effort"), [(0, "none"), (1000, "minimal"), (9000, "high"), (99999, "xhigh")]
)
def test_a_budget_of_thought_becomes_the_nearest_effort(budget: int, effort: str) -> None:
    assert formatted(replace(said(), thinking_budget=budget))["reasoning_effort"] == effort


def test_fields_of_this_dialect_ride_along_and_those_of_others_do_not() -> None:
    extras: dict[Dialect, dict[str, Any]] = {
        Dialect.OPENAI_CHAT: {"verbosity": "low", "model": "evil"},
        Dialect.OLLAMA_CHAT: {"keep_alive": 1},
    }
    body = formatted(replace(said(), extras=extras))
    assert (body["verbosity"], body["model"]) == ("low", "up-model")
    assert "keep_alive" not in body


def test_an_output_format_without_a_name_gets_one() -> None:
    wanted = OutputFormat("json_schema", schema={"type": "object"}, strict=True)
    assert formatted(replace(said(), output_format=wanted))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }


def test_a_second_attempt_is_identical_to_the_first() -> None:
    request = ask(stream=True, max_tokens=5, messages=[{"role": "developer", "content": "a"}])
    before = request.body
    first = splice_call(request, deployment(), NO_OVERRIDES)
    assert splice_call(request, deployment(), NO_OVERRIDES) == first
    assert request.body == before
