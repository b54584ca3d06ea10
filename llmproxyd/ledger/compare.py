"""What recorded traffic would have cost elsewhere: savings against two habits, and cheaper places worth trying. Pure.

Every attempt that somebody got an answer from is priced, with its own tokens and at the prices of its day, at each
deployment of the configuration that could have served it. A ledger knows how long a request was, not what was in it;
docs/cost.md says what follows from that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from llmproxyd.ledger.reports import Spent
from llmproxyd.values.cost import Price, cost_of
from llmproxyd.values.snapshot import Deployment, Snapshot

ANSWERED: Final = frozenset({"ok", "cut", "cancelled", "cached"})
"""Outcomes somebody got something from. All others cost money that a habit without fallbacks would not have spent."""

MAX_ALTERNATIVES: Final = 10
MAX_FOR_A_TASK: Final = 2
_DEFAULT_TASK: Final = "default"


class Savings(msgspec.Struct, frozen=True):
    """``spent_nanos``: all ``attempts`` that were looked at; ``compared`` of them could be priced elsewhere too.
    ``dearest_nanos``: had each answer come from the dearest candidate; ``first_nanos``: from the first in priority order."""

    attempts: int = 0
    compared: int = 0
    spent_nanos: int = 0
    dearest_nanos: int = 0
    first_nanos: int = 0


class Alternative(msgspec.Struct, frozen=True):
    """All answers of a task (empty: those without one) from ``deployment``: ``saved_nanos`` is what ``attempts`` answers,
    which cost ``spent_nanos``, would have cost less. ``same_model``: most of them came from that very model.
    ``quality``: whether the operator's figures say that it is as good; None: they say nothing."""

    task: str
    deployment: str
    attempts: int
    spent_nanos: int
    saved_nanos: int
    same_model: bool
    quality: bool | None


class Comparison(msgspec.Struct, frozen=True):
    savings: Savings
    alternatives: tuple[Alternative, ...]


def compare(entries: Iterable[Spent], snapshot: Snapshot) -> Comparison:
    """Price ``entries`` at every deployment of ``snapshot`` that could have served them."""
    market = _Market(snapshot)
    tally = _Tally()
    tasks: dict[str, _Task] = {}
    for entry in entries:
        prices = market.prices(entry) if entry.outcome in ANSWERED else {}
        tally.add(entry, prices, market)
        if prices and entry.cost_nanos is not None and entry.outcome != "cached":
            tasks.setdefault(entry.task, _Task()).add(entry, entry.cost_nanos, prices)
    found = [
        one for name, task in tasks.items() for one in _best(task.alternatives(name, market), MAX_FOR_A_TASK)
    ]
    return Comparison(tally.savings(), tuple(_best(found, MAX_ALTERNATIVES)))


def _best(found: Iterable[Alternative], limit: int) -> list[Alternative]:
    return sorted(found, key=lambda one: (-one.saved_nanos, one.task, one.deployment))[:limit]


class _Market:
    """The deployments that can be asked, by what an entry says of what it needs."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._privacy = snapshot.privacy
        usable = [
            one
            for one in snapshot.deployments
            if one.provider.enabled and one.provider.configured and not one.provider.is_mock
        ]
        self.by_name: Mapping[str, Deployment] = {one.name: one for one in usable}
        order = sorted(
            usable,
            key=lambda one: (one.provider.name != snapshot.default_provider, one.provider.priority, one.name),
        )
        self.order: Mapping[str, int] = {one.name: place for place, one in enumerate(order)}
        self._able: dict[tuple[str, str], Sequence[Deployment]] = {}

    def prices(self, entry: Spent) -> dict[str, int]:
        """Deployment -> nano-dollars for this entry's tokens; empty if nobody, or nothing, can be compared."""
        usage = entry.usage
        if usage is None:
            return {}
        found: dict[str, int] = {}
        known: dict[int, int] = {}
        for deployment in self._candidates(entry.operation, entry.label):
            price = _price_at(deployment, entry.at_s)
            if price is None or not _fits(deployment, usage.input_tokens, usage.output_tokens):
                continue
            # Many deployments share one price; pricing is what takes the time here.
            cost = known.get(id(price))
            if cost is None:
                cost = known[id(price)] = cost_of(usage, price)
            found[deployment.name] = cost
        return found

    def _candidates(self, operation: str, label: str) -> Sequence[Deployment]:
        able = self._able.get((operation, label))
        if able is None:
            rank = self._privacy.rank(label)
            # A label that is no longer there could have been any: nobody but the cleared for all may stand in.
            needed = len(self._privacy.labels) - 1 if rank is None and label else rank or 0
            able = self._able[operation, label] = [
                one
                for one in self.by_name.values()
                if operation in one.operations and one.provider.clearance >= needed
            ]
        return able


