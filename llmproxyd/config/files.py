"""The configuration on disk: which files belong to it, and their bytes, read when nobody was writing them.

Every symbolic link on the way is followed and remembered, so that whoever watches sees each place where a change can
happen. Nothing here looks into the files.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from llmproxyd.config.document import masked_source, parse_document
from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.config.reading import read_regular

PROVIDERS: Final = "providers"
ROUTING: Final = "routing"
SYSTEM_DIR: Final = Path("/etc/llmproxyd")
ReadFile: TypeAlias = Callable[[Path, int], tuple[bytes, os.stat_result]]

MAX_FRAGMENTS: Final = 500
_MAX_READ_BYTES: Final = (8 << 20) + 1
"""One byte more than a file may have: enough to see that it is too large."""
_TRIES: Final = 4
_MAX_LINKS: Final = 40
_ENDINGS: Final = (".yaml", ".yml")
_IGNORED_PARTS: Final = (".bak", ".dpkg-", ".rpmnew", ".rpmsave", ".swp")


class Stamp(msgspec.Struct, frozen=True):
    """What tells that a file is still the one that was read."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class SourceFile(msgspec.Struct, frozen=True):
    """One file: ``name`` as shown to people (relative to the directory), its bytes, what the system says of it.

    ``mode``: permission bits. ``path`` is where it was asked for, links and all.
    """

    name: str
    path: Path
    data: bytes
    stamp: Stamp
    mode: int
    sha256: str

    @property
    def readable_by_others(self) -> bool:
        return bool(self.mode & stat.S_IROTH)


class Files(msgspec.Struct, frozen=True):
    """All files of one configuration. ``providers`` and ``routing``: the main file, then fragments in name order.

    ``problems``: what could not be read (LP002). ``missing``: main files that are not there at all. ``paths``: every
    file, link and target whose change may matter, and the fragments' directories.
    """

    config_dir: Path
    providers: tuple[SourceFile, ...]
    routing: tuple[SourceFile, ...]
    problems: tuple[Problem, ...] = ()
    missing: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()

    @property
    def all(self) -> tuple[SourceFile, ...]:
        return (*self.providers, *self.routing)

    @property
    def sha256(self) -> str:
        """Over names and contents: equal means that no byte changed."""
        digest = hashlib.sha256()
        for file in self.all:
            digest.update(f"{len(file.name)}:{file.name}:{file.sha256}\n".encode())
        return digest.hexdigest()

    @property
    def sources(self) -> Mapping[str, str]:
        """Name -> text for showing snippets of, credentials masked. Parses the files again: for the day of a fault."""
        shown: dict[str, str] = {}
        for file in self.all:
            document, _ = parse_document(file.data, file.name)
            shown[file.name] = document.sources[file.name] if document else masked_source(file.data)
        return shown


class _UnstableError(OSError):
    """The file changed while it was read, every time."""


