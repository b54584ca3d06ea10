from __future__ import annotations

import json
import re
from datetime import date
from importlib import resources
from typing import Any

import pytest

from llmproxyd.config.catalogue import catalogue_date, facts, parse_price, plain_id
from llmproxyd.config.presets import PRESETS
from llmproxyd.values.cost import Price
from llmproxyd.values.request import Capability


def rows() -> list[tuple[str, frozenset[str], dict[str, Any]]]:
    document = json.loads(resources.files("llmproxyd.config").joinpath("catalogue.json").read_text())
    return [
        (name, frozenset(family["hosts"]), row)
        for family in document["families"]
        for name, row in family["models"].items()
    ]


def test_the_catalogue_says_how_old_it_is() -> None:
    assert date.fromisoformat(catalogue_date()) >= date(2026, 11, 1)


@pytest.mark.parametrize(("name", "hosts", "row"), rows(), ids=[name for name, _, _ in rows()])
def test_a_row_is_sound(name: str, hosts: frozenset[str], row: dict[str, Any]) -> None:
    assert hosts <= set(PRESETS)
    for host in hosts:
        found = facts(name, host)
        assert found is not None
        assert found.id == name
    assert set(row) <= {"context_window", "max_output_tokens", "capabilities", "price", "retires", "aliases"}
    assert 1000 < row["context_window"] < 10_000_000
    assert row.get("max_output_tokens", 1) <= row["context_window"]
    assert set(row.get("capabilities", ())) <= set(Capability)
    if "price" in row:
        price = row["price"]
        assert (
            {"input", "output"}
            <= set(price)
            <= {"input", "output", "cached_input", "cache_write", "cache_write_1h"}
        )
        assert price.get("cached_input", 0) <= price["input"] <= price.get("cache_write", price["input"])
    if "retires" in row:
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", row["retires"])


def test_two_models_never_share_a_spelling() -> None:
    spellings = [
        spelling.casefold().replace(".", "-")
        for name, _, row in rows()
        for spelling in (name, *row.get("aliases", ()))
    ]
    assert len(spellings) == len(set(spellings))


def test_known_facts_are_exact_in_integers() -> None:
    found = facts("gpt-5.6-luna", "openai")
    assert found is not None
    assert found.price == Price(200_000_000, 1_200_000_000, 20_000_000, 250_000_000)
    assert (found.context_window, found.max_output_tokens) == (1_050_000, 128_000)
    assert found.capabilities == frozenset(
        {Capability.TOOLS, Capability.VISION, Capability.JSON_SCHEMA, Capability.THINKING, Capability.FILES}
    )


def test_a_write_for_an_hour_has_its_own_price() -> None:
    found = facts("claude-opus-5-5", "anthropic")
    assert found is not None
    assert found.price == Price(4_000_000_000, 20_000_000_000, 200_000_000, 5_000_000_000, 8_000_000_000)


@pytest.mark.parametrize(
    ("spelling", "preset", "plain"),
    [
        ("claude-opus-5-5", "anthropic", "claude-opus-5-5"),
        ("claude-opus-5.5", "anthropic", "claude-opus-5-5"),
        ("anthropic/claude-opus-5.5", "openrouter", "claude-opus-5-5"),
        ("anthropic/claude-opus-5.5:free", "openrouter", "claude-opus-5-5"),
        ("claude-opus-5-5-20260801", "anthropic", "claude-opus-5-5"),
        ("gpt-4o-2024-08-06", "openai", "gpt-4o"),
        ("GPT-5.6-Sol", "azure", "gpt-5.6-sol"),
        ("gpt-5-6-sol", "openai", "gpt-5.6-sol"),
        ("gpt-5.6", "openai", "gpt-5.6-sol"),
        ("command-r-plus-08-2024", "cohere", "command-r-plus"),
        ("command-a-plus-05-2026", "cohere", "command-a-plus-05-2026"),
        ("grok-4.5-latest", "xai", "grok-4.5"),
        ("gemini-flash-latest", "gemini", "gemini-3.8-flash"),
        ("llama3:latest", "ollama", "llama3"),
        ("llama3:70b", "ollama", "llama3:70b"),
        ("llama3", "ollama", "llama3"),
        ("meta-llama/llama-4-scout", "openrouter", "meta-llama/llama-4-scout"),
        ("my-finetune-2026-01-01", "vllm", "my-finetune-2026-01-01"),
        ("Qwen3", "vllm", "Qwen3"),
    ],
)
def test_one_model_has_one_plain_id(spelling: str, preset: str, plain: str) -> None:
    assert plain_id(spelling, preset) == plain


@pytest.mark.parametrize("preset", ["vllm", "ollama", "openai-compatible", "lmstudio"])
def test_somebodys_own_server_is_not_what_the_maker_runs(preset: str) -> None:
    assert facts("gpt-5.6-sol", preset) is None
    assert plain_id("gpt-5.6-sol", preset) == "gpt-5.6-sol"


def test_an_unknown_model_has_no_facts() -> None:
    assert facts("gpt-9000", "openai") is None


def test_a_variant_is_the_same_model_at_an_unknown_price() -> None:
    found = facts("anthropic/claude-opus-5.5:free", "openrouter")
    assert found is not None
    assert found.context_window == 1_000_000
    assert found.price is None


def test_a_model_for_embeddings_is_marked_as_one() -> None:
    embedding = {name for name, _, row in rows() if row.get("capabilities") == ["embeddings"]}
    assert embedding == {name for name, _, _ in rows() if "embed" in name}


def test_a_price_is_never_rounded_in_silence() -> None:
    assert parse_price({"input": 0.1, "output": 0.3}) == Price(100_000_000, 300_000_000)
    with pytest.raises(ValueError, match="nine decimals"):
        parse_price({"input": 0.0000000001, "output": 1})
