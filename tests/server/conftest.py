"""Two providers on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.fake_provider import FakeProvider


@pytest.fixture
async def first() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def second() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider
