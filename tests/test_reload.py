"""Reloading, on real files that hold a toy language: what comes into force, what does not, and who is told what.

providers.yaml lists names; routing.yaml says ``use NAME`` and ``file PATH``, one a line. ``broken`` is a fault.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import os
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd import reload, watch
from llmproxyd.config import load as config
from llmproxyd.config.load import Files, Loaded
from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.in_force import HISTORY, check_token
from llmproxyd.inotify import Inotify
from llmproxyd.reload import Generation, InForce, Reloader, ReloadVerdict
from llmproxyd.routing.compile import compile_routes
from llmproxyd.values.contracts import Listed
from llmproxyd.values.snapshot import Snapshot

PATIENCE_S = 5.0
NAMES = ("providers.yaml", "routing.yaml")


# --- the toy language -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToyFiles:
    texts: Mapping[str, str | None]
    paths: tuple[Path, ...]


def _error(code: str, file: str, message: str) -> Problem:
    return Problem(code, Severity.ERROR, message, Span(file, 1, 1, 2))


def _faults(texts: Mapping[str, str | None]) -> Iterator[Problem]:
    for name in NAMES:
        text = texts[name]
        if text is None:
            yield _error("LP002", name, "cannot be read")
        elif not text:
            yield _error("LP006", name, "the file is empty")
        elif "broken" in text:
            yield _error("LP001", name, "not YAML")
    known = (texts["providers.yaml"] or "").split()
    for name in re.findall(r"use (\S+)", texts["routing.yaml"] or ""):
        if name not in known:
            yield _error("LP201", "routing.yaml", f"there is no provider `{name}`")


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def compile_files(
    files: Files, *, environ: Mapping[str, str], discovered: Mapping[str, tuple[Listed, ...]]
) -> Loaded:
    texts = cast(ToyFiles, files).texts
    problems = tuple(_faults(texts))
    if problems:
        return Loaded(None, problems, files)
    watched = tuple(re.findall(r"file (\S+)", texts["routing.yaml"] or ""))
    meaning = repr((sorted(texts.items()), sorted(discovered), [_text(Path(path)) for path in watched]))
    snapshot = Snapshot(
        hash=hashlib.sha256(meaning.encode()).hexdigest(),
        providers={},
        deployments=(),
        names={},
        rules=(),
        default_provider=texts["providers.yaml"],
        watched=watched,
    )
    return Loaded(snapshot, (), files)


def load_files(
    config_dir: Path, *, environ: Mapping[str, str], discovered: Mapping[str, tuple[Listed, ...]]
) -> Loaded:
    texts = {name: _text(config_dir / name) for name in NAMES}
    files = cast(Files, ToyFiles(texts, tuple(config_dir / name for name in NAMES)))
    return compile_files(files, environ=environ, discovered=discovered)


# --- the rig ----------------------------------------------------------------------------------------------------


@dataclass
class State:
    listed: dict[str, tuple[Listed, ...]] = field(default_factory=dict)
    reconciled: list[str] = field(default_factory=list)

    def discovered(self) -> Mapping[str, tuple[Listed, ...]]:
        return dict(self.listed)

    def reconcile(self, snapshot: Snapshot, now_s: float) -> None:
        self.reconciled.append(snapshot.hash)


class Rig:
    """A reloader on a directory, and everything it said."""

    def __init__(self, conf: Path, **options: Any) -> None:
        self.conf = conf
        self.in_force = InForce()
        self.state = State()
        self.verdicts: list[ReloadVerdict] = []
        self.hooks: list[str] = []
        self.loads = 0
        self.news = asyncio.Event()
        self._load: Callable[..., Loaded] = options.pop("load_files", load_files)
        self.reloader = Reloader(
            conf,
            environ={},
            in_force=self.in_force,
            registry=self.state,
            load_files=self._count,
            compile_files=options.pop("compile_files", compile_files),
            compile_routes=compile_routes,
            on_change=(*options.pop("on_change", ()), self._told),
            on_begin=lambda: self.hooks.append("begin"),
            on_end=self.hooks.append,
            **options,
        )

    def _count(self, config_dir: Path, **how: Any) -> Loaded:
        self.loads += 1
        return self._load(config_dir, **how)

    def _told(self, verdict: ReloadVerdict) -> None:
        self.verdicts.append(verdict)
        self.news.set()

    def save(self, *, providers: str | None = None, routing: str | None = None) -> None:
        for name, text in zip(NAMES, (providers, routing), strict=True):
            if text is not None:
                (self.conf / f".{name}").write_text(text)
                (self.conf / f".{name}").rename(self.conf / name)

    async def until(self, holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            pytest.fail(f"waited in vain; so far: {self.results} and {self.in_force.status_line}")

    @property
    def results(self) -> list[str]:
        return [verdict.result for verdict in self.verdicts]

    @property
    def providers(self) -> str | None:
        """The text of providers.yaml that is in force."""
        return self.in_force.current.snapshot.default_provider


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    directory = tmp_path / "conf"
    directory.mkdir()
    (directory / "providers.yaml").write_text("a")
    (directory / "routing.yaml").write_text("use a")
    return directory


@pytest.fixture
async def rig(conf: Path) -> AsyncIterator[Rig]:
    one = Rig(conf)
    await one.reloader.reload("start")
    yield one
    await one.reloader.close()


@asynccontextmanager
async def watching(rig: Rig) -> AsyncIterator[Rig]:
    """Started, and watching until the end of the block."""
    if not rig.in_force.number:
        await rig.reloader.reload("start")
    task = asyncio.create_task(rig.reloader.run())
    try:
        yield rig
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait({task})
        await rig.reloader.close()


# --- one reload -------------------------------------------------------------------------------------------------


async def test_before_the_first_load_nothing_is_in_force(conf: Path) -> None:
    in_force = Rig(conf).in_force
    assert (in_force.number, in_force.hash) == (0, "")
    with pytest.raises(LookupError, match="no configuration is in force"):
        _ = in_force.current
    with pytest.raises(LookupError, match="nothing has been loaded"):
        _ = in_force.last


async def test_the_first_load_is_generation_one_and_announced_by_others(rig: Rig) -> None:
    assert rig.in_force.number == 1
    assert rig.results == ["applied"]
    assert rig.in_force.last is rig.verdicts[0]
    assert rig.in_force.status_line == "gen 1 ok"
    assert rig.state.reconciled == [rig.in_force.hash]
    assert rig.hooks == []


async def test_a_change_is_a_new_generation(rig: Rig) -> None:
    before = rig.in_force.current
    rig.save(providers="a b")
    verdict = await rig.reloader.reload("admin", "deploy-42")
    assert (verdict.result, verdict.generation) == ("applied", 2)
    assert (verdict.token, verdict.trigger) == ("deploy-42", "admin")
    assert rig.providers == "a b"
    assert before.snapshot.default_provider == "a"
    assert rig.hooks == ["begin", "gen 2 ok"]
    assert rig.in_force.counters == {("applied", "start"): 1, ("applied", "admin"): 1}


async def test_files_that_mean_the_same_are_no_new_generation(rig: Rig) -> None:
    before = rig.in_force.current
    os.utime(rig.conf / "routing.yaml")
    verdict = await rig.reloader.reload("sighup")
    assert (verdict.result, verdict.generation) == ("noop", 1)
    assert rig.in_force.current is before
    assert len(rig.state.reconciled) == 1


async def test_refused_files_change_nothing_and_say_what_is_wrong(rig: Rig) -> None:
    before = rig.in_force.current
    rig.save(routing="use a\nuse z")
    verdict = await rig.reloader.reload("admin")
    assert verdict.result == "rejected"
    assert [problem.code for problem in verdict.problems] == ["LP201"]
    assert rig.in_force.current is before
    assert rig.in_force.rejected is rig.verdicts[-1]
    assert rig.in_force.status_line == "gen 1 kept: routing.yaml:1:1 LP201 there is no provider `z`"
    assert rig.hooks[-1] == rig.in_force.status_line
    assert len(rig.state.reconciled) == 1


async def test_times_are_those_of_the_clocks_given(conf: Path) -> None:
    ticks = iter(range(100, 200, 3))
    one = Rig(conf, clock=lambda: float(next(ticks)), wall_clock=lambda: 1_700_000_000.0)
    verdict = await one.reloader.reload("start")
    assert verdict.duration_s == 6.0
    assert verdict.at_s == one.in_force.current.since_s == one.in_force.accepted_s == 1_700_000_000.0


@given(st.text(max_size=80))
def test_a_token_is_kept_as_it_is_or_refused(token: str) -> None:
    fits = 1 <= len(token) <= 64 and all(c.isascii() and (c.isalnum() or c in "._-") for c in token)
    if fits:
        assert check_token(token) == token
    else:
        with pytest.raises(ValueError, match="reload token"):
            check_token(token)


async def test_tokens_and_triggers_that_do_not_fit_cause_no_reload(rig: Rig) -> None:
    with pytest.raises(ValueError, match="reload token"):
        await rig.reloader.reload("admin", "two words")
    with pytest.raises(ValueError, match="trigger"):
        await rig.reloader.reload("Who knows")
    assert rig.loads == 1


async def test_made_up_tokens_differ(rig: Rig) -> None:
    one, other = await rig.reloader.reload("admin"), await rig.reloader.reload("admin")
    assert check_token(one.token) != check_token(other.token)


# --- trouble ----------------------------------------------------------------------------------------------------


async def test_who_is_told_cannot_undo_the_swap(conf: Path) -> None:
    seen: list[int] = []

    def stumble(verdict: ReloadVerdict) -> None:
        seen.append(one.in_force.number)
        raise RuntimeError("stumbled")

    one = Rig(conf, on_change=(stumble,))
    await one.reloader.reload("start")
    assert seen == [1]
    assert one.results == ["applied"]


async def test_state_that_cannot_follow_keeps_the_old_generation(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(snapshot: Snapshot) -> None:
        raise KeyError("secret value")

    before = rig.in_force.current
    monkeypatch.setattr(rig.state, "reconcile", fail)
    rig.save(providers="a b")
    verdict = await rig.reloader.reload("admin")
    assert verdict.result == "rejected"
    assert "this is a bug" in verdict.problems[0].message
    assert "secret value" not in repr(verdict)
    assert rig.in_force.current is before


async def test_a_fault_of_ours_is_a_refusal_and_the_watching_goes_on(conf: Path) -> None:
    def stumbling(config_dir: Path, **how: Any) -> Loaded:
        if _text(config_dir / "providers.yaml") == "odd":
            raise ZeroDivisionError
        return load_files(config_dir, **how)

    async with watching(Rig(conf, load_files=stumbling)) as rig:
        rig.save(providers="odd")
        await rig.until(lambda: rig.in_force.rejected is not None)
        assert "(ZeroDivisionError); this is a bug" in rig.in_force.status_line
        rig.save(providers="a b")
        await rig.until(lambda: rig.providers == "a b")
        assert rig.in_force.rejected is None


async def test_a_reading_that_does_not_come_back_is_reported_and_not_repeated(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "LOAD_TIMEOUT_S", 0.05)
    stuck, release = threading.Event(), threading.Event()

    def slow(config_dir: Path, **how: Any) -> Loaded:
        if stuck.is_set():
            release.wait(PATIENCE_S)
        return load_files(config_dir, **how)

    one = Rig(conf, load_files=slow)
    await one.reloader.reload("start")
    stuck.set()
    try:
        first, second = await one.reloader.reload("admin"), await one.reloader.reload("admin")
    finally:
        release.set()
    assert first.problems[0].message == "reading the files took longer than 0.05 s"
    assert second.problems[0].message == "an earlier reading of the files has not come back yet"
    assert one.loads == 2
    stuck.clear()
    monkeypatch.setattr(reload, "LOAD_TIMEOUT_S", PATIENCE_S)
    assert one.reloader._hanging is not None
    await asyncio.wait({one.reloader._hanging})
    assert (await one.reloader.reload("admin")).result == "noop"


# --- many at once -----------------------------------------------------------------------------------------------


async def test_requests_during_a_reload_share_one_more_that_includes_their_saves(conf: Path) -> None:
    reading, go_on = threading.Event(), threading.Event()
    go_on.set()

    def held(config_dir: Path, **how: Any) -> Loaded:
        loaded = load_files(config_dir, **how)
        reading.set()
        assert go_on.wait(PATIENCE_S)
        return loaded

    one = Rig(conf, load_files=held)
    await one.reloader.reload("start")
    go_on.clear()
    reading.clear()
    one.save(providers="a first")
    first = asyncio.create_task(one.reloader.reload("admin", "first"))
    await asyncio.to_thread(reading.wait, PATIENCE_S)

    later = []
    for number in range(50):
        one.save(providers=f"a {number}")
        later.append(asyncio.create_task(one.reloader.reload("admin", f"t-{number}")))
        await asyncio.sleep(0)
    later[7].cancel()  # one caller leaves; the others must not notice
    await asyncio.sleep(0)
    go_on.set()

    assert (await first).generation == 2
    verdicts = await asyncio.gather(*later, return_exceptions=True)
    assert isinstance(verdicts.pop(7), asyncio.CancelledError)
    assert all(isinstance(v, ReloadVerdict) and (v.result, v.generation) == ("applied", 3) for v in verdicts)
    assert {v.token for v in verdicts if isinstance(v, ReloadVerdict)} == {
        f"t-{number}" for number in range(50) if number != 7
    }
    assert one.providers == "a 49"
    assert one.loads == 3
    assert len(one.in_force.history) == 3


async def test_fifty_concurrent_saves_and_reloads_each_get_a_verdict_with_their_save(rig: Rig) -> None:
    saved: dict[int, int] = {}

    async def save_and_reload(number: int) -> None:
        (rig.conf / "providers.yaml").write_text(f"a {number}")
        order = len(saved)
        saved[number] = order
        verdict = await rig.reloader.reload("admin")
        assert verdict.accepted
        assert saved[int((rig.providers or "").split()[1])] >= order

    await asyncio.gather(*(save_and_reload(number) for number in range(50)))
    assert rig.loads <= 4


async def test_the_history_has_an_end(rig: Rig) -> None:
    for _ in range(HISTORY + 5):
        await rig.reloader.reload("admin")
    assert len(rig.in_force.history) == HISTORY
    assert rig.in_force.counters["noop", "admin"] == HISTORY + 5


async def test_old_generations_are_not_kept(rig: Rig) -> None:
    old: list[weakref.ref[Generation]] = []
    for number in range(200):
        old.append(weakref.ref(rig.in_force.current))
        rig.save(providers=f"a {number}")
        assert (await rig.reloader.reload("admin")).result == "applied"
    gc.collect()
    assert [ref for ref in old if ref() is not None] == []
    assert len(rig.reloader._rounds) == 0


# --- watching ---------------------------------------------------------------------------------------------------


async def test_a_save_is_applied_by_itself(rig: Rig) -> None:
    async with watching(rig):
        for number in range(5):
            rig.save(providers=f"a {number}")
            await rig.until(lambda: len(rig.verdicts) == number + 2)  # noqa: B023 - awaited at once
            assert rig.providers == f"a {number}"
    assert rig.results == ["applied"] * 6
    assert {verdict.trigger for verdict in rig.verdicts[1:]} == {"watch"}


async def test_a_save_before_the_watching_began_is_not_lost(rig: Rig) -> None:
    rig.save(providers="a early")
    async with watching(rig):
        await rig.until(lambda: rig.providers == "a early")


async def test_a_reload_by_hand_leaves_the_watcher_nothing_to_do(rig: Rig) -> None:
    async with watching(rig):
        rig.save(providers="a b")
        await rig.reloader.reload("sighup")
        rig.save(providers="a b c")
        await rig.until(lambda: rig.providers == "a b c")
    assert [verdict.trigger for verdict in rig.verdicts] == ["start", "sighup", "watch"]


@contextmanager
def _as_nobody(conf: Path) -> Iterator[None]:
    """Root reads what it has no right to read; so be someone else for a while."""
    if os.geteuid() != 0:
        yield
        return
    for path in (conf, *conf.iterdir()):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory below one that everybody may enter."""
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    directory = base / "conf"
    directory.mkdir()
    (directory / "providers.yaml").write_text("a")
    (directory / "routing.yaml").write_text("use a")
    yield directory
    shutil.rmtree(base)


