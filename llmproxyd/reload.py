"""The one path on which a configuration comes into force: read, compile, reconcile, swap.

Everybody who wants a reload (the watcher, a signal, the admin door) takes the same path under one lock. All that can
fail comes before the swap, so a refused file changes nothing. Whether files have changed is ``watch``'s business,
whether they are right ``config.load``'s.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec
from msgspec.structs import replace

from llmproxyd.config.load import Files, Loaded
from llmproxyd.config.problem import Problem, Severity
from llmproxyd.in_force import DISCOVERY, Result, check_token
from llmproxyd.in_force import Generation as Generation
from llmproxyd.in_force import InForce as InForce
from llmproxyd.in_force import ReloadVerdict as ReloadVerdict
from llmproxyd.logs import get_logger
from llmproxyd.routing.compile import Routes
from llmproxyd.survey import Survey
from llmproxyd.values.contracts import Listed
from llmproxyd.values.snapshot import Snapshot
from llmproxyd.watch import Watcher

PROBLEMS_KEPT = 50
PAIR_GRACE_S = 2.0
LOAD_TIMEOUT_S = 20.0
WATCH = "watch"
# What the other file can put right: names that one of the two uses and the other defines.
CROSS_FILE_CODES = frozenset({"LP201", "LP202", "LP203"})
_BASES = ("providers.yaml", "routing.yaml", "providers.d", "routing.d")
_TRIGGER = re.compile(r"[a-z][a-z_-]{0,31}", re.ASCII)
_log = get_logger("reload")

Discovered: TypeAlias = Mapping[str, tuple[Listed, ...]]


class LoadFiles(Protocol):
    """``config.load.load``."""

    def __call__(self, config_dir: Path, *, environ: Mapping[str, str], discovered: Discovered) -> Loaded: ...


class CompileFiles(Protocol):
    """``config.load.compile_files``."""

    def __call__(self, files: Files, *, environ: Mapping[str, str], discovered: Discovered) -> Loaded: ...


class State(Protocol):
    """What outlives a generation: ``state.registry.Registry``."""

    def discovered(self) -> Discovered: ...

    def reconcile(self, snapshot: Snapshot, now_s: float) -> None: ...


class _Round(msgspec.Struct):
    """One run that several requests may share. ``patient``: only the watcher asked, so nobody waits for a verdict."""

    trigger: str
    token: str
    patient: bool
    task: asyncio.Task[ReloadVerdict | None] | None = None


class _Reading(msgspec.Struct, frozen=True):
    """What a thread brought back. ``seen`` None: it did not come back. ``routes`` None: refused, or nothing new."""

    seen: Survey | None
    problems: tuple[Problem, ...]
    loaded: Loaded | None = None
    routes: Routes | None = None


class Reloader:
    """Keeps ``in_force`` up to date with the files of one directory.

    ``on_change`` are called with every verdict, after the swap. Once something is in force, ``on_begin`` is called
    before files are read and ``on_end`` with the status line afterwards, also when nothing came of it. ``environ`` is read as it is at each
    load. ``clock`` is monotonic, ``wall_clock`` Unix time, both in seconds.
    """

    def __init__(
        self,
        config_dir: Path,
        *,
        environ: Mapping[str, str],
        in_force: InForce,
        registry: State,
        load_files: LoadFiles,
        compile_files: CompileFiles,
        compile_routes: Callable[[Snapshot], Routes],
        on_change: Sequence[Callable[[ReloadVerdict], None]] = (),
        on_begin: Callable[[], None] = lambda: None,
        on_end: Callable[[str], None] = lambda status_line: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        **watching: Any,
    ) -> None:
        """``watching`` goes to the Watcher (``open_inotify``, ``listen``)."""
        self._config_dir = config_dir.absolute()
        self._environ = environ
        self._in_force = in_force
        self._registry = registry
        self._load_files = load_files
        self._compile_files = compile_files
        self._compile_routes = compile_routes
        self._on_change = tuple(on_change)
        self._on_begin = on_begin
        self._on_end = on_end
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = asyncio.Lock()
        self._next: _Round | None = None
        self._rounds: set[asyncio.Task[ReloadVerdict | None]] = set()
        self._hanging: asyncio.Future[_Reading] | None = None
        self._good: Files | None = None
        self._grace_until_s: float | None = None
        self._bases = tuple(str(self._config_dir / name) for name in _BASES)
        self._watcher = Watcher(
            self._bases, on_mode=self._note_mode, on_still_open=_note_still_open, **watching
        )

    # --- asking for a reload ------------------------------------------------------------------------------------

    async def reload(self, trigger: str, token: str | None = None) -> ReloadVerdict:
        """Read the files and say what came of it. Whatever was saved before the call is included.

        Calls that arrive while a reload runs share the next one. ``token``: the caller's name for this reload, at
        most 64 of ``A-Z a-z 0-9 . _ -``; made up if None. Raises ValueError for another token or trigger.
        """
        token = check_token(token) if token is not None else secrets.token_hex(8)
        if not _TRIGGER.fullmatch(trigger):
            raise ValueError(f"{trigger!r} is not the name of a trigger")
        verdict = await self._ask(trigger, token, patient=False)
        assert verdict is not None, "a round that somebody waits for has a verdict"
        return replace(verdict, trigger=trigger, token=token)

    async def run(self) -> None:
        """Watch the files and reload when they change, until cancelled."""
        async with self._watcher:
            while True:
                if await self._changed():
                    await self._ask(WATCH, secrets.token_hex(8), patient=True)

    async def rediscover(self) -> ReloadVerdict | None:
        """Compile the last good files again with what servers have listed since; None before the first good ones, or
        when that is not possible just now. Only a change of meaning is recorded."""
        async with self._lock:
            if self._good is None:
                return None
            started_s = self._clock()
            reading = await self._read(self._compile_again)
            if reading.loaded is None or reading.loaded.snapshot is None:
                return None
            round_ = _Round(DISCOVERY, secrets.token_hex(8), patient=False)
            verdict = self._judge(reading, round_, started_s)
            if verdict.result == "applied":
                self._publish(verdict)
            return verdict

    async def close(self) -> None:
        """Give up rounds that have not ended."""
        for task in tuple(self._rounds):
            task.cancel()
        await asyncio.gather(*self._rounds, return_exceptions=True)

    # --- rounds -------------------------------------------------------------------------------------------------

    async def _ask(self, trigger: str, token: str, *, patient: bool) -> ReloadVerdict | None:
        round_ = self._next
        if round_ is None:
            round_ = self._next = _Round(trigger, token, patient)
            round_.task = asyncio.create_task(self._turn(round_))
            self._rounds.add(round_.task)
            round_.task.add_done_callback(self._rounds.discard)
        elif round_.patient and not patient:
            round_.trigger, round_.token, round_.patient = trigger, token, False
        assert round_.task is not None
        # A caller who leaves must not take the reload of the others along.
        return await asyncio.shield(round_.task)

    async def _turn(self, round_: _Round) -> ReloadVerdict | None:
        async with self._lock:
            self._next = None  # whoever saves from now on needs another round
            if not self._in_force.number:
                return await self._load(round_)  # a start; that is for others to announce
            self._on_begin()
            try:
                return await self._load(round_)
            finally:
                self._on_end(self._in_force.status_line)

    async def _load(self, round_: _Round) -> ReloadVerdict | None:
        """None: what was read is not to be judged yet; the watcher will come again."""
        started_s = self._clock()
        mark = self._watcher.mark()
        reading = await self._read(self._look_and_load)
        if round_.patient and reading.seen and await self._watcher.torn(mark, reading.seen):
            return None
        self._accept(reading)
        if round_.patient and self._waits_for_pair(reading.problems):
            return None
        verdict = self._judge(reading, round_, started_s)
        self._grace_until_s = None
        self._publish(verdict)
        return verdict

    async def _changed(self) -> bool:
        """Wait for a change, or for the end of the grace; False if the latter has become pointless."""
        until_s = self._grace_until_s
        if until_s is None:
            await self._watcher.settled()
            return True
        try:
            async with asyncio.timeout_at(until_s):
                await self._watcher.settled()
        except TimeoutError:
            return self._grace_until_s is not None
        return True

    def _waits_for_pair(self, problems: Sequence[Problem]) -> bool:
        """Whether the other file may be about to be saved and put this right."""
        errors = [problem for problem in problems if problem.severity is Severity.ERROR]
        if not errors or any(problem.code not in CROSS_FILE_CODES for problem in errors):
            return False
        now_s = asyncio.get_running_loop().time()
        if self._grace_until_s is None:
            self._grace_until_s = now_s + PAIR_GRACE_S
        return now_s < self._grace_until_s

    # --- reading, in a thread -----------------------------------------------------------------------------------

    async def _read(self, read: Callable[[], _Reading]) -> _Reading:
        if self._hanging is not None and not self._hanging.done():
            return _Reading(None, (_unreadable("an earlier reading of the files has not come back yet"),))
        self._hanging = asyncio.ensure_future(asyncio.to_thread(read))
        done, _ = await asyncio.wait({self._hanging}, timeout=LOAD_TIMEOUT_S)
        if not done:
            return _Reading(None, (_unreadable(f"reading the files took longer than {LOAD_TIMEOUT_S:g} s"),))
        return self._hanging.result()

    def _look_and_load(self) -> _Reading:
        seen = self._watcher.survey()
        return self._compiled(
            seen,
            lambda: self._load_files(
                self._config_dir, environ=self._environ, discovered=self._registry.discovered()
            ),
        )

    def _compile_again(self) -> _Reading:
        assert self._good is not None
        files = self._good
        return self._compiled(
            None,
            lambda: self._compile_files(files, environ=self._environ, discovered=self._registry.discovered()),
        )

    def _compiled(self, seen: Survey | None, load: Callable[[], Loaded]) -> _Reading:
        try:
            loaded = load()
            snapshot = loaded.snapshot
            new = snapshot is not None and snapshot.hash != self._in_force.hash
            routes = self._compile_routes(snapshot) if snapshot is not None and new else None
        except Exception as error:  # noqa: BLE001 - our fault, not the files': say so, keep watching and serving
            _log.exception("reload.fault")
            return _Reading(seen, (_fault(error),))
        return _Reading(seen, loaded.problems, loaded, routes)

    # --- judging and swapping -----------------------------------------------------------------------------------

    def _accept(self, reading: _Reading) -> None:
        """Tell the watcher what was seen, and what the files turned out to consist of."""
        if reading.seen is None:
            return
        files = self._good if reading.loaded is None else reading.loaded.files
        paths = [*self._bases, *map(str, files.paths if files else ())]
        snapshot = reading.loaded.snapshot if reading.loaded else None
        if snapshot is None and self._in_force.number:
            snapshot = self._in_force.current.snapshot
        self._watcher.accept(reading.seen, (*paths, *(snapshot.watched if snapshot else ())))

    def _judge(self, reading: _Reading, round_: _Round, started_s: float) -> ReloadVerdict:
        result, problems = self._apply(reading)
        return ReloadVerdict(
            result=result,
            generation=self._in_force.number,
            token=round_.token,
            trigger=round_.trigger,
            duration_s=self._clock() - started_s,
            problems=problems[:PROBLEMS_KEPT],
            at_s=self._wall_clock(),
        )

    def _apply(self, reading: _Reading) -> tuple[Result, tuple[Problem, ...]]:
        loaded, routes = reading.loaded, reading.routes
        if loaded is None or loaded.snapshot is None:
            return "rejected", reading.problems
        if routes is not None:
            try:
                self._registry.reconcile(loaded.snapshot, self._clock())
            except Exception as error:  # noqa: BLE001 - as above; nothing was swapped yet
                _log.exception("reload.fault")
                return "rejected", (_fault(error),)
            self._in_force.swap(
                Generation(
                    self._in_force.number + 1,
                    loaded.snapshot,
                    routes,
                    self._wall_clock(),
                    loaded.snapshot.hash,
                )
            )
        self._good = loaded.files
        return "applied" if routes is not None else "noop", loaded.problems

    def _publish(self, verdict: ReloadVerdict) -> None:
        self._in_force.record(verdict)
        for tell in self._on_change:
            try:
                tell(verdict)
            except Exception:  # noqa: BLE001 - the swap is done; who is told must not undo it
                _log.exception("reload.callback_failed", result=verdict.result, token=verdict.token)

    def _note_mode(self, mode: str, why: str) -> None:
        self._in_force.watch_mode, self._in_force.watch_why = mode, why
        if mode == "polling":
            _log.warning("watch.polling", why=why, help="changes are found within two seconds")
        else:
            _log.info("watch.inotify")


def _note_still_open(paths: tuple[str, ...]) -> None:
    _log.warning(
        "watch.still_open",
        files=list(paths),
        help="a program writes to it and has not closed it; `llmproxyd reload` reads it as it is",
    )


def _unreadable(message: str) -> Problem:
    return Problem(
        "LP002", Severity.ERROR, message, helps=("check the file system that the configuration lies on",)
    )


def _fault(error: Exception) -> Problem:
    """The type alone: a message may quote what it failed on."""
    return Problem(
        "LP000",
        Severity.ERROR,
        f"llmproxyd failed while it read the files ({type(error).__name__}); this is a bug",
        helps=("the log has the traceback; please report it",),
    )
