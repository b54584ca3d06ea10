"""``python -m bench money``: what keeping the books costs a request, how soon an entry is safe, how often the cache answers.

The books are those of a daemon that is asked over HTTP, with a ledger on a real disk and two budgets in force; a watch
on their three steps (``bench.booked_daemon``) says what each request waited for them. The cache is asked with the files
that ship.
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
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import load as clients
from bench.__main__ import ROOT, chat, daemon_command, process, wait_for
from llmproxyd import jsontext
from llmproxyd.ledger.store import FILE_NAME

MAX_ADDED_S = 150e-6
MAX_DURABLE_S = 25e-3
LEAST_HITS = 0.995
MICRO, MILLI = 1e6, 1e3

PROVIDERS = """
version: 1
providers:
  bench:
    preset: openai-compatible
    endpoint: http://127.0.0.1:{port}/v1
    models: [{{id: bench-model, price: {{input: 2, cached_input: 0.2, output: 8}}}}]
"""
ROUTING = """
version: 1
models: {fast: [bench/bench-model]}
budgets:
  - {name: everything, usd: 1000000, per: month}
  - {name: projects, scope: {project: each}, usd: 100000, per: day}
"""


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def typical(rounds: Sequence[Sequence[float]], share: float) -> float:
    """The median of the rounds' percentiles: the machine is never quiet for all of them."""
    return statistics.median(percentile(values, share) for values in rounds)


def free_port() -> int:
    """One that nobody else uses: whoever sits on a fixed one would be asked in our daemon's place."""
    with socket.socket() as wire:
        wire.bind(("127.0.0.1", 0))
        port: int = wire.getsockname()[1]
    return port


def header(answer: bytes, name: bytes) -> bytes:
    """Its value in an answer's head; empty without one."""
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return head.partition(name + b":")[2].split(b"\r\n", 1)[0].strip()


# --- the books ----------------------------------------------------------------------------------------------------


class Load(NamedTuple):
    """``requests`` over ``connections`` that each wait so long between an answer and the next question."""

    name: str
    requests: int
    connections: int
    pause_s: float = 0.0


class Booked(NamedTuple):
    """What the books took of each request of one round, in seconds, sorted: ``before_s`` while its client waited, which
    is the reservation, the intent and the price; ``whole_s`` with the settlement that follows."""

    load: Load
    before_s: list[float]
    whole_s: list[float]


@contextmanager
def watched_daemon(directory: Path, told: Path) -> Iterator[int]:
    """Its port. Two budgets are in force and a provider answers at once; the watch writes to ``told`` at the end."""
    provider_port, port = free_port(), free_port()
    (directory / "providers.yaml").write_text(PROVIDERS.format(port=provider_port))
    (directory / "routing.yaml").write_text(ROUTING)
    watched = daemon_command(directory, directory / "state", port, ("bench.booked_daemon", str(told)))
    with ExitStack() as stack:
        stack.enter_context(process(sys.executable, "-m", "bench.upstream", str(provider_port)))
        wait_for(provider_port)
        stack.enter_context(process(*watched))
        wait_for(port)
        yield port


async def ask(port: int, load: Load) -> None:
    result = await clients.run(
        port,
        chat(stream=False),
        requests=load.requests,
        connections=load.connections,
        more="x-llmproxyd-project: bench\r\n",
        pause_s=load.pause_s,
    )
    if result.failures:
        raise SystemExit(f"{result.failures} failed requests")


def read_rounds(told: Path, loads: Sequence[Load]) -> list[Booked]:
    """What the watch wrote about ``loads``, which ran in this order after one request."""
    rows = [tuple(int(text) / 1e9 for text in line.split()) for line in told.read_text().splitlines()][1:]
    found = []
    for load in loads:
        mine, rows = rows[: load.requests], rows[load.requests :]
        assert len(mine) == load.requests, "the watch saw fewer settlements than there were answers"
        found.append(Booked(load, sorted(row[0] for row in mine), sorted(row[1] for row in mine)))
    return found


