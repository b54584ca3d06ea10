"""The composition root: builds everything, connects it, starts and stops it, in that order.

Start: read the files (an invalid one: 78, with the diagnostics), bind (69 if that fails), listen, say READY. Stop:
close the doors, let requests in hand finish within the drain time, close what is left.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web

from llmproxyd import __version__, host, logs
from llmproxyd.adapters import ADAPTERS
from llmproxyd.cache.flight import Flights
from llmproxyd.cache.response_cache import ResponseCache
from llmproxyd.config.load import Loaded, find_config_dir
from llmproxyd.config.prices import table_note
from llmproxyd.config.report import format_text
from llmproxyd.exchange.account import Account
from llmproxyd.exchange.books import Books
from llmproxyd.exchange.gate import Gates
from llmproxyd.exchange.means import Means
from llmproxyd.exchange.probe import Prober
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.exchange.webhooks import Webhooks
from llmproxyd.exits import Exit
from llmproxyd.in_force import InForce, ReloadVerdict
from llmproxyd.ledger.ledger import Ledger
from llmproxyd.ledger.store import LedgerReader
from llmproxyd.reload import Reloader
from llmproxyd.routing.compile import Routes, compile_routes
from llmproxyd.routing.estimate import estimate_tokens
from llmproxyd.routing.vocabulary import Vocabularies
from llmproxyd.server.admission import Admission, allowed_hosts
from llmproxyd.server.async_calls import AsyncCalls
from llmproxyd.server.auth import Doorkeeper
from llmproxyd.server.background import Background
from llmproxyd.server.callers import Callers
from llmproxyd.server.cost_views import CostViews
from llmproxyd.server.detached import Detached
from llmproxyd.server.exchange_log import ExchangeLog
from llmproxyd.server.handler import Handler
from llmproxyd.server.intake import Intake
from llmproxyd.server.jobs import JobRunner
from llmproxyd.server.kept import Head, KeptAnswers
from llmproxyd.server.listen import CannotListen, Listener, adopt, bind, remove, start
from llmproxyd.server.metrics import Counters, Gathered
from llmproxyd.server.names import NameViews
from llmproxyd.server.notify import Notifier
from llmproxyd.server.ollama_views import OllamaViews
from llmproxyd.server.overload import Overload
from llmproxyd.server.paths import build_paths
from llmproxyd.server.responses import ResponseKeeper
from llmproxyd.server.scanning import Scanner
from llmproxyd.server.trial import ProviderTest
from llmproxyd.server.views import Views
from llmproxyd.server.web import Web
from llmproxyd.settings import Settings, Tcp, check_listeners
from llmproxyd.state.budgets import Budgets
from llmproxyd.state.changes import HealthChange
from llmproxyd.state.events import Events
from llmproxyd.state.hedge_budget import HedgeBudget
from llmproxyd.state.jobs import JobStore
from llmproxyd.state.registry import Registry
from llmproxyd.state.responses import ResponseMemory
from llmproxyd.state.retry_budget import RetryBudget
from llmproxyd.state.window import Windows
from llmproxyd.surfaces.facts import RequestPrompt
from llmproxyd.values.contracts import Surface
from llmproxyd.values.ledger import LedgerHealth, LedgerUnavailable
from llmproxyd.values.request import Request
from llmproxyd.values.snapshot import CachePolicy, Snapshot
from llmproxyd.vetting import compile_files, load
from llmproxyd.watch import bind_mounted

_log = logs.get_logger("daemon")
_FAST_STOP_S = 1.0
_LAST_WORDS_S = 0.2
"""How long, with the doors closed, connections without a request are still listened to: one may be on its way already."""
_THREADS = 4
BUDGETS_SHOWN = 100
REPORT_TIMEOUT_S = 10.0
_WATCHDOG_SHARE = 3  # beats per watchdog interval


def run(settings: Settings, environ: Mapping[str, str] = os.environ) -> int:
    """Serve until stopped. Returns the exit status."""
    writer = logs.setup_logs(settings.log_level, settings.log_format.value, environ=environ)
    logs.catch_strays()
    host.leave_no_core()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return int(runner.run(_Daemon(settings, environ, lambda: writer.lost).serve()))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # no wheel for this platform; the standard loop does the same, slower
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class _Daemon:
    def __init__(
        self, settings: Settings, environ: Mapping[str, str], log_lines_lost: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._config_dir = find_config_dir(
            str(settings.config_dir) if settings.config_dir else None, environ, Path.cwd()
        )
        self._first: Loaded | None = None
        self._stop = asyncio.Event()
        self._fast = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._broken = False
        self._told_ready = False

        self._in_force = InForce()
        self._events = Events(time.time)
        self._notifier: Notifier
        self._webhooks = Webhooks(tell=lambda place, result, why: self._notifier.webhook(place, result, why))
        self._notifier = Notifier(
            self._events, self._webhooks.offer, status=lambda: self._in_force.status_line
        )
        self._registry = Registry(tell=self._health_changed)
        self._upstream = Upstream()
        self._gates = Gates(time.monotonic)
        self._vocabularies = Vocabularies()
        self._overload = Overload(time.monotonic)
        self._scanner = Scanner(time.monotonic)
        self._counters = Counters()
        self._reloader = Reloader(
            self._config_dir,
            environ=environ,
            in_force=self._in_force,
            registry=self._registry,
            load_files=self._load,
            compile_files=compile_files,
            compile_routes=self._compile_routes,
            on_change=(self._reloaded,),
            on_begin=self._begin_reload,
            on_end=self._end_reload,
        )
        self._prober = Prober(
            upstream=self._upstream,
            registry=self._registry,
            adapters=ADAPTERS,
            providers=lambda: self._in_force.current.snapshot.providers.values(),
            on_models_changed=lambda: self._spawn(self._reloader.rediscover()),
            clock=time.monotonic,
        )
        self._exchange_log = ExchangeLog(time.time)
        account = Account(
            self._registry,
            sinks=(self._counters.exchange, self._exchange_log, self._notifier.exchange),
        )
        self._budgets = Budgets(self._notifier.budget)
        self._ledger: Ledger | None = None
        self._books = Books(self._budgets, None, wall=time.time)
        means = Means(
            upstream=self._upstream,
            adapters=ADAPTERS,
            registry=self._registry,
            gates=self._gates,
            retries=RetryBudget(),
            hedges=HedgeBudget(),
            account=account,
            books=self._books,
            clock=time.monotonic,
        )
        self._doorkeeper = Doorkeeper()
        self._callers = Callers(self._doorkeeper, self._in_force)
        self._keeper = ResponseKeeper(ResponseMemory(), time.monotonic, owner_of=Callers.owner_of)
        intake = Intake(
            in_force=self._in_force,
            means=means,
            keeper=self._keeper,
            doorkeeper=self._doorkeeper,
            overload=self._overload,
            windows=Windows(),
            budgets=self._budgets,
            scanner=self._scanner,
            new_prompt=self._new_prompt,
            wall=time.time,
        )
        self._cache = ResponseCache.open(settings.state_dir, CachePolicy(), wall=time.time)
        self._flights: Flights[Head] = Flights()
        kept = KeptAnswers(
            self._cache,
            self._flights,
            intake,
            books=self._books,
            adapters=ADAPTERS,
            clock=time.monotonic,
            wall=time.time,
        )
        detached = Detached(intake)
        self._jobs = JobRunner(
            JobStore(settings.state_dir / "jobs.db", wall=time.time), detached, wall=time.time
        )
        self._async_calls = AsyncCalls(self._jobs, wall=time.time, owner_of=Callers.owner_of)
        self._background = Background(self._jobs, detached, wall=time.time, owner_of=Callers.owner_of)
        self._handler = Handler(
            intake,
            max_body_bytes=settings.max_body_bytes,
            async_calls=self._async_calls,
            background=self._background,
            kept=kept,
        )
        self._views = Views(
            in_force=self._in_force,
            reloader=self._reloader,
            registry=self._registry,
            counters=self._counters,
            admin_token=_make_admin_token(settings.admin_token_file),
            metrics_open=settings.metrics_open,
            in_flight=lambda: self._web.count,
            log_lines_lost=log_lines_lost,
            events=self._events,
            gathered=self._gather,
        )
        self._web: Web

    # --- start ----------------------------------------------------------------------------------------------

    async def serve(self) -> Exit:
        _prepare_threads()
        self._hear_signals()
        verdict = await self._reloader.reload("start")
        if not verdict.accepted:
            return self._refuse_to_start(verdict)
        # Whoever is not on this machine has to show a key, so there must be one: known only now.
        check_listeners(self._settings.listen, keys_declared=bool(self._in_force.current.snapshot.tenants))
        if not await self._open_ledger():
            return Exit.UNAVAILABLE
        listeners: list[Listener] = []
        try:
            self._open_listeners(listeners)
        except CannotListen as cannot:
            sys.stderr.write(f"llmproxyd: {cannot}\n")
            for listener in listeners:
                listener.socket.close()
                remove(listener)
            await self._close_ledger()
            return Exit.UNAVAILABLE
        try:
            await self._serve(listeners)
        finally:
            for listener in listeners:
                remove(listener)
            await self._upstream.close()
            await self._close_ledger()
        return Exit.ERRORS if self._broken else Exit.OK

    async def _open_ledger(self) -> bool:
        """What was spent is known before the first request comes. False: it cannot be kept; said on stderr."""
        loop = asyncio.get_running_loop()

        def alarm(health: LedgerHealth) -> None:
            loop.call_soon_threadsafe(self._notifier.ledger, health)

        try:
            self._ledger = await asyncio.to_thread(
                Ledger.open,
                self._settings.state_dir,
                wall=time.time,
                alarm=alarm,
            )
        except (LedgerUnavailable, OSError) as error:
            sys.stderr.write(
                f"llmproxyd: the ledger in {self._settings.state_dir} cannot be opened: {error}\n"
            )
            return False
        self._books.ledger = self._ledger
        self._adopt_money(self._in_force.current.snapshot)
        return True

    def _adopt_money(self, snapshot: Snapshot) -> None:
        """Budgets begin with what the ledger has; nothing is sent before."""
        self._budgets.reconcile(snapshot)
        if self._ledger is not None:
            self._ledger.describe(snapshot.providers.values())
            self._budgets.restore(self._ledger.totals, time.time())

    async def _close_ledger(self) -> None:
        if self._ledger is not None:
            await self._ledger.close()

    def _compile_routes(self, snapshot: Snapshot) -> Routes:
        """In the thread that loads: whatever takes long is ready before the swap."""
        self._scanner.prepare(snapshot)
        return compile_routes(snapshot)

    def _load(self, config_dir: Path, **how: Any) -> Loaded:
        loaded = load(config_dir, **how)
        self._first = None if self._in_force.number else loaded
        return loaded

    def _refuse_to_start(self, verdict: ReloadVerdict) -> Exit:
        sources = self._first.files.sources if self._first else {}
        sys.stderr.write(format_text(verdict.problems, sources))
        sys.stderr.write(f"llmproxyd: the files in {self._config_dir} are invalid, not starting\n")
        return Exit.MISSING if self._first and self._first.files.missing else Exit.CONFIG

    def _open_listeners(self, listeners: list[Listener]) -> None:
        inherited = host.listen_fds(os.environ)
        if inherited:
            listeners += [adopt(fd) for _, fd in inherited]
            return
        for address in self._settings.listen:
            listeners.append(bind(address))

    async def _serve(self, listeners: list[Listener]) -> None:
        self._doorkeeper.exposed = any(_is_open(listener) for listener in listeners)
        ports = [listener.port for listener in listeners if listener.port is not None]
        admission = Admission(
            allowed_hosts(ports, self._settings.allowed_hosts), frozenset(self._settings.allowed_origins)
        )
        paths = build_paths(
            self._handler,
            self._views,
            NameViews(self._in_force),
            OllamaViews(self._in_force),
            self._keeper,
            ProviderTest(in_force=self._in_force, registry=self._registry, prober=self._prober),
            self._async_calls,
            self._background,
            self._callers,
            CostViews(
                LedgerReader(self._settings.state_dir, timeout_s=REPORT_TIMEOUT_S),
                self._budgets,
                wall=time.time,
            ),
        )
        self._web = Web(paths, admission, max_body_bytes=self._settings.max_body_bytes)
        server = self._web.new_server()
        doors = [await start(listener, server) for listener in listeners]
        self._first = None
        prepare_collector()
        self._overload.start()
        self._tell_started(listeners)
        for running in (self._reloader.run(), self._prober.run(), self._jobs.run(), self._beat()):
            self._spawn(running)
        self._spawn(self._load_vocabularies())
        await self._stop.wait()
        await self._drain(doors, server, inherited=any(listener.inherited for listener in listeners))

    def _tell_started(self, listeners: list[Listener]) -> None:
        current = self._in_force.current
        _log.info(
            "started",
            version=__version__,
            generation=current.number,
            hash=current.hash[:12],
            listeners=[str(listener) for listener in listeners],
            config_dir=str(self._config_dir),
            keys=_tell_keys(current.snapshot),
        )
        for name in ("providers.yaml", "routing.yaml"):
            if bind_mounted(str(self._config_dir / name)):
                _log.warning(
                    "watch.bind_mount",
                    file=name,
                    help="a single mounted file keeps its old inode when it is replaced; mount its directory",
                )
        note = table_note()
        if note is not None:
            _log.warning("prices.other_table", help=note)
        for word in self._settings.unknown:
            _log.warning("settings.unknown_variable", name=word)
        self._told_ready = True
        host.ready(self._in_force.status_line)

    # --- while it runs --------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        _log.error("background_task_failed", exc_info=task.exception())
        # Nothing that runs beside requests may die unseen; better a restart than a daemon that no longer reloads.
        self._broken = True
        self._stop.set()

    def _begin_reload(self) -> None:
        if self._told_ready:
            host.reloading()

    def _end_reload(self, status_line: str) -> None:
        """Also after a refused file: systemd would wait for READY for ever."""
        if self._told_ready:
            host.ready(status_line)

    def _reloaded(self, verdict: ReloadVerdict) -> None:
        self._notifier.reload(verdict)
        if verdict.result == "applied":
            snapshot = self._in_force.current.snapshot
            self._upstream.reconcile(snapshot)
            self._gates.reconcile(snapshot)
            self._webhooks.reconcile(snapshot.webhooks)
            self._cache.reconcile(snapshot.cache)
            if self._ledger is not None:
                self._adopt_money(snapshot)
            self._counters.retain(snapshot)
            self._spawn(self._load_vocabularies())
            self._prober.wake()

    def _new_prompt(self, request: Request, surface: Surface) -> RequestPrompt:
        return RequestPrompt(request, surface, estimate_tokens, self._vocabularies.count)

    async def _load_vocabularies(self) -> None:
        """Beside requests, which are estimated until it is done."""
        models = {d.upstream for d in self._in_force.current.snapshot.deployments if d.provider.configured}
        await asyncio.to_thread(self._vocabularies.load, models)

    def _health_changed(self, change: HealthChange) -> None:
        self._notifier.health(change)
        if change.kind == "breaker_opened":
            self._prober.wake()

    def _gather(self) -> Gathered:
        """What the rooms count that the metrics do not."""
        return Gathered(
            lines=self._gates.lines(),
            shed=dict(self._overload.shed),
            jobs={"in_progress": self._jobs.in_progress},
            events=dict(self._events.counts),
            webhooks=dict(self._webhooks.results),
            cache=self._cache.report(),
            budgets=self._budgets.report(time.time(), BUDGETS_SHOWN),
            ledger_ok=None if self._ledger is None else self._ledger.healthy()[0],
        )

    async def _beat(self) -> None:
        """The watchdog is fed from the event loop: a loop that hangs is a daemon that hangs."""
        interval_s = host.watchdog_interval_s(self._environ)
        while interval_s:
            host.watchdog()
            await asyncio.sleep(interval_s / _WATCHDOG_SHARE)

    # --- stop -----------------------------------------------------------------------------------------------

    def _hear_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def _asked_to_reload(self) -> None:
        if self._in_force.number and not self._stopping:
            self._spawn(self._reloader.reload("sighup"))

    def _asked_to_stop(self, name: str) -> None:
        if self._stopping:
            self._fast.set()
        self._stopping = True
        _log.info("stopping", signal=name, in_hand=self._web.count if hasattr(self, "_web") else 0)
        self._stop.set()

    async def _drain(self, doors: list[asyncio.Server], server: web.Server, *, inherited: bool) -> None:
        """No new connections; what is in hand may finish, streams included, until the drain time or a second signal."""
        host.stopping()
        self._stopping = True
        self._views.ready = False
        for door in doors:
            door.close()
        self._web.draining = True
        await asyncio.sleep(_LAST_WORDS_S)
        server.pre_shutdown()
        self._events.close()
        patience = [asyncio.ensure_future(self._web.drained()), asyncio.ensure_future(self._fast.wait())]
        await asyncio.wait(patience, timeout=self._settings.drain_s, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (*patience, *self._tasks):
            waiting.cancel()
        await asyncio.gather(*patience, *self._tasks, return_exceptions=True)
        left = self._web.count
        await server.shutdown(_FAST_STOP_S if left else 0.1)
        await self._jobs.stop()
        await self._flights.close()
        await self._cache.close()
        await self._reloader.close()
        self._overload.stop()
        self._scanner.close()
        self._exchange_log.flush()
        self._notifier.flush()
        await self._webhooks.close()
        _log.info("stopped", cut=left)


def prepare_collector() -> None:
    """What was made so far lives as long as we do, but for some garbage that is not worth a look at all the rest: the
    collector need not see it again."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    gc.enable()


def _is_open(listener: Listener) -> bool:
    """Whether other machines can connect."""
    return not listener.is_unix and not Tcp(*listener.socket.getsockname()[:2]).loopback


def _tell_keys(snapshot: Snapshot) -> str:
    if not snapshot.tenants:
        return "none declared: every program on this machine may use every provider"
    return f"{sum(len(tenant.keys) for tenant in snapshot.tenants.values())} keys of {len(snapshot.tenants)} tenants"


def _prepare_threads() -> None:
    """The threads for what blocks (files, name look-ups): a fixed number, and all of them now, so that nothing later
    waits or fails for want of one."""
    executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="work")
    all_here = threading.Barrier(_THREADS)
    for _ in range(_THREADS):
        executor.submit(all_here.wait)
    asyncio.get_running_loop().set_default_executor(executor)


def _make_admin_token(path: Path) -> str:
    """A new token for this run, readable by our own user alone."""
    token = secrets.token_urlsafe(32)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(token + "\n")
    return token
