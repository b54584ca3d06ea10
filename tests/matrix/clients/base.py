"""What the matrix has to know of a client: how its user asks, and what that user hears."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.matrix.scene import Heard, Refused, Wish

TIMEOUT_S = 30.0


class Refusal(Exception):  # noqa: N818 - it is what the test asks for
    """The SDK raised its own exception; ``refused`` is what a user can read in it."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(f"{refused.status}: {refused.message}")
        self.refused = refused


class Client(ABC):
    """One dialect, through its vendor's SDK, towards a daemon. Everything heard is checked strictly on the way.

    ``warnings``: what the last answer's header told. ``counts_cache``: whether the dialect shows cached
    tokens. ``own_headers``: what the SDK tells its own vendor, who is to hear it.
    """

    counts_cache: ClassVar[bool] = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.warnings = ""
        self.provider = ""
        self.own_headers: dict[str, str] = {}

    def hear(self, response: Any) -> None:
        """A hook for the SDK's HTTP client."""
        self.warnings = response.headers.get("x-llmproxyd-warnings", "")
        self.provider = response.headers.get("x-llmproxyd-provider", "")

    @abstractmethod
    def ask(self, wish: Wish) -> Heard:
        """Raises Refusal."""

    @abstractmethod
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Vectors:
    vectors: tuple[tuple[float, ...], ...]
    tokens: int | None
