from __future__ import annotations

import pytest

from llmproxyd.values.failure import FailureKind
from llmproxyd.values.plan import Plan
from llmproxyd.values.snapshot import OneOf, Privacy, Range, Requirement, Stage, Zone
from tests.routing.build import ask, cost, deployment, order, privacy, provider, reasons, snapshot

FAR = deployment("openai/gpt")
NEAR = deployment("azure/gpt", provider("azure", Zone.PRIVATE))
HOME = deployment("ollama/llama", provider("ollama", Zone.LOCAL))
EVERYWHERE = (FAR, NEAR, HOME)


def failed_with(plan: Plan) -> FailureKind:
    assert plan.failure is not None
    assert plan.candidates == ()
    return plan.failure.kind


class TestLabel:
    def test_without_a_claim_is_the_default(self) -> None:
        plan = ask(snapshot(*EVERYWHERE))
        assert (plan.label, plan.label_rank, plan.label_sources) == ("internal", 1, ("default",))

    def test_is_raised_by_the_callers_claim(self) -> None:
        plan = ask(snapshot(*EVERYWHERE), label="restricted")
        assert (plan.label, plan.label_rank) == ("restricted", 3)
        assert plan.label_sources == ("default", "header")

    def test_is_never_lowered_by_the_callers_claim(self) -> None:
        plan = ask(snapshot(*EVERYWHERE), label="public")
        assert (plan.label, plan.label_sources) == ("internal", ("default",))

    def test_that_nobody_knows_is_refused_and_the_header_named(self) -> None:
        plan = ask(snapshot(*EVERYWHERE), label="top-secret")
        assert failed_with(plan) is FailureKind.BAD_REQUEST
        assert plan.failure is not None
        assert plan.failure.param == "x-llmproxyd-label"
        assert "public, internal, confidential, restricted" in plan.failure.message
        assert "top-secret" not in plan.failure.message

    def test_is_raised_by_every_matching_rule_and_each_is_recorded(self) -> None:
        rules = [privacy("first", label=2), privacy("same", label=2), privacy("second", label=3)]
        plan = ask(snapshot(*EVERYWHERE, rules=rules))
        assert plan.label == "restricted"
        assert plan.label_sources == ("default", "rule first", "rule second")

    def test_is_never_lowered_by_a_rule(self) -> None:
        plan = ask(snapshot(*EVERYWHERE, rules=[privacy("high", label=3), privacy("low", label=0)]))
        assert plan.label == "restricted"
        assert plan.label_sources == ("default", "rule high")
        assert plan.rules == ("high", "low")

    def test_is_raised_by_what_tenant_and_key_are_bound_to(self) -> None:
        plan = ask(snapshot(*EVERYWHERE), bound=((2, "tenant acme"), (3, "key 12345678"), (1, "key low")))
        assert (plan.label, plan.label_sources) == (
            "restricted",
            ("default", "tenant acme", "key 12345678"),
        )

    def test_is_lowered_after_all_that_raised_it_for_who_may(self) -> None:
        stays = privacy("stays", when=Range("label", gte=2), require=Requirement(zones=(Zone.LOCAL,)))
        rules = [privacy("hr", label=3), stays]
        plan = ask(snapshot(*EVERYWHERE, rules=rules), lowered="public")
        assert (plan.label, plan.lowered_from) == ("public", "restricted")
        assert plan.label_sources == ("default", "rule hr", "lowered by the caller")
        assert plan.rules == ("hr",), "the rules after it are judged by the label that is left"
        assert "openai/gpt" in order(plan)

    def test_is_not_lowered_below_what_tenant_and_key_are_bound_to(self) -> None:
        bound = ((2, "tenant acme"),)
        plan = ask(snapshot(*EVERYWHERE, rules=[privacy("hr", label=3)]), bound=bound, lowered="public")
        assert (plan.label, plan.lowered_from) == ("confidential", "restricted")
        assert ask(snapshot(*EVERYWHERE), bound=bound, lowered="public").lowered_from is None

    def test_is_seen_by_the_rules_below_the_one_that_raised_it(self) -> None:
        raise_hr = privacy("hr", when=OneOf("project", ("hr",)), label=2)
        chain = privacy("chain", when=Range("label", gte=2), label=3)
        assert ask(snapshot(*EVERYWHERE, rules=[raise_hr, chain]), project="hr").label == "restricted"
        assert ask(snapshot(*EVERYWHERE, rules=[chain, raise_hr]), project="hr").label == "confidential"

    def test_is_final_before_any_other_rule_is_judged_wherever_it_stands(self) -> None:
        stay = privacy(
            "stay", when=OneOf("label", ("confidential",)), require=Requirement(zones=(Zone.LOCAL,))
        )
        late = privacy("late", label=2)
        assert order(ask(snapshot(*EVERYWHERE, rules=[stay, late]))) == ["ollama/llama"]

    def test_may_be_raised_by_a_rule_of_a_later_stage_and_the_fence_heeds_it(self) -> None:
        plan = ask(snapshot(*EVERYWHERE, rules=[cost("raise", label=3)]))
        assert order(plan) == ["ollama/llama"]
        assert plan.label_sources == ("default", "rule raise")


