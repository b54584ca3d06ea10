from __future__ import annotations

from typing import Any

import pytest

from llmproxyd.cache.headers import NO_WISH, Wish
from llmproxyd.cache.key import Who
from llmproxyd.cache.policy import CacheUse, compile_cache, may_keep, plan_cache
from llmproxyd.routing.compile import compile_routes
from llmproxyd.routing.decide import decide
from llmproxyd.values.answer import Finish
from llmproxyd.values.plan import KnownPrompt, Plan, Question, Readings
from llmproxyd.values.request import Operation, Overrides
from llmproxyd.values.snapshot import CachePolicy, CacheRule, CacheScope, HasAll, Not, OneOf, Range, Zone
from tests.cache.asking import EMBEDDINGS, MESSAGES, RESPONSES, SECRET, plan_of, request_of
from tests.routing.build import cost, deployment, privacy, provider, snapshot
from tests.support.records import replace

COLD = CacheRule("cold", Range("temperature", lte=0.0), 60.0)
NOT_HR = CacheRule("not hr", OneOf("project", ("hr",)))
REST = CacheRule("rest", None, 5.0)
HOME = deployment("ollama/m", by=provider("ollama", Zone.LOCAL))


def use_of(
    *rules: CacheRule,
    wish: Wish = NO_WISH,
    who: Who = Who("acme"),  # noqa: B008 - frozen
    scope: CacheScope = CacheScope.TENANT,
    pipeline: Any = (),
    path: str = "/v1/chat/completions",
    fields: dict[str, Any] | None = None,
    form: str = "whole",
    **facts: Any,
) -> CacheUse:
    given = snapshot(
        deployment("openai/m"), HOME, rules=pipeline, cache=CachePolicy(scope=scope, rules=rules)
    )
    question = Question(model="auto", **facts)
    return plan_cache(
        compile_cache(given),
        request=request_of(path, **(fields or {})),
        question=question,
        plan=decide(question, compile_routes(given), Readings()),
        wish=wish,
        who=who,
        form=form,
        secret=SECRET,
    )


def test_the_first_rule_that_matches_decides() -> None:
    assert (use_of(COLD, REST, temperature=0.0).rule, use_of(COLD, REST, temperature=1.0).rule) == (
        "cold",
        "rest",
    )
    assert use_of(COLD, REST, temperature=0.0).ttl_s == 60.0


def test_without_a_rule_that_matches_nothing_is_kept() -> None:
    assert use_of() == CacheUse(reason="no rule of `cache` says that anything is kept")
    assert use_of(COLD) == CacheUse(reason="no rule of `cache` matches")


def test_a_rule_may_say_that_nothing_is_kept() -> None:
    use = use_of(NOT_HR, REST, project="hr")
    assert (use.key, use.reason) == (None, "rule `not hr` of `cache` says off")
    assert use_of(NOT_HR, REST, project="it").key is not None


def test_conditions_are_those_of_the_pipeline() -> None:
    rule = CacheRule("programs", Not(HasAll(("tools",))), 5.0)
    assert use_of(rule).key is not None
    assert use_of(rule, prompt=KnownPrompt(has=frozenset({"tools"}))).key is None


@pytest.mark.parametrize("stage", [privacy, cost])
def test_a_pipeline_rule_that_forbids_it_is_final(stage: Any) -> None:
    pipeline = [stage("fresh", when=OneOf("task", ("news",)), cache_off=True)]
    use = use_of(REST, pipeline=pipeline, task="news")
    assert (use.key, use.reason) == (None, "rule `fresh` forbids it")
    assert use_of(REST, pipeline=pipeline, task="code").key is not None


def test_labels_above_what_goes_outside_stay_in_memory() -> None:
    assert [
        use_of(REST, label=label).persist for label in ("public", "internal", "confidential", "restricted")
    ] == [
        True,
        True,
        False,
        False,
    ]


