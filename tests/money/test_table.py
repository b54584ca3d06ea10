"""The compiled table against the package it was made from: every model, below and above every border, in every tier, on
days around every change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from llmproxyd.config.prices import installed_version, table
from llmproxyd.values.cost import NANOS_PER_USD, Price
from tests.programs import skip

pytest.importorskip("genai_prices")

MOMENTS = [
    datetime.combine(day, time(hour), UTC)
    for day, hour in (
        (date(2025, 1, 1), 0),
        (date(2026, 8, 20), 2),
        (date(2026, 10, 20), 0),
        (date(2026, 11, 21), 2),
        (date(2027, 1, 1), 12),
    )
]
TIERS: dict[str | None, dict[str, str] | None] = {
    None: None,
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cached_audio",
    "output_image_mtok": "output_image",
}
LENGTHS = (0, 100_000, 100_001, 200_000, 900_000)


def theirs_usd(value: Any, length: int) -> Decimal:
    passed = [tier.price for tier in getattr(value, "tiers", ()) if length > tier.start]
    return Decimal(passed[-1]) if passed else Decimal(getattr(value, "base", value))


def ours(price: Price, tier: str | None, length: int) -> Price:
    served = price.tiers.get(tier, price) if tier else price
    return next((step.price for step in reversed(served.steps) if length > step.above_tokens), served)


def providers() -> list[Any]:
    from genai_prices.data import providers as found

    return found


@pytest.mark.parametrize("provider", providers(), ids=lambda provider: provider.id)
def test_every_rate_is_theirs_at_every_moment(provider: Any) -> None:
    if installed_version() != table().package_version:
        skip(
            f"genai-prices {installed_version()} is installed, the table is of {table().package_version}: run `make setup`"
        )
    for model in provider.models:
        listing = table().find(provider.id, model.id)
        assert listing is not None
        if listing.model != model.id or listing.prices is None:
            continue
        for moment in MOMENTS:
            price = listing.prices.at(moment.timestamp())
            for tier, context in TIERS.items():
                _compare(model.get_prices(moment, context), price, tier)


def _compare(theirs: Any, price: Price | None, tier: str | None) -> None:
    if price is None:
        assert vars(theirs).get("input_mtok") is None
        assert vars(theirs).get("output_mtok") is None
        return
    wanted = {name: vars(theirs)[unit] for unit, name in RATES.items() if vars(theirs).get(unit) is not None}
    for length in LENGTHS:
        rates = ours(price, tier, length)
        for name, value in wanted.items():
            # Binary fractions written out differ from what was meant by less than a nano-dollar.
            assert abs(theirs_usd(value, length) * NANOS_PER_USD - getattr(rates, name)) < 1


@pytest.mark.parametrize(
    "provider", ["openai", "anthropic", "google", "openrouter", "azure", "x-ai", "mistral"]
)
def test_a_spelling_means_the_model_it_means_to_them(provider: str) -> None:
    theirs = next(one for one in providers() if one.id == provider)
    for model in theirs.models:
        for spelling in (f"{model.id}-20260101", f"{model.id}-2026-01-01", f"x-{model.id}", model.id.upper()):
            meant = theirs.find_model(spelling, all_providers=providers())
            found = table().find(provider, spelling)
            if meant is not None:
                assert found is not None
                assert found.model == meant.id
            elif found is not None:
                assert spelling.lower() == found.model.lower(), "only the id itself is known to us alone"
