"""Values and expectations in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.document import parse_document
from llmproxyd.config.phrases import (
    clip,
    counted,
    expected_kind,
    expected_number,
    first_sentence,
    how_to_write,
    inline,
    kind_of,
    listed,
)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "nothing"),
        (True, "boolean"),
        (1, "integer"),
        (1.5, "number"),
        ("", "string"),
        ([], "list"),
        ({}, "mapping"),
    ],
)
def test_kinds_have_their_yaml_names(value: object, kind: str) -> None:
    assert kind_of(value) == kind


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "integer >= 1"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 5}, "number > 0 and <= 5"),
        ({"type": "integer", "minimum": 1, "maximum": 5}, "integer from 1 to 5"),
        ({"type": ["string", "array"]}, "string or list"),
        ({"type": ["object", "null"]}, "mapping"),
        ({"type": "null"}, "nothing"),
        ({"const": "any"}, "`any`"),
        ({"enum": ["a", 1, True]}, "`a`, `1` or `true`"),
        ({}, "another value"),
    ],
)
def test_a_schema_is_told_in_a_few_words(schema: dict[str, Any], words: str) -> None:
    assert expected_kind(schema) == words


def test_a_number_out_of_range_is_not_offered_other_kinds() -> None:
    assert expected_number({"type": ["integer", "string"], "minimum": 1}) == "integer >= 1"
    assert expected_number({"minimum": 1}) == "number >= 1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("openai/gpt-5.6", "openai/gpt-5.6"),
        ("${env:KEY}", "${env:KEY}"),
        ("two words", "two words"),
        ("true", '"true"'),
        ("12", '"12"'),
        ("a: b", '"a: b"'),
        ("- a", '"- a"'),
        ("", '""'),
        ([1, {"a": None, "b": True}], "[1, {a: null, b: true}]"),
        (0.2, "0.2"),
    ],
)
def test_values_are_written_as_yaml_on_one_line(value: object, text: str) -> None:
    assert inline(value) == text


@given(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs", "Cc"]), max_size=12))
def test_what_is_written_reads_back(text: str) -> None:
    document, problems = parse_document(f"key: {inline(text)}".encode(), "f")
    assert not problems
    assert document is not None
    assert document.data == {"key": text}


@pytest.mark.parametrize(
    ("value", "kinds", "quoted", "advice"),
    [
        ("8", ["integer"], True, "remove the quotes: `k: 8`"),
        ("1.5", ["number"], True, "remove the quotes: `k: 1.5`"),
        ("400_000", ["integer"], False, "write it as: `k: 400000`"),
        ("yes", ["boolean"], False, "write it as: `k: true`"),
        ("off", ["boolean"], False, "write it as: `k: false`"),
        ("true", ["boolean"], True, "remove the quotes: `k: true`"),
        ("1.5", ["integer"], True, ""),
        ("word", ["integer", "boolean"], False, ""),
        ("word", ["array"], False, "write a list: `k: [word]`"),
        (8, ["string", "array"], False, 'put it in quotes: `k: "8"`'),
        (True, ["string"], False, 'put it in quotes: `k: "true"`'),
        ({}, ["array"], False, ""),
        (None, ["string"], False, "give `k` a value, or delete the line"),
    ],
)
def test_advice_says_what_to_write(value: object, kinds: list[str], quoted: bool, advice: str) -> None:
    assert how_to_write("k", value, kinds, quoted=quoted) == advice


def test_small_words() -> None:
    assert listed(["a"], "or") == "a"
    assert listed(["a", "b", "a", "c"], "or") == "a, b or c"
    assert listed([], "or") == ""
    assert [counted(1, "entry"), counted(2, "entry"), counted(3_000, "key")] == [
        "1 entry",
        "2 entries",
        "3,000 keys",
    ]
    assert first_sentence("Wait so long, e.g. 30s. Then stop.") == "Wait so long, e.g. 30s"
    assert first_sentence("one of them.") == "one of them"
    assert clip("x" * 40) == "x" * 40
    assert clip("x" * 41) == "x" * 37 + "..."
