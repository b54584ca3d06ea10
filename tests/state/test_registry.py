from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.registry import PROBES_BEFORE_EMPTY, Outcome, ProviderReport, Registry
from llmproxyd.values.contracts import Listed
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Gauge
from llmproxyd.values.snapshot import Deployment, Snapshot, Zone
from tests.routing.build import deployment, provider, snapshot

GOOD = Outcome(True, None, 0.2, 1.0)
BUSY = Outcome(False, Failure(FailureKind.OVERLOADED, "busy", detail="529 from upstream"), None, 0.1)
TOO_LARGE = Outcome(False, Failure(FailureKind.TOO_LARGE, "too large"), None, 0.1)
LEFT = Outcome(False, None, None, 0.1)

OPENAI = deployment("openai/gpt")
OLLAMA = provider("ollama", Zone.LOCAL, keyless=True, discover=True)
LAB = provider("lab", Zone.LOCAL, keyless=True)
LLAMA = deployment("lab/llama", LAB)
MOCK = deployment("mock/echo", provider("mock", Zone.LOCAL, keyless=True))


def registry_for(*deployments: Deployment) -> Registry:
    registry = Registry()
    registry.reconcile(snapshot(*deployments))
    return registry


def call(registry: Registry, one: Deployment, outcome: Outcome = GOOD, wall_s: float = 100.0) -> None:
    registry.started(one)
    registry.ended(one, outcome, wall_s)


def probe(registry: Registry, ok: bool, models: tuple[Listed, ...] | None = None) -> None:
    registry.probed(OLLAMA, ok=ok, detail="connection refused", wall_s=100.0, models=models)


def discovering(*deployments: Deployment) -> Snapshot:
    return snapshot(*deployments, providers={"ollama": OLLAMA})


class TestReadings:
    def test_show_those_that_were_ever_called(self) -> None:
        registry = registry_for(OPENAI, LLAMA)
        call(registry, OPENAI)
        registry.started(OPENAI)
        assert registry.readings((OPENAI, LLAMA)).gauges == {OPENAI.key: Gauge(1, 0.2, 1)}

    def test_do_not_change_afterwards(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI)
        before = registry.readings((OPENAI,))
        registry.started(OPENAI)
        assert before.gauges[OPENAI.key].in_flight == 0

    def test_forget_by_the_time_that_others_report(self) -> None:
        registry = registry_for(OPENAI, LLAMA)
        call(registry, OPENAI, wall_s=100.0)
        call(registry, LLAMA, wall_s=100_000.0)
        latency_s = registry.readings((OPENAI,)).gauges[OPENAI.key].latency_s
        assert latency_s is not None
        assert latency_s < 0.001


class TestOtherThanMock:
    def test_a_provider_with_a_key_counts_at_once(self) -> None:
        assert registry_for(OPENAI).other_than_mock
        assert registry_for(OPENAI).readings(()).other_than_mock

    def test_one_without_its_key_or_switched_off_does_not(self) -> None:
        keyless = deployment("openai/gpt", provider("openai", configured=False, reason="set OPENAI_API_KEY"))
        disabled = deployment("openai/gpt", provider("openai", enabled=False))
        assert not registry_for(keyless, disabled).other_than_mock

    def test_a_keyless_one_counts_once_a_probe_was_answered(self) -> None:
        registry = registry_for(LLAMA)
        assert not registry.other_than_mock
        registry.probed(LAB, ok=False, detail="refused", wall_s=1.0, models=None)
        assert not registry.other_than_mock
        registry.probed(LAB, ok=True, detail="", wall_s=2.0, models=None)
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
        registry.reconcile(snapshot(MOCK))
        assert registry.other_than_mock

    def test_a_discovering_server_counts_when_its_models_are_in_force(self) -> None:
        registry = Registry()
        registry.reconcile(discovering())
        probe(registry, True, (Listed("llama3"),))
        assert not registry.other_than_mock
        registry.reconcile(discovering(deployment("ollama/llama3", OLLAMA)))
        assert registry.other_than_mock

    def test_a_server_without_any_model_leaves_mock_in_place(self) -> None:
        registry = Registry()
        registry.reconcile(discovering())
        probe(registry, True, ())
        registry.reconcile(discovering())
        assert not registry.other_than_mock


