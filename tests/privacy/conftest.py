"""Two providers on loopback."""

from __future__ import annotations

from tests.server.conftest import first, second

__all__ = ["first", "second"]
