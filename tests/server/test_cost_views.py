"""``/admin/v1/cost`` and ``/admin/v1/budgets``, over real sockets and a real ledger."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import aiohttp
import pytest

from llmproxyd.ledger.store import LedgerReader
from llmproxyd.server.cost_views import BUDGETS_PATH, COST_PATH, MAX_AT_ONCE, CostViews
from llmproxyd.state.budgets import Budgets
from llmproxyd.values.budget import Budget, Who
from llmproxyd.values.snapshot import Snapshot
from tests.ledger.booking import book, entry
from tests.routing.build import deployment
from tests.server.door import listening

NOON_S = 1_795_262_400.0  # 2026-11-21T12:00Z
DAY_S = 86_400.0


def budgets(*declared: Budget) -> Budgets:
    found = Budgets(lambda _: None)
    found.reconcile(Snapshot("", {}, (), {}, (), budgets=declared))
    return found


@asynccontextmanager
async def asking(reader: LedgerReader, state: Budgets | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    views = CostViews(reader, state or budgets(), wall=lambda: NOON_S)
    exact = {("GET", COST_PATH): views.cost, ("GET", BUDGETS_PATH): views.budgets}
    async with (
        listening(exact) as (_, port),
        aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}") as session,
    ):
        yield session


def traffic(tmp_path: Path) -> LedgerReader:
    return book(
        tmp_path,
        [entry(n, at_s=NOON_S - n * DAY_S, cost_nanos=1_000, model="a" if n % 2 else "b") for n in range(30)],
    )


async def test_spending_of_the_month_is_told(tmp_path: Path) -> None:
    async with asking(traffic(tmp_path)) as session, session.get(COST_PATH) as answer:
        document = await answer.json()
    assert answer.status == 200
    assert (document["by"], document["since"]) == ("model", "2026-11-01T00:00:00.000Z")
    assert {row["name"]: row["cost_nanos"] for row in document["rows"]} == {"a": 10_000, "b": 10_000}
    assert document["total"]["cost_usd"] == "0.00002"
    assert document["projection"]["month"] == "2026-11"
    assert len(document["top"]) == 5


async def test_dimension_time_zone_and_number_can_be_asked_for(tmp_path: Path) -> None:
    query = {"by": "day", "since": "2026-11-20", "until": "2026-11-21", "zone": "Europe/Berlin", "top": "0"}
    async with asking(traffic(tmp_path)) as session, session.get(COST_PATH, params=query) as answer:
        document = await answer.json()
    assert [row["name"] for row in document["rows"]] == ["2026-11-20"]
    assert (document["zone"], document["top"]) == ("Europe/Berlin", [])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"by": "weather"}, "`by` is one of tenant"),
        ({"by": "tenant'; --"}, "`by` is one of"),
        ({"since": "yesterday"}, "expected a day (2026-11-01)"),
        ({"since": "2026-11-02", "until": "2026-11-01"}, "ends before it begins"),
        ({"zone": "Nowhere"}, "there is no time zone"),
        ({"top": "1000"}, "`top` is a number from 0 to 100"),
        ({"top": "-1"}, "`top` is a number"),
        ({"bye": "model"}, "`bye` means nothing here"),
    ],
)
async def test_what_makes_no_sense_is_400(tmp_path: Path, query: dict[str, str], said: str) -> None:
    async with asking(traffic(tmp_path)) as session, session.get(COST_PATH, params=query) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (400, "bad_request")
    assert said in error["message"]


async def test_a_ledger_that_cannot_be_read_is_503(tmp_path: Path) -> None:
    async with asking(LedgerReader(tmp_path)) as session, session.get(COST_PATH) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (503, "ledger_unreadable")


@dataclass
class SlowReader(LedgerReader):
    """Answers nobody before it is told to; ``asked`` counts those who wait."""

    go: threading.Event = field(default_factory=threading.Event)
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def query(self, sql: LiteralString, parameters: Sequence[Any] = ()) -> Any:
        self.asked.release()
        assert self.go.wait(30)
        return [(0, 0, 0, 0, 0, 0)] if "coalesce" in sql else [(None,)] if "min(" in sql else []


async def test_few_ask_the_ledger_at_once_and_the_others_are_told_to_come_back() -> None:
    reader = SlowReader()
    async with asking(reader) as session:
        waiting = [asyncio.ensure_future(session.get(COST_PATH)) for _ in range(MAX_AT_ONCE)]
        for _ in waiting:
            assert await asyncio.to_thread(reader.asked.acquire, timeout=30)
        async with session.get(COST_PATH) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (503, "busy")
        reader.go.set()
        assert [(await one).status for one in waiting] == [200] * MAX_AT_ONCE
        async with session.get(COST_PATH) as answer:
            assert answer.status == 200


async def test_budgets_are_told_with_what_is_reserved_now() -> None:
    state = budgets(Budget("all", nanos=1_000), Budget("tight", nanos=400))
    reservation = state.reserve(Who(), deployment("p/m"), 100, 10, NOON_S)
    assert not hasattr(reservation, "kind"), reservation
    async with (
        asking(LedgerReader(Path("/nonexistent")), state) as session,
        session.get(BUDGETS_PATH) as answer,
    ):
        document = await answer.json()
    assert document["live"] is True
    assert {(one["name"], one["held_nanos"], one["spent_nanos"]) for one in document["budgets"]} == {
        ("all", 100, 0),
        ("tight", 100, 0),
    }
    assert document["budgets"][0]["to"] == "2026-12-01T00:00:00.000Z"