async def test_every_way_out_of_a_refusal_is_seen(public: Path) -> None:
    with _as_nobody(public):
        async with watching(Rig(public)) as rig:
            routing = public / "routing.yaml"

            async def refused(code: str) -> None:
                await rig.until(lambda: code in rig.in_force.status_line)
                assert rig.in_force.rejected is not None

            async def fine(result: str) -> None:
                await rig.until(lambda: rig.in_force.rejected is None, 2.0)
                assert rig.in_force.last.result == result

            rig.save(routing="broken")
            await refused("LP001")
            rig.save(routing="use a # mended")
            await fine("applied")

            rig.save(routing="broken")
            await refused("LP001")
            rig.save(routing="use a # mended")  # the old bytes
            await fine("noop")

            text = routing.read_text()
            routing.unlink()
            await refused("LP002")
            routing.write_text(text)
            await fine("noop")

            routing.chmod(0)
            await refused("LP002")
            routing.chmod(0o644)
            await fine("noop")

            routing.write_text("")
            await refused("LP006")
            routing.write_text("use a # again")
            await fine("applied")
    assert rig.in_force.number == 3


async def test_what_a_reload_came_to_refer_to_is_watched(rig: Rig, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("old")
    async with watching(rig):
        rig.save(routing=f"use a\nfile {key}")
        await rig.until(lambda: rig.in_force.number == 2)
        key.write_text("new")
        await rig.until(lambda: rig.in_force.number == 3)
        rig.save(routing=f"broken\nfile {key}")
        await rig.until(lambda: rig.in_force.rejected is not None)
        key.write_text("newer")
        loads = rig.loads
        await rig.until(lambda: rig.loads > loads and len(rig.verdicts) > 4)


async def test_what_was_read_while_somebody_wrote_is_not_believed(conf: Path) -> None:
    """The writer begins after the watcher had found all calm, and is half done when the file is read."""
    file = conf / "providers.yaml"
    writers: list[Any] = []
    halves: list[str | None] = []

    def torn(config_dir: Path, **how: Any) -> Loaded:
        if _text(file) == "a tear":
            out = file.open("w")
            out.write("a half ")
            out.flush()
            writers.append(out)
        loaded = load_files(config_dir, **how)
        halves.append(_text(file))
        return loaded

    async with watching(Rig(conf, load_files=torn)) as rig:
        rig.save(providers="a tear")
        while not writers or "gen" not in rig.hooks[-1]:
            await asyncio.sleep(0.01)
        writers[0].write("whole")
        writers[0].close()
        await rig.until(lambda: rig.providers == "a half whole")
    assert "a half " in halves
    assert rig.results == ["applied", "applied"]
    assert rig.hooks == ["begin", "gen 1 ok", "begin", "gen 2 ok"]


async def test_where_inotify_is_used_up_files_are_polled_and_that_is_said(conf: Path) -> None:
    def used_up() -> Inotify:
        raise OSError(errno.EMFILE, "no instance left")

    async with watching(Rig(conf, open_inotify=used_up)) as rig:
        rig.save(providers="a b")
        await rig.until(lambda: rig.providers == "a b")
        assert rig.in_force.watch_mode == "polling"
        assert "no instance left" in rig.in_force.watch_why


# --- two files that belong together -----------------------------------------------------------------------------


async def test_a_name_that_is_changed_in_both_files_is_one_generation(tmp_path: Path) -> None:
    async def rename(gap_s: float, providers_first: bool) -> None:
        conf = tmp_path / f"{gap_s}-{providers_first}"
        conf.mkdir()
        (conf / "providers.yaml").write_text("a")
        (conf / "routing.yaml").write_text("use a")
        async with watching(Rig(conf)) as rig:
            saves: list[dict[str, str]] = [{"providers": "b"}, {"routing": "use b"}]
            one, other = saves if providers_first else reversed(saves)
            rig.save(**one)
            await asyncio.sleep(gap_s)
            rig.save(**other)
            await rig.until(lambda: rig.in_force.number == 2)
        assert rig.results == ["applied", "applied"]

    await asyncio.gather(*(rename(gap_s, first) for gap_s in (0.05, 0.5, 1.5) for first in (True, False)))


async def test_a_pair_that_stays_at_odds_is_reported_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "PAIR_GRACE_S", 0.3)
    loop = asyncio.get_running_loop()
    async with watching(rig):
        started_s = loop.time()
        rig.save(providers="b")
        await rig.until(lambda: rig.in_force.rejected is not None)
        assert loop.time() - started_s >= 0.3
        rig.save(routing="use b")
        await rig.until(lambda: rig.in_force.rejected is None)
    assert rig.results == ["applied", "rejected", "applied"]


