"""``llmproxyd events``: what happened to the daemon and its providers lately, or as it happens."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from llmproxyd.commands.client import ask, follow
from llmproxyd.commands.console import CannotGoOn, Command, Console
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit

PATH = "/admin/v1/events"
_DATA = b"data: "
_KIND_COLUMNS = 22


def _add_arguments(parser: Any) -> None:
    add = parser.add_argument
    add("--follow", "-f", action="store_true", help="go on until interrupted; JSON is one event a line then")
    add(
        "--after",
        metavar="ID",
        help="only what came after this event; 0 with --follow: all that is kept first",
    )


def _run(arguments: Namespace, console: Console) -> int:
    if not arguments.follow:
        return _show(arguments.after, console)
    for event in _followed(arguments.after, console):
        console.say(json.dumps(event) if console.json else format_event(event))
        console.stdout.flush()
    console.complain("The daemon has ended the stream: it stops, or starts anew.")
    return Exit.OK


def _show(after: str | None, console: Console) -> int:
    reply = ask(console.settings(), console.environ, "GET", path_of(follow=False, after=after))
    if reply.status != 200 or "events" not in reply.document:
        raise CannotGoOn(Exit.UNAVAILABLE, f"the daemon does not tell its events (status {reply.status})")
    if console.json:
        console.say_json(reply.document)
        return Exit.OK
    for event in reply.document["events"]:
        console.say(format_event(event))
    if not reply.document["events"]:
        console.complain("Nothing has happened.")
    return Exit.OK


def _followed(after: str | None, console: Console) -> Iterator[dict[str, Any]]:
    path = path_of(follow=True, after=after)
    for line in follow(console.settings(), console.environ, path):
        if line.startswith(_DATA):
            yield json.loads(line.removeprefix(_DATA))


def path_of(*, follow: bool, after: str | None) -> str:
    wish = ({} if follow else {"follow": "false"}) | ({} if after is None else {"after": after})
    return f"{PATH}?{urlencode(wish)}" if wish else PATH


def format_event(event: dict[str, Any]) -> str:
    """When, what kind, and one sentence."""
    at = event["at"].partition(".")[0].removesuffix("Z") + "Z"
    return f"{at}  {visible(event['kind']):<{_KIND_COLUMNS}}  {visible(event['text'])}"


COMMAND = Command(
    summary=(
        "Show what happened lately: breakers, failovers, keys refused, reloads, overload.\n"
        "The last 1000 events since the daemon started are kept."
    ),
    examples="""\
Examples:
  llmproxyd events
  llmproxyd events --follow
  llmproxyd events --follow --json --after 0""",
    add_arguments=_add_arguments,
    run=_run,
)
