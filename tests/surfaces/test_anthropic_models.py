from __future__ import annotations

import json

from anthropic.types import ModelInfo

from llmproxyd.surfaces.anthropic_models import format_model, format_models


def test_the_list_is_one_page_that_the_official_client_reads() -> None:
    document = json.loads(format_models(["auto", "anthropic/claude-opus-5-5"], 1_790_000_000))
    assert [entry["id"] for entry in document["data"]] == ["auto", "anthropic/claude-opus-5-5"]
    assert (document["has_more"], document["first_id"], document["last_id"]) == (
        False,
        "auto",
        "anthropic/claude-opus-5-5",
    )
    for entry in document["data"]:
        ModelInfo.model_validate(entry, strict=False)
    assert document["data"][0]["created_at"] == "2026-09-21T14:13:20Z"


def test_an_empty_list() -> None:
    assert json.loads(format_models([], 0)) == {
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


def test_a_single_model() -> None:
    assert ModelInfo.model_validate_json(format_model("auto", 5)).id == "auto"
