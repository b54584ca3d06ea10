"""What answers that were kept saved, what budgets have left, whether the ledger can write: as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric

from llmproxyd.cache.response_cache import CacheReport
from llmproxyd.server.metrics_family import counter, gauge
from llmproxyd.values.budget import BudgetReport
from llmproxyd.values.cost import NANOS_PER_USD


def format_cache(report: CacheReport | None) -> Iterator[Metric]:
    if report is None:
        return
    counts = report.counts
    outcomes = {
        ("hit",): counts.hits - counts.stale_hits,
        ("stale",): counts.stale_hits,
        ("miss",): counts.misses,
    }
    yield counter("cache_lookups", "Look-ups of kept answers by what came of them.", ("outcome",), outcomes)
    saved = {(): counts.saved_nanos / NANOS_PER_USD}
    yield counter("cache_saved_usd", "Dollars that kept answers would have cost again.", (), saved)
    yield gauge("cache_entries", "Kept answers in memory.", (), [((), report.entries)])
    yield gauge("cache_memory_bytes", "What they take.", (), [((), report.memory_bytes)])
    yield counter("cache_evicted", "Kept answers that made room for others.", (), {(): report.evicted})


def format_budgets(reports: Sequence[BudgetReport]) -> Iterator[Metric]:
    """Those with the least left; their number is bounded by whoever reports."""
    yield gauge(
        "budget_left_ratio",
        "Share of a budget that is not spent in its window; `of` where each name has its own.",
        ("budget", "of"),
        [((report.budget.name, report.name), report.left) for report in reports],
    )


def format_ledger(ok: bool | None) -> Iterator[Metric]:
    if ok is not None:
        yield gauge("ledger_ok", "0 while entries cannot be written.", (), [((), int(ok))])
