"""``llmproxyd reload``: have the running daemon read its files again, and tell what came of it."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from typing import Any

from llmproxyd.commands.client import ask
from llmproxyd.commands.console import CannotGoOn, Command, Console
from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.config.report import format_text
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit
from llmproxyd.in_force import check_token

PATH = "/admin/v1/config/reload"
ACCEPTED = 202


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 3600:
        raise ArgumentTypeError(f"expected seconds, above 0 and up to 3600, found {text!r}")
    return seconds


def _add_arguments(parser: Any) -> None:
    parser.add_argument("--wait", action="store_true", help="return when the verdict is there, not before")
    parser.add_argument("--token", metavar="NAME", help="name this reload in logs and history")
    parser.add_argument("--timeout", type=_seconds, default=30.0, metavar="S", help="seconds to wait (30)")


def _run(arguments: Namespace, console: Console) -> int:
    settings = console.settings()
    wish = {"wait": arguments.wait} | ({} if arguments.token is None else {"token": _token(arguments.token)})
    reply = ask(settings, console.environ, "POST", PATH, wish, timeout_s=arguments.timeout)
    if "result" not in reply.document and reply.status != ACCEPTED:
        raise CannotGoOn(Exit.ERRORS, f"the daemon refused: {_refusal(reply.document)}")
    if console.json:
        console.say_json(reply.document)
    else:
        _tell(reply.document, console)
    return Exit.ERRORS if reply.document.get("result") == "rejected" else Exit.OK


def _token(text: str) -> str:
    try:
        return check_token(text)
    except ValueError as error:
        raise CannotGoOn(Exit.USAGE, f"--token: {error}") from None


def _tell(document: dict[str, Any], console: Console) -> None:
    result, generation = document.get("result"), document.get("generation")
    if result == "rejected":
        console.complain(
            format_text(read_problems(document), {}, color=console.colors(console.stderr)).rstrip("\n")
        )
        console.complain(f"rejected: generation {generation} stays in force")
    elif result == "noop":
        console.say(f"nothing changed: generation {generation} stays in force")
    elif result == "applied":
        took_ms = round(float(document.get("duration_s", 0.0)) * 1000)
        console.say(f"applied: generation {generation} in {took_ms} ms")
    else:
        token = document.get("token")
        console.say(f"accepted: {visible(str(token))}" if token else "accepted")


def read_problems(document: dict[str, Any]) -> list[Problem]:
    """The problems of an answer, which are written as ``format_json`` writes them."""
    return [
        Problem(
            code=problem["code"],
            severity=Severity(problem["severity"]),
            message=problem["message"],
            span=_span(problem["span"]),
            secondary=tuple(span for entry in problem["secondary"] if (span := _span(entry))),
            helps=tuple(problem["helps"]),
            notes=tuple(problem["notes"]),
        )
        for problem in document.get("problems", ())
    ]


def _span(entry: dict[str, Any] | None) -> Span | None:
    return None if entry is None else Span(**entry)


def _refusal(document: dict[str, Any]) -> str:
    error = document.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return visible(str(message or document))[:500]


COMMAND = Command(
    summary="Have the running daemon read its files again: 0 taken, 1 rejected, 69 no daemon, 75 too slow.",
    examples="""\
Examples:
  llmproxyd reload --wait
  llmproxyd reload --wait --timeout 20 --token deploy-42""",
    add_arguments=_add_arguments,
    run=_run,
)
