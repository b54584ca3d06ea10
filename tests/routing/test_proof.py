"""What is said to hold holds, and what is said not to can be shown: for the fence, and for what operators assert."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import Random
from typing import Any

import pytest

from llmproxyd.config.expressions import compile_pattern
from llmproxyd.routing.proof import MOST_WORLDS, Hole, Undecided, prove
from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    AllOf,
    Assertion,
    Condition,
    DetectRule,
    During,
    FallbackPolicy,
    HasAll,
    Holds,
    Matches,
    Not,
    OneOf,
    Privacy,
    Range,
    Requirement,
    Rule,
    Zone,
)
from tests.routing.brute import breaks, random_snapshot
from tests.routing.build import cost, deployment, privacy, provider, snapshot, usd

LAB = deployment("lab/q", provider("lab", Zone.LOCAL), price=usd(1))
OUT = deployment("out/q", provider("out"), price=usd(1))
OTHER = deployment("out/z", provider("out"), price=usd(1))
HR = OneOf("project", ("hr",))
HOME = Requirement(zones=(Zone.LOCAL,))


def never(when: Condition, *zones: Zone, providers: tuple[str, ...] = ()) -> Assertion:
    return Assertion(when, zones, providers)


def holes(*rules: Rule, of: Assertion | None = None, **changes: Any) -> list[Hole | Undecided]:
    assertions = (of or never(HR, Zone.EXTERNAL),)
    return list(prove(snapshot(LAB, OUT, OTHER, rules=rules, assertions=assertions, **changes)))


def only(found: list[Hole | Undecided]) -> Hole:
    (hole,) = found
    assert isinstance(hole, Hole)
    return hole


def test_without_assertions_a_sound_fence_has_no_hole() -> None:
    assert prove(snapshot(LAB, OUT, rules=(privacy(when=HR, label=3),))) == ()


def test_a_rule_that_keeps_it_at_home_is_enough() -> None:
    assert holes(privacy(when=HR, require=HOME)) == []


def test_a_hole_comes_with_its_request_and_path() -> None:
    hole = only(holes())
    assert (hole.deployment, hole.label) == ("out/q", "internal")
    assert "project: hr" in hole.request
    assert hole.path == ("lab/q down", "out/q")


def test_a_rule_with_a_way_around_it_is_no_fence() -> None:
    around = AllOf((HR, Not(HasAll(("files",)))))
    assert only(holes(privacy(when=around, require=HOME))).request == (
        "model: auto",
        "project: hr",
        "has: files",
    )


def test_a_pattern_can_be_missed() -> None:
    seen = Matches("prompt", "salary", compile_pattern("salary"))
    assert holes(privacy(when=AllOf((HR, seen)), require=HOME)) != []
    missed = holes(privacy(when=AllOf((HR, Not(seen))), require=HOME))
    assert "prompt matches salary" in only(missed).request


def test_findings_raise_the_label_and_so_keep_data_in() -> None:
    mail = never(Holds(("email",)), Zone.EXTERNAL)
    assert "data: email" in only(holes(of=mail)).request
    assert holes(of=mail, privacy=Privacy(detect=(DetectRule(("pii",), 3),))) == []


def test_a_group_holds_only_if_all_its_kinds_do() -> None:
    pii = never(Holds(("pii",)), Zone.EXTERNAL)
    hole = only(holes(of=pii, privacy=Privacy(detect=(DetectRule(("email", "phone"), 3),))))
    assert not {"data: email", "data: phone"} & set(hole.request)


def test_a_label_is_the_one_that_counts_in_the_end() -> None:
    restricted = never(Range("label", gte=2.0), Zone.EXTERNAL)
    assert holes(privacy(when=HR, label=3), of=restricted) == []
    trusted = deployment("out/q", provider("out", clearance=3))
    assert len(prove(snapshot(trusted, assertions=(restricted,)))) == 1


def test_a_range_is_tried_at_its_borders() -> None:
    long = privacy(when=Range("tokens_in", gt=100.0), require=HOME)
    assert holes(long, privacy("short", when=Range("tokens_in", lte=100.0), require=HOME)) == []
    gap = holes(long, privacy("short", when=Range("tokens_in", lt=100.0), require=HOME))
    assert "tokens_in: 100.0" in only(gap).request


def test_the_hours_are_tried_too() -> None:
    week = frozenset(range(7))
    day = privacy(when=During(week, 8 * 60, 20 * 60, "Europe/Berlin"), require=HOME)
    night = privacy("night", when=During(week, 20 * 60, 8 * 60, "Europe/Berlin"), require=HOME)
    assert holes(day, night) == []
    late = privacy("night", when=During(week, 20 * 60 + 5, 8 * 60, "Europe/Berlin"), require=HOME)
    assert any(said.startswith("time: ") for said in only(holes(day, late)).request)


def test_another_model_after_a_failure_counts_as_reached() -> None:
    only_q = privacy(when=HR, exclude=Requirement(models=("out/q",)))
    across = never(AllOf((HR, OneOf("model", ("q",)))), providers=("out",))
    hole = only(holes(only_q, of=across))
    assert hole.path == ("rule fence", "lab/q fails with model_unavailable", "out/z")
    alone = FallbackPolicy(on=DEFAULT_FALLBACK_ON, across_models=False)
    assert holes(only_q, of=across, fallback=alone) == []


def test_who_is_too_dear_for_the_smallest_request_is_not_reached() -> None:
    unpriced = deployment("out/q", provider("out"))
    capped = cost(when=HR, max_cost_nanos=1)
    assert prove(snapshot(LAB, unpriced, rules=(capped,), assertions=(never(HR, Zone.EXTERNAL),))) == ()
    assert holes(capped) != []


def test_thirty_patterns_that_only_narrow_need_no_trying() -> None:
    rules = [
        privacy(f"w{n}", when=Matches("prompt", f"w{n}", compile_pattern(f"w{n}")), require=HOME)
        for n in range(30)
    ]
    assert holes(*rules, privacy(when=HR, require=HOME)) == []


def test_what_cannot_be_gone_through_is_never_said_to_hold() -> None:
    rules = [
        privacy(f"w{n}", when=Not(Matches("prompt", f"w{n}", compile_pattern(f"w{n}"))), require=HOME)
        for n in range(30)
    ]
    (found,) = holes(*rules)
    assert isinstance(found, Undecided)
    assert found.worlds > MOST_WORLDS


def agree(seed: int) -> bool:
    """Whether proof and trial say the same of one configuration; they must. -> the assertion holds."""
    given = random_snapshot(Random(seed))
    found, tried = prove(given), breaks(given)
    assert not any(isinstance(each, Undecided) for each in found), seed
    assert bool(found) == (tried is not None), f"seed {seed}: proof {found}, trial {tried}"
    return not found


def test_the_proof_agrees_with_trying_everything() -> None:
    held = sum(agree(seed) for seed in range(40))
    assert 8 < held < 36, "both outcomes are common, or nothing was compared"


@pytest.mark.proof
@pytest.mark.timeout(3000)
def test_the_proof_agrees_with_trying_everything_in_ten_thousand_configurations() -> None:
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        held = sum(pool.map(agree, range(1000, 11_000), chunksize=100))
    assert 1500 < held < 8500
