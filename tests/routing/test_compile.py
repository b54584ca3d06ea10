from __future__ import annotations

from llmproxyd.routing.compile import compile_routes
from llmproxyd.values.request import Operation
from llmproxyd.values.snapshot import OneOf, Stage, Target, TargetKind
from tests.routing.build import (
    cost,
    deployment,
    performance,
    privacy,
    provider,
    snapshot,
    target,
)

GPT = deployment("openai/gpt-5.6-sol")
AZURE = deployment("azure/gpt-5.6-sol", upstream="my-deployment")
CLAUDE = deployment("openrouter/anthropic/claude-opus-5.5", model="claude-opus-5-5")


def names_behind(model: str, *targets: Target) -> tuple[TargetKind, list[str]] | None:
    found = compile_routes(snapshot(GPT, AZURE, CLAUDE, targets=targets)).resolve(model)
    return (found.kind, [d.name for d in found.deployments]) if found else None


class TestNames:
    def test_a_provider_and_model_is_that_deployment(self) -> None:
        assert names_behind("openai/gpt-5.6-sol") == (TargetKind.EXPLICIT, ["openai/gpt-5.6-sol"])

    def test_a_plain_id_is_every_deployment_of_that_model(self) -> None:
        expected = (TargetKind.MODEL, ["openai/gpt-5.6-sol", "azure/gpt-5.6-sol"])
        assert names_behind("gpt-5.6-sol") == expected

    def test_a_deployment_goes_by_its_plain_model_and_its_upstream_name_too(self) -> None:
        expected = (TargetKind.EXPLICIT, ["openrouter/anthropic/claude-opus-5.5"])
        assert names_behind("openrouter/claude-opus-5-5") == expected
        assert names_behind("azure/my-deployment") == (TargetKind.EXPLICIT, ["azure/gpt-5.6-sol"])

    def test_an_alias_goes_before_a_deployment_of_the_same_name(self) -> None:
        alias = target("gpt-5.6-sol", TargetKind.SET, CLAUDE)
        expected = (TargetKind.SET, ["openrouter/anthropic/claude-opus-5.5"])
        assert names_behind("gpt-5.6-sol", alias) == expected

    def test_what_nobody_knows_is_none(self) -> None:
        assert names_behind("gpt-6") is None

    def test_those_offered_to_clients_can_be_served(self) -> None:
        keyless = deployment("gemini/pro", provider("gemini", configured=False, reason="set GEMINI_API_KEY"))
        names = [
            target("usable", TargetKind.SET, keyless, GPT),
            target("unusable", TargetKind.SET, keyless),
            target("empty", TargetKind.SET),
        ]
        routes = compile_routes(snapshot(GPT, keyless, targets=names))
        assert routes.listed_names() == ("auto", "usable")


def test_rules_are_read_in_stage_order_and_from_the_top_within_a_stage() -> None:
    rules = [performance("p"), cost("c1"), privacy("f"), cost("c2")]
    compiled = compile_routes(snapshot(GPT, rules=rules)).rules
    assert [(r.stage, r.name) for r in compiled] == [
        (Stage.PRIVACY, "f"),
        (Stage.COST, "c1"),
        (Stage.COST, "c2"),
        (Stage.PERFORMANCE, "p"),
    ]


def test_a_rule_without_a_condition_needs_no_test() -> None:
    rules = [cost("always"), cost("sometimes", when=OneOf("task", ("x",)))]
    compiled = compile_routes(snapshot(GPT, rules=rules)).rules
    assert compiled[0].applies is None
    assert compiled[1].applies is not None


def test_an_alias_that_lists_a_deployment_twice_or_one_that_is_not_there_yet_keeps_the_first_of_the_rest() -> (
    None
):
    later = deployment("ollama/llama3")
    alias = target("careful", TargetKind.LIST, AZURE, later, GPT, AZURE)
    routes = compile_routes(snapshot(GPT, AZURE, targets=[alias]))
    shortlist = routes.shortlists["careful"]
    assert [o.name for o in shortlist.fields[Operation.CHAT].options] == [
        "azure/gpt-5.6-sol",
        "openai/gpt-5.6-sol",
    ]
    assert list(shortlist.order.values()) == [0.0, 1.0]
