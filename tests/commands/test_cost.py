"""``llmproxyd cost``, its export, and ``llmproxyd budget``: on a real ledger, without a daemon."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmproxyd.commands.cost_text import format_rule, usd_cell
from llmproxyd.config.load import load
from llmproxyd.values.cost import Usage
from llmproxyd.values.ledger import Entry
from tests.commands.conftest import Done, Run
from tests.commands.daemon_double import DaemonDouble, serve
from tests.ledger.booking import book, entry

NOON_S = 1_795_262_400.0  # 2026-11-21T12:00Z
DAY_S = 86_400.0
TOKENS = Usage(100_000, 0)


def traffic() -> Iterable[Entry]:
    """Two a day for ten days: a dear one for docs, and one for nothing in particular; one of another user."""
    for day in range(10):
        at_s = NOON_S - day * DAY_S
        usual = {"provider": "anthropic", "model": "wise", "usage": TOKENS}
        yield entry(2 * day, at_s=at_s, task="docs", cost_nanos=500_000_000, **usual)
        yield entry(
            2 * day + 1,
            at_s=at_s,
            task="",
            provider="openai",
            model="big",
            cost_nanos=200_000_000,
            usage=TOKENS,
            user="bob",
        )


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def cost(run: Run, config_dir: Path, state_dir: Path) -> Run:
    def call(*argv: str, **options: object) -> Done:
        settings = ("--config-dir", str(config_dir), "--state-dir", str(state_dir))
        keys = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
        return run(*argv, *settings, environ=keys, wall_s=NOON_S + 3600, **options)

    return call


def document(done: Done) -> dict[str, Any]:
    assert done.status == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_the_report_tells_sums_month_savings_requests_and_what_is_cheaper(cost: Run, state_dir: Path) -> None:
    book(state_dir, traffic())
    found = document(cost("cost", "--by", "task", as_json=True))
    assert [(row["name"], row["cost_usd"], row["attempts"]) for row in found["rows"]] == [
        ("docs", "5.0", 10),
        ("", "2.0", 10),
    ]
    assert found["total"]["cost_nanos"] == 7 * 10**9
    assert (found["since"], found["until"]) == ("2026-11-01T00:00:00.000Z", "2026-11-21T13:00:00.000Z")
    assert (found["projection"]["spent_usd"], found["projection"]["pace_per_day_usd"]) == ("7.0", "0.7")
    savings = found["savings"]
    assert (savings["compared"], savings["dearest_usd"], savings["first_usd"]) == (20, "10.0", "10.0")
    assert savings["saved_against_dearest_usd"] == "3.0"
    assert [one["cost_usd"] for one in found["top"]] == ["0.5"] * 5
    assert {(one["task"], one["deployment"], one["saved_usd"]) for one in found["recommendations"]} == {
        ("docs", "openai/big", "3.0"),
        ("docs", "lab/small", "5.0"),
        ("", "lab/small", "2.0"),
    }


def test_people_get_tables_and_sentences(cost: Run, state_dir: Path) -> None:
    book(state_dir, traffic())
    text = cost("cost", "--by", "task").out
    lines = text.splitlines()
    assert lines[0] == "2026-11-01T00:00:00Z to 2026-11-21T13:00:00Z, by task (UTC)"
    assert lines[2].split() == [
        "task",
        "attempts",
        "input",
        "tokens",
        "output",
        "tokens",
        "USD",
        "saved",
        "USD",
        "share",
    ]
    assert lines[3].split() == ["docs", "10", "1,000,000", "0", "5.000000", "0.000000", "71.4%"]
    assert lines[5].split()[0] == "total"
    assert "Month 2026-11: 7.000000 USD so far, 13.620833 USD expected by its end (0.700000 USD a day" in text
    assert "saved 3.000000 USD (30.0%) against always the dearest candidate" in text
    assert 'prefer: ["openai/big"]' in text


@pytest.mark.parametrize(
    "by", ["provider", "tenant", "project", "user", "key", "day", "hour-of-week", "model"]
)
def test_every_dimension_can_be_asked_for(cost: Run, state_dir: Path, by: str) -> None:
    book(state_dir, traffic())
    found = document(cost("cost", "--by", by, "--compare", "0", as_json=True))
    assert sum(row["cost_nanos"] for row in found["rows"]) == found["total"]["cost_nanos"]
    assert found["savings"] is None


def test_a_recommended_rule_can_be_put_into_the_file_as_it_stands(
    cost: Run, state_dir: Path, config_dir: Path
) -> None:
    book(state_dir, traffic())
    found = document(cost("cost", as_json=True))["recommendations"]
    lines = "\n".join(f"    - {format_rule(one['rule'])}" for one in found)
    file = config_dir / "routing.yaml"
    file.write_text(file.read_text() + lines + "\n")
    loaded = load(config_dir, environ={})
    assert loaded.snapshot is not None, loaded.problems
    assert [rule.name for rule in loaded.snapshot.rules][-len(found) :] == [
        one["rule"]["name"] for one in found
    ]
    assert yaml.safe_load(lines) == [one["rule"] for one in found]


def test_what_has_no_known_cost_is_said(cost: Run, state_dir: Path) -> None:
    book(state_dir, [entry(1, at_s=NOON_S, cost_nanos=None), entry(2, at_s=NOON_S, cost_nanos=5)])
    assert "1 of 2 attempts have no known cost" in cost("cost").out


def test_an_empty_time_is_no_error(cost: Run, state_dir: Path) -> None:
    book(state_dir, traffic())
    assert "Nothing was asked in this time." in cost("cost", "--since", "2020-01", "--until", "2020-02").out


def test_without_valid_files_the_sums_are_told_all_the_same(
    cost: Run, state_dir: Path, config_dir: Path
) -> None:
    book(state_dir, traffic())
    (config_dir / "routing.yaml").write_text("nonsense: [")
    done = cost("cost", as_json=True)
    assert document(done)["total"]["attempts"] == 20
    assert "no savings while the files have errors" in done.err
    (config_dir / "routing.yaml").unlink()
    assert "no savings without the configuration" in cost("cost", as_json=True).err


@pytest.mark.parametrize("words", [("cost",), ("cost", "export"), ("budget", "--offline")])
def test_without_a_ledger_the_way_is_told(cost: Run, words: tuple[str, ...], config_dir: Path) -> None:
    if words[0] == "budget":
        (config_dir / "routing.yaml").write_text("version: 1\nbudgets: [{name: all, usd: 1, per: month}]\n")
    done = cost(*words)
    assert (done.status, done.out) == (66, "")
    assert "--state-dir DIR" in done.err


def test_a_time_that_makes_no_sense_is_64(cost: Run, state_dir: Path) -> None:
    book(state_dir, traffic())
    done = cost("cost", "--since", "yesterday")
    assert done.status == 64
    assert "2026-11-01" in done.err


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (None, "-"),
        (0, "0.000000"),
        (1_500_000_000, "1.500000"),
        (1_234_567_891, "1.234568"),
        (-500_000, "-0.000500"),
        (1, "<0.000001"),
        (500, "0.000001"),
    ],
)
def test_money_stands_with_six_decimals(nanos: int | None, text: str) -> None:
    assert usd_cell(nanos) == text


# --- export -----------------------------------------------------------------------------------------------------


def test_an_export_has_every_entry_of_the_time_once(cost: Run, state_dir: Path) -> None:
    book(state_dir, traffic())
    done = cost("cost", "export", "--since", "2026-11-20")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["cost_usd"] for row in rows] == ["0.5", "0.2", "0.5", "0.2"]
    assert done.err == "4 entries\n"
    lines = cost("cost", "export", as_json=True).out.splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == 20


# --- budget -----------------------------------------------------------------------------------------------------

BUDGETS = """\
version: 1
budgets:
  - {name: everything, usd: 10, per: month}
  - {name: each user, scope: {user: each}, tokens: 20_000_000, per: month}