async def test_other_faults_are_reported_without_delay(rig: Rig) -> None:
    async with watching(rig):
        rig.save(providers="b broken")
        await rig.until(lambda: rig.in_force.rejected is not None, reload.PAIR_GRACE_S)


async def test_who_asks_is_answered_at_once_and_the_watcher_does_not_repeat_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "PAIR_GRACE_S", 0.4)
    async with watching(rig):
        rig.save(providers="b")
        while rig.loads < 2:  # the watcher has read it and waits for the other file
            await asyncio.sleep(0.01)
        assert (await rig.reloader.reload("admin")).result == "rejected"
        await asyncio.sleep(0.6)
    assert rig.results == ["applied", "rejected"]


# --- what servers list ------------------------------------------------------------------------------------------


async def test_what_servers_list_is_compiled_into_the_last_good_files(rig: Rig) -> None:
    rig.save(routing="broken")
    await rig.reloader.reload("admin")
    refused = rig.in_force.rejected
    rig.state.listed = {"ollama": (Listed("llama3"),)}
    verdict = await rig.reloader.rediscover()
    assert verdict is not None
    assert (verdict.result, verdict.trigger, verdict.generation) == ("applied", "discovery", 2)
    assert rig.in_force.rejected is refused
    assert rig.verdicts[-1] is verdict
    assert "gen 2 kept" in rig.in_force.status_line


