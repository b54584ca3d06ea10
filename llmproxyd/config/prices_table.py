"""The compiled table of prices: one file, read a line at a time, and only the lines of providers that are asked for.

The first line says what the file is and where every provider's line stands; ``compile_prices`` writes it. A line names
its models and their prices; a price is decoded when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from llmproxyd.values.cost import Daily, Dated, Price, PriceList, Step

FORMAT: Final = 1
_MAX_BYTES: Final = 16 * 1024 * 1024
_COMPACT_DATE: Final = re.compile(r"-(20\d{2})(\d{2})(\d{2})(?=-|:|$)")


class TableError(Exception):
    """The file is missing, or is not such a table; the message says which file and what is wrong."""


class _Place(msgspec.Struct, frozen=True):
    at: int
    size: int
    url: str
    names: list[Any] | None = None
    others: tuple[str, ...] = ()


class _Head(msgspec.Struct, frozen=True):
    format: int
    source: str
    version: str
    date: str
    compiled: str
    providers: dict[str, _Place]


class _Model(msgspec.Struct, frozen=True):
    id: str
    prices: msgspec.Raw
    uncounted: tuple[str, ...] = ()


class _Row(msgspec.Struct, frozen=True):
    equal: dict[str, int]
    otherwise: list[tuple[int, list[Any]]] = msgspec.field(name="else")
    models: list[_Model]


class Listing(msgspec.Struct, frozen=True):
    """What the table says of one model. ``uncounted``: units it is also sold by that no answer tells."""

    provider: str
    model: str
    prices: PriceList | None
    uncounted: tuple[str, ...] = ()


class PriceTable:
    """One file of prices. Lines that were read are kept; there are not more of them than providers."""

    def __init__(self, path: Path) -> None:
        """Reads the head alone. Raises TableError."""
        self._path = path
        self._rows: dict[str, _Row] = {}
        try:
            with path.open("rb") as file:
                line = file.readline(_MAX_BYTES)
            self._head = msgspec.json.decode(line, type=_Head)
        except (OSError, msgspec.MsgspecError) as error:
            raise TableError(f"{path}: no table of prices: {error}") from None
        if self._head.format != FORMAT:
            raise TableError(f"{path}: a table of prices of format {self._head.format}, not {FORMAT}")
        self._start = len(line)

    @property
    def version(self) -> str:
        """``genai-prices 0.2.3``"""
        return f"{self._head.source} {self._head.version}"

    @property
    def package_version(self) -> str:
        return self._head.version

    @property
    def date(self) -> str:
        """The ISO date of the newest price in it that had begun when it was compiled."""
        return self._head.date

    @property
    def compiled(self) -> str:
        """The ISO date of the day it was compiled."""
        return self._head.compiled

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(self._head.providers)

    def provider_named(self, name: str) -> str | None:
        """The provider somebody calls so; None if there is none."""
        folded = name.casefold()
        if folded in self._head.providers:
            return folded
        for provider, place in self._head.providers.items():
            if place.names is not None and _matches(place.names, folded):
                return provider
        return None

    def provider_at(self, url: str) -> str | None:
        """The provider whose endpoint this is."""
        for provider, place in self._head.providers.items():
            if re.match(place.url, url):
                return provider
        return None

    def find(self, provider: str, model: str) -> Listing | None:
        """What a provider takes for a model, under any spelling it knows; makers' prices where it sells their models.

        None: the provider or the model is not in the table. Raises TableError when the file has become unreadable.
        """
        place = self._head.providers.get(provider)
        if place is None:
            return None
        folded = model.lower()
        for spelling in dict.fromkeys((folded, _COMPACT_DATE.sub(r"-\1-\2-\3", folded))):
            for seller in (provider, *place.others):
                found = self._find_at(seller, spelling)
                if found is not None:
                    # Tiers are the maker's own business: nobody says that a reseller has them at the same price.
                    return self._listing(seller, found, tiers=seller == provider)
        return None

    def models(self, provider: str) -> tuple[str, ...]:
        """The ids of all models a provider itself lists."""
        return tuple(model.id for model in self._row(provider).models)

    def _find_at(self, provider: str, spelling: str) -> _Model | None:
        row = self._row(provider)
        best = row.equal.get(spelling, len(row.models))
        for number, clause in row.otherwise:
            if number >= best:
                break
            if _matches(clause, spelling):
                best = number
        return row.models[best] if best < len(row.models) else None

    def _row(self, provider: str) -> _Row:
        row = self._rows.get(provider)
        if row is None:
            place = self._head.providers[provider]
            try:
                with self._path.open("rb") as file:
                    file.seek(self._start + place.at)
                    row = msgspec.json.decode(file.read(place.size), type=_Row)
            except (OSError, msgspec.MsgspecError) as error:
                raise TableError(f"{self._path}: the prices of {provider} cannot be read: {error}") from None
            self._rows[provider] = row
        return row

    def _listing(self, provider: str, model: _Model, *, tiers: bool) -> Listing:
        entries = tuple(_parse_dated(row, tiers=tiers) for row in msgspec.json.decode(model.prices))
        known = any(entry.price is not None for entry in entries)
        return Listing(
            provider, model.id, PriceList(entries, self.version) if known else None, model.uncounted
        )


def _parse_dated(row: Mapping[str, Any], *, tiers: bool) -> Dated:
    daily = tuple(
        Daily(begin, end, price)
        for begin, end, written in row.get("daily", ())
        if (price := _parse_price(written, tiers=tiers)) is not None
    )
    return Dated(_parse_price(row["price"], tiers=tiers), row.get("from", 0), daily)


def _parse_price(row: Mapping[str, Any] | None, *, tiers: bool) -> Price | None:
    if row is None:
        return None
    rates = {name: value for name, value in row.items() if name not in ("steps", "tiers")}
    served = row.get("tiers", {}) if tiers else {}
    return Price(
        **rates,
        steps=tuple(Step(above, Price(**step)) for above, step in row.get("steps", ())),
        tiers={
            tier: price
            for tier, one in served.items()
            if (price := _parse_price(one, tiers=False)) is not None
        },
    )


def _matches(clause: list[Any], text: str) -> bool:
    kind, argument = clause
    if kind == "|":
        return any(_matches(one, text) for one in argument)
    if kind == "&":
        return all(_matches(one, text) for one in argument)
    return _TESTS[kind](text, argument)


_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "=": lambda text, argument: text == argument,
    "^": lambda text, argument: text.startswith(argument),
    "$": lambda text, argument: text.endswith(argument),
    "*": lambda text, argument: argument in text,
    "~": lambda text, argument: re.search(argument, text) is not None,
}
