from __future__ import annotations

import json
import time
from typing import Any

import pytest

from llmproxyd.surfaces import SURFACES
from llmproxyd.surfaces.facts import IMAGE_TOKENS, MESSAGE_TOKENS, READERS, RequestPrompt, has_code
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Chat,
    Content,
    Dialect,
    Embed,
    Image,
    Message,
    Request,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from tests.adapters.build import PLACES, ask, surface_at
from tests.support.records import replace

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
HELLO = {"role": "user", "content": "hello"}


def prompt(path: str = CHAT, **document: Any) -> RequestPrompt:
    body = json.dumps({"model": "m", **({"messages": [HELLO]} if path == CHAT else {}), **document}).encode()
    return RequestPrompt(SURFACES[path].parse_request({}, body, path), SURFACES[path], len)


def foreign(content: Content | BadRequest, **document: Any) -> RequestPrompt:
    """A request in a dialect that is only known by what its surface makes of it."""

    def parse_content(request: Request) -> Content:
        if isinstance(content, BadRequest):
            raise content
        return content

    surface = replace(SURFACES[CHAT], parse_content=parse_content)
    body = json.dumps({"model": "m", "messages": [HELLO], **document}).encode()
    request = surface.parse_request({}, body, CHAT)
    return RequestPrompt(replace(request, dialect=Dialect.COHERE_CHAT), surface, len)


def asked(path: str, **document: Any) -> RequestPrompt:
    return RequestPrompt(ask(path, **document), surface_at(path), len)


def test_the_text_is_everything_that_was_written() -> None:
    found = prompt(
        messages=[
            {"role": "system", "content": "rules"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": "data:"}],
            },
            {
                "role": "user",
                "content": [{"type": "file", "file": {"filename": "salaries.pdf", "file_data": "AAAA"}}],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"function": {"name": "f", "arguments": '{"iban":"X"}'}},
                    {"custom": {"input": "raw"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": "result"},
            {"role": "assistant", "refusal": "no", "function_call": {"arguments": "old"}},
        ]
    )
    assert found.text.split("\n") == [
        "rules", "look", "salaries.pdf", "hm", '{"iban":"X"}', "raw", "result", "no", "old",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "document", "text"),
    [
        (COMPLETIONS, {"prompt": "once"}, "once"),
        (COMPLETIONS, {"prompt": ["a", "b"]}, "a\nb"),
        (COMPLETIONS, {"prompt": [1, 2]}, ""),
        (EMBEDDINGS, {"input": ["a", "b"]}, "a\nb"),
    ],
)
def test_other_operations_have_text_too(path: str, document: dict[str, Any], text: str) -> None:
    assert prompt(path, **document).text == text


@pytest.mark.parametrize(
    "messages", [[{}], [{"content": 7}], [{"content": [7, None, {"text": 7}]}], [{"tool_calls": 7}]]
)
def test_messages_that_will_be_refused_later_do_no_harm(messages: Any) -> None:
    found = prompt(messages=messages)
    assert found.text == ""
    assert found.has == frozenset()
    assert len(found.conversation) == 16


def test_tokens_count_text_tools_images_and_what_is_between() -> None:
    assert prompt().tokens_in == len("hello") + MESSAGE_TOKENS
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:" + "A" * 9999}}]}
    assert prompt(messages=[HELLO, image]).tokens_in == len("hello") + 2 * MESSAGE_TOKENS + IMAGE_TOKENS
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert prompt(tools=tools).tokens_in > prompt().tokens_in + len('[{"type":"function"')


@pytest.mark.parametrize(
    ("document", "has"),
    [
        ({}, set()),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {"tools"}),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"json_schema"}),
        ({"reasoning_effort": "low"}, {"thinking"}),
        ({"reasoning_effort": "none"}, set()),
        ({"reasoning": {"effort": "low"}}, {"thinking"}),
        ({"messages": [{"role": "developer", "content": "a"}]}, {"system"}),
        ({"messages": [{"role": "user", "content": "```\nx\n```"}]}, {"code"}),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": t} for t in ("image_url", "input_audio", "file")]}
                ]
            },
            {"images", "audio", "files"},
        ),
    ],
)
def test_what_a_request_has_is_seen(document: dict[str, Any], has: set[str]) -> None:
    assert prompt(**document).has == has


def test_a_conversation_keeps_its_mark_while_it_grows() -> None:
    system, later = {"role": "system", "content": "rules"}, {"role": "assistant", "content": "hi"}
    first = prompt(messages=[system, HELLO]).conversation
    assert prompt(messages=[system, HELLO, later, {"role": "user", "content": "more"}]).conversation == first
    assert prompt(messages=[system, HELLO], model="other", temperature=1).conversation == first
    assert prompt(messages=[HELLO]).conversation != first
    assert prompt(messages=[system, {"role": "user", "content": "bye"}]).conversation != first
    assert prompt(COMPLETIONS, prompt="a").conversation != prompt(COMPLETIONS, prompt="b").conversation


def test_facts_are_found_out_once() -> None:
    asked: list[str] = []

    def estimate(text: str) -> int:
        asked.append(text)
        return 7

    path = SURFACES[CHAT]
    request = path.parse_request({}, json.dumps({"model": "m", "messages": [HELLO]}).encode(), CHAT)
    found = RequestPrompt(request, path, estimate)
    assert asked == []
    assert found.tokens_in == found.tokens_in == 7 + MESSAGE_TOKENS
    assert len(asked) == 1