async def test_a_list_that_says_nothing_new_leaves_no_trace(rig: Rig) -> None:
    verdict = await rig.reloader.rediscover()
    assert verdict is not None
    assert verdict.result == "noop"
    assert rig.results == ["applied"]
    assert rig.loads == 1


async def test_before_there_are_good_files_nothing_is_rediscovered(conf: Path) -> None:
    (conf / "routing.yaml").write_text("broken")
    one = Rig(conf)
    assert not (await one.reloader.reload("start")).accepted
    assert await one.reloader.rediscover() is None
    assert one.in_force.status_line == "gen 0 kept: routing.yaml:1:1 LP001 not YAML"


async def test_a_reload_knows_what_was_listed(rig: Rig) -> None:
    rig.state.listed = {"ollama": (Listed("llama3"),)}
    assert (await rig.reloader.reload("admin")).result == "applied"
    assert (await rig.reloader.reload("admin")).result == "noop"


# --- the real language ------------------------------------------------------------------------------------------


async def test_the_real_files_and_a_key_they_refer_to_are_followed(conf: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("one")
    providers = f"""\
version: 1
providers:
  lab:
    preset: openai-compatible
    endpoint: http://127.0.0.1:9/v1
    api_key: ${{file:{key}}}
    models: [qwen3-32b]
"""
    routing = "version: 1\nmodels:\n  smart: [lab/qwen3-32b]\n"
    (conf / "providers.yaml").write_text(providers)
    (conf / "routing.yaml").write_text(routing)
    rig = Rig(conf, load_files=config.load, compile_files=config.compile_files)
    async with watching(rig):
        assert rig.in_force.status_line == "gen 1 ok"
        key.write_text("two")
        await rig.until(lambda: rig.in_force.number == 2)
        secret = rig.in_force.current.snapshot.providers["lab"].secret
        assert secret is not None
        assert secret.reveal() == "two"

        rig.save(routing=routing.replace("[", "[attic/"))
        assert (await rig.reloader.reload("admin")).result == "rejected"
        assert rig.in_force.status_line.startswith("gen 2 kept: routing.yaml:3:")
        rig.save(routing=routing + "  quick: [lab/qwen3-32b]\n")
        await rig.until(lambda: rig.in_force.rejected is None)
        assert rig.in_force.current.routes.resolve("quick") is not None

        os.utime(conf / "routing.yaml")
        assert (await rig.reloader.reload("sighup")).result == "noop"


def test_the_watcher_waits_less_for_one_file_than_the_pair_does() -> None:
    assert max(watch.CAP_S, watch.MISSING_S, watch.EMPTY_S) < reload.PAIR_GRACE_S
