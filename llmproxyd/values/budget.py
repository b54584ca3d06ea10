"""Budgets: how much money, or how many tokens, may go in an hour, a day, a week or a month; and what is told of them.

Shares are 0..1 of the whole amount. Whose balance it is, and how it is kept, is the business of ``state``.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

DEFAULT_ALERTS = (0.8, 1.0)
DEFAULT_CEILING_FROM = 0.8


class Scope(StrEnum):
    """What a budget is for. The values are those of the ledger's sums."""

    OVERALL = "overall"
    TENANT = "tenant"
    PROJECT = "project"
    USER = "user"
    KEY = "key"
    PROVIDER = "provider"
    MODEL = "model"


ABOUT_THE_ANSWERER = frozenset({Scope.PROVIDER, Scope.MODEL})
"""Scopes that depend on who is asked, not on who asks."""


class Per(StrEnum):
    """How long a budget lasts: hours, days, weeks from Monday, months, by the calendar of its zone."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Then(StrEnum):
    """What becomes of a request that does not fit any more. ``downgrade``: who is cheap enough may still answer.
    ``queue``: it waits until the next window begins."""

    REJECT = "reject"
    DOWNGRADE = "downgrade"
    QUEUE = "queue"


class Budget(msgspec.Struct, frozen=True):
    """``only``: the one name it is for; None: each name of its scope has a balance of its own (of OVERALL: everybody).

    ``nanos`` (nano-dollars) and ``tokens``, read and written together: None: no bound of that kind, never both.
    ``zone``: IANA name. ``alert_at``: shares in rising order at which somebody is told. ``ceiling``: from ``ceiling_from``
    of the amount on, who costs more than this is not asked; nano-dollars per million tokens, three parts input to one
    part output; with DOWNGRADE alone, None: whatever still fits.
    """

    name: str
    scope: Scope = Scope.OVERALL
    only: str | None = None
    nanos: int | None = None
    tokens: int | None = None
    per: Per = Per.MONTH
    zone: str = "UTC"
    alert_at: tuple[float, ...] = DEFAULT_ALERTS
    then: Then = Then.REJECT
    ceiling: int | None = None
    ceiling_from: float = DEFAULT_CEILING_FROM

    @property
    def identity(self) -> tuple[str, ...]:
        """The same while what was spent counts for it, whatever else is changed."""
        return self.name, self.scope, "each" if self.only is None else f"={self.only}", self.per, self.zone


class Who(msgspec.Struct, frozen=True, gc=False):
    """Who asks. None or empty: nobody in particular, so that no budget of that scope applies."""

    tenant: str | None = None
    project: str | None = None
    user: str | None = None
    key_id: str | None = None


class Bound(msgspec.Struct, frozen=True, gc=False):
    """The most a request can come to at one deployment: ``nanos`` (None: its price is unknown) and ``tokens``. ``rate``: the
    deployment's price in nano-dollars per million tokens, three parts input to one part output."""

    nanos: int | None
    tokens: int
    rate: float | None


class Objection(msgspec.Struct, frozen=True):
    """Why a budget keeps a deployment from being asked. ``reason`` names it; ``code`` is the failure's, if nobody is left;
    ``retry_after_s``: when the next window begins, None: waiting does not help."""

    reason: str
    code: str
    retry_after_s: float | None = None


class BudgetAlert(msgspec.Struct, frozen=True):
    """A threshold was passed, once in a window; ``threshold`` None: the first request in it was refused or made to wait.

    ``name``: whose balance, where each has its own; empty otherwise. ``share`` of the amount that is spent; ``nanos`` and
    ``tokens`` spent. The window is [from_s, to_s), Unix seconds.
    """

    budget: Budget
    name: str
    threshold: float | None
    share: float
    nanos: int
    tokens: int
    from_s: float
    to_s: float


class BudgetReport(msgspec.Struct, frozen=True):
    """One balance as it stands. ``name`` as in ``BudgetAlert``. ``held``: reserved by what still runs. ``left``: share
    that is not spent. ``refused``: requests in this window that did not fit. ``shared``: it stands for many names."""

    budget: Budget
    name: str
    spent_nanos: int
    spent_tokens: int
    held_nanos: int
    held_tokens: int
    left: float
    refused: int
    from_s: float
    to_s: float
    shared: bool = False
