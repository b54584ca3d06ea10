"""What a command has to do with the world: its streams, its environment, and how it says that it cannot go on.

Results go to stdout, everything else to stderr. Text from outside is escaped before it reaches a terminal.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from llmproxyd.config.terminal import display_width, visible
from llmproxyd.exits import Exit
from llmproxyd.settings import Settings, load_settings

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class CannotGoOn(Exception):  # noqa: N818 - it is an outcome, not a bug
    """Ends a command with a status and, on stderr, a message that says what to do."""

    def __init__(self, status: Exit, message: str) -> None:
        super().__init__(message)
        self.status = status


class Console(msgspec.Struct, frozen=True):
    """One run of a command. ``flags`` are the process settings given as flags, by setting name."""

    environ: Mapping[str, str]
    flags: Mapping[str, Sequence[str]]
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    json: bool = False
    wall: Callable[[], float] = time.time

    def settings(self, *, warn: bool = True) -> Settings:
        """``warn``: tell variables that mean nothing. Raises SettingsError for a bad flag or variable."""
        settings = load_settings(self.flags, self.environ, tty=self.stderr.isatty())
        for name in settings.unknown if warn else ():
            self.complain(f"llmproxyd: warning: {name} is set, but no setting has that name")
        return settings

    def config_dir(self) -> Path:
        """Where the two files are, or should be. Raises SettingsError."""
        from llmproxyd.config.load import find_config_dir

        chosen = self.settings().config_dir
        return find_config_dir(str(chosen) if chosen else None, self.environ, Path.cwd())

    def say(self, text: str) -> None:
        self.stdout.write(text + "\n")

    def say_json(self, value: object) -> None:
        """A document, sorted as it was built, with what a terminal must not see escaped."""
        self.say(json.dumps(value, indent=2))

    def complain(self, text: str) -> None:
        self.stderr.write(text + "\n")

    def colors(self, stream: TextIO) -> bool:
        """Whether ``stream`` wants colour: NO_COLOR forbids it, CLICOLOR_FORCE forces it, else a terminal decides."""
        if self.environ.get("NO_COLOR"):
            return False
        return self.environ.get("CLICOLOR_FORCE", "0") not in ("", "0") or stream.isatty()

    def style(self, text: str, style: str) -> str:
        """``text`` for stdout, coloured where colour is wanted."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colors(self.stdout) else text


class Command(msgspec.Struct, frozen=True):
    """A sub-command. ``summary`` is its line in the overview; ``examples`` open its own help."""

    summary: str
    examples: str
    add_arguments: Callable[[Any], None]
    run: Callable[[Namespace, Console], int]


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns as wide as their longest cell, two blanks between; ``right``: numbers of columns set flush right."""
    lines = [list(header), *([visible(cell) for cell in row] for row in rows)]
    widths = [max(display_width(line[column]) for line in lines) for column in range(len(header))]

    def pad(cell: str, column: int) -> str:
        blanks = " " * (widths[column] - display_width(cell))
        return blanks + cell if column in right else cell + blanks

    return "\n".join("  ".join(pad(cell, n) for n, cell in enumerate(line)).rstrip() for line in lines)


def standard_console(
    flags: Mapping[str, Sequence[str]], environ: Mapping[str, str], *, as_json: bool
) -> Console:
    return Console(environ, flags, sys.stdin, sys.stdout, sys.stderr, as_json)


def read_request_bytes(path: str, console: Console) -> bytes:
    """What the file holds (- for standard input), at most MAX_REQUEST_BYTES.

    Raises CannotGoOn: 66 for a file that cannot be read, 64 for one that is too long.
    """
    try:
        if path == "-":
            data = console.stdin.read(MAX_REQUEST_BYTES + 1).encode()
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_REQUEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotGoOn(Exit.MISSING, f"cannot read the request {visible(path)}: {reason}") from None
    if len(data) > MAX_REQUEST_BYTES:
        raise CannotGoOn(Exit.USAGE, f"the request {visible(path)} is longer than {MAX_REQUEST_BYTES} bytes")
    return data
