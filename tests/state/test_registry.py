from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.registry import (
    BREAKER_OPEN,
    COOLING,
    PROBES_BEFORE_EMPTY,
    HealthChange,
    Outcome,
    ProviderReport,
    Registry,
    Timers,
)
from llmproxyd.values.contracts import Listed
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Breaker, Gauge
from llmproxyd.values.snapshot import Deployment, Snapshot, Zone
from tests.routing.build import deployment, provider, snapshot
from tests.support.records import replace

GOOD = Outcome(True, None, 0.2, 1.0)
BUSY = Outcome(False, Failure(FailureKind.OVERLOADED, "busy", detail="529 from upstream"), None, 0.1)
TOO_LARGE = Outcome(False, Failure(FailureKind.TOO_LARGE, "too large"), None, 0.1)
LEFT = Outcome(False, None, None, 0.1)
PAUSE = Outcome(False, Failure(FailureKind.RATE_LIMITED, "busy", retry_after_s=5.0), None, 0.1)

ACCOUNT = provider("openai")
OPENAI = deployment("openai/gpt", ACCOUNT)
OLLAMA = provider("ollama", Zone.LOCAL, keyless=True, discover=True)
LAB = provider("lab", Zone.LOCAL, keyless=True)
LLAMA = deployment("lab/llama", LAB)
MOCK = deployment("mock/echo", provider("mock", Zone.LOCAL, keyless=True))


def registry_for(*deployments: Deployment) -> Registry:
    registry = Registry(jitter=lambda: 0.5)
    registry.reconcile(snapshot(*deployments), 0.0)
    return registry


def call(registry: Registry, one: Deployment, outcome: Outcome = GOOD, now_s: float = 100.0) -> None:
    registry.started(one, now_s)
    registry.ended(one, outcome, now_s)


def probe(registry: Registry, ok: bool, models: tuple[Listed, ...] | None = None) -> None:
    registry.probed(OLLAMA, ok=ok, alive=ok, detail="connection refused", now_s=100.0, models=models)


def probe_lab(registry: Registry, ok: bool, now_s: float, alive: bool | None = None) -> None:
    registry.probed(
        LAB, ok=ok, alive=ok if alive is None else alive, detail="refused", now_s=now_s, models=None
    )


def opened() -> Registry:
    """A registry whose only deployment opened at 100 s, for a second."""
    registry = registry_for(OPENAI)
    for _ in range(3):
        call(registry, OPENAI, BUSY, 100.0)
    return registry


def discovering(*deployments: Deployment) -> Snapshot:
    return snapshot(*deployments, providers={"ollama": OLLAMA})


class TestReadings:
    def test_show_those_that_were_ever_called(self) -> None:
        registry = registry_for(OPENAI, LLAMA)
        call(registry, OPENAI)
        registry.started(OPENAI, 100.0)
        assert registry.readings((OPENAI, LLAMA), 100.0).gauges == {OPENAI.key: Gauge(1, 0.2, 1)}

    def test_do_not_change_afterwards(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI)
        before = registry.readings((OPENAI,), 100.0)
        registry.started(OPENAI, 100.0)
        assert before.gauges[OPENAI.key].in_flight == 0

    def test_forget_while_nobody_calls(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI, now_s=100.0)
        latency_s = registry.readings((OPENAI,), 100_000.0).gauges[OPENAI.key].latency_s
        assert latency_s is not None
        assert latency_s < 0.001

    def test_say_when_and_whether_all_are_well(self) -> None:
        registry = registry_for(OPENAI, LLAMA)
        call(registry, OPENAI)
        readings = registry.readings((OPENAI, LLAMA), 123.0)
        assert (readings.now_s, readings.all_well) == (123.0, True)

    def test_one_who_is_not_closed_is_not_well(self) -> None:
        registry = registry_for(OPENAI, LLAMA)
        call(registry, LLAMA, PAUSE)
        readings = registry.readings((OPENAI, LLAMA), 101.0)
        assert not readings.all_well
        gauge = readings.gauges[LLAMA.key]
        assert (gauge.breaker, gauge.ready_s) == (Breaker.COOLING, 105.0)
        assert registry.readings((OPENAI,), 101.0).all_well

    def test_one_with_a_bad_record_is_not_well(self) -> None:
        registry = registry_for(OPENAI)
        for outcome in [GOOD, BUSY] * 9:
            call(registry, OPENAI, outcome)
        gauge = registry.readings((OPENAI,), 100.0).gauges[OPENAI.key]
        assert gauge.breaker is Breaker.CLOSED
        assert gauge.success_rate < 0.8
        assert not registry.readings((OPENAI,), 100.0).all_well

    def test_turn_exactly_when_a_breaker_does(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI, PAUSE, 100.0)
        before = [registry.readings((OPENAI,), at_s).gauges[OPENAI.key] for at_s in (104.5, 104.999)]
        assert before[0] is before[1]
        assert registry.readings((OPENAI,), 105.0).gauges[OPENAI.key].breaker is Breaker.HALF_OPEN

    def test_give_the_same_gauge_while_nothing_changes_for_a_second(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI)
        gauges = [registry.readings((OPENAI,), at_s).gauges[OPENAI.key] for at_s in (100.0, 100.5, 101.0)]
        assert gauges[0] is gauges[1]
        assert gauges[1] is not gauges[2]


class TestRefusal:
    def test_nobody_is_refused_without_a_reason(self) -> None:
        registry = registry_for(OPENAI)
        assert registry.refusal(OPENAI, 1.0) is None
        call(registry, OPENAI)
        assert registry.refusal(OPENAI, 100.0) is None

    def test_who_is_open_is_refused_and_may_be_forced(self) -> None:
        registry = opened()
        refused = registry.refusal(OPENAI, 100.25)
        assert refused is not None
        assert (refused.kind, refused.code) == (FailureKind.SATURATED, BREAKER_OPEN)
        assert refused.retry_after_s == 0.75
        assert registry.refusal(OPENAI, 100.25, force=True) is None

    def test_who_has_its_trial_is_refused_and_may_be_forced(self) -> None:
        registry = opened()
        assert registry.refusal(OPENAI, 101.0) is None
        registry.started(OPENAI, 101.0)
        refused = registry.refusal(OPENAI, 101.0)
        assert refused is not None
        assert refused.code == BREAKER_OPEN
        assert registry.refusal(OPENAI, 101.0, force=True) is None

    def test_who_cools_is_refused_without_mercy(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI, PAUSE)
        refused = registry.refusal(OPENAI, 102.0, force=True)
        assert refused is not None
        assert (refused.kind, refused.code, refused.retry_after_s) == (FailureKind.RATE_LIMITED, COOLING, 3.0)

    def test_a_reload_closes_nothing(self) -> None:
        registry = opened()
        for number in range(100):
            registry.reconcile(snapshot(deployment("openai/gpt", provider(priority=number))), 100.0)
        assert registry.refusal(OPENAI, 100.5) is not None

    def test_a_reload_adopts_what_the_operator_allows(self) -> None:
        registry = registry_for(OPENAI)
        registry.started(OPENAI, 1.0)
        registry.reconcile(snapshot(deployment("openai/gpt", provider(unhealthy_after=1))), 1.0)
        registry.ended(OPENAI, BUSY, 2.0)
        assert registry.refusal(OPENAI, 2.0) is not None


class TestTimers:
    def test_of_a_stranger_are_unknown(self) -> None:
        assert registry_for(OPENAI).timers(OPENAI, True, None, 10) == Timers()

    def test_grow_while_trials_go_on_failing(self) -> None:
        registry = registry_for(OPENAI)
        for _ in range(20):
            call(registry, OPENAI, Outcome(True, None, 0.5, 1.0, stream=True), 90.0)
        for _ in range(3):
            call(registry, OPENAI, BUSY)
        assert registry.timers(OPENAI, True, None, 0).first_content_s == 1.0
        for number in range(8):
            call(registry, OPENAI, BUSY, 101.0 + 2 * number)
        assert registry.timers(OPENAI, True, None, 0).first_content_s == 2.0
        call(registry, OPENAI, GOOD, 140.0)
        assert registry.timers(OPENAI, True, None, 0).first_content_s == 1.0


