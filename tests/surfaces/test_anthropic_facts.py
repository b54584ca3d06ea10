from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.surfaces.anthropic_facts import beginning, count_images, document_texts, is_instructed, thinks

IMAGE = {"type": "image", "source": {"type": "base64", "data": "AAAA"}}
BILLING = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329"}


def test_everything_that_goes_out_as_text_is_read() -> None:
    document = {
        "system": [BILLING, {"type": "text", "text": "sys"}],
        "messages": [
            {"role": "user", "content": "first"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
                    {
                        "type": "web_search_tool_result",
                        "content": [{"title": "found", "encrypted_content": "zzz"}],
                    },
                    {"type": "tool_use", "id": "t", "name": "get", "input": {"a": "b"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "content": [{"type": "text", "text": "res"}, IMAGE],
                    },
                    {"type": "tool_result", "tool_use_id": "u", "content": "plain"},
                    {
                        "type": "document",
                        "title": "ttl",
                        "context": "ctx",
                        "source": {"type": "text", "media_type": "text/plain", "data": "doc"},
                    },
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]},
                    },
                    {"type": "search_result", "source": "https://x.test", "title": "t2", "content": []},
                ],
            },
        ],
    }
    texts = list(document_texts(document))
    assert texts == [
        "sys", "first", "hm", '{"query":"q"}', "found", '{"a":"b"}', "res", "plain", "ttl", "ctx", "doc", "inner", "t2",
        "https://x.test",
    ]  # fmt: skip
    assert count_images(document) == 1


def test_the_beginning_is_the_same_in_every_turn_and_with_every_build() -> None:
    first = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    early = {"system": [BILLING, {"type": "text", "text": "s"}], "messages": [first]}
    later = {
        "system": [{"type": "text", "text": "s"}],
        "messages": [first, {"role": "user", "content": "more"}],
    }
    assert beginning(early) == beginning(later) == ["s", "hi"]


@pytest.mark.parametrize(
    ("document", "instructed"),
    [
        ({"system": "x"}, True),
        ({"system": ""}, False),
        ({"system": [BILLING]}, False),
        ({"messages": [{"role": "system", "content": "x"}]}, True),
        ({}, False),
    ],
)
def test_instructions(document: dict[str, Any], instructed: bool) -> None:
    assert is_instructed(document) is instructed


@pytest.mark.parametrize(
    ("thinking", "wanted"),
    [
        ({"type": "adaptive"}, True),
        ({"type": "enabled"}, True),
        ({"type": "disabled"}, False),
        (None, False),
        ({}, False),
    ],
)
def test_thought(thinking: Any, wanted: bool) -> None:
    assert thinks({"thinking": thinking}) is wanted


def test_blocks_within_blocks_are_read_so_far_and_no_further() -> None:
    block: dict[str, Any] = {"type": "text", "text": "deep", "content": [IMAGE]}
    for _ in range(300):
        block = {"type": "tool_result", "content": [block]}
    document = {"messages": [{"role": "user", "content": [block]}]}
    assert list(document_texts(document)) == []
    assert count_images(document) == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "source", "data", "input", "thinking", "title"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["system", "messages", "thinking"]), JSON))
def test_nothing_a_client_may_write_raises(document: dict[str, Any]) -> None:
    assert all(isinstance(text, str) for text in document_texts(document))
    assert count_images(document) >= 0
    assert isinstance(beginning(document), list)
    assert thinks(document) in (True, False)
    assert is_instructed(document) in (True, False)
