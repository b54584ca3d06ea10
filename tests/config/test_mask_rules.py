"""`mask` of a rule: where it works, which kinds it may name, and what would never happen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.building import build, codes_of, only_problem, place_of, snapshot_of

DETECT = "privacy: {detect: [{kinds: [email, phone, national_id], label: confidential}], patterns: {badge: 'B-[0-9]+'}}\n"


def routing(mask: str, stage: str = "privacy") -> str:
    return f"{DETECT}pipeline:\n  {stage}:\n    - {{name: contacts, mask: {mask}}}\n"


@pytest.mark.parametrize(
    ("written", "kinds"),
    [
        ("email", ("email",)),
        ("[email, phone]", ("email", "phone")),
        ("[pii]", ("pii",)),
        ("[national_id.us_ssn]", ("national_id.us_ssn",)),
    ],
)
def test_a_rule_holds_what_it_masks(tmp_path: Path, written: str, kinds: tuple[str, ...]) -> None:
    loaded = build(tmp_path, routing=routing(written))
    assert not loaded.problems
    (rule,) = snapshot_of(loaded).rules
    assert rule.mask == kinds


def test_an_unknown_kind_is_told_with_its_place_and_the_nearest(tmp_path: Path) -> None:
    problem = only_problem(build(tmp_path, routing=routing("[phone, emial]")), "LP211")
    assert "unknown kind of data `emial`" in problem.message
    assert any("`email`" in help_ for help_ in problem.helps)
    assert place_of(problem)[:2] == ("routing.yaml", 5)


def test_it_works_only_in_the_privacy_stage(tmp_path: Path) -> None:
    problem = only_problem(build(tmp_path, routing=routing("email", "cost")), "LP101")
    assert "works only in the privacy stage" in problem.message


def test_a_kind_that_raises_no_label_would_never_be_masked(tmp_path: Path) -> None:
    loaded = build(tmp_path, routing=routing("[email, badge]"))
    assert codes_of(loaded) == ["LP303"]
    problem = only_problem(loaded, "LP303")
    assert "`badge`" in problem.message
    assert any("privacy.detect" in help_ for help_ in problem.helps)