async def durable_s(port: int, state_dir: Path, requests: int) -> list[float]:
    """From the answer to a request until anybody can read its entry with the sqlite3 program."""
    took_s = []
    request = clients.http_request(port, chat(stream=False))
    transport, client = await asyncio.get_running_loop().create_connection(clients.Client, "127.0.0.1", port)
    with closing(sqlite3.connect(state_dir / FILE_NAME)) as database:
        for _ in range(requests):
            answer = await client.ask(request)
            answered_s = time.perf_counter()
            entry = header(answer, b"x-llmproxyd-request-id").decode() + ".0"
            while not database.execute("SELECT 1 FROM entries WHERE id = ?", (entry,)).fetchone():
                time.sleep(0.0002)
            took_s.append(time.perf_counter() - answered_s)
    transport.close()
    return took_s


# --- the cache ------------------------------------------------------------------------------------------------------


def question(number: int, *, temperature: float | None) -> bytes:
    """What a program asks, of about a kilobyte."""
    text = f"Summarise note {number}: " + "the weather in the north was fair and the harvest good. " * 16
    body: dict[str, object] = {"model": "mock/echo", "messages": [{"role": "user", "content": text}]}
    if temperature is not None:
        body["temperature"] = temperature
    return jsontext.encode(body)


@contextmanager
def shipped_daemon(state_dir: Path) -> Iterator[int]:
    """Its port. The files are those of the repository; the built-in provider needs no key."""
    port = free_port()
    with process(*daemon_command(ROOT, state_dir, port)):
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
            answer = await client.ask(request)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"a request failed: {answer[:300]!r}")
            found.append(header(answer, b"x-llmproxyd-cache"))
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


def tell(what: str, value: float, bound: float | None, unit: str, *, least: bool = False) -> bool:
    """Whether ``bound`` is kept; None: there is none."""
    if bound is None:
        print(f"{what:58}{value:10,.1f} {unit}")
        return True
    kept = value >= bound if least else value <= bound
    sign = "≥" if least else "≤"
    print(f"{what:58}{value:10,.1f} {unit:3}{sign:>3} {bound:g} {unit}{'' if kept else '   <- missed'}")
    return kept


def tell_booked(booked: Sequence[Booked], load: Load, bound_s: float | None) -> bool:
    print(f"booking a request, {load.name}:")
    before = [each.before_s for each in booked if each.load is load]
    whole = [each.whole_s for each in booked if each.load is load]
    bound = None if bound_s is None else bound_s * MICRO
    tell("  before its answer, p50", typical(before, 0.5) * MICRO, None, "µs")
    kept = tell("  before its answer, p99", typical(before, 0.99) * MICRO, bound, "µs")
    tell("  to its end, p50", typical(whole, 0.5) * MICRO, None, "µs")
    tell("  to its end, p99", typical(whole, 0.99) * MICRO, None, "µs")
    return kept


def main(arguments: Sequence[str]) -> int:
    """0: all bounds are kept; 1: one is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench money", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="of each load; the median of their figures is shown"
    )
    parser.add_argument("--requests", type=int, default=4_000, help="in a round")
    parser.add_argument("--connections", type=int, default=8, help="that ask at a time, beside one alone")
    parser.add_argument(
        "--directory", type=Path, help="on the disk to measure; left out: the one for temporary files"
    )
    options = parser.parse_args(arguments)
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.platform()}")
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        told = directory / "told"
        busy = Load(f"{options.connections} connections at a time", options.requests, options.connections)
        alone = Load("one connection", options.requests, 1)
        # A processor that sleeps in between takes two or three times as long for everything.
        slow = Load("300 a second", options.requests // 4, 3, 0.009)
        loads = [busy, *([busy, alone, slow] * options.rounds)]
        with watched_daemon(directory, told) as port:
            for load in loads:
                asyncio.run(ask(port, load))
            waited_s = asyncio.run(durable_s(port, directory / "state", 500))
        booked = read_rounds(told, loads)[1:]  # the first were to warm up
        found, asked = hits(directory / "cache", distinct=200, repeats=25)
    kept = [
        tell_booked(booked, busy, MAX_ADDED_S),
        tell_booked(booked, alone, MAX_ADDED_S),
        tell_booked(booked, slow, None),
        tell(
            "entry in SQLite after its answer, p99",
            percentile(sorted(waited_s), 0.99) * MILLI,
            MAX_DURABLE_S * MILLI,
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
