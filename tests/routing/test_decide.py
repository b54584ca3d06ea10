"""The decision as a whole. Classes named ``TestSemantics…`` follow the numbered promises about names, rules and ranks."""

from __future__ import annotations

from typing import Any

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.routing.compile import compile_routes
from llmproxyd.routing.decide import decide
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.plan import Gauge, KnownPrompt, Plan, Question, Readings
from llmproxyd.values.request import Capability, Operation, Overrides
from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    FallbackPolicy,
    HedgePolicy,
    Matches,
    Not,
    OneOf,
    Range,
    RankBy,
    Requirement,
    Rule,
    TargetKind,
    Zone,
)
from tests.routing.build import (
    ask,
    cost,
    deployment,
    order,
    performance,
    privacy,
    provider,
    reasons,
    snapshot,
    target,
    usd,
)
from tests.support.records import replace

A, B, C = (deployment(f"{name}/m") for name in "abc")
MOCK = deployment("mock/echo", provider("mock", Zone.LOCAL, keyless=True))
OTHERS_USABLE = Readings(other_than_mock=True)


def message_of(plan: Plan, kind: FailureKind) -> str:
    assert plan.failure is not None
    assert plan.failure.kind is kind
    assert plan.candidates == ()
    return plan.failure.message


class TestSemantics1Names:
    def test_any_means_all_able_deployments_except_mock(self) -> None:
        plan = ask(snapshot(A, B, MOCK), readings=OTHERS_USABLE)
        assert order(plan) == ["a/m", "b/m"]
        assert reasons(plan)["mock/echo"].startswith("mock: stands in only while")

    def test_mock_stands_in_first_while_nobody_else_was_ever_usable(self) -> None:
        local = deployment("ollama/llama", provider("ollama", Zone.LOCAL, keyless=True, priority=1))
        assert order(ask(snapshot(local, MOCK))) == ["mock/echo", "ollama/llama"]

    @pytest.mark.parametrize("model", ["mock/echo", "echo", "play"])
    def test_mock_answers_to_its_own_names_whoever_else_is_usable(self, model: str) -> None:
        play = target("play", TargetKind.SET, MOCK)
        assert order(ask(snapshot(A, MOCK, targets=[play]), model, OTHERS_USABLE)) == ["mock/echo"]

    def test_an_unknown_name_is_not_found_and_close_names_are_offered(self) -> None:
        smart = target("smart", TargetKind.SET, A)
        plan = ask(snapshot(A, targets=[smart]), "smrt")
        assert message_of(plan, FailureKind.NOT_FOUND) == (
            "The model `smrt` does not exist here. Did you mean `smart`? GET /v1/models lists all names."
        )
        assert plan.failure is not None
        assert (plan.failure.code, plan.failure.param) == ("model_not_found", "model")
        assert plan.target is None

    def test_an_unknown_name_is_shown_in_part_and_without_control_characters(self) -> None:
        message = message_of(ask(snapshot(A), "\x1b[31m" + "x" * 500), FailureKind.NOT_FOUND)
        assert "\x1b" not in message
        assert "x" * 90 not in message

    def test_a_name_behind_which_nothing_stands_yet_says_so(self) -> None:
        plan = ask(snapshot(A, targets=[target("local", TargetKind.SET)]), "local")
        assert "Nothing stands behind `local` yet" in message_of(plan, FailureKind.NO_CANDIDATE)


