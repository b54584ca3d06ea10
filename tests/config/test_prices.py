from __future__ import annotations

import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmproxyd.config.presets import PRESETS
from llmproxyd.config.prices import (
    SHIPPED,
    choose_table,
    installed_version,
    known_price,
    listed_price,
    seller_named,
)
from llmproxyd.config.prices_table import PriceTable, TableError
from llmproxyd.values.cost import Price
from tests.programs import skip

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


def price(provider: str, model: str, at_s: float = NOON) -> Price:
    listing = known_price(provider, model)
    assert listing is not None
    assert listing.prices is not None
    found = listing.prices.at(at_s)
    assert found is not None
    return found


def test_the_shipped_table_says_whose_it_is_and_how_old() -> None:
    table = PriceTable(SHIPPED)
    assert table.version == f"genai-prices {table.package_version}"
    assert "2026-11-01" <= table.date <= table.compiled
    assert len(table.providers) >= 47
    assert sum(len(table.models(provider)) for provider in table.providers) >= 2330


def test_the_shipped_table_is_what_the_compiler_makes_of_that_version(tmp_path: Path) -> None:
    shipped = PriceTable(SHIPPED)
    if installed_version() != shipped.package_version:
        skip(
            f"genai-prices {installed_version()} is installed, the table is of {shipped.package_version}: run `make setup`"
        )
    out = tmp_path / "prices.jsonl"
    command = [sys.executable, "-m", "llmproxyd.config.compile_prices", str(out), "--day", shipped.compiled]
    subprocess.run(command, check=True, timeout=60)
    assert out.read_bytes() == SHIPPED.read_bytes()


@pytest.mark.parametrize(
    ("provider", "model", "rates"),
    [
        ("openai", "gpt-5.6-luna", (200_000_000, 1_200_000_000)),
        ("openai", "gpt-4o-2024-08-06", (2_500_000_000, 10_000_000_000)),
        ("gemini", "gemini-2.5-flash", (300_000_000, 2_500_000_000)),
        ("google", "gemini-2.5-flash", (300_000_000, 2_500_000_000)),
        ("xai", "grok-4.7", (2_000_000_000, 6_000_000_000)),
        ("x-ai", "grok-4.7", (2_000_000_000, 6_000_000_000)),
        ("azure", "gpt-4o", (2_500_000_000, 10_000_000_000)),
        ("anthropic", "claude-opus-5.5", (4_000_000_000, 20_000_000_000)),
        ("openrouter", "anthropic/claude-opus-5.5", (4_000_000_000, 20_000_000_000)),
        ("cohere", "embed-v5.0-pro", (120_000_000, 0)),
    ],
)
def test_a_model_is_priced_under_the_names_people_use(
    provider: str, model: str, rates: tuple[int, int]
) -> None:
    found = price(provider, model)
    assert (found.input, found.output) == rates


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "gpt-9000"), ("nobody", "gpt-4o"), ("vllm", "gpt-4o"), ("openai", "")]
)
def test_what_is_not_known_has_no_price(provider: str, model: str) -> None:
    assert known_price(provider, model) is None


def test_what_the_table_lacks_comes_from_the_catalogue() -> None:
    listing = known_price("cohere", "embed-v5.0-pro")
    assert listing is not None
    assert listing.prices is not None
    assert listing.prices.version.startswith("catalogue 20")


def test_a_model_that_is_sold_by_the_hour_has_no_price_by_the_token() -> None:
    listing = known_price("openai", "whisper-1")
    assert listing is not None
    assert listing.prices is None
    assert listing.uncounted == ("audio_hours", "input_audio_hours")


def test_hours_of_the_day_have_prices_of_their_own() -> None:
    midnight = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
    rates = [
        price("deepseek", "deepseek-v4-pro", midnight + 60 * m).input for m in (59, 60, 239, 240, 360, 600)
    ]
    usual, peak = 660_000_000, 1_320_000_000
    assert rates == [usual, peak, peak, usual, peak, usual]


