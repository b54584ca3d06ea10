"""Two providers on loopback, and the way to them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llmproxyd.exchange.upstream import Upstream
from tests.exchange.build import Watched
from tests.support.fake_provider import FakeProvider


@pytest.fixture
async def first() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def second() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    yield made
    await made.close()


@pytest.fixture
def registry() -> Watched:
    return Watched()
