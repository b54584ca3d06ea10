"""What a payload costs, to the nano-dollar: equal to a second reckoning in exact decimals, and to genai-prices where that
can read the payload."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.adapters.raw_usage import read_usage
from llmproxyd.config.prices import known_price, seller_named
from llmproxyd.values.cost import FREE, Price, Usage, components
from tests.money import expected
from tests.support.records import replace

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = [
    {"file": path.stem} | case
    for path in sorted((HERE / "golden").glob("*.json"))
    for case in json.loads(path.read_text())
]
NAMES = [f"{case['file']}: {case['name']}" for case in CASES]

EXPLAINED: Mapping[str, str] = {
    "openai_responses: one search": "it does not count the calls among the output; OpenAI charges each",
    "openai_responses: two searches, and a page opened": "the same; only searches are charged",
    "openai_responses: flex does not make searches cheaper": "the same",
    "others: only tokens": "it reads billed_units alone; without them the tokens are the best that is known",
    "others: ollama is free": "it lists no local server",
    "others: ollama, prompt known": "the same",
    "others: deepseek hits": "it reads OpenAI's field for the cache; DeepSeek's own says the same tokens",
    "others: moonshot tells the cache at the top": "it reads OpenAI's field for the cache only",
}
"""Where genai-prices comes to another sum, and why ours is right."""


def moment(case: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(case["at"]).replace(tzinfo=UTC)


def usage_of(case: Mapping[str, Any]) -> Usage:
    usage = read_usage(case["payload"], seller_named(case["provider"]) or case["provider"])
    assert usage is not None
    if "tier" not in case:
        return usage
    return replace(usage, tier=case["tier"])


def price_of(case: Mapping[str, Any]) -> Price:
    if case["provider"] == "ollama":
        return FREE
    listing = known_price(case["provider"], case["model"])
    assert listing is not None
    assert listing.prices is not None
    price = listing.prices.at(moment(case).timestamp())
    assert price is not None
    return price


def test_there_are_enough_of_every_dialect() -> None:
    assert len(CASES) >= 150
    shapes = [case["shape"] for case in CASES]
    assert all(shapes.count(shape) >= 15 for shape in ("anthropic", "chat", "responses", "gemini"))
    assert len(set(NAMES)) == len(NAMES)


def test_the_second_reckoning_shares_nothing_with_the_program() -> None:
    tree = ast.parse((HERE / "expected.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert modules == {"__future__", "json", "sys", "decimal", "pathlib", "typing"}


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_payload_costs_what_the_second_reckoning_says(case: dict[str, Any]) -> None:
    assert expected.expected_nanos(case) == case["nanos"], (
        "run tests/money/expected.py --write, and look at it"
    )
    usage = usage_of(case)
    charged = components(usage, price_of(case)).nanos if usage.cost_nanos is None else usage.cost_nanos
    assert charged == case["nanos"]


# --- against genai-prices ---------------------------------------------------------------------------------------

_FLAVORS = {
    ("openai", "chat"): "chat",
    ("openai", "responses"): "responses",
    ("azure", "chat"): "chat",
    ("azure", "responses"): "responses",
    ("x-ai", "chat-apart"): "chat",
    ("x-ai", "responses"): "responses",
    ("openrouter", "chat"): "chat",
    ("deepseek", "chat"): "chat",
    ("moonshotai", "chat"): "chat",
}
_CONTEXTS = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}


def as_answer(payload: dict[str, Any], shape: str) -> dict[str, Any]:
    """The payload as the whole answer that genai-prices wants to see."""
    if shape == "anthropic" and "result" in payload:
        return payload["result"]["message"]  # type: ignore[no-any-return]
    if payload.get("type") == "message_start":
        return payload["message"]  # type: ignore[no-any-return]
    if "response" in payload:
        return payload["response"].get("body", payload["response"])  # type: ignore[no-any-return]
    if "x_groq" in payload:
        return payload["x_groq"]  # type: ignore[no-any-return]
    if payload.get("type") == "message-end":
        return payload["delta"]  # type: ignore[no-any-return]
    if {"usage", "usageMetadata", "meta"}.isdisjoint(payload):
        return {"usageMetadata" if shape == "gemini" else "usage": payload}
    return payload


def theirs_nanos(case: dict[str, Any]) -> int | None:
    """What genai-prices makes of the payload; None: it cannot read it."""
    from genai_prices.data_snapshot import get_snapshot

    seller = seller_named(case["provider"])
    if seller is None:
        return None
    snapshot = get_snapshot()
    provider = next(p for p in snapshot.providers if p.id == seller)
    model = provider.find_model(case["model"], all_providers=snapshot.providers)
    flavor = _FLAVORS.get((seller, case["shape"]), "default")
    if case["file"] == "others" and "meta" in case["payload"]:
        flavor = "embeddings"
    if "embedding" in case["model"] and seller == "openai":
        flavor = "embeddings"
    assert model is not None
    try:
        _, usage = provider.extract_usage(as_answer(case["payload"], case["shape"]), api_flavor=flavor)
    except ValueError:
        return None
    tier = usage_of(case).tier
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        price = model.calc_price(
            usage,
            provider,
            genai_request_timestamp=moment(case),
            price_context=_CONTEXTS[tier] if tier else None,
        )
    return int((price.total_price * 10**9).to_integral_value(ROUND_HALF_UP))


def _comparable(case: dict[str, Any]) -> bool:
    """genai-prices has no use for what a provider says it took."""
    return usage_of(case).cost_nanos is None


@pytest.mark.parametrize(
    ("name", "case"),
    [(n, c) for n, c in zip(NAMES, CASES, strict=True) if _comparable(c)],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_genai_prices_comes_to_the_same_or_the_difference_is_explained(
    name: str, case: dict[str, Any]
) -> None:
    pytest.importorskip("genai_prices")
    theirs = theirs_nanos(case)
    if theirs is None or name in EXPLAINED:
        assert theirs != case["nanos"], "this is explained, but there is no difference"
        assert name in EXPLAINED, "genai-prices cannot read this: say so in the table"
        return
    assert theirs == case["nanos"]


def test_most_payloads_can_be_compared() -> None:
    pytest.importorskip("genai_prices")
    compared = [case for case in CASES if _comparable(case) and theirs_nanos(case) == case["nanos"]]
    assert len(compared) >= 130


def test_decimal_reckoning_is_exact() -> None:
    """The second reckoning would be worth nothing if it rounded on its way."""
    assert all(type(amount) is Decimal for row in expected.ROWS for amount in row[4].values())
