"""``python -m bench money``: what keeping the books costs a request, how soon an entry is safe, how often the cache answers.

The books are the daemon's own, with a ledger on a real disk and a budget in force, driven in this process so that
microseconds are not lost among those of the network. The cache is asked over HTTP, with the files that ship.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import platform
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench import load as clients
from bench.__main__ import ROOT, chat, process
from llmproxyd import jsontext
from llmproxyd.adapters import ADAPTERS
from llmproxyd.config.load import load
from llmproxyd.daemon import prepare_collector
from llmproxyd.exchange.account import ExchangeRecord
from llmproxyd.exchange.attempt import RunningAttempt
from llmproxyd.exchange.books import Booking, Books
from llmproxyd.exchange.lane import Voice, choose_dialect, choose_lane
from llmproxyd.ledger.ledger import Ledger
from llmproxyd.ledger.store import FILE_NAME
from llmproxyd.routing.bound import at_most, extent_of
from llmproxyd.state.budgets import Budgets
from llmproxyd.surfaces import SURFACES
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import NO_OVERRIDES
from llmproxyd.values.snapshot import Deployment, Snapshot

CHAT = "/v1/chat/completions"
MAX_ADDED_S = 150e-6
MAX_DURABLE_S = 25e-3
LEAST_HITS = 0.995

PROVIDERS = """
version: 1
providers:
  bench:
    preset: openai-compatible
    endpoint: http://127.0.0.1:9/v1
    models: [{id: bench-model, price: {input: 2, cached_input: 0.2, output: 8}}]
"""
ROUTING = """
version: 1
models: {fast: [bench/bench-model]}
budgets:
  - {name: everything, usd: 1000000, per: month}
  - {name: projects, scope: {project: each}, usd: 100000, per: day}
"""
USED = Usage(820, 400, cache_read_tokens=512)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def typical(rounds: Sequence[Sequence[float]], share: float) -> float:
    """The median of the rounds' percentiles: the machine is never quiet for all of them."""
    return statistics.median(percentile(values, share) for values in rounds)


# --- the books ----------------------------------------------------------------------------------------------------


class Booked(NamedTuple):
    """How long booking a request took: before its client has the answer, when it has it; and the id of its entry."""

    before_s: float
    after_s: float
    entry: str


@dataclass
class Till:
    """The daemon's books with a ledger below ``directory``, and one request that is booked again and again."""

    books: Books
    ledger: Ledger
    voice: Voice
    deployment: Deployment
    number: int = 0

    def record(self) -> ExchangeRecord:
        self.number += 1
        return ExchangeRecord(
            f"req_{self.number:08x}",
            1,
            request=self.voice.request,
            surface="openai-chat",
            project=f"project-{self.number % 20}",
            task="bench",
        )

    def attempt(self) -> RunningAttempt:
        """One that is over, and whose provider told what it used."""
        adapter = ADAPTERS[choose_dialect(self.voice.request, self.deployment)]
        lane = choose_lane(self.voice, adapter, self.deployment)
        call = lane.format_call(self.deployment, NO_OVERRIDES)
        running = RunningAttempt(
            deployment=self.deployment, adapter=adapter, lane=lane, call=call, clock=time.monotonic
        )
        running.usage, running.complete, running.bytes_read = USED, True, 2_000
        return running

    def one_request(self) -> Booked:
        record, running = self.record(), self.attempt()
        begun_s = time.perf_counter()
        bound = partial(at_most, extent_of(self.voice.request))
        booking = self.books.open(record, self.deployment, bound, number=0, hedge=False, patience_s=0.0)
        assert isinstance(booking, Booking), booking
        counted = self.books.count(running, None, lambda deployment: 0)
        answered_s = time.perf_counter()
        self.books.settle(booking, running, counted, "ok", None, 1.0)
        return Booked(answered_s - begun_s, time.perf_counter() - answered_s, booking.id)


def snapshot_of(directory: Path) -> Snapshot:
    (directory / "providers.yaml").write_text(PROVIDERS)
    (directory / "routing.yaml").write_text(ROUTING)
    loaded = load(directory, environ={})
    assert loaded.snapshot is not None, loaded.problems
    return loaded.snapshot


@contextmanager
def open_till(directory: Path) -> Iterator[Till]:
    snapshot = snapshot_of(directory)
    ledger = Ledger.open(directory / "state", wall=time.time)
    budgets = Budgets(lambda alert: None)
    budgets.reconcile(snapshot)
    budgets.restore(ledger.totals, time.time())
    surface, body = SURFACES[CHAT], chat(stream=False)
    voice = Voice(surface.parse_request({}, body, CHAT), surface, "bench-model", "req_1", 1_795_000_000)
    [deployment] = [d for d in snapshot.deployments if d.name == "bench/bench-model"]
    try:
        yield Till(Books(budgets, ledger, wall=time.time), ledger, voice, deployment)
    finally:
        ledger.stop()


def added(till: Till, requests: int, rate: float) -> list[Booked]:
    """What the books take of each request, with SQLite following in its thread as it does in the daemon."""
    booked, due_s = [], time.perf_counter()
    for _ in range(requests):
        due_s += 1 / rate
        time.sleep(max(0.0, due_s - time.perf_counter()))
        booked.append(till.one_request())
    assert till.ledger.flush(), "the ledger did not follow"
    return booked


