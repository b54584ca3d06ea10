from __future__ import annotations

from pathlib import Path

import pytest

from llmproxyd.config.load import Loaded
from llmproxyd.config.policy import NO_FALLBACK
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.request import Capability, Overrides
from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    FallbackPolicy,
    OneOf,
    Range,
    RankBy,
    Requirement,
    Rule,
    Stage,
    Zone,
)
from tests.config.building import build, codes_of, marked, only_problem, snapshot_of

PROVIDERS = """
providers:
  openai:
    models: [gpt-4o]
  openrouter:
    models: [anthropic/claude-opus-5.5]
  ollama:
    models: discover
  mock:
    models: [echo]
"""


def rule_of(tmp_path: Path, body: str, stage: str = "cost") -> Rule:
    (rule,) = snapshot_of(load_rule(tmp_path, body, stage)).rules
    return rule


def load_rule(tmp_path: Path, body: str, stage: str = "cost") -> Loaded:
    return build(tmp_path, PROVIDERS, f"pipeline:\n  {stage}:\n    - {{name: r, {body}}}\n")


def test_rules_come_in_the_order_of_the_stages_whatever_the_file_says(tmp_path: Path) -> None:
    routing = """
        pipeline:
          performance: [{name: p, rank_by: latency}]
          cost: [{name: c2, rank_by: price}, {name: c1, prefer: [openai]}]
          privacy:
    """
    rules = snapshot_of(build(tmp_path, PROVIDERS, routing)).rules
    assert [(rule.stage, rule.name) for rule in rules] == [
        (Stage.COST, "c2"),
        (Stage.COST, "c1"),
        (Stage.PERFORMANCE, "p"),
    ]
    assert str(rules[0].place) == "routing.yaml:4:17"


def test_a_rule_holds_its_condition(tmp_path: Path) -> None:
    assert rule_of(tmp_path, "when: {project: hr}, reject: no reason").when == OneOf("project", ("hr",))
    assert rule_of(tmp_path, "reject: no reason").when is None


def test_a_requirement_takes_one_or_several_of_each(tmp_path: Path) -> None:
    rule = rule_of(
        tmp_path,
        "require: {zone: local, provider: [openai, mock], model: [gpt-4o, claude-opus-5.5, ollama/llama3], "
        "capability: [tools, vision]}, "
        "exclude: {context_window: {lt: 32_000}, quality: {lt: 0.5}, price: {gt: 10}}",
    )
    assert rule.require == Requirement(
        zones=(Zone.LOCAL,),
        providers=("openai", "mock"),
        models=("gpt-4o", "claude-opus-5-5", "ollama/llama3"),
        capabilities=(Capability.TOOLS, Capability.VISION),
    )
    assert rule.exclude == Requirement(
        context_window=Range("context_window", lt=32_000.0),
        quality=Range("quality", lt=0.5),
        price=Range("price", gt=10.0),
    )


def test_preferences_are_spelt_as_rules_compare_them(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, "prefer: [ollama, openrouter/claude-opus-5-5, claude-opus-5.5, ollama/later]")
    assert rule.prefer == (
        "ollama",
        "openrouter/anthropic/claude-opus-5.5",
        "claude-opus-5-5",
        "ollama/later",
    )


def test_a_rank_by_price_may_have_bands(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, "rank_by: price, within: 10%")
    assert (rule.rank_by, rule.within) == (RankBy.PRICE, 0.1)


def test_a_rank_by_weight_has_weights(tmp_path: Path) -> None:
    rule = rule_of(
        tmp_path, "rank_by: weight, weights: {openai: 3, mock/echo: 1, claude-opus-5.5: 0}", "performance"
    )
    assert rule.weights == {"openai": 3.0, "mock/echo": 1.0, "claude-opus-5-5": 0.0}


def test_a_label_is_its_rank(tmp_path: Path) -> None:
    assert rule_of(tmp_path, "label: confidential", "privacy").label == 2


def test_what_is_set_replaces_the_clients_own(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, "set: {temperature: 0, top_p: 0.5, max_tokens: 4_096, effort: low, seed: 7}")
    assert rule.set == Overrides(0, 0.5, 4096, "low", 7)


def test_a_rejection_has_a_message(tmp_path: Path) -> None:
    assert rule_of(tmp_path, "reject: not today", "performance").reject == "not today"


# --- fallback ---------------------------------------------------------------------------------------------------


