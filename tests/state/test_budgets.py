"""Budgets: nobody gets more than there is, nothing that was reserved stays behind, and what was spent stays spent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from llmproxyd.state import budgets as budgets_module
from llmproxyd.state import fund as fund_module
from llmproxyd.state.budgets import Budgets, Later, Reservation
from llmproxyd.state.fund import KEPT_WINDOWS
from llmproxyd.state.shortfall import EXCEEDED, MAX_RETRY_AFTER_S, PRICE_UNKNOWN
from llmproxyd.values.budget import Bound, Budget, BudgetAlert, Per, Scope, Then, Who
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.ledger import Total
from llmproxyd.values.snapshot import Tenant
from tests.routing.build import deployment, snapshot
from tests.support.records import replace

NOW_S = datetime(2026, 11, 21, 10, 30, tzinfo=UTC).timestamp()
HOUR_S, DAY_S = 3600.0, 86_400.0
ANN = Who(tenant="acme", project="web", user="ann", key_id="k1")
OPENAI, OTHER = deployment("openai/gpt"), deployment("other/gpt")


def budget(name: str = "b", **changes: Any) -> Budget:
    given: dict[str, Any] = {"nanos": 100, "per": Per.DAY, "alert_at": ()}
    return Budget(name, **(given | changes))


class House:
    """Budgets in force, and what they told."""

    def __init__(self, *budgets: Budget) -> None:
        self.told: list[BudgetAlert] = []
        self.budgets = Budgets(self.told.append)
        self.reload(*budgets)

    def reload(self, *budgets: Budget) -> None:
        self.budgets.reconcile(snapshot(OPENAI, OTHER, budgets=budgets))

    def ask(
        self, nanos: int | None, tokens: int = 0, now_s: float = NOW_S, **how: Any
    ) -> Reservation | Failure | Later:
        who, at = how.pop("who", ANN), how.pop("deployment", OPENAI)
        return self.budgets.reserve(who, at, nanos, tokens, now_s, **how)

    def take(self, nanos: int | None, tokens: int = 0, now_s: float = NOW_S, **how: Any) -> Reservation:
        taken = self.ask(nanos, tokens, now_s, **how)
        assert isinstance(taken, Reservation), taken
        return taken

    def refused(self, nanos: int | None, tokens: int = 0, now_s: float = NOW_S, **how: Any) -> Failure:
        failure = self.ask(nanos, tokens, now_s, **how)
        assert isinstance(failure, Failure), failure
        return failure

    def spend(self, nanos: int, tokens: int = 0, now_s: float = NOW_S, **how: Any) -> None:
        self.take(nanos, tokens, now_s, **how).settle(nanos, tokens)

    def spent(self, now_s: float = NOW_S) -> int:
        (report,) = self.budgets.report(now_s)
        assert report.held_nanos == report.held_tokens == 0
        return report.spent_nanos

    def thresholds(self) -> list[float | None]:
        return [alert.threshold for alert in self.told]


# --- room -------------------------------------------------------------------------------------------------------


def test_what_is_reserved_is_not_given_twice() -> None:
    house = House(budget())
    house.take(60)
    assert house.refused(41).code == EXCEEDED
    house.take(40)


def test_what_a_call_did_not_cost_is_free_again() -> None:
    house = House(budget())
    house.take(100).settle(10, 0)
    assert house.spent() == 10
    house.take(90)


def test_a_call_that_was_never_sent_owes_nothing() -> None:
    house = House(budget())
    house.take(100).release()
    assert house.spent() == 0


def test_only_the_first_end_of_a_reservation_counts() -> None:
    house = House(budget())
    taken = house.take(60)
    taken.settle(50, 0)
    taken.settle(50, 0)
    taken.release()
    assert house.spent() == 50
    assert house.budgets.open_reservations == 0


def test_a_cost_nobody_knows_is_all_that_was_reserved() -> None:
    house = House(budget())
    house.take(60).settle(None, 0)
    assert house.spent() == 60


def test_more_than_was_reserved_is_booked_in_full_and_counted() -> None:
    house = House(budget(tokens=1000))
    house.take(60, 10).settle(150, 10)
    house.take(0, 10).settle(0, 11)
    assert house.spent() == 150
    assert house.budgets.overruns == 2
    assert house.refused(1).code == EXCEEDED


def test_what_costs_nothing_is_served_by_a_spent_budget() -> None:
    house = House(budget(nanos=0))
    assert house.refused(1).code == EXCEEDED
    house.take(0)


def test_tokens_are_bounded_as_well_as_money() -> None:
    house = House(budget(nanos=None, tokens=100))
    house.spend(10**12, 60)
    assert house.refused(0, 41).code == EXCEEDED
    house.take(None, 40).settle(7, 40)
    assert house.budgets.overruns == 0, "without a price there was nothing to reserve"


def test_an_unknown_price_is_refused_where_money_is_counted() -> None:
    failure = House(budget()).refused(None)
    assert (failure.kind, failure.code) == (FailureKind.LIMIT_REACHED, PRICE_UNKNOWN)
    assert failure.retry_after_s is None


def test_a_refused_call_takes_nothing_from_budgets_that_had_room() -> None:
    house = House(budget("wide", nanos=1000), budget("narrow", nanos=10))
    house.refused(50)
    assert {report.held_nanos for report in house.budgets.report(NOW_S)} == {0}


async def test_of_sixty_four_tasks_exactly_as_many_get_through_as_fit() -> None:
    for _ in range(200):
        house = House(budget(nanos=10 * 7))

        async def one(house: House = house) -> bool:
            await asyncio.sleep(0)
            taken = house.ask(7)
            if not isinstance(taken, Reservation):
                return False
            await asyncio.sleep(0)
            taken.settle(7, 0)
            return True

        served = await asyncio.gather(*(one() for _ in range(64)))
        assert sum(served) == 10
        assert house.spent() == 70


# --- whose it is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "only", "applies"),
    [
        (Scope.OVERALL, None, True),
        (Scope.TENANT, "acme", True),
        (Scope.TENANT, "globex", False),
        (Scope.TENANT, None, True),
        (Scope.PROJECT, "web", True),
        (Scope.USER, "bob", False),
        (Scope.USER, None, True),
        (Scope.KEY, "k1", True),
        (Scope.PROVIDER, "openai", True),
        (Scope.PROVIDER, "other", False),
        (Scope.PROVIDER, None, True),
        (Scope.MODEL, "gpt", True),
        (Scope.MODEL, "claude", False),
    ],
)
def test_a_budget_is_for_those_it_names(scope: Scope, only: str | None, applies: bool) -> None:
    house = House(budget(scope=scope, only=only))
    assert isinstance(house.ask(101), Failure) is applies


def test_each_name_has_a_balance_of_its_own() -> None:
    house = House(budget(scope=Scope.USER))
    house.spend(100)
    house.refused(1)
    house.take(100, who=Who(user="bob"))
    house.take(100, who=Who())
    house.take(100, who=Who(user=""))


def test_a_tenants_own_budget_counts_like_any_other() -> None:
    budgets = Budgets(lambda _: None)
    own = budget("tenant acme", scope=Scope.TENANT, only="acme")
    budgets.reconcile(snapshot(OPENAI, tenants={"acme": Tenant("acme", budget=own)}))
    assert isinstance(budgets.reserve(ANN, OPENAI, 101, 0, NOW_S), Failure)
    assert isinstance(budgets.reserve(Who(tenant="globex"), OPENAI, 101, 0, NOW_S), Reservation)


def test_without_budgets_there_is_nothing_to_ask() -> None:
    house = House()
    assert not house.budgets.active
    assert house.budgets.purse(ANN, NOW_S) is None
    house.take(None, 10**9).settle(10**9, 10**9)
    assert house.budgets.report(NOW_S) == ()
    assert house.budgets.open_reservations == 0


def test_invented_names_cannot_fill_the_memory_and_get_no_money_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fund_module, "MAX_ACCOUNTS", 300)
    house = House(budget(scope=Scope.USER))
    for number in range(300):
        house.spend(1, who=Who(user=f"u{number}"))
    house.spend(60, who=Who(user="late"))
    house.refused(41, who=Who(user="later"))
    reports = house.budgets.report(NOW_S)
    assert len(reports) == 301
    assert [report.spent_nanos for report in reports if report.shared] == [60]


def test_callers_beyond_those_that_are_remembered_have_the_balances_they_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budgets_module, "MAX_REMEMBERED", 3)
    house = House(budget("own", scope=Scope.USER), budget("all", nanos=10_000, per=Per.HOUR))
    for _ in range(2):
        for name in ("ann", "bob", "eve", "joe", "kim"):
            house.spend(40, who=Who(user=name))
    assert all(house.refused(21, who=Who(user=name)) for name in ("ann", "bob", "eve", "joe", "kim"))
    assert len(house.budgets._remembered) <= 3


def test_where_one_budgets_window_turns_the_others_go_on() -> None:
    house = House(budget("hourly", per=Per.HOUR), budget("daily", nanos=150))
    house.spend(100)
    assert "hourly" in house.refused(1).told
    house.spend(40, now_s=NOW_S + HOUR_S)
    assert "daily" in house.refused(11, now_s=NOW_S + HOUR_S).told
    assert "hourly" in house.refused(1).told  # the clock is set back: the earlier hour is as it was left


def test_names_nobody_has_asked_for_since_yesterday_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fund_module, "MAX_ACCOUNTS", 300)
    house = House(budget(scope=Scope.USER))
    for number in range(300):
        house.spend(1, who=Who(user=f"u{number}"))
    later_s = NOW_S + 3 * DAY_S
    for number in range(300):
        house.spend(100, now_s=later_s, who=Who(user=f"v{number}"))
    assert not [report for report in house.budgets.report(later_s) if report.shared]


# --- what then --------------------------------------------------------------------------------------------------


def test_a_refusal_says_which_budget_and_when_to_come_back() -> None:
    house = House(budget("small", per=Per.HOUR))
    house.spend(80)
    failure = house.refused(30)
    assert (failure.kind, failure.client_status) == (FailureKind.LIMIT_REACHED, 429)
    assert failure.retry_after_s == 1800
    assert "`small`" in failure.message
    assert "1800 s" in failure.message
    assert failure.detail == "budget small: nano-dollars: 100 in all, 80 spent, 0 reserved, 30 wanted"


def test_nobody_is_sent_away_for_longer_than_a_day() -> None:
    house = House(budget(per=Per.MONTH))
    house.spend(100)
    assert house.refused(1).retry_after_s == MAX_RETRY_AFTER_S


def test_a_request_that_could_never_fit_is_not_told_to_come_back() -> None:
    failure = House(budget(then=Then.QUEUE)).refused(101, patience_s=10 * DAY_S)
    assert failure.retry_after_s is None
    assert "smaller than" in failure.message


def test_a_queue_waits_for_the_next_window_if_the_caller_does() -> None:
    house = House(budget(then=Then.QUEUE, per=Per.HOUR))
    house.spend(100)
    later = house.ask(10, patience_s=1800)
    assert isinstance(later, Later)
    assert later.wait_s == 1800
    assert house.refused(10, patience_s=1799).retry_after_s == 1800
    house.take(10, now_s=NOW_S + later.wait_s)


def test_nobody_waits_for_one_budget_while_another_refuses() -> None:
    house = House(budget("line", then=Then.QUEUE), budget("wall"))
    house.spend(100)
    house.refused(10, patience_s=10 * DAY_S)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, FailureKind.LIMIT_REACHED),
        ({"then": Then.QUEUE}, FailureKind.LIMIT_REACHED),
        ({"then": Then.DOWNGRADE}, FailureKind.SATURATED),
        ({"scope": Scope.PROVIDER}, FailureKind.SATURATED),
        ({"scope": Scope.MODEL, "only": "gpt", "then": Then.QUEUE}, FailureKind.SATURATED),
    ],
)
def test_where_somebody_else_may_answer_the_next_one_is_asked(
    changes: dict[str, Any], kind: FailureKind
) -> None:
    assert House(budget(**changes)).refused(101).kind is kind


def test_routing_is_told_what_cannot_be_paid_for() -> None:
    house = House(budget("caller"), budget("openai only", scope=Scope.PROVIDER, only="openai", nanos=50))
    purse = house.budgets.purse(ANN, NOW_S)
    assert purse is not None
    assert purse.objection(OPENAI, Bound(50, 1, 1.0)) is None
    objection = purse.objection(OPENAI, Bound(51, 1, 1.0))
    assert objection is not None
    assert "`openai only`" in objection.reason
    assert purse.objection(OTHER, Bound(51, 1, 1.0)) is None
    assert purse.objection(OTHER, Bound(5000, 1, 1.0)) is None, (
        "a budget that rejects says so when it is asked"
    )
    unknown = purse.objection(OTHER, Bound(None, 1, None))
    assert unknown is not None
    assert unknown.code == PRICE_UNKNOWN


def test_a_downgrade_leaves_those_who_are_cheap_enough() -> None:
    house = House(budget(then=Then.DOWNGRADE, ceiling=500, ceiling_from=0.5))
    purse = house.budgets.purse(ANN, NOW_S)
    assert purse is not None
    assert purse.objection(OPENAI, Bound(100, 1, 501.0)) is None, "nothing is short yet"
    house.spend(50)
    assert purse.objection(OPENAI, Bound(50, 1, 500.0)) is None
    dear, large = purse.objection(OPENAI, Bound(50, 1, 501.0)), purse.objection(OPENAI, Bound(51, 1, 1.0))
    assert dear is not None
    assert "ceiling" in dear.reason
    assert large is not None
    assert "less left" in large.reason


# --- windows ----------------------------------------------------------------------------------------------------


def test_a_new_window_begins_to_the_second() -> None:
    house = House(budget(zone="Europe/Berlin"))
    midnight_s = datetime(2026, 11, 21, 23, 0, tzinfo=UTC).timestamp()
    house.spend(100, now_s=midnight_s - 1)
    assert house.refused(1, now_s=midnight_s - 0.001).retry_after_s == pytest.approx(0.001, abs=1e-6)
    house.take(100, now_s=midnight_s)


def test_a_call_is_booked_in_the_window_it_began_in() -> None:
    house = House(budget(per=Per.HOUR))
    taken = house.take(90)
    house.take(100, now_s=NOW_S + HOUR_S).release()
    taken.settle(90, 0)
    assert house.spent() == 90
    assert house.spent(NOW_S + HOUR_S) == 0


def test_setting_the_clock_back_and_forth_opens_no_window_twice() -> None:
    house = House(budget(per=Per.HOUR))
    for now_s in (NOW_S, NOW_S + HOUR_S):
        house.spend(100, now_s=now_s)
    for now_s in (NOW_S - 60, NOW_S + HOUR_S, NOW_S, NOW_S + HOUR_S + 60):
        house.refused(1, now_s=now_s)


def test_a_window_too_far_back_to_be_remembered_is_not_taken_for_a_new_one() -> None:
    house = House(budget(per=Per.HOUR))
    for hour in range(KEPT_WINDOWS + 1):
        house.spend(100, now_s=NOW_S + hour * HOUR_S)
    house.refused(1, now_s=NOW_S)
    house.refused(1, now_s=NOW_S - 100 * HOUR_S)


def test_a_clock_that_ran_ahead_for_a_moment_locks_nobody_out() -> None:
    house = House(budget())
    house.spend(100, now_s=NOW_S + 4000 * DAY_S)
    house.take(100, now_s=NOW_S)


# --- telling ----------------------------------------------------------------------------------------------------


def test_every_threshold_is_told_once_in_a_window() -> None:
    house = House(budget(alert_at=(0.5, 0.8, 1.0), per=Per.HOUR))
    for _ in range(10):
        house.spend(10)
    assert house.thresholds() == [0.5, 0.8, 1.0]
    assert [alert.nanos for alert in house.told] == [50, 80, 100]
    house.spend(60, now_s=NOW_S + HOUR_S)
    assert house.thresholds() == [0.5, 0.8, 1.0, 0.5]


def test_one_call_may_pass_several_thresholds() -> None:
    house = House(budget(alert_at=(0.5, 0.8)))
    house.spend(90)
    assert house.thresholds() == [0.5, 0.8]


def test_the_first_refusal_in_a_window_is_told_because_what_is_left_may_never_be_spent() -> None:
    house = House(budget(alert_at=(1.0,)))
    house.spend(97)
    house.refused(5)
    house.refused(5)
    assert house.thresholds() == [None]
    assert house.budgets.report(NOW_S)[0].refused == 2


def test_nobody_is_told_where_nobody_asked_for_it() -> None:
    house = House(budget())
    house.spend(100)
    house.refused(1)
    assert house.told == []


def test_an_alert_says_whose_balance_it_is() -> None:
    house = House(budget(scope=Scope.USER, alert_at=(0.5,)))
    house.spend(70)
    (alert,) = house.told
    assert (alert.name, alert.share, alert.to_s - alert.from_s) == ("ann", 0.7, DAY_S)


def test_an_alert_that_goes_wrong_leaves_no_reservation_behind() -> None:
    def fail(alert: BudgetAlert) -> None:
        raise RuntimeError("no way to tell")

    budgets = Budgets(fail)
    budgets.reconcile(snapshot(OPENAI, budgets=(budget("a", alert_at=(0.1,)), budget("b"))))
    taken = budgets.reserve(ANN, OPENAI, 50, 0, NOW_S)
    assert isinstance(taken, Reservation)
    with pytest.raises(RuntimeError):
        taken.settle(50, 0)
    assert [(r.spent_nanos, r.held_nanos) for r in budgets.report(NOW_S)] == [(50, 0), (50, 0)]


# --- how much is left -------------------------------------------------------------------------------------------


def test_the_tightest_budget_says_how_much_is_left() -> None:
    house = House(
        budget("wide", nanos=1000),
        budget("user", scope=Scope.USER),
        budget("p", scope=Scope.PROVIDER, nanos=51),
    )
    house.spend(50)
    assert house.budgets.left(ANN, NOW_S) == 0.5
    assert house.budgets.left(Who(user="bob"), NOW_S) == 0.95
    purse = house.budgets.purse(ANN, NOW_S)
    assert purse is not None
    assert purse.left == 0.5


def test_who_has_no_budget_has_no_share_of_one() -> None:
    assert House(budget(scope=Scope.USER)).budgets.left(Who(), NOW_S) is None


def test_of_money_and_tokens_the_one_that_is_further_on_counts() -> None:
    house = House(budget(tokens=1000))
    house.spend(10, 900)
    assert house.budgets.left(ANN, NOW_S) == pytest.approx(0.1)


# --- reload and restart -----------------------------------------------------------------------------------------


def test_a_reload_refills_nothing_and_adopts_a_changed_amount() -> None:
    house = House(budget())
    house.spend(90)
    house.reload(budget())
    house.refused(20)
    house.reload(budget(nanos=200))
    taken = house.take(110)
    house.reload(budget(nanos=50))
    taken.settle(110, 0)
    assert house.spent() == 200
    house.refused(1)


def test_a_threshold_of_a_raised_amount_is_told_again_when_it_is_reached() -> None:
    house = House(budget(alert_at=(0.8,)))
    house.spend(80)
    house.reload(budget(alert_at=(0.8,), nanos=200))
    house.spend(79)
    assert house.thresholds() == [0.8]
    house.spend(1)
    assert house.thresholds() == [0.8, 0.8]


def test_a_budget_that_is_deleted_is_quiet_about_what_still_runs() -> None:
    house = House(budget(alert_at=(0.5,)))
    taken = house.take(100)
    house.reload()
    taken.settle(100, 0)
    assert house.told == []
    assert house.budgets.open_reservations == 0


class Book:
    """A ledger for tests: sums by (scope, name) for each beginning; it remembers what it was asked."""

    def __init__(self, sums: Mapping[tuple[str, str], Total]) -> None:
        self.sums = sums
        self.asked: list[tuple[list[str], float]] = []

    def totals(self, scopes: Iterable[str], since_s: float) -> Mapping[tuple[str, str], Total]:
        wanted = list(scopes)
        self.asked.append((wanted, since_s))
        return {key: total for key, total in self.sums.items() if key[0] in wanted}


def test_after_a_restart_what_is_spent_is_what_the_ledger_has() -> None:
    book = Book(
        {
            ("overall", ""): Total(9, 900, 90),
            ("user", "ann"): Total(3, 300, 85),
            ("user", "bob"): Total(1, 50, 5),
            ("user", ""): Total(5, 550, 0),
            ("tenant", "globex"): Total(9, 900, 90),
        }
    )
    house = House(
        budget("all", nanos=1000, tokens=10_000),
        budget("users", scope=Scope.USER, alert_at=(0.8, 0.9)),
        budget("acme", scope=Scope.TENANT, only="acme", per=Per.MONTH),
    )
    house.budgets.restore(book.totals, NOW_S)
    spent = {(r.budget.name, r.name): (r.spent_nanos, r.spent_tokens) for r in house.budgets.report(NOW_S)}
    assert spent == {
        ("all", ""): (90, 900),
        ("users", "ann"): (85, 300),
        ("users", "bob"): (5, 50),
        ("acme", "acme"): (0, 0),
    }
    day_s = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
    month_s = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
    assert sorted(book.asked) == [(["overall", "user"], day_s), (["tenant"], month_s)]
    assert house.told == [], "80 % was told before the restart"
    house.spend(5)
    assert [(alert.name, alert.threshold) for alert in house.told] == [("ann", 0.9)]


def test_only_budgets_that_are_new_are_asked_for_again() -> None:
    book = Book({("overall", ""): Total(1, 10, 70)})
    house = House(budget())
    house.budgets.restore(book.totals, NOW_S)
    house.spend(10)
    house.reload(budget(), budget("new", per=Per.WEEK))
    house.budgets.restore(book.totals, NOW_S)
    assert {r.budget.name: r.spent_nanos for r in house.budgets.report(NOW_S)} == {"b": 80, "new": 70}


def test_a_ledger_that_cannot_be_read_can_be_asked_again() -> None:
    def broken(scopes: Iterable[str], since_s: float) -> Mapping[tuple[str, str], Total]:
        raise OSError("the disk is away")

    house = House(budget())
    with pytest.raises(OSError, match="away"):
        house.budgets.restore(broken, NOW_S)
    house.budgets.restore(Book({("overall", ""): Total(1, 0, 100)}).totals, NOW_S)
    house.refused(1)


# --- every order of events --------------------------------------------------------------------------------------


class Traffic(RuleBasedStateMachine):
    """Random callers who reserve, settle, release, leave things to garbage only after their end, reload and move the
    clock; beside them a plain count of what should have come of it."""

    @initialize()
    def begin(self) -> None:
        self.now_s = NOW_S
        self.house = House(*self.written(1000))
        self.running: list[tuple[Reservation, int, int, float]] = []
        self.settled: dict[float, int] = {}
        # Amounts that reloads have set: after a larger one a threshold may be passed again.
        self.amounts: set[int] = set()
        self.held_most = 0

    @staticmethod
    def written(nanos: int) -> tuple[Budget, ...]:
        return (
            budget("all", nanos=nanos, per=Per.HOUR, alert_at=(0.5, 0.9)),
            budget("users", scope=Scope.USER, nanos=400, tokens=5000, per=Per.HOUR),
            budget("openai", scope=Scope.PROVIDER, only="openai", nanos=700, per=Per.HOUR),
        )

    @rule(
        nanos=st.integers(0, 500),
        tokens=st.integers(0, 2000),
        user=st.sampled_from("abc"),
        other=st.booleans(),
    )
    def reserve(self, nanos: int, tokens: int, user: str, other: bool) -> None:
        at = OTHER if other else OPENAI
        taken = self.house.ask(nanos, tokens, self.now_s, who=Who(user=user), deployment=at)
        if isinstance(taken, Reservation):
            self.running.append((taken, nanos, tokens, self.now_s // HOUR_S))

    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data: st.DataObject, share: float) -> None:
        if self.running:
            taken, nanos, tokens, hour = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
            cost = int(nanos * share)
            taken.settle(cost, int(tokens * share))
            self.settled[hour] = self.settled.get(hour, 0) + cost
            taken.release()

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.running:
            self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))[0].release()

    @rule(step_s=st.sampled_from([-3600.0, -60.0, 60.0, 1800.0, 3600.0]))
    def move_the_clock(self, step_s: float) -> None:
        # Within what an account remembers; further back is another test's.
        self.now_s = min(max(self.now_s + step_s, NOW_S), NOW_S + (KEPT_WINDOWS - 2) * HOUR_S)

    @rule(nanos=st.sampled_from([800, 1000]))
    def reload(self, nanos: int) -> None:
        self.amounts.add(nanos)
        self.house.reload(*self.written(nanos))

    @invariant()
    def nothing_is_overspent_and_nothing_leaks(self) -> None:
        assert self.house.budgets.open_reservations == len(self.running)
        hour = self.now_s // HOUR_S
        held = sum(nanos for _, nanos, _, at in self.running if at == hour)
        for report in self.house.budgets.report(self.now_s):
            limit = (
                max(1000, report.budget.nanos or 0) if report.budget.name == "all" else report.budget.nanos
            )
            assert limit is not None
            assert report.spent_nanos + report.held_nanos <= limit
            assert report.held_nanos >= 0
            assert report.held_tokens >= 0
            if report.budget.name == "all":
                assert (report.spent_nanos, report.held_nanos) == (self.settled.get(hour, 0), held)

    def teardown(self) -> None:
        for taken, *_ in self.running:
            taken.release()
        assert self.house.budgets.open_reservations == 0
        assert all(not (r.held_nanos or r.held_tokens) for r in self.house.budgets.report(self.now_s))
        told = [
            (a.budget.name, a.name, a.threshold, a.from_s) for a in self.house.told if a.threshold is not None
        ]
        assert len(told) == len(set(told)) or len(self.amounts) > 1, "a threshold was told twice"


Traffic.TestCase.settings = settings(stateful_step_count=40)
TestTraffic = Traffic.TestCase


@given(
    costs=st.lists(st.integers(0, 60), max_size=30),
    alert_at=st.lists(st.sampled_from([0.25, 0.5, 0.75, 1.0]), unique=True, max_size=4),
)
def test_thresholds_are_told_exactly_once_however_the_money_goes(
    costs: list[int], alert_at: list[float]
) -> None:
    house = House(budget(alert_at=tuple(sorted(alert_at))))
    spent = 0
    for cost in costs:
        taken = house.ask(cost)
        if isinstance(taken, Reservation):
            taken.settle(cost, 0)
            spent += cost
    assert [t for t in house.thresholds() if t is not None] == [
        t for t in sorted(alert_at) if spent / 100 >= t
    ]


def test_a_budget_keeps_its_identity_while_only_numbers_change() -> None:
    one = budget()
    assert one.identity == replace(one, nanos=7, tokens=8, alert_at=(0.1,), then=Then.QUEUE).identity
    changed: list[dict[str, Any]] = [
        {"name": "c"},
        {"scope": Scope.USER},
        {"only": "x"},
        {"per": Per.WEEK},
        {"zone": "Europe/Berlin"},
    ]
    assert all(replace(one, **change).identity != one.identity for change in changed)
