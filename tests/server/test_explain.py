"""A decision as a document: everything that was decided, nothing that was said."""

from __future__ import annotations

import json

from llmproxyd.server.explain import explain_plan
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Candidate, KnownPrompt, Plan, Question, Verdict
from llmproxyd.values.privacy import Finding, Found, Scan, Unread
from llmproxyd.values.request import Dialect, Overrides
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import (
    Deployment,
    DetectRule,
    FallbackPolicy,
    Place,
    Privacy,
    Provider,
    Stage,
    Target,
    TargetKind,
    Zone,
)
from tests.support.records import replace

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
PRIVACY = Privacy(
    detect=(DetectRule(("payment_card",), 3), DetectRule(("email",), 2)), unscanned={"image": 1}
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
    assert explain_plan(QUESTION, PLAN, PRIVACY) == {
        "version": 1,
        "model": "smart",
        "target": {
            "name": "smart",
            "kind": "set",
            "deployments": ["openai/fast", "openai/slow"],
            "weights": [],
            "place": "routing.yaml:4:3",
        },
        "label": {"name": "internal", "sources": ["default"], "found": [], "unread": [], "failed": None},
        "fenced": [],
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
    told = explain_plan(Question("smrt"), plan, PRIVACY)
    assert told["target"] is None
    assert told["failure"] == {"kind": "not_found", "message": "There is no model `smrt`.", "status": 404}


def test_neither_content_nor_secrets_are_told_and_it_is_strict_json() -> None:
    text = json.dumps(explain_plan(QUESTION, PLAN, PRIVACY), allow_nan=False)
    assert "secret plan" not in text
    assert "canary" not in text


def test_each_finding_tells_kind_place_and_label_and_which_source_it_is() -> None:
    scan = Scan(
        (
            Found("messages[1].content", Finding("email", 3, 20, "email")),
            Found("messages[1].content", Finding("phone", 40, 50, "phone")),
            Found("metadata.who", Finding("payment_card", 0, 19, "number")),
        ),
        frozenset({"image", "text"}),
        unread=(Unread("messages[1].content[2]", "image"),),
    )
    plan = replace(PLAN, label="confidential", label_rank=2, label_sources=("default", "email found"))
    told = explain_plan(replace(QUESTION, scan=scan), plan, PRIVACY)["label"]
    assert told["found"] == [
        {
            "kind": "email",
            "place": "messages[1].content",
            "start": 3,
            "end": 20,
            "detector": "email",
            "label": "confidential",
            "source": "email found",
        },
        {
            "kind": "phone",
            "place": "messages[1].content",
            "start": 40,
            "end": 50,
            "detector": "phone",
            "label": None,
            "source": None,
        },
        {
            "kind": "payment_card",
            "place": "metadata.who",
            "start": 0,
            "end": 19,
            "detector": "number",
            "label": "restricted",
            "source": None,
        },
    ]
    assert told["unread"] == [
        {"kind": "image", "place": "messages[1].content[2]", "label": "internal", "source": None},
        {"kind": "text", "place": None, "label": "restricted", "source": None},
    ]


def test_nothing_unread_counts_where_nobody_looks() -> None:
    scan = Scan(unscanned=frozenset({"image"}), unread=(Unread("input[0]", "image"),))
    assert explain_plan(replace(QUESTION, scan=scan), PLAN, Privacy())["label"]["unread"] == []


def test_a_detector_that_broke_is_told() -> None:
    question = replace(QUESTION, scan=Scan(failed="ValueError in a detector: see its tests"))
    assert (
        explain_plan(question, PLAN, PRIVACY)["label"]["failed"] == "ValueError in a detector: see its tests"
    )


def test_whom_the_label_keeps_out_is_told_apart_from_whom_a_rule_keeps_out() -> None:
    by_label = Verdict(Stage.PRIVACY, "", "cleared up to `internal`", dropped=True)
    by_rule = Verdict(Stage.PRIVACY, "stay home", "excludes it", dropped=True)
    plan = replace(
        PLAN, dropped=(Candidate(FAST, (by_label,)), Candidate(SLOW, (by_rule,))), label="restricted"
    )
    assert explain_plan(QUESTION, plan, PRIVACY)["fenced"] == [
        {"deployment": "openai/fast", "clearance": "internal", "label": "restricted"}
    ]
