"""The watcher on real directories: every way of saving, twenty times, none missed and none read half."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import watchfiles
from watchfiles._rust_notify import WatchfilesRustInternalError

from llmproxyd import survey, watch
from llmproxyd.inotify import Inotify
from llmproxyd.watch import Watcher, bind_mounted

SAVES = 20
PATIENCE_S = 5.0


@dataclass
class Follower:
    """Does what the reloader does: waits, looks, reads, and keeps what it read."""

    watcher: Watcher
    files: tuple[Path, ...]
    read: list[tuple[str | None, ...]] = field(default_factory=list)
    modes: list[tuple[str, str]] = field(default_factory=list)
    torn: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    listening: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        async with self.watcher:
            self.listening.set()
            while True:
                await self.watcher.settled()
                mark = self.watcher.mark()
                before = await asyncio.to_thread(self.watcher.survey)
                texts = tuple(map(_text, self.files))
                if await self.watcher.torn(mark, before):
                    self.torn += 1
                    continue
                self.watcher.accept(before, _paths(self.files))
                self.read.append(texts)
                self.news.set()

    async def until(self, holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        async with asyncio.timeout(timeout_s):
            while not holds():
                self.news.clear()
                await self.news.wait()

    async def reads(self, text: str | None, *, file: int = 0, timeout_s: float = PATIENCE_S) -> None:
        try:
            await self.until(lambda: bool(self.read) and self.read[-1][file] == text, timeout_s)
        except TimeoutError:
            pytest.fail(f"never read {text!r}; the last was {self.read[-1:]}")

    @property
    def texts(self) -> set[str | None]:
        return {texts[0] for texts in self.read}


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _paths(files: tuple[Path, ...]) -> tuple[str, ...]:
    return (*map(str, files), str(files[0].parent / "providers.d"))


@asynccontextmanager
async def following(*files: Path, **options: Any) -> AsyncIterator[Follower]:
    """A follower that has read the files as they are and waits for what comes."""
    modes: list[tuple[str, str]] = []
    follower: Follower

    def note(mode: str, why: str) -> None:
        modes.append((mode, why))
        follower.news.set()

    watcher = Watcher(_paths(files), on_mode=note, **options)
    follower = Follower(watcher, files, [tuple(map(_text, files))], modes)
    watcher.accept(watcher.survey(), _paths(files))
    task = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await follower.listening.wait()
        yield follower
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    directory = tmp_path / "conf"
    directory.mkdir()
    (directory / "providers.yaml").write_text("start")
    return directory


# --- every way of saving ----------------------------------------------------------------------------------------


async def in_place(file: Path, text: str) -> None:
    file.write_text(text)


async def in_pieces(file: Path, text: str) -> None:
    with file.open("w") as out:
        for piece in (text[:3], text[3:6], text[6:]):
            out.write(piece)
            out.flush()
            await asyncio.sleep(0.035)


async def rename_over(file: Path, text: str) -> None:
    beside = file.with_suffix(".tmp")
    beside.write_text(text)
    beside.rename(file)


async def rename_away_and_create(file: Path, text: str) -> None:
    file.rename(file.with_name(file.name + "~"))
    file.write_text(text)


async def unlink_and_create(file: Path, text: str) -> None:
    file.unlink()
    file.write_text(text)


async def link_into_place(file: Path, text: str) -> None:
    beside = file.with_suffix(".tmp")
    beside.write_text(text)
    file.unlink()
    os.link(beside, file)
    beside.unlink()


async def shorten_by_path(file: Path, text: str) -> None:
    with file.open("r+") as out:
        out.write(text)
    os.truncate(file, len(text) + 1)
    with file.open("r+") as out:
        out.truncate(len(text))


async def keep_the_times(file: Path, text: str) -> None:
    """Same size, same times, another inode: what ``cp -p`` or ``rsync -t`` may do."""
    beside = file.with_suffix(".tmp")
    beside.write_text(text)
    os.utime(beside, ns=(1, 1))
    beside.rename(file)


SAVING = (
    in_place,
    in_pieces,
    rename_over,
    rename_away_and_create,
    unlink_and_create,
    shorten_by_path,
    keep_the_times,
)


@pytest.mark.parametrize("save", SAVING, ids=lambda save: save.__name__)
async def test_twenty_saves_are_all_seen_and_none_is_read_half(
    conf: Path, save: Callable[[Path, str], Awaitable[None]]
) -> None:
    texts = [f"version {number:02}" for number in range(SAVES)]
    async with following(conf / "providers.yaml") as follower:
        for text in texts:
            await save(conf / "providers.yaml", text)
            await follower.reads(text)
    assert follower.texts == {"start", *texts}
    assert follower.modes == []


async def test_a_file_that_is_linked_into_place_is_seen_although_nobody_closes_it(conf: Path) -> None:
    async with following(conf / "providers.yaml") as follower:
        for number in range(4):
            await link_into_place(conf / "providers.yaml", f"version {number}")
            await follower.reads(f"version {number}")


async def test_a_symbolic_link_that_is_swapped_is_followed(conf: Path, tmp_path: Path) -> None:
    link = conf / "routing.yaml"
    async with following(conf / "routing.yaml") as follower:
        for number in range(SAVES):
            target = tmp_path / f"target-{number}"
            target.write_text(f"version {number}")
            fresh = conf / "fresh"
            fresh.symlink_to(target)
            fresh.rename(link)
            await follower.reads(f"version {number}")


async def test_a_mounted_config_map_that_swaps_its_data_link_is_followed(conf: Path) -> None:
    def publish(number: int) -> None:
        release = conf / f"..release-{number}"
        release.mkdir()
        (release / "routing.yaml").write_text(f"version {number}")
        (conf / "..data_tmp").symlink_to(release.name)
        (conf / "..data_tmp").rename(conf / "..data")
        if number:
            shutil.rmtree(conf / f"..release-{number - 1}")

    publish(0)
    (conf / "routing.yaml").symlink_to("..data/routing.yaml")
    async with following(conf / "routing.yaml") as follower:
        for number in range(1, SAVES + 1):
            publish(number)
            await follower.reads(f"version {number}")
    assert None not in follower.texts


async def test_the_target_of_a_symbolic_link_is_watched_where_it_lies(conf: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    (elsewhere / "real.yaml").write_text("start")
    (conf / "routing.yaml").symlink_to("../elsewhere/deep/real.yaml")
    async with following(conf / "routing.yaml") as follower:
        for number in range(SAVES):
            save = rename_over if number % 2 else in_place
            await save(elsewhere / "real.yaml", f"version {number}")
            await follower.reads(f"version {number}")


async def test_a_directory_that_is_replaced_is_watched_again(conf: Path) -> None:
    async with following(conf / "providers.yaml") as follower:
        for number in range(SAVES // 2):
            fresh = conf.with_name("fresh")
            fresh.mkdir()
            (fresh / "providers.yaml").write_text(f"moved in {number}")
            conf.rename(conf.with_name(f"old-{number}"))
            fresh.rename(conf)
            await follower.reads(f"moved in {number}")
            await in_place(conf / "providers.yaml", f"edited {number}")
            await follower.reads(f"edited {number}")


async def test_a_directory_that_is_deleted_is_reported_and_watched_again_when_it_is_back(conf: Path) -> None:
    async with following(conf / "providers.yaml") as follower:
        shutil.rmtree(conf)
        await follower.reads(None)
        conf.mkdir()
        (conf / "providers.yaml").write_text("back")
        await follower.reads("back")
        await in_place(conf / "providers.yaml", "edited")
        await follower.reads("edited")


async def test_a_directory_reached_through_a_link_that_is_swapped_is_followed(tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "providers.yaml").write_text(release)
    (tmp_path / "current").symlink_to("one")
    async with following(tmp_path / "current" / "providers.yaml") as follower:
        await follower.reads("one")
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "current")
        await follower.reads("two")


async def test_fragments_that_come_change_and_go_are_seen(conf: Path) -> None:
    fragments = conf / "providers.d"
    async with following(conf / "providers.yaml") as follower:

        async def seen(action: Callable[[], object]) -> None:
            known = len(follower.read)
            action()
            await follower.until(lambda: len(follower.read) > known)

        fragments.mkdir()
        await seen(lambda: (fragments / "10-lab.yaml").write_text("one"))
        await seen(lambda: (fragments / "10-lab.yaml").write_text("two"))
        await seen((fragments / "10-lab.yaml").unlink)


# --- half files -------------------------------------------------------------------------------------------------


async def test_slow_pieces_are_not_read_before_the_writer_closes(tmp_path: Path) -> None:
    async def write(gap_s: float, anew: bool) -> None:
        file = tmp_path / f"{gap_s}-{anew}" / "providers.yaml"
        file.parent.mkdir()
        file.write_text("start")
        async with following(file) as follower:
            if anew:
                file.unlink()
            with file.open("w") as out:
                for piece in ("first ", "second"):
                    await asyncio.sleep(gap_s)
                    out.write(piece)
                    out.flush()
            await follower.reads("first second")
        assert follower.texts == {"start", "first second"}

    await asyncio.gather(*(write(gap_s, anew) for gap_s in (0.1, 0.3, 1.0) for anew in (False, True)))


async def test_one_file_that_is_open_holds_back_the_other(conf: Path) -> None:
    one, other = conf / "providers.yaml", conf / "routing.yaml"
    other.write_text("start")
    async with following(one, other) as follower:
        with one.open("w") as out:
            out.write("half")
            out.flush()
            await rename_over(other, "whole")
            await asyncio.sleep(0.5)
            out.write(" done")
        await follower.reads("half done")
    assert follower.read == [("start", "start"), ("half done", "whole")]


async def test_a_read_that_a_writer_tore_is_known_as_torn(conf: Path) -> None:
    file = conf / "providers.yaml"
    watcher = Watcher([str(file)])
    async with watcher:
        await watcher.settled()
        seen = watcher.survey()
        mark = watcher.mark()
        assert not await watcher.torn(mark, seen)
        file.write_text("whole again")
        assert await watcher.torn(mark, seen)
        assert not await watcher.torn(watcher.mark(), watcher.survey())


async def test_a_writer_that_never_closes_is_reported_once(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "STILL_OPEN_S", 0.05)
    monkeypatch.setattr(watch, "SAFETY_S", 0.05)
    reports: list[tuple[str, ...]] = []
    told = asyncio.Event()

    def report(paths: tuple[str, ...]) -> None:
        reports.append(paths)
        told.set()

    file = conf / "providers.yaml"
    async with following(file, on_still_open=report) as follower:
        with file.open("w") as out:
            out.write("half")
            out.flush()
            async with asyncio.timeout(PATIENCE_S):
                await told.wait()
            out.write(", whole")
        await follower.reads("half, whole")
    assert reports == [(str(file),)]


async def test_a_file_cut_to_nothing_is_given_time_and_then_reported(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "EMPTY_S", 0.4)
    file = conf / "providers.yaml"
    loop = asyncio.get_running_loop()
    async with following(file) as follower:
        started_s = loop.time()
        file.write_text("")
        await follower.reads("")
        assert loop.time() - started_s >= watch.EMPTY_S


# --- storms and silence -----------------------------------------------------------------------------------------


async def test_a_storm_of_saves_is_read_a_few_times_and_the_last_one_wins(tmp_path: Path) -> None:
    saves = 75

    async def storm(save: Callable[[Path, str], Awaitable[None]]) -> None:
        file = tmp_path / save.__name__ / "providers.yaml"
        file.parent.mkdir()
        file.write_text("start")
        async with following(file) as follower:
            now_s = asyncio.get_running_loop().time
            saved_s = [now_s()]
            for number in range(saves):  # 50 a second
                await save(file, f"version {number}")
                await asyncio.sleep(0.02)
                saved_s.append(now_s())
            await save(file, "last")
            await follower.reads("last", timeout_s=1.0)
            took_s = now_s() - saved_s[0]
        # A machine that is busy elsewhere makes the storm pause, and in a pause there is a reading.
        lulls = sum(later - sooner > 0.8 * watch.QUIET_S for sooner, later in pairwise(saved_s))
        # A reading every 400 ms at most, the one at the start, and one or two when it is over.
        assert len(follower.read) + follower.torn <= 3 + lulls + took_s / watch.CAP_S
        assert all(text and text.startswith(("version", "last", "start")) for text in follower.texts)

    await asyncio.gather(storm(in_place), storm(rename_over))


async def test_foreign_files_in_the_directory_cause_no_reading(conf: Path) -> None:
    async with following(conf / "providers.yaml") as follower:
        for number in range(2_000):
            (conf / f"foreign-{number}").touch()
        await in_place(conf / "providers.yaml", "after")
        await follower.reads("after")
    assert len(follower.read) == 2


async def test_a_watcher_at_rest_looks_only_for_safety(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    real = survey.survey

    def counted(paths: Any) -> Any:
        nonlocal looks
        looks += 1
        return real(paths)

    async with following(conf / "providers.yaml"):
        await asyncio.sleep(1.2)  # the listener reports its start within a second
        monkeypatch.setattr(watch, "survey", counted)
        await asyncio.sleep(1.0)
    assert looks <= 1


async def test_a_change_nobody_told_of_is_found_by_the_safety_look(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system, where others write."""
    monkeypatch.setattr(watch, "SAFETY_S", 0.1)
    file = conf / "providers.yaml"
    async with following(file, open_inotify=_deaf, listen=_silent) as follower:
        await in_place(file, "from afar")
        await follower.reads("from afar")
    assert follower.modes == []