def fallback_of(tmp_path: Path, text: str) -> FallbackPolicy:
    return snapshot_of(build(tmp_path, PROVIDERS, f"fallback: {text}\n")).fallback


def test_without_a_word_fallback_is_as_usual(tmp_path: Path) -> None:
    assert snapshot_of(build(tmp_path)).fallback == FallbackPolicy(on=DEFAULT_FALLBACK_ON)


def test_the_policy_is_what_is_written(tmp_path: Path) -> None:
    policy = fallback_of(
        tmp_path,
        "{on: [timeout, rate_limited], attempts: 5, deadline: 2m, retry: {max: 0, base: 1s, cap: 250ms}}",
    )
    assert policy == FallbackPolicy(
        frozenset({FailureKind.TIMEOUT, FailureKind.RATE_LIMITED}), 5, 120.0, 0, 1.0, 0.25
    )


def test_off_means_one_attempt(tmp_path: Path) -> None:
    assert fallback_of(tmp_path, "off") == NO_FALLBACK
    assert (NO_FALLBACK.attempts, NO_FALLBACK.on, NO_FALLBACK.retry_max) == (1, frozenset(), 0)


def test_a_rules_policy_inherits_what_it_leaves_out(tmp_path: Path) -> None:
    routing = """
        pipeline: {cost: [{name: r, fallback: {attempts: 2}}]}
        fallback: {on: [timeout], attempts: 7, deadline: 9s}
    """
    (rule,) = snapshot_of(build(tmp_path, PROVIDERS, routing)).rules
    assert rule.fallback == FallbackPolicy(frozenset({FailureKind.TIMEOUT}), 2, 9.0)
    assert not rule.fallback_off


def test_a_rule_may_switch_fallback_off(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, "fallback: off", "privacy")
    assert rule.fallback_off
    assert rule.fallback is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("on", "LP104"),
        ("{on: [timeouts]}", "LP104"),
        ("{on: [internal]}", "LP104"),
        ("{attempts: 0}", "LP105"),
        ("{attempts: 21}", "LP105"),
        ("{deadline: 0s}", "LP105"),
        ("{deadline: soon}", "LP105"),
        ("{retry: {max: 11}}", "LP105"),
        ("{retries: 3}", "LP101"),
        ("{hedge: on}", "LP104"),
        ("{hedge: {after: p99}}", "LP105"),
        ("{hedge: {max_share: 101%}}", "LP105"),
        ("{degrade: [frozen]}", "LP104"),
        ("{degrade: []}", "LP105"),
        ("{max_price_ratio: 0}", "LP105"),
        ("{on: [timeout, timeout]}", "LP105"),
    ],
)
def test_a_policy_this_version_cannot_keep_is_refused(text: str, code: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, f"fallback: {text}\n")
    assert loaded.snapshot is None
    assert codes_of(loaded) == [code]


# --- what is wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "body", "shown"),
    [
        ("cost", "rank_by: latency, within: 10%", "within"),
        ("cost", "reject: x, within: 10%", "within"),
        ("performance", "rank_by: price, within: 10%", "within"),
        ("privacy", "rank_by: price, within: 10%", "within"),
        ("cost", "rank_by: price, weights: {openai: 1}", "weights"),
        ("cost", "label: restricted", "label"),
        ("performance", "label: restricted", "label"),
        ("cost", "mask: [email]", "mask"),
        ("cost", "escalate: smart", "escalate"),
    ],
)
def test_a_key_that_does_nothing_where_it_stands_is_an_error(
    stage: str, body: str, shown: str, tmp_path: Path
) -> None:
    loaded = load_rule(tmp_path, body, stage)
    assert marked(only_problem(loaded, "LP101"), loaded) == shown


def test_a_rule_without_an_action_is_a_warning(tmp_path: Path) -> None:
    loaded = load_rule(tmp_path, "when: {stream: true}")
    assert codes_of(loaded) == ["LP303"]
    assert loaded.snapshot is not None


def test_two_rules_of_one_name_are_told_with_both_places(tmp_path: Path) -> None:
    routing = """
        pipeline:
          privacy: [{name: same, reject: a}]
          cost: [{name: same, reject: b}]
    """
    loaded = build(tmp_path, PROVIDERS, routing)
    problem = only_problem(loaded, "LP205")
    assert problem.span is not None
    assert (problem.span.line, problem.secondary[0].line) == (4, 3)


