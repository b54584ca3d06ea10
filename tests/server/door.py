"""The daemon's door in process: real sockets, real dialects, and everything that takes time as an argument."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from llmproxyd.adapters import ADAPTERS
from llmproxyd.cache.flight import Flights
from llmproxyd.cache.response_cache import ResponseCache
from llmproxyd.exchange.account import ExchangeRecord
from llmproxyd.exchange.books import Books, LedgerLike
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.routing.estimate import estimate_tokens
from llmproxyd.server import async_calls, background
from llmproxyd.server.admission import Admission, allowed_hosts
from llmproxyd.server.async_calls import AsyncCalls
from llmproxyd.server.auth import Doorkeeper
from llmproxyd.server.background import Background
from llmproxyd.server.detached import Detached
from llmproxyd.server.handler import Handler
from llmproxyd.server.intake import Intake
from llmproxyd.server.jobs import JobRunner
from llmproxyd.server.kept import Head, KeptAnswers
from llmproxyd.server.overload import Overload
from llmproxyd.server.responses import LOCAL_OWNER, ResponseKeeper
from llmproxyd.server.scanning import Scanner
from llmproxyd.server.web import Paths, View, Web, surface_views
from llmproxyd.state.budgets import Budgets
from llmproxyd.state.jobs import JobStore
from llmproxyd.state.responses import ResponseMemory
from llmproxyd.state.window import Windows
from llmproxyd.surfaces import SURFACES
from llmproxyd.surfaces.anthropic_failure import format_failure as format_anthropic_failure
from llmproxyd.surfaces.facts import RequestPrompt
from llmproxyd.surfaces.openai_failure import format_failure as format_openai_failure
from llmproxyd.values.contracts import Adapter
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    CachePolicy,
    Deployment,
    FallbackPolicy,
    Privacy,
    Rule,
    TargetKind,
    Tenant,
)
from tests.exchange.build import Watched, means
from tests.routing.build import snapshot, target
from tests.server.values import in_force
from tests.support.records import replace

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
MAX_BODY_BYTES = 64 * 1024


@dataclass
class Door:
    """``url`` is where it listens; ``records`` what came of each exchange; ``registry`` knows every attempt."""

    web: Web
    registry: Watched
    records: list[ExchangeRecord]
    port: int = 0
    session: aiohttp.ClientSession = field(init=False)

    async def post(self, path: str = CHAT, /, headers: Mapping[str, str] | None = None, **fields: Any) -> Any:
        """An open response; a chat says hello unless told otherwise."""
        given: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        if path.startswith(MESSAGES) and "count" not in path:
            given["max_tokens"] = 100
        return await self.session.post(path, json={**given, **fields}, headers=headers)

    async def raw(
        self, *pieces: bytes, end: bool = False
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of our own, with these bytes sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if end:
            writer.write_eof()
        return reader, writer

    def head(self, path: str = CHAT, **headers: str) -> bytes:
        given = {"host": f"127.0.0.1:{self.port}", "content-type": "application/json"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"POST {path} HTTP/1.1", *(f"{k}: {v}" for k, v in {**given, **named}.items()), "", ""]
        return "\r\n".join(lines).encode()


@asynccontextmanager
async def open_door(
    *deployments: Deployment,
    adapters: Mapping[Dialect, Adapter] = ADAPTERS,
    views: Mapping[tuple[str, str], View] | None = None,
    fallback: Mapping[str, Any] | None = None,
    jobs: JobStore | None = None,
    workers: int = 4,
    max_answer_bytes: int = 1 << 20,
    cache: CachePolicy = CachePolicy(),  # noqa: B008 - frozen, and keeps nothing
    wall: Callable[[], float] = time.time,
    tenants: Mapping[str, Tenant] | None = None,
    ledger: LedgerLike | None = None,
    privacy: Privacy = Privacy(),  # noqa: B008 - frozen, and looks for nothing
    rules: tuple[Rule, ...] = (),
    scanner: Scanner | None = None,
    **patience: Any,
) -> AsyncIterator[Door]:
    """Model ``m`` is these deployments, in this order. ``patience``: the handler's times.

    jobs: where requests that are to be answered later are kept; they belong to whom the header x-owner names.
    """
    registry, upstream, budgets = Watched(), Upstream(), Budgets(lambda alert: None)
    records: list[ExchangeRecord] = []
    policy = FallbackPolicy(on=DEFAULT_FALLBACK_ON, **{"retry_max": 0, **(fallback or {})})
    names = [target("m", TargetKind.LIST, *deployments)]
    known = replace(
        snapshot(*deployments, targets=names, fallback=policy, rules=rules),
        cache=cache,
        tenants=tenants or {},
        privacy=privacy,
    )
    books = Books(budgets, ledger, wall=wall)
    intake = Intake(
        in_force=in_force(known),
        means=means(upstream, registry, adapters=adapters, sinks=(records.append,), books=books),
        keeper=ResponseKeeper(ResponseMemory(), time.monotonic),
        doorkeeper=Doorkeeper(),
        overload=Overload(time.monotonic),
        windows=Windows(),
        budgets=budgets,
        scanner=scanner or Scanner(time.monotonic),
        new_prompt=lambda request, surface: RequestPrompt(request, surface, estimate_tokens),
        wall=wall,
    )
    flights: Flights[Head] = Flights()
    kept = KeptAnswers(
        ResponseCache(secret=bytes(32), stale_s=cache.stale_s),
        flights,
        intake,
        books=books,
        adapters=adapters,
        clock=time.monotonic,
        wall=wall,
    )
    async with _later(intake, jobs, workers, max_answer_bytes) as (doors, patterns):
        handler = Handler(intake, max_body_bytes=MAX_BODY_BYTES, kept=kept, **doors, **patience)
        exact = {**surface_views(SURFACES, handler.serve), **(views or {})}
        async with listening(exact, patterns=patterns) as (server, port):
            door = Door(server, registry, records, port)
            async with aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}") as door.session:
                yield door
    await flights.close()
    await upstream.close()


@asynccontextmanager
async def _later(
    intake: Intake, store: JobStore | None, workers: int, max_answer_bytes: int
) -> AsyncIterator[tuple[dict[str, Any], tuple[Any, ...]]]:
    """Those who answer later, as arguments of a Handler and as patterns of paths."""
    if store is None:
        yield {}, ()
        return
    detached = Detached(intake, max_bytes=max_answer_bytes)
    runner = JobRunner(store, detached, wall=time.time, workers=workers, retry_s=0.02)
    calls = AsyncCalls(runner, wall=time.time, owner_of=_owner_of)
    responses = Background(runner, detached, wall=time.time, owner_of=_owner_of, ping_s=0.05)
    running = asyncio.ensure_future(runner.run())
    try:
        yield (
            {"async_calls": calls, "background": responses},
            (
                *((method, async_calls.PATH, calls.view) for method in ("GET", "DELETE")),
                *((method, background.PATH, responses.view) for method in ("GET", "DELETE", "POST")),
            ),
        )
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await runner.stop()


def _owner_of(http: web.BaseRequest) -> str:
    return http.headers.get("x-owner", LOCAL_OWNER)


@asynccontextmanager
async def listening(exact: Mapping[tuple[str, str], View], **paths: Any) -> AsyncIterator[tuple[Web, int]]:
    """A server of these views, and its port."""
    known = Paths(
        exact=exact,
        dialects={MESSAGES: format_anthropic_failure},
        default_dialect=format_openai_failure,
        **paths,
    )
    # The port is part of who we are, and known only when bound.
    web = Web(known, Admission(frozenset(), frozenset()), max_body_bytes=MAX_BODY_BYTES)
    protocols = web.new_server()
    server = await asyncio.get_running_loop().create_server(protocols, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    web._admission = Admission(allowed_hosts([port], ()), frozenset({"http://ui.example"}))
    try:
        yield web, port
    finally:
        server.close()
        await protocols.shutdown(1.0)