class TestProbing:
    def test_idle_deployments_are_ejected_and_let_back_by_probes_alone(self) -> None:
        registry = registry_for(LLAMA, OPENAI)
        for now_s in (0.0, 30.0, 60.0):
            probe_lab(registry, False, now_s)
        assert registry.refusal(LLAMA, 60.5) is not None
        assert registry.refusal(OPENAI, 60.5) is None
        probe_lab(registry, True, 60.6)
        assert registry.refusal(LLAMA, 60.6) is None

    def test_a_refusal_of_the_probe_shows_that_somebody_is_there(self) -> None:
        registry = registry_for(LLAMA)
        for now_s in range(9):
            probe_lab(registry, False, now_s, alive=True)
        assert registry.refusal(LLAMA, 9.0) is None

    def test_passing_probes_alone_remember_nothing_of_deployments(self) -> None:
        registry = registry_for(LLAMA)
        probe_lab(registry, True, 1.0)
        assert registry.readings((LLAMA,), 1.0).gauges == {}

    def test_who_is_ill_is_due_soon_and_then_ever_less_often(self) -> None:
        registry = opened()
        identity = ACCOUNT.identity
        assert registry.to_probe(100.0) == {identity: 101.0}
        registry.probed(ACCOUNT, ok=False, alive=False, detail="refused", now_s=200.0, models=None)
        assert registry.to_probe(200.0) == {identity: 205.0}
        assert registry.to_probe(100_000.0) == {identity: 230.0}

    def test_who_is_well_or_gone_is_not_due(self) -> None:
        registry = registry_for(OPENAI, LLAMA)
        call(registry, LLAMA, PAUSE)
        assert registry.to_probe(100.0) == {}
        registry = opened()
        registry.started(OPENAI, 100.0)
        registry.reconcile(snapshot(LLAMA), 100.0)
        assert registry.to_probe(200.0) == {}

    def test_the_last_call_is_remembered(self) -> None:
        registry = registry_for(LLAMA)
        assert registry.last_called_s(LAB) is None
        call(registry, LLAMA, now_s=7.0)
        assert registry.last_called_s(LAB) == 7.0


class TestTelling:
    def test_an_outage_is_told_from_its_beginning_to_its_end(self) -> None:
        told: list[HealthChange] = []
        registry = Registry(tell=told.append, jitter=lambda: 0.5)
        registry.reconcile(snapshot(OPENAI), 0.0)
        for now_s in (100.0, 100.0, 100.0, 101.0, 103.0, 106.0):
            call(registry, OPENAI, BUSY, now_s)
        call(registry, OPENAI, GOOD, 120.0)
        assert [(change.kind, change.subject) for change in told] == [
            ("breaker_opened", "openai/gpt"),
            ("breaker_half_open", "openai/gpt"),
            ("breaker_closed", "openai/gpt"),
        ]
        assert (told[0].cause, told[0].for_s) == ("overloaded", 1.0)
        assert "status page" in told[0].help

    def test_a_pause_is_told_with_its_length(self) -> None:
        told: list[HealthChange] = []
        registry = Registry(tell=told.append)
        call(registry, OPENAI, PAUSE)
        assert [(one.kind, one.cause, one.for_s) for one in told] == [("cooling", "rate_limited", 5.0)]
        assert "`limits` of `openai`" in told[0].help

    def test_nobody_being_there_is_told_once_until_somebody_is(self) -> None:
        told: list[HealthChange] = []
        registry = Registry(tell=told.append)
        registry.reconcile(snapshot(providers={"openai": ACCOUNT}), 0.0)
        for now_s, ok in enumerate([False] * 9 + [True] + [False] * 3):
            registry.probed(ACCOUNT, ok=ok, alive=ok, detail="refused", now_s=now_s, models=None)
        assert [(one.kind, one.subject, one.cause) for one in told] == [
            ("provider_unreachable", "openai", "refused")
        ] * 2

    def test_a_local_server_that_was_never_there_is_not_missed(self) -> None:
        told: list[HealthChange] = []
        registry = Registry(tell=told.append)
        registry.reconcile(discovering(), 0.0)
        for _ in range(9):
            probe(registry, False)
        assert told == []
        probe(registry, True, ())
        for _ in range(3):
            probe(registry, False)
        assert [one.kind for one in told] == ["provider_unreachable"]


