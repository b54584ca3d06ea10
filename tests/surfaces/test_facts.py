from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from llmproxyd.surfaces import SURFACES
from llmproxyd.surfaces.facts import IMAGE_TOKENS, MESSAGE_TOKENS, RequestPrompt, has_code
from llmproxyd.values.request import (
    Chat,
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

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
HELLO = {"role": "user", "content": "hello"}


def prompt(path: str = CHAT, **document: Any) -> RequestPrompt:
    body = json.dumps({"model": "m", **({"messages": [HELLO]} if path == CHAT else {}), **document}).encode()
    return RequestPrompt(SURFACES[path].parse_request({}, body, path), SURFACES[path], len)


def foreign(content: Chat | Embed) -> RequestPrompt:
    """A request in a dialect that is only known by what its surface makes of it."""

    def parse_content(request: Request) -> Chat | Embed:
        return content

    surface = replace(SURFACES[CHAT], parse_content=parse_content)
    request = surface.parse_request({}, json.dumps({"model": "m", "messages": [HELLO]}).encode(), CHAT)
    return RequestPrompt(replace(request, dialect=Dialect.ANTHROPIC_MESSAGES), surface, len)


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


def test_any_other_dialect_is_read_through_its_surface() -> None:
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