def test_a_dialect_without_a_reader_is_read_through_its_surface() -> None:
    chat = Chat(
        (
            Message(Role.SYSTEM, (Text("rules"),)),
            Message(Role.USER, (Text("hello"), Image(url="x"))),
            Message(Role.ASSISTANT, (ToolCall("c", "f", "{}"),)),
            Message(Role.USER, (ToolResult("c", (Text("result"),)),)),
        ),
        effort="high",
    )
    found = foreign(chat)
    assert found.text == "rules\nhello\n{}\nresult"
    assert found.has == {"system", "thinking"}
    assert found.conversation == foreign(replace(chat, messages=chat.messages[:2])).conversation
    assert found.conversation != foreign(replace(chat, messages=chat.messages[1:])).conversation
    assert foreign(Embed(("a", (1,), "b"))).text == "a\nb"


def test_pictures_are_counted_through_the_surface_too_those_that_tools_gave_included() -> None:
    picture = Image(url="x")
    chat = Chat((Message(Role.USER, (picture, ToolResult("c", (picture, Text("a"))))),))
    seen = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}
    assert foreign(chat, **seen).tokens_in == len("a") + MESSAGE_TOKENS + 2 * IMAGE_TOKENS


def test_what_cannot_be_translated_refuses_no_request_and_hides_no_text() -> None:
    deep = {"role": "user", "content": [{"type": "novelty", "inner": {"words": ["secret", 7, None]}}]}
    found = foreign(BadRequest("no"), messages=[deep])
    assert "secret" in found.text.split("\n")
    assert found.has == frozenset()
    assert found.tokens_in > len("secret")
    other = foreign(BadRequest("no"), messages=[deep, deep])
    assert found.conversation != other.conversation


# --- the readers of all dialects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PLACES)
def test_every_surface_has_a_reader_that_finds_the_text(path: str) -> None:
    assert surface_at(path).dialect in READERS
    found = asked(path)
    assert found.text == "hello"
    assert len("hello") <= found.tokens_in <= len("hello") + MESSAGE_TOKENS
    assert found.has == frozenset()
    assert found.conversation == asked(path).conversation


NOVELTIES: list[tuple[str, dict[str, Any]]] = [
    (
        "/v1/messages",
        {"messages": [{"role": "user", "content": [{"type": "container_upload", "title": "secret"}]}]},
    ),
    ("/v1/responses", {"input": [{"type": "novelty", "words": "secret"}]}),
    (
        "/v1beta/models/m:generateContent",
        {"contents": [{"parts": [{"executableCode": {"code": "secret"}}, {"novelty": {}}]}]},
    ),
    ("/api/generate", {"prompt": "secret", "raw": True}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "novelty", "text": "secret"}]}]}),
]


@pytest.mark.parametrize(("path", "document"), NOVELTIES, ids=[path for path, _ in NOVELTIES])
def test_what_only_the_makers_understand_can_be_asked_about(path: str, document: dict[str, Any]) -> None:
    request = ask(path, **document)
    with pytest.raises(BadRequest):
        surface_at(path).parse_content(request)
    assert asked(path, **document).text == "secret"


TOOL = {"name": "look_up"}
DEFINED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/messages", {"tools": [TOOL]}),
    ("/v1/messages", {"output_config": {"format": {"type": "json_schema", "schema": TOOL}}}),
    ("/v1/messages/count_tokens", {"tools": [TOOL]}),
    ("/v1/responses", {"tools": [{"type": "function", **TOOL}]}),
    ("/v1/responses", {"text": {"format": {"type": "json_schema", **TOOL}}}),
    ("/v1beta/models/m:generateContent", {"tools": [{"functionDeclarations": [TOOL]}]}),
    ("/v1beta/models/m:generateContent", {"generation_config": {"response_schema": TOOL}}),
    ("/api/chat", {"tools": [{"type": "function", "function": TOOL}]}),
    ("/api/chat", {"format": {"type": "object", "title": "look_up"}}),
]


@pytest.mark.parametrize(("path", "document"), DEFINED)
def test_definitions_cost_tokens_in_every_dialect(path: str, document: dict[str, Any]) -> None:
    assert asked(path, **document).tokens_in >= asked(path).tokens_in + len('{"name":"look_up"}')


def test_what_a_request_to_count_wraps_is_counted() -> None:
    inner = {"contents": [{"parts": [{"text": "hello"}]}], "tools": [{"functionDeclarations": [TOOL]}]}
    path = "/v1beta/models/m:countTokens"
    request = surface_at(path).parse_request({}, json.dumps({"generateContentRequest": inner}).encode(), path)
    found = RequestPrompt(request, surface_at(path), len).tokens_in
    assert found > len("hello") + MESSAGE_TOKENS + len("look_up")


def test_pictures_count_where_only_tokens_are_asked_for() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    contents = [{"parts": [{"text": "hello"}, picture]}]
    counted = asked("/v1beta/models/m:countTokens", contents=contents)
    assert counted.tokens_in == len("hello") + MESSAGE_TOKENS + IMAGE_TOKENS


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("def f(x):\n    return g(x)\n\nclass A:\n    pass", True),
        ('#include <stdio.h>\nint main() {\n  printf("a");\n}', True),
        ("const a = 1\nlet b = 2", True),
        ("please explain: SELECT name\nFROM users WHERE id = 1", True),
        ("Look:\n```\nx\n```", True),
        ("Please import the data\nfrom Berlin to Rome (by train);\nthanks.", False),
        ("I would select one from these.", False),
        ("An import\nof goods.", False),
        ("", False),
    ],
)
def test_obvious_code_is_told_from_prose(text: str, code: bool) -> None:
    assert has_code(text) is code


@pytest.mark.parametrize(
    "text",
    ["\n" * 70_000, "def a(" + ")" * 70_000, "SELECT " * 10_000, "public ((((((\n" * 5000, "a" * 70_000],
)
def test_no_text_makes_the_search_slow(text: str) -> None:
    began = time.process_time()
    has_code(text)
    assert time.process_time() - began < 1.0
