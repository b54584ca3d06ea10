from __future__ import annotations

from typing import Any

import pytest

from llmproxyd.adapters.openai_usage import find_usage, parse_usage
from llmproxyd.values.cost import Usage


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2, "audio_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 2},
            },
            Usage(9, 8, 4, 2, 0, 5, 1, 2),
        ),
        ({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": None}, Usage(3, 4)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "prompt_cache_hit_tokens": 2}, Usage(3, 4, 2)),
        ({"prompt_tokens": 3.0, "completion_tokens": 4}, Usage(3, 4)),
        ({"prompt_tokens": -1, "completion_tokens": 4}, Usage(0, 4)),
        (None, None),
        ({}, None),
        ({"prompt_tokens": None}, None),
        ({"service_tier": "default"}, None),
        ([], None),
        ({"prompt_tokens": True, "completion_tokens": "4"}, None),
    ],
)
def test_usage_is_brought_into_normal_form(value: Any, expected: Usage | None) -> None:
    assert parse_usage(value) == expected


def test_reasoning_that_the_total_shows_to_be_counted_beside_is_added() -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 10}}
    beside = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 17, **details}
    inside = {"prompt_tokens": 3, "completion_tokens": 14, "total_tokens": 17, **details}
    assert parse_usage(beside) == parse_usage(inside) == Usage(3, 14, reasoning_tokens=10)


@pytest.mark.parametrize(
    ("cost", "nanos"),
    [
        ({"cost": 0.00131}, 1_310_000),
        ({"cost": "0.1"}, 100_000_000),
        ({"cost": 0}, 0),
        ({"cost": 5e-10}, 1),
        ({"cost_in_usd_ticks": 25}, 3),
        ({"cost": None}, None),
        ({"cost": -1}, None),
        ({"cost": "much"}, None),
        ({"cost": "NaN"}, None),
        ({"cost": True}, None),
    ],
)
def test_what_the_provider_charged_is_read_exactly(cost: dict[str, Any], nanos: int | None) -> None:
    usage = parse_usage({"prompt_tokens": 1, "completion_tokens": 1, **cost})
    assert usage is not None
    assert usage.cost_nanos == nanos


def test_usage_in_a_vendors_corner_is_found() -> None:
    assert find_usage({"usage": None, "x_groq": {"usage": {"prompt_tokens": 1}}}) == Usage(1)
    assert find_usage({"x_groq": None}) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 3}, Usage(9, 4, 3)),
        (
            {"prompt_tokens": 9, "completion_tokens": 4, "reasoning_tokens": 6},
            Usage(9, 10, reasoning_tokens=6),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 4, "num_search_queries": 2}, Usage(9, 4, web_searches=2)),
        (
            {"prompt_tokens": 9, "completion_tokens": 4, "cost": {"total_cost": 0.01}},
            Usage(9, 4, cost_nanos=10_000_000),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "cost": 0.0001,
                "is_byok": True,
                "cost_details": {"upstream_inference_cost": 0.002},
            },
            Usage(9, 4, cost_nanos=2_100_000),
        ),
    ],
)
def test_habits_of_single_providers_are_known(value: Any, expected: Usage) -> None:
    assert parse_usage(value) == expected


@pytest.mark.parametrize(
    ("tier", "expected"),
    [("flex", "flex"), ("priority", "priority"), ("default", None), ("scale", None), (3, None)],
)
def test_how_it_was_served_is_read_beside_the_usage(tier: Any, expected: str | None) -> None:
    found = find_usage({"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "service_tier": tier})
    assert found == Usage(1, 1, tier=expected)


def test_reasoning_that_is_known_to_stand_apart_is_added_unless_the_total_denies_it() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 8, "completion_tokens_details": {"reasoning_tokens": 5}}
    assert parse_usage(usage) == Usage(9, 8, reasoning_tokens=5)
    assert parse_usage(usage, reasoning_apart=True) == Usage(9, 13, reasoning_tokens=5)
    assert parse_usage(usage | {"total_tokens": 17}, reasoning_apart=True) == Usage(9, 8, reasoning_tokens=5)