"""


def test_budgets_are_reckoned_from_the_ledger_without_a_daemon(
    cost: Run, state_dir: Path, config_dir: Path
) -> None:
    (config_dir / "routing.yaml").write_text(BUDGETS)
    book(state_dir, traffic())
    found = document(cost("budget", "--offline", as_json=True))
    by_name = {(one["name"], one["for"]): one for one in found["budgets"]}
    assert found["live"] is False
    everything = by_name["everything", None]
    assert (everything["spent_usd"], everything["left"], everything["amount_usd"]) == ("7.0", 0.3, "10.0")
    assert by_name["each user", "bob"]["spent_tokens"] == 1_000_000
    text = cost("budget", "--offline")
    assert text.out.splitlines()[1].split()[:2] == ["everything", "overall"]
    assert "7.000000 USD" in text.out
    assert "From the ledger alone" in text.err


def test_without_budgets_nothing_is_shown(cost: Run, state_dir: Path) -> None:
    book(state_dir, [])
    done = cost("budget", "--offline")
    assert (done.status, done.out) == (0, "")
    assert "There are no budgets" in done.err


def test_a_running_daemon_is_asked_first(cost: Run, socket_path: Path, state_dir: Path) -> None:
    told = {"version": 1, "live": True, "budgets": []}
    with serve(DaemonDouble({("GET", "/admin/v1/budgets"): (200, told)}), socket_path):
        assert document(cost("budget", as_json=True)) == told
    book(state_dir, [])
    socket_path.unlink()
    with serve(DaemonDouble({}), socket_path):
        assert document(cost("budget", as_json=True))["live"] is False
    socket_path.unlink()
    with serve(DaemonDouble({("GET", "/admin/v1/budgets"): (500, {})}), socket_path):
        assert cost("budget").status == 69
    socket_path.unlink()
    done = cost("budget", as_json=True)
    assert document(done)["live"] is False
