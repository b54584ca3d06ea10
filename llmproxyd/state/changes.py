"""What operators hear of when it happens, and what they can do about each kind of trouble. No key, no word of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from llmproxyd.values.failure import FailureKind
from llmproxyd.values.snapshot import Provider

MAX_CAUSE_CHARS = 200

_TEST = "`llmproxyd providers test {provider}`"

HELP: Mapping[FailureKind, str] = {
    FailureKind.UNREACHABLE: f"see that it runs and that `base_url` and the network lead to it: {_TEST}",
    FailureKind.TIMEOUT: "it does not answer in time: see its status page, or raise `timeouts` of `{provider}`",
    FailureKind.OVERLOADED: "it is overloaded or broken: see its status page; it is tried again by itself",
    FailureKind.BAD_ANSWER: "its answers cannot be read: check `base_url` and dialect of `{provider}`",
    FailureKind.RATE_LIMITED: "have the account's limit raised, or set `limits` of `{provider}` so that calls wait here",
    FailureKind.PROVIDER_DENIED: f"replace the key of `{{provider}}`, or give it the permission: {_TEST}",
    FailureKind.MODEL_UNAVAILABLE: "it does not have that model (any more): correct `models` of `{provider}`",
}
"""What an operator can do about a kind of failure."""


class HealthChange(msgspec.Struct, frozen=True):
    """``kind``: breaker_opened, breaker_half_open, breaker_closed, cooling, credential_quarantined, credential_restored,
    provider_unreachable. ``subject``: a deployment's or a provider's name. ``for_s``: how long it lasts at first, None
    where that has no meaning. ``help``: what can be done, empty where nothing need be."""

    kind: str
    subject: str
    cause: str = ""
    for_s: float | None = None
    help: str = ""


Tell = Callable[[HealthChange], None]


def ignore(change: HealthChange) -> None:
    """For those who tell nobody."""


def help_for(cause: FailureKind | None, provider: Provider) -> str:
    """Empty where there is no cause."""
    return "" if cause is None else HELP.get(cause, "").format(provider=provider.name)
