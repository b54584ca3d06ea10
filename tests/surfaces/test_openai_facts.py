from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.surfaces.openai_facts import beginning, count_images, document_texts, is_instructed, thinks


def test_texts_outside_the_turns_leave_the_house_too() -> None:
    predicted = {"prediction": {"type": "content", "content": [{"type": "text", "text": "old file"}]}}
    assert list(document_texts({"messages": [], **predicted})) == ["old file"]
    assert list(document_texts({"prompt": "def f(", "suffix": "return x"})) == ["def f(", "return x"]


def test_pictures_are_counted_wherever_they_stand() -> None:
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    turns = [{"role": "user", "content": [picture, picture]}, {"role": "user", "content": "a"}]
    assert count_images({"messages": [*turns, {"role": "user", "content": [picture]}]}) == 3


def test_the_beginning_of_a_prompt_is_the_prompt() -> None:
    assert beginning({"prompt": "a"}) == "a"
    assert beginning({"input": ["a", "b"]}) == ["a", "b"]
    assert beginning({"messages": [{"role": "user", "content": "a"}]}) == [[], "a"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "role",
                    "content",
                    "tool_calls",
                    "function",
                    "custom",
                    "file",
                    "prompt",
                    "prediction",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "input", "prediction"]), json_values))
def test_no_document_makes_a_reader_stumble(document: dict[str, Any]) -> None:
    assert all(isinstance(text, str) for text in document_texts(document))
    assert count_images(document) >= 0
    assert not thinks(document)
    assert isinstance(is_instructed(document), bool)
    beginning(document)
