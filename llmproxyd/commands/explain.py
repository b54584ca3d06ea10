"""``llmproxyd explain``: why a request would go where it goes, or what a diagnostic code means. Asks nobody."""

from __future__ import annotations

import asyncio
import json
import re
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.commands.console import CannotGoOn, Command, Console, read_request_bytes
from llmproxyd.commands.explain_text import format_explanation
from llmproxyd.exits import Exit
from llmproxyd.values.contracts import BadRequest, Surface
from llmproxyd.values.failure import ExchangeFailed
from llmproxyd.values.plan import KnownPrompt, Plan, Question, Readings
from llmproxyd.values.privacy import NOTHING_FOUND, Scan, Unread
from llmproxyd.values.request import Capability, Operation, Priority, Request
from llmproxyd.values.snapshot import Snapshot

if TYPE_CHECKING:
    from llmproxyd.server.auth import Caller

BYTES_PER_TOKEN = 4
BUDGET_S = 30.0
_CODE = re.compile(r"LP\d+", re.IGNORECASE)
_CLAIMS = ("project", "user", "task", "label", "lower-label", "priority", "max-cost")
_NEEDS = {
    "tools": Capability.TOOLS,
    "images": Capability.VISION,
    "audio": Capability.AUDIO,
    "files": Capability.FILES,
    "json_schema": Capability.JSON_SCHEMA,
    "thinking": Capability.THINKING,
}
_UNREAD = {"images": "image", "audio": "audio", "files": "file"}
_HAS = (*_NEEDS, "code", "system")
_PROMPT_FIELD: Mapping[Operation, Callable[[str], tuple[str, object]]] = {
    Operation.CHAT: lambda text: ("messages", [{"role": "user", "content": text}]),
    Operation.COMPLETION: lambda text: ("prompt", text),
    Operation.EMBEDDING: lambda text: ("input", text),
    Operation.COUNT_TOKENS: lambda text: ("messages", [{"role": "user", "content": text}]),
}


# --- arguments --------------------------------------------------------------------------------------------------


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ArgumentTypeError(f"expected NAME=VALUE, found {text!r}")
    return name, value


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ArgumentTypeError(
            f"expected a time such as 2026-03-01T09:30 or 2026-03-01T09:30Z, found {text!r}"
        ) from None


def _parts(text: str) -> list[str]:
    unknown = [part for part in text.split(",") if part not in _HAS]
    if unknown:
        raise ArgumentTypeError(f"expected some of {', '.join(_HAS)}, found {unknown[0]!r}")
    return text.split(",")


def _count(text: str) -> int:
    number = text.replace("_", "")
    if not number.isascii() or not number.isdigit():
        raise ArgumentTypeError(f"expected a whole number, found {text!r}")
    return int(number)


def _add_arguments(parser: Any) -> None:
    add = parser.add_argument
    add("what", nargs="?", metavar="CODE|MODEL", help="a diagnostic code, or the model's name")
    add("--model", metavar="NAME", help="the name a client would ask for")
    add("--request", metavar="FILE", help="a request body to start from; - reads standard input")
    add("--surface", metavar="NAME", default="openai-chat", help="the interface it comes by (openai-chat)")
    add("--prompt", metavar="TEXT", help="what the caller writes")
    for claim in ("project", "user", "task", "label"):
        add(f"--{claim}", metavar="NAME", help=f"the {claim} it claims")
    add("--key", metavar="KEY", help="whose request it is: a key's id or name, as `keys list` shows it")
    add("--lower-label", metavar="LABEL", help="the label that the key's owner holds to be right")
    add("--priority", choices=[str(priority) for priority in Priority], help="how urgent it is")
    add("--max-cost", metavar="USD", help="the most that the caller lets a call cost")
    add("--has", type=_parts, metavar="LIST", help=", ".join(_HAS))
    add("--tokens-in", type=_count, metavar="N", help="input tokens, instead of an estimate")
    add("--max-tokens", type=_count, metavar="N", help="the most it lets the model write")
    add("--temperature", type=float, metavar="T", help="its temperature")
    add("--n", type=_count, metavar="N", help="how many answers it wants")
    add("--stream", action="store_true", default=None, help="it wants a stream")
    add("--header", type=_pair, action="append", default=[], metavar="K=V", help="a header; may be repeated")
    add("--metadata", type=_pair, action="append", default=[], metavar="K=V", help="an entry of its metadata")
    add("--at", type=_moment, metavar="TIME", help="when it comes, ISO 8601; local without an offset")