class TestSemantics2Rules:
    def test_all_matching_rules_apply_and_requires_add_up(self) -> None:
        rules = [
            cost("one", require=Requirement(providers=("a", "b"))),
            cost("two", require=Requirement(providers=("b", "c"))),
            performance("three", exclude=Requirement(providers=("c",))),
        ]
        plan = ask(snapshot(A, B, C, rules=rules))
        assert order(plan) == ["b/m"]
        assert plan.rules == ("one", "two", "three")
        assert reasons(plan) == {
            "c/m": "rule `one` requires provider a or b",
            "a/m": "rule `two` requires provider b or c",
        }

    def test_rules_that_do_not_match_do_nothing(self) -> None:
        rule = privacy("hr", when=OneOf("project", ("hr",)), reject="no")
        assert ask(snapshot(A, rules=[rule]), project="web").rules == ()

    def test_the_first_rule_that_names_a_setting_sets_it(self) -> None:
        rules = [
            performance("last", set=Overrides(temperature=0.9, seed=7)),
            cost("second", set=Overrides(temperature=0.5, max_tokens=100)),
            privacy("first", set=Overrides(temperature=0.1)),
        ]
        assert ask(snapshot(A, rules=rules)).overrides == Overrides(temperature=0.1, max_tokens=100, seed=7)

    def test_a_setting_of_zero_is_a_setting(self) -> None:
        rules = [cost("zero", set=Overrides(temperature=0.0)), cost("one", set=Overrides(temperature=1.0))]
        assert ask(snapshot(A, rules=rules)).overrides == Overrides(temperature=0.0)

    def test_the_first_rule_with_a_fallback_policy_wins(self) -> None:
        first, second = (FallbackPolicy(on=DEFAULT_FALLBACK_ON, attempts=n) for n in (5, 7))
        rules = [cost("one", fallback=first), cost("two", fallback=second), cost("three", fallback_off=True)]
        assert ask(snapshot(A, rules=rules)).fallback == first

    def test_fallback_off_of_a_later_stage_counts_only_if_it_is_first(self) -> None:
        policy = FallbackPolicy(on=DEFAULT_FALLBACK_ON, attempts=5)
        rules = [cost("off", fallback_off=True), cost("on", fallback=policy)]
        plan = ask(snapshot(A, rules=rules))
        assert (plan.fallback.attempts, plan.fallback.on) == (1, frozenset())

    def test_fallback_off_from_the_privacy_stage_is_final(self) -> None:
        policy = FallbackPolicy(on=DEFAULT_FALLBACK_ON, attempts=5)
        rules = [
            privacy("on", fallback=policy),
            privacy("off", fallback_off=True),
            cost("again", fallback=policy),
        ]
        assert ask(snapshot(A, rules=rules)).fallback.attempts == 1

    def test_without_a_rule_the_files_policy_stands(self) -> None:
        policy = FallbackPolicy(on=DEFAULT_FALLBACK_ON, attempts=9)
        assert ask(snapshot(A, fallback=policy)).fallback == policy

    def test_the_first_rule_that_speaks_of_hedging_replaces_the_policys_word(self) -> None:
        own, first, second = (HedgePolicy(after_s=n) for n in (1.0, 2.0, 3.0))
        policy = FallbackPolicy(on=DEFAULT_FALLBACK_ON, attempts=5, hedge=own)

        def hedge_of(*rules: Rule) -> HedgePolicy | None:
            plan = ask(snapshot(A, rules=rules, fallback=policy))
            assert replace(plan.fallback, hedge=own) == policy
            return plan.fallback.hedge

        assert hedge_of() == own
        assert hedge_of(cost("none"), cost("one", hedge=first), cost("two", hedge=second)) == first
        assert hedge_of(cost("off", hedge_off=True), cost("on", hedge=first)) is None
        assert hedge_of(cost("on", hedge=first), performance("off", hedge_off=True)) == first

    def test_hedging_turned_off_by_the_privacy_stage_is_final(self) -> None:
        rules = [privacy("on", hedge=HedgePolicy()), privacy("off", hedge_off=True)]
        assert ask(snapshot(A, rules=rules)).fallback.hedge is None

    def test_hedging_goes_with_the_policy_of_the_rule_that_replaced_it(self) -> None:
        policy = FallbackPolicy(on=DEFAULT_FALLBACK_ON, attempts=5)
        plan = ask(snapshot(A, rules=[cost(fallback=policy), performance(hedge=HedgePolicy(after_s=2.0))]))
        assert plan.fallback == replace(policy, hedge=HedgePolicy(after_s=2.0))

    @pytest.mark.parametrize(
        ("rules", "expected"),
        [
            ([], False),
            ([cost("yes", continues=True), performance("no", continues=False)], True),
            ([cost("no", continues=False), performance("yes", continues=True)], False),
            ([privacy("yes", continues=True), privacy("no", continues=False)], False),
            ([privacy("yes", continues=True), cost("no", continues=False)], True),
        ],
    )
    def test_the_first_rule_says_whether_a_broken_answer_goes_on_unless_privacy_forbids_it(
        self, rules: list[Rule], expected: bool
    ) -> None:
        assert ask(snapshot(A, rules=rules)).continues is expected

    @pytest.mark.parametrize("stage", [privacy, cost, performance])
    def test_reject_of_any_stage_ends_it_with_the_rules_name_and_message(self, stage: Any) -> None:
        plan = ask(snapshot(A, rules=[stage("no night work", reject="Come back tomorrow.")]))
        message = message_of(plan, FailureKind.REJECTED)
        assert message == "Come back tomorrow. (rule `no night work`)"

    def test_reject_goes_before_everything_that_could_fail_otherwise(self) -> None:
        rules = [privacy(require=Requirement(zones=(Zone.LOCAL,))), performance("no", reject="no")]
        for given_snapshot in (snapshot(A, rules=rules), snapshot(rules=rules)):
            message_of(ask(given_snapshot), FailureKind.REJECTED)


