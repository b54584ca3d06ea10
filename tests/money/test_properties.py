"""What holds for every usage and every price."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.values.cost import FEMTOS_PER_NANO, Price, Step, Usage, components, cost_of, usd_text
from tests.support.records import replace

TOKENS = st.integers(0, 2_000_000)
RATE = st.integers(0, 200_000_000_000)
MAYBE = st.none() | RATE


@st.composite
def flat_prices(draw: st.DrawFn) -> Price:
    return Price(
        input=draw(RATE),
        output=draw(RATE),
        cached_input=draw(MAYBE),
        cache_write=draw(MAYBE),
        cache_write_1h=draw(MAYBE),
        input_audio=draw(MAYBE),
        output_audio=draw(MAYBE),
        cached_audio=draw(MAYBE),
        input_image=draw(MAYBE),
        output_image=draw(MAYBE),
        reasoning=draw(MAYBE),
        per_request_nanos=draw(st.integers(0, 10**8)),
        per_search_nanos=draw(st.integers(0, 10**8)),
    )


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """Flat, or with a step that makes everything dearer, as all that exist do."""
    price = draw(flat_prices())
    if draw(st.booleans()):
        return price
    dearer = {
        each.name: getattr(price, each.name) * 2
        for each in fields(Price)
        if each.init
        and each.name not in ("steps", "tiers", "per_request_nanos", "per_search_nanos")
        and getattr(price, each.name) is not None
    }
    return replace(price, steps=(Step(draw(TOKENS), replace(price, **dearer)),))


USAGES = st.builds(
    Usage,
    input_tokens=TOKENS,
    output_tokens=TOKENS,
    cache_read_tokens=TOKENS,
    cache_write_tokens=TOKENS,
    cache_write_1h_tokens=TOKENS,
    reasoning_tokens=TOKENS,
    input_audio_tokens=TOKENS,
    output_audio_tokens=TOKENS,
    web_searches=st.integers(0, 20),
    input_image_tokens=TOKENS,
    output_image_tokens=TOKENS,
    cached_audio_tokens=TOKENS,
    billed=st.none() | st.tuples(TOKENS, TOKENS),
)
_OUTPUT = ("output", "output_audio", "output_image", "reasoning")
_PIECES = ("web_search", "request")


@given(USAGES, prices())
def test_the_components_sum_to_the_total(usage: Usage, price: Price) -> None:
    found = components(usage, price)
    assert found.femtos == sum(line.femtos for line in found.lines)
    assert abs(found.nanos * FEMTOS_PER_NANO - found.femtos) * 2 <= FEMTOS_PER_NANO
    assert cost_of(usage, price) == found.nanos
    assert sum(Decimal(usd_text(line.femtos)) for line in found.lines) == Decimal(usd_text(found.femtos))


@given(USAGES, prices())
def test_every_token_is_charged_once(usage: Usage, price: Price) -> None:
    lines = components(usage, price).lines
    kinds = [line.kind for line in lines]
    assert len(set(kinds)) == len(kinds)
    read, written = usage.billed or (usage.input_tokens, usage.output_tokens)
    assert sum(line.amount for line in lines if line.kind in _OUTPUT) == written
    assert sum(line.amount for line in lines if line.kind not in (*_OUTPUT, *_PIECES)) == read


@given(USAGES, prices(), st.integers(1, 10_000))
def test_more_tokens_never_cost_less(usage: Usage, price: Price, more: int) -> None:
    before = components(usage, price).femtos
    for name in ("input_tokens", "output_tokens"):
        assert components(replace(usage, **{name: getattr(usage, name) + more}), price).femtos >= before


@given(USAGES, flat_prices())
def test_shares_at_the_common_rate_change_nothing(usage: Usage, price: Price) -> None:
    """A price that tells no kinds apart charges the two totals, whatever the shares say."""
    plain = Price(price.input, price.output)
    bare = Usage(usage.input_tokens, usage.output_tokens, billed=usage.billed)
    assert cost_of(replace(usage, web_searches=0), plain) == cost_of(bare, plain)


@given(USAGES, prices(), flat_prices())
def test_a_tier_is_a_price_of_its_own_and_others_pay_the_usual(
    usage: Usage, price: Price, batch: Price
) -> None:
    both = replace(price, tiers={"batch": batch})
    assert cost_of(replace(usage, tier="batch"), both) == cost_of(usage, batch)
    assert cost_of(replace(usage, tier="flex"), both) == cost_of(usage, price)


@pytest.mark.parametrize(
    ("femtos", "text"),
    [
        (0, "0.00"),
        (1, "0.000000000000001"),
        (10**15, "1.00"),
        (1_076_800 * 10**6, "0.0010768"),
        (5 * 10**14, "0.50"),
    ],
)
def test_money_is_written_in_exact_decimals(femtos: int, text: str) -> None:
    assert usd_text(femtos) == text


def test_half_a_nano_dollar_is_rounded_up_and_less_is_not() -> None:
    assert cost_of(Usage(1), Price(500_000)) == 1
    assert cost_of(Usage(1), Price(499_999)) == 0
