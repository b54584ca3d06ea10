"""``llmproxyd cost estimate``: bodies of every dialect, priced before they are sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.commands.console import CannotGoOn
from llmproxyd.commands.cost_estimate import Length, estimate_publicly
from llmproxyd.commands.request_body import surface_names
from llmproxyd.config.catalogue import _catalogue
from llmproxyd.config.prices import known_price, seller_named, table
from llmproxyd.values.cost import Usage, cost_of
from tests.commands.conftest import Done, Run

NOON_S = 1_795_262_400.0  # 2026-11-21T12:00Z
HELLO = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    "openai-chat": {"model": "smart", "messages": HELLO, "max_tokens": 100},
    "openai-responses": {"model": "smart", "input": "hello", "max_output_tokens": 100},
    "openai-completions": {"model": "smart", "prompt": "hello", "max_tokens": 100},
    "anthropic-messages": {"model": "smart", "system": "be brief", "messages": HELLO, "max_tokens": 100},
    "gemini-generate": {
        "model": "smart",
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "generationConfig": {"maxOutputTokens": 100},
    },
    "ollama-chat": {"model": "smart", "messages": HELLO, "options": {"num_predict": 100}},
    "ollama-generate": {"model": "smart", "prompt": "hello", "options": {"num_predict": 100}},
}


@pytest.fixture
def estimate(run: Run, config_dir: Path, tmp_path: Path) -> Run:
    def call(body: object, *argv: str, **options: object) -> Done:
        file = tmp_path / "body.json"
        file.write_text(body if isinstance(body, str) else json.dumps(body))
        keys = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
        settings = ("--config-dir", str(config_dir))
        return run("cost", "estimate", str(file), *argv, *settings, environ=keys, wall_s=NOON_S, **options)

    return call


def document(done: Done) -> dict[str, Any]:
    assert done.status == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


@pytest.mark.parametrize("surface", BODIES)
def test_a_body_of_any_dialect_is_known_by_its_looks(estimate: Run, surface: str) -> None:
    found = document(estimate(BODIES[surface], as_json=True))
    assert found["model"] == "smart"
    assert found["tokens_out"] == 100
    assert [(row["order"], row["deployment"]) for row in found["estimates"]] == [
        (1, "lab/small"),
        (2, "openai/big"),
        (3, "anthropic/wise"),
    ]
    big = found["estimates"][1]
    assert big["expected_nanos"] == found["tokens_in"] * 2_000 + 100 * 8_000
    assert big["most_nanos"] >= big["expected_nanos"]
    named = document(estimate(BODIES[surface], "--surface", surface, as_json=True))
    assert named == found


def test_the_model_may_be_named_beside_the_body(estimate: Run) -> None:
    found = document(estimate(BODIES["gemini-generate"], "--model", "openai/big", as_json=True))
    assert found["model"] == "openai/big"
    by_order = {row["deployment"]: (row["order"], row["note"]) for row in found["estimates"]}
    assert by_order == {
        "openai/big": (1, ""),
        "anthropic/wise": (None, "not meant by openai/big"),
        "lab/small": (None, "not meant by openai/big"),
    }


def test_rules_decide_as_they_would_and_say_why(estimate: Run) -> None:
    body = {"model": "smart", "messages": [{"role": "user", "content": "a secret"}]}
    done = estimate(body, as_json=True)
    notes = {row["deployment"]: row["note"] for row in document(done)["estimates"]}
    assert "restricted" in notes["openai/big"]
    assert all(
        row["order"] is None for row in document(done)["estimates"] if row["deployment"] != "lab/small"
    )


def test_lengths_may_be_stated(estimate: Run) -> None:
    stated = ("--tokens-in", "1_000_000", "--cached", "400000", "--tokens-out", "10")
    found = document(estimate(BODIES["openai-chat"], *stated, as_json=True))
    wise = next(row for row in found["estimates"] if row["deployment"] == "anthropic/wise")
    assert wise["expected_nanos"] == 5 * 10**9 + 250_000
    assert found["tokens_cached"] == 400_000


def test_people_get_a_table_in_the_order_of_asking(estimate: Run) -> None:
    lines = estimate(BODIES["openai-chat"]).out.splitlines()
    assert lines[0].endswith("tokens in, 100 expected out")
    assert [line.split()[1] for line in lines[2:]] == ["lab/small", "openai/big", "anthropic/wise"]
    assert lines[3].split()[0] == "2."


def test_an_unconfigured_provider_is_priced_all_the_same(run: Run, config_dir: Path) -> None:
    options = ("--config-dir", str(config_dir), "--tokens-in", "1000000", "--tokens-out", "0")
    found = document(run("cost", "estimate", *options, wall_s=NOON_S, as_json=True))
    assert {row["deployment"]: row["expected_usd"] for row in found["estimates"]} == {
        "openai/big": "2.0",
        "anthropic/wise": "5.0",
        "lab/small": "0.0",
    }


@pytest.mark.parametrize(
    ("body", "argv", "status", "said"),
    [
        ("nonsense", (), 64, "is not JSON"),
        ("[1]", (), 64, "expected a JSON object"),
        ('{"a": 1}', (), 64, "--surface"),
        ({"messages": HELLO}, (), 64, "--model NAME"),
        ({"model": "smart", "messages": "hello"}, (), 64, "the daemon would refuse this request"),
    ],
)
def test_what_is_no_request_is_said(
    estimate: Run, body: object, argv: tuple[str, ...], status: int, said: str
) -> None:
    done = estimate(body, *argv)
    assert (done.status, done.out) == (status, "")
    assert said in done.err


def test_a_request_nobody_may_answer_is_priced_and_said(estimate: Run) -> None:
    done = estimate(BODIES["openai-chat"], "--model", "nobody-knows-it", as_json=True)
    assert "it would be refused" in done.err
    assert len(document(done)["estimates"]) == 3


def test_a_file_that_is_not_there_is_66(run: Run, config_dir: Path) -> None:
    done = run("cost", "estimate", "/nonexistent/body.json", "--config-dir", str(config_dir))
    assert done.status == 66
    assert run("cost", "estimate", "--config-dir", str(config_dir)).status == 64


# --- without a configuration --------------------------------------------------------------------------------------


def test_without_configuration_a_public_price_is_enough(run: Run) -> None:
    body = json.dumps(BODIES["anthropic-messages"])
    done = run(
        "cost", "estimate", "-", "--provider", "anthropic", "--model", "claude-opus-5-5", stdin=body,
        as_json=True, wall_s=NOON_S,
    )  # fmt: skip
    found = document(done)
    [row] = found["estimates"]
    assert row["deployment"] == "anthropic/claude-opus-5-5"
    assert row["expected_nanos"] == found["tokens_in"] * 4_000 + 100 * 20_000


def test_a_price_that_nobody_knows_is_an_error_with_words(run: Run) -> None:
    done = run("cost", "estimate", "--provider", "openai", "--model", "none-such", "--tokens-in", "5")
    assert done.status == 1
    assert "`price:` of the model" in done.err


def test_every_model_of_the_catalogue_and_of_the_table_has_a_price_or_a_reason() -> None:
    """What is priced is priced by the same function as a bill; what is not says so."""
    length = Length(10_000, 2_000, 700)
    priced = 0
    for provider, model in _known_models():
        listing = known_price(provider, model)
        price = None if listing is None or listing.prices is None else listing.prices.at(NOON_S)
        if price is None:
            with pytest.raises(CannotGoOn, match="is not known"):
                estimate_publicly(provider, model, length, NOON_S)
            continue
        row = estimate_publicly(provider, model, length, NOON_S)
        assert row["expected_nanos"] == cost_of(Usage(10_000, 700, 2_000), price), (provider, model)
        priced += 1
    assert priced > 1000


def test_every_model_of_the_catalogue_that_has_a_price_is_priced_by_its_preset() -> None:
    catalogue = _catalogue()
    for model, known in catalogue.facts.items():
        if known.price is not None:
            for preset in catalogue.hosts[model]:
                if seller_named(preset) is not None:
                    assert (
                        estimate_publicly(preset, model, Length(1, 0, 1), NOON_S)["expected_nanos"]
                        is not None
                    )


def _known_models() -> list[tuple[str, str]]:
    return [(provider, model) for provider in table().providers for model in table().models(provider)]


def test_every_surface_has_a_name_to_be_asked_for() -> None:
    assert set(BODIES) <= set(surface_names())