class TestOtherThanMock:
    def test_a_provider_with_a_key_counts_at_once(self) -> None:
        assert registry_for(OPENAI).other_than_mock
        assert registry_for(OPENAI).readings((), 100.0).other_than_mock

    def test_one_without_its_key_or_switched_off_does_not(self) -> None:
        keyless = deployment("openai/gpt", provider("openai", configured=False, reason="set OPENAI_API_KEY"))
        disabled = deployment("openai/gpt", provider("openai", enabled=False))
        assert not registry_for(keyless, disabled).other_than_mock

    def test_a_keyless_one_counts_once_a_probe_was_answered(self) -> None:
        registry = registry_for(LLAMA)
        assert not registry.other_than_mock
        registry.probed(LAB, ok=False, alive=False, detail="refused", now_s=1.0, models=None)
        assert not registry.other_than_mock
        registry.probed(LAB, ok=True, alive=True, detail="", now_s=2.0, models=None)
        assert registry.other_than_mock

    def test_a_keyless_one_counts_once_a_call_was_answered(self) -> None:
        registry = registry_for(LLAMA)
        call(registry, LLAMA, BUSY)
        assert not registry.other_than_mock
        call(registry, LLAMA)
        assert registry.other_than_mock

    def test_mock_itself_never_counts(self) -> None:
        registry = registry_for(MOCK)
        call(registry, MOCK)
        assert not registry.other_than_mock

    def test_once_true_it_stays_true(self) -> None:
        registry = registry_for(OPENAI)
        registry.reconcile(snapshot(MOCK), 50.0)
        assert registry.other_than_mock

    def test_a_discovering_server_counts_when_its_models_are_in_force(self) -> None:
        registry = Registry()
        registry.reconcile(discovering(), 50.0)
        probe(registry, True, (Listed("llama3"),))
        assert not registry.other_than_mock
        registry.reconcile(discovering(deployment("ollama/llama3", OLLAMA)), 50.0)
        assert registry.other_than_mock

    def test_a_server_without_any_model_leaves_mock_in_place(self) -> None:
        registry = Registry()
        registry.reconcile(discovering(), 50.0)
        probe(registry, True, ())
        registry.reconcile(discovering(), 50.0)
        assert not registry.other_than_mock


class TestDiscovered:
    LIST = (Listed("llama3"), Listed("qwen3"))

    def test_nobody_who_was_never_heard_from(self) -> None:
        registry = Registry()
        registry.reconcile(discovering(), 50.0)
        for _ in range(PROBES_BEFORE_EMPTY + 1):
            probe(registry, False)
        assert registry.discovered() == {}

    def test_the_last_list_stands_while_a_server_is_briefly_away(self) -> None:
        registry = Registry()
        registry.reconcile(discovering(), 50.0)
        probe(registry, True, self.LIST)
        for _ in range(PROBES_BEFORE_EMPTY - 1):
            probe(registry, False)
        assert registry.discovered() == {"ollama": self.LIST}

    def test_the_list_becomes_empty_after_three_failed_probes_in_a_row(self) -> None:
        registry = Registry()
        registry.reconcile(discovering(), 50.0)
        probe(registry, True, self.LIST)
        for _ in range(3):
            probe(registry, False)
        assert registry.discovered() == {"ollama": ()}
        probe(registry, True, self.LIST)
        assert registry.discovered() == {"ollama": self.LIST}

    def test_an_answer_in_between_begins_the_count_anew(self) -> None:
        registry = Registry()
        registry.reconcile(discovering(), 50.0)
        probe(registry, True, self.LIST)
        for ok in (False, False, True, False, False):
            probe(registry, ok)
        assert registry.discovered() == {"ollama": self.LIST}

    def test_an_answer_that_named_no_models_changes_no_list(self) -> None:
        registry = Registry()
        registry.reconcile(discovering(), 50.0)
        probe(registry, True, self.LIST)
        probe(registry, True, None)
        assert registry.discovered() == {"ollama": self.LIST}

    def test_another_server_under_the_same_name_starts_without_a_list(self) -> None:
        registry = Registry()
        registry.reconcile(discovering(), 50.0)
        probe(registry, True, self.LIST)
        moved = provider("ollama", Zone.LOCAL, discover=True, identity="ollama|elsewhere")
        registry.reconcile(snapshot(providers={"ollama": moved}), 50.0)
        assert registry.discovered() == {}

    def test_a_probe_that_ends_after_its_provider_was_removed_leaves_nothing(self) -> None:
        registry = Registry()
        registry.reconcile(discovering(), 50.0)
        registry.reconcile(snapshot(OPENAI), 50.0)
        probe(registry, True, self.LIST)
        registry.reconcile(discovering(), 50.0)
        assert registry.discovered() == {}


