from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.expressions import compile_pattern
from llmproxyd.routing.match import Facts, compile_condition
from llmproxyd.values.plan import Question
from llmproxyd.values.snapshot import (
    Absent,
    AllOf,
    AnyOf,
    Condition,
    During,
    HasAll,
    Matches,
    Not,
    OneOf,
    Range,
)
from tests.config.building import PROVIDERS, build, codes_of, marked, only_problem, snapshot_of


def condition(tmp_path: Path, when: str, stage: str = "cost") -> Condition | None:
    (rule,) = snapshot_of(build(tmp_path, PROVIDERS, rule_with(when, stage))).rules
    return rule.when


def rule_with(when: str, stage: str = "cost") -> str:
    return f"pipeline:\n  {stage}:\n    - name: r\n      reject: because\n      when: {when}\n"


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("{project: hr}", OneOf("project", ("hr",))),
        ("{project: [hr, legal]}", OneOf("project", ("hr", "legal"))),
        ("{project: {any: [hr, legal]}}", OneOf("project", ("hr", "legal"))),
        ("{project: absent}", Absent("project")),
        ("{project: [absent]}", OneOf("project", ("absent",))),
        ("{user: a}", OneOf("user", ("a",))),
        ("{tenant: absent}", Absent("tenant")),
        ("{task: code}", OneOf("task", ("code",))),
        ("{model: [smart, fast]}", OneOf("model", ("smart", "fast"))),
        ("{surface: openai-chat}", OneOf("surface", ("openai-chat",))),
        ("{operation: {any: [chat]}}", OneOf("operation", ("chat",))),
        ("{priority: batch}", OneOf("priority", ("batch",))),
        ("{stream: false}", OneOf("stream", (False,))),
        ("{label: restricted}", OneOf("label", ("restricted",))),
        ("{label: [public, internal]}", OneOf("label", ("public", "internal"))),
        ("{label: {gte: confidential}}", Range("label", gte=2.0)),
        ("{label: {gt: public, lte: confidential}}", Range("label", gt=0.0, lte=2.0)),
        ("{has: tools}", HasAll(("tools",))),
        ("{has: [tools, images]}", HasAll(("tools", "images"))),
        ("{has: {any: [tools, images]}}", AnyOf((HasAll(("tools",)), HasAll(("images",))))),
        ("{tokens_in: {gte: 4_000}}", Range("tokens_in", gte=4000.0)),
        ("{tokens_in: {gt: 1, lt: 10}}", Range("tokens_in", gt=1.0, lt=10.0)),
        ("{tokens_in: 5}", Range("tokens_in", gte=5.0, lte=5.0)),
        ("{temperature: {lte: 0}}", Range("temperature", lte=0.0)),
        ("{temperature: absent}", Absent("temperature")),
        ("{n: 2}", Range("n", gte=2.0, lte=2.0)),
        ("{header: {X-Team: hr}}", OneOf("header", ("hr",), "x-team")),
        ("{header: {X-Team: absent}}", Absent("header", "x-team")),
        (
            "{metadata: {Env: [prod, test], Run: absent}}",
            AllOf((OneOf("metadata", ("prod", "test"), "Env"), Absent("metadata", "Run"))),
        ),
        ("{not: {has: [tools]}}", Not(HasAll(("tools",)))),
        ("{not: {}}", Not(AllOf(()))),
        (
            "{any: [{project: hr}, {stream: true}]}",
            AnyOf((OneOf("project", ("hr",)), OneOf("stream", (True,)))),
        ),
        (
            "{project: hr, stream: true, any: [{n: 1}]}",
            AllOf(
                (OneOf("project", ("hr",)), OneOf("stream", (True,)), AnyOf((Range("n", gte=1.0, lte=1.0),)))
            ),
        ),
        ("{}", None),
    ],
)
def test_what_is_written_is_what_is_meant(when: str, expected: Condition | None, tmp_path: Path) -> None:
    assert condition(tmp_path, when) == expected


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (
            "{days: mon-fri, between: ['09:00', '18:00'], zone: Europe/Berlin}",
            ({0, 1, 2, 3, 4}, 540, 1080, "Europe/Berlin"),
        ),
        ("{days: [sat, sun]}", ({5, 6}, 0, 1440, "UTC")),
        ("{days: sat-mon}", ({5, 6, 0}, 0, 1440, "UTC")),
        ("{days: [mon, wed-thu]}", ({0, 2, 3}, 0, 1440, "UTC")),
        ("{days: tue}", ({1}, 0, 1440, "UTC")),
        ("{between: [22:00, 06:00]}", ({0, 1, 2, 3, 4, 5, 6}, 1320, 360, "UTC")),
        ("{between: ['18:30', '24:00']}", ({0, 1, 2, 3, 4, 5, 6}, 1110, 1440, "UTC")),
    ],
)
def test_times_become_minutes_and_days(
    time: str, expected: tuple[set[int], int, int, str], tmp_path: Path
) -> None:
    days, start, end, zone = expected
    assert condition(tmp_path, f"{{time: {time}}}") == During(frozenset(days), start, end, zone)


