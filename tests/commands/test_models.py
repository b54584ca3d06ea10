"""``llmproxyd models``: what the files and the tables know of every model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import Done, Run
from tests.config.building import write

NOON_S = 1_795_262_400.0  # 2026-11-21T12:00Z
PROVIDERS = """\
version: 1
providers:
  openai: {api_key: sk-test, models: [gpt-5.6-luna]}
  lab:
    preset: openai-compatible
    endpoint: http://127.0.0.1:9/v1
    models:
      - {id: small, price: free, capabilities: [tools], context_window: 32_000}
      - {id: odd, price: unknown}
      - id: mine
        price: [{input: 1, output: 2}, {from: 2026-11-01, input: 0.5, output: 2}, {from: 2027-01-01, input: 3, output: 4}]
  ollama: {models: discover}
"""


@pytest.fixture
def models(run: Run, tmp_path: Path) -> Run:
    write(tmp_path, PROVIDERS)

    def call(*argv: str, **options: object) -> Done:
        return run("models", *argv, "--config-dir", str(tmp_path), wall_s=NOON_S, **options)

    return call


def rows(done: Done) -> dict[str, dict[str, Any]]:
    assert done.status == 0, done.err
    return {row["name"]: row for row in json.loads(done.out)["models"]}


def test_a_model_of_the_catalogue_brings_price_window_and_abilities(models: Run) -> None:
    done = models(as_json=True)
    luna = rows(done)["openai/gpt-5.6-luna"]
    assert luna["price"]["input"] == "0.20"
    assert (luna["price"]["output"], luna["price"]["cached_input"]) == ("1.20", "0.02")
    assert luna["context_window"] == 1_050_000
    assert "tools" in luna["capabilities"]
    assert luna["price_source"].startswith("genai-prices ")
    assert (luna["zone"], luna["usable"]) == ("external", True)
    document = json.loads(done.out)
    assert document["prices"].endswith(")")
    assert document["catalogue"]


def test_the_operators_own_prices_say_so_and_when_they_change(models: Run) -> None:
    mine = rows(models(as_json=True))["lab/mine"]
    assert (mine["price"]["input"], mine["price_since"], mine["price_changes"]) == (
        "0.50",
        "2026-11-01",
        "2027-01-01",
    )
    assert mine["price_source"] == "operator"


def test_free_and_unknown_are_told_apart(models: Run) -> None:
    found = rows(models(as_json=True))
    assert found["lab/small"]["price"]["input"] == "0.00"
    assert (found["lab/odd"]["price"], found["lab/odd"]["price_source"]) == (None, None)
    assert (found["lab/odd"]["context_window"], found["lab/odd"]["capabilities"]) == (None, None)


def test_people_get_a_table_and_what_is_not_in_it(models: Run) -> None:
    done = models()
    lines = {line.split()[0]: line.split() for line in done.out.splitlines()}
    assert lines["lab/small"][1:7] == ["0.00", "0.00", "0.00", "32_000", "-", "tools"]
    assert lines["lab/odd"][1:4] == ["-", "-", "-"]
    assert "changes 2027-01-01" in done.out
    assert "Prices: genai-prices" in done.out
    assert "Models of ollama are not in the files" in done.err


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("lab", {"lab/small", "lab/odd", "lab/mine"}),
        ("lab/odd", {"lab/odd"}),
        ("gpt-5.6-luna", {"openai/gpt-5.6-luna"}),
    ],
)
def test_a_name_chooses(models: Run, name: str, found: set[str]) -> None:
    assert set(rows(models(name, as_json=True))) == found


def test_a_provider_without_models_shows_none(models: Run) -> None:
    done = models("ollama")
    assert (done.status, done.out) == (0, "")


def test_an_unknown_name_is_66_and_the_nearest_is_told(models: Run) -> None:
    done = models("lab/smal")
    assert done.status == 66
    assert "did you mean `lab/small`?" in done.err
