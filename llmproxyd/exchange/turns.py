"""Whose turn it is: the order of those who wait for one provider. No clock, no task, no room is known here.

Classes are strict: interactive before normal before batch; a batch waiter that has waited long counts as normal.
Within a class owners take turns by weight, and within an owner who came first goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush, heapreplace
from typing import Final, Generic, TypeVar

import msgspec

from llmproxyd.values.request import Priority

CLASSES: Final = (Priority.INTERACTIVE, Priority.NORMAL, Priority.BATCH)
RANKS: Final = {priority: rank for rank, priority in enumerate(CLASSES)}

BATCH_PATIENCE_S: Final = 30.0

_NORMAL: Final = RANKS[Priority.NORMAL]
_BATCH: Final = RANKS[Priority.BATCH]

# A weight of nothing would mean a turn that never comes.
_LEAST_WEIGHT: Final = 0.001


class Toll(msgspec.Struct, frozen=True):
    """What one call takes of its provider: ``tokens`` estimated, input and output. ``owner`` is the tenant's name, empty
    without tenants; ``weight`` its part where owners wait together."""

    tokens: int
    priority: Priority = Priority.NORMAL
    owner: str = ""
    weight: float = 1.0

    @property
    def cost(self) -> int:
        """What a turn costs its owner."""
        return self.tokens or 1


class Waiter:
    """One who waits, since ``joined_s``. ``rank`` is the class it counts in now, 0 the first."""

    __slots__ = ("joined_s", "rank", "toll")

    def __init__(self, toll: Toll, joined_s: float) -> None:
        self.toll = toll
        self.joined_s = joined_s
        self.rank = RANKS[toll.priority]


W = TypeVar("W", bound=Waiter)


class _Owner(Generic[W]):
    """``given``: what the owner was given so far, by weight, on the queue's scale. ``cost``: of all that wait."""

    __slots__ = ("cost", "given", "waiting", "weight")

    def __init__(self, given: float) -> None:
        self.given = given
        self.weight = 1.0
        self.cost = 0
        self.waiting: OrderedDict[W, None] = OrderedDict()


class FairQueue(Generic[W]):
    """One class. The owner who was given least, by weight, has the next turn.

    This is deficit round robin whose quantum is as small as can be: an owner of small requests does not get a whole
    quantum of them before the others' next. Whoever comes anew starts level with the last one served: nobody saves up
    turns by staying away, and an owner who leaves with a debt finds it again for as long as it counts.
    """

    def __init__(self) -> None:
        self._owners: dict[str, _Owner[W]] = {}
        # One entry for each owner: (given, number of the entry, name). The number makes ties a round robin.
        self._order: list[tuple[float, int, str]] = []
        self._entries = 0
        self._arrivals: OrderedDict[W, None] = OrderedDict()
        self._level = 0.0

    def __len__(self) -> int:
        return len(self._arrivals)

    def __contains__(self, waiter: W) -> bool:
        return waiter in self._arrivals

    def push(self, waiter: W) -> None:
        owner = self._owners.get(waiter.toll.owner)
        if owner is None:
            owner = self._owners[waiter.toll.owner] = _Owner(self._level)
            self._entries += 1
            heappush(self._order, (owner.given, self._entries, waiter.toll.owner))
        owner.weight = max(_LEAST_WEIGHT, waiter.toll.weight)
        owner.cost += waiter.toll.cost
        owner.waiting[waiter] = None
        self._arrivals[waiter] = None

    def first(self) -> W | None:
        """The one whose turn is next; None: nobody waits."""
        while self._order:
            name = self._order[0][2]
            owner = self._owners[name]
            if owner.waiting:
                return next(iter(owner.waiting))
            # Nobody of this owner is left, and the others have caught up with it.
            heappop(self._order)
            del self._owners[name]
        return None

    def serve(self) -> W:
        """Take the first one out and charge its owner for the turn."""
        waiter = self.first()
        assert waiter is not None, "somebody waits"
        owner = self._owners[waiter.toll.owner]
        self._level = owner.given
        owner.given += waiter.toll.cost / owner.weight
        self._entries += 1
        heapreplace(self._order, (owner.given, self._entries, waiter.toll.owner))
        self.remove(waiter)
        return waiter

    def remove(self, waiter: W) -> None:
        """It does not wait any more; its owner is charged nothing."""
        del self._arrivals[waiter]
        owner = self._owners[waiter.toll.owner]
        del owner.waiting[waiter]
        owner.cost -= waiter.toll.cost
        if not self._arrivals:
            self._owners.clear()
            self._order.clear()
            self._level = 0.0

    def oldest(self) -> W | None:
        return next(iter(self._arrivals), None)

    def newest(self) -> W | None:
        return next(reversed(self._arrivals), None)

    def ahead(self, name: str) -> tuple[float, float]:
        """(how many, at what cost in all) would have their turn before one of owner ``name`` who came now."""
        own = self._owners.get(name)
        start = self._level if own is None else own.given + own.cost / own.weight
        count, cost = 0.0, 0.0
        for owner in self._owners.values():
            waiting = len(owner.waiting)
            if not waiting or owner.given > start:
                continue
            each = owner.cost / waiting
            # What begins before the start is ahead of it as a whole.
            before = (
                owner.cost if owner is own else min(owner.cost, (start - owner.given) * owner.weight + each)
            )
            count += before / each
            cost += before
        return count, cost

    def total(self) -> tuple[int, int]:
        """(how many wait, at what cost in all)."""
        return len(self._arrivals), sum(owner.cost for owner in self._owners.values())


