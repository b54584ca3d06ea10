"""What is publicly known of models: windows, capabilities, prices, and which spellings mean the same model.

The facts are data (``catalogue.json``, with their date) and go stale; ``providers.yaml`` overrides each of them.
Facts hold only where the maker's own service, or a reseller that passes its models through, answers: somebody's own
server may run the same weights with a smaller window, without tools, and at another price.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

import msgspec

from llmproxyd.config.units import parse_usd_nanos
from llmproxyd.values.cost import Price
from llmproxyd.values.request import Capability

_DATED: Final = re.compile(r"-(?:20\d{6}|20\d{2}-\d{2}-\d{2}|\d{2}-20\d{2}|latest)$")
_LATEST_TAG: Final = ":latest"


class Facts(msgspec.Struct, frozen=True):
    """What the catalogue says of one model. None: it does not say. ``retires``: announced shutdown, ISO date."""

    id: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None
    price: Price | None = None
    retires: str | None = None


class _Catalogue(msgspec.Struct, frozen=True):
    """``spellings``: folded spelling -> id. ``hosts``: id -> presets at which the facts hold."""

    date: str
    facts: Mapping[str, Facts]
    spellings: Mapping[str, str]
    hosts: Mapping[str, frozenset[str]]


def facts(model_id: str, preset: str) -> Facts | None:
    """What is known of a model, under any of its spellings, at a provider of this preset; None if nothing.

    A variant (OpenRouter's ``author/slug:free``) is the same model at a price of its own, so its price is left out.
    """
    catalogue = _catalogue()
    model, _, variant = model_id.partition(":")
    known = _find(model, catalogue)
    if known is None or preset not in catalogue.hosts[known]:
        return None
    found = catalogue.facts[known]
    if not variant:
        return found
    return Facts(
        found.id, found.context_window, found.max_output_tokens, found.capabilities, None, found.retires
    )


def plain_id(model_id: str, preset: str) -> str:
    """The one id under which a model is known whatever its provider calls it; ``model_id`` itself if nobody knows it.

    ``claude-opus-5.5``, ``anthropic/claude-opus-5.5`` and ``claude-opus-5-5-20260801`` are ``claude-opus-5-5``.
    Ollama's ``:latest`` says no more than leaving it out.
    """
    if preset == "ollama":
        model_id = model_id.removesuffix(_LATEST_TAG)
        return _find(model_id, _catalogue()) or model_id
    return _find(model_id.partition(":")[0], _catalogue()) or model_id


def catalogue_date() -> str:
    """The ISO date up to which the facts were collected."""
    return _catalogue().date


def _find(spelling: str, catalogue: _Catalogue) -> str | None:
    """The id meant: as written, else without author, else without date."""
    slug = spelling.rpartition("/")[2]
    for candidate in (spelling, slug, _DATED.sub("", slug)):
        known = catalogue.spellings.get(_fold(candidate))
        if known is not None:
            return known
    return None


def _fold(spelling: str) -> str:
    """Dots and dashes, capitals and small letters are used for one another."""
    return spelling.casefold().replace(".", "-")


@cache
def _catalogue() -> _Catalogue:
    text = resources.files("llmproxyd.config").joinpath("catalogue.json").read_text(encoding="utf-8")
    document = json.loads(text)
    known: dict[str, Facts] = {}
    spellings: dict[str, str] = {}
    hosts: dict[str, frozenset[str]] = {}
    for family in document["families"]:
        for model_id, row in family["models"].items():
            known[model_id] = _parse_facts(model_id, row)
            hosts[model_id] = frozenset(family["hosts"])
            for spelling in (model_id, *row.get("aliases", ())):
                spellings[_fold(spelling)] = model_id
    return _Catalogue(document["date"], known, spellings, hosts)


def _parse_facts(model_id: str, row: Mapping[str, Any]) -> Facts:
    capabilities = row.get("capabilities")
    return Facts(
        id=model_id,
        context_window=row.get("context_window"),
        max_output_tokens=row.get("max_output_tokens"),
        capabilities=None if capabilities is None else frozenset(Capability(name) for name in capabilities),
        price=parse_price(row["price"]) if "price" in row else None,
        retires=row.get("retires"),
    )


def parse_price(row: Mapping[str, Any]) -> Price:
    """``{input, output, cached_input, cache_write, cache_write_1h}`` in USD per million tokens -> Price.

    Raises ValueError for an amount that is no amount.
    """
    rates: dict[str, Any] = {component: parse_usd_nanos(usd) for component, usd in row.items()}
    return Price(**rates)