class TestDiscovered:
    LIST = (Listed("llama3"), Listed("qwen3"))

    def test_nobody_who_was_never_heard_from(self) -> None:
        registry = Registry()
        registry.reconcile(discovering())
        for _ in range(PROBES_BEFORE_EMPTY + 1):
            probe(registry, False)
        assert registry.discovered() == {}

    def test_the_last_list_stands_while_a_server_is_briefly_away(self) -> None:
        registry = Registry()
        registry.reconcile(discovering())
        probe(registry, True, self.LIST)
        for _ in range(PROBES_BEFORE_EMPTY - 1):
            probe(registry, False)
        assert registry.discovered() == {"ollama": self.LIST}

    def test_the_list_becomes_empty_after_three_failed_probes_in_a_row(self) -> None:
        registry = Registry()
        registry.reconcile(discovering())
        probe(registry, True, self.LIST)
        for _ in range(3):
            probe(registry, False)
        assert registry.discovered() == {"ollama": ()}
        probe(registry, True, self.LIST)
        assert registry.discovered() == {"ollama": self.LIST}

    def test_an_answer_in_between_begins_the_count_anew(self) -> None:
        registry = Registry()
        registry.reconcile(discovering())
        probe(registry, True, self.LIST)
        for ok in (False, False, True, False, False):
            probe(registry, ok)
        assert registry.discovered() == {"ollama": self.LIST}

    def test_an_answer_that_named_no_models_changes_no_list(self) -> None:
        registry = Registry()
        registry.reconcile(discovering())
        probe(registry, True, self.LIST)
        probe(registry, True, None)
        assert registry.discovered() == {"ollama": self.LIST}

    def test_another_server_under_the_same_name_starts_without_a_list(self) -> None:
        registry = Registry()
        registry.reconcile(discovering())
        probe(registry, True, self.LIST)
        moved = provider("ollama", Zone.LOCAL, discover=True, identity="ollama|elsewhere")
        registry.reconcile(snapshot(providers={"ollama": moved}))
        assert registry.discovered() == {}

    def test_a_probe_that_ends_after_its_provider_was_removed_leaves_nothing(self) -> None:
        registry = Registry()
        registry.reconcile(discovering())
        registry.reconcile(snapshot(OPENAI))
        probe(registry, True, self.LIST)
        registry.reconcile(discovering())
        assert registry.discovered() == {}


class TestReconcile:
    def test_the_same_key_keeps_its_state(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI)
        cheaper = deployment("openai/gpt", provider("openai", priority=1))
        registry.reconcile(snapshot(cheaper))
        assert registry.readings((cheaper,)).gauges[OPENAI.key].seen == 1

    def test_a_changed_key_starts_afresh(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI)
        moved = deployment("openai/gpt", key="elsewhere")
        registry.reconcile(snapshot(moved))
        assert registry.readings((moved,)).gauges == {}

    def test_what_is_gone_and_idle_is_dropped(self) -> None:
        registry = registry_for(OPENAI)
        call(registry, OPENAI)
        registry.reconcile(snapshot(LLAMA))
        registry.reconcile(snapshot(OPENAI))
        assert registry.readings((OPENAI,)).gauges == {}
        assert report_of(registry, snapshot(OPENAI)).requests == 0

    def test_what_is_gone_and_busy_is_kept_until_it_is_idle(self) -> None:
        registry = registry_for(OPENAI)
        registry.started(OPENAI)
        registry.started(OPENAI)
        registry.reconcile(snapshot(LLAMA))
        registry.ended(OPENAI, GOOD, 100.0)
        assert registry.readings((OPENAI,)).gauges[OPENAI.key].in_flight == 1
        registry.ended(OPENAI, GOOD, 100.0)
        assert registry.readings((OPENAI,)).gauges == {}

    def test_what_was_gone_and_busy_and_came_back_kept_its_state(self) -> None:
        registry = registry_for(OPENAI)
        registry.started(OPENAI)
        registry.reconcile(snapshot(LLAMA))
        registry.reconcile(snapshot(OPENAI))
        registry.ended(OPENAI, GOOD, 100.0)
        assert registry.readings((OPENAI,)).gauges[OPENAI.key] == Gauge(0, 0.2, 1)

    def test_a_call_that_began_on_an_older_snapshot_leaves_nothing_behind(self) -> None:
        registry = registry_for(LLAMA)
        call(registry, OPENAI)
        assert registry.readings((OPENAI,)).gauges == {}

    @given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["start", "end", "reload"])), max_size=60))
    def test_nothing_grows_beyond_what_is_named_or_running(self, events: list[tuple[int, str]]) -> None:
        everybody = [deployment(f"p{i}/m") for i in range(6)]
        registry = registry_for()
        named: set[str] = set()
        running: list[Deployment] = []
        for number, event in events:
            one = everybody[number]
            if event == "start":
                registry.started(one)
                running.append(one)
            elif event == "end" and running:
                registry.ended(running.pop(number % len(running)), GOOD, 100.0)
            elif event == "reload":
                registry.reconcile(snapshot(*everybody[number:]))
                named = {d.key for d in everybody[number:]}
            gauges = registry.readings(everybody).gauges
            assert set(gauges) <= named | {d.key for d in running}
            for other in everybody:
                in_flight = gauges[other.key].in_flight if other.key in gauges else 0
                assert in_flight == running.count(other)


def report_of(registry: Registry, given_snapshot: Snapshot) -> ProviderReport:
    (report,) = registry.report(given_snapshot)
    return report


class TestReport:
    def state(self, registry: Registry, given_snapshot: Snapshot) -> tuple[str, str]:
        report = report_of(registry, given_snapshot)
        return report.state, report.reason

    def test_a_provider_nobody_asked_is_not_yet_tested(self) -> None:
        registry = registry_for(OPENAI)
        assert report_of(registry, snapshot(OPENAI)) == ProviderReport(
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
        registry.probed(LAB, ok=False, detail="connection refused", wall_s=101.0, models=None)
        assert self.state(registry, given_snapshot) == ("failing", "connection refused")
        registry.probed(LAB, ok=True, detail="", wall_s=102.0, models=None)
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
        registry.probed(LAB, ok=False, detail="x" * 10_000, wall_s=1.0, models=None)
        assert len(self.state(registry, snapshot(LLAMA))[1]) == 200


def test_turns_count_up_from_nought() -> None:
    registry = Registry()
    assert [registry.next_turn() for _ in range(3)] == [0, 1, 2]
