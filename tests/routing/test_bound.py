"""The most a request can come to: never less than what any honest provider then charges."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.routing.bound import (
    FRAME_TOKENS,
    TOOLS_TOKENS,
    UNKNOWN_OUTPUT_TOKENS,
    UNKNOWN_WINDOW_TOKENS,
    Extent,
    at_most,
    extent_asked,
    extent_of,
)
from llmproxyd.values.budget import Bound
from llmproxyd.values.cost import FREE, NANOS_PER_USD, Dated, Price, PriceList, Step, Usage, cost_of
from llmproxyd.values.plan import Question
from llmproxyd.values.request import Capability, Dialect, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment, Quirks, Zone
from tests.routing.build import deployment, provider, usd
from tests.support.records import replace

WALL_S = 1_795_257_000.0
CHAT = Extent(Operation.CHAT, 1000, max_output_tokens=200)


def bound(extent: Extent = CHAT, **of: Any) -> Bound:
    given: dict[str, Any] = {"price": usd(3, 15)}
    return at_most(extent, deployment("a/m", **(given | of)), WALL_S)


def test_a_bound_is_every_byte_read_and_every_token_written() -> None:
    assert bound() == Bound(
        (1000 + FRAME_TOKENS) * 3_000 + 200 * 15_000, 1000 + FRAME_TOKENS + 200, 6 * NANOS_PER_USD
    )


@pytest.mark.parametrize(
    ("extent", "of", "tokens"),
    [
        (CHAT, {}, 1000 + FRAME_TOKENS + 200),
        (CHAT, {"context_window": 500}, 500 + 200),
        (replace(CHAT, n=3), {}, 1000 + FRAME_TOKENS + 600),
        (replace(CHAT, max_output_tokens=None), {}, 1000 + FRAME_TOKENS + UNKNOWN_OUTPUT_TOKENS),
        (replace(CHAT, max_output_tokens=None), {"max_output_tokens": 99}, 1000 + FRAME_TOKENS + 99),
        (CHAT, {"max_output_tokens": 99}, 1000 + FRAME_TOKENS + 99),
        (replace(CHAT, needs=frozenset({Capability.TOOLS})), {}, 1000 + FRAME_TOKENS + TOOLS_TOKENS + 200),
        (replace(CHAT, needs=frozenset({Capability.VISION})), {"context_window": 8_000}, 8_200),
        (replace(CHAT, needs=frozenset({Capability.FILES})), {}, UNKNOWN_WINDOW_TOKENS + 200),
        (replace(CHAT, needs=frozenset({Capability.AUDIO}), bytes_in=10**6), {}, 10**6 + 200),
        (Extent(Operation.EMBEDDING, 1000), {}, 1000 + FRAME_TOKENS),
        (Extent(Operation.COUNT_TOKENS, 1000), {}, 0),
    ],
)
def test_tokens_are_bounded_by_whoever_bounds_them(
    extent: Extent, of: dict[str, object], tokens: int
) -> None:
    assert bound(extent, **of).tokens == tokens


def test_what_an_adapter_asks_for_on_its_own_is_within_the_bound() -> None:
    generous = provider("a", quirks=Quirks(default_max_tokens=50_000))
    one = deployment("a/m", generous, price=usd(3, 15))
    assert at_most(replace(CHAT, max_output_tokens=None), one, WALL_S).tokens == 1000 + FRAME_TOKENS + 50_000


@pytest.mark.parametrize(
    ("one", "nanos"),
    [
        (deployment("a/m"), None),
        (deployment("a/m", provider("a", Zone.LOCAL)), 0),
        (deployment("a/m", price=FREE), 0),
        (deployment("a/m", provider("a", cost_tracking=False), price=usd(3, 15)), 0),
    ],
)
def test_a_price_may_be_unknown_or_nothing(one: Deployment, nanos: int | None) -> None:
    assert at_most(CHAT, one, WALL_S).nanos == nanos


def test_counting_tokens_costs_nothing_even_where_prices_are_unknown() -> None:
    assert at_most(Extent(Operation.COUNT_TOKENS, 1000), deployment("a/m"), WALL_S) == Bound(0, 0, 0.0)


def test_a_price_counts_from_its_day_on() -> None:
    prices = PriceList((Dated(usd(1, 0)), Dated(usd(2, 0), WALL_S)), "operator")
    one = deployment("a/m", price=usd(1, 0), prices=prices)
    before, after = at_most(CHAT, one, WALL_S - 1).nanos, at_most(CHAT, one, WALL_S).nanos
    assert before is not None
    assert after == 2 * before


def test_another_tier_counts_only_where_the_request_asks_for_one() -> None:
    price = replace(usd(3, 15), tiers={"priority": usd(6, 30), "batch": usd(1, 1)})
    plain, any_tier = bound(price=price).nanos, bound(replace(CHAT, any_tier=True), price=price).nanos
    assert plain is not None
    assert any_tier == 2 * plain


def request(body: dict[str, object]) -> Request:
    data = json.dumps(body).encode()
    return Request(
        Operation.CHAT, Dialect.OPENAI_CHAT, "openai-chat", "m", False, data, body, max_output_tokens=100, n=2
    )


def test_a_request_and_the_question_about_it_are_of_the_same_extent() -> None:
    given = request({"messages": []})
    asked = Question("m", bytes_in=len(given.body), max_output_tokens=100, n=2)
    assert replace(extent_of(given), body=b"") == extent_asked(asked)
    limited = Overrides(max_tokens=7)
    assert (
        replace(extent_of(given, limited), body=b"")
        == extent_asked(asked, limited)
        == replace(extent_asked(asked), max_output_tokens=7)
    )


@pytest.mark.parametrize("wish", [{"service_tier": "priority"}, {"serviceTier": "flex"}, {"speed": "fast"}])
def test_a_wish_for_a_tier_is_seen_in_the_body_where_a_price_has_tiers(wish: dict[str, object]) -> None:
    price = replace(usd(3, 15), tiers={"priority": usd(6, 30)})
    plain = bound(replace(extent_of(request(wish)), body=b""), price=price).nanos
    assert plain is not None
    assert bound(extent_of(request(wish)), price=price).nanos == 2 * plain
    unasked = extent_of(request({"messages": []}))
    assert bound(unasked, price=price) == bound(replace(unasked, body=b""), price=price)


RATES = st.integers(0, 100 * NANOS_PER_USD)
MAYBE = st.none() | RATES
PLAIN = st.builds(
    Price,
    input=RATES,
    output=RATES,
    cached_input=MAYBE,
    cache_write=MAYBE,
    cache_write_1h=MAYBE,
    input_audio=MAYBE,
    output_audio=MAYBE,
    cached_audio=MAYBE,
    input_image=MAYBE,
    output_image=MAYBE,
    reasoning=MAYBE,
    per_request_nanos=st.integers(0, 10**6),
)
STEPPED = st.builds(
    lambda price, steps: replace(
        price, steps=tuple(Step(above, each) for above, each in sorted(steps, key=lambda s: s[0]))
    ),
    PLAIN,
    st.lists(st.tuples(st.integers(1, 5000), PLAIN), max_size=2),
)


@given(
    price=STEPPED,
    size=st.integers(0, 10_000),
    wanted=st.integers(1, 5_000),
    shares=st.lists(st.floats(0, 1), min_size=9, max_size=9),
)
def test_no_usage_within_the_bound_costs_more_than_it(
    price: Price, size: int, wanted: int, shares: list[float]
) -> None:
    extent = Extent(Operation.CHAT, size, max_output_tokens=wanted)
    read, written = int((size + FRAME_TOKENS) * shares[0]), int(wanted * shares[1])
    usage = Usage(
        input_tokens=read,
        output_tokens=written,
        cache_read_tokens=int(read * shares[2]),
        cache_write_tokens=int(read * shares[3]),
        cache_write_1h_tokens=int(read * shares[4]),
        reasoning_tokens=int(written * shares[5]),
        input_audio_tokens=int(read * shares[6]),
        output_audio_tokens=int(written * shares[7]),
        output_image_tokens=int(written * shares[8]),
        cached_audio_tokens=int(read * shares[2] * shares[6]),
    )
    most = at_most(extent, deployment("a/m", price=price), WALL_S)
    assert most.nanos is not None
    assert cost_of(usage, price) <= most.nanos
    assert read + written <= most.tokens
