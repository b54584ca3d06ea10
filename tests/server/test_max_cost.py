"""What a client allows a call to cost, at sockets: kept by whoever is asked, and by nobody who is not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llmproxyd.values.cost import NANOS_PER_USD, Price
from llmproxyd.values.snapshot import Zone
from tests.exchange.build import deployment_at
from tests.server.door import CHAT, MESSAGES, Door, open_door
from tests.support.fake_provider import FakeProvider, answer
from tests.support.records import replace

HEADER = "x-llmproxyd-max-cost"
BUSY = answer(503, b'{"error": {"message": "busy"}}')
TOKENS_OUT = 1_000


@pytest.fixture
async def door(first: FakeProvider, second: FakeProvider) -> AsyncIterator[Door]:
    """A thousand tokens written cost a dollar with the first, a cent with the second; what is read is free."""
    dear = replace(deployment_at(first), price=Price(0, 1_000 * NANOS_PER_USD))
    cheap = replace(deployment_at(second, "second"), price=Price(0, 10 * NANOS_PER_USD))
    async with open_door(dear, cheap) as opened:
        yield opened


@pytest.mark.parametrize(
    ("allowed", "provider"),
    [("1", "first"), ("1.00 USD", "first"), ("0.999999999", "second"), ("$0.01", "second")],
)
async def test_who_can_cost_more_is_not_asked(
    door: Door, first: FakeProvider, second: FakeProvider, allowed: str, provider: str
) -> None:
    response = await door.post(headers={HEADER: allowed}, max_tokens=TOKENS_OUT)
    assert response.status == 200
    assert response.headers["x-llmproxyd-provider"] == provider
    assert [len(first.seen), len(second.seen)] == [provider == "first", provider == "second"]


@pytest.mark.parametrize(("path", "kind"), [(CHAT, "rate_limit_error"), (MESSAGES, "rate_limit_error")])
async def test_with_nobody_cheap_enough_it_is_refused_and_nothing_is_sent(
    door: Door, first: FakeProvider, second: FakeProvider, path: str, kind: str
) -> None:
    response = await door.post(path, headers={HEADER: "0.009"}, max_tokens=TOKENS_OUT)
    assert response.status == 429
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    error = (await response.json())["error"]
    assert error["type"] == kind
    assert "second/m: it can cost 0.01 USD, and x-llmproxyd-max-cost allows 0.009 USD" in error["message"]
    assert (first.seen, second.seen) == ([], [])


async def test_an_unknown_price_is_no_low_one(first: FakeProvider) -> None:
    async with open_door(deployment_at(first, zone=Zone.EXTERNAL)) as door:
        response = await door.post(headers={HEADER: "1000000"})
        error = (await response.json())["error"]
    assert (response.status, error["code"]) == (429, "max_cost")
    assert "its price is unknown" in error["message"]
    assert first.seen == []


async def test_a_failure_leads_to_nobody_who_can_cost_more(
    door: Door, first: FakeProvider, second: FakeProvider
) -> None:
    second.manner = BUSY
    response = await door.post(headers={HEADER: "0.5"}, max_tokens=TOKENS_OUT)
    assert response.status == 503
    assert (len(first.seen), len(second.seen)) == (0, 1)


async def test_a_dearer_way_of_being_served_counts(first: FakeProvider) -> None:
    """Nobody looks for it where no bound is set."""
    price = Price(0, 10 * NANOS_PER_USD, tiers={"priority": Price(0, 20 * NANOS_PER_USD)})
    async with open_door(replace(deployment_at(first), price=price)) as door:
        plain = await door.post(headers={HEADER: "0.01"}, max_tokens=TOKENS_OUT)
        quick = await door.post(headers={HEADER: "0.01"}, max_tokens=TOKENS_OUT, service_tier="priority")
    assert (plain.status, quick.status) == (200, 429)
    assert len(first.seen) == 1


@pytest.mark.parametrize("value", ["", "cheap", "-1", "nan", "inf", "1e3", "5 EUR", "0.0000000001", "9" * 20])
async def test_what_is_no_amount_is_refused(door: Door, first: FakeProvider, value: str) -> None:
    response = await door.post(headers={HEADER: value})
    assert response.status == 400
    assert (await response.json())["error"]["param"] == HEADER
    assert first.seen == []