class TestSemantics3Ranks:
    def test_prefer_gives_the_listed_their_place_and_all_others_the_next_and_never_drops(self) -> None:
        plan = ask(snapshot(A, B, C, rules=[cost(prefer=("c", "b/m"))]))
        assert order(plan) == ["c/m", "b/m", "a/m"]
        assert [c.rank[0] for c in plan.candidates] == [0.0, 1.0, 2.0]
        assert [c.verdicts[0].reason for c in plan.candidates] == [
            "preferred as number 1",
            "preferred as number 2",
            "not among the preferred",
        ]

    def test_prefer_may_name_models(self) -> None:
        other = deployment("z/best", model="best")
        assert order(ask(snapshot(A, other, rules=[cost(prefer=("best",))])))[0] == "z/best"

    def test_an_earlier_stage_outranks_a_later_one(self) -> None:
        rules = [
            performance("p", prefer=("a",)),
            cost("c", prefer=("b",)),
            privacy("f", prefer=("c",)),
        ]
        assert order(ask(snapshot(A, B, C, rules=rules))) == ["c/m", "b/m", "a/m"]

    def test_within_a_stage_the_upper_rule_outranks_the_lower(self) -> None:
        rules = [cost("upper", prefer=("b",)), cost("lower", prefer=("a",))]
        assert order(ask(snapshot(A, B, C, rules=rules))) == ["b/m", "a/m", "c/m"]

    def test_where_nothing_else_decides_it_is_default_provider_then_priority_then_name(self) -> None:
        default, first, second, third = (
            deployment("zz/m", provider("zz", priority=99)),
            deployment("y/m", provider("y", priority=1)),
            deployment("w/m", provider("w", priority=2)),
            deployment("x/m", provider("x", priority=2)),
        )
        given_snapshot = snapshot(third, second, first, default, default_provider="zz")
        assert order(ask(given_snapshot)) == ["zz/m", "y/m", "w/m", "x/m"]

    def test_all_drops_come_before_all_ranks(self) -> None:
        cheap, middle, dear = (
            deployment(f"{name}/m", price=usd(price)) for name, price in (("a", 1.0), ("b", 2.0), ("c", 2.1))
        )
        rules = [
            cost(rank_by=RankBy.PRICE, within=0.1),
            performance("not a", exclude=Requirement(providers=("a",))),
            performance("c is quick", prefer=("c",)),
        ]
        plan = ask(snapshot(cheap, middle, dear, rules=rules), prompt=KnownPrompt(tokens_in=1_000))
        assert order(plan) == ["c/m", "b/m"]


class TestSemantics4Aliases:
    def test_a_list_is_the_operators_order_and_stands_before_all_ranks(self) -> None:
        careful = target("careful", TargetKind.LIST, C, A, B)
        rules = [privacy(prefer=("b",)), cost(rank_by=RankBy.PRICE)]
        assert order(ask(snapshot(A, B, C, targets=[careful], rules=rules), "careful")) == [
            "c/m",
            "a/m",
            "b/m",
        ]

    def test_a_set_leaves_the_order_to_the_pipeline(self) -> None:
        smart = target("smart", TargetKind.SET, C, A, B)
        assert (
            order(ask(snapshot(A, B, C, targets=[smart], rules=[cost(prefer=("b",))]), "smart"))[0] == "b/m"
        )

    def test_weights_stand_before_all_ranks_and_say_who_was_drawn(self) -> None:
        name = target("gpt-4o", TargetKind.WEIGHTS, A, B, weights=(1, 0))
        plan = ask(snapshot(A, B, targets=[name], rules=[cost(prefer=("b",))]), "gpt-4o")
        assert order(plan) == ["a/m", "b/m"]
        assert plan.candidates[0].verdicts[0].reason == "drawn by its share of the name's weights"


