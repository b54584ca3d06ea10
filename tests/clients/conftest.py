"""One daemon for all clients, and beside each provider the manner it answers in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.matrix.rig import Rig
from tests.matrix.upstreams import UPSTREAMS


@pytest.fixture(scope="package")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("clients"), UPSTREAMS, spares=8) as rig:
        yield rig
