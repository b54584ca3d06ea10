from __future__ import annotations

from pathlib import Path

import pytest

from llmproxyd.values.snapshot import Holds, Privacy, Zone
from tests.config.building import PROVIDERS, build, codes_of, marked, only_problem, snapshot_of


def test_without_a_word_the_fence_is_as_usual(tmp_path: Path) -> None:
    assert snapshot_of(build(tmp_path)).privacy == Privacy()


def test_what_is_written_replaces_the_usual_one_by_one(tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, "privacy: {default_label: public, clearance: {external: public}}")
    privacy = snapshot_of(loaded).privacy
    assert privacy.default_label == 0
    assert privacy.clearance == {Zone.EXTERNAL: 0, Zone.PRIVATE: 2, Zone.LOCAL: 3}


def test_labels_of_ones_own_are_ranked_as_listed(tmp_path: Path) -> None:
    routing = """
        privacy:
          labels: [green, red]
          default_label: red
          clearance: {external: green, private: green, local: red}
    """
    privacy = snapshot_of(build(tmp_path, PROVIDERS, routing)).privacy
    assert (privacy.labels, privacy.default_label) == (("green", "red"), 1)
    assert privacy.clearance == {Zone.EXTERNAL: 0, Zone.PRIVATE: 0, Zone.LOCAL: 1}


@pytest.mark.parametrize(
    "privacy",
    [
        "labels: [a, b]",
        "labels: [a, b], default_label: a",
        "labels: [a, b], default_label: a, clearance: {external: a, private: a}",
    ],
)
def test_whoever_renames_the_labels_has_to_say_who_may_see_them(privacy: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, f"privacy: {{{privacy}}}")
    assert loaded.snapshot is None
    assert set(codes_of(loaded)) == {"LP103"}


@pytest.mark.parametrize(
    "privacy", ["default_label: interna", "clearance: {private: interna}", "clearance: {local: interna}"]
)
def test_an_unknown_label_is_told_with_the_one_that_is_meant(privacy: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, f"privacy: {{{privacy}}}")
    problem = only_problem(loaded, "LP203")
    assert marked(problem, loaded) == "interna"
    assert problem.helps[0] == "did you mean `internal`?"


def test_what_to_look_for_is_read_with_its_labels(tmp_path: Path) -> None:
    routing = r"""
        privacy:
          detect:
            - {kinds: [secret, national_id.us_ssn], label: restricted}
            - {kinds: code_name, label: confidential}
            - {kinds: pii, label: internal}
          unscanned: {image: internal, file: confidential}
          patterns:
            code_name: [Falcon, Blue Bird]
            staff.number: '\bS-[0-9]{6}\b'
    """
    privacy = snapshot_of(build(tmp_path, PROVIDERS, routing)).privacy
    assert [(rule.kinds, rule.label) for rule in privacy.detect] == [
        (("secret", "national_id.us_ssn"), 3),
        (("code_name",), 2),
        (("pii",), 1),
    ]
    assert [(own.kind, own.pattern, own.words) for own in privacy.patterns] == [
        ("code_name", "", ("Falcon", "Blue Bird")),
        ("staff.number", r"\bS-[0-9]{6}\b", ()),
    ]
    ranks = {
        kind: privacy.rank_of_kind(kind) for kind in ("secret.jwt", "national_id.us_ssn", "email", "other")
    }
    assert ranks == {"secret.jwt": 3, "national_id.us_ssn": 3, "email": 1, "other": None}
    assert [privacy.rank_of_unscanned(kind) for kind in ("image", "audio", "file", "text")] == [1, 3, 2, 3]


@pytest.mark.parametrize(
    ("privacy", "marked_text", "suggestion"),
    [
        (
            "detect: [{kinds: [emali], label: restricted}]",
            "emali",
            "did you mean `email`?",
        ),
        (
            "detect: [{kinds: national_id.us_sn, label: restricted}]",
            "national_id.us_sn",
            "did you mean `national_id`?",
        ),
        (
            "detect: [{kinds: secret.aws, label: restricted}]",
            "secret.aws",
            "did you mean `secret`?",
        ),
        (
            "patterns: {email: [me]}",
            "email",
            "give it another name, such as `own_email`",
        ),
    ],
)
def test_a_kind_nobody_looks_for_is_told(
    privacy: str, marked_text: str, suggestion: str, tmp_path: Path
) -> None:
    loaded = build(tmp_path, PROVIDERS, f"privacy: {{{privacy}}}")
    problem = only_problem(loaded, "LP211")
    assert marked(problem, loaded) == marked_text
    assert problem.helps[0] == suggestion


def test_a_pattern_that_is_none_and_a_label_that_is_none_are_told(tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, "privacy: {patterns: {x: '('}}")
    assert codes_of(loaded) == ["LP302"]
    loaded = build(tmp_path, PROVIDERS, "privacy: {unscanned: {image: secrett}}")
    assert codes_of(loaded) == ["LP203"]
    loaded = build(tmp_path, PROVIDERS, "privacy: {detect: [{kinds: [email], label: secrett}]}")
    assert codes_of(loaded) == ["LP203"]


def test_a_condition_on_data_reads_kinds_and_groups(tmp_path: Path) -> None:
    rule = "pipeline: {privacy: [{name: r, when: {data: [pii, code_name]}, reject: no}]}"
    patterns = "privacy: {patterns: {code_name: [Falcon]}}"
    (built,) = snapshot_of(build(tmp_path, PROVIDERS, f"{patterns}\n{rule}\n")).rules
    assert built.when == Holds(("pii", "code_name"))
    problem = only_problem(build(tmp_path, PROVIDERS, rule), "LP211")
    assert problem.helps[0] != ""