class TestSemantics6Unknowns:
    def test_an_unknown_quality_is_one_half(self) -> None:
        for bound, names in ((0.5, ["a/m"]), (0.51, [])):
            rule = cost(require=Requirement(quality=Range("quality", gte=bound)))
            assert order(ask(snapshot(A, rules=[rule]))) == names

    def test_an_unknown_price_fails_a_price_require_unless_local(self) -> None:
        home = deployment("ollama/llama", provider("ollama", Zone.LOCAL))
        rule = cost(require=Requirement(price=Range("price", lte=100)))
        assert order(ask(snapshot(A, home, rules=[rule]))) == ["ollama/llama"]


class TestSemantics7Explicit:
    RULES = (
        cost("quality", require=Requirement(quality=Range("quality", gte=0.9))),
        cost("prefer b", prefer=("b",)),
    )

    def test_quality_and_preferences_never_replace_the_deployment_that_was_named(self) -> None:
        assert order(ask(snapshot(A, B, rules=self.RULES), "a/m")) == ["a/m"]

    def test_the_fence_applies(self) -> None:
        rule = privacy("fence", exclude=Requirement(providers=("a",)))
        message_of(ask(snapshot(A, B, rules=[rule]), "a/m"), FailureKind.PRIVACY_NO_ROUTE)

    def test_capabilities_apply(self) -> None:
        simple = deployment("a/m", capabilities=frozenset[Capability]())
        plan = ask(snapshot(simple, B), "a/m", needs=frozenset({Capability.TOOLS}))
        assert "a/m: cannot do tools" in message_of(plan, FailureKind.NO_CANDIDATE)

    def test_a_price_bound_applies(self) -> None:
        dear = deployment("a/m", price=usd(50))
        rule = cost("cap", require=Requirement(price=Range("price", lte=10)))
        plan = ask(snapshot(dear, rules=[rule]), "a/m")
        assert "rule `cap` requires price <= 10" in message_of(plan, FailureKind.NO_CANDIDATE)

    def test_reject_applies(self) -> None:
        message_of(ask(snapshot(A, rules=[cost("no", reject="no")]), "a/m"), FailureKind.REJECTED)

    def test_no_other_model_answers_for_a_plain_id(self) -> None:
        other = deployment("b/other", model="other")
        assert order(ask(snapshot(A, other), "m")) == ["a/m"]


class TestSemantics10AbsentFacts:
    def test_a_rule_about_a_fact_nobody_stated_does_not_apply_and_its_not_does(self) -> None:
        about = OneOf("project", ("hr",))
        rules = [cost("hr", when=about), cost("not hr", when=Not(about))]
        assert ask(snapshot(A, rules=rules)).rules == ("not hr",)


