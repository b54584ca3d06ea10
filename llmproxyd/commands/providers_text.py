"""The providers as text: a table of all with what is wrong under it, or one of them in full. Fits into 100 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from llmproxyd.commands.console import format_table
from llmproxyd.config.terminal import visible, wrap

Entry: TypeAlias = Mapping[str, Any]

HEADER = ("NAME", "STATE", "REQUESTS", "SUCCESS", "MEAN", "UP 1H", "BUSY", "LAST OK", "LAST FAILURE")
DEPLOYMENTS = ("MODEL", "BREAKER", "SUCCESS", "IN A ROW", "FIRST", "MEAN", "UP 1H", "BUSY", "LAST OK")
WIDTH: Final = 100

_RIGHT = (2, 3, 4, 5, 6)
_RIGHT_OF_DEPLOYMENTS = (2, 3, 4, 5, 6, 7)
_INDENT = 4
_LABELS = 14
_WELL = "closed"
_BREAKERS = {
    "open": "is not called ({cause})",
    "cooling": "asked for a pause",
    "half_open": "is tried again, one call at a time ({cause})",
    "recovering": "is well again and gets its calls back by and by",
}
_LIMITS = {
    "requests_per_minute": "{} requests a minute",
    "tokens_per_minute": "{} tokens a minute",
    "concurrency": "{} calls at a time",
}
_UNITS: tuple[tuple[float, str], ...] = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def format_providers(document: Entry, now_s: float) -> str:
    """The default provider, a table of all, what is wrong with whom, and the list of those that answer. ``now_s``: Unix
    seconds, for what is told as an age."""
    providers = document["providers"]
    table = format_table(HEADER, [_row(provider, now_s) for provider in providers], right=_RIGHT).splitlines()
    lines = [table[0]]
    for line, provider in zip(table[1:], providers, strict=True):
        lines.append(line)
        for note in _notes(provider):
            lines += _wrapped(note)
    available = ", ".join(map(visible, document["available"])) or "none"
    default = visible(document["default_provider"] or "none; rules and priorities decide")
    return "\n".join([f"default provider: {default}", "", *lines, "", f"available: {available}"])


def format_provider(provider: Entry, now_s: float) -> str:
    """One provider in full: facts line by line, then its deployments."""
    lines = [f"{visible(provider['name'])}: {visible(provider['state'])}"]
    for label, text in _facts(provider, now_s):
        head, *rest = wrap(visible(text), WIDTH - _LABELS, 0)
        lines += [f"  {label:<11} {head}", *(" " * _LABELS + line for line in rest)]
    deployments = provider["deployments"]
    if deployments:
        rows = [_deployment_row(deployment, now_s) for deployment in deployments]
        lines += ["", format_table(DEPLOYMENTS, rows, right=_RIGHT_OF_DEPLOYMENTS)]
    for deployment in deployments:
        if deployment["breaker"] != _WELL:
            lines += _wrapped(_about(deployment))
    return "\n".join(lines)


# --- the table ----------------------------------------------------------------------------------------------


def _row(provider: Entry, now_s: float) -> tuple[str, ...]:
    return (
        provider["name"],
        provider["state"],
        str(provider["requests"]),
        share(provider["success_rate"]),
        seconds(provider["mean_response_s"]),
        share(provider["uptime"]["1h"]),
        str(provider["in_flight"]),
        age(provider["last_success"], now_s),
        age(provider["last_failure"], now_s),
    )


def _notes(provider: Entry) -> Iterator[str]:
    """What an operator should know, most important first."""
    if provider["reason"]:
        yield provider["reason"]
    for credential in provider["credentials"]:
        if credential["help"] and credential["help"] not in provider["reason"]:
            yield _about_key(credential)
    for deployment in provider["deployments"]:
        # Where the provider itself is failing its reason says it for all of them.
        if deployment["breaker"] != _WELL and provider["state"] != "failing":
            yield _about(deployment)
    line = _line(provider)
    if line:
        yield line


def _about(deployment: Entry) -> str:
    words = _BREAKERS.get(str(deployment["breaker"]), "is {cause}").format(cause=deployment["cause"])
    ready_in_s = deployment["ready_in_s"]
    when = f"; next call in {ready_in_s:.0f} s" if ready_in_s >= 1 else ""
    todo = f". To do: {deployment['help']}" if deployment["help"] else ""
    return f"{deployment['name']} {words}{when}{todo}"


def _about_key(credential: Entry) -> str:
    until = f" until {moment(credential['until'])}" if credential["until"] else ""
    todo = f": {credential['help']}" if credential["help"] else ""
    return f"key {credential['name']} is {credential['state']}{until}{todo}"


def _line(provider: Entry) -> str:
    waiting = {rank: count for rank, count in (provider["waiting"] or {}).items() if count}
    if not waiting:
        return ""
    return "in line: " + ", ".join(f"{count} {rank}" for rank, count in waiting.items())


def _wrapped(text: str) -> list[str]:
    return [" " * _INDENT + line for line in wrap(visible(text), WIDTH - _INDENT, 0)]


# --- one provider -------------------------------------------------------------------------------------------


def _facts(provider: Entry, now_s: float) -> Iterator[tuple[str, str]]:
    if provider["reason"]:
        yield "why", provider["reason"]
    yield (
        "requests",
        f"{provider['requests']}, {share(provider['success_rate'])} good, {provider['in_flight']} under way",
    )
    first, mean = seconds(provider["mean_first_content_s"]), seconds(provider["mean_response_s"])
    yield "time", f"{first} to the first content, {mean} in all, on average"
    yield "up", ", ".join(f"{share(part)} in {window}" for window, part in provider["uptime"].items())
    ages = [(word, age(provider[f"last_{word}"], now_s)) for word in ("checked", "success", "failure")]
    yield "last", ", ".join(f"{word} {told}" for word, told in ages)
    limits = [_LIMITS[name].format(number) for name, number in provider["limits"].items() if name in _LIMITS]
    if limits:
        yield "limits", ", ".join(limits)
    if provider["waiting"] is not None:
        yield "waiting", _line(provider).removeprefix("in line: ") or "nobody"
    for credential in provider["credentials"]:
        yield "key", _about_key(credential).removeprefix("key ")


def _deployment_row(deployment: Entry, now_s: float) -> tuple[str, ...]:
    return (
        deployment["model"],
        deployment["breaker"],
        share(deployment["success_rate"]),
        str(deployment["consecutive_failures"]),
        seconds(deployment["mean_first_content_s"]),
        seconds(deployment["mean_total_s"]),
        share(deployment["uptime"]["1h"]),
        str(deployment["in_flight"]),
        age(deployment["last_success"], now_s),
    )


# --- figures ------------------------------------------------------------------------------------------------


def share(part: float | None) -> str:
    """0.9949 -> ``99.4%``: never rounded up to all, nor down to nothing."""
    if part is None:
        return "-"
    if part in (0.0, 1.0):
        return f"{part:.0%}"
    return f"{min(max(part, 0.001), 0.999):.1%}"


def seconds(duration_s: float | None) -> str:
    return "-" if duration_s is None else f"{duration_s:.2f} s"


def age(told: str | None, now_s: float) -> str:
    """How long ago an RFC 3339 moment was, in its largest unit."""
    if told is None:
        return "-"
    ago_s = now_s - datetime.fromisoformat(told).timestamp()
    for unit_s, unit in _UNITS:
        if ago_s >= unit_s:
            return f"{ago_s // unit_s:.0f} {unit} ago"
    return "now"


def moment(told: str) -> str:
    """RFC 3339 without what nobody reads: the fraction."""
    return told.partition(".")[0].removesuffix("Z") + "Z"
