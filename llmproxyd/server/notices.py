"""How each kind of event is told: how loudly in the log, whether to webhooks, and in which words."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llmproxyd.state.events import LOST, Event


class Notice(msgspec.Struct, frozen=True):
    """``level`` of the log line, empty where another line tells the same. ``hook``: worth a webhook. ``text``: a template
    over the facts, ``{subject}``, ``{pause}`` (for how long), ``{times}`` (how often) and ``{todo}`` (the remedy)."""

    level: str
    hook: bool
    text: str


_BREAKERS: Mapping[str, Notice] = {
    "breaker_opened": Notice("warning", True, "{subject} is not called{pause}: {cause}.{todo}"),
    "breaker_half_open": Notice("info", False, "{subject} is tried again, one call at a time."),
    "breaker_closed": Notice("info", True, "{subject} is well again."),
    "cooling": Notice("info", False, "{subject} asked for a pause{pause}."),
    "credential_quarantined": Notice(
        "warning", True, "A key of {subject} was refused and is not used{pause}: {cause}.{todo}"
    ),
    "credential_restored": Notice("info", False, "A key of {subject} is used again."),
    "provider_unreachable": Notice("warning", True, "{subject} cannot be reached: {cause}.{todo}"),
}
NOTICES: Mapping[str, Notice] = {
    **_BREAKERS,
    "failover": Notice("warning", True, "{to} answered for {subject}, which failed ({failure}){times}."),
    # The line of the exchange itself tells all about it.
    "exchange_failed": Notice("", False, "A request got no good answer: {failure}{at}{times}."),
    "overload": Notice("warning", True, "There is too much to do: requests were refused{times}."),
    "queue_full": Notice("warning", False, "The line is full: requests were refused{times}."),
    "config_applied": Notice("", False, "Generation {generation} of the configuration is in force."),
    "config_rejected": Notice(
        "", True, "The files on disk are refused, generation {generation} stays in force: {problem}"
    ),
    "budget": Notice("warning", True, "Budget {subject}: {said}."),
    "ledger": Notice("error", True, "The ledger: {said}."),
    LOST: Notice("", False, "{count} events are not here any more: they came faster than they were read."),
    "webhook_failed": Notice("warning", False, "{subject} did not get its notice: {why}{times}."),
}
HEALTH_KINDS = frozenset(_BREAKERS)


class _Said(dict[str, object]):
    """Facts for a template; one that is not there is said with silence."""

    def __missing__(self, name: str) -> str:
        return ""


def describe(event: Event) -> str:
    """One plain sentence or two, in one line. A kind that is not in the table is told by its name."""
    notice = NOTICES.get(event.kind)
    if notice is None:
        return f"{event.kind} {event.subject}".strip()
    facts = event.facts
    said = _Said({name: _plain(fact) for name, fact in facts.items() if fact is not None})
    said["subject"] = event.subject
    said["at"] = f" at {event.subject}" if event.subject else ""
    said["pause"] = _pause(facts.get("for_s"))
    said["times"] = _times(facts.get("count"))
    said["todo"] = _todo(facts.get("help"))
    return " ".join(notice.text.format_map(said).split())


def _plain(fact: object) -> object:
    """A cause comes with or without its full stop; the template has one."""
    return fact.rstrip(". ") if isinstance(fact, str) else fact


def _pause(for_s: object) -> str:
    return f" for {for_s:.3g} s" if isinstance(for_s, (int, float)) else ""


def _times(count: object) -> str:
    return f", {count} times" if isinstance(count, int) and count > 1 else ""


def _todo(text: object) -> str:
    if not isinstance(text, str) or not text:
        return ""
    return f" To do: {text.rstrip('. ')}."
