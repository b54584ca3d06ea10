"""What happens, told once to each who wants to know: the ring of events, the log, and webhooks for what is worth it.

A provider that is down makes a failover of every request. Such things are told when they begin, and from then on at
most once in ten seconds, with how many they were.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from llmproxyd.config.problem import Problem, Severity
from llmproxyd.config.report import format_line
from llmproxyd.exchange.account import Ending, ExchangeRecord
from llmproxyd.in_force import ReloadVerdict
from llmproxyd.ledger.export import usd
from llmproxyd.logs import get_logger
from llmproxyd.server.notices import NOTICES, describe
from llmproxyd.server.outcome import find_failover
from llmproxyd.state.changes import HealthChange
from llmproxyd.state.events import Event, Events, Fact
from llmproxyd.values.budget import BudgetAlert
from llmproxyd.values.failure import Failure, FailureKind, Fault
from llmproxyd.values.ledger import LedgerHealth

WINDOW_S = 10.0
MAX_KEYS = 1024

_log = get_logger("events")
_config_log = get_logger("daemon")

Key: TypeAlias = tuple[str, ...]
"""(kind, subject, ...): events with the same one are counted together."""
Facts: TypeAlias = dict[str, Fact]
Later: TypeAlias = Callable[[float, Callable[[], None]], object]

_SATURATED: Mapping[str | None, str] = {
    "overloaded": "overload",
    "queue": "queue_full",
    "queue_full": "queue_full",
}
"""Code of a SATURATED failure -> kind of event; any other is a failed exchange like all others."""


class _Held(msgspec.Struct):
    """``count`` happened since ``told_s``; ``facts`` of the last one."""

    told_s: float
    facts: Facts
    count: int = 0


def _on_the_loop(delay_s: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(delay_s, call)


class Notifier:
    """``offer``: of ``Webhooks``. ``status``: the state of the configuration in one line. ``clock``: monotonic."""

    def __init__(
        self,
        events: Events,
        offer: Callable[[Event, str], None],
        *,
        status: Callable[[], str] = str,
        clock: Callable[[], float] = time.monotonic,
        later: Later = _on_the_loop,
    ) -> None:
        self._events = events
        self._offer = offer
        self._status = status
        self._clock = clock
        self._later = later
        self._held: dict[Key, _Held] = {}
        self._armed = False

    # --- what is told ---------------------------------------------------------------------------------------

    def health(self, change: HealthChange) -> None:
        """A breaker or a key has changed its state: always told, for the registry does not repeat itself."""
        facts: Facts = {"cause": change.cause, "for_s": change.for_s, "help": change.help}
        self._tell(change.kind, change.subject, {k: v for k, v in facts.items() if v not in (None, "")})

    def exchange(self, record: ExchangeRecord) -> None:
        """An exchange is over: a sink of ``Account``. What went well costs two comparisons."""
        if record.failure is not None:
            self._failed(record, record.failure)
        if len(record.attempts) < 2:
            return
        failover = find_failover(record)
        if failover is not None:
            facts: Facts = {"from": failover.origin, "to": failover.to, "failure": failover.failure.value}
            key = ("failover", failover.origin, failover.to, failover.failure.value)
            self._count(key, {**facts, "request_id": record.request_id})

    def budget(self, alert: BudgetAlert) -> None:
        """A threshold was passed, or the first request of a window was refused: always told, once in a window."""
        budget, of = alert.budget, f" of {alert.name}" if alert.name else ""
        share = f"{alert.share:.0%} of it is spent"
        said = share if alert.threshold is not None else f"the first request did not fit any more, {share}"
        facts: Facts = {"said": said, "per": budget.per.value, "share": round(alert.share, 4)}
        self._tell("budget", budget.name + of, {**facts, "usd": usd(alert.nanos), "tokens": alert.tokens})

    def ledger(self, health: LedgerHealth) -> None:
        """It cannot write what is booked, or can again."""
        self._tell(
            "ledger", "", {"said": health.reason or "everything is booked again", "ok": int(health.ok)}
        )

    def reload(self, verdict: ReloadVerdict) -> None:
        """The files were read, or servers listed other models. Writes the log lines of a reload, one for each problem."""
        for problem in verdict.problems:
            _config_log.warning("config.problem", code=problem.code, text=format_line(problem))
        tell = _config_log.info if verdict.accepted else _config_log.error
        tell(
            f"config.{verdict.result}",
            generation=verdict.generation,
            trigger=verdict.trigger,
            token=verdict.token,
            ms=round(verdict.duration_s * 1000, 1),
            status=self._status(),
        )
        if verdict.result == "noop":
            return
        facts: Facts = {"generation": verdict.generation, "trigger": verdict.trigger, "token": verdict.token}
        if not verdict.accepted:
            facts["problem"] = _first_error(verdict.problems)
        self._tell(f"config_{verdict.result}", "", facts)

    def webhook(self, place: str, result: str, why: str) -> None:
        """A webhook did not get its notice: the ``tell`` of ``Webhooks``."""
        self._count(("webhook_failed", place, result), {"result": result, "why": why})

    def flush(self) -> None:
        """Tell what is held back, for instance because we stop."""
        held, self._held = self._held, {}
        for key, entry in held.items():
            self._tell_held(key, entry)

    def _failed(self, record: ExchangeRecord, failure: Failure) -> None:
        ours_or_theirs = failure.consequence.fault is not Fault.CALLER
        if record.ending not in (Ending.FAILED, Ending.CUT) or not ours_or_theirs:
            return
        kind = _SATURATED.get(failure.code) if failure.kind is FailureKind.SATURATED else None
        subject = record.attempts[-1].deployment if record.attempts else ""
        facts: Facts = {"failure": failure.kind.value, "request_id": record.request_id}
        if kind is not None:
            self._count((kind, ""), facts)
        else:
            facts["ending"] = record.ending.value
            self._count(("exchange_failed", subject, failure.kind.value, record.ending.value), facts)

    # --- telling --------------------------------------------------------------------------------------------

    def _tell(self, kind: str, subject: str, facts: Facts) -> None:
        event = self._events.publish(kind, subject, **facts)
        notice = NOTICES.get(kind)
        if notice is None:
            _log.warning(kind, subject=subject, **facts)
            return
        text = describe(event)
        if notice.level:
            getattr(_log, notice.level)(kind, subject=subject, **facts, text=text)
        if notice.hook:
            self._offer(event, text)

    # --- counting together ----------------------------------------------------------------------------------

    def _count(self, key: Key, facts: Facts) -> None:
        held = self._held.get(key)
        if held is not None:
            held.count, held.facts = held.count + 1, facts
            return
        if len(self._held) >= MAX_KEYS:
            self.flush()
        self._held[key] = _Held(self._clock(), facts)
        self._tell(key[0], key[1], {**facts, "count": 1})
        self._arm(WINDOW_S)

    def _arm(self, delay_s: float) -> None:
        if not self._armed:
            self._armed = True
            self._later(delay_s, self._ring)

    def _ring(self) -> None:
        """Tell those whose window has passed; forget those that nothing was added to."""
        self._armed = False
        now_s = self._clock()
        for key, entry in list(self._held.items()):
            if now_s - entry.told_s < WINDOW_S:
                continue
            self._tell_held(key, entry)
            if entry.count:
                entry.told_s, entry.count = now_s, 0
            else:
                del self._held[key]
        if self._held:
            soonest_s = min(entry.told_s for entry in self._held.values())
            self._arm(max(0.001, soonest_s + WINDOW_S - now_s))

    def _tell_held(self, key: Key, entry: _Held) -> None:
        if entry.count:
            self._tell(key[0], key[1], {**entry.facts, "count": entry.count})


def _first_error(problems: tuple[Problem, ...]) -> str:
    first = next((problem for problem in problems if problem.severity is Severity.ERROR), None)
    return format_line(first) if first is not None else "refused"