def _deaf() -> Inotify:
    class Deaf(Inotify):
        def read(self) -> list[Any]:
            super().read()
            return []

    return Deaf()


async def _silent(
    *_: str, stop_event: asyncio.Event, **__: Any
) -> AsyncIterator[set[tuple[watchfiles.Change, str]]]:
    while not stop_event.is_set():
        await stop_event.wait()
        yield set()


# --- inotify used up --------------------------------------------------------------------------------------------


def _used_up() -> Inotify:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_two_saves_within_one_second_are_seen_by_polling(conf: Path) -> None:
    file = conf / "providers.yaml"
    async with following(file, open_inotify=_used_up, listen=_silent) as follower:
        assert follower.watcher.mode == "polling"
        await in_place(file, "save 1")
        await follower.reads("save 1")
        at_ns = file.stat().st_mtime_ns
        await in_place(file, "save 2")
        os.utime(file, ns=(at_ns, at_ns))  # a file system that counts whole seconds
        await follower.reads("save 2")
    assert follower.modes == [("polling", "[Errno 24] Too many open files")]


async def test_polling_does_not_believe_pieces(conf: Path) -> None:
    file = conf / "providers.yaml"
    async with following(file, open_inotify=_used_up, listen=_silent) as follower:
        with file.open("w") as out:
            for number in range(12):
                out.write(f"piece {number},")
                out.flush()
                await asyncio.sleep(0.1)
        whole = file.read_text()
        await follower.reads(whole)
    assert follower.texts == {"start", whole}


