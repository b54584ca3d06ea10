from __future__ import annotations

import pytest

from llmproxyd.adapters.think_tags import ThinkTags


def split(pieces: list[str]) -> tuple[str, str]:
    tags = ThinkTags()
    pairs = [*(tags.feed(piece) for piece in pieces), tags.close()]
    return "".join(thought for thought, _ in pairs), "".join(answer for _, answer in pairs)


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("<think>a</think>b", "a", "b"),
        ("\n<think>\na\n</think>\n\nb\n", "a\n", "b\n"),
        ("<think>\n\n</think>\n\nb", "", "b"),
        ("<think>a < b </thin </think>c</think>", "a < b </thin ", "c</think>"),
        ("<think>never closed", "never closed", ""),
        ("no tags", "", "no tags"),
        ("a <think>b</think>", "", "a <think>b</think>"),
        ("<thin", "", "<thin"),
        ("no opening</think>b", "", "no opening</think>b"),
        ("  ", "", "  "),
        ("", "", ""),
    ],
)
def test_thought_and_answer_are_told_apart_wherever_the_text_is_cut(
    text: str, thought: str, answer: str
) -> None:
    assert split([text]) == (thought, answer)
    assert split(list(text)) == (thought, answer)
    for cut in range(len(text)):
        assert split([text[:cut], text[cut:]]) == (thought, answer)