def durable_s(till: Till, directory: Path, requests: int) -> list[float]:
    """From the end of a request until anybody can read its entry with the sqlite3 program."""
    took_s = []
    with closing(sqlite3.connect(directory / "state" / FILE_NAME)) as database:
        for _ in range(requests):
            entry = till.one_request().entry
            settled_s = time.perf_counter()
            while not database.execute("SELECT 1 FROM entries WHERE id = ?", (entry,)).fetchone():
                time.sleep(0.0002)
            took_s.append(time.perf_counter() - settled_s)
    return took_s


# --- the cache ------------------------------------------------------------------------------------------------------


def question(number: int, *, temperature: float | None) -> bytes:
    """What a program asks, of about a kilobyte."""
    text = f"Summarise note {number}: " + "the weather in the north was fair and the harvest good. " * 16
    body: dict[str, object] = {"model": "mock/echo", "messages": [{"role": "user", "content": text}]}
    if temperature is not None:
        body["temperature"] = temperature
    return jsontext.encode(body)


def free_port() -> int:
    """One that nobody else uses: whoever sits on a fixed one would be asked in our daemon's place."""
    with socket.socket() as wire:
        wire.bind(("127.0.0.1", 0))
        port: int = wire.getsockname()[1]
    return port


@contextmanager
def shipped_daemon(state_dir: Path) -> Iterator[int]:
    """Its port. The files are those of the repository; the built-in provider needs no key."""
    port = free_port()
    command = (sys.executable, "-m", "llmproxyd", "run", "--config-dir", str(ROOT), "--log-format", "json")
    where = ("--state-dir", str(state_dir), "--listen", f"127.0.0.1:{port}")
    with process(*command, *where):
        ends_s = time.monotonic() + 20
        while time.monotonic() < ends_s:
            with socket.socket() as wire:
                if wire.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        yield port


async def outcomes(port: int, bodies: Sequence[bytes], connections: int) -> list[bytes]:
    """What the cache did, for each request in some order: ``hit``, ``miss``, ``shared``."""
    loop, found = asyncio.get_running_loop(), []
    waiting = iter([clients.http_request(port, body) for body in bodies])

    async def one() -> None:
        transport, client = await loop.create_connection(clients.Client, "127.0.0.1", port)
        for request in waiting:
            head = (await client.ask(request)).partition(b"\r\n\r\n")[0].lower()
            if not head.startswith(b"http/1.1 200"):
                raise SystemExit(f"a request failed: {head[:300]!r}")
            found.append(head.partition(b"x-llmproxyd-cache:")[2].split(b"\r\n", 1)[0].strip())
        transport.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return found


def hits(state_dir: Path, distinct: int, repeats: int) -> tuple[int, int]:
    """(hits, repeated requests): each question once, then each ``repeats`` times more."""
    bodies = [question(n, temperature=temperature) for n in range(distinct) for temperature in (0.0, None)]
    with shipped_daemon(state_dir) as port:
        first = asyncio.run(outcomes(port, bodies, 16))
        assert set(first) == {b"miss"}, set(first)
        again = asyncio.run(outcomes(port, bodies * repeats, 16))
    return again.count(b"hit"), len(again)


# --- the report -------------------------------------------------------------------------------------------------------


def tell(what: str, value: float, bound: float, unit: str, *, least: bool = False) -> bool:
    kept = value >= bound if least else value <= bound
    sign = "≥" if least else "≤"
    print(f"{what:58}{value:10,.1f} {unit:3}{sign:>3} {bound:g} {unit}{'' if kept else '   <- missed'}")
    return kept


def main(arguments: Sequence[str]) -> int:
    """0: all bounds are kept; 1: one is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench money", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="of bookings; the median of their figures is shown"
    )
    parser.add_argument("--requests", type=int, default=4_000, help="that are booked in a round")
    parser.add_argument("--rate", type=float, default=2_000.0, help="of them in a second")
    parser.add_argument(
        "--directory", type=Path, help="on the disk to measure; left out: the one for temporary files"
    )
    options = parser.parse_args(arguments)
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.platform()}")
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        with open_till(directory) as till:
            prepare_collector()  # as the daemon does when it is up
            added(till, 500, options.rate)
            rounds = [added(till, options.requests, options.rate) for _ in range(options.rounds)]
            waited_s = durable_s(till, directory, 500)
        found, asked = hits(directory / "cache", distinct=200, repeats=25)
    micro, milli = 1e6, 1e3
    before = [[one.before_s for one in booked] for booked in rounds]
    whole = [[one.before_s + one.after_s for one in booked] for booked in rounds]
    for what, values, share in (
        ("booking a request, to its end, p50", whole, 0.5),
        ("booking a request, to its end, p99", whole, 0.99),
        ("booking a request, before its answer, p50", before, 0.5),
    ):
        print(f"{what:58}{typical(values, share) * micro:10,.1f} µs")
    quietest_s = min(percentile(values, 0.99) for values in before)
    print(f"{'before its answer, p99 of the quietest round':58}{quietest_s * micro:10,.1f} µs")
    kept = [
        tell(
            "booking a request, before its answer, p99",
            typical(before, 0.99) * micro,
            MAX_ADDED_S * micro,
            "µs",
        ),
        tell(
            "entry in SQLite after its request, p99",
            percentile(waited_s, 0.99) * milli,
            MAX_DURABLE_S * milli,
            "ms",
        ),
        tell(
            f"hits of {asked:,} repeats, shipped files",
            found / asked * 100,
            LEAST_HITS * 100,
            "%",
            least=True,
        ),
    ]
    return 0 if all(kept) else 1
