"""``llmproxyd providers``: which providers answer, how well, and why the others do not; ``test`` asks one of them."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from llmproxyd.commands.client import ask
from llmproxyd.commands.console import CannotGoOn, Command, Console
from llmproxyd.commands.providers_text import format_provider, format_providers
from llmproxyd.config.suggest import closest
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit

PATH = "/admin/v1/providers"
_TEST = "test"


def _add_arguments(parser: Any) -> None:
    add = parser.add_argument
    add(
        "words", nargs="*", metavar="NAME", help="show this one in full; test NAME: ask it, by a free request"
    )
    add("--chat", action="store_true", help="also one short real request; this may cost money")
    add("--model", metavar="M", help="that request to this model of the provider; this may cost money")
    add("--offline", action="store_true", help="ask no daemon: show what the files say")


def _run(arguments: Namespace, console: Console) -> int:
    words = arguments.words
    if words[:1] != [_TEST] and not (arguments.chat or arguments.model):
        if len(words) > 1:
            raise CannotGoOn(Exit.USAGE, "one provider at a time: llmproxyd providers NAME")
        return _show(words[0] if words else None, arguments.offline, console)
    if len(words) != 2 or words[0] != _TEST or arguments.offline:
        raise CannotGoOn(
            Exit.USAGE, "say which provider to test: llmproxyd providers test NAME (not offline)"
        )
    from llmproxyd.commands.trial import run_test

    arguments.name = words[1]
    return run_test(arguments, console)


def _show(name: str | None, offline: bool, console: Console) -> int:
    document = _from_files(console) if offline else _from_daemon(console)
    shown = document if name is None else _find(name, document)
    if console.json:
        console.say_json(shown)
    elif name is None:
        console.say(format_providers(shown, console.wall()))
    else:
        console.say(format_provider(shown, console.wall()))
    if offline and not console.json:
        console.complain("These are the files alone: nobody was asked, and nothing was counted.")
    return Exit.OK


def _find(name: str, document: dict[str, Any]) -> dict[str, Any]:
    by_name: dict[str, dict[str, Any]] = {provider["name"]: provider for provider in document["providers"]}
    if name in by_name:
        return by_name[name]
    near = closest(name, by_name)
    meant = f"did you mean `{visible(near)}`?" if near else f"there are: {visible(', '.join(by_name))}"
    raise CannotGoOn(Exit.MISSING, f"there is no provider `{visible(name)}`; {meant}")


def _from_daemon(console: Console) -> dict[str, Any]:
    reply = ask(console.settings(), console.environ, "GET", PATH)
    if reply.status != 200 or "providers" not in reply.document:
        raise CannotGoOn(Exit.UNAVAILABLE, f"the daemon does not tell its providers (status {reply.status})")
    return reply.document


def _from_files(console: Console) -> dict[str, Any]:
    from llmproxyd.commands.files import load_snapshot
    from llmproxyd.server.providers_view import providers_status
    from llmproxyd.state.registry import Registry

    snapshot = load_snapshot(console, console.config_dir())
    registry = Registry()
    registry.reconcile(snapshot, 0.0)
    return providers_status(registry.report(snapshot, 0.0, console.wall()), snapshot)


COMMAND = Command(
    summary=(
        "Show the providers of the running daemon: who answers, how well, and why the others do not.\n"
        "NAME shows one of them in full: limits, keys, and how each of its models is.\n"
        "test NAME asks one, for free, and says what to do (0: all well, 1: not, 66: unknown, 75: timed out)."
    ),
    examples="""\
Examples:
  llmproxyd providers
  llmproxyd providers --json
  llmproxyd providers openai
  llmproxyd providers test ollama
  llmproxyd providers test openai --model gpt-5.6-luna    (one real request; this may cost money)
  llmproxyd providers --offline --config-dir /etc/llmproxyd""",
    add_arguments=_add_arguments,
    run=_run,
)
