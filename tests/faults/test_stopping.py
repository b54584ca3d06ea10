"""Stopping and starting again, as an upgrade does: streams end well, and nobody is refused meanwhile."""

from __future__ import annotations

import asyncio
import signal
import socket
import time

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, forms
from tests.faults.load import Load
from tests.faults.manners import Pace


@forms(short_s=0, long_s=0)
async def test_f30_no_stream_breaks_when_the_daemon_is_told_to_stop(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    streams, pace = (200, Pace(0.1, 200, 0.05)) if form.long else (200, Pace(0.1, 40, 0.05))
    async with new_rig(pace=pace, count=1) as rig:
        asking = rig.start(Load(400.0, streams, streams=1.0))
        while sum(seen.first_s is not None for seen in rig.one.seen) < streams:
            await asyncio.sleep(0.01)
        rig.daemon.signal(signal.SIGTERM)
        told_s = time.monotonic()
        report = rig.report(await asking)
        async with asyncio.timeout(10):
            assert await rig.daemon.process.wait() == 0
        stopped_s = time.monotonic()
    rig.judge(report, figures)
    last_s = max(told.ended_s for told in report.told if told.ended_s is not None)
    assert last_s > told_s, "no stream was left when it was told"
    figures.at_most("gone after the last stream", stopped_s - last_s, 1.0, "s")


@pytest.fixture
def listener() -> socket.socket:
    """As a service manager holds it: open before the daemon starts and after it has ended."""
    bound = socket.create_server(("127.0.0.1", 0), backlog=1024)
    bound.setblocking(False)
    return bound


@forms(short_s=4.0, long_s=20.0)
async def test_f30_nobody_is_refused_while_another_daemon_takes_over(
    new_rig: NewRig, form: Form, figures: Figures, listener: socket.socket
) -> None:
    """Each request on a connection of its own; what comes while nobody serves waits in the socket's line."""
    load = Load(form.rate, form.load.requests, headers={"connection": "close"})
    restarts = 4 if form.long else 1
    async with new_rig(pace=form.pace, count=1) as rig:
        rig.daemon.inherits = listener
        await rig.restart()
        asking = rig.start(load)
        for _ in range(restarts):
            await asyncio.sleep(form.seconds / (restarts + 1))
            await rig.restart()
        report = rig.report(await asking)
    listener.close()
    rig.judge(report, figures)
    longest_s = max((told.first_s or told.asked_s) - told.asked_s for told in report.told)
    figures.note("longest wait over a restart", longest_s, "s")
