"""The daemon as a process, and providers whose manners a scenario chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.fake_provider import FakeProvider


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Not started yet: write its files first, then ``async with daemon``."""
    return Daemon(tmp_path)


@pytest.fixture
async def first() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def second() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider
