"""Loading the configuration for a command: offline, read only, with its problems told on stderr."""

from __future__ import annotations

import os
from pathlib import Path

from llmproxyd.commands.console import CannotGoOn, Console
from llmproxyd.config.load import Loaded
from llmproxyd.config.report import format_text
from llmproxyd.exits import Exit
from llmproxyd.values.snapshot import Snapshot
from llmproxyd.vetting import load

MAIN_FILES = ("providers.yaml", "routing.yaml")


def load_files(console: Console, config_dir: Path) -> Loaded:
    """Read and compile. Raises CannotGoOn (66) where a main file is not there at all."""
    missing = [name for name in MAIN_FILES if not os.path.lexists(config_dir / name)]
    if missing:
        raise CannotGoOn(
            Exit.MISSING,
            f"{config_dir} has no {' and no '.join(missing)}: name the directory with --config-dir DIR",
        )
    return load(config_dir, environ=console.environ)


def load_snapshot(console: Console, config_dir: Path) -> Snapshot:
    """The compiled configuration. Raises CannotGoOn (66 or, after telling the problems, 1)."""
    loaded = load_files(console, config_dir)
    if loaded.snapshot is None:
        tell_problems(console, loaded)
        raise CannotGoOn(Exit.ERRORS, f"the files in {config_dir} have errors; nothing was decided")
    return loaded.snapshot


def tell_problems(console: Console, loaded: Loaded) -> None:
    """All problems, as text with the lines they are about, on stderr."""
    text = format_text(loaded.problems, loaded.files.sources, color=console.colors(console.stderr))
    console.complain(text.rstrip("\n"))
