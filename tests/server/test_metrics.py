"""Metrics: what is counted, what a scrape shows, and that the number of series is bounded."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from llmproxyd import __version__
from llmproxyd.cache.response_cache import CacheReport, Counts
from llmproxyd.exchange.account import AttemptRecord, Ending, ExchangeRecord
from llmproxyd.exchange.line import LineReport
from llmproxyd.in_force import InForce
from llmproxyd.server.exposition import PROVIDER_STATES, format_metrics
from llmproxyd.server.metrics import Counters, Gathered, Histogram, Scrape
from llmproxyd.state.registry import Registry
from llmproxyd.state.report import ProviderReport
from llmproxyd.state.uptime import Shares
from llmproxyd.values.budget import Budget, BudgetReport
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Breaker
from llmproxyd.values.request import Dialect, Operation, Priority, Request
from tests.server.values import (
    AT_S,
    BAD_KEY,
    CANARY,
    deployment,
    deployment_report,
    in_force,
    provider,
    provider_report,
    snapshot,
    verdict,
)

OPENAI = provider("openai")
FAST = deployment(OPENAI, "fast")
SLOW = deployment(provider("anthropic"), "slow")
TIMEOUT = Failure(FailureKind.TIMEOUT, "too slow")
NOTHING = Gathered()

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def request(*, stream: bool) -> Request:
    return Request(
        Operation.CHAT, Dialect.OPENAI_CHAT, "openai-chat", "whatever the client says", stream, b"{}", {}
    )


def served(**changes: object) -> ExchangeRecord:
    record = ExchangeRecord(
        "r1",
        1,
        request=request(stream=True),
        ending=Ending.SERVED,
        status=200,
        deployment=FAST,
        attempts=[
            AttemptRecord("anthropic/slow", "translated", 1.0, TIMEOUT),
            AttemptRecord("openai/fast", "v", 2.0, None),
        ],
        usage=Usage(input_tokens=100, output_tokens=20, cache_read_tokens=60, reasoning_tokens=5),
        cost_nanos=1_500_000_000,
        first_content_s=0.3,
        total_s=2.0,
        overhead_s=0.0007,
    )
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def scrape(
    counters: Counters | None = None,
    force: InForce | None = None,
    reports: tuple[ProviderReport, ...] | None = None,
    gathered: Gathered = NOTHING,
) -> Samples:
    current = snapshot(FAST, SLOW)
    if reports is None:
        registry = Registry()
        registry.reconcile(current, 0.0)
        reports = registry.report(current, 0.0, AT_S)
    text = format_metrics(
        Scrape(
            counters=counters or Counters(),
            in_force=force or in_force(current),
            providers=reports,
            watch_mode="polling",
            in_flight=3,
            log_lines_lost=7,
            gathered=gathered,
        )
    ).decode()
    assert CANARY not in text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"llmproxyd_{name}", tuple(sorted(labels.items()))]


def test_an_exchange_is_counted_by_what_it_came_to() -> None:
    counters = Counters()
    counters.exchange(served())
    counters.exchange(served(request=request(stream=False), ending=Ending.CANCELLED))
    counters.exchange(served(ending=Ending.FAILED, failure=TIMEOUT, usage=None, cost_nanos=None))
    found = scrape(counters)
    openai = {"provider": "openai", "model": "fast"}
    assert value(found, "exchanges_total", **openai, outcome="served") == 1
    assert value(found, "exchanges_total", **openai, outcome="cancelled") == 1
    assert value(found, "exchanges_total", **openai, outcome="timeout") == 1
    assert value(found, "attempts_total", provider="anthropic", outcome="timeout") == 3
    assert value(found, "attempts_total", provider="openai", outcome="ok") == 3
    assert value(found, "streams_total", ending="served") == 1
    assert value(found, "tokens_total", **openai, kind="input") == 200
    assert value(found, "tokens_total", **openai, kind="cache_read") == 120
    assert value(found, "cost_usd_total", **openai) == 3.0


def test_an_exchange_that_reached_nobody_has_no_provider() -> None:
    counters = Counters()
    nobody = Failure(FailureKind.NO_CANDIDATE, "nobody can")
    counters.exchange(ExchangeRecord("r2", 1, failure=nobody))
    assert value(scrape(counters), "exchanges_total", provider="", model="", outcome="no_candidate") == 1


def test_what_an_exchange_went_through_is_counted() -> None:
    counters = Counters()
    counters.exchange(served())
    counters.exchange(
        served(
            attempts=[
                AttemptRecord("openai/fast", "v", 0.1, TIMEOUT),
                AttemptRecord("openai/fast", "v", 0.1, None),
                AttemptRecord("anthropic/slow", "v", 0.1, None, hedge=True),
            ],
            disputed="no tokens for an answer",
        )
    )
    found = scrape(counters)
    assert value(found, "failovers_total", **{"from": "anthropic", "to": "openai", "kind": "timeout"}) == 1
    assert value(found, "retries_total", provider="openai") == 1
    assert value(found, "hedges_total", outcome="lost") == 1
    assert value(found, "usage_disputed_total", provider="openai") == 1


def test_an_attempt_that_was_never_sent_is_no_call() -> None:
    counters = Counters()
    shut = Failure(FailureKind.SATURATED, "not now", code="breaker_open")
    counters.exchange(
        served(
            attempts=[
                AttemptRecord("anthropic/slow", "", 0.0, shut, sent=False),
                AttemptRecord("openai/fast", "v", 0.1, None),
            ]
        )
    )
    assert counters.attempts == {("openai", "ok"): 1}
    assert counters.failovers == {}


def test_the_breaker_of_each_deployment_is_in_exactly_one_state() -> None:
    ill = deployment_report("openai/fast", breaker="open")
    found = scrape(reports=(provider_report("openai", deployments=(ill,)),))
    states = {
        breaker.value: value(
            found, "deployment_breaker", provider="openai", model="fast", state=breaker.value
        )
        for breaker in Breaker
    }
    assert [state for state, on in states.items() if on] == ["open"]


def test_the_health_of_a_deployment_is_shown_where_it_is_known() -> None:
    known = deployment_report(
        "openai/fast", success_rate=0.9, mean_first_content_s=0.25, uptime=Shares(1.0, 0.99, None)
    )
    unknown = deployment_report("openai/new")
    found = scrape(reports=(provider_report("openai", deployments=(known, unknown)),))
    fast = {"provider": "openai", "model": "fast"}
    assert value(found, "deployment_success_ratio", **fast) == 0.9
    assert value(found, "deployment_first_content_seconds", **fast) == 0.25
    assert value(found, "deployment_uptime_ratio", **fast, window="5m") == 1.0
    assert value(found, "deployment_uptime_ratio", **fast, window="1h") == 0.99
    figures = [key for key in found if dict(key[1]).get("model") == "new" and "breaker" not in key[0]]
    assert figures == []
    assert not [key for key in found if dict(key[1]).get("window") == "24h"]


def line(waiting: int, in_use: int) -> LineReport:
    none = dict.fromkeys(Priority, 0)
    return LineReport(
        "openai", none | {Priority.BATCH: waiting}, none | {Priority.NORMAL: 3}, in_use, limit=8
    )


def test_what_other_rooms_count_is_shown() -> None:
    gathered = Gathered(
        lines=(line(2, 5),),
        shed={Priority.BATCH: 4},
        jobs={"queued": 6},
        events={"failover": 7},
        webhooks={"delivered": 8},
    )
    found = scrape(gathered=gathered)
    assert value(found, "limit_in_use", provider="openai") == 5
    assert value(found, "limit_waiting", **{"provider": "openai", "class": "batch"}) == 2
    assert value(found, "limit_waiting", **{"provider": "openai", "class": "interactive"}) == 0
    assert value(found, "limit_refused_total", **{"provider": "openai", "class": "normal"}) == 3
    assert value(found, "shed_total", **{"class": "batch"}) == 4
    assert value(found, "jobs", state="queued") == 6
    assert value(found, "events_total", kind="failover") == 7
    assert value(found, "webhook_deliveries_total", result="delivered") == 8


def test_two_lines_of_a_provider_that_has_moved_are_one() -> None:
    found = scrape(gathered=Gathered(lines=(line(2, 5), line(1, 1))))
    assert value(found, "limit_in_use", provider="openai") == 6
    assert value(found, "limit_waiting", **{"provider": "openai", "class": "batch"}) == 3


def test_times_fall_into_buckets() -> None:
    counters = Counters()
    counters.exchange(served(first_content_s=0.1, total_s=400.0))
    counters.exchange(served(first_content_s=0.3, total_s=2.0))
    found = scrape(counters)
    assert value(found, "first_content_seconds_bucket", provider="openai", le="0.1") == 1
    assert value(found, "first_content_seconds_bucket", provider="openai", le="0.5") == 2
    assert value(found, "first_content_seconds_count", provider="openai") == 2
    assert value(found, "first_content_seconds_sum", provider="openai") == pytest.approx(0.4)
    assert value(found, "exchange_seconds_bucket", provider="openai", le="300.0") == 1
    assert value(found, "exchange_seconds_bucket", provider="openai", le="+Inf") == 2
    assert value(found, "overhead_seconds_bucket", le="0.001") == 2


@given(st.lists(st.floats(0, 1000)))
def test_a_histogram_loses_nothing(seconds: list[float]) -> None:
    histogram = Histogram((0.1, 1.0, 10.0))
    for entry in seconds:
        histogram.observe(entry)
    buckets = dict(histogram.buckets())
    assert buckets["+Inf"] == len(seconds)
    for bound in (0.1, 1.0, 10.0):
        assert buckets[str(bound)] == sum(entry <= bound for entry in seconds)
    assert histogram.sum_s == pytest.approx(sum(seconds))


def test_the_state_of_the_configuration_is_shown() -> None:
    found = scrape()
    assert value(found, "config_last_reload_successful") == 1
    assert value(found, "config_last_reload_success_timestamp_seconds") == AT_S
    assert value(found, "config_reloads_total", result="applied", trigger="start") == 1
    assert value(found, "config_generation") == 1
    assert value(found, "config_hash", hash="abc123") == 1
    assert value(found, "config_watch_mode", mode="polling") == 1


def test_a_rejected_file_shows_at_once() -> None:
    force = in_force(snapshot(FAST), verdict("applied", 1), verdict("rejected", 1, BAD_KEY))
    found = scrape(force=force)
    assert value(found, "config_last_reload_successful") == 0
    assert value(found, "config_reloads_total", result="rejected", trigger="watch") == 1


def test_each_provider_is_in_exactly_one_state() -> None:
    found = scrape()
    for name in ("openai", "anthropic"):
        states = {
            state: value(found, "provider_state", provider=name, state=state) for state in PROVIDER_STATES
        }
        assert [state for state, on in states.items() if on] == ["not yet tested"]


def test_the_process_shows_itself() -> None:
    found = scrape()
    assert value(found, "requests_in_flight") == 3
    assert value(found, "log_lines_lost_total") == 7
    python = ".".join(map(str, sys.version_info[:3]))
    assert value(found, "build_info", version=__version__, python=python) == 1
    assert found["process_resident_memory_bytes", ()] > 0
    assert found["process_open_fds", ()] > 0


def test_what_a_client_says_never_becomes_a_label() -> None:
    counters = Counters()
    counters.exchange(served())
    assert "whatever the client says" not in str(scrape(counters))


def test_series_of_what_a_reload_removed_are_dropped() -> None:
    counters = Counters()
    counters.exchange(served())
    counters.exchange(served(deployment=SLOW))
    counters.exchange(ExchangeRecord("r3", 1, failure=TIMEOUT))
    counters.retain(snapshot(FAST))
    assert {key[0] for key in counters.exchanges} == {"openai", ""}
    assert {key[0] for key in counters.tokens} == {"openai"}
    assert set(counters.cost_nanos) == {("openai", "fast")}
    assert {key[0] for key in counters.attempts} == {"openai"}
    assert set(counters.total) == set(counters.first_content) == {("openai",)}


def test_detours_by_way_of_what_a_reload_removed_are_dropped() -> None:
    counters = Counters()
    counters.exchange(served(disputed="odd"))
    counters.exchange(
        served(attempts=[AttemptRecord("anthropic/slow", "v", 1.0, TIMEOUT)] * 2, deployment=SLOW)
    )
    counters.retain(snapshot(FAST))
    assert (counters.failovers, counters.retries, counters.disputed) == ({}, {}, {("openai",): 1})


def test_rendering_in_a_thread_goes_on_while_counters_grow() -> None:
    counters, number = Counters(), 0
    with ThreadPoolExecutor(1) as thread:
        scrapes = [thread.submit(scrape, counters) for _ in range(3)]
        while not all(each.done() for each in scrapes) and number < 200:
            number += 1
            counters.exchange(served(deployment=deployment(provider(f"p{number}"), "m")))
        shown = [value(each.result(), "log_lines_lost_total") for each in scrapes]
    assert shown == [7] * 3
    assert len(counters.exchanges) == number > 3


def test_counting_does_not_import_the_library() -> None:
    script = "import sys, llmproxyd.server.metrics; print('prometheus_client' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"


def test_money_is_told_where_there_is_some() -> None:
    budget = BudgetReport(Budget("all", nanos=10), "", 5, 0, 0, 0, 0.5, 0, 0.0, 1.0)
    kept = CacheReport(Counts(hits=5, stale_hits=1, misses=3, saved_nanos=2_000_000_000), 4, 400, 2, 0, None)
    found = scrape(gathered=Gathered(cache=kept, budgets=(budget,), ledger_ok=False))
    assert value(found, "cache_lookups_total", outcome="hit") == 4
    assert value(found, "cache_lookups_total", outcome="stale") == 1
    assert value(found, "cache_lookups_total", outcome="miss") == 3
    assert value(found, "cache_saved_usd_total") == 2
    assert value(found, "budget_left_ratio", budget="all", of="") == 0.5
    assert value(found, "ledger_ok") == 0
