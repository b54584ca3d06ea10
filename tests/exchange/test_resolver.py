"""Names and addresses: one look-up at a time, and the last good address while nobody knows a better one."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from llmproxyd.exchange.resolver import FAILURE_S, FRESH_S, KEPT_S, MAX_NAMES, NameTable, Resolver

PATIENCE_S = 5.0
INET = socket.AF_INET


def address(host: str, *, name: str = "api.example", port: int = 0) -> ResolveResult:
    return ResolveResult(hostname=name, host=host, port=port, family=INET, proto=0, flags=0)


class NameServer(AbstractResolver):
    """Answers with ``says``: addresses, or the error to raise; and only while ``speaks`` is set."""

    def __init__(self) -> None:
        self.says: list[str] | Exception = ["192.0.2.1"]
        self.asked: list[str] = []
        self.speaks = asyncio.Event()
        self.speaks.set()
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        await self.speaks.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return [address(one, name=host, port=port) for one in self.says]

    async def close(self) -> None:
        self.closed = True


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def server() -> NameServer:
    return NameServer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(server: NameServer, clock: Clock) -> NameTable:
    return NameTable(server, clock=clock)


async def ask(table: NameTable, name: str = "api.example", patience_s: float = PATIENCE_S) -> list[str]:
    return [found["host"] for found in await table.look_up(name, INET, patience_s=patience_s)]


def broken(text: str = "Temporary failure in name resolution") -> socket.gaierror:
    return socket.gaierror(socket.EAI_AGAIN, text)


class TestWhileAllIsWell:
    async def test_an_address_is_used_for_half_a_minute(
        self, table: NameTable, server: NameServer, clock: Clock
    ) -> None:
        await ask(table)
        clock.now_s += FRESH_S - 0.1
        assert await ask(table) == ["192.0.2.1"]
        assert len(server.asked) == 1

    async def test_then_it_is_asked_for_again(
        self, table: NameTable, server: NameServer, clock: Clock
    ) -> None:
        await ask(table)
        server.says = ["192.0.2.9"]
        clock.now_s += FRESH_S
        assert await ask(table) == ["192.0.2.9"]

    async def test_each_pool_sees_its_own_port(self, table: NameTable, server: NameServer) -> None:
        one, two = (Resolver(table, patience_s=PATIENCE_S) for _ in range(2))
        assert await one.resolve("api.example", 443) == [address("192.0.2.1", port=443)]
        assert await two.resolve("api.example", 8443) == [address("192.0.2.1", port=8443)]
        assert server.asked == ["api.example"]

    async def test_many_who_ask_at_once_are_one_look_up(self, table: NameTable, server: NameServer) -> None:
        server.speaks.clear()
        asking = [asyncio.ensure_future(ask(table)) for _ in range(20)]
        await asyncio.sleep(0)
        server.speaks.set()
        assert await asyncio.gather(*asking) == [["192.0.2.1"]] * 20
        assert len(server.asked) == 1

    async def test_who_stops_waiting_stops_nobody_else(self, table: NameTable, server: NameServer) -> None:
        server.speaks.clear()
        leaving, staying = (asyncio.ensure_future(ask(table)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        server.speaks.set()
        assert await staying == ["192.0.2.1"]

    async def test_the_table_is_bounded(self, table: NameTable, server: NameServer) -> None:
        for number in range(MAX_NAMES + 1):
            await ask(table, f"host{number}.example")
        before = len(server.asked)
        await ask(table, f"host{MAX_NAMES}.example")
        assert len(server.asked) == before, "the newest is still there"
        await ask(table, "host0.example")
        assert len(server.asked) == before + 1, "the oldest is not"


class TestWhenNobodyKnows:
    async def test_the_last_good_address_is_used(
        self, table: NameTable, server: NameServer, clock: Clock
    ) -> None:
        await ask(table)
        server.says = broken()
        clock.now_s += FRESH_S + KEPT_S - 0.1
        assert await ask(table) == ["192.0.2.1"]

    async def test_but_not_for_ever(self, table: NameTable, server: NameServer, clock: Clock) -> None:
        await ask(table)
        server.says = broken()
        clock.now_s += FRESH_S + KEPT_S
        with pytest.raises(socket.gaierror, match="Temporary failure"):
            await ask(table)

    async def test_a_failure_is_repeated_for_a_second_at_most(
        self, table: NameTable, server: NameServer, clock: Clock
    ) -> None:
        server.says = broken()
        for _ in range(3):
            with pytest.raises(socket.gaierror):
                await ask(table)
        assert len(server.asked) == 1
        server.says = ["192.0.2.1"]
        clock.now_s += FAILURE_S
        assert await ask(table) == ["192.0.2.1"]

    async def test_an_answer_without_addresses_is_a_failure(
        self, table: NameTable, server: NameServer
    ) -> None:
        server.says = []
        with pytest.raises(socket.gaierror, match="has no address"):
            await ask(table)

    async def test_a_name_that_is_none_is_a_failure_too(self, table: NameTable, server: NameServer) -> None:
        server.says = UnicodeError("label too long")
        with pytest.raises(socket.gaierror, match="not a host name"):
            await ask(table, "x" * 70 + ".example")

    async def test_a_bug_is_not_taken_for_a_failure(self, table: NameTable, server: NameServer) -> None:
        server.says = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            await ask(table)


class TestWhenALookUpHangs:
    async def test_callers_wait_no_longer_than_their_patience(
        self, table: NameTable, server: NameServer
    ) -> None:
        server.speaks.clear()
        with pytest.raises(socket.gaierror, match=r"no name server answered within 0\.01 s"):
            await ask(table, patience_s=0.01)
        await table.close()

    async def test_it_is_not_begun_anew_by_the_next_caller(
        self, table: NameTable, server: NameServer, clock: Clock
    ) -> None:
        server.speaks.clear()
        for _ in range(3):
            with pytest.raises(socket.gaierror):
                await ask(table, patience_s=0.001)
            clock.now_s += 10
        assert len(server.asked) == 1
        server.speaks.set()
        assert await ask(table) == ["192.0.2.1"]

    async def test_a_spare_address_is_used_soon_and_after_that_at_once(
        self, table: NameTable, server: NameServer, clock: Clock
    ) -> None:
        await ask(table)
        server.speaks.clear()
        clock.now_s += FRESH_S
        async with asyncio.timeout(2.0):  # not the ten minutes it would wait without one
            assert await ask(table, patience_s=600.0) == ["192.0.2.1"]
        clock.now_s += 1.0
        asking = asyncio.ensure_future(ask(table, patience_s=600.0))
        done, _ = await asyncio.wait({asking}, timeout=0.2)
        assert done, "the first has waited long enough for all"
        server.speaks.set()
        await table.close()

    async def test_closing_leaves_no_task_behind(self, table: NameTable, server: NameServer) -> None:
        server.speaks.clear()
        with pytest.raises(socket.gaierror):
            await ask(table, patience_s=0.001)
        await table.close()
        assert server.closed
        assert asyncio.all_tasks() == {asyncio.current_task()}


class TestDoubt:
    @pytest.mark.parametrize(("after_s", "asked"), [(FAILURE_S, 2), (FAILURE_S - 0.1, 1)])
    async def test_an_address_nobody_answers_at_is_asked_for_again_but_not_at_once(
        self, table: NameTable, server: NameServer, clock: Clock, after_s: float, asked: int
    ) -> None:
        await ask(table)
        clock.now_s += after_s
        table.doubt("api.example")
        assert await ask(table) == ["192.0.2.1"]
        assert len(server.asked) == asked

    async def test_it_is_kept_while_the_name_servers_are_away(
        self, table: NameTable, server: NameServer, clock: Clock
    ) -> None:
        await ask(table)
        server.says = broken()
        clock.now_s += 5
        table.doubt("api.example")
        assert await ask(table) == ["192.0.2.1"]

    async def test_others_are_not_doubted(self, table: NameTable, server: NameServer, clock: Clock) -> None:
        await ask(table, "other.example")
        clock.now_s += 5
        table.doubt("api.example")
        await ask(table, "other.example")
        assert server.asked == ["other.example"]