@pytest.mark.parametrize(
    ("preset", "url", "model", "upstream", "seller"),
    [
        ("openai", "https://api.openai.com/v1", "gpt-4o", "gpt-4o", "openai"),
        ("openai", "https://proxy.example.net/v1", "gpt-4o", "gpt-4o", "openai"),
        (
            "openai-compatible",
            "https://api.groq.com/openai/v1",
            "openai/gpt-oss-120b",
            "openai/gpt-oss-120b",
            "groq",
        ),
        ("azure", "https://me.openai.azure.com/openai/v1", "gpt-4o", "my-own-name", "openai"),
        ("openai", "https://api.openai.com/v1", "quick", "gpt-4o-mini", "openai"),
    ],
)
def test_the_endpoint_says_who_is_paid(preset: str, url: str, model: str, upstream: str, seller: str) -> None:
    listing = listed_price(PRESETS[preset], url, model, upstream)
    assert listing is not None
    assert listing.provider == seller


@pytest.mark.parametrize("preset", ["vllm", "ollama", "mock", "lmstudio"])
def test_nobody_is_paid_for_ones_own_server(preset: str) -> None:
    assert listed_price(PRESETS[preset], "http://localhost:8000/v1", "gpt-4o", "gpt-4o") is None
    assert seller_named(preset) is None


def test_a_reseller_has_no_tiers_of_the_maker() -> None:
    assert set(price("openai", "gpt-6-sol").tiers) == {"batch", "flex", "priority", "fast"}
    assert price("azure", "gpt-6-sol").tiers == {}


# --- another version is installed ---------------------------------------------------------------------------------


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A genai-prices of another version, before the one that is installed on the path."""
    package = pytest.importorskip("genai_prices")
    site = tmp_path / "site"
    shutil.copytree(Path(package.__file__).parent, site / "genai_prices")
    info = site / "genai_prices-9.9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: genai-prices\nVersion: 9.9.9\n")
    monkeypatch.syspath_prepend(str(site))
    return site


def test_another_version_is_compiled_once_and_then_read(newer: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    environ = {"XDG_CACHE_HOME": str(cache)}
    chosen = choose_table(environ, lambda: "9.9.9")
    assert (chosen.table.version, chosen.note) == ("genai-prices 9.9.9", None)
    compiled = cache / "llmproxyd" / "prices-9.9.9.jsonl"
    before = compiled.stat().st_mtime_ns
    found = chosen.table.find("openai", "gpt-4o")
    assert found is not None
    assert found.prices is not None
    assert choose_table(environ, lambda: "9.9.9").table.version == "genai-prices 9.9.9"
    assert compiled.stat().st_mtime_ns == before


def test_the_same_version_is_not_compiled(tmp_path: Path) -> None:
    version = PriceTable(SHIPPED).package_version
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    assert choose_table(environ, lambda: None).note is None
    assert choose_table(environ, lambda: version).note is None
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_compiled_is_told_and_the_shipped_table_serves(newer: Path, tmp_path: Path) -> None:
    (newer / "genai_prices" / "data.py").write_text("raise ImportError('broken on purpose')\n")
    chosen = choose_table({"XDG_CACHE_HOME": str(tmp_path / "cache")}, lambda: "9.9.9")
    assert chosen.table.package_version == PriceTable(SHIPPED).package_version
    assert chosen.note is not None
    assert "broken on purpose" in chosen.note
    nowhere = choose_table({}, lambda: "9.9.9")
    assert nowhere.note is not None
    assert "XDG_CACHE_HOME" in nowhere.note


def test_a_damaged_table_is_compiled_again(newer: Path, tmp_path: Path) -> None:
    cache = tmp_path / "llmproxyd"
    cache.mkdir()
    (cache / "prices-9.9.9.jsonl").write_bytes(SHIPPED.read_bytes()[:100])
    assert (
        choose_table({"XDG_CACHE_HOME": str(tmp_path)}, lambda: "9.9.9").table.version == "genai-prices 9.9.9"
    )


def test_a_table_that_is_cut_short_says_so(tmp_path: Path) -> None:
    path = tmp_path / "prices.jsonl"
    data = SHIPPED.read_bytes()
    path.write_bytes(data[: data.index(b"\n") + 5])
    with pytest.raises(TableError, match="openai cannot be read"):
        PriceTable(path).find("openai", "gpt-4o")
    path.write_bytes(data.replace(b'"format":1', b'"format":7', 1))
    with pytest.raises(TableError, match="format 7"):
        PriceTable(path)


def test_reading_the_largest_provider_is_quick() -> None:
    best = min(_seconds() for _ in range(5))
    assert best < 0.05, (
        "a start may take ten milliseconds for this; five times that leaves room for a busy machine"
    )


def _seconds() -> float:
    start = time.perf_counter()
    PriceTable(SHIPPED).find("openrouter", "anthropic/claude-opus-5.5")
    return time.perf_counter() - start