def test_labels_do_not_share() -> None:
    assert use_of(REST, label="confidential").key != use_of(REST, label="restricted").key


def test_wishes_are_heard() -> None:
    off = use_of(REST, wish=Wish(read=False, write=False))
    assert (off.key, off.reason) == (None, "the client does not want it")
    refresh = use_of(REST, wish=Wish(read=False))
    assert (refresh.key, refresh.read, refresh.write) == (use_of(REST).key, False, True)
    only = use_of(REST, wish=Wish(only=True))
    assert (only.key, only.only) == (use_of(REST).key, True)
    assert use_of(wish=Wish(only=True)).only


def test_the_shorter_age_counts() -> None:
    assert use_of(REST).max_age_s == 5.0
    assert use_of(REST, wish=Wish(max_age_s=2.0)).max_age_s == 2.0
    assert use_of(REST, wish=Wish(max_age_s=60.0)).max_age_s == 5.0


def test_who_shares_with_whom_is_the_operators_choice() -> None:
    one, other = Who("acme", "k1", "u1"), Who("acme", "k2", "u2")
    shared = {
        scope: use_of(REST, scope=scope, who=one).key == use_of(REST, scope=scope, who=other).key
        for scope in CacheScope
    }
    assert shared == {CacheScope.TENANT: True, CacheScope.KEY: False, CacheScope.USER: False}
    assert "names none" in use_of(REST, scope=CacheScope.USER, who=Who("acme", "k1")).reason


def test_a_request_that_must_be_asked_anew_says_why() -> None:
    use = use_of(REST, path=RESPONSES, fields={"store": ...})
    assert (use.key, use.rule, use.reason) == (None, "rest", "it is to be kept by the provider")


def test_only_requests_that_read_and_write_fly_together() -> None:
    assert use_of(REST).flight_key is not None
    assert use_of(REST).flight_key != use_of(REST, form="text/event-stream").flight_key
    for wish in (Wish(read=False), Wish(only=True), Wish(read=False, write=False)):
        assert use_of(REST, wish=wish).flight_key is None


# --- answers ----------------------------------------------------------------------------------------------------

PLAN = plan_of()
LIMITED = request_of(max_tokens=5)
TOOLS = Finish.TOOL_CALLS


def kept(*finishes: Finish | None, request: Any = None, plan: Plan = PLAN, by: str = "openai/m") -> bool:
    return may_keep(request or request_of(), plan, by, finishes)


@pytest.mark.parametrize("ends", [(Finish.STOP,), (Finish.STOP_SEQUENCE,), (TOOLS,), (Finish.STOP, TOOLS)])
def test_answers_that_ended_well_are_kept(ends: tuple[Finish, ...]) -> None:
    assert kept(*ends)


@pytest.mark.parametrize(
    "ends",
    [
        (),
        (None,),
        (Finish.CONTENT_FILTER,),
        (Finish.REFUSAL,),
        (Finish.PAUSE,),
        (Finish.STOP, None),
        (Finish.LENGTH,),
    ],
)
def test_answers_that_were_cut_filtered_or_refused_are_not(ends: tuple[Finish | None, ...]) -> None:
    assert not kept(*ends)


def test_an_answer_that_ends_at_a_limit_is_kept_if_the_limit_was_asked_for() -> None:
    assert kept(Finish.LENGTH, request=LIMITED)
    assert kept(Finish.LENGTH, request=request_of(MESSAGES))
    assert kept(Finish.LENGTH, plan=replace(PLAN, overrides=Overrides(max_tokens=5)))


def test_an_answer_of_somebody_who_was_not_asked_for_is_not_kept() -> None:
    assert not kept(Finish.STOP, by="openai/smaller")


def test_embeddings_have_no_end_and_are_kept() -> None:
    request = request_of(EMBEDDINGS)
    assert request.operation is Operation.EMBEDDING
    assert kept(request=request)
    assert not kept(request=request, by="openai/other")
