"""``llmproxyd budget``: what is left of every budget; from the running daemon, or from files and ledger without one."""

from __future__ import annotations

from argparse import Namespace
from http import HTTPStatus
from typing import Any, Final

from llmproxyd.commands.client import ask
from llmproxyd.commands.console import CannotGoOn, Command, Console
from llmproxyd.commands.cost_text import format_budgets
from llmproxyd.exits import Exit

PATH: Final = "/admin/v1/budgets"


def _add_arguments(parser: Any) -> None:
    parser.add_argument(
        "--offline", action="store_true", help="ask no daemon: reckon from the files and the ledger"
    )


def _run(arguments: Namespace, console: Console) -> int:
    document = _from_ledger(console) if arguments.offline else _from_daemon(console)
    if console.json:
        console.say_json(document)
        return Exit.OK
    if not document["budgets"]:
        console.complain(
            "There are no budgets: `budgets` and `tenants.NAME.budget` of routing.yaml set them."
        )
        return Exit.OK
    console.say(format_budgets(document))
    if not document["live"]:
        console.complain("From the ledger alone: what is reserved at this moment only the daemon knows.")
    return Exit.OK


def _from_daemon(console: Console) -> dict[str, Any]:
    try:
        reply = ask(console.settings(), console.environ, "GET", PATH)
    except CannotGoOn as reason:
        if reason.status is not Exit.UNAVAILABLE:
            raise
        console.complain(f"llmproxyd: {reason}")
        return _from_ledger(console)
    if reply.status == HTTPStatus.NOT_FOUND:
        console.complain("llmproxyd: the daemon is of a version that does not tell its budgets")
        return _from_ledger(console)
    if reply.status != HTTPStatus.OK or "budgets" not in reply.document:
        raise CannotGoOn(Exit.UNAVAILABLE, f"the daemon does not tell its budgets (status {reply.status})")
    return reply.document


def _from_ledger(console: Console) -> dict[str, Any]:
    """The daemon's own reckoning, started anew on what the ledger has."""
    from llmproxyd.commands.files import load_snapshot
    from llmproxyd.commands.ledger import open_ledger
    from llmproxyd.server.cost_report import budgets
    from llmproxyd.state.budgets import Budgets

    now_s = console.wall()
    state = Budgets(lambda _: None)  # whom there is to tell, the daemon has told
    state.reconcile(load_snapshot(console, console.config_dir()))
    with open_ledger(console) as reader:
        state.restore(reader.totals, now_s)
    return budgets(state.report(now_s), live=False)


COMMAND = Command(
    summary="Show what is left of every budget, those with the least left first.",
    examples="""\
Examples:
  llmproxyd budget
  llmproxyd budget --json
  llmproxyd budget --offline --config-dir /etc/llmproxyd""",
    add_arguments=_add_arguments,
    run=_run,
)
