from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.config.prices_written import find_faults, parse_written
from llmproxyd.values.cost import Price, Step
from tests.config.building import build, deployment_of

USD = 10**9


def test_a_plain_price_holds_for_ever() -> None:
    prices = parse_written({"input": 0.2, "output": 1.2, "cached_input": 0.02})
    assert prices.version == "operator"
    assert prices.at(0) == prices.at(4e9) == Price(200_000_000, 1_200_000_000, 20_000_000)


def test_what_a_step_or_a_tier_leaves_out_is_as_in_the_price_it_belongs_to() -> None:
    written = {
        "input": 2,
        "output": 10,
        "per_search": 0.01,
        "steps": [{"above": "200_000", "input": 4}],
        "tiers": {"batch": {"input": 1, "steps": [{"above": 200_000, "output": 6}]}},
    }
    usual, batch = (
        Price(2 * USD, 10 * USD, per_search_nanos=10**7),
        Price(USD, 10 * USD, per_search_nanos=10**7),
    )
    price = parse_written(written).at(0)
    assert price == Price(
        2 * USD,
        10 * USD,
        per_search_nanos=10**7,
        steps=(Step(200_000, Price(4 * USD, usual.output, per_search_nanos=10**7)),),
        tiers={
            "batch": Price(
                batch.input,
                batch.output,
                per_search_nanos=10**7,
                steps=(Step(200_000, Price(USD, 6 * USD, per_search_nanos=10**7)),),
            )
        },
    )


def test_a_dated_price_holds_from_midnight_on_its_day() -> None:
    prices = parse_written([{"input": 1, "output": 1}, {"from": "2027-01-01", "input": 2, "output": 2}])
    midnight = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    before, after = prices.at(midnight - 0.001), prices.at(midnight)
    assert before is not None
    assert after is not None
    assert (before.input, after.input) == (USD, 2 * USD)


def test_before_the_first_day_of_a_list_nothing_is_known() -> None:
    assert parse_written([{"from": "2027-01-01", "input": 2, "output": 2}]).at(0) is None


@pytest.mark.parametrize(
    ("written", "path", "text"),
    [
        ({"input": 1e-11, "output": 1}, ("input",), "nine decimals"),
        ({"input": 1, "output": 1, "per_request": 1e-11}, ("per_request",), "nine decimals"),
        ([{"from": "2027-02-30", "input": 1, "output": 1}], (0, "from"), "calendar"),
        ([{"input": 1, "output": 1}, {"input": 1, "output": 1}], (1,), "only the first"),
        (
            [
                {"from": "2027-02-01", "input": 1, "output": 1},
                {"from": "2027-01-01", "input": 1, "output": 1},
            ],
            (1, "from"),
            "rises by day",
        ),
        (
            {"input": 1, "output": 1, "steps": [{"above": 9, "input": 1}, {"above": 9}]},
            ("steps", 1, "above"),
            "steps rise",
        ),
        (
            {"input": 1, "output": 1, "tiers": {"flex": {"input": 1e-12}}},
            ("tiers", "flex", "input"),
            "nine decimals",
        ),
    ],
)
def test_what_the_schema_cannot_see_is_told_where_it_stands(
    written: Any, path: tuple[Any, ...], text: str
) -> None:
    ((found, message),) = find_faults(written)
    assert found == path
    assert text in message


def test_the_file_takes_every_part_and_its_price_is_in_force(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        """
        providers:
          openai:
            models:
              - id: gpt-5.6-luna
                price:
                  - {input: 1, output: 2, input_audio: 3, cached_audio: 1, output_audio: 4, input_image: 2,
                     output_image: 5, reasoning: 6, cache_write_1h: 7, per_request: 0.001, per_search: 0.01,
                     steps: [{above: 200_000, input: 2}], tiers: {batch: {input: 0.5}}}
                  - {from: 2999-01-01, input: 9, output: 9}
        """,
    )
    luna = deployment_of(loaded, "openai/gpt-5.6-luna")
    assert luna.price is not None
    assert luna.prices is not None
    assert (luna.price.input, luna.price.reasoning, luna.prices.version) == (USD, 6 * USD, "operator")
    assert luna.price.tiers["batch"].input == USD // 2
    assert luna.prices.at(4e10) == Price(9 * USD, 9 * USD)


def test_a_fault_in_a_dated_price_is_told_at_its_place(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        """
        providers:
          openai:
            models:
              - id: gpt-5.6-luna
                price: [{input: 1, output: 2}, {from: 2027-13-01, input: 1, output: 2}]
        """,
    )
    (problem,) = [problem for problem in loaded.problems if problem.code == "LP105"]
    assert "2027-13-01" in problem.message