class TestClearance:
    @pytest.mark.parametrize(
        ("label", "names"),
        [
            ("internal", {"openai/gpt", "azure/gpt", "ollama/llama"}),
            ("confidential", {"azure/gpt", "ollama/llama"}),
            ("restricted", {"ollama/llama"}),
        ],
    )
    def test_decides_who_may_see_a_label(self, label: str, names: set[str]) -> None:
        assert set(order(ask(snapshot(*EVERYWHERE), label=label))) == names

    def test_says_of_each_dropped_one_what_it_may_see(self) -> None:
        plan = ask(snapshot(*EVERYWHERE), label="confidential")
        assert reasons(plan) == {
            "openai/gpt": "openai is cleared up to `internal`, and the request is `confidential`"
        }
        assert plan.dropped[0].verdicts[0].stage is Stage.PRIVACY

    def test_applies_to_a_deployment_named_by_the_caller(self) -> None:
        plan = ask(snapshot(*EVERYWHERE), "openai/gpt", label="restricted")
        assert failed_with(plan) is FailureKind.PRIVACY_NO_ROUTE

    def test_can_be_none_at_all(self) -> None:
        outcast = deployment("shady/gpt", provider("shady", clearance=-1))
        plan = ask(snapshot(outcast, privacy=Privacy(default_label=0)))
        assert failed_with(plan) is FailureKind.PRIVACY_NO_ROUTE
        assert "no clearance at all" in reasons(plan)["shady/gpt"]


class TestNoRoute:
    def test_names_the_clearance_the_label_and_who_set_it(self) -> None:
        rule = privacy("hr", when=OneOf("project", ("hr",)), label=2)
        plan = ask(snapshot(FAR, rules=[rule]), project="hr")
        assert plan.failure is not None
        assert plan.failure.kind is FailureKind.PRIVACY_NO_ROUTE
        assert "label `confidential`, set by default, rule hr" in plan.failure.message
        assert "openai is cleared up to `internal`" in plan.failure.message

    def test_names_the_rule_that_left_nobody(self) -> None:
        rule = privacy("stay home", require=Requirement(zones=(Zone.LOCAL,)))
        plan = ask(snapshot(FAR, NEAR, rules=[rule]))
        assert failed_with(plan) is FailureKind.PRIVACY_NO_ROUTE
        assert plan.failure is not None
        assert "rule `stay home` requires zone local" in plan.failure.message

    def test_is_said_as_well_when_an_exclude_left_nobody(self) -> None:
        rule = privacy("not there", exclude=Requirement(providers=("openai",)))
        assert failed_with(ask(snapshot(FAR, rules=[rule]))) is FailureKind.PRIVACY_NO_ROUTE

    def test_is_said_when_the_fence_dropped_one_and_a_later_stage_the_last(self) -> None:
        thrift = cost(require=Requirement(providers=("openai",)))
        plan = ask(snapshot(FAR, HOME, rules=[thrift]), label="restricted")
        assert failed_with(plan) is FailureKind.PRIVACY_NO_ROUTE

    def test_is_not_said_when_only_a_later_stage_left_nobody(self) -> None:
        thrift = cost("dear", require=Requirement(price=Range("price", lt=0)))
        assert failed_with(ask(snapshot(FAR, rules=[thrift]))) is FailureKind.NO_CANDIDATE

    def test_shows_a_few_reasons_and_counts_the_rest(self) -> None:
        many = [deployment(f"p{i}/m") for i in range(5)]
        plan = ask(snapshot(*many), label="restricted")
        assert plan.failure is not None
        assert plan.failure.message.count("is cleared up to") == 3
        assert "and 2 more" in plan.failure.message