class TestReconcile:
    def test_the_same_key_keeps_its_state(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI)
        cheaper = deployment("openai/gpt", provider("openai", priority=1))
        registry.reconcile(snapshot(cheaper), 50.0)
        assert registry.readings((cheaper,), 100.0).gauges[OPENAI.key].seen == 1

    def test_a_changed_key_starts_afresh(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI)
        moved = deployment("openai/gpt", key="elsewhere")
        registry.reconcile(snapshot(moved), 50.0)
        assert registry.readings((moved,), 100.0).gauges == {}

    def test_what_is_gone_and_idle_is_dropped(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI)
        registry.reconcile(snapshot(LLAMA), 50.0)
        registry.reconcile(snapshot(OPENAI), 50.0)
        assert registry.readings((OPENAI,), 100.0).gauges == {}
        assert report_of(registry, snapshot(OPENAI)).requests == 0

    def test_what_is_gone_and_busy_is_kept_until_it_is_idle(self) -> None:
        registry = registry_for(OPENAI)
        registry.started(OPENAI, 100.0)
        registry.started(OPENAI, 100.0)
        registry.reconcile(snapshot(LLAMA), 50.0)
        registry.ended(OPENAI, GOOD, 100.0)
        assert registry.readings((OPENAI,), 100.0).gauges[OPENAI.key].in_flight == 1
        registry.ended(OPENAI, GOOD, 100.0)
        assert registry.readings((OPENAI,), 100.0).gauges == {}

    def test_what_was_gone_and_busy_and_came_back_kept_its_state(self) -> None:
        registry = registry_for(OPENAI)
        registry.started(OPENAI, 100.0)
        registry.reconcile(snapshot(LLAMA), 50.0)
        registry.reconcile(snapshot(OPENAI), 50.0)
        registry.ended(OPENAI, GOOD, 100.0)
        assert registry.readings((OPENAI,), 100.0).gauges[OPENAI.key] == Gauge(0, 0.2, 1)

    def test_a_call_that_began_on_an_older_snapshot_leaves_nothing_behind(self) -> None:
        registry = registry_for(LLAMA)
        call(registry, OPENAI)
        assert registry.readings((OPENAI,), 100.0).gauges == {}

    @given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["start", "end", "reload"])), max_size=60))
    def test_nothing_grows_beyond_what_is_named_or_running(self, events: list[tuple[int, str]]) -> None:
        everybody = [deployment(f"p{i}/m") for i in range(6)]
        registry = registry_for()
        named: set[str] = set()
        running: list[Deployment] = []
        for number, event in events:
            one = everybody[number]
            if event == "start":
                registry.started(one, 100.0)
                running.append(one)
            elif event == "end" and running:
                registry.ended(running.pop(number % len(running)), GOOD, 100.0)
            elif event == "reload":
                registry.reconcile(snapshot(*everybody[number:]), 50.0)
                named = {d.key for d in everybody[number:]}
            gauges = registry.readings(everybody, 100.0).gauges
            assert set(gauges) <= named | {d.key for d in running}
            for other in everybody:
                in_flight = gauges[other.key].in_flight if other.key in gauges else 0
                assert in_flight == running.count(other)


