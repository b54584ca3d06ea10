"""``${env:X}``, ``${env:X:-default}``, ``${file:/p}``, ``${cred:x}``: values that are kept outside the files. Other kinds,
``${keyring:x}`` among them, are refused by name.

A reference stands for a whole value and is resolved once: what it gives is data, whatever it looks like. A lone ``$``
is data too. Reading here is the only disk access besides the files themselves.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from llmproxyd.config import places
from llmproxyd.config.document import Document
from llmproxyd.config.findings import Findings, did_you_mean
from llmproxyd.config.problem import Problem, Span
from llmproxyd.config.reading import read_regular
from llmproxyd.config.scalars import resolve_plain
from llmproxyd.config.suggest import closest

MAX_REFERENCED_BYTES: Final = 64 * 1024
"""Of a file that a reference names: keys and tokens, not documents."""

_KINDS: Final = ("env", "file", "cred")
_WHOLE: Final = re.compile(r"\$\{([A-Za-z]+):([^{}]*)\}")
_BARE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_INSIDE: Final = re.compile(r"\$\{(?:env|file|cred|keyring):")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL_NAME: Final = re.compile(r"(?!\.)[A-Za-z0-9._@-]{1,255}")
_TEXT_KEYS: Final = frozenset({"api_key", "api_version", "endpoint", "id", "upstream"})
_MIN_SECRET_LENGTH: Final = 16
_MIN_SCRUBBED_LENGTH: Final = 8


class Resolved(msgspec.Struct):
    """What became of the references of one document.

    ``document``: as the original, its ``data`` with values in place of references. ``written``: path -> the reference
    there. ``unset``: paths of ``api_key``, or of one of ``api_keys`` -> the variable that is not set; the first is left
    out of the data, the other is an empty text there, since its neighbours keep their places.
    ``files``: every file that was read or looked for. ``secrets``: what may be a secret -> the reference it came from.
    """

    document: Document
    problems: list[Problem] = msgspec.field(default_factory=list)
    written: dict[places.Path, str] = msgspec.field(default_factory=dict)
    unset: dict[places.Path, str] = msgspec.field(default_factory=dict)
    files: set[str] = msgspec.field(default_factory=set)
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    unresolved: set[Span] = msgspec.field(default_factory=set)

    def scrub(self, problem: Problem) -> Problem:
        """The problem with every secret in its words replaced by its reference."""
        found = [pair for pair in self.secrets.items() if len(pair[0]) >= _MIN_SCRUBBED_LENGTH]
        if not found:
            return problem

        def scrubbed(text: str) -> str:
            for value, written in found:
                text = text.replace(value, written)
            return text

        return replace(
            problem,
            message=scrubbed(problem.message),
            span=problem.span and problem.span.labelled(scrubbed(problem.span.label)),
            secondary=tuple(span.labelled(scrubbed(span.label)) for span in problem.secondary),
            helps=tuple(map(scrubbed, problem.helps)),
            notes=tuple(map(scrubbed, problem.notes)),
        )


def resolve_references(document: Document, *, environ: Mapping[str, str], config_dir: Path) -> Resolved:
    """Replace every reference of ``document`` by what it stands for.

    A variable that is unset, or empty, leaves a provider's key out; anywhere else it is a problem (LP208), as are files
    and credentials that cannot be read (LP601). Relative paths start at ``config_dir``.
    """
    resolved = Resolved(copy.copy(document))
    resolver = _Resolver(resolved, Findings(document, resolved.problems), environ, config_dir)
    resolved.document.data = resolver.walk(document.data, ())
    resolved.document.hide_values(resolved.secrets)
    return resolved


class _Left:
    """Says that a key is to be left out."""


_LEFT_OUT: Final = _Left()


class _Resolver:
    def __init__(
        self, resolved: Resolved, findings: Findings, environ: Mapping[str, str], config_dir: Path
    ) -> None:
        self._resolved = resolved
        self._findings = findings
        self._environ = environ
        self._config_dir = config_dir
        self._readers: Mapping[str, Callable[[str, places.Path], str | None]] = {
            "env": self._from_environment,
            "file": self._from_file,
            "cred": self._from_credentials,
        }

    def walk(self, value: Any, path: places.Path) -> Any:
        if isinstance(value, dict):
            items = ((key, self.walk(item, (*path, key))) for key, item in value.items())
            return {key: item for key, item in items if item is not _LEFT_OUT}
        if isinstance(value, list):
            return [self.walk(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return self._scalar(value, path)
        return value

    def _scalar(self, text: str, path: places.Path) -> Any:
        found = _WHOLE.fullmatch(text)
        if found is None:
            self._check_data(text, path)
            return text
        self._resolved.written[path] = text
        read = self._readers.get(found[1])
        if read is None:
            self._tell_unknown_kind(found[1], path)
        value = read(found[2], path) if read else None
        if value is None and path in self._resolved.unset:
            return _LEFT_OUT if path[-1] == "api_key" else ""
        if value is None:
            self._resolved.unresolved.add(self._findings.value(path))
            return text
        if _may_be_secret(found[1], value, path):
            self._resolved.secrets[value] = text
        return _typed(value, path)

    def _check_data(self, text: str, path: places.Path) -> None:
        bare = _BARE.fullmatch(text)
        if bare is not None:
            help_ = f"write `${{env:{bare[1]}}}` for the environment variable"
            self._findings.error("LP208", path, f"`{text}` does not say where the value comes from", help_)
        elif _INSIDE.search(text):
            help_ = (
                "put the whole value into the variable or file; a reference cannot be part of a longer text"
            )
            self._findings.error("LP208", path, "a reference stands for a whole value", help_)

    def _tell_unknown_kind(self, kind: str, path: places.Path) -> None:
        known = "known are ${env:NAME}, ${file:/path} and ${cred:name}"
        help_ = did_you_mean(closest(kind, _KINDS)) or known
        message = f"unknown kind of reference `{kind}`"
        if kind == "keyring":
            message = "this release cannot read `${keyring:...}`"
        self._findings.error("LP208", path, message, help_)

    def _from_environment(self, rest: str, path: places.Path) -> str | None:
        name, has_default, default = rest.partition(":-")
        if not _NAME.fullmatch(name):
            self._findings.error(
                "LP208", path, "a reference needs the name of a variable", "write ${env:NAME}"
            )
            return None
        value = self._environ.get(name) or default
        if not value and _is_key_of_provider(path):
            self._resolved.unset[path] = name
            return None
        if value or has_default:
            return value
        self._tell_unset(name, path)
        return None

    def _tell_unset(self, name: str, path: places.Path) -> None:
        near = closest(name, self._environ)
        self._findings.error(
            "LP208",
            path,
            f"environment variable `{name}` is not set",
            f"set it where the daemon is started, or give a default: `${{env:{name}:-value}}`",
            label="unresolved reference",
            notes=(f"`{near}` is set - did you mean that?",) if near else (),
        )

    def _from_file(self, rest: str, path: places.Path) -> str | None:
        file = self._config_dir / rest
        self._resolved.files.add(str(file))
        value, fault = _read_value(file)
        if value is None:
            self._tell_missing(f"file `{rest}` {fault}", path, notes=_near_file(file))
        return value

    def _from_credentials(self, name: str, path: places.Path) -> str | None:
        if not _CREDENTIAL_NAME.fullmatch(name):
            help_ = "a name is letters, digits, `.`, `_`, `@` and `-`; use ${file:/path} for a path"
            self._findings.error("LP601", path, "this is not the name of a credential", help_)
            return None
        searched: list[str] = []
        for shown, directory in self._credential_directories():
            if directory is None:
                searched.append(f"{shown}/{name} (unset)")
                continue
            file = directory / name
            self._resolved.files.add(str(file))
            value, fault = _read_value(file)
            if value is not None:
                return value
            searched.append(f"{shown}/{name} ({fault.removeprefix('is ')})")
        directories = [directory for _, directory in self._credential_directories() if directory]
        notes = ("searched: " + ", ".join(searched), *_near_credential(name, directories))
        self._tell_missing(f"credential `{name}` not found", path, notes=notes)
        return None

    def _credential_directories(self) -> tuple[tuple[str, Path | None], ...]:
        given = self._environ.get("CREDENTIALS_DIRECTORY")
        own = self._config_dir / "credentials"
        return (("$CREDENTIALS_DIRECTORY", Path(given) if given else None), (str(own), own))

    def _tell_missing(self, message: str, path: places.Path, *, notes: Iterable[str]) -> None:
        self._findings.error("LP601", path, message, label="unresolved reference", notes=tuple(notes))


def _is_key_of_provider(path: places.Path) -> bool:
    if path[:1] != ("providers",):
        return False
    return path[2:] == ("api_key",) or (path[2:3] == ("api_keys",) and path[4:] in ((), ("ref",)))


def _may_be_secret(kind: str, value: str, path: places.Path) -> bool:
    """A short value from the environment (`local`, `8`) is none, and hiding it would garble what we have to say."""
    if not value:
        return False
    return kind != "env" or _is_key_of_provider(path) or "headers" in path or len(value) >= _MIN_SECRET_LENGTH


def _typed(value: str, path: places.Path) -> str | int | float | bool:
    """What the text would mean if it stood in the file: ``8`` is a number, except where only a text makes sense."""
    if path[-1] in _TEXT_KEYS or "headers" in path or _is_key_of_provider(path):
        return value
    plain = resolve_plain(value) if value else value
    return plain if isinstance(plain, bool | int | float) else value


def _read_value(file: Path) -> tuple[str | None, str]:
    """One line of text from a regular file of bounded size; or None and what is wrong."""
    try:
        raw, _ = read_regular(file, MAX_REFERENCED_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None, "is absent"
    except OSError as error:
        return None, f"cannot be read: {error.strerror or error}"
    except ValueError:
        return None, "is no path"
    return _one_line(raw)


def _one_line(raw: bytes) -> tuple[str | None, str]:
    if len(raw) > MAX_REFERENCED_BYTES:
        return None, f"is larger than {MAX_REFERENCED_BYTES // 1024} KiB"
    try:
        text = raw.decode().removeprefix("\ufeff").strip()
    except UnicodeDecodeError:
        return None, "is not UTF-8 text"
    if not text:
        return None, "is empty"
    if not text.isprintable():
        return None, "holds more than one line, or control characters"
    return text, ""


def _near_credential(name: str, directories: Iterable[Path]) -> Iterable[str]:
    for directory in directories:
        near = closest(name, _names_in(directory))
        if near:
            yield f"`{near}` exists in {directory} - did you mean that?"


def _near_file(file: Path) -> Iterable[str]:
    near = closest(file.name, _names_in(file.parent))
    return (f"`{near}` exists in {file.parent} - did you mean that?",) if near else ()


def _names_in(directory: Path) -> list[str]:
    """A directory that cannot be listed has nothing to suggest: the problem itself is told either way."""
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry, _ in zip(entries, range(1000), strict=False)]
    except OSError:
        return []