class TestWhoIsAble:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"enabled": False}, "a: disabled in the configuration"),
            ({"configured": False, "reason": "set A_API_KEY"}, "a: set A_API_KEY"),
        ],
    )
    def test_a_provider_that_cannot_be_used_is_dropped_with_the_reason(
        self, change: dict[str, Any], reason: str
    ) -> None:
        plan = ask(snapshot(deployment("a/m", provider("a", **change)), B))
        assert order(plan) == ["b/m"]
        assert reasons(plan) == {"a/m": reason}

    def test_the_operation_must_be_served(self) -> None:
        vectors = deployment("v/embed", operations=frozenset({Operation.EMBEDDING}))
        plan = ask(snapshot(A, vectors), operation=Operation.EMBEDDING)
        assert order(plan) == ["v/embed"]
        assert reasons(plan) == {"a/m": "a/m: does not serve embedding requests"}

    def test_unknown_capabilities_are_given_the_chance(self) -> None:
        seeing = deployment("b/m", capabilities=frozenset({Capability.VISION}))
        plan = ask(snapshot(A, seeing), needs=frozenset({Capability.VISION, Capability.TOOLS}))
        assert order(plan) == ["a/m"]
        assert reasons(plan) == {"b/m": "b/m: cannot do tools"}

    def test_an_answer_longer_than_the_model_can_write_is_not_asked_of_it(self) -> None:
        short = deployment("b/m", max_output_tokens=1_000)
        assert order(ask(snapshot(A, short), max_output_tokens=1_000)) == ["a/m", "b/m"]
        plan = ask(snapshot(A, short), max_output_tokens=1_001)
        assert reasons(plan) == {"b/m": "b/m: answers have at most 1000 tokens, 1001 wanted"}

    def test_a_prompt_clearly_longer_than_the_window_is_not_sent_there(self) -> None:
        small = deployment("b/m", context_window=8_000)
        plan = ask(snapshot(A, small), prompt=KnownPrompt(tokens_in=12_000), bytes_in=48_000)
        assert order(plan) == ["a/m"]
        assert "8000 tokens, the request about 12000" in reasons(plan)["b/m"]

    def test_an_estimate_just_above_the_window_is_given_the_chance(self) -> None:
        small = deployment("b/m", context_window=8_000)
        plan = ask(snapshot(small), prompt=KnownPrompt(tokens_in=8_800), bytes_in=48_000)
        assert order(plan) == ["b/m"]

    def test_a_prompt_of_any_length_may_be_counted(self) -> None:
        counter = deployment("b/m", context_window=8_000, operations=frozenset({Operation.COUNT_TOKENS}))
        long_prompt = KnownPrompt(tokens_in=100_000)
        assert order(ask(snapshot(counter), operation=Operation.COUNT_TOKENS, prompt=long_prompt)) == ["b/m"]

    def test_nobody_counts_the_tokens_of_a_body_smaller_than_every_window(self) -> None:
        class Uncountable(KnownPrompt, frozen=True):
            def __getattribute__(self, name: str) -> object:
                assert name not in ("tokens_in", "text", "has", "conversation"), f"{name} asked for nothing"
                return super().__getattribute__(name)

        given_snapshot = snapshot(
            deployment("a/m", context_window=8_000), B, rules=[performance(rank_by=RankBy.LATENCY)]
        )
        assert order(ask(given_snapshot, prompt=Uncountable(), bytes_in=8_000)) == ["a/m", "b/m"]


class TestNothingLeft:
    def test_says_which_key_is_missing(self) -> None:
        owner = provider("openai", configured=False, reason="set OPENAI_API_KEY")
        plan = ask(snapshot(deployment("openai/gpt-5.6-sol", owner)), "gpt-5.6-sol")
        assert message_of(plan, FailureKind.NO_CANDIDATE) == (
            "No provider is configured for `gpt-5.6-sol`: openai: set OPENAI_API_KEY."
        )

    def test_says_each_reason_once_and_counts_those_it_leaves_out(self) -> None:
        owners = [provider(f"p{i}", configured=False, reason="set X") for i in range(6)]
        many = [deployment(f"{p.name}/m{n}", p) for p in owners for n in range(2)]
        message = message_of(ask(snapshot(*many)), FailureKind.NO_CANDIDATE)
        assert message == (
            "No provider is configured for `auto`: p0: set X; p1: set X; p2: set X; p3: set X; and 2 more."
        )

    def test_holds_nothing_of_the_prompt(self) -> None:
        secret = "my password is swordfish"
        rule = privacy("no", when=Matches("prompt", "password", re2.compile("password")), reject="Not here.")
        for plan in (
            ask(snapshot(A, rules=[rule]), prompt=KnownPrompt(text=secret)),
            ask(snapshot(A), "nobody", prompt=KnownPrompt(text=secret)),
            ask(snapshot(A), prompt=KnownPrompt(text=secret), label="restricted"),
        ):
            assert plan.failure is not None
            assert "swordfish" not in plan.failure.message + plan.failure.detail


def test_one_candidate_alone_is_not_ranked() -> None:
    plan = ask(snapshot(A, rules=[cost(rank_by=RankBy.PRICE)]))
    assert (plan.candidates[0].verdicts, plan.candidates[0].rank) == ((), ())


