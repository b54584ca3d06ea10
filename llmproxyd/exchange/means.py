"""What an exchange works with: what all of them share, and who answers its questions about its own request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from llmproxyd.detect.masking import MaskBook
from llmproxyd.exchange.account import Account
from llmproxyd.exchange.books import Books
from llmproxyd.exchange.gate import Gates, Toll
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.state.hedge_budget import HedgeBudget
from llmproxyd.state.registry import Registry
from llmproxyd.state.retry_budget import RetryBudget
from llmproxyd.values.budget import Bound
from llmproxyd.values.contracts import Adapter
from llmproxyd.values.failure import Failure
from llmproxyd.values.plan import Candidate, Plan
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import Deployment


class Means(msgspec.Struct, frozen=True):
    """What all exchanges share. ``clock``: monotonic seconds, running with the loop's own."""

    upstream: Upstream
    adapters: Mapping[Dialect, Adapter]
    registry: Registry
    gates: Gates
    retries: RetryBudget
    hedges: HedgeBudget
    account: Account
    books: Books
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Asker(Protocol):
    """What an exchange may want to know of its request, beyond what it carries."""

    def toll(self, deployment: Deployment) -> Toll:
        """What a call asks of its provider's limits."""
        ...

    def bound(self, deployment: Deployment, wall_s: float) -> Bound:
        """The most a call can come to at the prices of ``wall_s``, Unix seconds."""
        ...

    def further(self, plan: Plan, failure: Failure) -> tuple[Candidate, ...]:
        """Who else could answer after all of ``plan`` have failed."""
        ...

    def tokens_in(self, deployment: Deployment) -> int:
        """Our own count of the prompt, as its model counts where that can be told."""
        ...

    def mask(self, kinds: frozenset[str]) -> MaskBook:
        """What takes these kinds and groups of data out of the request, and puts them back into an answer."""
        ...
