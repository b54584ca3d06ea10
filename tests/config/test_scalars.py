"""Plain scalars mean what YAML 1.2 says, not what 1.1 said."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.scalars import resolve_plain

VALUES: list[tuple[str, Any]] = [
    ("", None),
    ("~", None),
    ("null", None),
    ("NULL", None),
    ("true", True),
    ("TRUE", True),
    ("False", False),
    ("0", 0),
    ("-12", -12),
    ("+12", 12),
    ("0o17", 15),
    ("0xfF", 255),
    ("1.5", 1.5),
    ("-.5", -0.5),
    ("1.", 1.0),
    ("1e3", 1000.0),
    ("6.02E+23", 6.02e23),
    (".inf", math.inf),
    ("-.Inf", -math.inf),
]
TEXTS = [
    "no",
    "No",
    "on",
    "off",
    "yes",
    "y",
    "12:30",
    "12:30:45",
    "017",
    "400_000",
    "0b1",
    "1_0.5",
    "2026-12-31",
]
TEXTS += [
    "tRue",
    "nULL",
    "0o8",
    "0x",
    "-",
    "+",
    ".",
    "1.2.3",
    "gpt-4.1",
    "1" * 65,
    "-0x1F",
    ".5.",
    "e3",
    "<<",
    "=",
]


@pytest.mark.parametrize(("written", "meant"), VALUES)
def test_core_schema_values(written: str, meant: object) -> None:
    value = resolve_plain(written)
    assert value == meant
    assert type(value) is type(meant)


@pytest.mark.parametrize("written", TEXTS)
def test_all_else_stays_a_text(written: str) -> None:
    assert resolve_plain(written) == written


def test_not_a_number_is_one() -> None:
    value = resolve_plain(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)


@given(st.integers(-(10**18), 10**18))
def test_integers_round_trip(number: int) -> None:
    assert resolve_plain(str(number)) == number


@given(st.text(max_size=80))
def test_no_text_breaks_it(text: str) -> None:
    value = resolve_plain(text)
    assert value is None or isinstance(value, str | int | float)