async def test_inotify_comes_back_by_itself(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RETRY_S", 0.1)
    monkeypatch.setattr(watch, "POLL_S", 0.1)
    exhausted = True

    def opened() -> Inotify:
        return _used_up() if exhausted else Inotify()

    async with following(conf / "providers.yaml", open_inotify=opened) as follower:
        assert follower.watcher.mode == "polling"
        exhausted = False
        await follower.until(lambda: follower.watcher.mode == "inotify")
        await in_pieces(conf / "providers.yaml", "heard again")
        await follower.reads("heard again")
    assert [mode for mode, _ in follower.modes] == ["polling", "inotify"]
    assert "heard again"[:3] not in follower.texts


async def test_a_listener_that_breaks_is_replaced(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RETRY_S", 0.1)
    monkeypatch.setattr(watch, "POLL_S", 0.1)
    calls = 0

    def breaks_once(*paths: str, **options: Any) -> AsyncIterator[set[tuple[watchfiles.Change, str]]]:
        nonlocal calls
        calls += 1
        return _broken() if calls == 1 else watchfiles.awatch(*paths, **options)

    async with following(conf / "providers.yaml", listen=breaks_once) as follower:
        await follower.until(lambda: len(follower.modes) == 2)
        assert follower.modes[0] == ("polling", "no more watches")
        assert follower.watcher.mode == "inotify"


async def _broken() -> AsyncIterator[set[tuple[watchfiles.Change, str]]]:
    for why in ("no more watches",):
        raise WatchfilesRustInternalError(why)
    yield set()


EXHAUSTED = """
    import asyncio, ctypes, errno, os, sys
    from pathlib import Path

    CLONE_NEWUSER = 0x10000000
    uid = os.getuid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER):
        sys.exit(77)
    limit = Path("/proc/sys/user/max_inotify_instances")
    try:
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        limit.write_text("0")
    except OSError:
        sys.exit(77)

    from llmproxyd import survey, watch

    async def main() -> None:
        watch.RETRY_S = 0.5
        loop, file = asyncio.get_running_loop(), Path(sys.argv[1])
        modes, changed = [], asyncio.Event()

        def note(mode, why):
            modes.append((mode, why))
            changed.set()

        watcher = watch.Watcher([str(file)], on_mode=note)
        watcher.accept(watcher.survey(), [str(file)])
        async with watcher, asyncio.timeout(15):
            started_s = loop.time()
            file.write_text("saved while inotify is used up")
            await watcher.settled()
            assert loop.time() - started_s <= 2.0
            assert modes == [("polling", "[Errno 24] Too many open files: 'inotify_init1'")], modes
            watcher.accept(watcher.survey(), [str(file)])
            limit.write_text("100")
            waiting = asyncio.create_task(watcher.settled())
            while len(modes) < 2:
                changed.clear()
                await changed.wait()
            assert modes[1] == ("inotify", ""), modes
            file.write_text("saved when it is back")
            await waiting

    asyncio.run(main())
"""


def test_a_kernel_that_has_no_inotify_instance_left_is_survived(conf: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EXHAUSTED), str(conf / "providers.yaml")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip(
            "this kernel lets no user namespace be made, so its limit cannot be lowered for one process"
        )
    assert done.returncode == 0, done.stderr


# --- bind mounts ------------------------------------------------------------------------------------------------


def test_a_single_file_that_is_a_mount_is_recognised(tmp_path: Path) -> None:
    file = tmp_path / "two words.yaml"
    file.write_text("")
    escaped = str(file).replace(" ", "\\040")
    table = tmp_path / "mountinfo"
    table.write_text(
        f"22 1 0:21 / / rw - ext4 /dev/vda rw\n"
        f"36 22 0:21 /conf {escaped} rw,relatime - ext4 /dev/vda rw\n"
        f"37 22 0:21 /conf {tmp_path} rw - ext4 /dev/vda rw\n"
    )
    assert bind_mounted(file, table)
    assert not bind_mounted(tmp_path, table)
    assert not bind_mounted(tmp_path / "absent.yaml", table)
    assert not bind_mounted(file, tmp_path / "no-such-table")
    assert not bind_mounted(file)
