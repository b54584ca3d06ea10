"""What providers are publicly known to take: the shipped table, or one made from the genai-prices that is installed.

Whoever installs another version of that package than the table was made from gets its prices: they are compiled once
for each version, by a process of its own, into the cache directory. Where that fails the shipped table serves on, and
``table_note`` says why.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from llmproxyd.config.catalogue import catalogue_date, facts, plain_id
from llmproxyd.config.presets import PRESETS, Preset
from llmproxyd.config.prices_table import Listing, PriceTable, TableError
from llmproxyd.values.cost import Dated, PriceList

SHIPPED: Final = Path(__file__).with_name("prices.jsonl")
COMPILE_TIMEOUT_S: Final = 60.0

_SELLERS: Final[Mapping[str, str]] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "azure": "azure",
    "cohere": "cohere",
    "xai": "x-ai",
    "openrouter": "openrouter",
}
"""Preset -> the table's name for that provider."""
_OWN_NAMES: Final = frozenset({"azure"})
"""Presets whose upstream names are invented by the customer, so that only the model's id says what it is."""
_VERSION: Final = re.compile(r"genai_prices-([0-9A-Za-z.+]{1,40})\.dist-info")


class Chosen(msgspec.Struct, frozen=True):
    """The table in use; ``note`` says why it is not the one it should be."""

    table: PriceTable
    note: str | None = None


def listed_price(preset: Preset, base_url: str, model: str, upstream: str) -> Listing | None:
    """What the provider behind this endpoint takes for a model; None: the table does not know the one or the other.

    ``model`` is the configured id, ``upstream`` what the provider calls it. Raises TableError for a damaged file.
    """
    seller = _seller(preset, base_url)
    if seller is None:
        return None
    names = (model, upstream) if preset.name in _OWN_NAMES else (upstream, model)
    return _find(seller, preset.name, names)


def known_price(provider: str, model: str) -> Listing | None:
    """What is publicly known, without any configuration: of a provider under its preset's name or the table's own.

    The table first, then the catalogue. None: nothing is known of that provider or that model there; a Listing without
    prices: it is known, but not what it costs by the token. Raises TableError for a damaged file.
    """
    seller = seller_named(provider)
    preset = next((p for p, name in _SELLERS.items() if name == seller), provider)
    listing = None if seller is None else _find(seller, preset, (model,))
    if listing is not None and listing.prices is not None:
        return listing
    known = facts(model, PRESETS[preset].name) if preset in PRESETS else None
    if known is None or known.price is None:
        return listing
    prices = PriceList((Dated(known.price),), f"catalogue {catalogue_date()}")
    return Listing(seller or preset, known.id, prices)


def _find(seller: str, preset: str, names: Sequence[str]) -> Listing | None:
    """Under the first name that is listed; at last under the one id that all spellings of the model share. Behind
    OpenRouter's colon stands a price of its own, which that id has not."""
    common = () if preset == "openrouter" else tuple(plain_id(name, preset) for name in names)
    for name in dict.fromkeys((*names, *common)):
        found = table().find(seller, name)
        if found is not None:
            return found
    return None


def seller_named(name: str) -> str | None:
    """The table's provider that somebody calls so: a preset's name, or the table's own. None: there is none."""
    preset = PRESETS.get(name)
    if preset is not None:
        return _SELLERS.get(preset.name)
    return table().provider_named(name)


def table() -> PriceTable:
    """The table in use, chosen once in the life of the process."""
    return _chosen().table


def table_note() -> str | None:
    """Why the table in use is not the one of the package that is installed; None: all is well."""
    return _chosen().note


def prices_version() -> str:
    """``genai-prices 0.2.3 (2026-11-09)``: who set the prices, and the day of the newest one in force."""
    return f"{table().version} ({table().date})"


@cache
def _chosen() -> Chosen:
    return choose_table(os.environ, installed_version)


def choose_table(environ: Mapping[str, str], installed: Callable[[], str | None]) -> Chosen:
    """The shipped table, or one of the version that is installed, compiled now if it never was.

    Raises TableError only where the shipped file itself is damaged.
    """
    shipped = PriceTable(SHIPPED)
    wanted = installed()
    if wanted is None or wanted == shipped.package_version:
        return Chosen(shipped)
    directory = _cache_directory(environ)
    if directory is None:
        return Chosen(
            shipped, f"no cache directory for the prices of genai-prices {wanted}: set XDG_CACHE_HOME"
        )
    path = directory / f"prices-{wanted}.jsonl"
    compiled = _read(path, wanted)
    if compiled is not None:
        return Chosen(compiled)
    trouble = _compile(path, environ)
    compiled = _read(path, wanted)
    if compiled is not None:
        return Chosen(compiled)
    return Chosen(
        shipped, f"genai-prices {wanted} could not be compiled, so {shipped.version} is used: {trouble}"
    )


def installed_version() -> str | None:
    """The version of the genai-prices that would be imported, without importing it; None: there is none."""
    spec = find_spec("genai_prices")
    if spec is None or spec.origin is None:
        return None
    home = Path(spec.origin).parent.parent
    versions = (_VERSION.fullmatch(path.name) for path in home.glob("genai_prices-*.dist-info"))
    return next((match[1] for match in versions if match is not None), None)


def _seller(preset: Preset, base_url: str) -> str | None:
    """Whoever the endpoint says, for a preset that is nobody in particular or points elsewhere than usual."""
    usual = _SELLERS.get(preset.name)
    if usual is None and preset.name != "openai-compatible":
        return None
    if usual is not None and urlsplit(base_url).hostname == urlsplit(preset.endpoint).hostname:
        return usual
    return table().provider_at(base_url) or usual


def _cache_directory(environ: Mapping[str, str]) -> Path | None:
    given = environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"], "llmproxyd")
    return Path(environ["HOME"], ".cache", "llmproxyd") if environ.get("HOME") else None


def _read(path: Path, version: str) -> PriceTable | None:
    """A table compiled earlier; None where there is none, or another one."""
    try:
        found = PriceTable(path)
    except TableError:
        return None
    return found if found.package_version == version else None


def _compile(path: Path, environ: Mapping[str, str]) -> str:
    """Run the compiler; what went wrong, for people, or "" if nothing did."""
    import subprocess  # hardly any start needs it, and it takes some milliseconds

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        done = subprocess.run(  # noqa: S603 - our own module, with our own interpreter
            [sys.executable, "-m", "llmproxyd.config.compile_prices", str(path)],
            env={**environ, "PYTHONPATH": os.pathsep.join(_import_path())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=COMPILE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {COMPILE_TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"{path.parent}: {error.strerror or error}"
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return "" if done.returncode == 0 else "; ".join([f"exit status {done.returncode}", *last])


def _import_path() -> Sequence[str]:
    """What the compiler imports is what this process would import."""
    return [entry or os.getcwd() for entry in sys.path]