def find_config_dir(flag: str | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The directory given; else the current one if it holds providers.yaml, the user's if it does, the system's."""
    if flag:
        return cwd / Path(flag).expanduser()
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else None)
    users_own = [Path(home) / "llmproxyd"] if home else []
    for directory in (cwd, *users_own):
        if os.path.lexists(directory / f"{PROVIDERS}.yaml"):
            return directory
    return SYSTEM_DIR


def read_files(config_dir: Path, *, read: ReadFile = read_regular) -> Files:
    """Read both main files and all fragments. Raises nothing: what cannot be read is a problem.

    ``read``: (path, most bytes) -> bytes, and the file's status when it was opened.
    """
    reading = _Reading(Path(os.path.abspath(config_dir)), read)
    providers, routing = reading.sources(PROVIDERS), reading.sources(ROUTING)
    return Files(
        config_dir=reading.config_dir,
        providers=providers,
        routing=routing,
        problems=tuple(reading.problems),
        missing=tuple(reading.missing),
        paths=tuple(reading.paths),
    )


class _Reading(msgspec.Struct):
    """One look at the directory, and what was noticed on the way."""

    config_dir: Path
    read: ReadFile
    problems: list[Problem] = msgspec.field(default_factory=list)
    missing: list[str] = msgspec.field(default_factory=list)
    paths: dict[Path, None] = msgspec.field(default_factory=dict)

    def sources(self, main: str) -> tuple[SourceFile, ...]:
        """The main file and its fragments, as far as they can be read."""
        main_path, fragments = self.config_dir / f"{main}.yaml", self.config_dir / f"{main}.d"
        self.paths.update(dict.fromkeys((*_links(fragments), fragments)))
        found = [self._source(main_path, is_main=True)]
        found += [self._source(path, is_main=False) for path in _fragments(fragments, self.problems)]
        return tuple(source for source in found if source is not None)

    def _source(self, path: Path, *, is_main: bool) -> SourceFile | None:
        self.paths.update(dict.fromkeys(_links(path)))
        name = _shown(path.relative_to(self.config_dir))
        try:
            return _read_stable(path, name, self.read)
        except OSError as error:
            if not is_main and not os.path.lexists(path):
                return None  # deleted between listing and reading
            if is_main and isinstance(error, FileNotFoundError):
                self.missing.append(name)
            self.problems.append(_unreadable(path, name, error))
            return None


def _fragments(directory: Path, problems: list[Problem]) -> list[Path]:
    """Files of a ``.d`` directory, in the order of their names as bytes. No directory, no fragments."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if _is_fragment(entry.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(_unreadable(directory, directory.name, error))
        return []
    if len(names) > MAX_FRAGMENTS:
        message = f"more than {MAX_FRAGMENTS} fragments in {directory.name}"
        problems.append(_problem("LP007", message, directory.name, "join some of them"))
    return [directory / name for name in sorted(names, key=os.fsencode)[:MAX_FRAGMENTS]]


def _is_fragment(name: str) -> bool:
    """Not what editors and package managers leave beside a file: hidden files, `a.yaml~`, `a.yaml.bak`, `a.dpkg-new`."""
    return (
        name.endswith(_ENDINGS)
        and not name.startswith(".")
        and not any(part in name for part in _IGNORED_PARTS)
    )


def _shown(path: Path) -> str:
    """A path as a text that can be printed and hashed, whatever bytes its name has."""
    return str(path).encode(errors="backslashreplace").decode()


def _read_stable(path: Path, name: str, read: ReadFile) -> SourceFile:
    """The file as it was while nobody wrote it. Raises OSError."""
    for _ in range(_TRIES):
        data, status = read(path, _MAX_READ_BYTES)
        # By name, not by descriptor: a file that was replaced meanwhile is not the one that is there now.
        before, after = _stamp(status), _stamp(os.stat(path))
        if before == after and len(data) == min(before.size, _MAX_READ_BYTES):
            mode = stat.S_IMODE(status.st_mode)
            return SourceFile(name, path, data, after, mode, hashlib.sha256(data).hexdigest())
    raise _UnstableError(errno.EBUSY, "it changed while it was read")


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _links(path: Path) -> Iterator[Path]:
    """``path`` and every symbolic link passed on the way to the file itself, which comes last."""
    yield path
    waiting = list(reversed(Path(os.path.abspath(path)).parts))
    here = Path(waiting.pop())
    followed = 0
    while waiting:
        part = waiting.pop()
        here = here.parent if part == ".." else here / part
        target = _link_target(here)
        if target is None:
            continue
        followed += 1
        if followed > _MAX_LINKS:
            return
        yield here
        waiting += reversed(target.parts)
        here = Path(waiting.pop()) if target.is_absolute() else here.parent
    if here != path:
        yield here


def _link_target(path: Path) -> Path | None:
    try:
        return Path(os.readlink(path))
    except OSError:  # no link, or nothing there at all
        return None


def _unreadable(path: Path, name: str, error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError) and not path.is_symlink():
        help_ = f"create it, or name another directory with --config-dir (this one is {path.parent})"
        return _problem("LP002", f"`{name}` is missing", name, help_)
    reason = error.strerror or str(error)
    return _problem("LP002", f"`{name}` cannot be read: {reason}", name, _HELPS.get(error.errno or 0, ""))


_HELPS: Final = {
    errno.EACCES: "let the user that runs llmproxyd read it",
    errno.EBUSY: "save it again once the writing program is done",
    errno.ELOOP: "mend the symbolic links",
    errno.ENOENT: "it is a symbolic link that leads nowhere: mend or delete it",
}


def _problem(code: str, message: str, name: str, help_: str) -> Problem:
    return Problem(code, Severity.ERROR, message, Span(name, 1, 1, 1), (), (help_,) if help_ else ())
