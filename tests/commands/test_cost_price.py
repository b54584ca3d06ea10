from __future__ import annotations

import io
import json
from argparse import ArgumentParser
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.commands.console import CannotGoOn, Console
from llmproxyd.commands.cost_price import add_price_parser
from llmproxyd.config.catalogue import facts
from llmproxyd.config.prices import table
from llmproxyd.exits import Exit

NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC
OPUS = ("--provider", "anthropic", "--model", "claude-opus-5-5")
USAGE = {"input_tokens": 56, "cache_read_input_tokens": 64, "output_tokens": 42}


@dataclass
class Said:
    status: int
    out: str
    err: str

    @property
    def row(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


def price(*arguments: str, stdin: str = "") -> Said:
    parser = ArgumentParser(prog="llmproxyd cost")
    add_price_parser(parser.add_subparsers())
    parsed = parser.parse_args(["price", *arguments])
    out, err = io.StringIO(), io.StringIO()
    console = Console({}, {}, io.StringIO(stdin), out, err, wall=lambda: NOON)
    try:
        status = parsed.run(parsed, console)
    except CannotGoOn as reason:
        return Said(reason.status, out.getvalue(), str(reason))
    return Said(status, out.getvalue(), err.getvalue())


def test_every_component_is_told_in_exact_decimals() -> None:
    row = price(*OPUS, "--json", "-", stdin=json.dumps(USAGE)).row
    assert row["components"] == {
        "cached_input": {"tokens": 64, "usd_per_million": "0.20", "usd": "0.0000128"},
        "input": {"tokens": 56, "usd_per_million": "4.00", "usd": "0.000224"},
        "output": {"tokens": 42, "usd_per_million": "20.00", "usd": "0.00084"},
    }
    assert (row["total_usd"], row["total_nanos"]) == ("0.0010768", 1_076_800)
    assert row["price"].startswith("genai-prices ")


def test_people_get_a_table() -> None:
    said = price(*OPUS, "-", stdin=json.dumps({"usage": USAGE}, indent=2))
    assert said.status == Exit.OK
    assert said.out.splitlines()[-1].split() == ["total", "0.0010768"]


def test_lines_in_are_lines_out_and_a_bad_one_stops_nothing(tmp_path: Path) -> None:
    file = tmp_path / "usage.jsonl"
    file.write_text("\n".join([json.dumps(USAGE), "{", json.dumps({"id": "x"}), json.dumps(USAGE)]) + "\n")
    said = price(*OPUS, "--json", str(file))
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert said.status == Exit.ERRORS
    assert [row.get("total_usd") for row in rows] == ["0.0010768", None, None, "0.0010768"]
    assert f"{file}:2: this is not JSON" in said.err
    assert f"{file}:3: there are no token counts in it" in said.err


def test_what_the_provider_says_it_took_is_the_total_and_ours_stands_beside() -> None:
    usage = {"usage": {"prompt_tokens": 100, "completion_tokens": 10, "cost": 0.00095}}
    row = price(
        "--provider",
        "openrouter",
        "--model",
        "anthropic/claude-opus-5.5",
        "--json",
        "-",
        stdin=json.dumps(usage),
    ).row
    assert (row["total_usd"], row["charged_by"]) == ("0.00095", "provider")
    assert row["by_price"]["total_usd"] == "0.0006"


def test_the_day_and_the_tier_decide() -> None:
    argon = ("--provider", "gemini", "--model", "gemini-4-argon", "--json", "-")
    usage = json.dumps({"promptTokenCount": 1_000_000, "candidatesTokenCount": 0})
    totals = [
        price(*argon, *more, stdin=usage).row["total_usd"]
        for more in (
            (),
            ("--at", "2026-12-01"),
            ("--at", "2026-12-01", "--tier", "batch"),
            ("--at", "2026-11-30T23:59Z"),
        )
    ]
    assert totals == ["2.00", "4.00", "2.00", "2.00"]


def test_ones_own_server_costs_nothing() -> None:
    usage = json.dumps({"prompt_eval_count": 26, "eval_count": 298})
    assert (
        price("--provider", "ollama", "--model", "llama3", "--json", "-", stdin=usage).row["total_usd"]
        == "0.00"
    )


@pytest.mark.parametrize(
    ("provider", "model", "words"),
    [
        ("anthropic", "clode-opus-5-5", "did you mean `claude-opus-5-5`"),
        ("anthropik", "claude-opus-5-5", "did you mean `anthropic`"),
        ("openai", "whisper-1", "is sold by audio, input audio, not by the token"),
        ("openai-compatible", "gpt-4o", "is unknown"),
    ],
)
def test_an_unknown_price_is_said_in_words(provider: str, model: str, words: str) -> None:
    said = price("--provider", provider, "--model", model, "-", stdin=json.dumps(USAGE))
    assert (said.status, said.out) == (Exit.ERRORS, "")
    assert words in said.err


@pytest.mark.parametrize(
    ("stdin", "words"),
    [("", "is empty"), ("[1]", "no token counts"), ("nonsense", "not JSON"), ("{\n", "not JSON")],
)
def test_what_cannot_be_read_is_said_in_words(stdin: str, words: str) -> None:
    said = price(*OPUS, "-", stdin=stdin)
    assert said.status == Exit.ERRORS
    assert words in said.err


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = price(*OPUS, str(tmp_path / "none.json"))
    assert said.status == Exit.MISSING
    assert "none.json" in said.err


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "x-ai", "cohere", "azure"])
def test_every_model_of_the_catalogue_is_priced_without_a_network(provider: str) -> None:
    """The makers' models; of those that have a price by the token."""
    usage = json.dumps({"usage": {"input_tokens": 1_000_000, "output_tokens": 1}})
    for model in table().models(provider):
        said = price("--provider", provider, "--model", model, "--json", "-", stdin=usage)
        if said.status == Exit.OK:
            assert Decimal(said.row["total_usd"]) >= 0
        else:
            assert "not by the token" in said.err or "has no price there" in said.err
            known = facts(model, provider)
            assert known is None or known.price is None
