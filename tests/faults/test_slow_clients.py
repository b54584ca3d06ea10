"""Clients that read slowly, and very many at once: each pays for itself, and nobody else does."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, Rig, forms
from tests.faults.load import Connection, Load, request_bytes
from tests.faults.manners import BRISK
from tests.faults.report import percentile
from tests.support.fake_provider import Exchange, chat_frames

READERS = 200
READ_BYTES = 1024
SMALL_BUFFER_BYTES = 16 * 1024
STREAM_BYTES = 1024 * 1024
ROUTING = "version: 1\nmodels: {{careful: [one/m], endless: [two/m]}}\n"
STAMP = re.compile(rb"(\d+\.\d{6})~")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Whoever is accepted by it inherits its small buffer for sending."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
        bound.setblocking(False)
        yield bound


@pytest.mark.quiet
@forms(short_s=3.0, long_s=12.0, short_rate=30.0, long_rate=60.0)
async def test_f25_slow_readers_cost_little_and_slow_nobody(
    new_rig: NewRig, form: Form, figures: Figures, listener: socket.socket
) -> None:
    """The kernel's buffers are kept small, so that what readers leave lies with the daemon or with the provider."""
    rig = new_rig(pace=form.pace, count=2, routing=ROUTING)
    rig.daemon.inherits = listener
    async with rig:
        usual = await rig.run(form.load)
        before_kib = rig.daemon.resident_kib()
        flood = Flood()
        rig.two.manner = flood
        async with reading_slowly(rig):
            await flood.held_back(READERS)
            beside = await rig.run(form.load)
            grown_kib = rig.daemon.resident_kib() - before_kib
    rig.judge(beside, figures)
    figures.at_most("memory per slow reader", grown_kib / READERS, 256, "KiB")
    figures.note("taken from the provider, per slow reader", flood.sent / READERS / 1024, "KiB")
    added_s = percentile(beside.overheads_s(), 0.5) - percentile(usual.overheads_s(), 0.5)
    figures.at_most("added for others, p50", added_s, 0.002, "ms")
    late_s = percentile(beside.overheads_s(), 0.99) - percentile(usual.overheads_s(), 0.99)
    figures.note("added for others, p99", late_s, "ms")


@asynccontextmanager
async def reading_slowly(rig: Rig) -> AsyncIterator[None]:
    """So many clients that read 1 KiB a second; whatever but their end by us ended one is raised."""
    readers = [asyncio.ensure_future(read_slowly(rig, number)) for number in range(READERS)]
    try:
        yield
    finally:
        for reader in readers:
            reader.cancel()
        ended = await asyncio.gather(*readers, return_exceptions=True)
    failed = [error for error in ended if not isinstance(error, asyncio.CancelledError)]
    assert not failed, failed[:3]


class Flood:
    """Long streams, as fast as the peer takes them. ``sent``: bytes, all streams together."""

    def __init__(self) -> None:
        self.sent = 0
        self._streams = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        role, piece, *_ = chat_frames(["x" * 8000])
        await exchange.chunk(role)
        self._streams += 1
        for _ in range(STREAM_BYTES // len(piece)):
            await exchange.chunk(piece)
            self.sent += len(piece)
        await exchange.gone.wait()

    async def held_back(self, streams: int) -> None:
        """Returns when so many streams run and next to nothing is taken from them any more."""
        quiet = 0
        async with asyncio.timeout(60):
            while self._streams < streams or quiet < 4:
                before = self.sent
                await asyncio.sleep(0.5)
                quiet = quiet + 1 if self.sent - before < streams * 16 * READ_BYTES else 0


async def read_slowly(rig: Rig, number: int) -> None:
    """1 KiB a second, by a client whose own buffers are small."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", rig.daemon.port))
        load = Load(1.0, 1, model="endless")
        await loop.sock_sendall(client, request_bytes(load, 10**6 + number, rig.daemon.port, stream=True))
        while await loop.sock_recv(client, READ_BYTES):
            await asyncio.sleep(1.0)


class Timed(Connection):
    """Notes how old each piece is when it arrives."""

    delays_s: list[float] = []  # noqa: RUF012 - of all connections together

    def data_received(self, data: bytes) -> None:
        now_s = time.monotonic()
        self.delays_s.extend(now_s - float(stamp) for stamp in STAMP.findall(data))
        super().data_received(data)


@pytest.mark.quiet
@forms(short_s=2.0, long_s=20.0)
async def test_f26_very_many_streams_at_once_are_all_on_time(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """A thousand at five tokens a second, which is what two cores carry beside the test's own work."""
    count, per_second = (1000, 5.0) if form.long else (100, 20.0)
    pieces = round(form.seconds * per_second)

    async def manner(exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        role, template, *rest = chat_frames(["00000000.000000~"])
        await exchange.chunk(role)
        due_s = time.monotonic()
        for _ in range(pieces):
            due_s += 1 / per_second
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            stamp = f"{time.monotonic():015.6f}".encode()
            await exchange.chunk(template.replace(b"00000000.000000", stamp))
        for frame in rest:
            await exchange.chunk(frame)
        await exchange.last_chunk()

    Timed.delays_s = []
    async with new_rig(pace=BRISK, count=1, clients_kind=Timed) as rig:
        rig.one.manner = manner
        load = rig.start(Load(count / 2.0, count, streams=1.0, steady=True))
        lags_s = [await lag_s(rig) for _ in range(round(form.seconds * 10))]
        report = rig.report(await load)
        resident_kib = rig.daemon.resident_kib()
    figures.none("broken streams", len(report.errors), report.explain(report.errors))
    assert len(Timed.delays_s) == count * pieces
    figures.at_most("added to a piece, p99", percentile(Timed.delays_s, 0.99), 0.010, "ms")
    share = 0.99 if form.long else 0.90  # of twenty, the slowest says nothing
    figures.at_most(
        f"a quick request beside them, p{share * 100:.0f}", percentile(lags_s, share), 0.020, "ms"
    )
    figures.at_most("resident", resident_kib / 1024, 300, "MiB")


async def lag_s(rig: Rig) -> float:
    """How long the daemon takes to say that it is alive, ten times a second."""
    start_s = time.monotonic()
    reader, writer = await asyncio.open_unix_connection(str(rig.daemon.socket_path))
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    await reader.read()
    took_s = time.monotonic() - start_s
    writer.close()
    await asyncio.sleep(max(0.0, 0.1 - took_s))
    return took_s
