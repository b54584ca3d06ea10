from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.exchange.turns import BATCH_PATIENCE_S, RANKS, FairQueue, Toll, Turns, Waiter
from llmproxyd.values.request import Priority


def waiter(
    owner: str = "",
    tokens: int = 0,
    priority: Priority = Priority.NORMAL,
    at_s: float = 0.0,
    weight: float = 1.0,
) -> Waiter:
    return Waiter(Toll(tokens, priority, owner, weight), at_s)


def served(queue: FairQueue[Waiter], count: int) -> list[Waiter]:
    return [queue.serve() for _ in range(count)]


class TestFairQueue:
    def test_an_owner_is_served_in_order_of_arrival(self) -> None:
        queue: FairQueue[Waiter] = FairQueue()
        waiters = [waiter() for _ in range(5)]
        for one in waiters:
            queue.push(one)
        assert served(queue, 5) == waiters
        assert queue.first() is None

    def test_an_owner_with_many_does_not_hold_up_one_with_few(self) -> None:
        queue: FairQueue[Waiter] = FairQueue()
        for _ in range(100):
            queue.push(waiter("many"))
        queue.serve()
        for _ in range(2):
            queue.push(waiter("few"))
        assert Counter(one.toll.owner for one in served(queue, 4)) == {"many": 2, "few": 2}

    def test_tokens_are_shared_not_requests(self) -> None:
        queue: FairQueue[Waiter] = FairQueue()
        for _ in range(20):
            queue.push(waiter("long", 1000))
        for _ in range(200):
            queue.push(waiter("short", 100))
        assert Counter(one.toll.owner for one in served(queue, 110)) == {"long": 10, "short": 100}

    def test_a_weight_of_three_gets_three_parts(self) -> None:
        queue: FairQueue[Waiter] = FairQueue()
        for _ in range(100):
            queue.push(waiter("three", 10, weight=3.0))
            queue.push(waiter("one", 10))
        assert Counter(one.toll.owner for one in served(queue, 80)) == {"three": 60, "one": 20}

    def test_nobody_saves_up_turns_by_staying_away(self) -> None:
        queue: FairQueue[Waiter] = FairQueue()
        for _ in range(200):
            queue.push(waiter("steady"))
        served(queue, 100)
        for _ in range(50):
            queue.push(waiter("new"))
        assert Counter(one.toll.owner for one in served(queue, 40)) == {"steady": 20, "new": 20}

    def test_leaving_and_coming_again_does_not_undo_what_was_given(self) -> None:
        queue: FairQueue[Waiter] = FairQueue()
        for _ in range(20):
            queue.push(waiter("steady", 10))
        queue.push(waiter("greedy", 100))
        while queue.serve().toll.owner != "greedy":
            pass
        queue.push(waiter("greedy", 100))
        assert [one.toll.owner for one in served(queue, 9)] == ["steady"] * 9

    def test_who_leaves_is_not_served_and_costs_its_owner_nothing(self) -> None:
        queue: FairQueue[Waiter] = FairQueue()
        gone, stays = waiter("a", 500), waiter("a")
        queue.push(gone)
        queue.push(stays)
        queue.remove(gone)
        assert queue.serve() is stays

    def test_those_ahead_are_what_is_served_before_a_newcomer(self) -> None:
        queue: FairQueue[Waiter] = FairQueue()
        for _ in range(50):
            queue.push(waiter("many"))
        for _ in range(3):
            queue.push(waiter("few"))
        assert queue.ahead("few") == (7, 7)
        assert queue.ahead("many") == (53, 53)
        assert queue.ahead("new") == (2, 2)

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50)), min_size=1, max_size=60))
    def test_no_owner_that_waits_is_more_than_one_turn_behind_another(
        self, arriving: list[tuple[str, int]]
    ) -> None:
        queue: FairQueue[Waiter] = FairQueue()
        left: Counter[str] = Counter()
        for owner, tokens in arriving:
            queue.push(waiter(owner, tokens))
            left[owner] += 1
        given_tokens: Counter[str] = Counter()
        while queue:
            one = queue.serve()
            given_tokens[one.toll.owner] += one.toll.tokens
            left[one.toll.owner] -= 1
            waiting = [owner for owner in left if left[owner]]
            amounts = [given_tokens[owner] for owner in waiting]
            assert not amounts or max(amounts) - min(amounts) <= 50

    @given(st.lists(st.one_of(st.sampled_from("abcdef"), st.none(), st.integers(0, 9)), max_size=200))
    def test_everybody_is_served_once_or_removed_whatever_happens_in_between(
        self, steps: list[str | int | None]
    ) -> None:
        queue: FairQueue[Waiter] = FairQueue()
        waiting: list[Waiter] = []
        for step in steps:
            if isinstance(step, str):
                waiting.append(waiter(step, len(waiting) * 7 % 13))
                queue.push(waiting[-1])
            elif waiting and step is None:
                waiting.remove(queue.serve())
            elif waiting and isinstance(step, int):
                queue.remove(waiting.pop(step % len(waiting)))
            assert len(queue) == len(waiting)
            assert (queue.first() in waiting) is bool(waiting)
            assert queue.total() == (len(waiting), sum(one.toll.cost for one in waiting))
            assert queue.oldest() is (waiting[0] if waiting else None)
            assert queue.newest() is (waiting[-1] if waiting else None)


