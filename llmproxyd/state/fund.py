"""One budget in force: what every name it counts for has spent and reserved, window by window.

What was spent is remembered by the window it was reserved in. A wall clock that is set back finds the earlier window as
it left it, and no window ever begins a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from llmproxyd.state.periods import Period, Window
from llmproxyd.values.budget import ABOUT_THE_ANSWERER, Budget, BudgetAlert, BudgetReport, Scope
from llmproxyd.values.ledger import Total

MAX_ACCOUNTS: Final = 20_000
"""Names with a balance of their own, for one budget; clients can invent names of projects and users without end."""

KEPT_WINDOWS: Final = 8
"""Windows that an account remembers. Who is set further back counts in the oldest of them."""

SHARED: Final = ""
"""The account of everybody, and of those who come when there are too many accounts. No name is empty."""

# Below this many accounts nobody is looked for who may be forgotten; and how long after its window ended.
_FIRST_SWEEP: Final = 256
_FORGET_AFTER_S: Final = 86_400.0


class Balance:
    """What one name has spent and reserved of one budget in one window; nano-dollars and tokens."""

    __slots__ = (
        "fund",
        "held_nanos",
        "held_tokens",
        "name",
        "refused",
        "spent_nanos",
        "spent_tokens",
        "told",
        "window",
    )

    def __init__(self, fund: Fund, name: str, window: Window) -> None:
        self.fund = fund
        self.name = name
        self.window = window
        self.spent_nanos = 0
        self.spent_tokens = 0
        self.held_nanos = 0
        self.held_tokens = 0
        self.refused = 0
        self.told: frozenset[float] = frozenset()

    @property
    def budget(self) -> Budget:
        """As it is in force now; its amount may have changed since the window began."""
        return self.fund.budget

    @property
    def share(self) -> float:
        """How much of the amount is spent, 1.0: all of it; may be more. Of money and tokens, what is further on."""
        budget = self.fund.budget
        return max(_share(self.spent_nanos, budget.nanos), _share(self.spent_tokens, budget.tokens))

    def fits(self, nanos: int | None, tokens: int) -> bool:
        """Whether so much can be reserved. What costs nothing always fits, an unknown price fits no amount of money."""
        budget = self.fund.budget
        if budget.nanos is not None and nanos != 0:
            if nanos is None:
                return False
            if self.spent_nanos + self.held_nanos + nanos > budget.nanos:
                return False
        bound = budget.tokens
        return bound is None or not tokens or self.spent_tokens + self.held_tokens + tokens <= bound

    def could_fit(self, nanos: int | None, tokens: int) -> bool:
        """Whether it would fit if nothing were spent or reserved."""
        budget = self.budget
        if budget.nanos is not None and (nanos is None or nanos > budget.nanos):
            return False
        return budget.tokens is None or tokens <= budget.tokens

    def hold(self, nanos: int, tokens: int) -> None:
        self.held_nanos += nanos
        self.held_tokens += tokens

    def book(self, nanos: int, tokens: int) -> None:
        self.spent_nanos += nanos
        self.spent_tokens += tokens

    def newly_passed(self) -> tuple[float, ...]:
        """The thresholds to tell now, lowest first; each is given once."""
        thresholds = self.fund.budget.alert_at
        if not thresholds:
            return ()
        share, told = self.share, self.told
        if share < thresholds[0]:
            return ()
        passed = tuple(t for t in thresholds if t <= share and t not in told)
        if passed:
            self.told = told.union(passed)
        return passed

    def alert(self, threshold: float | None) -> BudgetAlert:
        return BudgetAlert(
            self.budget,
            self.name,
            threshold,
            self.share,
            self.spent_nanos,
            self.spent_tokens,
            self.window.from_s,
            self.window.to_s,
        )

    def report(self) -> BudgetReport:
        budget = self.budget
        return BudgetReport(
            budget=budget,
            name=self.name,
            spent_nanos=self.spent_nanos,
            spent_tokens=self.spent_tokens,
            held_nanos=self.held_nanos,
            held_tokens=self.held_tokens,
            left=max(0.0, 1.0 - self.share),
            refused=self.refused,
            from_s=self.window.from_s,
            to_s=self.window.to_s,
            shared=self.name == SHARED and budget.scope is not Scope.OVERALL,
        )


def _share(spent: int, amount: int | None) -> float:
    if amount is None:
        return 0.0
    return max(0.0, spent / amount) if amount else 1.0


class Account:
    """The balances of one name, by the beginning of their window."""

    __slots__ = ("_balances", "_current")

    def __init__(self, first: Balance) -> None:
        self._current = first
        self._balances = {first.window.from_s: first}

    def __iter__(self) -> Iterator[Balance]:
        return iter(self._balances.values())

    def balance(self, window: Window) -> Balance:
        """The one of this window, a new one if it begins now."""
        current = self._current
        if current.window.from_s == window.from_s:
            return current
        found = self._balances.get(window.from_s) or self._open(window)
        self._current = found
        return found

    def _open(self, window: Window) -> Balance:
        if len(self._balances) >= KEPT_WINDOWS:
            oldest = self._balances[min(self._balances)]
            if window.from_s < oldest.window.from_s:
                return (
                    oldest  # what was spent so long ago is not known any more: it must not look like nothing
                )
            del self._balances[oldest.window.from_s]
        opened = Balance(self._current.fund, self._current.name, window)
        self._balances[window.from_s] = opened
        return opened

    def is_idle(self, now_s: float) -> bool:
        """Nothing in it makes a difference to anybody any more."""
        return all(
            b.window.to_s + _FORGET_AFTER_S <= now_s and not (b.held_nanos or b.held_tokens) for b in self
        )


class Fund:
    """A budget and its accounts. ``restored``: what was spent before this process is in them."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.restored = False
        self.in_force = True
        self.about_the_answerer = budget.scope in ABOUT_THE_ANSWERER
        self._period = Period(budget.per, budget.zone)
        self._accounts: dict[str, Account] = {}
        self._swept_s = 0.0

    def window(self, now_s: float) -> Window:
        return self._period.window(now_s)

    def balance(self, name: str, now_s: float) -> Balance:
        """What counts for ``name`` at ``now_s``, Unix seconds."""
        window = self._period.window(now_s)
        account = self._accounts.get(name)
        if account is None:
            account = self._open(name, window, now_s)
        return account.balance(window)

    def adopt(self, budget: Budget) -> None:
        """The same budget with other numbers: what was spent stays spent. A threshold that is no longer passed may be
        told again."""
        self.budget = budget
        for account in self._accounts.values():
            for balance in account:
                share = balance.share
                balance.told = frozenset(t for t in balance.told if t <= share)

    def restore(self, sums: Mapping[tuple[str, str], Total], now_s: float) -> None:
        """Take over what the ledger has for the window of ``now_s``: sums by (scope, name). Nothing is told again."""
        scope, only = self.budget.scope, self.budget.only
        for (kind, name), total in sums.items():
            if kind != scope or (only is not None and name != only):
                continue
            if not name and scope is not Scope.OVERALL:
                continue
            balance = self.balance(name, now_s)
            if balance.name == name:
                # Something may have been booked since we began, and the ledger has that as well.
                balance.spent_nanos = max(balance.spent_nanos, total.cost_nanos)
                balance.spent_tokens = max(balance.spent_tokens, total.tokens)
            else:
                balance.book(total.cost_nanos, total.tokens)
            balance.newly_passed()
        self.restored = True

    def current(self, now_s: float) -> Iterator[Balance]:
        """Every balance that counts now; of a budget nobody has touched one that is empty, where it is for one name."""
        window = self._period.window(now_s)
        if not self._accounts and (self.budget.only is not None or self.budget.scope is Scope.OVERALL):
            yield Balance(self, self.budget.only or SHARED, window)
        for account in tuple(self._accounts.values()):
            for balance in account:
                if balance.window.from_s == window.from_s:
                    yield balance

    def _open(self, name: str, window: Window, now_s: float) -> Account:
        if len(self._accounts) >= _FIRST_SWEEP and self._swept_s != window.from_s:
            # Nobody becomes idle before a window turns, so looking once in each is enough.
            self._swept_s = window.from_s
            self._accounts = {n: a for n, a in self._accounts.items() if not a.is_idle(now_s)}
        if len(self._accounts) >= MAX_ACCOUNTS:
            name = SHARED
            if SHARED in self._accounts:
                return self._accounts[SHARED]
        account = self._accounts[name] = Account(Balance(self, name, window))
        return account
