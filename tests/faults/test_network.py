"""Names that do not resolve, addresses nobody answers at, handshakes that stall, certificates that have ended."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.exchange.certificates import DAY, Authority
from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, Rig, forms
from tests.faults.manners import chat
from tests.faults.report import percentile
from tests.support.fake_provider import Exchange, Manner

NAMES_FROM_A_FILE = """
import json, socket, sys
import uvloop
table = {table!r}

class Loop(uvloop.Loop):
    async def getaddrinfo(self, host, port, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if not name.endswith(".test"):
            return await super().getaddrinfo(host, port, **kwargs)
        with open(table) as file:
            addresses = json.load(file)[name]
        if not addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        found = [await super(Loop, self).getaddrinfo(address, port, **kwargs) for address in addresses]
        return [one for some in found for one in some]

uvloop.new_event_loop = Loop
from llmproxyd.cli import main
sys.exit(main())
"""
QUICK = "timeouts: {connect: 1s}"


def with_names(rig: Rig, **names: list[str]) -> None:
    """The daemon looks up ``NAME.test`` here; ``rename`` changes it while it runs."""
    table = rig.directory / "names.json"
    rename(rig, **names)
    rig.daemon.program = ("-c", NAMES_FROM_A_FILE.format(table=str(table)))


def rename(rig: Rig, **names: list[str]) -> None:
    draft = rig.directory / "names.draft"
    draft.write_text(json.dumps({f"{name}.test": found for name, found in names.items()}))
    draft.rename(rig.directory / "names.json")


def closing(manner: Manner) -> Manner:
    """The connection serves once, so that the next call needs another."""

    async def once(exchange: Exchange) -> None:
        await manner(exchange)
        exchange.writer.close()

    return once


@pytest.mark.quiet
@forms(short_s=2.0, long_s=10.0)
async def test_f28_a_name_that_does_not_resolve_costs_next_to_nothing(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    rig = new_rig(pace=form.pace, count=2, endpoints={"one": "http://nowhere.test:{port}/v1"})
    with_names(rig, nowhere=[])
    async with rig:
        healthy = await rig.warm_only("two", requests=150, rate=form.rate)
        report = await rig.run(form.load)
    rig.judge(report, figures)
    assert not rig.one.seen
    usual_s = statistics.median(healthy.overheads_s())
    spent_s = report.overheads_s()
    figures.at_most("added, first three, most", max(spent_s[:3]) - usual_s, 0.025, "ms")
    figures.at_most("added, p50", statistics.median(spent_s) - usual_s, 0.001, "ms")


@forms(short_s=2.0, long_s=20.0)
async def test_f28_the_last_good_address_serves_while_names_are_not_resolved(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    rig = new_rig(pace=form.pace, count=1, endpoints={"one": "http://here.test:{port}/v1"})
    with_names(rig, here=["127.0.0.1"])
    async with rig:
        rig.one.manner = closing(chat(form.pace))
        first = await rig.warm_only("one", requests=10)
        assert not first.errors, first.explain(first.errors)
        rename(rig, here=[])
        report = await rig.run(form.load)
    rig.judge(report, figures)
    figures.at_least(
        "connections made without a name", rig.one.connections - len(first.told), len(report.told)
    )


@contextmanager
def black_hole() -> Iterator[int]:
    """A port at ::1 that lets nobody finish connecting: its line is full, and nobody serves it."""
    with socket.socket(socket.AF_INET6) as hole:
        hole.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        hole.bind(("::1", 0))
        hole.listen(0)
        port, waiting = hole.getsockname()[1], []
        try:
            for _ in range(4):
                waiting.append(socket.socket(socket.AF_INET6))
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(("::1", port))
            yield int(port)
        finally:
            for client in waiting:
                client.close()


@pytest.mark.quiet
async def test_f28_an_address_that_swallows_everything_costs_250_ms_at_most(
    new_rig: NewRig, figures: Figures
) -> None:
    """The name has two addresses; nothing comes back from the first."""
    with black_hole() as port:
        rig = new_rig(
            count=1, endpoints={"one": "http://both.test:{port}/v1"}, ports={"one": port}, provider=QUICK
        )
        with_names(rig, both=["::1", "127.0.0.1"])
        async with rig:
            rig.one.manner = closing(chat(rig.pace))
            report = rig.report([await rig.ask(rig.single) for _ in range(5)])
    assert not report.errors, report.explain(report.errors)
    figures.at_most("added by the black hole, most", max(report.overheads_s()), 0.300, "ms")


@asynccontextmanager
async def silent_after_accept() -> AsyncIterator[int]:
    """Accepts, and never says a word: no TLS handshake comes to an end."""
    gone = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        gone.set()
        server.close()


@forms(short_s=2.0, long_s=10.0)
async def test_f28_a_handshake_that_stalls_ends_with_the_time_to_connect(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    async with silent_after_accept() as port:
        rig = new_rig(
            pace=form.pace,
            count=2,
            endpoints={"one": f"https://127.0.0.1:{port}/v1"},
            provider="timeouts: {connect: 300ms}",
        )
        async with rig:
            await rig.warm_only("two", requests=150, rate=100.0)
            report = await rig.run(form.load)
    rig.judge(report, figures)
    figures.at_most("added, first three, most", max(report.overheads_s()[:3]), 0.450, "ms")
    half = len(report.told) // 2
    later_s = rig.report(report.told[half:]).overheads_s()
    figures.at_most("added once open, p50", percentile(later_s, 0.5), 0.010, "ms")


async def test_f28_a_certificate_that_has_ended_is_named_to_the_operator(
    new_rig: NewRig, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    trusted = tmp_path / "authority.pem"
    trusted.write_text(*map(ssl.DER_cert_to_PEM_cert, authority.trust().get_ca_certs(binary_form=True)))
    context = authority.server("localhost", begins=-3 * DAY, ends=-timedelta(hours=1))

    async def nobody(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(nobody, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    rig = new_rig(count=2, endpoints={"one": f"https://localhost:{port}/v1"})
    rig.daemon.environ["SSL_CERT_FILE"] = str(trusted)
    async with server, rig:
        told = await rig.ask(rig.single)
        entry = await rig.daemon.logged("exchange")
        server.close()
    assert told.success
    assert told.headers["x-llmproxyd-provider"] == "two"
    assert "expired" in entry["attempts"][0]["detail"], entry
