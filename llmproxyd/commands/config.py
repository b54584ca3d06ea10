"""``llmproxyd config``: where the files are, and the schemas they follow."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

from llmproxyd.commands.console import CannotGoOn, Command, Console
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit

SCHEMAS = ("providers", "routing")


def _add_arguments(parser: Any) -> None:
    parser.add_argument("action", choices=("show", "schema"), metavar="ACTION", help="show, or schema")
    parser.add_argument(
        "name", nargs="?", choices=SCHEMAS, metavar="FILE", help="whose schema: providers, routing"
    )


def _run(arguments: Namespace, console: Console) -> int:
    if arguments.action == "show":
        if arguments.name is not None:
            raise CannotGoOn(
                Exit.USAGE, f"`config show` shows both files; did you mean `config schema {arguments.name}`?"
            )
        return _show(console)
    if arguments.name is None:
        raise CannotGoOn(Exit.USAGE, f"say whose schema: llmproxyd config schema {{{','.join(SCHEMAS)}}}")
    return _print_schema(arguments.name, console)


def _print_schema(name: Literal["providers", "routing"], console: Console) -> int:
    from llmproxyd.config.schema import schema_bytes

    console.stdout.write(schema_bytes(name).decode().rstrip("\n") + "\n")
    return Exit.OK


def _show(console: Console) -> int:
    """The directory in effect and the files in it; 66 where a main file is missing."""
    from llmproxyd.commands.files import MAIN_FILES
    from llmproxyd.config.load import read_files

    directory = console.config_dir().absolute()
    missing = [name for name in MAIN_FILES if not os.path.lexists(directory / name)]
    paths = [] if missing else [path for path in map(Path, read_files(directory).paths) if path.is_file()]
    if console.json:
        console.say_json(
            {
                "version": 1,
                "config_dir": str(directory),
                "files": [str(path) for path in paths],
                "missing": missing,
            }
        )
    else:
        console.say(visible(str(directory)))
        for path in paths:
            console.say(f"  {visible(str(path))}")
        for name in missing:
            console.complain(f"  {name} is missing")
    return Exit.MISSING if missing else Exit.OK


COMMAND = Command(
    summary="Show where the files are, or print the schema that an editor can check them with.",
    examples="""\
Examples:
  llmproxyd config show
  llmproxyd config schema routing > routing.v1.json""",
    add_arguments=_add_arguments,
    run=_run,
)
