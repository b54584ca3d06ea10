from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.registry import DeploymentReport, Outcome, ProviderReport, Registry
from llmproxyd.state.uptime import Shares
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Deployment, Zone
from tests.routing.build import deployment, provider, snapshot

LAB = provider("lab", Zone.LOCAL, keyless=True)
ONE, TWO = deployment("lab/one", LAB), deployment("lab/two", LAB)
GOOD = Outcome(True, None, 0.2, 1.0, stream=True)
REFUSED = Outcome(False, Failure(FailureKind.UNREACHABLE, "refused", detail="connection refused"), None, 0.0)
PAUSE = Outcome(False, Failure(FailureKind.RATE_LIMITED, "busy", retry_after_s=5.0), None, 0.0)


class Desk:
    def __init__(self) -> None:
        self.snapshot = snapshot(ONE, TWO)
        self.registry = Registry(jitter=lambda: 0.5)
        self.registry.reconcile(self.snapshot, 0.0)

    def call(self, one: Deployment, outcome: Outcome, now_s: float, times: int = 1) -> None:
        for _ in range(times):
            self.registry.started(one, now_s)
            self.registry.ended(one, outcome, now_s)

    def probe(self, ok: bool, now_s: float) -> None:
        self.registry.probed(LAB, ok=ok, alive=ok, detail="connection refused", now_s=now_s, models=None)

    def provider(self, now_s: float, wall_s: float = 0.0) -> ProviderReport:
        (report,) = self.registry.report(self.snapshot, now_s, wall_s)
        return report

    def one(self, now_s: float, wall_s: float = 0.0) -> DeploymentReport:
        return self.provider(now_s, wall_s).deployments[0]


def test_every_deployment_is_told_with_its_figures() -> None:
    desk = Desk()
    desk.call(ONE, GOOD, 100.0, 25)
    desk.call(ONE, REFUSED, 110.0)
    desk.registry.started(ONE, 111.0)
    report = desk.one(120.0)
    assert (report.name, report.model, report.breaker, report.cause) == ("lab/one", "one", "closed", "")
    assert (report.requests, report.successes, report.failures, report.in_flight) == (27, 25, 1, 1)
    assert (report.consecutive_failures, report.causes) == (1, {"unreachable": 1})
    assert (report.mean_first_content_s, report.mean_total_s) == (0.2, 1.0)
    assert report.success_rate is not None
    assert 0.9 < report.success_rate < 1.0
    assert report.learnt[0].timers.first_content_s == 0.4
    assert report.uptime == Shares(25 / 26, 25 / 26, 25 / 26)


def test_times_are_told_on_the_wall_clock_as_it_goes_now() -> None:
    desk = Desk()
    desk.call(ONE, GOOD, 100.0)
    desk.call(ONE, REFUSED, 110.0)
    desk.probe(True, 115.0)
    for wall_s in (1_700_000_000.0, 1_700_003_600.0):
        report = desk.one(120.0, wall_s)
        assert report.last_success_s == wall_s - 20.0
        assert report.last_failure_s == wall_s - 10.0
        assert report.last_checked_s == wall_s - 5.0
        assert desk.provider(120.0, wall_s).last_checked_s == wall_s - 5.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.3, 2.0, 40.0, 700.0]),
            st.sampled_from([GOOD, REFUSED, PAUSE, True, False]),
            st.sampled_from([ONE, TWO]),
        ),
        max_size=30,
    ),
    st.floats(-1e6, 1e6),
)
def test_a_jump_of_the_wall_clock_moves_told_times_and_nothing_else(
    events: list[tuple[float, Outcome | bool, Deployment]], jump_s: float
) -> None:
    desk, now_s = Desk(), 0.0
    for gap_s, event, one in events:
        now_s += gap_s
        if isinstance(event, bool):
            desk.probe(event, now_s)
        else:
            desk.call(one, event, now_s)
    before, after = (msgspec.to_builtins(desk.provider(now_s, 1e9 + by_s)) for by_s in (0.0, jump_s))
    for told, moved in ((before, after), *zip(before["deployments"], after["deployments"], strict=True)):
        for name in ("last_checked_s", "last_success_s", "last_failure_s"):
            then_s, moved_s = told.pop(name), moved.pop(name)
            assert moved_s == (None if then_s is None else pytest.approx(then_s + jump_s))
    assert before == after


def test_an_open_one_says_why_when_it_is_tried_again_and_what_to_do() -> None:
    desk = Desk()
    desk.call(ONE, REFUSED, 100.0, 3)
    report = desk.one(100.25)
    assert (report.breaker, report.cause, report.ready_in_s) == ("open", "unreachable", 0.75)
    assert "`llmproxyd providers test lab`" in report.help


def test_one_that_was_never_called_has_the_uptime_of_its_provider() -> None:
    desk = Desk()
    for now_s in range(4):
        desk.probe(True, now_s)
    report = desk.one(5.0)
    assert (report.breaker, report.success_rate, report.last_checked_s) == ("closed", None, None)
    assert report.uptime == Shares(1.0, 1.0, 1.0)


def test_probes_count_towards_uptime_only_where_nothing_is_called() -> None:
    desk = Desk()
    desk.call(ONE, GOOD, 1.0)
    desk.probe(False, 2.0)
    assert desk.provider(3.0).uptime.hour_1 == 1.0
    desk.probe(False, 32.0)
    assert desk.provider(33.0).uptime.hour_1 == 0.5
    assert desk.one(33.0).uptime.hour_1 == 0.5


class TestState:
    def test_a_provider_all_of_whose_deployments_are_open_is_failing(self) -> None:
        desk = Desk()
        desk.call(ONE, REFUSED, 100.0, 3)
        desk.call(TWO, REFUSED, 100.0, 3)
        # A forced probe by hand may pass while breakers are still open.
        desk.probe(True, 100.1)
        report = desk.provider(100.2)
        assert report.state == "failing"
        assert "`base_url`" in report.reason

    def test_its_reason_names_trouble_time_and_remedy(self) -> None:
        desk = Desk()
        desk.call(ONE, REFUSED, 100.0, 3)
        desk.call(TWO, REFUSED, 100.0, 3)
        assert desk.provider(100.0).reason == (
            "unreachable: connection refused; tried again in 1 s; see that it runs and that `base_url` and the network "
            "lead to it: `llmproxyd providers test lab`"
        )

    def test_one_open_deployment_of_two_is_not_the_provider(self) -> None:
        desk = Desk()
        desk.call(ONE, REFUSED, 100.0, 3)
        desk.call(TWO, GOOD, 101.0)
        assert desk.provider(101.0).state == "available"

    def test_a_pause_is_no_failure_of_the_provider(self) -> None:
        desk = Desk()
        desk.call(ONE, GOOD, 99.0)
        desk.call(ONE, PAUSE, 100.0)
        desk.call(TWO, PAUSE, 100.0)
        assert desk.provider(101.0).state == "available"
        assert [one.breaker for one in desk.provider(101.0).deployments] == ["cooling", "cooling"]
        assert [one.breaker for one in desk.provider(106.0).deployments] == ["half_open", "half_open"]
        assert desk.provider(106.0).state == "available"
