"""What each caller may take within a minute and at a time: inbound limits, by owner.

Owners are names the configuration gives (a tenant). What was taken is remembered apart from the limits, so that
a limit that changes in the files judges what was taken before it changed, and reloading refills nothing.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from llmproxyd.state.rolling import RollingSum
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Limits

MINUTE_S: Final = 60

# Nobody knows when a call of the owner's own ends; a second is soon enough to ask again.
_CONCURRENCY_RETRY_S: Final = 1.0

# Below this many owners nobody is looked for who may be forgotten.
_FIRST_SWEEP: Final = 256


class Account:
    """What one owner took: requests and tokens of the last minute, calls in flight."""

    __slots__ = ("in_flight", "requests", "tokens")

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests = RollingSum(MINUTE_S, at_least=True)
        self.tokens = RollingSum(MINUTE_S, at_least=True)

    def is_idle(self, now_s: float) -> bool:
        """Nothing in it makes a difference to anybody any more."""
        return not (self.in_flight or self.requests.total(now_s) or self.tokens.total(now_s))


class Taken:
    """One admitted request of an owner. Whoever took it leaves it once."""

    __slots__ = ("_account", "_taken_s", "_tokens")

    def __init__(self, account: Account | None, tokens: int, taken_s: float) -> None:
        self._account = account
        self._tokens = tokens
        self._taken_s = taken_s

    def leave(self, tokens_used: int | None, now_s: float) -> None:
        """The request is over. ``tokens_used`` replaces the estimate; None: unknown, the estimate stands."""
        account, self._account = self._account, None
        if account is None:
            return
        account.in_flight -= 1
        if tokens_used is None or tokens_used == self._tokens:
            return
        if tokens_used > self._tokens:
            account.tokens.add(now_s, tokens_used - self._tokens)
        else:
            account.tokens.take_back(self._taken_s, self._tokens - tokens_used, now_s)


_UNLIMITED: Final = Taken(None, 0, 0.0)


class Windows:
    """All owners' accounts. In no span of a minute does an owner begin more requests than its limit; tokens may exceed
    theirs by what estimates were wrong, and by one request that is larger than the limit itself."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._sweep_at = _FIRST_SWEEP

    def take(self, owner: str, limits: Limits, tokens: int, now_s: float) -> Taken | Failure:
        """Admit one request of about ``tokens`` tokens, or say which limit is reached and when to come back.

        All limits are checked before any is charged: a refused request costs the owner nothing.
        Returns a Failure LIMIT_REACHED with ``code`` the limit's name and ``retry_after_s``.
        """
        if not limits:
            return _UNLIMITED
        account = self._accounts.get(owner)
        if account is None:
            account = self._open(owner, now_s)
        refused = _refusal(account, limits, tokens, now_s)
        if refused is not None:
            return refused
        account.in_flight += 1
        account.requests.add(now_s)
        account.tokens.add(now_s, tokens)
        return Taken(account, tokens, now_s)

    def _open(self, owner: str, now_s: float) -> Account:
        if len(self._accounts) >= self._sweep_at:
            self._accounts = {name: a for name, a in self._accounts.items() if not a.is_idle(now_s)}
            # Twice what is left: a sweep is paid for by the owners that came since the last one.
            self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._accounts))
        account = self._accounts[owner] = Account()
        return account


def _refusal(account: Account, limits: Limits, tokens: int, now_s: float) -> Failure | None:
    concurrency = limits.concurrency
    if concurrency is not None and account.in_flight >= concurrency:
        return _reached("concurrency", f"{concurrency} requests at a time", _CONCURRENCY_RETRY_S)
    requests = limits.requests_per_minute
    if requests is not None and account.requests.total(now_s) >= requests:
        wait_s = account.requests.falls_to_s(requests - 1, now_s) - now_s
        return _reached("requests_per_minute", f"{requests} requests per minute", wait_s)
    bound = limits.tokens_per_minute
    if bound is None:
        return None
    # A request larger than the limit would never fit; it passes when the whole minute is free.
    room_from_s = account.tokens.falls_to_s(bound - min(tokens, bound), now_s)
    if room_from_s <= now_s:
        return None
    return _reached("tokens_per_minute", f"{bound} tokens per minute", room_from_s - now_s)


def _reached(code: str, bound: str, wait_s: float) -> Failure:
    return Failure(
        FailureKind.LIMIT_REACHED,
        f"Your limit of {bound} is reached; try again in {max(1, ceil(wait_s))} s.",
        code=code,
        retry_after_s=wait_s,
    )
