"""``cache`` of routing.yaml; what is refused is in diagnostics/cache.routing.yaml."""

from __future__ import annotations

from pathlib import Path

from llmproxyd.config.load import load
from llmproxyd.values.snapshot import AllOf, CachePolicy, CacheScope, Degrade, OneOf, Range
from tests.config.building import PROVIDERS, build, only_problem, snapshot_of

ROOT = Path(__file__).resolve().parents[2]


def policy_of(tmp_path: Path, routing: str) -> CachePolicy:
    return snapshot_of(build(tmp_path, PROVIDERS, routing)).cache


def test_without_a_word_nothing_is_kept(tmp_path: Path) -> None:
    assert policy_of(tmp_path, "pipeline: {}\n") == CachePolicy(CacheScope.TENANT, 1 << 30, (), 7 * 86_400.0)


def test_rules_come_in_the_order_of_the_file_with_their_conditions(tmp_path: Path) -> None:
    policy = policy_of(
        tmp_path,
        """
        cache:
          scope: user
          max_size: 64MiB
          stale: 1d
          rules:
            - {name: not hr, when: {project: hr}, off: true}
            - {name: cold, when: {temperature: {lte: 0}, stream: false}, ttl: 90m}
            - {name: all, ttl: 30}
        """,
    )
    assert (policy.scope, policy.max_bytes, policy.stale_s) == (CacheScope.USER, 64 << 20, 86_400.0)
    assert [(rule.name, rule.ttl_s) for rule in policy.rules] == [
        ("not hr", None),
        ("cold", 5400.0),
        ("all", 30.0),
    ]
    assert [rule.when for rule in policy.rules] == [
        OneOf("project", ("hr",)),
        AllOf((Range("temperature", lte=0.0), OneOf("stream", (False,)))),
        None,
    ]
    assert str(policy.rules[0].place) == "routing.yaml:7:14"


def test_a_rule_behind_one_that_always_matches_is_told(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        PROVIDERS,
        "cache: {rules: [{name: all, ttl: 1h}, {name: late, when: {stream: true}, off: true}]}\n",
    )
    assert only_problem(loaded, "LP303").message == "cache rule `late` is never reached"
    assert loaded.snapshot is not None


def test_a_rule_of_the_pipeline_forbids_it(tmp_path: Path) -> None:
    routing = (
        "pipeline: {cost: [{name: fresh, when: {task: news}, cache: off}, {name: rest, rank_by: latency}]}\n"
    )
    rules = snapshot_of(build(tmp_path, PROVIDERS, routing)).rules
    assert [rule.cache_off for rule in rules] == [True, False]


def test_a_kept_answer_may_stand_in_when_all_have_failed(tmp_path: Path) -> None:
    snapshot = snapshot_of(build(tmp_path, PROVIDERS, "fallback: {degrade: [cached, error]}\n"))
    assert snapshot.fallback.degrade == (Degrade.CACHED, Degrade.ERROR)


def test_the_shipped_file_keeps_what_is_deterministic_and_what_programs_ask() -> None:
    policy = snapshot_of(load(ROOT, environ={})).cache
    assert [(rule.name, rule.ttl_s) for rule in policy.rules] == [
        ("deterministic", 7 * 86_400.0),
        ("programs", 7 * 86_400.0),
    ]
    assert (policy.scope, policy.max_bytes) == (CacheScope.TENANT, 1 << 30)
