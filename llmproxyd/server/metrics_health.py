"""Health of every deployment as metrics. The number of series is bounded by the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import Metric

from llmproxyd.server.metrics_family import gauge
from llmproxyd.state.report import DeploymentReport, ProviderReport
from llmproxyd.values.plan import Breaker

_Row = tuple[str, DeploymentReport]

_WINDOWS = ("5m", "1h", "24h")
_BY_MODEL = ("provider", "model")


def format_health(reports: Iterable[ProviderReport]) -> Iterator[Metric]:
    """A figure that is not known yet has no sample."""
    rows = [(report.name, deployment) for report in reports for deployment in report.deployments]
    yield gauge(
        "deployment_breaker",
        "1 for the state that the breaker of a deployment is in.",
        (*_BY_MODEL, "state"),
        [
            ((provider, row.model, state.value), int(row.breaker == state.value))
            for provider, row in rows
            for state in Breaker
        ],
    )
    yield _figure(
        "success_ratio", "Share of recent calls that went well.", rows, lambda row: row.success_rate
    )
    yield _figure(
        "first_content_seconds",
        "Time to the first content, a moving average.",
        rows,
        lambda row: row.mean_first_content_s,
    )
    yield gauge(
        "deployment_uptime_ratio",
        "Share of calls, and of probes where nothing was called, that went well within a window.",
        (*_BY_MODEL, "window"),
        [
            ((provider, row.model, window), share)
            for provider, row in rows
            for window, share in zip(_WINDOWS, row.uptime, strict=True)
            if share is not None
        ],
    )


def _figure(
    name: str, text: str, rows: list[_Row], read: Callable[[DeploymentReport], float | None]
) -> Metric:
    known = [((provider, row.model), read(row)) for provider, row in rows]
    samples = [(labels, figure) for labels, figure in known if figure is not None]
    return gauge(f"deployment_{name}", text, _BY_MODEL, samples)