class TestTurns:
    def test_interactive_goes_before_normal_before_batch(self) -> None:
        turns: Turns[Waiter] = Turns()
        for priority in (Priority.BATCH, Priority.NORMAL, Priority.INTERACTIVE):
            turns.push(waiter(priority=priority))
        order = []
        while (first := turns.first(0.0)) is not None:
            turns.serve(first)
            order.append(first.toll.priority)
        assert order == [Priority.INTERACTIVE, Priority.NORMAL, Priority.BATCH]

    def test_a_batch_waiter_counts_as_normal_when_it_has_waited_long(self) -> None:
        turns: Turns[Waiter] = Turns()
        batch, normal = waiter(priority=Priority.BATCH, at_s=0.0), waiter(at_s=1.0)
        turns.push(batch)
        turns.push(normal)
        assert turns.first(BATCH_PATIENCE_S - 0.1) is normal
        turns.serve(normal)
        assert turns.first(BATCH_PATIENCE_S) is batch
        turns.push(waiter(at_s=31.0))
        assert turns.first(31.0) is batch
        assert turns.waiting() == {Priority.INTERACTIVE: 0, Priority.NORMAL: 2, Priority.BATCH: 0}

    def test_interactive_goes_before_batch_however_long_that_has_waited(self) -> None:
        turns: Turns[Waiter] = Turns()
        turns.push(waiter(priority=Priority.BATCH, at_s=0.0))
        interactive = waiter(priority=Priority.INTERACTIVE, at_s=500.0)
        turns.push(interactive)
        assert turns.first(500.0) is interactive

    @pytest.mark.parametrize(
        ("waiting", "comer", "gives_way"),
        [
            (["normal", "batch", "batch"], "interactive", 2),
            (["batch", "normal", "normal"], "interactive", 0),
            (["interactive", "normal", "normal"], "interactive", 2),
            (["interactive", "interactive"], "interactive", None),
            (["batch", "normal"], "normal", 0),
            (["normal", "normal"], "normal", None),
            (["batch", "batch"], "batch", None),
        ],
    )
    def test_the_last_of_the_lowest_class_below_gives_way(
        self, waiting: list[str], comer: str, gives_way: int | None
    ) -> None:
        turns: Turns[Waiter] = Turns()
        waiters = [waiter(priority=Priority(word)) for word in waiting]
        for one in waiters:
            turns.push(one)
        expected = None if gives_way is None else waiters[gives_way]
        assert turns.last_below(RANKS[Priority(comer)]) is expected

    def test_only_equal_and_higher_classes_are_before_anybody(self) -> None:
        turns: Turns[Waiter] = Turns()
        turns.push(waiter())
        assert not turns.anybody_before(RANKS[Priority.INTERACTIVE])
        assert turns.anybody_before(RANKS[Priority.NORMAL])
        assert turns.anybody_before(RANKS[Priority.BATCH])
        assert turns.ahead(Toll(1, Priority.INTERACTIVE)) == (0, 0)
        assert turns.ahead(Toll(1, Priority.BATCH)) == (1, 1)
