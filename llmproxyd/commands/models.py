"""``llmproxyd models``: every deployment with its price, window, abilities and last day. Reads the files; asks nobody."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from llmproxyd.commands.console import CannotGoOn, Command, Console, format_table
from llmproxyd.commands.files import load_snapshot
from llmproxyd.config.catalogue import catalogue_date
from llmproxyd.config.prices import prices_version, table_note
from llmproxyd.config.prices_table import TableError
from llmproxyd.config.suggest import closest
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit
from llmproxyd.values.cost import FEMTOS_PER_NANO, Price, usd_text
from llmproxyd.values.snapshot import Deployment, Snapshot

_UNKNOWN: Final = "-"
_RATES: Final = (
    "input",
    "output",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "reasoning",
    "input_audio",
    "output_audio",
    "cached_audio",
    "input_image",
    "output_image",
)


def _add_arguments(parser: Any) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="only this provider, model, or provider/model"
    )


def _run(arguments: Namespace, console: Console) -> int:
    snapshot = load_snapshot(console, console.config_dir())
    now_s = console.wall()
    rows = [describe(deployment, now_s) for deployment in _chosen(arguments.name, snapshot)]
    if console.json:
        console.say_json({"version": 1, "catalogue": catalogue_date(), "prices": _prices(), "models": rows})
    elif rows:
        console.say(
            f"{_format(rows)}\nPrices: {_prices() or 'none'}; facts: the catalogue of {catalogue_date()}."
        )
    _tell_rest(snapshot, console)
    return Exit.OK


def _chosen(name: str | None, snapshot: Snapshot) -> list[Deployment]:
    if name is None:
        return list(snapshot.deployments)
    found = [one for one in snapshot.deployments if name in (one.name, one.model, one.provider.name)]
    if found or name in snapshot.providers:
        return found
    names = {word for one in snapshot.deployments for word in (one.name, one.model, one.provider.name)}
    near = closest(name, names)
    meant = f"; did you mean `{visible(near)}`?" if near else "; llmproxyd models shows all"
    raise CannotGoOn(Exit.MISSING, f"no model and no provider is called `{visible(name)}`{meant}")


def _prices() -> str | None:
    """Which table of prices is in use, and its day; None where it cannot be read."""
    try:
        return prices_version()
    except TableError:
        return None


def _tell_rest(snapshot: Snapshot, console: Console) -> None:
    asked = sorted(one.name for one in snapshot.providers.values() if one.discover and one.enabled)
    if asked:
        console.complain(
            f"Models of {visible(', '.join(asked))} are not in the files: their servers list them (llmproxyd providers)."
        )
    try:
        note = table_note()
    except TableError as error:
        note = str(error)
    if note is not None:
        console.complain(f"llmproxyd: warning: {note}")


# --- one model --------------------------------------------------------------------------------------------------


def describe(deployment: Deployment, now_s: float) -> dict[str, Any]:
    """One deployment as a document. Prices are USD per million tokens as exact decimal text, null where unknown."""
    price = deployment.price if deployment.prices is None else deployment.prices.at(now_s)
    provider = deployment.provider
    capabilities = deployment.capabilities
    return {
        "name": deployment.name,
        "provider": provider.name,
        "model": deployment.model,
        "upstream": deployment.upstream,
        "usable": provider.enabled and provider.configured,
        "zone": str(provider.zone),
        "price": None if price is None else _price_row(price),
        "price_source": _source(deployment),
        "price_since": _since(deployment, now_s),
        "price_changes": _next_change(deployment, now_s),
        "context_window": deployment.context_window,
        "max_output_tokens": deployment.max_output_tokens,
        "capabilities": None if capabilities is None else sorted(capabilities),
        "retires": deployment.retires,
        "quality": dict(deployment.quality),
    }


def _price_row(price: Price) -> dict[str, Any]:
    """What is set, and what input, output and cached input come to in any case."""
    rates = {name: _usd(getattr(price, name)) for name in _RATES if getattr(price, name) is not None}
    rates["cached_input"] = _usd(price.rates["cached_input"])
    row: dict[str, Any] = {
        **rates,
        "per_request": _usd(price.per_request_nanos),
        "per_search": _usd(price.per_search_nanos),
    }
    if price.steps:
        row["steps"] = [{"above_tokens": step.above_tokens, **_price_row(step.price)} for step in price.steps]
    if price.tiers:
        row["tiers"] = {tier: _price_row(one) for tier, one in sorted(price.tiers.items())}
    return row


def _usd(nanos: int) -> str:
    return usd_text(nanos * FEMTOS_PER_NANO)


def _source(deployment: Deployment) -> str | None:
    return None if deployment.prices is None else deployment.prices.version


def _since(deployment: Deployment, now_s: float) -> str | None:
    """The day from which the present price holds; None: always, as far as anybody knows."""
    entries = () if deployment.prices is None else deployment.prices.entries
    began = [one.from_s for one in entries if 0 < one.from_s <= now_s]
    return _day(max(began)) if began else None


def _next_change(deployment: Deployment, now_s: float) -> str | None:
    entries = () if deployment.prices is None else deployment.prices.entries
    later = [one.from_s for one in entries if one.from_s > now_s]
    return _day(min(later)) if later else None


def _day(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).date().isoformat()


# --- text -------------------------------------------------------------------------------------------------------


def _format(rows: Iterable[dict[str, Any]]) -> str:
    header = ("model", "in", "out", "cached", "window", "answer", "can", "retires", "zone", "price by")
    return format_table(header, [_cells(row) for row in rows], right=(1, 2, 3, 4, 5)) + (
        "\nUSD per million tokens; window and answer in tokens; - is not known."
    )


def _cells(row: dict[str, Any]) -> list[str]:
    price = row["price"] or {}
    changes = f", changes {row['price_changes']}" if row["price_changes"] else ""
    more = "".join(f", {word}" for word in ("steps", "tiers") if word in price)
    return [
        row["name"] if row["usable"] else f"{row['name']} (not in use)",
        *(price.get(name) or _UNKNOWN for name in ("input", "output", "cached_input")),
        *(_thousands(row[name]) for name in ("context_window", "max_output_tokens")),
        ",".join(row["capabilities"]) if row["capabilities"] else _UNKNOWN,
        row["retires"] or _UNKNOWN,
        row["zone"],
        f"{row['price_source'] or 'nobody'}{more}{changes}",
    ]


def _thousands(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:_}"


COMMAND = Command(
    summary="Show every model of the files: price and who says it, window, longest answer, abilities, last day.",
    examples="""\
Examples:
  llmproxyd models
  llmproxyd models openai
  llmproxyd models gpt-5.6-luna --json
  llmproxyd models --config-dir /etc/llmproxyd""",
    add_arguments=_add_arguments,
    run=_run,
)
