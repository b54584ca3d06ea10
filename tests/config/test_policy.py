"""What may be tried after a failure, and beside a silent candidate."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmproxyd.config.policy import NO_FALLBACK
from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    Degrade,
    FallbackPolicy,
    HedgePolicy,
    Rule,
)
from tests.config.building import build, codes_of, snapshot_of


def fallback_of(tmp_path: Path, text: str) -> FallbackPolicy:
    return snapshot_of(build(tmp_path, routing=f"fallback: {text}\n")).fallback


def rule_of(tmp_path: Path, body: str, fallback: str = "{}") -> Rule:
    routing = f"fallback: {fallback}\npipeline: {{privacy: [{{name: r, {body}}}]}}\n"
    (rule,) = snapshot_of(build(tmp_path, routing=routing)).rules
    return rule


def test_other_models_and_degradation_are_what_is_written(tmp_path: Path) -> None:
    policy = fallback_of(
        tmp_path, "{across_models: false, max_price_ratio: 1.5, degrade: [smaller_model, error]}"
    )
    assert policy == FallbackPolicy(
        DEFAULT_FALLBACK_ON,
        across_models=False,
        max_price_ratio=1.5,
        degrade=(Degrade.SMALLER_MODEL, Degrade.ERROR),
    )


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("off", None),
        ("{}", HedgePolicy()),
        ("{after: p95}", HedgePolicy(None)),
        ("{after: 800ms, max_share: 10%}", HedgePolicy(0.8, 0.1)),
        ("{after: 2, max_share: 0.5, max_spend: 1%}", HedgePolicy(2.0, 0.5, 0.01)),
        ("{max_share: 100%, max_spend: 0%}", HedgePolicy(None, 1.0, 0.0)),
    ],
)
def test_a_hedge_is_what_is_written(written: str, policy: HedgePolicy | None, tmp_path: Path) -> None:
    assert fallback_of(tmp_path, f"{{hedge: {written}}}").hedge == policy


def test_nothing_is_hedged_unless_somebody_says_so(tmp_path: Path) -> None:
    assert fallback_of(tmp_path, "{}").hedge is None
    rule = rule_of(tmp_path, "reject: x")
    assert (rule.hedge, rule.hedge_off, rule.continues) == (None, False, None)


def test_a_rules_hedge_inherits_what_it_leaves_out(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, "hedge: {max_share: 20%}", "{hedge: {after: 1s, max_spend: 9%}}")
    assert rule.hedge == HedgePolicy(1.0, 0.2, 0.09)
    assert rule_of(tmp_path, "hedge: {max_share: 20%}").hedge == HedgePolicy(None, 0.2)


def test_a_rules_policy_may_have_a_hedge_of_its_own(tmp_path: Path) -> None:
    base = "{attempts: 5, hedge: {after: 1s}}"
    rule = rule_of(tmp_path, "fallback: {hedge: {max_share: 1%}}", base)
    assert rule.fallback == FallbackPolicy(DEFAULT_FALLBACK_ON, 5, hedge=HedgePolicy(1.0, 0.01))
    off = rule_of(tmp_path, "fallback: {hedge: off}", base).fallback
    assert off is not None
    assert off.hedge is None


def test_a_rule_may_switch_hedging_off_and_continuation_on(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, "hedge: off, continue: true", "{hedge: {}}")
    assert (rule.hedge, rule.hedge_off, rule.continues) == (None, True, True)
    assert rule_of(tmp_path, "continue: false").continues is False


@pytest.mark.parametrize("body", ["hedge: off", "hedge: {}", "continue: false"])
def test_each_of_them_is_an_action(body: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, routing=f"pipeline: {{cost: [{{name: r, {body}}}]}}\n")
    assert codes_of(loaded) == []


def test_off_leaves_nothing_to_try(tmp_path: Path) -> None:
    assert fallback_of(tmp_path, "off") == NO_FALLBACK
    assert not NO_FALLBACK.across_models
    assert NO_FALLBACK.hedge is None
