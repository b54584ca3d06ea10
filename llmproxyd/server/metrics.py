"""Metrics: plain counters that cost next to nothing to raise; ``exposition`` turns them into text when somebody asks.

Labels take their values from the configuration and from closed sets only, never from what a client sends, and series
of what a reload removed are dropped: the number of series is bounded by the files.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from llmproxyd.cache.response_cache import CacheReport
from llmproxyd.exchange.account import Ending, ExchangeRecord
from llmproxyd.in_force import InForce
from llmproxyd.server.outcome import find_failover, find_retries, judge_hedge
from llmproxyd.state.report import ProviderReport
from llmproxyd.values.budget import BudgetReport
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import Priority
from llmproxyd.values.snapshot import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIRST_CONTENT_BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TOTAL_BOUNDS_S = (0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
OVERHEAD_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)

_NOBODY = ("", "")
_Key = TypeVar("_Key", bound=tuple[str, ...])


class Histogram(msgspec.Struct):
    """How many observations fell up to each bound (seconds), and their sum."""

    bounds_s: tuple[float, ...]
    counts: list[int] = msgspec.field(default_factory=list)
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds_s) + 1)

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        found, below = [], 0
        for bound, count in zip((*map(str, self.bounds_s), "+Inf"), list(self.counts), strict=True):
            below += count
            found.append((bound, float(below)))
        return found


class Counters:
    """What was counted since the start. Raised on the event loop, read by the thread that renders.

    The reader copies each dict in one step of the interpreter, so it needs no lock; a sum may be one event older than
    its count.
    """

    def __init__(self) -> None:
        self.exchanges: dict[tuple[str, str, str], int] = {}
        self.attempts: dict[tuple[str, str], int] = {}
        self.streams: dict[tuple[str], int] = {}
        self.tokens: dict[tuple[str, str, str], int] = {}
        self.cost_nanos: dict[tuple[str, str], int] = {}
        self.first_content: dict[tuple[str], Histogram] = {}
        self.total: dict[tuple[str], Histogram] = {}
        self.overhead = Histogram(OVERHEAD_BOUNDS_S)
        self.failovers: dict[tuple[str, str, str], int] = {}
        self.retries: dict[tuple[str], int] = {}
        self.hedges: dict[tuple[str], int] = {}
        self.disputed: dict[tuple[str], int] = {}

    def exchange(self, record: ExchangeRecord) -> None:
        """Count one exchange that is over: a sink of ``Account``."""
        deployment = record.deployment
        provider, model = (deployment.provider.name, deployment.model) if deployment else _NOBODY
        _add(self.exchanges, (provider, model, _outcome(record)))
        for attempt in record.attempts:
            if attempt.sent:
                outcome = attempt.failure.kind.value if attempt.failure else "ok"
                _add(self.attempts, (_provider_of(attempt.deployment), outcome))
        if len(record.attempts) > 1:
            self._count_detours(record)
        if record.request is not None and record.request.stream:
            _add(self.streams, (record.ending.value,))
        if deployment is None:
            return
        _observe(self.total, (provider,), record.total_s, TOTAL_BOUNDS_S)
        if record.first_content_s is not None:
            _observe(self.first_content, (provider,), record.first_content_s, FIRST_CONTENT_BOUNDS_S)
            self.overhead.observe(record.overhead_s)
        if record.disputed is not None:
            _add(self.disputed, (provider,))
        if record.usage is not None:
            self._count_tokens(provider, model, record.usage)
        if record.cost_nanos is not None:
            _add(self.cost_nanos, (provider, model), record.cost_nanos)

    def _count_detours(self, record: ExchangeRecord) -> None:
        """By provider, not by deployment: the square of the number of models would be too many series."""
        failover = find_failover(record)
        if failover is not None:
            origin, to = _provider_of(failover.origin), _provider_of(failover.to)
            _add(self.failovers, (origin, to, failover.failure.value))
        for attempt in find_retries(record):
            _add(self.retries, (_provider_of(attempt.deployment),))
        for attempt in record.attempts:
            if attempt.hedge:
                _add(self.hedges, (judge_hedge(attempt, record),))

    def _count_tokens(self, provider: str, model: str, usage: Usage) -> None:
        _add(self.tokens, (provider, model, "input"), usage.input_tokens)
        _add(self.tokens, (provider, model, "output"), usage.output_tokens)
        if usage.cache_read_tokens:
            _add(self.tokens, (provider, model, "cache_read"), usage.cache_read_tokens)
        if usage.reasoning_tokens:
            _add(self.tokens, (provider, model, "reasoning"), usage.reasoning_tokens)

    def retain(self, snapshot: Snapshot) -> None:
        """Drop the series of providers and models that a new snapshot no longer names."""
        models = {(d.provider.name, d.model) for d in snapshot.deployments} | {_NOBODY}
        providers = {*snapshot.providers, ""}
        for by_model in (self.exchanges, self.tokens):
            _keep(by_model, lambda key: key[:2] in models)
        _keep(self.cost_nanos, lambda key: key in models)
        _keep(self.attempts, lambda key: key[0] in providers)
        for by_provider in (self.first_content, self.total):
            _keep(by_provider, lambda key: key[0] in providers)
        for counts in (self.retries, self.disputed):
            _keep(counts, lambda key: key[0] in providers)
        _keep(self.failovers, lambda key: key[0] in providers and key[1] in providers)


class Line(Protocol):
    """How things stand at one provider's limits: ``exchange.gate.LineReport``. ``limit``: of ``in_use``; None: none."""

    @property
    def provider(self) -> str: ...
    @property
    def waiting(self) -> Mapping[Priority, int]: ...
    @property
    def refused(self) -> Mapping[Priority, int]: ...
    @property
    def in_use(self) -> int: ...
    @property
    def limit(self) -> int | None: ...


