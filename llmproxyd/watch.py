"""When the watched files have changed and stand still: that, and nothing about what they say.

Two listeners wake us, watchfiles and our own inotify reader; what then counts is a look at the files. A change is
believed when nobody has a file open for writing any more; where the kernel cannot vouch for that (network file
systems, other systems, inotify used up), when two looks some time apart are equal. Where listening is impossible we
look once a second, and try to listen again. A look every five seconds catches whatever nobody told us.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Literal, Self, TypeAlias

import msgspec
import watchfiles

from llmproxyd.inotify import Ears, Inotify
from llmproxyd.survey import Places, Survey, places, survey
from llmproxyd.survey import bind_mounted as bind_mounted

QUIET_S = 0.03
CAP_S = 0.4  # from the first touch: someone who saves without pause is read all the same
POLL_S = 1.0
SAFETY_S = 5.0
RETRY_S = 5.0
UNVOUCHED_S = 0.25
# An editor that moves the old file away first, or a deployment that unpacks anew, leaves a short gap.
MISSING_S = 0.5
# A file that was just made or cut to nothing is about to be written; its writer may take a second to begin.
EMPTY_S = 1.5
STILL_OPEN_S = 10.0
# watchfiles looks into its queue this often. Beside our own reader, which is told at once, it may take its time.
LISTEN_MS = 10
LISTEN_BESIDE_MS = 50
_CLOSE_S = 2.0
_LOOK_TIMEOUT_S = 20.0
_ROUNDS = 3

Mode: TypeAlias = Literal["inotify", "polling"]


Listen: TypeAlias = Callable[..., AsyncIterator[set[tuple[watchfiles.Change, str]]]]
"""``watchfiles.awatch``, or what stands in for it."""


class _Candidate(msgspec.Struct):
    """A change that is not believed yet. ``told``: it was reported that its writer does not close the file."""

    survey: Survey = msgspec.field(default_factory=lambda: Survey({}))
    since_s: float = 0.0
    told: bool = False


class Watcher:
    """Watches absolute paths; ``.d`` directories among them stand for the YAML fragments they hold.

    ``on_mode(mode, why)`` is called whenever ``mode`` changes, ``on_still_open(paths)`` once when a change waits for
    a writer who does not close the file. Use as an async context manager; ``settled`` is for one caller at a time.
    """

    def __init__(
        self,
        paths: Iterable[str],
        *,
        on_mode: Callable[[Mode, str], None] = lambda mode, why: None,
        on_still_open: Callable[[tuple[str, ...]], None] = lambda paths: None,
        open_inotify: Callable[[], Inotify] = Inotify,
        listen: Listen = watchfiles.awatch,
    ) -> None:
        self._paths = tuple(dict.fromkeys(paths))
        self._on_mode = on_mode
        self._on_still_open = on_still_open
        self._open_inotify = open_inotify
        self._listen = listen
        self._seen = Survey({})
        self._places: Places = {}
        self._roots: frozenset[tuple[str, int, int]] = frozenset()
        self._ears: Ears | None = None
        self._ears_lost = ""
        self._listener: asyncio.Task[None] | None = None
        self._listener_lost = ""
        self._stop = asyncio.Event()
        self._looking: asyncio.Future[tuple[Survey, Places]] | None = None
        self._touched = asyncio.Event()
        self._first_s: float | None = None
        self._last_s = 0.0
        self._look_at_s = 0.0
        self._retry_at_s = 0.0
        self.mode: Mode = "inotify"

    async def __aenter__(self) -> Self:
        """Once inside, whatever happens is heard."""
        self._open_ears()
        await self._look()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop_listener()
        if self._looking is not None and not self._looking.done():
            await asyncio.wait({self._looking}, timeout=_CLOSE_S)
        self._close_ears()

    # --- what the reloader asks ---------------------------------------------------------------------------------

    def survey(self) -> Survey:
        """What is there now. Blocks: call it in a thread."""
        return survey(self._paths)

    def accept(self, seen: Survey, paths: Iterable[str]) -> None:
        """The files were loaded as ``seen`` (a look taken before reading); from now on watch ``paths``."""
        self._seen = seen
        self._look_at_s = 0.0
        known, self._paths = self._paths, tuple(dict.fromkeys(paths))
        if self._paths != known:
            self._touched.set()  # whoever waits in ``settled`` has to listen elsewhere as well

    def mark(self) -> int:
        """A moment, to ask ``torn`` about later."""
        if self._ears is None:
            return 0
        self._ears.listen()
        return self._ears.tears

    async def torn(self, mark: int, before: Survey) -> bool:
        """Whether what was read since ``mark`` may be half a file. ``before``: a look taken then."""
        ears = self._ears
        if ears is not None:
            ears.listen()
            if ears.tears != mark or ears.open_files():
                return True
            if ears.vouched:
                return False
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                return await asyncio.to_thread(self.survey) != before
        except TimeoutError:
            return True  # a file system that hangs vouches for nothing

    async def settled(self) -> tuple[str, ...]:
        """Wait until the files differ from what was accepted last and stand still; the paths that differ."""
        candidate = _Candidate()
        self._first_s = _now_s() if self._touched.is_set() else None
        while True:
            await self._wait_for_calm()
            self._touched.clear()
            started_s = _now_s()
            now = await self._look()
            changed = now.changed_since(self._seen)
            if not changed:
                self._rest()
                continue
            if now != candidate.survey:
                candidate = _Candidate(now, _now_s(), candidate.told)
            if self._waits_for_writer(candidate):
                continue
            doubt_s = self._doubt_s(now, changed)
            if not doubt_s or started_s >= candidate.since_s + doubt_s:
                return changed
            self._look_at_s = candidate.since_s + doubt_s

    # --- waiting and looking ------------------------------------------------------------------------------------

    def _doubt_s(self, now: Survey, changed: tuple[str, ...]) -> float:
        """How long a change has to stand still before it is believed."""
        stamps = [stamp for path in changed if (stamp := now.stamps.get(path))]
        vouched = self._ears is not None and self._ears.vouched
        return max(
            0.0 if vouched else UNVOUCHED_S,
            MISSING_S if any(stamp.missing for stamp in stamps) else 0.0,
            EMPTY_S if any(stamp.empty for stamp in stamps) else 0.0,
        )

    def _waits_for_writer(self, candidate: _Candidate) -> bool:
        open_files = self._ears.open_files() if self._ears is not None else ()
        if not open_files:
            return False
        self._look_at_s = _now_s() + SAFETY_S
        if not candidate.told and _now_s() - candidate.since_s > STILL_OPEN_S:
            candidate.told = True
            self._on_still_open(open_files)
        return True

    def _rest(self) -> None:
        """All is as it was accepted: the next touch is the first of something new."""
        if self._ears is not None and not self._touched.is_set():
            self._ears.doubt()
        self._first_s = None
        self._look_at_s = _now_s() + (SAFETY_S if self.mode == "inotify" else POLL_S)

    def _touch(self) -> None:
        self._last_s = _now_s()
        if self._first_s is None:
            self._first_s = self._last_s
        self._touched.set()

    async def _wait_for_calm(self) -> None:
        """Until a look is due, or something was touched and then left alone for a moment."""
        while not self._touched.is_set() and (left_s := self._look_at_s - _now_s()) > 0:
            await self._wait_for_touch(left_s)
        while self._touched.is_set() and (left_s := self._calm_at_s() - _now_s()) > 0:  # noqa: ASYNC110
            # Not an event: the moment to wait for moves on with every touch.
            await asyncio.sleep(left_s)

    def _calm_at_s(self) -> float:
        first_s = self._last_s if self._first_s is None else self._first_s
        return min(self._last_s + QUIET_S, first_s + CAP_S)

    async def _wait_for_touch(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._touched.wait()
        except TimeoutError:
            return

    async def _look(self) -> Survey:
        if self.mode == "polling" and _now_s() >= self._retry_at_s:
            self._repair()
        if self._looking is not None and not self._looking.done():
            await asyncio.wait({self._looking})  # whoever asked for it has left
        self._looking = asyncio.ensure_future(asyncio.to_thread(self._look_and_watch))
        try:
            now, self._places = await asyncio.shield(self._looking)
        except OSError as error:  # the kernel has no watch left
            self._close_ears()
            self._ears_lost = str(error)
            now, self._places = await asyncio.to_thread(self._look_and_watch)
        if self._ears is not None:
            self._ears.listen()
        await self._renew_listener()
        self._settle_mode()
        return now

    def _look_and_watch(self) -> tuple[Survey, Places]:
        """Listen first, then look, so that nothing happens in between unheard."""
        where = places(self._paths)
        for _ in range(_ROUNDS):
            if self._ears is None or not self._ears.watch(where):
                break
            where = places(self._paths)
        return self.survey(), where

    # --- listening ----------------------------------------------------------------------------------------------

    def _settle_mode(self) -> None:
        why = self._ears_lost or self._listener_lost
        mode: Mode = "polling" if why else "inotify"
        if mode == self.mode:
            return
        self.mode = mode
        self._look_at_s = 0.0
        self._retry_at_s = _now_s() + RETRY_S
        self._on_mode(mode, why)

    def _repair(self) -> None:
        self._retry_at_s = _now_s() + RETRY_S
        if self._ears_lost:
            self._open_ears()
        if self._listener is None or self._listener.done():
            self._roots = frozenset()  # so that the listener is started anew

    def _open_ears(self) -> None:
        try:
            source = self._open_inotify()
        except NotImplementedError:
            return  # another system: watchfiles has its own means there
        except OSError as error:
            self._ears_lost = str(error)
            return
        self._ears_lost = ""
        self._ears = Ears(source, self._touch)
        asyncio.get_running_loop().add_reader(source.fileno(), self._ears.listen)

    def _close_ears(self) -> None:
        if self._ears is None:
            return
        asyncio.get_running_loop().remove_reader(self._ears.fileno())
        self._ears.close()
        self._ears = None

    async def _renew_listener(self) -> None:
        """watchfiles watches a fixed set of directories: begin again when one was added or replaced."""
        roots = frozenset(_identities(self._places))
        if roots == self._roots:
            return
        await self._stop_listener()
        self._roots = roots
        if roots:
            self._stop = asyncio.Event()
            self._listener = asyncio.create_task(self._hear(sorted(root[0] for root in roots), self._stop))

    async def _hear(self, directories: list[str], stop: asyncio.Event) -> None:
        heard = self._listen(
            *directories,
            watch_filter=lambda _, path: self._matters(path),
            stop_event=stop,
            step=LISTEN_MS if self._ears is None else LISTEN_BESIDE_MS,
            debounce=50,
            recursive=False,
            rust_timeout=1_000,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        first = True
        try:
            async for changes in heard:
                self._listener_lost = ""
                if changes or first:  # what happened before it began to listen, it cannot tell
                    self._touch()
                first = False
        except FileNotFoundError:
            self._roots = frozenset()  # gone since we looked; the next look finds out
            self._touch()
        except Exception as error:  # noqa: BLE001 - whatever broke it, polling goes on, and says why
            self._listener_lost = str(error) or repr(error)
            self._touch()

    async def _stop_listener(self) -> None:
        if self._listener is None:
            return
        self._stop.set()
        _, hanging = await asyncio.wait({self._listener}, timeout=_CLOSE_S)
        for task in hanging:
            task.cancel()
        self._listener = None

    def _matters(self, path: str) -> bool:
        directory, name = os.path.split(path)
        names = self._places.get(directory, frozenset())
        return names is None or name in names


def _identities(directories: Iterable[str]) -> Iterable[tuple[str, int, int]]:
    """A directory that was replaced has the same path and another identity."""
    for directory in directories:
        try:
            status = os.stat(directory)
        except OSError:
            continue
        yield directory, status.st_dev, status.st_ino


def _now_s() -> float:
    return asyncio.get_running_loop().time()
