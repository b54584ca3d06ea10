"""Budgets as they are written: for whom, how much, how long; and what cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmproxyd.values.budget import Budget, Per, Scope, Then
from llmproxyd.values.snapshot import Absent, Range
from tests.config.building import build, codes_of, marked, only_problem, snapshot_of

PROVIDERS = """
    providers:
      lab:
        preset: openai-compatible
        endpoint: "https://llm.example.net/v1"
        models: [{id: small, price: {input: 0.1, output: 0.2}}, {id: large, price: {input: 1, output: 2}}]
"""
HASH = f"sha256:{'0123456789abcdef' * 4}"


def written(tmp_path: Path, body: str) -> Budget:
    """The one budget of a list, without its name."""
    (budget,) = snapshot_of(build(tmp_path, PROVIDERS, f"budgets: [{{name: b, {body}}}]\n")).budgets
    assert budget.name == "b"
    return budget


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("usd: 200, per: month", Budget("b", nanos=200 * 10**9)),
        ("usd: $0.05, per: hour", Budget("b", nanos=50_000_000, per=Per.HOUR)),
        ("tokens: 10_000_000, per: week", Budget("b", tokens=10_000_000, per=Per.WEEK)),
        ("usd: 0, tokens: 5, per: day", Budget("b", nanos=0, tokens=5, per=Per.DAY)),
        (
            "usd: 1, per: day, zone: Europe/Berlin",
            Budget("b", nanos=10**9, per=Per.DAY, zone="Europe/Berlin"),
        ),
        ("usd: 1, per: month, alert_at: [100%, 50%, 0.5]", Budget("b", nanos=10**9, alert_at=(0.5, 1.0))),
        ("usd: 1, per: month, alert_at: 90%", Budget("b", nanos=10**9, alert_at=(0.9,))),
        ("usd: 1, per: month, alert_at: []", Budget("b", nanos=10**9, alert_at=())),
        ("usd: 1, per: month, then: queue", Budget("b", nanos=10**9, then=Then.QUEUE)),
        (
            "usd: 1, per: month, then: downgrade, ceiling: 0.5, ceiling_from: 60%",
            Budget("b", nanos=10**9, then=Then.DOWNGRADE, ceiling=500_000_000, ceiling_from=0.6),
        ),
        ("usd: 1, per: month, scope: overall", Budget("b", nanos=10**9)),
        ("usd: 1, per: month, scope: {user: each}", Budget("b", Scope.USER, nanos=10**9)),
        ("usd: 1, per: month, scope: {project: web}", Budget("b", Scope.PROJECT, "web", nanos=10**9)),
        ("usd: 1, per: month, scope: {key: laptop}", Budget("b", Scope.KEY, "laptop", nanos=10**9)),
        ("usd: 1, per: month, scope: {provider: lab}", Budget("b", Scope.PROVIDER, "lab", nanos=10**9)),
        ("usd: 1, per: month, scope: {model: small}", Budget("b", Scope.MODEL, "small", nanos=10**9)),
    ],
)
def test_a_budget_is_what_is_written(body: str, expected: Budget, tmp_path: Path) -> None:
    assert written(tmp_path, body) == expected


def test_a_tenants_own_budget_stands_with_the_tenant(tmp_path: Path) -> None:
    routing = f"tenants: {{acme: {{keys: ['{HASH}'], budget: {{usd: 200, per: month, alert_at: [50%]}}}}}}\n"
    snapshot = snapshot_of(build(tmp_path, PROVIDERS, routing))
    own = Budget("tenant acme", Scope.TENANT, "acme", nanos=200 * 10**9, alert_at=(0.5,))
    assert snapshot.tenants["acme"].budget == own
    assert snapshot.budgets == ()


def test_without_budgets_there_are_none(tmp_path: Path) -> None:
    assert snapshot_of(build(tmp_path, PROVIDERS, "budgets:\n")).budgets == ()
    assert snapshot_of(build(tmp_path, PROVIDERS)).budgets == ()


def test_a_budget_that_changes_is_another_configuration(tmp_path: Path) -> None:
    hashes = {
        snapshot_of(build(tmp_path, PROVIDERS, f"budgets: [{{name: b, usd: {usd}, per: day}}]\n")).hash
        for usd in (1, 2)
    }
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("body", "code", "shown"),
    [
        ("per: day", "LP103", None),
        ("usd: 1", "LP103", None),
        ("usd: lots, per: day", "LP105", "lots"),
        ("usd: 0.0000000001, per: day", "LP105", "0.0000000001"),
        ("usd: -1, per: day", "LP105", "-1"),
        ("tokens: 0, per: day", "LP105", "0"),
        ("usd: 1, per: year", "LP104", "year"),
        ("usd: 1, per: day, then: panic", "LP104", "panic"),
        ("usd: 1, per: day, zone: Mars/Base", "LP105", "Mars/Base"),
        ("usd: 1, per: day, alert_at: [120%]", "LP105", "120%"),
        ("usd: 1, per: day, ceiling: 1", "LP101", "ceiling"),
        ("usd: 1, per: day, then: downgrade, ceiling_from: 50%", "LP101", "ceiling_from"),
        ("usd: 1, per: day, scope: everybody", "LP104", "everybody"),
        ("usd: 1, per: day, scope: {team: a}", "LP101", "team"),
        ("usd: 1, per: day, scope: {tenant: acme}", "LP209", "acme"),
        ("usd: 1, per: day, scope: {provider: labs}", "LP201", "labs"),
        ("usd: 1, per: day, scope: {model: smal}", "LP202", "smal"),
        ("usd: 1, per: day, scope: {model: lab/small}", "LP105", "lab/small"),
    ],
)
def test_what_cannot_be_meant_is_told_at_its_place(
    body: str, code: str, shown: str | None, tmp_path: Path
) -> None:
    loaded = build(tmp_path, PROVIDERS, f"budgets: [{{name: b, {body}}}]\n")
    assert loaded.snapshot is None
    problem = only_problem(loaded, code)
    assert shown is None or marked(problem, loaded) == shown


def test_two_budgets_of_one_name_could_not_be_told_apart(tmp_path: Path) -> None:
    routing = f"""
        tenants: {{acme: {{keys: ["{HASH}"], budget: {{usd: 1, per: day}}}}}}
        budgets:
          - {{name: b, usd: 1, per: day}}
          - {{name: b, usd: 2, per: day}}
          - {{name: tenant acme, usd: 2, per: day}}
    """
    assert codes_of(build(tmp_path, PROVIDERS, routing)) == ["LP205", "LP205"]


@pytest.mark.parametrize(
    ("routing", "words"),
    [
        ("budgets: [{name: b, usd: 1, per: day}]\n", "budget `b` refuses what it cannot count"),
        ("pipeline: {cost: [{name: r, max_cost: 1}]}\n", "rule `r` bounds the cost"),
        ("pipeline: {cost: [{name: r, rank_by: price}]}\n", "rule `r` ranks by price"),
    ],
)
def test_who_goes_by_prices_makes_a_missing_one_worth_a_warning(
    routing: str, words: str, tmp_path: Path
) -> None:
    providers = PROVIDERS.replace("{id: large, price: {input: 1, output: 2}}", "unpriced-model")
    loaded = build(tmp_path, providers, routing)
    assert snapshot_of(loaded)
    assert words in only_problem(loaded, "LP501").message


def test_a_budget_of_tokens_needs_no_price(tmp_path: Path) -> None:
    providers = PROVIDERS.replace("{id: large, price: {input: 1, output: 2}}", "unpriced-model")
    assert codes_of(build(tmp_path, providers, "budgets: [{name: b, tokens: 1, per: day}]\n")) == []


@pytest.mark.parametrize(("text", "nanos"), [("0.05", 50_000_000), ("$2", 2 * 10**9), ("0", 0)])
def test_a_rule_bounds_the_cost_in_dollars(text: str, nanos: int, tmp_path: Path) -> None:
    routing = f"pipeline: {{cost: [{{name: r, max_cost: {text}}}]}}\n"
    (rule,) = snapshot_of(build(tmp_path, PROVIDERS, routing)).rules
    assert rule.max_cost_nanos == nanos


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{lt: 20%}", Range("budget_left", lt=0.2)),
        ("{gte: 0.2, lte: 100%}", Range("budget_left", gte=0.2, lte=1.0)),
        ("absent", Absent("budget_left")),
    ],
)
def test_rules_read_how_much_is_left(text: str, expected: Range | Absent, tmp_path: Path) -> None:
    routing = f"pipeline: {{cost: [{{name: r, when: {{budget_left: {text}}}, prefer: [lab]}}]}}\n"
    (rule,) = snapshot_of(build(tmp_path, PROVIDERS, routing)).rules
    assert rule.when == expected


@pytest.mark.parametrize(("text", "code"), [("{lt: 120%}", "LP105"), ("0.2", "LP102"), ("{}", "LP105")])
def test_a_share_that_cannot_be_left_is_refused(text: str, code: str, tmp_path: Path) -> None:
    routing = f"pipeline: {{cost: [{{name: r, when: {{budget_left: {text}}}, prefer: [lab]}}]}}\n"
    assert codes_of(build(tmp_path, PROVIDERS, routing)) == [code]
