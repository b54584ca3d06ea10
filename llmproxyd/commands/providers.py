"""``llmproxyd providers``: which providers answer, how well, and why the others do not; ``test`` asks one of them."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from llmproxyd.commands.client import ask
from llmproxyd.commands.console import CannotGoOn, Command, Console, format_table
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit

PATH = "/admin/v1/providers"
HEADER = ("NAME", "STATE", "REQUESTS", "SUCCESS", "MEAN", "LAST SUCCESS", "LAST FAILURE", "WHY")
_RIGHT = (2, 3, 4)


def _add_arguments(parser: Any) -> None:
    add = parser.add_argument
    add("action", nargs="?", choices=("test",), metavar="test", help="test one provider, by a free request")
    add("name", nargs="?", metavar="NAME", help="the provider to test")
    add("--chat", action="store_true", help="also one short real request; this may cost money")
    add("--model", metavar="M", help="that request to this model of the provider; this may cost money")
    add("--offline", action="store_true", help="ask no daemon: show what the files say")


def _run(arguments: Namespace, console: Console) -> int:
    if arguments.action is None and not (arguments.chat or arguments.model):
        return _show(arguments, console)
    if arguments.name is None or arguments.offline:
        raise CannotGoOn(
            Exit.USAGE, "say which provider to test: llmproxyd providers test NAME (not offline)"
        )
    from llmproxyd.commands.trial import run_test

    return run_test(arguments, console)


def _show(arguments: Namespace, console: Console) -> int:
    document = _from_files(console) if arguments.offline else _from_daemon(console)
    if console.json:
        console.say_json(document)
    else:
        console.say(format_providers(document))
        if arguments.offline:
            console.complain("These are the files alone: nobody was asked, and nothing was counted.")
    return Exit.OK


def _from_daemon(console: Console) -> dict[str, Any]:
    reply = ask(console.settings(), console.environ, "GET", PATH)
    if reply.status != 200 or "providers" not in reply.document:
        raise CannotGoOn(Exit.UNAVAILABLE, f"the daemon does not tell its providers (status {reply.status})")
    return reply.document


def _from_files(console: Console) -> dict[str, Any]:
    from llmproxyd.commands.files import load_snapshot
    from llmproxyd.server.admin import providers_status
    from llmproxyd.state.registry import Registry

    snapshot = load_snapshot(console, console.config_dir())
    registry = Registry()
    registry.reconcile(snapshot)
    return providers_status(registry.report(snapshot), snapshot)


def format_providers(document: dict[str, Any]) -> str:
    """The default provider, a table of all, and the list of those that answer."""
    rows = [_row(provider) for provider in document["providers"]]
    available = ", ".join(map(visible, document["available"])) or "none"
    return "\n".join(
        [
            f"default provider: {visible(document['default_provider'] or 'none; rules and priorities decide')}",
            "",
            format_table(HEADER, rows, right=_RIGHT),
            "",
            f"available: {available}",
        ]
    )


def _row(provider: dict[str, Any]) -> tuple[str, ...]:
    return (
        provider["name"],
        provider["state"],
        str(provider["requests"]),
        _share(provider["success_rate"]),
        _seconds(provider["mean_response_s"]),
        _moment(provider["last_success"]),
        _moment(provider["last_failure"]),
        provider["reason"],
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"


def _moment(moment: str | None) -> str:
    """RFC 3339 without what nobody reads in a table: the fraction."""
    return "-" if moment is None else moment.partition(".")[0].removesuffix("Z") + "Z"


COMMAND = Command(
    summary=(
        "Show the providers of the running daemon: who answers, how well, and why the others do not.\n"
        "test NAME asks one, for free, and says what to do (0: all well, 1: not, 66: unknown, 75: timed out)."
    ),
    examples="""\
Examples:
  llmproxyd providers
  llmproxyd providers --json
  llmproxyd providers test ollama
  llmproxyd providers test openai --model gpt-5.6-luna    (one real request; this may cost money)
  llmproxyd providers --offline --config-dir /etc/llmproxyd""",
    add_arguments=_add_arguments,
    run=_run,
)
