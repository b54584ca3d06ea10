"""Budgets that hold: the most a call can cost is reserved before it is sent, what it did cost is booked when it is over.

Looking whether there is room and taking it are one step without an await, so that of any number of tasks no more get
through than fit. Times are Unix seconds: people read a budget's windows off a calendar.

What was spent is kept by the budget's identity across reloads; an amount that changes in the files judges what was spent
before. A budget that is new begins with what the ledger has (``restore``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final, TypeAlias, TypeVar

import msgspec

from llmproxyd.state.fund import Balance, Fund
from llmproxyd.state.periods import Window
from llmproxyd.state.shortfall import object_to, refusal
from llmproxyd.values.budget import (
    Bound,
    BudgetAlert,
    BudgetReport,
    Objection,
    Scope,
    Then,
    Who,
)
from llmproxyd.values.failure import Failure
from llmproxyd.values.ledger import Total
from llmproxyd.values.snapshot import Deployment, Snapshot

Totals: TypeAlias = Callable[[Iterable[str], float], Mapping[tuple[str, str], Total]]
"""(scopes, since Unix seconds) -> sums by (scope, name): what the ledger answers."""

MAX_REMEMBERED: Final = 2_000
"""Callers whose balances need not be looked up again as long as no window turns."""

_CALLERS: Final[Mapping[Scope, Callable[[Who], str | None]]] = {
    Scope.TENANT: attrgetter("tenant"),
    Scope.PROJECT: attrgetter("project"),
    Scope.USER: attrgetter("user"),
    Scope.KEY: attrgetter("key_id"),
}
_ANSWERERS: Final[Mapping[Scope, Callable[[Deployment], str | None]]] = {
    Scope.PROVIDER: attrgetter("provider.name"),
    Scope.MODEL: attrgetter("model"),
}


class Reservation:
    """Room taken in every budget that applies, until it is settled or released, whichever is first; the rest does
    nothing."""

    __slots__ = ("_balances", "_nanos", "_owner", "_tokens")

    def __init__(self, owner: Budgets, balances: Sequence[Balance], nanos: int | None, tokens: int) -> None:
        self._owner = owner
        self._balances = balances
        self._nanos = nanos
        self._tokens = tokens

    def settle(self, nanos: int | None, tokens: int) -> None:
        """Book what it came to, in the windows it was reserved in. ``nanos`` None: nobody knows, so all that was reserved."""
        reserved = self._nanos or 0
        cost = reserved if nanos is None else nanos
        # Without a price there was nothing to reserve, so whatever it costs was no more than could be known.
        overrun = tokens > self._tokens or (self._nanos is not None and cost > reserved)
        balances = self._give_back()
        for balance in balances:
            balance.book(cost, tokens)
        if balances:
            self._owner._booked(balances, overrun=overrun)

    def release(self) -> None:
        """Nothing was sent, so nothing is owed."""
        self._give_back()

    def _give_back(self) -> Sequence[Balance]:
        balances, self._balances = self._balances, ()
        for balance in balances:
            balance.hold(-(self._nanos or 0), -self._tokens)
        if balances:
            self._owner.open_reservations -= 1
        return balances


class Later(msgspec.Struct, frozen=True):
    """There is no room now, but the budget lets requests wait: ask again in ``wait_s``. ``failure``: for who cannot."""

    wait_s: float
    failure: Failure


_AskedT = TypeVar("_AskedT")
_Part: TypeAlias = tuple[Callable[[_AskedT], str | None], Mapping[str, tuple[Fund, ...]], tuple[Fund, ...]]
"""A scope: (its name in who asks or is asked, funds for one name, funds for each)."""


class _Index(msgspec.Struct, frozen=True):
    """The funds by what they are for."""

    overall: tuple[Fund, ...]
    callers: tuple[_Part[Who], ...]
    answerers: tuple[_Part[Deployment], ...]


class Budgets:
    """All budgets of the snapshot in force. For one thread; ``tell`` is called once for every alert, and may not raise.

    ``active`` False: there are none, and nobody need ask. ``open_reservations``: calls that may still cost something.
    ``overruns``: how many cost more than the most they should have, booked all the same.
    """

    def __init__(self, tell: Callable[[BudgetAlert], None]) -> None:
        self._tell = tell
        self._funds: dict[tuple[str, ...], Fund] = {}
        self._index = _Index((), (), ())
        self._remembered: dict[Who, tuple[Balance, ...]] = {}
        self._remembered_in = Window(0.0, 0.0)
        self.active = False
        self.open_reservations = 0
        self.overruns = 0

    # --- taking -----------------------------------------------------------------------------------------------------

    def reserve(
        self,
        who: Who,
        deployment: Deployment,
        nanos: int | None,
        tokens: int,
        now_s: float,
        *,
        patience_s: float = 0.0,
    ) -> Reservation | Failure | Later:
        """Take room for a call that comes to at most ``nanos`` (None: price unknown) and ``tokens``, or say why not.

        All budgets are asked before any is charged. ``patience_s``: how long the caller would wait; Later only if every
        budget in the way lets it wait and its window turns by then. A Failure is LIMIT_REACHED, or SATURATED where
        somebody else may still answer; its code is ``budget_exceeded`` or ``price_unknown``.
        """
        balances = (*self._callers_balances(who, now_s), *self._answerers_balances(deployment, now_s))
        full = [balance for balance in balances if not balance.fits(nanos, tokens)]
        if full:
            return self._refuse(full, nanos, tokens, now_s, patience_s)
        for balance in balances:
            balance.hold(nanos or 0, tokens)
        if balances:
            self.open_reservations += 1
        return Reservation(self, balances, nanos, tokens)

    def purse(self, who: Who, now_s: float) -> Purse | None:
        """What routing may know of the caller's budgets; None: there are no budgets at all."""
        return Purse(self, who, now_s) if self.active else None

    def left(self, who: Who, now_s: float) -> float | None:
        """The share (0..1) left of the caller's tightest budget; reservations do not count. None: no budget applies."""
        return _left(self._callers_balances(who, now_s))

    def objection(
        self, deployment: Deployment, bound: Bound, balances: Iterable[Balance], now_s: float
    ) -> Objection | None:
        """Why one of ``balances``, or one for this deployment, keeps it from being asked; None: nothing does."""
        for balance in (*balances, *self._answerers_balances(deployment, now_s)):
            found = object_to(balance, bound, now_s)
            if found is not None:
                return found
        return None

    # --- looking up -------------------------------------------------------------------------------------------------

    def _callers_balances(self, who: Who, now_s: float) -> tuple[Balance, ...]:
        window = self._remembered_in
        if not window.from_s <= now_s < window.to_s:
            self._forget(now_s)
        found = self._remembered.get(who)
        if found is None:
            overall = (fund.balance("", now_s) for fund in self._index.overall)
            found = (*overall, *_own_balances(self._index.callers, who, now_s))
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[who] = found
        return found

    def _forget(self, now_s: float) -> None:
        """What is remembered holds until the first window turns, or the clock is set back before it began."""
        windows = [fund.window(now_s) for fund in self._funds.values()]
        from_s, to_s = [w.from_s for w in windows], [w.to_s for w in windows]
        self._remembered_in = Window(max(from_s, default=now_s), min(to_s, default=now_s))
        self._remembered.clear()

    def _answerers_balances(self, deployment: Deployment, now_s: float) -> Iterator[Balance]:
        return _own_balances(self._index.answerers, deployment, now_s)

    # --- refusing and telling ---------------------------------------------------------------------------------------

    def _refuse(
        self, full: Sequence[Balance], nanos: int | None, tokens: int, now_s: float, patience_s: float
    ) -> Failure | Later:
        for balance in full:
            balance.refused += 1
            if balance.refused == 1 and balance.budget.alert_at:
                self._tell(balance.alert(None))
        failure = refusal(full, nanos, tokens, now_s)
        wait_s = max(balance.window.to_s for balance in full) - now_s
        may_wait = failure.retry_after_s is not None and all(b.budget.then is Then.QUEUE for b in full)
        return Later(wait_s, failure) if may_wait and wait_s <= patience_s else failure

    def _booked(self, balances: Iterable[Balance], *, overrun: bool) -> None:
        """Called by a reservation that has booked everything: whatever ``tell`` does cannot undo that."""
        self.overruns += overrun
        for balance in balances:
            if balance.fund.in_force:
                for threshold in balance.newly_passed():
                    self._tell(balance.alert(threshold))

    # --- across reloads and restarts --------------------------------------------------------------------------------

    def reconcile(self, snapshot: Snapshot) -> None:
        """Adopt the budgets of a new snapshot: what is known keeps its balances with its new numbers, what is gone is
        forgotten once nothing is reserved from it any more."""
        wanted = [t.budget for t in snapshot.tenants.values() if t.budget is not None]
        before, self._funds = self._funds, {}
        for budget in (*wanted, *snapshot.budgets):
            fund = before.pop(budget.identity, None) or Fund(budget)
            fund.adopt(budget)
            self._funds[budget.identity] = fund
        for gone in before.values():
            gone.in_force = False
        self._index = _index(self._funds.values())
        self.active = bool(self._funds)
        self._remembered_in = Window(0.0, 0.0)

    def restore(self, totals: Totals, now_s: float) -> None:
        """Ask the ledger what was spent in the windows of ``now_s``, for budgets that have not been asked for yet.

        Afterwards what is spent equals the ledger, and thresholds that are passed already are not told. One question
        for each beginning of a window; raises what ``totals`` raises, and can then be called again.
        """
        fresh: dict[float, list[Fund]] = {}
        for fund in self._funds.values():
            if not fund.restored:
                fresh.setdefault(fund.window(now_s).from_s, []).append(fund)
        for since_s, funds in fresh.items():
            sums = totals(sorted({fund.budget.scope.value for fund in funds}), since_s)
            for fund in funds:
                fund.restore(sums, now_s)

    def report(self, now_s: float, limit: int = 1000) -> tuple[BudgetReport, ...]:
        """Every balance that counts now, those with the least left first; at most ``limit``."""
        balances = (balance for fund in self._funds.values() for balance in fund.current(now_s))
        ordered = sorted(balances, key=lambda b: (-b.share, b.budget.name, b.name))
        return tuple(balance.report() for balance in ordered[:limit])


