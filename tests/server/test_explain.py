"""A decision as a document: everything that was decided, nothing that was said."""

from __future__ import annotations

import json

from llmproxyd.server.explain import explain_plan
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Candidate, KnownPrompt, Plan, Question, Verdict
from llmproxyd.values.request import Dialect, Overrides
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import (
    Deployment,
    FallbackPolicy,
    Place,
    Provider,
    Stage,
    Target,
    TargetKind,
    Zone,
)

PROVIDER = Provider(
    "openai",
    "openai",
    Dialect.OPENAI_CHAT,
    "https://api.example/v1",
    Zone.EXTERNAL,
    1,
    secret=Secret("sk-canary"),
)
FAST = Deployment("openai/fast", PROVIDER, "fast", "fast-2026")
SLOW = Deployment("openai/slow", PROVIDER, "slow", "slow")
POLICY = FallbackPolicy(
    on=frozenset({FailureKind.TIMEOUT, FailureKind.OVERLOADED}), attempts=2, deadline_s=60.0
)
QUESTION = Question("smart", prompt=KnownPrompt(text="the secret plan"))
PLAN = Plan(
    target=Target("smart", TargetKind.SET, (FAST, SLOW), place=Place("routing.yaml", 4, 3)),
    candidates=(
        Candidate(
            FAST,
            (Verdict(Stage.COST, "cheapest first", "0.1 USD expected"),),
            (0, float("inf"), "openai/fast"),
        ),
    ),
    dropped=(Candidate(SLOW, (Verdict(None, "", "has no tools", dropped=True),)),),
    fallback=POLICY,
    label="internal",
    label_rank=1,
    label_sources=("default",),
    overrides=Overrides(temperature=0.0),
    rules=("cheapest first",),
)


def test_a_plan_is_told_completely() -> None:
    assert explain_plan(QUESTION, PLAN) == {
        "version": 1,
        "model": "smart",
        "target": {
            "name": "smart",
            "kind": "set",
            "deployments": ["openai/fast", "openai/slow"],
            "weights": [],
            "place": "routing.yaml:4:3",
        },
        "label": {"name": "internal", "sources": ["default"]},
        "rules": ["cheapest first"],
        "overrides": {"temperature": 0.0},
        "candidates": [
            {
                "deployment": "openai/fast",
                "provider": "openai",
                "model": "fast",
                "upstream": "fast-2026",
                "zone": "external",
                "rank": [0, "last", "openai/fast"],
                "verdicts": [
                    {
                        "stage": "cost",
                        "rule": "cheapest first",
                        "reason": "0.1 USD expected",
                        "dropped": False,
                    }
                ],
            }
        ],
        "dropped": [
            {
                "deployment": "openai/slow",
                "provider": "openai",
                "model": "slow",
                "upstream": "slow",
                "zone": "external",
                "rank": [],
                "verdicts": [{"stage": None, "rule": "", "reason": "has no tools", "dropped": True}],
            }
        ],
        "fallback": {
            "on": ["overloaded", "timeout"],
            "attempts": 2,
            "deadline_s": 60.0,
            "retry_max": 1,
            "retry_base_s": 0.2,
            "retry_cap_s": 5.0,
        },
        "failure": None,
    }


def test_a_refusal_is_told_with_its_kind_and_status() -> None:
    failure = Failure(FailureKind.NOT_FOUND, "There is no model `smrt`.")
    plan = Plan(None, (), (), POLICY, "internal", 1, failure=failure)
    told = explain_plan(Question("smrt"), plan)
    assert told["target"] is None
    assert told["failure"] == {"kind": "not_found", "message": "There is no model `smrt`.", "status": 404}


def test_neither_content_nor_secrets_are_told_and_it_is_strict_json() -> None:
    text = json.dumps(explain_plan(QUESTION, PLAN), allow_nan=False)
    assert "secret plan" not in text
    assert "canary" not in text
