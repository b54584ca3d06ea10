from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.surfaces.ollama_facts import beginning, count_images, document_texts, is_instructed, thinks

TURNS = [
    {"role": "System", "content": "rules"},
    {"role": "user", "content": "look", "images": ["AAAA", "BBBB"]},
    {
        "role": "assistant",
        "content": "",
        "thinking": "hm",
        "tool_calls": [
            {"function": {"name": "f", "arguments": {"iban": "X"}}},
            {"function": {"name": "g", "arguments": "raw"}},
        ],
    },
    {"role": "tool", "tool_name": "f", "content": "result"},
]


def test_everything_that_goes_out_as_text_is_found_and_no_picture() -> None:
    assert list(document_texts({"messages": TURNS})) == [
        "rules",
        "look",
        "hm",
        '{"iban":"X"}',
        "raw",
        "result",
    ]
    generate = {"system": "a", "prompt": "b", "suffix": "c", "template": "{{ d }}", "images": ["AAAA"]}
    assert sorted(document_texts({**generate, "context": [1, 2]})) == ["a", "b", "c", "{{ d }}"]
    assert list(document_texts({"input": ["a", "b"]})) == ["a", "b"]


def test_images_thought_and_instructions_are_seen() -> None:
    assert count_images({"messages": TURNS, "images": ["CCCC"]}) == 3
    assert thinks({"think": True})
    assert thinks({"think": "low"})
    assert not thinks({"think": False})
    assert is_instructed({"messages": TURNS})
    assert is_instructed({"system": "a"})
    assert not is_instructed({"messages": TURNS[1:], "system": ""})


def test_the_beginning_stays_while_the_conversation_grows() -> None:
    assert beginning({"messages": TURNS}) == beginning({"messages": TURNS[:2]}) == ["rules", "look"]
    assert beginning({"messages": TURNS[1:]}) == ["look"]
    assert beginning({"system": "a", "prompt": "b"}) == ["a", "b"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "role", "content", "tool_calls", "function", "arguments", "images"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["messages", "prompt", "input", "images", "think", "system"]), json_values
    )
)
def test_no_document_makes_a_reader_stumble(document: dict[str, Any]) -> None:
    assert all(isinstance(text, str) for text in document_texts(document))
    assert count_images(document) >= 0
    assert isinstance(thinks(document), bool)
    assert isinstance(is_instructed(document), bool)
    beginning(document)