def _price_at(deployment: Deployment, at_s: float) -> Price | None:
    return deployment.price if deployment.prices is None else deployment.prices.at(at_s)


def _fits(deployment: Deployment, input_tokens: int, output_tokens: int) -> bool:
    window, longest = deployment.context_window, deployment.max_output_tokens
    if window is not None and input_tokens + output_tokens > window:
        return False
    return longest is None or output_tokens <= longest


class _Tally(msgspec.Struct):
    attempts: int = 0
    compared: int = 0
    spent: int = 0
    dearest: int = 0
    first: int = 0

    def add(self, entry: Spent, prices: Mapping[str, int], market: _Market) -> None:
        """Where nothing can be compared, both habits are taken to have cost what was paid: no saving is claimed."""
        paid = entry.cost_nanos or 0
        self.attempts += 1
        self.spent += paid
        if entry.outcome not in ANSWERED:
            return
        if not prices:
            self.dearest += paid
            self.first += paid
            return
        self.compared += 1
        self.dearest += max(paid, *prices.values())
        self.first += prices[min(prices, key=market.order.__getitem__)]

    def savings(self) -> Savings:
        return Savings(self.attempts, self.compared, self.spent, self.dearest, self.first)


class _Task(msgspec.Struct):
    """The answers of one task: what they cost, by whom they were given, and what they would have cost at each other
    deployment. Only a deployment that could have given all of them is worth a rule."""

    attempts: int = 0
    spent: int = 0
    by_server: dict[str, int] = msgspec.field(default_factory=dict)
    elsewhere: dict[str, list[int]] = msgspec.field(default_factory=dict)

    def add(self, entry: Spent, paid: int, prices: Mapping[str, int]) -> None:
        self.attempts += 1
        self.spent += paid
        served = f"{entry.provider}/{entry.model}"
        self.by_server[served] = self.by_server.get(served, 0) + 1
        for name, cost in prices.items():
            sums = self.elsewhere.setdefault(name, [0, 0])
            sums[0] += 1
            sums[1] += cost

    def alternatives(self, task: str, market: _Market) -> list[Alternative]:
        usual = max(sorted(self.by_server), key=self.by_server.__getitem__)
        found = []
        for name, (attempts, cost) in self.elsewhere.items():
            saved = self.spent - cost
            better = _is_as_good(market, name, usual, task)
            if attempts < self.attempts or saved <= 0 or better is False or name == usual:
                continue
            same = _model_of(market, name) == _model_of(market, usual)
            found.append(Alternative(task, name, self.attempts, self.spent, saved, same, better))
        return found


def _model_of(market: _Market, name: str) -> str:
    known = market.by_name.get(name)
    return known.model if known is not None else name.partition("/")[2]


def _is_as_good(market: _Market, name: str, usual: str, task: str) -> bool | None:
    """Another model must be able to do all that the usual one can. None where nobody has said how good both are."""
    if _model_of(market, name) == _model_of(market, usual):
        return True
    other, own = market.by_name[name], market.by_name.get(usual)
    if own is None:
        return None
    able, wanted = other.capabilities, own.capabilities
    if able is not None and wanted is not None and not wanted <= able:
        return False
    other_quality, own_quality = _quality(other, task), _quality(own, task)
    return None if other_quality is None or own_quality is None else other_quality >= own_quality


def _quality(deployment: Deployment, task: str) -> float | None:
    return deployment.quality.get(task, deployment.quality.get(_DEFAULT_TASK))
