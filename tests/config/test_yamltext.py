"""What keeps a reader from going on, said so that the next save can be right. With libyaml and without."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config import yamltext
from llmproxyd.config.problem import Problem
from llmproxyd.config.yamltext import MAX_BYTES, Unreadable, decode_text, parse_events


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    chosen = getattr(yaml, request.param)
    monkeypatch.setattr(yamltext, "_LOADER", chosen)
    return chosen


SYNTAX = [
    ('a: "x\nb: 1\n', 1, 4, "a quote is opened and never closed"),
    ("a: 'x\n", 1, 4, "a quote is opened and never closed"),
    ('a: "\\d+"\n', 1, None, "a backslash that means nothing in double quotes"),
    ("key: - a\n", 1, 6, "a list item cannot stand here"),
    ("a: 1\nb\nc: 2\n", 2, 1, "a line that is neither `key: value` nor a list item"),
    ("a: [1, 2\nb: 1\n", 1, 4, "a list in [ ] is not closed"),
    ("a: {b: 1\n", 1, 4, "a mapping in { } is not closed"),
    ("a: }\n", 1, 4, "a value is missing or a bracket is left over"),
    ("a: *\n", 1, 5, "`*` and `&` begin an alias or an anchor, and no name follows"),
    ("a: @x\n", 1, 4, "a value cannot begin with this character"),
    ("a: `x`\n", 1, 4, "a value cannot begin with this character"),
    ("a: 1\n...\nb\n", 3, 1, "text after the end of the document"),
    ("a:\n  - 1\n  b: 1\n", 3, 3, "a key where the list above goes on"),
    ("a:\n    b: 1\n  c: 2\n", 3, 3, "this does not belong to the mapping around it"),
    ("a: 'it's'\n", 1, 8, "this does not belong to the mapping around it"),
    ("a: b: c\n", 1, 5, "a second `: ` in one value"),
    ("a: 1\n b: 2\n", 2, 3, "this key does not fit the line above"),
]


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(("text", "line", "column", "message"), SYNTAX)
def test_a_syntax_error_is_explained_where_it_began(
    text: str, line: int, column: int | None, message: str
) -> None:
    with pytest.raises(Unreadable) as refused:
        list(parse_events(text, "f.yaml"))
    (problem,) = refused.value.problems
    assert problem.code == "LP001"
    assert problem.message == message
    assert problem.helps
    assert problem.span is not None
    assert problem.span.file == "f.yaml"
    assert problem.span.line == line
    assert column is None or problem.span.column == column


@pytest.mark.usefixtures("loader")
def test_a_tab_in_the_indentation_is_named_and_counted() -> None:
    with pytest.raises(Unreadable) as refused:
        list(parse_events("a:\n \tb: 1\n\tc: 2\n\t# only a comment\n", "f"))
    (problem,) = refused.value.problems
    assert (problem.code, problem.message) == ("LP005", "a tab in the indentation (and in 1 more line)")
    assert (problem.span and (problem.span.line, problem.span.column)) == (2, 2)


def test_a_tab_where_yaml_allows_it_is_no_problem() -> None:
    text = "a: |\n  x\n  \tindented text\nb:\t1\n"
    values = [event.value for event in parse_events(text, "f") if isinstance(event, yaml.ScalarEvent)]
    assert values == ["a", "x\n\tindented text\n", "b", "1"]


def test_a_byte_order_mark_is_taken_off() -> None:
    assert decode_text(b"\xef\xbb\xbfa: 1", "f") == "a: 1"


def test_lines_may_end_as_windows_ends_them() -> None:
    scalars = [
        event for event in parse_events("a: 1\r\nb: 2\r\n", "f") if isinstance(event, yaml.ScalarEvent)
    ]
    marks = [event.start_mark for event in scalars]
    assert [(mark.line, mark.column) for mark in marks if mark] == [(0, 0), (0, 3), (1, 0), (1, 3)]


@pytest.mark.parametrize(
    ("raw", "code", "message", "place"),
    [
        ("a: 1".encode("utf-16"), "LP005", "the file is UTF-16 or UTF-32", (1, 1)),
        ("a: ü".encode("latin-1"), "LP005", "byte 0xfc is not valid UTF-8", (1, 4)),
        (b"ok: 1\r\nb: \xc3", "LP005", "byte 0xc3 is not valid UTF-8", (2, 4)),
        (b"a: 1\nb: \x1b[0m", "LP005", "the character U+001B is not allowed in YAML", (2, 4)),
        (b"a\x00: 1", "LP005", "the character U+0000 is not allowed in YAML", (1, 2)),
        (
            b"#" * (MAX_BYTES + 1),
            "LP007",
            "the file has 8,388,609 bytes; at most 8,388,608 are read",
            (1, 1),
        ),
    ],
)
def test_bytes_that_are_no_text_are_refused_at_their_place(
    raw: bytes, code: str, message: str, place: tuple[int, int]
) -> None:
    with pytest.raises(Unreadable) as refused:
        decode_text(raw, "f")
    problem = refused.value.problems[0]
    assert (problem.code, problem.message) == (code, message)
    assert (problem.span and (problem.span.line, problem.span.column)) == place
    assert problem.helps


def test_a_file_of_control_characters_is_not_told_one_by_one() -> None:
    with pytest.raises(Unreadable) as refused:
        decode_text(b"\x00" * 100_000, "f")
    assert len(refused.value.problems) == 5


def problems_of(raw: bytes) -> tuple[Problem, ...]:
    try:
        for _ in parse_events(decode_text(raw, "f"), "f"):
            pass
    except Unreadable as refused:
        return refused.problems
    return ()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_at_a_place(raw: bytes) -> None:
    assert all(problem.span is not None for problem in problems_of(raw))


@given(st.text(alphabet="ab: -[]{}'\"\n\t#&*!|>%@,?\\", max_size=60))
def test_what_is_refused_is_refused_inside_the_text(text: str) -> None:
    for problem in problems_of(text.encode()):
        assert problem.span is not None
        assert 1 <= problem.span.line <= text.count("\n") + 1
