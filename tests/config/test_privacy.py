from __future__ import annotations

from pathlib import Path

import pytest

from llmproxyd.values.snapshot import Privacy, Zone
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
