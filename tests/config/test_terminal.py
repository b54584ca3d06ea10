"""Text on a terminal: safe, aligned, and inside its width."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.mask import MASK
from llmproxyd.config.terminal import display_width, fit_line, visible, wrap

anything = st.text(max_size=200)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("é日本", "é日本"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x7f\x85\x9b", "\\x7f\\x85\\x9b"),
        ("abc\u202edef\u2066", "abc\\u202edef\\u2066"),
        ("a\u200db\u200b\ufeff", "a\\u200db\\u200b\\ufeff"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        (MASK * 40, "***"),
        (f"key: {MASK * 5}, x", "key: ***, x"),
    ],
)
def test_what_a_terminal_might_obey_is_drawn_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(anything)
def test_nothing_that_is_shown_can_steer_a_terminal(text: str) -> None:
    for shown in (visible(text), fit_line(text, 0, 1, 60).text):
        assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("ｱ", 1), ("", 0)])
def test_width_counts_columns_not_characters(text: str, width: int) -> None:
    assert display_width(text) == width


def test_columns_follow_tabs_wide_and_combining_characters() -> None:
    line = fit_line("a\t日e\u0301x", 0, 1, 80)
    assert line.text == "a   日e\u0301x"
    assert list(line.columns) == [0, 1, 4, 6, 7, 7, 8]
    assert line.column_of(6) == 8
    assert line.column_of(9) == 11


def test_a_masked_run_takes_three_columns_whatever_its_length() -> None:
    for length in (1, 3, 200):
        line = fit_line(f"k: {MASK * length} x", 0, 1, 40)
        assert line.text == "k: *** x"
        assert line.column_of(3) == 3
        assert line.column_of(3 + length) == 6


def test_a_long_line_is_cut_on_both_sides_of_what_matters() -> None:
    source = "".join(f"{n:04d}" for n in range(100))
    line = fit_line(source, 200, 204, 40)
    assert line.text.startswith("...")
    assert line.text.endswith("...")
    assert len(line.text) == 40
    assert line.text[line.column_of(200) : line.column_of(204)] == "0050"


def test_the_ends_of_a_long_line_are_cut_on_one_side_only() -> None:
    source = "x" * 100
    assert fit_line(source, 0, 2, 20).text == "x" * 17 + "..."
    assert fit_line(source, 98, 100, 20).text == "..." + "x" * 17


@given(anything, st.integers(0, 200), st.integers(1, 40), st.integers(20, 90))
def test_a_line_fits_and_its_columns_never_go_back(source: str, start: int, length: int, width: int) -> None:
    line = fit_line(source, start, start + length, width)
    assert display_width(line.text) <= width
    assert list(line.columns) == sorted(line.columns)
    assert line.columns[-1] <= display_width(line.text)


def test_words_are_kept_whole_where_they_fit() -> None:
    assert wrap("one two three four", 9, 2) == ["one two", "  three", "  four"]


def test_a_word_that_is_too_long_is_cut() -> None:
    assert wrap("x" * 25, 10, 2) == ["x" * 10, "  " + "x" * 8, "  " + "x" * 7]


@given(anything, st.integers(8, 60), st.integers(0, 20))
def test_wrapped_text_fits_and_loses_nothing(text: str, width: int, indent: int) -> None:
    lines = wrap(visible(text), width, indent)
    assert all(display_width(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == visible(text).replace(" ", "")
