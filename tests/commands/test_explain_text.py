"""An explanation as people see it; the document is the one that --json prints."""

from __future__ import annotations

from llmproxyd.commands.explain_text import format_explanation
from llmproxyd.server.explain import explain_plan
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Candidate, Plan, Question, Verdict
from llmproxyd.values.request import Dialect, Overrides
from llmproxyd.values.snapshot import (
    Deployment,
    FallbackPolicy,
    Place,
    Privacy,
    Provider,
    Stage,
    Target,
    TargetKind,
    Zone,
)

LAB = Provider("lab", "vllm", Dialect.OPENAI_CHAT, "http://lab/v1", Zone.LOCAL, 3)
CLOUD = Provider("openai", "openai", Dialect.OPENAI_CHAT, "https://api.example/v1", Zone.EXTERNAL, 1)
SMALL = Deployment("lab/small", LAB, "small", "small")
BIG = Deployment("openai/big", CLOUD, "big", "big-2026-01-01")
POLICY = FallbackPolicy(on=frozenset({FailureKind.TIMEOUT, FailureKind.OVERLOADED}), deadline_s=120.0)
NO_CLEARANCE = Verdict(
    Stage.PRIVACY, "", "external may see internal, the label is confidential", dropped=True
)
PLAN = Plan(
    target=Target("smart", TargetKind.SET, (SMALL, BIG), place=Place("routing.yaml", 4, 3)),
    candidates=(
        Candidate(
            SMALL, (Verdict(Stage.COST, "cheapest first", "free"),), (0, 0.25, float("inf"), "lab/small")
        ),
    ),
    dropped=(Candidate(BIG, (Verdict(Stage.COST, "cheapest first", "0.1 USD"), NO_CLEARANCE)),),
    fallback=POLICY,
    label="confidential",
    label_rank=2,
    label_sources=("header", "rule hr stays home"),
    overrides=Overrides(temperature=0.0),
    rules=("hr stays home", "cheapest first"),
)


def told(plan: Plan, *offline: str) -> str:
    document = explain_plan(Question("smart"), plan, Privacy()) | {"offline": list(offline)}
    return format_explanation(document, lambda text, style: text)


def test_a_page_tells_the_way_to_the_decision() -> None:
    assert told(PLAN, "ollama") == (
        "smart: 2 deployments, ranked by the pipeline  (routing.yaml:4:3)\n"
        "label: confidential (header, rule hr stays home)\n"
        "rules: hr stays home, cheapest first\n"
        "set: temperature = 0.0\n"
        "\n"
        "1. lab/small  (local)\n"
        "     cost         cheapest first: free\n"
        "     rank         0 0.25 last lab/small\n"
        "\n"
        "kept out by the fence\n"
        "   openai/big  (external, known there as big-2026-01-01)\n"
        "     privacy      external may see internal, the label is confidential\n"
        "\n"
        "fallback: up to 3 attempts within 120 s; the same one again at most 1x, after 0.2 to 5 s; on\n"
        "   overloaded, timeout\n"
        "note: ollama: the server says which models it has; offline they are unknown and left out"
    )


def test_a_refusal_tells_its_status_and_no_fallback() -> None:
    failure = Failure(FailureKind.NOT_FOUND, "There is no model `smart`.")
    page = told(Plan(None, (), (), POLICY, "internal", 1, failure=failure))
    assert page.startswith("smart: no such name\nlabel: internal (default)\nrules: none applied\n")
    assert page.endswith("refused with 404 (not_found):\n   There is no model `smart`.")
    assert "fallback" not in page


def test_fallback_that_is_off_is_told_as_such() -> None:
    off = FallbackPolicy(on=frozenset(), attempts=1)
    plan = Plan(PLAN.target, PLAN.candidates, (), off, "internal", 1)
    assert "fallback: off; one attempt and no more" in told(plan)


def test_a_name_cannot_steer_the_terminal() -> None:
    failure = Failure(FailureKind.NOT_FOUND, "no model \x1b[2J")
    plan = Plan(None, (), (), POLICY, "internal", 1, failure=failure)
    document = explain_plan(Question("\x1b]0;gotcha\x07"), plan, Privacy()) | {"offline": []}
    assert "\x1b" not in format_explanation(document, lambda text, style: text)
