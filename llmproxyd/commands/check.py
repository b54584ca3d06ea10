"""``llmproxyd check``: say whether the files are right. Offline; reads only; the same check as at start and reload."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from llmproxyd.commands.console import CannotGoOn, Command, Console
from llmproxyd.commands.files import MAIN_FILES, load_files, tell_problems
from llmproxyd.config.load import Loaded
from llmproxyd.config.problem import has_errors
from llmproxyd.config.report import format_json
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit
from llmproxyd.values.snapshot import Snapshot, TargetKind

FRAGMENT_DIRECTORIES = ("providers.d", "routing.d")
_WRITTEN = (TargetKind.ANY, TargetKind.SET, TargetKind.LIST, TargetKind.WEIGHTS)


def _add_arguments(parser: Any) -> None:
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="a configuration directory, or a file in one"
    )
    parser.add_argument(
        "--format", choices=("text", "json"), help="how problems are written; text by default"
    )
    parser.add_argument("--deny-warnings", action="store_true", help="exit with 3 if there is a warning")


def _run(arguments: Namespace, console: Console) -> int:
    directories = config_dirs(arguments.paths) or (console.config_dir(),)
    loads = [load_files(console, directory) for directory in directories]
    if arguments.format == "json" or (console.json and arguments.format is None):
        console.say_json([_document(loaded) for loaded in loads] if len(loads) > 1 else _document(loads[0]))
    else:
        for loaded in loads:
            _tell(console, loaded)
    return exit_status(loads, deny_warnings=arguments.deny_warnings)


def config_dirs(paths: Sequence[str]) -> tuple[Path, ...]:
    """The directories to check. A file stands for its directory, since the files are checked as one unit.

    Raises CannotGoOn: 66 for what is not there, 64 for a file that is not part of a configuration.
    """
    return tuple(dict.fromkeys(_config_dir(Path(path)) for path in paths))


def _config_dir(path: Path) -> Path:
    if path.is_dir():
        return path.parent if path.name in FRAGMENT_DIRECTORIES else path
    if path.name in MAIN_FILES and path.exists():
        return path.parent
    if path.parent.name in FRAGMENT_DIRECTORIES and path.exists():
        return path.parent.parent
    if not path.exists():
        raise CannotGoOn(Exit.MISSING, f"{path} does not exist")
    raise CannotGoOn(
        Exit.USAGE,
        f"{path} is not read by llmproxyd; name a directory with {' and '.join(MAIN_FILES)}, or one of them",
    )


def exit_status(loads: Iterable[Loaded], *, deny_warnings: bool) -> Exit:
    """1 if a file has an error, 3 if there is a warning and none is allowed, else 0."""
    problems = [problem for loaded in loads for problem in loaded.problems]
    if has_errors(problems):
        return Exit.ERRORS
    return Exit.WARNINGS if problems and deny_warnings else Exit.OK


def _tell(console: Console, loaded: Loaded) -> None:
    if loaded.problems:
        tell_problems(console, loaded)
    if loaded.snapshot is not None:
        console.say(f"ok: {describe(loaded.snapshot)}")


def describe(snapshot: Snapshot) -> str:
    """One line: how much there is, and the hash that tells two configurations apart."""
    counts = _counts(snapshot)
    parts = ", ".join(f"{count} {noun if count != 1 else noun[:-1]}" for noun, count in counts.items())
    return f"{parts} (hash {visible(snapshot.hash)[:12]})"


def _counts(snapshot: Snapshot) -> dict[str, int]:
    return {
        "providers": len(snapshot.providers),
        "deployments": len(snapshot.deployments),
        "names": sum(target.kind in _WRITTEN for target in snapshot.names.values()),
        "rules": len(snapshot.rules),
    }


def _document(loaded: Loaded) -> dict[str, Any]:
    """The problems as ``format_json`` writes them, and what the files come to where they are right."""
    document: dict[str, Any] = json.loads(format_json(loaded.problems))
    document["ok"] = loaded.snapshot is not None
    if loaded.snapshot is not None:
        document["hash"] = loaded.snapshot.hash
        document["counts"] = _counts(loaded.snapshot)
    return document


COMMAND = Command(
    summary="Check providers.yaml and routing.yaml: 0 right, 1 errors, 3 warnings under --deny-warnings.",
    examples="""\
Examples:
  llmproxyd check
  llmproxyd check /etc/llmproxyd --deny-warnings
  llmproxyd check --format json routing.yaml""",
    add_arguments=_add_arguments,
    run=_run,
)