def _run(arguments: Namespace, console: Console) -> int:
    if arguments.what and _CODE.fullmatch(arguments.what):
        return _explain_code(arguments.what.upper(), console)
    return _explain_decision(arguments, console)


def _explain_code(code: str, console: Console) -> int:
    from llmproxyd.config.codes import CODES, explain_code

    page = explain_code(code)
    if page is None:
        raise CannotGoOn(Exit.USAGE, f"there is no code {code}; the codes are {', '.join(sorted(CODES))}")
    if console.json:
        console.say_json({"version": 1, "code": code, "page": page})
    else:
        console.say(page.rstrip("\n"))
    return Exit.OK


# --- decisions --------------------------------------------------------------------------------------------------


def _explain_decision(arguments: Namespace, console: Console) -> int:
    from llmproxyd.commands.files import load_snapshot
    from llmproxyd.routing.compile import compile_routes
    from llmproxyd.routing.decide import decide
    from llmproxyd.server.explain import explain_plan

    snapshot = load_snapshot(console, console.config_dir())
    question = build_question(arguments, console, snapshot)
    plan = decide(question, compile_routes(snapshot), Readings(other_than_mock=_has_key(snapshot)))
    document = explain_plan(question, plan, snapshot.privacy)
    document["offline"] = unknown_offline(snapshot)
    if console.json:
        console.say_json(document)
    else:
        console.say(format_explanation(document, console.style))
    return _status(plan)


def _status(plan: Plan) -> Exit:
    return Exit.OK if plan.candidates else Exit.ERRORS


def _has_key(snapshot: Snapshot) -> bool:
    """Whether `mock` steps back. A keyless server counts only once it has answered, which nobody knows offline."""
    return any(
        deployment.provider.enabled
        and deployment.provider.configured
        and not deployment.provider.keyless
        and not deployment.provider.is_mock
        for deployment in snapshot.deployments
    )


def unknown_offline(snapshot: Snapshot) -> list[str]:
    """Providers whose models only the daemon knows, because their servers tell it."""
    return sorted(p.name for p in snapshot.providers.values() if p.discover and p.enabled and p.configured)


def build_question(arguments: Namespace, console: Console, snapshot: Snapshot) -> Question:
    """The question that the daemon would ask itself about such a request.

    A body is made from the flags and then read by the surface, so that flags and files mean what they mean there. What
    the files say has to be looked for is looked for. Raises CannotGoOn (64, or 66 for a request file that cannot be read).
    """
    from llmproxyd.routing.estimate import estimate_tokens
    from llmproxyd.server.binding import bind
    from llmproxyd.server.question import build_question as ask_as_daemon
    from llmproxyd.surfaces.facts import RequestPrompt

    path, surface = _surface(arguments.surface)
    headers = _headers(arguments)
    try:
        request = surface.parse_request(headers, _body(arguments, surface, console), path)
        prompt = RequestPrompt(request, surface, estimate_tokens)
        now_s = console.wall() if arguments.at is None else arguments.at
        caller = _caller(arguments.key, snapshot)
        tenant = None if caller.tenant is None else caller.tenant.name
        question = ask_as_daemon(request, headers, prompt, now_s=now_s, turn=0, tenant=tenant)
        question = bind(question, caller, headers, snapshot.privacy)
    except (BadRequest, ExchangeFailed) as bad:
        raise CannotGoOn(Exit.USAGE, f"the daemon would refuse this request: {bad.failure.message}") from None
    scan = _look(request, arguments.has or (), snapshot)
    return _with_facts(replace(question, scan=scan), arguments.has or (), arguments.tokens_in)