def report_of(registry: Registry, given_snapshot: Snapshot) -> ProviderReport:
    (report,) = registry.report(given_snapshot, 100.0, 100.0)
    return report


class TestReport:
    def state(self, registry: Registry, given_snapshot: Snapshot) -> tuple[str, str]:
        report = report_of(registry, given_snapshot)
        return report.state, report.reason

    def test_a_provider_nobody_asked_is_not_yet_tested(self) -> None:
        registry = registry_for(OPENAI)
        report = replace(report_of(registry, snapshot(OPENAI)), deployments=())
        assert report == ProviderReport(
            name="openai",
            preset="openai",
            zone="external",
            state="not yet tested",
            reason="no probe and no call has ended yet",
            requests=0,
            successes=0,
            failures=0,
            success_rate=None,
            mean_response_s=None,
            last_success_s=None,
            last_failure_s=None,
            models=("gpt",),
        )

    def test_disabled_and_not_configured_are_said_whatever_happened(self) -> None:
        disabled = snapshot(deployment("openai/gpt", provider("openai", enabled=False)))
        bare = snapshot(
            deployment("openai/gpt", provider("openai", configured=False, reason="set OPENAI_API_KEY"))
        )
        registry = registry_for(OPENAI)
        call(registry, OPENAI)
        assert self.state(registry, disabled) == ("disabled", "disabled in the configuration")
        assert self.state(registry, bare) == ("not configured", "set OPENAI_API_KEY")

    def test_what_happened_last_decides_be_it_call_or_probe(self) -> None:
        given_snapshot = snapshot(LLAMA)
        registry = registry_for(LLAMA)
        call(registry, LLAMA)
        assert self.state(registry, given_snapshot) == ("available", "")
        registry.probed(LAB, ok=False, alive=False, detail="connection refused", now_s=101.0, models=None)
        assert self.state(registry, given_snapshot) == ("failing", "connection refused")
        registry.probed(LAB, ok=True, alive=True, detail="", now_s=102.0, models=None)
        assert self.state(registry, given_snapshot) == ("available", "")
        call(registry, LLAMA, BUSY)
        assert self.state(registry, given_snapshot) == ("failing", "overloaded: 529 from upstream")

    def test_a_provider_that_finds_fault_with_the_request_is_available(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI, TOO_LARGE)
        assert self.state(registry, snapshot(OPENAI)) == ("available", "")

    def test_a_client_that_left_changes_nothing(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI, LEFT)
        assert self.state(registry, snapshot(OPENAI))[0] == "not yet tested"

    def test_figures_add_up_over_the_deployments_of_a_provider(self) -> None:
        account = provider("openai")
        one, two = deployment("openai/one", account), deployment("openai/two", account)
        registry = registry_for(one, two)
        call(registry, one, GOOD, 10.0)
        call(registry, two, GOOD, 20.0)
        call(registry, two, GOOD, 30.0)
        call(registry, two, BUSY, 40.0)
        call(registry, one, TOO_LARGE, 50.0)
        report = report_of(registry, snapshot(one, two))
        assert (report.requests, report.successes, report.failures) == (5, 3, 1)
        assert report.success_rate == 0.75
        assert report.mean_response_s == 1.0
        assert (report.last_success_s, report.last_failure_s) == (30.0, 40.0)
        assert report.models == ("one", "two")

    def test_a_long_reason_is_cut(self) -> None:
        registry = registry_for(LLAMA)
        registry.probed(LAB, ok=False, alive=False, detail="x" * 10_000, now_s=1.0, models=None)
        assert len(self.state(registry, snapshot(LLAMA))[1]) == 200


def test_turns_count_up_from_nought() -> None:
    registry = Registry()
    assert [registry.next_turn() for _ in range(3)] == [0, 1, 2]
