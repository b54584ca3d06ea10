"""Paths in words."""

from __future__ import annotations

from typing import Any

import pytest

from llmproxyd.config.places import Path, describe, dotted, look_up

DATA: dict[str, Any] = {
    "providers": {
        "lab": {"models": ["llama", {"id": "qwen"}, {"upstream": "x"}], "timeouts": {"total": "5m"}}
    },
    "pipeline": {"cost": [{"name": "cheap", "when": {"task": "a"}}, {"rank_by": "price"}]},
    "models": {"smart": [{"to": "a/b"}]},
}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ((), "the file"),
        (("providers",), "`providers`"),
        (("providers", "lab"), "provider `lab`"),
        (("providers", "lab", "timeouts", "total"), "`timeouts.total` of provider `lab`"),
        (("providers", "lab", "models", 0), "model `llama`"),
        (("providers", "lab", "models", 1), "model `qwen`"),
        (("providers", "lab", "models", 1, "price"), "`price` of model `qwen`"),
        (("providers", "lab", "models", 2), "`models[2]` of provider `lab`"),
        (("providers", "lab", "models", 9), "`models[9]` of provider `lab`"),
        (("pipeline", "cost", 0, "when", "task"), "`when.task` of rule `cheap`"),
        (("pipeline", "cost", 1), "`pipeline.cost[1]`"),
        (("pipeline", "cost"), "stage `cost`"),
        (("models", "smart"), "name `smart`"),
        (("models", "smart", 0, "to"), "`models.smart[0].to`"),
    ],
)
def test_a_place_is_told_by_what_stands_there(path: Path, words: str) -> None:
    assert describe(path, DATA) == words


def test_a_path_is_written_with_dots_and_brackets() -> None:
    assert dotted(("pipeline", "cost", 0, "when")) == "pipeline.cost[0].when"
    assert dotted((0, "a")) == "[0].a"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("providers", "lab", "models", 0), "llama"),
        ((), DATA),
        (("providers", "nobody"), None),
        (("providers", "lab", "models", "x"), None),
        (("providers", "lab", "models", 0, 0), None),
    ],
)
def test_a_path_leads_to_its_value_or_nowhere(path: Path, value: object) -> None:
    assert look_up(path, DATA) == value