@pytest.mark.parametrize(
    ("body", "code", "shown"),
    [
        ("prefer: [openai/gpt-4p]", "LP202", "gpt-4p"),
        ("prefer: [opnai/gpt-4o]", "LP201", "opnai"),
        ("require: {provider: opnai}", "LP201", "opnai"),
        ("exclude: {provider: [openai, opnai]}", "LP201", "opnai"),
        ("require: {model: openai/gpt-4p}", "LP202", "gpt-4p"),
        ("require: {zone: [lokal]}", "LP104", "lokal"),
        ("require: {zone: lokal}", "LP104", "lokal"),
        ("require: {capability: tool}", "LP104", "tool"),
        ("rank_by: weight, weights: {opnai/x: 1}", "LP201", "1"),
        ("rank_by: weight, weights: {openai: 0}", "LP105", "{openai: 0}"),
        ("rank_by: throughput", "LP104", "throughput"),
        ("rank_by: price, within: 150%", "LP105", "150%"),
        ("set: {max_tokens: 99999999999999999999}", "LP105", "99999999999999999999"),
        ("set: {effort: lowest}", "LP104", "lowest"),
        ("set: {temperature: 3}", "LP105", "3"),
        ("set: {}", "LP105", "{}"),
    ],
)
def test_what_a_rule_names_must_exist(body: str, code: str, shown: str, tmp_path: Path) -> None:
    loaded = load_rule(tmp_path, body)
    assert loaded.snapshot is None
    assert marked(only_problem(loaded, code), loaded) == shown


def test_a_slip_that_a_server_could_still_make_true_is_a_warning(tmp_path: Path) -> None:
    loaded = load_rule(tmp_path, "prefer: [opnai]")
    problem = only_problem(loaded, "LP202")
    assert problem.helps == ("did you mean `openai`?",)
    assert snapshot_of(loaded).rules[0].prefer == ("opnai",)


def test_a_slip_that_nothing_can_make_true_is_an_error(tmp_path: Path) -> None:
    providers = "providers: {openai: {models: [gpt-4o]}}"
    loaded = build(tmp_path, providers, "pipeline: {cost: [{name: r, prefer: [opnai]}]}")
    assert only_problem(loaded, "LP202").message == "rule `r` names unknown model or provider `opnai`"
    assert loaded.snapshot is None


def test_a_rule_that_names_an_unknown_provider_says_which_rule(tmp_path: Path) -> None:
    loaded = load_rule(tmp_path, "require: {provider: opnai}")
    assert only_problem(loaded, "LP201").message == "rule `r` names unknown provider `opnai`"


# --- prices -----------------------------------------------------------------------------------------------------


def test_ranking_by_price_without_a_price_warns_at_the_model_and_names_the_rule(tmp_path: Path) -> None:
    providers = "providers:\n  openai:\n    models: [gpt-4o, gpt-9000]\n"
    loaded = build(
        tmp_path,
        providers,
        "pipeline: {cost: [{name: cheap, rank_by: price}]}",
        environ={"OPENAI_API_KEY": "k"},
    )
    problem = only_problem(loaded, "LP501")
    assert marked(problem, loaded) == "gpt-9000"
    assert problem.message == "`openai/gpt-9000` has no price, but rule `cheap` ranks by price"
    assert problem.secondary[0].file == "routing.yaml"
    assert loaded.snapshot is not None


@pytest.mark.parametrize(
    ("row", "environ"),
    [
        ("openai: {models: [gpt-9000]}", {}),
        ("openai: {enabled: false, models: [gpt-9000]}", {"OPENAI_API_KEY": "k"}),
        ("openai: {models: [{id: gpt-9000, price: unknown}]}", {"OPENAI_API_KEY": "k"}),
        ("openai: {models: [{id: gpt-9000, price: {input: 1, output: 2}}]}", {"OPENAI_API_KEY": "k"}),
        ("openai: {models: [gpt-4o]}", {"OPENAI_API_KEY": "k"}),
        ("vllm: {models: [m]}", {}),
    ],
)
def test_a_price_that_nobody_needs_or_that_is_known_is_no_warning(
    row: str, environ: dict[str, str], tmp_path: Path
) -> None:
    routing = "pipeline: {cost: [{name: cheap, rank_by: price}]}"
    assert codes_of(build(tmp_path, f"providers: {{{row}}}", routing, environ=environ)) == []


def test_without_a_price_rule_nobody_asks_for_prices(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {openai: {models: [gpt-9000]}}", environ={"OPENAI_API_KEY": "k"})
    assert codes_of(loaded) == []
