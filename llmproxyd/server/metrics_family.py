"""Families of samples as the Prometheus library wants them; every name begins with the program's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from llmproxyd.server.metrics import Histogram


def gauge(
    name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"llmproxyd_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def counter(
    name: str, text: str, labels: tuple[str, ...], counts: Mapping[Any, float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"llmproxyd_{name}", text, labels=labels)
    for values, number in sorted(dict(counts).items()):
        family.add_metric(values, number)
    return family


def histogram(
    name: str, text: str, labels: tuple[str, ...], series: Mapping[Any, Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"llmproxyd_{name}", text, labels=labels)
    for values, observed in sorted(dict(series).items()):
        family.add_metric(values, observed.buckets(), observed.sum_s)
    return family
