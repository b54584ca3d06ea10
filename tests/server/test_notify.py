"""What happens is told once to each who wants to know: the ring, the log, the webhooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmproxyd.exchange.account import AttemptRecord, Ending, ExchangeRecord
from llmproxyd.server import notify
from llmproxyd.server.notices import HEALTH_KINDS, NOTICES, describe
from llmproxyd.server.notify import MAX_KEYS, WINDOW_S, Notifier
from llmproxyd.server.outcome import find_failover, find_retries, judge_hedge
from llmproxyd.state.changes import HealthChange
from llmproxyd.state.events import Event, Events
from llmproxyd.values.failure import Failure, FailureKind
from tests.exchange.build import until
from tests.server.values import AT_S, BAD_KEY, deployment, provider, verdict

A = deployment(provider("a"), "m")
B = deployment(provider("b"), "m")
DOWN = Failure(FailureKind.OVERLOADED, "busy", status=503)
SLOW = Failure(FailureKind.TIMEOUT, "slow")


class House:
    """A notifier with a clock that is moved by hand, and everything it told."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.events = Events(lambda: AT_S, epoch="e")
        self.offered: list[tuple[str, str]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.notifier = Notifier(
            self.events,
            lambda event, text: self.offered.append((event.kind, text)),
            status=lambda: "gen 1 ok",
            clock=lambda: self.now_s,
            later=lambda delay_s, call: self.timers.append((self.now_s + delay_s, call)),
        )

    def pass_time(self, seconds: float) -> None:
        """Let timers ring when they are due."""
        until_s = self.now_s + seconds
        while self.timers and min(self.timers, key=lambda timer: timer[0])[0] <= until_s:
            timer = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now_s = max(self.now_s, timer[0])
            timer[1]()
        self.now_s = until_s

    @property
    def told(self) -> list[tuple[str, Any]]:
        return [(event.kind, event.facts.get("count")) for event in self.events.after()]


class Log:
    """In place of the logger: (level, event, fields)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **fields: self.lines.append((level, event, fields))


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(notify, "_log", log)
    monkeypatch.setattr(notify, "_config_log", log)
    return log


def attempt(name: str, failure: Failure | None = None, **changes: Any) -> AttemptRecord:
    return AttemptRecord(name, "verbatim", 0.1, failure, **changes)


def record(*attempts: AttemptRecord, request_id: str = "r1", **changes: Any) -> ExchangeRecord:
    given: dict[str, Any] = {"ending": Ending.SERVED, "status": 200, "deployment": B}
    return ExchangeRecord(request_id, 1, attempts=list(attempts), **(given | changes))


def failed(failure: Failure, *attempts: AttemptRecord, ending: Ending = Ending.FAILED) -> ExchangeRecord:
    return record(*attempts, deployment=None, ending=ending, failure=failure)


FAILOVER = record(attempt("a/m", DOWN), attempt("b/m"))


class TestFailover:
    def test_it_is_told_with_who_failed_who_answered_and_how(self, house: House, log: Log) -> None:
        house.notifier.exchange(FAILOVER)
        [event] = house.events.after()
        assert (event.kind, event.subject) == ("failover", "a/m")
        assert event.facts == {
            "from": "a/m",
            "to": "b/m",
            "failure": "overloaded",
            "request_id": "r1",
            "count": 1,
        }
        assert house.offered == [("failover", "b/m answered for a/m, which failed (overloaded).")]
        [(level, name, fields)] = log.lines
        assert (level, name, fields["to"], fields["request_id"]) == ("warning", "failover", "b/m", "r1")

    def test_a_thousand_of_them_are_one_event_in_ten_seconds(self, house: House, log: Log) -> None:
        for number in range(1000):
            house.notifier.exchange(record(attempt("a/m", DOWN), attempt("b/m"), request_id=f"r{number}"))
        assert house.told == [("failover", 1)]
        house.pass_time(WINDOW_S)
        assert house.told == [("failover", 1), ("failover", 999)]
        assert house.events.after()[-1].facts["request_id"] == "r999"
        assert house.offered[-1][1].endswith("(overloaded), 999 times.")
        assert len(log.lines) == 2

    def test_others_are_counted_on_their_own(self, house: House) -> None:
        house.notifier.exchange(FAILOVER)
        house.notifier.exchange(record(attempt("a/m", SLOW), attempt("b/m")))
        house.notifier.exchange(record(attempt("b/m", DOWN), attempt("a/m"), deployment=A))
        assert house.told == [("failover", 1)] * 3

    def test_when_it_is_over_nothing_more_is_told_and_the_next_one_is_told_at_once(
        self, house: House
    ) -> None:
        house.notifier.exchange(FAILOVER)
        house.pass_time(3 * WINDOW_S)
        assert house.told == [("failover", 1)]
        assert house.timers == [], "nothing rings for ever"
        house.notifier.exchange(FAILOVER)
        assert house.told == [("failover", 1)] * 2

    def test_each_window_begins_with_its_own_first(self, house: House) -> None:
        house.notifier.exchange(FAILOVER)
        house.pass_time(6)
        house.notifier.exchange(record(attempt("a/m", SLOW), attempt("b/m")))
        house.notifier.exchange(record(attempt("a/m", SLOW), attempt("b/m")))
        house.pass_time(5)
        assert house.told == [("failover", 1), ("failover", 1)]
        house.pass_time(5)
        assert house.told[2:] == [("failover", 1)]

    def test_what_is_held_back_is_told_at_the_end(self, house: House) -> None:
        for _ in range(4):
            house.notifier.exchange(FAILOVER)
        house.notifier.flush()
        house.notifier.flush()
        assert house.told == [("failover", 1), ("failover", 3)]

    def test_the_table_of_what_is_counted_is_bounded(self, house: House) -> None:
        for number in range(3 * MAX_KEYS):
            house.notifier.exchange(record(attempt(f"p{number}/m", DOWN), attempt("b/m")))
        assert len(house.notifier._held) <= MAX_KEYS


@pytest.mark.parametrize(
    ("attempts", "found"),
    [
        ((attempt("b/m"),), None),
        ((attempt("a/m", DOWN), attempt("b/m")), "a/m"),
        ((attempt("a/m", DOWN, sent=False), attempt("b/m")), None),
        ((attempt("b/m", DOWN), attempt("b/m")), None),
        ((attempt("b/m", DOWN), attempt("a/m", SLOW), attempt("b/m")), "a/m"),
        ((attempt("a/m"), attempt("b/m", hedge=True)), None),
    ],
)
def test_a_failover_needs_another_that_was_called_and_failed(
    attempts: tuple[AttemptRecord, ...], found: str | None
) -> None:
    failover = find_failover(record(*attempts))
    assert (failover.origin if failover else None) == found


def test_an_exchange_that_nobody_answered_is_no_failover() -> None:
    tried = (attempt("a/m", DOWN), attempt("b/m", DOWN))
    assert find_failover(failed(DOWN, *tried)) is None
    assert find_failover(record(*tried, ending=Ending.FAILED)) is None


def test_an_answer_that_broke_off_was_one_nevertheless() -> None:
    cut = record(attempt("a/m", DOWN), attempt("b/m", SLOW), ending=Ending.CUT, failure=SLOW)
    assert find_failover(cut) is not None


def test_retries_are_further_calls_of_the_same_deployment() -> None:
    tried = [
        attempt("a/m", DOWN, sent=False),
        attempt("a/m", DOWN),
        attempt("b/m", DOWN),
        attempt("a/m", DOWN),
        attempt("a/m"),
    ]
    assert list(find_retries(record(*tried))) == tried[3:]


@pytest.mark.parametrize(
    ("name", "failure", "word"), [("b/m", None, "won"), ("c/m", None, "lost"), ("b/m", DOWN, "failed")]
)
def test_a_hedge_is_won_lost_or_failed(name: str, failure: Failure | None, word: str) -> None:
    hedge = attempt(name, failure, hedge=True)
    assert judge_hedge(hedge, record(attempt("a/m"), hedge)) == word


class TestFailures:
    def test_one_that_the_client_got_is_told_but_not_sent_out(self, house: House, log: Log) -> None:
        house.notifier.exchange(failed(DOWN, attempt("a/m", DOWN)))
        [event] = house.events.after()
        assert (event.kind, event.subject, event.facts["failure"]) == ("exchange_failed", "a/m", "overloaded")
        assert house.offered == []
        assert log.lines == [], "the exchange has a line of its own"

    def test_a_cut_stream_is_one(self, house: House) -> None:
        house.notifier.exchange(record(attempt("b/m", SLOW), ending=Ending.CUT, failure=SLOW))
        assert house.events.after()[0].facts["ending"] == "cut"

    @pytest.mark.parametrize(
        "quiet",
        [
            failed(Failure(FailureKind.BAD_REQUEST, "no")),
            failed(Failure(FailureKind.LIMIT_REACHED, "too many")),
            failed(DOWN, ending=Ending.CANCELLED),
        ],
    )
    def test_what_is_the_callers_is_not(self, quiet: ExchangeRecord, house: House) -> None:
        house.notifier.exchange(quiet)
        assert house.told == []

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("overloaded", "overload"),
            ("queue", "queue_full"),
            ("breaker_open", "exchange_failed"),
            (None, "exchange_failed"),
        ],
    )
    def test_being_full_has_kinds_of_its_own(self, code: str | None, kind: str, house: House) -> None:
        for _ in range(3):
            house.notifier.exchange(failed(Failure(FailureKind.SATURATED, "full", code=code)))
        house.pass_time(WINDOW_S)
        assert house.told == [(kind, 1), (kind, 2)]

    def test_overload_goes_to_webhooks(self, house: House) -> None:
        house.notifier.exchange(failed(Failure(FailureKind.SATURATED, "full", code="overloaded")))
        assert house.offered == [("overload", "There is too much to do: requests were refused.")]


class TestHealth:
    @pytest.mark.parametrize("kind", sorted(HEALTH_KINDS))
    def test_every_change_is_told_every_time(self, kind: str, house: House, log: Log) -> None:
        for _ in range(3):
            house.notifier.health(HealthChange(kind, "a/m"))
        assert [told for told, _ in house.told] == [kind] * 3
        assert [name for _, name, _ in log.lines] == [kind] * 3
        assert len(house.offered) == 3 * NOTICES[kind].hook

    def test_the_sentence_says_how_long_why_and_what_to_do(self, house: House, log: Log) -> None:
        change = HealthChange(
            "credential_quarantined", "openai", "401 invalid key.", 300.0, "set OPENAI_API_KEY"
        )
        house.notifier.health(change)
        expected = "A key of openai was refused and is not used for 300 s: 401 invalid key. To do: set OPENAI_API_KEY."
        assert house.offered == [("credential_quarantined", expected)]
        assert log.lines[0][0] == "warning"
        assert log.lines[0][2]["text"] == expected

    def test_what_is_not_known_is_left_out(self, house: House) -> None:
        house.notifier.health(HealthChange("breaker_closed", "a/m"))
        assert house.events.after()[0].facts == {}


class TestReload:
    def test_one_that_is_applied_is_an_event_and_the_log_lines_of_a_reload(
        self, house: House, log: Log
    ) -> None:
        house.notifier.reload(verdict("applied", 2))
        [event] = house.events.after()
        assert (event.kind, event.facts) == (
            "config_applied",
            {"generation": 2, "trigger": "watch", "token": "t2"},
        )
        [(level, name, fields)] = log.lines
        assert (level, name, fields["status"], fields["ms"]) == ("info", "config.applied", "gen 1 ok", 31.2)
        assert house.offered == []

    def test_one_that_is_rejected_says_why_and_goes_to_webhooks(self, house: House, log: Log) -> None:
        house.notifier.reload(verdict("rejected", 1, BAD_KEY))
        assert house.offered == [
            (
                "config_rejected",
                "The files on disk are refused, generation 1 stays in force: "
                "providers.yaml:9:5: error[LP101]: unknown key `timout`",
            )
        ]
        assert [(level, name) for level, name, _ in log.lines] == [
            ("warning", "config.problem"),
            ("error", "config.rejected"),
        ]

    def test_one_that_changes_nothing_is_a_log_line_alone(self, house: House, log: Log) -> None:
        house.notifier.reload(verdict("noop", 1))
        assert (house.told, [name for _, name, _ in log.lines]) == ([], ["config.noop"])


def test_a_webhook_that_fails_is_told_to_everybody_but_webhooks(house: House, log: Log) -> None:
    for _ in range(5):
        house.notifier.webhook("https://hooks.example", "failed", "status 500")
    house.pass_time(WINDOW_S)
    assert house.told == [("webhook_failed", 1), ("webhook_failed", 4)]
    assert house.offered == []
    assert log.lines[0][2]["text"] == "https://hooks.example did not get its notice: status 500."


@pytest.mark.parametrize("kind", sorted(NOTICES))
def test_every_kind_has_a_sentence_in_one_line_whatever_is_known(kind: str) -> None:
    bare = describe(Event("e-1", AT_S, kind, "", {}))
    full = describe(Event("e-1", AT_S, kind, "a/m", {"cause": "x\ny {z}", "help": "do {this}", "for_s": 2}))
    for text in (bare, full):
        assert text.endswith("." if kind != "config_rejected" else ":")
        assert "\n" not in text
        assert "{" not in text.replace("{z}", "").replace("{this}", "")


def test_a_kind_that_is_not_in_the_table_is_told_by_its_name() -> None:
    assert describe(Event("e-1", AT_S, "new", "a/m", {"count": 3})) == "new a/m"


async def test_on_a_running_loop_its_timers_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "WINDOW_S", 0.02)
    events = Events(lambda: AT_S)
    notifier = Notifier(events, lambda event, text: None)
    notifier.exchange(FAILOVER)
    notifier.exchange(FAILOVER)
    await until(lambda: len(events.after()) == 2)
    assert [event.facts["count"] for event in events.after()] == [1, 1]
