"""Counters and gauges -> Prometheus text. The only module that knows the library and the names of the metrics.

Names and labels are an interface: dashboards and alerts rest on them.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from llmproxyd import __version__
from llmproxyd.in_force import InForce
from llmproxyd.server.metrics import Counters, Histogram, Scrape
from llmproxyd.state.registry import ProviderReport
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
        yield _gauge("build_info", "Version of this program.", ("version", "python"), [(_build(), 1)])
        yield from _exchanges(scrape.counters)
        yield _gauge("requests_in_flight", "Requests in hand.", (), [((), scrape.in_flight)])
        yield _providers(scrape.providers)
        yield from _reloads(scrape.in_force, scrape.watch_mode)
        yield _counter("log_lines_lost", "Log lines that nobody took.", (), {(): scrape.log_lines_lost})
        yield from ProcessCollector(registry=None).collect()


def _build() -> tuple[str, str]:
    return __version__, platform.python_version()


def _exchanges(counters: Counters) -> Iterator[Metric]:
    by_model = ("provider", "model")
    yield _counter(
        "exchanges",
        "Client requests that are over, by what they came to.",
        (*by_model, "outcome"),
        counters.exchanges,
    )
    yield _counter(
        "attempts",
        "Calls to providers that are over; ok, or the kind of failure.",
        ("provider", "outcome"),
        counters.attempts,
    )
    yield _counter("streams", "Streamed exchanges that are over.", ("ending",), counters.streams)
    yield _counter(
        "tokens",
        "Tokens; cache_read is part of input, reasoning of output.",
        (*by_model, "kind"),
        counters.tokens,
    )
    usd = {key: nanos / NANOS_PER_USD for key, nanos in dict(counters.cost_nanos).items()}
    yield _counter("cost_usd", "Dollars spent, where the price is known.", by_model, usd)
    yield _histogram(
        "first_content_seconds", "Time to the first content.", ("provider",), counters.first_content
    )
    yield _histogram("exchange_seconds", "Time of whole exchanges.", ("provider",), counters.total)
    yield _histogram("overhead_seconds", "Time before the commit that was ours.", (), {(): counters.overhead})


def _providers(reports: Iterable[ProviderReport]) -> Metric:
    samples = [
        ((report.name, state), int(report.state == state)) for report in reports for state in PROVIDER_STATES
    ]
    return _gauge("provider_state", "1 for the state that a provider is in.", ("provider", "state"), samples)


def _reloads(in_force: InForce, watch_mode: str) -> Iterator[Metric]:
    current, rejected = in_force.current, in_force.rejected
    yield _gauge(
        "config_last_reload_successful",
        "0 while the files on disk are refused.",
        (),
        [((), int(rejected is None))],
    )
    yield _gauge(
        "config_last_reload_success_timestamp_seconds",
        "When the files were last found right.",
        (),
        [((), in_force.accepted_s or 0.0)],
    )
    yield _counter(
        "config_reloads", "Reloads by what came of them.", ("result", "trigger"), in_force.counters
    )
    yield _gauge("config_generation", "The generation in force.", (), [((), current.number)])
    yield _gauge("config_hash", "The hash of the generation in force.", ("hash",), [((current.hash,), 1)])
    yield _gauge(
        "config_watch_mode", "How changes of the files are noticed.", ("mode",), [((watch_mode,), 1)]
    )


def _gauge(
    name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"llmproxyd_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _counter(
    name: str, text: str, labels: tuple[str, ...], counts: Mapping[Any, float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"llmproxyd_{name}", text, labels=labels)
    for values, number in sorted(dict(counts).items()):
        family.add_metric(values, number)
    return family


def _histogram(
    name: str, text: str, labels: tuple[str, ...], series: Mapping[Any, Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"llmproxyd_{name}", text, labels=labels)
    for values, histogram in sorted(dict(series).items()):
        family.add_metric(values, histogram.buckets(), histogram.sum_s)
    return family