class Gathered(msgspec.Struct, frozen=True):
    """What other rooms count, copied on the event loop. ``shed``: requests refused for overload, by class. ``jobs``: by
    state. ``events``: by kind. ``webhooks``: notices by what came of them. ``budgets``: those with the least left."""

    lines: tuple[Line, ...] = ()
    shed: Mapping[Priority, int] = msgspec.field(default_factory=dict)
    jobs: Mapping[str, int] = msgspec.field(default_factory=dict)
    events: Mapping[str, int] = msgspec.field(default_factory=dict)
    webhooks: Mapping[str, int] = msgspec.field(default_factory=dict)
    cache: CacheReport | None = None
    budgets: tuple[BudgetReport, ...] = ()
    ledger_ok: bool | None = None


class Scrape(msgspec.Struct, frozen=True):
    """What one reading of the metrics is made from. Everything in it may be read by another thread."""

    counters: Counters
    in_force: InForce
    providers: tuple[ProviderReport, ...]
    watch_mode: str
    in_flight: int
    log_lines_lost: int
    gathered: Gathered = Gathered()


def _provider_of(deployment: str) -> str:
    return deployment.partition("/")[0]


def _outcome(record: ExchangeRecord) -> str:
    if record.ending is Ending.FAILED and record.failure is not None:
        return record.failure.kind.value
    return record.ending.value


def _add(counts: dict[_Key, int], key: _Key, amount: int = 1) -> None:
    counts[key] = counts.get(key, 0) + amount


def _observe(
    series: dict[tuple[str], Histogram], key: tuple[str], seconds: float, bounds_s: tuple[float, ...]
) -> None:
    histogram = series.get(key)
    if histogram is None:
        histogram = series[key] = Histogram(bounds_s)
    histogram.observe(seconds)


def _keep(series: dict[_Key, Any], wanted: Callable[[_Key], bool]) -> None:
    for key in [key for key in series if not wanted(key)]:
        del series[key]
