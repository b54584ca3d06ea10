"""Who may see a request only without what was found in it, and what label the masked copy has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.routing.across import further
from llmproxyd.routing.compile import compile_routes
from llmproxyd.routing.decide import decide
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Plan, Question, Readings
from llmproxyd.values.privacy import Finding, Found, Scan
from llmproxyd.values.request import Operation
from llmproxyd.values.snapshot import DetectRule, Holds, OneOf, Privacy, Requirement, Snapshot, Zone
from tests.routing.build import ask, deployment, order, privacy, provider, reasons, snapshot, usd

FAR = deployment("openai/gpt")
NEAR = deployment("azure/gpt", provider("azure", Zone.PRIVATE))
HOME = deployment("ollama/llama", provider("ollama", Zone.LOCAL))

FENCE = Privacy(
    detect=(DetectRule(("secret", "iban"), 3), DetectRule(("email", "phone"), 2)),
    unscanned={"image": 1, "file": 3},
)
CONTACTS = privacy("contacts", mask=("email", "phone"))


def found(*kinds: str, **more: Any) -> Scan:
    return Scan(tuple(Found("messages[0]", Finding(kind, 0, 9, "test")) for kind in kinds), **more)


def world(*rules: Any) -> Snapshot:
    return snapshot(FAR, NEAR, HOME, rules=rules, privacy=FENCE)


def masked(plan: Plan) -> dict[str, set[str]]:
    return {c.deployment.name: set(c.masked) for c in plan.candidates}


class TestFindings:
    def test_raise_the_label_and_are_named_as_a_source(self) -> None:
        plan = ask(world(), scan=found("email"))
        assert (plan.label, plan.label_sources) == ("confidential", ("default", "email found"))
        assert set(order(plan)) == {"azure/gpt", "ollama/llama"}

    def test_of_kinds_that_nobody_labelled_raise_nothing(self) -> None:
        assert ask(world(), scan=found("mac")).label == "internal"

    def test_of_a_group_raise_it_by_any_member(self) -> None:
        assert ask(world(), scan=found("secret.aws_access_key")).label == "restricted"

    def test_come_beside_a_claim_and_rules_among_the_sources(self) -> None:
        rule = privacy("hr", when=Holds(("iban",)), label=3)
        plan = ask(world(rule), label="confidential", scan=found("iban"))
        assert plan.label_sources == ("default", "header", "iban found")
        rule = privacy("mail", when=Holds(("email",)), label=3)
        plan = ask(world(rule), scan=found("email"))
        assert plan.label_sources == ("default", "email found", "rule mail")

    def test_a_broken_detector_means_the_highest_label(self) -> None:
        plan = ask(world(CONTACTS), scan=Scan(failed="it raised"))
        assert order(plan) == ["ollama/llama"]
        assert plan.label_sources == ("default", "a detector that failed")

    @pytest.mark.parametrize(
        ("kind", "label"), [("image", "internal"), ("file", "restricted"), ("audio", "restricted")]
    )
    def test_what_nobody_could_read_counts_as_the_operator_says_else_most(
        self, kind: str, label: str
    ) -> None:
        assert ask(world(), scan=Scan(unscanned=frozenset({kind}))).label == label

    def test_what_nobody_reads_counts_nothing_where_nothing_is_looked_for(self) -> None:
        assert ask(snapshot(FAR), scan=Scan(unscanned=frozenset({"image"}))).label == "internal"


class TestTheMaskedCopy:
    def test_has_the_label_that_its_key_is_bound_to(self) -> None:
        plan = ask(world(CONTACTS), scan=found("email"), bound=((2, "key 12345678"),))
        assert set(order(plan)) == {"azure/gpt", "ollama/llama"}
        assert not any(masked(plan).values())

    def test_goes_to_those_who_may_not_see_the_request_and_to_nobody_else(self) -> None:
        plan = ask(world(CONTACTS), scan=found("email"))
        assert masked(plan) == {"openai/gpt": {"email", "phone"}, "azure/gpt": set(), "ollama/llama": set()}
        assert plan.label == "confidential"

    def test_is_told_in_the_verdicts_with_the_rule(self) -> None:
        plan = ask(world(CONTACTS), "openai/gpt", scan=found("email"))
        verdict = plan.candidates[0].verdicts[0]
        assert (verdict.rule, verdict.reason) == ("contacts", "sees it without email, phone")
        assert not verdict.dropped

    def test_is_made_only_where_the_rule_applies(self) -> None:
        rule = privacy("contacts", when=OneOf("project", ("hr",)), mask=("email",))
        assert "openai/gpt" not in order(ask(world(rule), scan=found("email")))
        assert "openai/gpt" in order(ask(world(rule), project="hr", scan=found("email")))

    def test_has_the_label_of_what_no_rule_covers(self) -> None:
        plan = ask(world(CONTACTS), scan=found("email", "iban"))
        assert order(plan) == ["ollama/llama"]
        assert "masked `restricted`" not in reasons(plan)["openai/gpt"]
        both = privacy("ibans", mask=("iban",))
        plan = ask(world(both), scan=found("email", "iban"))
        assert masked(plan) == {"azure/gpt": {"iban"}, "ollama/llama": set()}
        assert reasons(plan)["openai/gpt"].endswith("the request is `restricted`, masked `confidential`")

    def test_is_covered_by_all_matching_rules_together(self) -> None:
        plan = ask(world(CONTACTS, privacy("ibans", mask=("iban",))), scan=found("email", "iban"))
        assert masked(plan)["openai/gpt"] == {"email", "phone", "iban"}

    def test_is_covered_by_a_group(self) -> None:
        plan = ask(
            world(privacy("all", mask=("pii", "secret"))), scan=found("email", "secret.aws_access_key")
        )
        assert "openai/gpt" in order(plan)

    def test_keeps_the_label_of_a_claim(self) -> None:
        plan = ask(world(CONTACTS), label="confidential", scan=found("email"))
        assert masked(plan) == {"azure/gpt": set(), "ollama/llama": set()}

    def test_keeps_the_label_of_a_rule(self) -> None:
        hr = privacy("hr", when=OneOf("project", ("hr",)), label=2)
        assert "openai/gpt" not in order(ask(world(hr, CONTACTS), project="hr", scan=found("email")))

    def test_keeps_the_label_of_what_nobody_could_read(self) -> None:
        plan = ask(world(CONTACTS), scan=found("email", unscanned=frozenset({"text"})))
        assert order(plan) == ["ollama/llama"]

    def test_passes_no_require_that_the_request_would_not_pass(self) -> None:
        home = privacy("home", when=Holds(("email",)), require=Requirement(zones=(Zone.LOCAL,)))
        assert order(ask(world(CONTACTS, home), scan=found("email"))) == ["ollama/llama"]

    def test_is_never_made_of_texts_to_be_embedded(self) -> None:
        far = deployment("openai/embed", operations=frozenset({Operation.EMBEDDING}))
        plan = ask(
            snapshot(far, rules=[CONTACTS], privacy=FENCE), operation=Operation.EMBEDDING, scan=found("email")
        )
        assert plan.failure is not None
        assert plan.failure.kind is FailureKind.PRIVACY_NO_ROUTE

    def test_is_what_a_stand_in_gets_as_well(self) -> None:
        wanted = deployment("openai/gpt", capabilities=frozenset(), price=usd(5))
        other = deployment("mistral/large", capabilities=frozenset(), price=usd(5))
        given = snapshot(wanted, other, rules=[CONTACTS], privacy=FENCE)
        routes, question = compile_routes(given), Question(model="gpt", scan=found("email"))
        plan = decide(question, routes, Readings())
        assert order(plan) == ["openai/gpt"]
        more = further(plan, question, routes, Readings(), Failure(FailureKind.MODEL_UNAVAILABLE, "gone"))
        assert [(c.deployment.name, set(c.masked)) for c in more] == [("mistral/large", {"email", "phone"})]


KINDS = st.sampled_from(["email", "phone", "iban", "secret.jwt", "mac", "person"])


@given(
    kinds=st.lists(KINDS, max_size=4),
    masks=st.lists(st.sampled_from(["email", "phone", "iban", "secret", "pii", "hard"]), max_size=3),
    claim=st.sampled_from([None, "public", "internal", "confidential", "restricted"]),
    ruled=st.sampled_from([None, 0, 1, 2, 3]),
    unscanned=st.sets(st.sampled_from(["image", "file", "text"])),
)
def test_nobody_sees_more_than_his_clearance_whatever_is_masked(
    kinds: list[str], masks: list[str], claim: str | None, ruled: int | None, unscanned: set[str]
) -> None:
    """Judged anew for each candidate, from what it is left to see."""
    rules = [privacy("mask", mask=tuple(masks))] if masks else []
    rules += [] if ruled is None else [privacy("label", label=ruled)]
    plan = ask(world(*rules), label=claim, scan=found(*kinds, unscanned=frozenset(unscanned)))
    for candidate in plan.candidates:
        left = [k for k in kinds if not Scan(found(k).found).kinds & _covered(candidate.masked, kinds)]
        alone = ask(
            world(*[rule for rule in rules if not rule.mask]),
            candidate.deployment.name,
            label=claim,
            scan=found(*left, unscanned=frozenset(unscanned)),
        )
        assert order(alone) == [candidate.deployment.name]


def _covered(names: frozenset[str], kinds: list[str]) -> frozenset[str]:
    return frozenset(kind for kind in kinds if any(found(kind).has(name) for name in names))
