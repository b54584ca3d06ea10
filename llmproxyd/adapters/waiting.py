"""When a provider says to come back: every form of wait hint, in seconds from the moment of the answer.

Hints that name an instant are read against the answer's own ``date`` header, so that neither our clock nor a
difference between the two clocks matters; without that header such a hint is no hint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from llmproxyd.values.contracts import Headers

_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_GO_UNITS_S: Mapping[str, float] = {
    "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9,
}  # fmt: skip
_TEXT_HINT = re.compile(
    r"(?:try again|retry)(?: again)? (?:in|after)\s+((?:\d+(?:\.\d+)?\s*(?:milliseconds?|ms|seconds?|s|minutes?|m|hours?|h)(?![a-z])\s*)+)",
    re.IGNORECASE,
)
_TEXT_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_RATE_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")
_EPOCH_MS = 1e11  # larger than any second count of this millennium: it must be milliseconds


def find_retry_after_s(headers: Headers, document: Any, text: str) -> float | None:
    """Seconds until the provider wants to see us again; None if it does not say.

    headers: lower-case names. document: the decoded error body, or None. text: its message.
    What was said outright (`retry-after`) comes before what can be inferred (the reset of a spent window).
    """
    finders: tuple[Callable[[], float | None], ...] = (
        lambda: _scaled(headers.get("retry-after-ms"), 1e-3),
        lambda: _retry_after(headers),
        lambda: _retry_info(document),
        lambda: _said_in(text),
        lambda: _spent_window(headers),
        lambda: _epoch(headers.get("x-ratelimit-reset"), headers),
    )
    for find in finders:
        seconds = find()
        if seconds is not None:
            return seconds
    return None


def parse_duration_s(text: str) -> float | None:
    """``1s``, ``6m0s``, ``850ms`` -> seconds; None if it is nothing of the kind."""
    parts = _GO_DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return sum(float(number) * _GO_UNITS_S[unit] for number, unit in parts)


def _scaled(value: str | None, unit_s: float) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value) * unit_s
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _retry_after(headers: Headers) -> float | None:
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _scaled(value, 1.0)
    if seconds is not None:
        return seconds
    duration = parse_duration_s(value)
    return duration if duration is not None else _until(_http_date(value), headers)


def _http_date(value: str | None) -> datetime | None:
    try:
        when = parsedate_to_datetime(value) if value else None
    except ValueError:
        return None
    return when.replace(tzinfo=UTC) if when is not None and when.tzinfo is None else when


def _until(when: datetime | None, headers: Headers) -> float | None:
    answered = _http_date(headers.get("date"))
    if when is None or answered is None:
        return None
    return max(0.0, (when - answered).total_seconds())


def _retry_info(document: Any) -> float | None:
    """google.rpc.RetryInfo, which also passes through gateways: ``{"retryDelay": "37s"}`` among the details."""
    error = document.get("error") if isinstance(document, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str):
            return parse_duration_s(delay)
    return None


def _said_in(text: str) -> float | None:
    """`try again in 1.2s`, `retry after 6 seconds`, `try again in 1m 20s`."""
    hint = _TEXT_HINT.search(text)
    if hint is None:
        return None
    return sum(
        float(number) * _GO_UNITS_S["ms" if unit.lower().startswith(("ms", "milli")) else unit[0].lower()]
        for number, unit in _TEXT_AMOUNT.findall(hint[1])
    )


def _spent_window(headers: Headers) -> float | None:
    """The reset of the rate-limit window that has nothing left; the later one if several are spent."""
    waits = [
        wait
        for name in _RATE_LIMITS
        for prefix in ("x-ratelimit-", "anthropic-ratelimit-")
        for wait in (_window(headers, prefix, name),)
        if wait is not None
    ]
    return max(waits, default=None)


def _window(headers: Headers, prefix: str, name: str) -> float | None:
    infix = (f"remaining-{name}", f"reset-{name}") if prefix.startswith("x-") else (
        f"{name}-remaining", f"{name}-reset"
    )  # fmt: skip
    remaining, reset = headers.get(prefix + infix[0]), headers.get(prefix + infix[1])
    if reset is None or remaining is None or remaining.strip() != "0":
        return None
    duration = parse_duration_s(reset)
    if duration is not None:
        return duration
    try:
        return _until(datetime.fromisoformat(reset), headers)
    except (ValueError, TypeError):
        return _scaled(reset, 1.0)


def _epoch(value: str | None, headers: Headers) -> float | None:
    """A Unix time in seconds (or milliseconds); a small number is a plain count of seconds."""
    number = _scaled(value, 1.0)
    if number is None:
        return None
    if number > _EPOCH_MS:
        number /= 1000.0
    if number < 1e9:
        return number
    if number > _EPOCH_MS:
        return None
    return _until(datetime.fromtimestamp(number, tz=UTC), headers)