class Turns(Generic[W]):
    """The three classes in their order."""

    def __init__(self) -> None:
        self._classes: tuple[FairQueue[W], ...] = tuple(FairQueue[W]() for _ in CLASSES)

    def __len__(self) -> int:
        return sum(map(len, self._classes))

    def __contains__(self, waiter: W) -> bool:
        return waiter in self._classes[waiter.rank]

    def waiting(self) -> dict[Priority, int]:
        return {priority: len(queue) for priority, queue in zip(CLASSES, self._classes, strict=True)}

    def push(self, waiter: W) -> None:
        self._classes[waiter.rank].push(waiter)

    def remove(self, waiter: W) -> None:
        self._classes[waiter.rank].remove(waiter)

    def first(self, now_s: float) -> W | None:
        """The one whose turn is next; None: nobody waits."""
        self._promote(now_s)
        for queue in self._classes:
            if queue:
                return queue.first()
        return None

    def serve(self, waiter: W) -> None:
        """Take out ``waiter``, whom ``first`` has named."""
        served = self._classes[waiter.rank].serve()
        assert served is waiter, "only the first one is served"

    def anybody_before(self, rank: int) -> bool:
        """Somebody of this class or a higher one waits."""
        return any(self._classes[: rank + 1])

    def last_below(self, rank: int) -> W | None:
        """Who has to give way to one of class ``rank``: the last of the lowest class, if that is a lower one."""
        for queue in reversed(self._classes[rank + 1 :]):
            if queue:
                return queue.newest()
        return None

    def ahead(self, toll: Toll) -> tuple[float, float]:
        """(how many, at what cost in all) would have their turn before one who came now with ``toll``."""
        rank = RANKS[toll.priority]
        count, cost = self._classes[rank].ahead(toll.owner)
        for queue in self._classes[:rank]:
            waiting, costs = queue.total()
            count, cost = count + waiting, cost + costs
        return count, cost

    def _promote(self, now_s: float) -> None:
        batch = self._classes[_BATCH]
        while (waiter := batch.oldest()) is not None and waiter.joined_s + BATCH_PATIENCE_S <= now_s:
            batch.remove(waiter)
            waiter.rank = _NORMAL
            self._classes[_NORMAL].push(waiter)