class Purse:
    """What one caller's budgets allow at one moment, for routing. To be used before the next await."""

    __slots__ = ("_balances", "_budgets", "_now_s")

    def __init__(self, budgets: Budgets, who: Who, now_s: float) -> None:
        self._budgets = budgets
        self._balances = budgets._callers_balances(who, now_s)
        self._now_s = now_s

    @property
    def left(self) -> float | None:
        """As ``Budgets.left``."""
        return _left(self._balances)

    def objection(self, deployment: Deployment, bound: Bound) -> Objection | None:
        """Why this deployment cannot be asked; None: nothing is known against it. Reserves nothing."""
        return self._budgets.objection(deployment, bound, self._balances, self._now_s)


def _own_balances(parts: tuple[_Part[_AskedT], ...], asked: _AskedT, now_s: float) -> Iterator[Balance]:
    for name_of, named, each in parts:
        name = name_of(asked)
        if name:
            for fund in (*named.get(name, ()), *each):
                yield fund.balance(name, now_s)


def _left(balances: Sequence[Balance]) -> float | None:
    return max(0.0, 1.0 - max(balance.share for balance in balances)) if balances else None


def _index(funds: Iterable[Fund]) -> _Index:
    by_scope: dict[Scope, tuple[dict[str, tuple[Fund, ...]], list[Fund]]] = {}
    for fund in funds:
        named, each = by_scope.setdefault(fund.budget.scope, ({}, []))
        if fund.budget.only is None:
            each.append(fund)
        else:
            named[fund.budget.only] = (*named.get(fund.budget.only, ()), fund)
    parts = {scope: (named, tuple(each)) for scope, (named, each) in by_scope.items()}
    return _Index(
        overall=parts[Scope.OVERALL][1] if Scope.OVERALL in parts else (),
        callers=tuple((name_of, *parts[scope]) for scope, name_of in _CALLERS.items() if scope in parts),
        answerers=tuple((name_of, *parts[scope]) for scope, name_of in _ANSWERERS.items() if scope in parts),
    )
