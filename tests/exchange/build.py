"""What the tests of the exchange start from: deployments at a fake provider, plans, voices, a clock that can be moved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters import ADAPTERS
from llmproxyd.detect.masking import MaskBook
from llmproxyd.exchange.account import Account, ExchangeRecord
from llmproxyd.exchange.attempt import RunningAttempt
from llmproxyd.exchange.attempts import Attempts
from llmproxyd.exchange.books import Books
from llmproxyd.exchange.gate import Gates, Toll
from llmproxyd.exchange.lane import Voice, choose_dialect, choose_lane
from llmproxyd.exchange.means import Means
from llmproxyd.exchange.run import Exchange
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.state.budgets import Budgets
from llmproxyd.state.hedge_budget import HedgeBudget
from llmproxyd.state.registry import Outcome, Registry
from llmproxyd.state.retry_budget import RetryBudget
from llmproxyd.surfaces import SURFACES
from llmproxyd.values.budget import Bound
from llmproxyd.values.clearance import grant
from llmproxyd.values.contracts import Adapter, Call
from llmproxyd.values.failure import Failure
from llmproxyd.values.plan import Candidate, Plan
from llmproxyd.values.request import Dialect, Priority
from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    Deployment,
    FallbackPolicy,
    Provider,
    Timeouts,
    Zone,
)
from tests.support.fake_provider import Exchange as Wire
from tests.support.fake_provider import FakeProvider, Manner

PATIENT = Timeouts(connect_s=2.0, first_token_s=20.0, stall_s=20.0, total_s=20.0)
CHAT = "/v1/chat/completions"
ORDINARY = Toll(0, Priority.NORMAL, "local")
NOTHING = Bound(0, 0, 0.0)


class Clock:
    """Real time, and as much more as was slept: what has to wait a while waits for nothing here."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ahead_s += seconds
        await asyncio.sleep(0)


class Watched(Registry):
    """A registry that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []
        self.settled: list[tuple[str, Outcome]] = []

    def started(self, deployment: Deployment, now_s: float) -> None:
        self.begun.append(deployment.name)
        super().started(deployment, now_s)

    def ended(self, deployment: Deployment, outcome: Outcome, now_s: float) -> None:
        self.settled.append((deployment.name, outcome))
        super().ended(deployment, outcome, now_s)


def provider_at(base_url: str, name: str = "first", **changes: Any) -> Provider:
    given: dict[str, Any] = {
        "preset": "openai-compatible",
        "dialect": Dialect.OPENAI_CHAT,
        "zone": Zone.LOCAL,
        "clearance": 3,
        "timeouts": PATIENT,
        "identity": f"{name}|{base_url}",
    }
    return Provider(name=name, base_url=base_url, **(given | changes))


def deployment_at(fake: FakeProvider | str, name: str = "first", **changes: Any) -> Deployment:
    """Model ``m`` of a provider at that address."""
    url = fake if isinstance(fake, str) else fake.url
    return Deployment(f"{name}/m", provider_at(url, name, **changes), "m", "m", key=f"{name}|{url}|m")


def post(provider: Provider, body: bytes = b"{}", **headers: str) -> Call:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Call("POST", f"{provider.base_url}/chat/completions", named, body, stream=False)


def voice(path: str = CHAT, *, model: str = "m", stream: bool = True, **fields: Any) -> Voice:
    """A client that says hello."""
    given: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "stream": stream}
    if "messages" in path:
        given["max_tokens"] = 100
    body = jsontext.encode({"model": model, **given, **fields})
    surface = SURFACES[path]
    return Voice(surface.parse_request({}, body, path), surface, model, "req_1", 1_795_000_000)


def plan(*deployments: Deployment, continues: bool = False, **policy: Any) -> Plan:
    given: dict[str, Any] = {"on": DEFAULT_FALLBACK_ON, "retry_max": 0}
    return Plan(
        target=None,
        candidates=tuple(Candidate(d, clearance=grant(d, 1)) for d in deployments),
        dropped=(),
        fallback=FallbackPolicy(**(given | policy)),
        label="internal",
        label_rank=1,
        continues=continues,
    )


def attempt(deployment: Deployment, speaker: Voice | None = None) -> RunningAttempt:
    speaker = speaker or voice()
    adapter = ADAPTERS[choose_dialect(speaker.request, deployment)]
    lane = choose_lane(speaker, adapter, deployment)
    call = lane.format_call(deployment, plan().overrides)
    return RunningAttempt(
        deployment=deployment,
        adapter=adapter,
        lane=lane,
        call=call,
        clock=time.monotonic,
        clearance=grant(deployment, 1),
    )


def means(
    upstream: Upstream,
    registry: Registry,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    adapters: Mapping[Dialect, Adapter] = ADAPTERS,
    sinks: tuple[Callable[[ExchangeRecord], None], ...] = (),
    books: Books | None = None,
) -> Means:
    return Means(
        upstream=upstream,
        adapters=adapters,
        registry=registry,
        gates=Gates(clock),
        retries=RetryBudget(),
        hedges=HedgeBudget(),
        account=Account(registry, sinks=sinks),
        books=books or Books(Budgets(lambda alert: None), None, wall=time.time),
        clock=clock,
        sleep=sleep,
    )


def exchange(
    upstream: Upstream,
    registry: Registry,
    decided: Plan,
    speaker: Voice | None = None,
    **parts: Any,
) -> tuple[Exchange, ExchangeRecord]:
    """``parts``: of ``means``."""
    return exchange_by(means(upstream, registry, **parts), decided, speaker)


@dataclass
class Asking:
    """What is asked of a request. ``most``: at any deployment."""

    demands: Toll = ORDINARY
    most: Bound = NOTHING
    extend: Callable[[Plan, Failure], tuple[Candidate, ...]] = lambda plan, failure: ()
    counted: int = 7

    def toll(self, deployment: Deployment) -> Toll:
        return self.demands

    def bound(self, deployment: Deployment, wall_s: float) -> Bound:
        return self.most

    def further(self, plan: Plan, failure: Failure) -> tuple[Candidate, ...]:
        return self.extend(plan, failure)

    def tokens_in(self, deployment: Deployment) -> int:
        return self.counted

    def mask(self, kinds: frozenset[str]) -> MaskBook:
        return MaskBook(bytes(32), ())


def exchange_by(
    shared: Means, decided: Plan, speaker: Voice | None = None, asker: Asking | None = None
) -> tuple[Exchange, ExchangeRecord]:
    speaker = speaker or voice()
    record = ExchangeRecord("req_1", 1, request=speaker.request)
    attempts = Attempts(
        shared,
        voice=speaker,
        plan=decided,
        record=record,
        admitted_s=shared.clock(),
        asker=asker or Asking(),
    )
    return Exchange(attempts), record


def in_turn(*manners: Manner) -> Manner:
    """Each request gets the next manner; the last one stays."""
    left = list(manners)

    async def manner(wire: Wire) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(wire)

    return manner


def raw(*pieces: bytes, close: bool = True) -> Manner:
    """Exactly these bytes, each on its own."""

    async def manner(wire: Wire) -> None:
        for piece in pieces:
            wire.writer.write(piece)
            await wire.writer.drain()
            # So that they arrive as pieces: there is no event that would tell.
            await asyncio.sleep(0.01)
        if close:
            wire.writer.close()

    return manner


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait for what another task or the peer does."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)