def test_the_plan_repeats_the_seed_of_the_question() -> None:
    assert ask(snapshot(A, B), seed=42).seed == 42


# --- whatever the rules and the request, these hold --------------------------------------------------------------

PROVIDERS = [
    provider("far", Zone.EXTERNAL),
    provider("near", Zone.PRIVATE),
    provider("home", Zone.LOCAL),
    provider("off", Zone.LOCAL, enabled=False),
    provider("keyless", Zone.EXTERNAL, configured=False, reason="set KEY"),
    provider("mock", Zone.LOCAL, keyless=True),
]
EVERYBODY = [
    deployment(f"{p.name}/{model}", p, model=model, price=price, context_window=window)
    for p in PROVIDERS
    for model, price, window in (("big", usd(5, 20), 100_000), ("small", None, 4_000))
]
requirements = st.builds(
    Requirement,
    zones=st.lists(st.sampled_from(list(Zone)), max_size=2).map(tuple),
    providers=st.lists(st.sampled_from([p.name for p in PROVIDERS]), max_size=3).map(tuple),
    quality=st.none() | st.just(Range("quality", gte=0.6)),
    price=st.none() | st.just(Range("price", lte=10)),
)
rules_strategy = st.lists(
    st.builds(
        Rule,
        name=st.sampled_from(["r1", "r2", "r3"]),
        stage=st.sampled_from(["privacy", "cost", "performance"]).map(
            {"privacy": privacy().stage, "cost": cost().stage, "performance": performance().stage}.__getitem__
        ),
        when=st.none() | st.just(OneOf("project", ("hr",))) | st.just(Range("label", gte=2)),
        require=st.none() | requirements,
        exclude=st.none() | st.builds(Requirement, providers=st.just(("far",))),
        prefer=st.lists(st.sampled_from(["big", "home", "far/small"]), max_size=2).map(tuple),
        rank_by=st.none() | st.sampled_from(list(RankBy)),
        label=st.none() | st.integers(0, 3),
    ),
    max_size=4,
)


@given(
    rules=rules_strategy,
    model=st.sampled_from(["auto", "big", "far/big", "home/small", "mixed", "shared"]),
    label=st.none() | st.sampled_from(["public", "internal", "confidential", "restricted"]),
    project=st.none() | st.just("hr"),
    tokens=st.integers(0, 200_000),
    turn=st.integers(0, 10),
    other_than_mock=st.booleans(),
)
def test_no_plan_ever_breaks_the_fence(
    rules: list[Rule],
    model: str,
    label: str | None,
    project: str | None,
    tokens: int,
    turn: int,
    other_than_mock: bool,
) -> None:
    names = [
        target("mixed", TargetKind.LIST, *EVERYBODY[::3]),
        target("shared", TargetKind.WEIGHTS, *EVERYBODY[:4], weights=(1, 2, 3, 0)),
    ]
    given_snapshot = snapshot(*EVERYBODY, targets=names, rules=rules)
    routes = compile_routes(given_snapshot)
    question = Question(
        model=model,
        label=label,
        project=project,
        prompt=KnownPrompt(tokens_in=tokens),
        bytes_in=tokens * 4,
        turn=turn,
    )
    readings = Readings({EVERYBODY[0].key: Gauge(2, 0.4, 9)}, other_than_mock)
    plan = decide(question, routes, readings)

    assert plan == decide(question, routes, readings)
    assert bool(plan.candidates) is (plan.failure is None)
    assert plan.target is not None
    kept, dropped = order(plan), [c.deployment.name for c in plan.dropped]
    assert len(set(kept)) == len(kept)
    assert sorted(kept + dropped) == sorted(d.name for d in plan.target.deployments)
    assert all(c.dropped for c in plan.dropped)
    for candidate in plan.candidates:
        owner = candidate.deployment.provider
        assert owner.clearance >= plan.label_rank
        assert owner.enabled
        assert owner.configured
        assert not (model == "auto" and other_than_mock and owner.is_mock)
        assert not candidate.dropped
    assert plan.label_rank >= given_snapshot.privacy.default_label
    assert [c.rank for c in plan.candidates] == sorted(c.rank for c in plan.candidates)
