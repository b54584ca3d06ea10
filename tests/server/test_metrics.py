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
from llmproxyd.exchange.account import AttemptRecord, Ending, ExchangeRecord
from llmproxyd.in_force import InForce
from llmproxyd.server.exposition import PROVIDER_STATES, format_metrics
from llmproxyd.server.metrics import Counters, Histogram, Scrape
from llmproxyd.state.registry import Registry
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect, Operation, Request
from tests.server.values import AT_S, BAD_KEY, CANARY, deployment, in_force, provider, snapshot, verdict

OPENAI = provider("openai")
FAST = deployment(OPENAI, "fast")
SLOW = deployment(provider("anthropic"), "slow")
TIMEOUT = Failure(FailureKind.TIMEOUT, "too slow")

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


def scrape(counters: Counters | None = None, force: InForce | None = None) -> Samples:
    current = snapshot(FAST, SLOW)
    registry = Registry()
    registry.reconcile(current)
    text = format_metrics(
        Scrape(
            counters=counters or Counters(),
            in_force=force or in_force(current),
            providers=registry.report(current),
            watch_mode="polling",
            in_flight=3,
            log_lines_lost=7,
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
