"""More clients than places, and clients that only sit there: who is inside is served, who runs it still gets in."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, Rig, forms
from tests.faults.load import Load, Told
from tests.faults.manners import Pace

DESCRIPTORS = 256
STREAMS = 20


@asynccontextmanager
async def sitting(port: int, count: int) -> AsyncIterator[list[socket.socket]]:
    """So many connections that say nothing."""
    loop, held = asyncio.get_running_loop(), []
    try:
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            held.append(client)
            await loop.sock_connect(client, ("127.0.0.1", port))
        yield held
    finally:
        for client in held:
            client.close()


@forms(short_s=2.0, long_s=10.0)
async def test_f23_a_crowd_at_the_door_harms_nobody_inside(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """256 descriptors, 500 connections that say nothing, and new ones all the time."""
    pace = Pace(0.1, round(form.seconds / 0.05), 0.05)
    rig = new_rig(pace=pace, count=1)
    rig.daemon.descriptors = DESCRIPTORS
    async with rig:
        streams = rig.start(Load(200.0, STREAMS, streams=1.0))
        while sum(seen.first_s is not None for seen in rig.one.seen) < STREAMS:
            await asyncio.sleep(0.01)
        async with sitting(rig.daemon.port, 500):
            busy_s, since_s = rig.daemon.cpu_s(), time.monotonic()
            knocking = [asyncio.ensure_future(knock(rig)) for _ in range(20)]
            operator_s = await operators_wait_s(rig)
            turned_away = await asyncio.gather(*knocking)
            report = rig.report(await streams)
            load = (rig.daemon.cpu_s() - busy_s) / (time.monotonic() - since_s)
        after = await rig.ask(Load(1.0, 1), stream=False)
    rig.judge(report, figures)
    figures.at_most("operator's door answers within", operator_s, 0.5, "ms")
    refused = [told for told in turned_away if told.status == 503]
    assert len(refused) == len(turned_away), rig.report(turned_away).explain(turned_away)
    assert all("retry-after" in told.headers for told in refused)
    assert after.success, "it did not recover"
    idle = 0.10 + STREAMS / pace.pause_s * 100e-6  # relaying the streams costs something as well
    figures.at_most("CPU", load, idle, "%")


async def knock(rig: Rig) -> Told:
    return await rig.ask(Load(1.0, 1, headers={"connection": "close"}), stream=False)


async def operators_wait_s(rig: Rig) -> float:
    start_s = time.monotonic()
    async with rig.daemon.unix_session() as admin, admin.get("/healthz") as response:
        assert response.status == 200
    return time.monotonic() - start_s
