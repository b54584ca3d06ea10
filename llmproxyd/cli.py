"""The program ``llmproxyd``: arguments -> a command -> an exit status.

Two passes: the first finds the command and the settings before it, the second reads what stands after it with the
parser of that command alone. So only the command asked for is imported, and settings may stand on either side.
"""

from __future__ import annotations

import gc
import os
import sys
from argparse import REMAINDER, SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from llmproxyd import __version__
from llmproxyd.commands.console import CannotGoOn, Command, standard_console
from llmproxyd.exits import Exit
from llmproxyd.settings import SETTINGS, SettingsError

COMMANDS: Mapping[str, str] = {
    "run": "llmproxyd.commands.run",
    "check": "llmproxyd.commands.check",
    "explain": "llmproxyd.commands.explain",
    "providers": "llmproxyd.commands.providers",
    "models": "llmproxyd.commands.models",
    "cost": "llmproxyd.commands.cost",
    "budget": "llmproxyd.commands.budget",
    "keys": "llmproxyd.commands.keys",
    "events": "llmproxyd.commands.events",
    "reload": "llmproxyd.commands.reload",
    "config": "llmproxyd.commands.config",
    "privacy": "llmproxyd.commands.privacy",
}
PARTS: Mapping[str, Mapping[str, str]] = {
    "cost": {
        "export": "llmproxyd.commands.cost_export",
        "reconcile": "llmproxyd.commands.cost_reconcile",
        "estimate": "llmproxyd.commands.cost_estimate",
        "price": "llmproxyd.commands.cost_price",
    },
}
"""Commands of two words, each with a help of its own."""
_LEDGER_COMMANDS = frozenset({"cost", "cost export", "cost reconcile", "budget"})
SCHEMAS: Mapping[str, int] = {"providers": 1, "routing": 1}
"""Versions of the files this program reads, by the name of their schema."""

HELP = """\
Try:
  llmproxyd                            serve on 127.0.0.1:8400
  llmproxyd check                      say whether the two files are right
  llmproxyd explain --model auto       say which model would answer, and why

Commands (llmproxyd COMMAND -h tells more):
  run         serve until stopped; this is also what happens without a command
  check       check the two files (also: --check-config)
  explain     explain a decision, or a diagnostic code such as LP201
  providers   show the providers of the running daemon, or test one
  models      show models with price, window, abilities and last day
  cost        show what was spent and saved; export, reconcile, estimate, price
  budget      show what is left of every budget
  keys        create, list, revoke and rotate the keys of clients
  events      show what happened lately, or as it happens
  reload      have the running daemon read its files again
  config      show where the files are, or print their schemas
  privacy     find personal and secret data in a text

Options, before or after the command:
  --config-dir DIR    where providers.yaml and routing.yaml are
  --json              answer in JSON
  --version           the version, and no more; -h this page
Options of the daemon (--listen, --state-dir, ...): llmproxyd run -h
"""


class _Parser(ArgumentParser):
    """argparse with our exit status for usage errors, and without guessing at abbreviations."""

    def __init__(
        self, prog: str, *, usage: str, description: str | None = None, add_help: bool = True
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            add_help=add_help,
            allow_abbrev=False,
            formatter_class=lambda prog: RawDescriptionHelpFormatter(prog, max_help_position=30, width=100),
        )

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n  {self.prog} -h shows what is possible\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    try:
        return int(_main(sys.argv[1:] if argv is None else argv, os.environ))
    except CannotGoOn as reason:
        sys.stderr.write(f"llmproxyd: {reason}\n")
        return reason.status
    except SettingsError as error:
        sys.stderr.write(f"llmproxyd: {error}\n")
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader (head, a pager) has seen enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK


def _main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    first = _first_parser().parse_args(argv)
    if first.help:
        sys.stdout.write(HELP)
        return Exit.OK
    if first.version:
        return _say_version(first.json or "--json" in first.rest)
    rest = [argument for argument in first.rest if argument != "--check-config"]
    name, rest = split_name([_command_name(first), *rest])
    command = load_command(name)
    second = command_parser(name, command).parse_intermixed_args(rest)
    console = standard_console(_flags(first, second), environ, as_json=first.json or second.json)
    status = command.run(second, console)
    sys.stdout.flush()
    return status


def _first_parser() -> _Parser:
    parser = _Parser("llmproxyd", usage="llmproxyd [OPTION...] [COMMAND] [ARGUMENT...]", add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--check-config", action="store_true")
    _add_settings(parser)
    parser.add_argument("command", nargs="?", choices=COMMANDS)
    parser.add_argument("rest", nargs=REMAINDER)
    return parser


def _command_name(first: Namespace) -> str:
    wants_check = first.check_config or "--check-config" in first.rest
    return "check" if wants_check and first.command in (None, "run") else first.command or "run"


def split_name(argv: Sequence[str]) -> tuple[str, list[str]]:
    """``["cost", "export", "--since"]`` -> ``("cost export", ["--since"])``."""
    name, *rest = argv
    return (f"{name} {rest[0]}", rest[1:]) if rest and rest[0] in PARTS.get(name, {}) else (name, rest)


def load_command(name: str) -> Command:
    """Import one command; ``name`` is a key of COMMANDS, or of two words as ``split_name`` gives it."""
    first, _, second = name.partition(" ")
    gc.disable()  # modules stay: a fifth of their import was looking for garbage among them
    try:
        command = import_module(PARTS[first][second] if second else COMMANDS[first]).COMMAND
    finally:
        gc.enable()
    assert isinstance(command, Command)
    return command


def command_parser(name: str, command: Command) -> ArgumentParser:
    """The parser of what may stand after the command's name."""
    prog = f"llmproxyd {name}"
    parser = _Parser(prog, usage=SUPPRESS, description=f"{command.summary}\n\n{command.examples}".rstrip())
    command.add_arguments(parser)
    _add_settings(parser, shown=_shown_settings(name))
    return parser


def _shown_settings(name: str) -> tuple[str, ...]:
    if name == "run":
        return tuple(setting.name for setting in SETTINGS)
    return ("config_dir", "state_dir") if name in _LEDGER_COMMANDS else ("config_dir",)


def _add_settings(parser: ArgumentParser, shown: Sequence[str] = ()) -> None:
    """Every setting may be given anywhere; ``shown`` are those listed in the help."""
    for setting in SETTINGS:
        help_text = setting.help if setting.name in shown else SUPPRESS
        if setting.metavar:
            parser.add_argument(
                setting.flag,
                dest=setting.name,
                action="append",
                default=[],
                metavar=setting.metavar,
                help=help_text,
            )
        else:
            parser.add_argument(
                setting.flag,
                dest=setting.name,
                action="append_const",
                const="true",
                default=[],
                help=help_text,
            )
    parser.add_argument("--json", action="store_true", help="answer in JSON")


def _flags(first: Namespace, second: Namespace) -> dict[str, list[str]]:
    return {s.name: [*getattr(first, s.name), *getattr(second, s.name)] for s in SETTINGS}


def _say_version(as_json: bool) -> int:
    if not as_json:
        sys.stdout.write(f"llmproxyd {__version__}\n")
        return Exit.OK
    import json

    python = ".".join(map(str, sys.version_info[:3]))
    sys.stdout.write(json.dumps({"version": __version__, "python": python, "schemas": dict(SCHEMAS)}) + "\n")
    return Exit.OK
