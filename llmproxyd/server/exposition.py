"""Counters and gauges -> Prometheus text: the names of the metrics, and with ``metrics_health`` the only ones that are.

Names and labels are an interface: dashboards and alerts rest on them.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector

from llmproxyd import __version__
from llmproxyd.in_force import InForce
from llmproxyd.server.metrics import Counters, Gathered, Line, Scrape
from llmproxyd.server.metrics_family import counter, gauge, histogram
from llmproxyd.server.metrics_health import format_health
from llmproxyd.server.metrics_money import format_budgets, format_cache, format_ledger
from llmproxyd.state.report import ProviderReport
from llmproxyd.values.cost import NANOS_PER_USD

PROVIDER_STATES = ("available", "failing", "not yet tested", "not configured", "disabled")


def format_metrics(scrape: Scrape) -> bytes:
    """All metrics in the text format 0.0.4."""
    return generate_latest(_Source(scrape))


class _Source:
    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        scrape = self._scrape
        yield gauge("build_info", "Version of this program.", ("version", "python"), [(_build(), 1)])
        yield from _exchanges(scrape.counters)
        yield gauge("requests_in_flight", "Requests in hand.", (), [((), scrape.in_flight)])
        yield _providers(scrape.providers)
        yield from format_health(scrape.providers)
        yield from _gathered(scrape.gathered)
        yield from _reloads(scrape.in_force, scrape.watch_mode)
        yield counter("log_lines_lost", "Log lines that nobody took.", (), {(): scrape.log_lines_lost})
        yield from ProcessCollector(registry=None).collect()


def _build() -> tuple[str, str]:
    return __version__, platform.python_version()


def _exchanges(counters: Counters) -> Iterator[Metric]:
    by_model = ("provider", "model")
    yield counter(
        "exchanges",
        "Client requests that are over, by what they came to.",
        (*by_model, "outcome"),
        counters.exchanges,
    )
    yield counter(
        "attempts",
        "Calls to providers that are over; ok, or the kind of failure.",
        ("provider", "outcome"),
        counters.attempts,
    )
    yield counter("streams", "Streamed exchanges that are over.", ("ending",), counters.streams)
    yield counter(
        "tokens",
        "Tokens; cache_read is part of input, reasoning of output.",
        (*by_model, "kind"),
        counters.tokens,
    )
    yield from _detours(counters)
    usd = {key: nanos / NANOS_PER_USD for key, nanos in dict(counters.cost_nanos).items()}
    yield counter("cost_usd", "Dollars spent, where the price is known.", by_model, usd)
    yield histogram(
        "first_content_seconds", "Time to the first content.", ("provider",), counters.first_content
    )
    yield histogram("exchange_seconds", "Time of whole exchanges.", ("provider",), counters.total)
    yield histogram("overhead_seconds", "Time before the commit that was ours.", (), {(): counters.overhead})


def _detours(counters: Counters) -> Iterator[Metric]:
    yield counter(
        "failovers",
        "Answers given by one provider after another had failed, by how it failed.",
        ("from", "to", "kind"),
        counters.failovers,
    )
    yield counter(
        "retries", "Further calls of a deployment within one exchange.", ("provider",), counters.retries
    )
    yield counter("hedges", "Second calls beside a slow one.", ("outcome",), counters.hedges)
    yield counter(
        "usage_disputed", "Answers whose token counts were not believed.", ("provider",), counters.disputed
    )


def _gathered(gathered: Gathered) -> Iterator[Metric]:
    yield from _lines(gathered.lines)
    yield counter(
        "shed", "Requests refused because there was too much to do.", ("class",), _keyed(gathered.shed)
    )
    jobs = sorted(_keyed(gathered.jobs).items())
    yield gauge("jobs", "Requests that are answered later, by state.", ("state",), jobs)
    yield counter("events", "Events since the start.", ("kind",), _keyed(gathered.events))
    yield counter(
        "webhook_deliveries", "Notices by what came of them.", ("result",), _keyed(gathered.webhooks)
    )
    yield from format_cache(gathered.cache)
    yield from format_budgets(gathered.budgets)
    yield from format_ledger(gathered.ledger_ok)


def _lines(lines: Iterable[Line]) -> Iterator[Metric]:
    """A provider whose address has changed has two lines until the old one is empty: they are added up."""
    in_use, waiting, refused = Counter[tuple[str]](), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for line in lines:
        in_use[(line.provider,)] += line.in_use
        waiting.update({(line.provider, str(rank)): count for rank, count in line.waiting.items()})
        refused.update({(line.provider, str(rank)): count for rank, count in line.refused.items()})
    by_class = ("provider", "class")
    yield gauge("limit_in_use", "Calls that count against limits.", ("provider",), in_use.items())
    yield gauge("limit_waiting", "Requests in line for a provider.", by_class, waiting.items())
    yield counter("limit_refused", "Requests that found no place in the line.", by_class, refused)


def _keyed(counts: Mapping[Any, int]) -> dict[tuple[str], int]:
    return {(str(key),): count for key, count in counts.items()}


def _providers(reports: Iterable[ProviderReport]) -> Metric:
    samples = [
        ((report.name, state), int(report.state == state)) for report in reports for state in PROVIDER_STATES
    ]
    return gauge("provider_state", "1 for the state that a provider is in.", ("provider", "state"), samples)


def _reloads(in_force: InForce, watch_mode: str) -> Iterator[Metric]:
    current, rejected = in_force.current, in_force.rejected
    yield gauge(
        "config_last_reload_successful",
        "0 while the files on disk are refused.",
        (),
        [((), int(rejected is None))],
    )
    yield gauge(
        "config_last_reload_success_timestamp_seconds",
        "When the files were last found right.",
        (),
        [((), in_force.accepted_s or 0.0)],
    )
    yield counter("config_reloads", "Reloads by what came of them.", ("result", "trigger"), in_force.counters)
    yield gauge("config_generation", "The generation in force.", (), [((), current.number)])
    yield gauge("config_hash", "The hash of the generation in force.", ("hash",), [((current.hash,), 1)])
    yield gauge("config_watch_mode", "How changes of the files are noticed.", ("mode",), [((watch_mode,), 1)])