def test_a_prompt_is_searched_with_re2(tmp_path: Path) -> None:
    found = condition(tmp_path, r"""{prompt: '(?i)\bsalary\b'}""")
    assert isinstance(found, Matches)
    assert found.regex.search("his Salary is")
    assert not found.regex.search("salaryman")
    several = condition(tmp_path, "{prompt: [a+, b+]}")
    assert isinstance(several, AnyOf)
    assert [each.pattern for each in several.conditions if isinstance(each, Matches)] == ["a+", "b+"]


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("'(?=a)b'", "'(?=a)b'"),
        ("[fine, 'a(b']", "'a(b'"),
        ("{any: ['[z-a]']}", "'[z-a]'"),
        (r"'(a)\1'", r"'(a)\1'"),
    ],
)
def test_a_pattern_re2_does_not_take_is_marked(prompt: str, shown: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, rule_with(f"{{prompt: {prompt}}}"))
    problem = only_problem(loaded, "LP302")
    assert marked(problem, loaded) == shown
    assert "RE2" in problem.helps[0]


def test_a_pattern_that_explodes_elsewhere_is_matched_in_linear_time() -> None:
    assert compile_pattern("(a+)+$").search("a" * 100_000 + "b") is None


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        regex = compile_pattern(text)
    except ValueError:
        return
    regex.search("some text")


@pytest.mark.parametrize(
    ("when", "code", "shown"),
    [
        ("{label: secrit}", "LP203", "secrit"),
        ("{label: [public, secrit]}", "LP203", "secrit"),
        ("{label: {any: [secrit]}}", "LP203", "secrit"),
        ("{not: {label: {gte: secrit}}}", "LP203", "secrit"),
        ("{time: {zone: Europe/Berln}}", "LP105", "Europe/Berln"),
        ("{time: {zone: ../../etc/passwd}}", "LP105", "../../etc/passwd"),
        ("{time: {zone: Europe}}", "LP105", "Europe"),
        ("{time: {between: ['9:00', '18:00']}}", "LP105", "'9:00'"),
        ("{time: {between: ['09:00', '25:00']}}", "LP105", "'25:00'"),
        ("{time: {days: mon-fry}}", "LP105", "mon-fry"),
        ("{has: [tolls]}", "LP104", "tolls"),
        ("{surface: openai}", "LP104", "openai"),
        ("{operation: chats}", "LP104", "chats"),
        ("{priority: urgent}", "LP104", "urgent"),
        ("{temperature: missing}", "LP104", "missing"),
        ("{projekt: hr}", "LP101", "projekt"),
        ("{any: [{projekt: hr}]}", "LP101", "projekt"),
        ("{tokens_in: {min: 5}}", "LP101", "min"),
        ("{n: .nan}", "LP105", ".nan"),
    ],
)
def test_a_condition_that_could_never_hold_is_refused_at_its_place(
    when: str, code: str, shown: str, tmp_path: Path
) -> None:
    loaded = build(tmp_path, PROVIDERS, rule_with(when))
    assert marked(only_problem(loaded, code), loaded) == shown


