"""Did you mean: near enough to help, far enough not to annoy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.suggest import closest, distance, meant_key

KEYS = ["api_key", "endpoint", "timeouts", "models", "max_retries", "zone", "id", "to"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("timout", "timeouts"),
        ("modles", "models"),
        ("apikey", "api_key"),
        ("API-KEY", "api_key"),
        ("end-point", "endpoint"),
        ("maxretry", None),
        ("zoen", "zone"),
        ("i", None),
        ("t0", "to"),
        ("colour", None),
        ("", None),
        ("x" * 1000, None),
    ],
)
def test_the_nearest_name_is_suggested_if_it_is_near(written: str, meant: str | None) -> None:
    assert closest(written, KEYS) == meant


def test_of_two_names_equally_near_the_first_in_order_wins() -> None:
    assert closest("lab3", ["lab2", "lab1"]) == "lab1"


def test_a_name_is_not_suggested_for_itself() -> None:
    assert closest("openai", ["openai"]) is None


@pytest.mark.parametrize(
    ("one", "other", "slips"),
    [
        ("", "", 0),
        ("abc", "abc", 0),
        ("abc", "acb", 1),
        ("abc", "ab", 1),
        ("abc", "xbc", 1),
        ("kitten", "sitting", 3),
    ],
)
def test_slips_are_counted(one: str, other: str, slips: int) -> None:
    assert distance(one, other) == slips


@given(st.text(max_size=12), st.text(max_size=12))
def test_distance_is_symmetric_and_bounded(one: str, other: str) -> None:
    slips = distance(one, other)
    assert slips == distance(other, one)
    assert abs(len(one) - len(other)) <= slips <= max(len(one), len(other))


@pytest.mark.parametrize(
    ("written", "known", "meant"),
    [
        ("base_url", KEYS, "endpoint"),
        ("url", KEYS, "endpoint"),
        ("model_list", KEYS, "models"),
        ("Api-Key", KEYS, "api_key"),
        ("model", ["to", "weight"], "to"),
        ("if", ["when", "id"], "when"),
        ("url", ["to"], None),
    ],
)
def test_what_other_programs_call_a_key_is_known(written: str, known: list[str], meant: str | None) -> None:
    assert meant_key(written, known) == meant