def _caller(key: str | None, snapshot: Snapshot) -> Caller:
    """Whoever has the key; nobody in particular without one."""
    from llmproxyd.commands.key_files import find_key
    from llmproxyd.server.auth import ANYBODY, Caller

    if key is None:
        return ANYBODY
    found = find_key(key, None, snapshot)
    return Caller(found.tenant, found.key)


def _look(request: Request, has: Sequence[str], snapshot: Snapshot) -> Scan:
    """What the daemon would find in the request. It need not be as quick about it: nobody waits in line."""
    from llmproxyd.server.scanning import Scanner

    scanner = Scanner(time.monotonic, budget_s=BUDGET_S)
    try:
        detectors = scanner.detectors(snapshot)
        if detectors is None:
            return NOTHING_FOUND
        scan = asyncio.run(scanner.look(request, detectors)).scan
    finally:
        scanner.close()
    stated = tuple(Unread(f"--has {part}", _UNREAD[part]) for part in has if part in _UNREAD)
    return replace(
        scan, unscanned=scan.unscanned | {each.kind for each in stated}, unread=(*scan.unread, *stated)
    )


def _with_facts(question: Question, has: Sequence[str], tokens_in: int | None) -> Question:
    """Put in what was stated instead of shown: parts it has, and how long it is."""
    prompt = question.prompt
    stated = KnownPrompt(
        text=prompt.text,
        tokens_in=prompt.tokens_in if tokens_in is None else tokens_in,
        has=prompt.has | frozenset(has),
        conversation=prompt.conversation,
    )
    # The window is checked against the body's size first; a stated length needs a body that could hold it.
    bytes_in = max(question.bytes_in, (tokens_in or 0) * BYTES_PER_TOKEN)
    needs = question.needs | {_NEEDS[part] for part in has if part in _NEEDS}
    return replace(question, prompt=stated, needs=needs, bytes_in=bytes_in)


def _surface(name: str) -> tuple[str, Surface]:
    """The path and the surface of this name."""
    from llmproxyd.surfaces import SURFACES

    by_name = {surface.name: (path, surface) for path, surface in SURFACES.items()}
    if name not in by_name:
        raise CannotGoOn(
            Exit.USAGE, f"there is no surface {name!r}; expected one of {', '.join(sorted(by_name))}"
        )
    return by_name[name]


def _headers(arguments: Namespace) -> dict[str, str]:
    headers = {name.lower(): value for name, value in arguments.header}
    claims = {f"x-llmproxyd-{claim}": getattr(arguments, claim.replace("-", "_")) for claim in _CLAIMS}
    return headers | {name: value for name, value in claims.items() if value is not None}


def _body(arguments: Namespace, surface: Surface, console: Console) -> bytes:
    """The request's body: the file's, with what the flags say put in; or one made of the flags alone."""
    fields: dict[str, object] = {
        "stream": arguments.stream,
        "temperature": arguments.temperature,
        "n": arguments.n,
        "max_tokens": arguments.max_tokens,
        "metadata": dict(arguments.metadata) or None,
        "model": arguments.model or arguments.what,
    }
    if arguments.request is None and fields["model"] is None:
        raise CannotGoOn(Exit.USAGE, "say which model is asked for: --model NAME, or --request FILE")
    if arguments.prompt is not None or arguments.request is None:
        name, value = _PROMPT_FIELD[surface.operation](arguments.prompt or "")
        fields[name] = value
    body = b"{}" if arguments.request is None else read_request_bytes(arguments.request, console)
    given = {name: json.dumps(value).encode() for name, value in fields.items() if value is not None}
    try:
        return jsontext.splice(body, given)
    except jsontext.JSONError as error:
        raise CannotGoOn(Exit.USAGE, f"{arguments.request} does not hold a JSON object: {error}") from None


COMMAND = Command(
    summary="Explain where a request would go and why (0: somewhere, 1: nowhere), or a diagnostic code.",
    examples="""\
Examples:
  llmproxyd explain LP201
  llmproxyd explain smart --prompt "review this" --project website
  llmproxyd explain --request body.json --label confidential --json""",
    add_arguments=_add_arguments,
    run=_run,
)