@pytest.mark.parametrize(
    "when",
    [
        "{tokens_in: {gte: 10, lt: 10}}",
        "{temperature: {gt: 1, lt: 0.5}}",
        "{label: {gt: restricted, lte: public}}",
    ],
)
def test_an_empty_range_is_a_warning(when: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, rule_with(when))
    assert codes_of(loaded) == ["LP303"]
    assert loaded.snapshot is not None


def test_a_range_of_one_number_is_none(tmp_path: Path) -> None:
    assert codes_of(build(tmp_path, PROVIDERS, rule_with("{tokens_in: {gte: 10, lte: 10}}"))) == []


@pytest.mark.parametrize("claim", ["project: hr", "user: a", "task: t", "label: public", "header: {x-a: b}"])
def test_a_privacy_rule_that_rests_on_a_claim_warns(claim: str, tmp_path: Path) -> None:
    for when in (f"{{{claim}}}", f"{{not: {{{claim}}}}}", f"{{any: [{{stream: true}}, {{{claim}}}]}}"):
        loaded = build(tmp_path, PROVIDERS, rule_with(when, "privacy"))
        problem = only_problem(loaded, "LP402")
        assert marked(problem, loaded) == claim.partition(":")[0]
        assert loaded.snapshot is not None


@pytest.mark.parametrize(
    "fact", ["prompt: x", "has: [files]", "tokens_in: {gt: 5}", "model: a", "metadata: {a: b}"]
)
def test_a_privacy_rule_on_what_the_request_is_does_not_warn(fact: str, tmp_path: Path) -> None:
    assert codes_of(build(tmp_path, PROVIDERS, rule_with(f"{{{fact}}}", "privacy"))) == []


def test_claims_in_other_stages_are_fine(tmp_path: Path) -> None:
    assert codes_of(build(tmp_path, PROVIDERS, rule_with("{project: hr}", "performance"))) == []


ACME = "tenants: {acme: {keys: ['sha256:" + "a1" * 32 + "']}, absent: {keys: ['sha256:" + "b2" * 32 + "']}}\n"


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("{tenant: acme}", OneOf("tenant", ("acme",))),
        ("{tenant: [acme, absent]}", OneOf("tenant", ("acme", "absent"))),
        ("{tenant: {any: [acme]}}", OneOf("tenant", ("acme",))),
        ("{not: {tenant: acme}}", Not(OneOf("tenant", ("acme",)))),
    ],
)
def test_a_tenant_that_is_declared_may_be_asked_for(when: str, expected: Condition, tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, ACME + rule_with(when, "privacy"))
    (rule,) = snapshot_of(loaded).rules
    assert rule.when == expected
    assert codes_of(loaded) == []  # no claim: a key says who it is


@pytest.mark.parametrize("when", ["{tenant: akme}", "{tenant: [acme, akme]}", "{tenant: {any: [akme]}}"])
def test_an_unknown_tenant_is_an_error_with_a_suggestion(when: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, ACME + rule_with(when))
    problem = only_problem(loaded, "LP209")
    assert loaded.snapshot is None
    assert marked(problem, loaded) == "akme"
    assert problem.helps == ("did you mean `acme`?", "declared tenants: absent, acme")


@pytest.mark.parametrize(
    ("when", "tenant", "holds"),
    [
        ("{tenant: acme}", "acme", True),
        ("{tenant: acme}", "absent", False),
        ("{tenant: acme}", None, False),
        ("{tenant: absent}", None, True),
        ("{tenant: absent}", "absent", False),
        ("{not: {tenant: acme}}", None, True),
    ],
)
def test_a_condition_on_the_tenant_is_about_the_key_that_was_shown(
    when: str, tenant: str | None, holds: bool, tmp_path: Path
) -> None:
    (rule,) = snapshot_of(build(tmp_path, PROVIDERS, ACME + rule_with(when))).rules
    facts = Facts(Question("m", tenant=tenant), 1, "internal")
    assert compile_condition(rule.when)(facts) is holds
