"""``llmproxyd cost estimate``: what a request would cost, on every deployment, before it is sent. Asks nobody.

With a configuration the request is decided upon as the daemon would, and each deployment is priced, those that would be
asked first. With --provider no configuration is needed: any model whose price is publicly known.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from llmproxyd.commands.console import CannotGoOn, Command, Console, format_table
from llmproxyd.commands.cost import count
from llmproxyd.commands.cost_text import usd_cell
from llmproxyd.commands.files import load_snapshot
from llmproxyd.commands.request_body import read_request, surface_names
from llmproxyd.config.catalogue import facts
from llmproxyd.config.presets import PRESETS
from llmproxyd.config.prices import known_price, prices_version
from llmproxyd.config.prices_table import Listing, TableError
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit
from llmproxyd.routing.bound import at_most, extent_asked, price_in_force
from llmproxyd.routing.compile import compile_routes
from llmproxyd.routing.cost import EXPECTED_OUTPUT_TOKENS, expected_output_tokens
from llmproxyd.routing.decide import decide
from llmproxyd.routing.estimate import estimate_tokens
from llmproxyd.routing.vocabulary import Vocabularies
from llmproxyd.server.cost_report import money
from llmproxyd.server.question import build_question
from llmproxyd.surfaces.facts import RequestPrompt
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.cost import Usage, cost_of
from llmproxyd.values.plan import Candidate, Plan, Question, Readings
from llmproxyd.values.request import Operation
from llmproxyd.values.snapshot import Deployment, Snapshot

_VOCABULARIES: Final = Vocabularies()
_CLAIMS: Final = ("project", "user", "task", "label")


class Length(msgspec.Struct, frozen=True):
    """Tokens in, of them from a cache, and out, as far as they are expected."""

    tokens_in: int
    cached: int
    tokens_out: int

    @property
    def usage(self) -> Usage:
        return Usage(self.tokens_in, self.tokens_out, min(self.cached, self.tokens_in), estimated=True)


def _add_arguments(parser: Any) -> None:
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        metavar="FILE",
        help="a request body in any client's dialect; - reads standard input",
    )
    add(
        "--surface",
        choices=surface_names(),
        metavar="S",
        help="the interface it is meant for, where that is not plain",
    )
    add("--model", metavar="NAME", help="the name a client asks for, in place of the body's")
    add(
        "--provider",
        metavar="P",
        help="no configuration: a provider's preset, or its name in the table of prices",
    )
    add("--tokens-in", type=count, metavar="N", help="input tokens, instead of an estimate")
    add(
        "--cached",
        type=count,
        default=0,
        metavar="N",
        help="how many of them come from the provider's cache; 0",
    )
    add("--tokens-out", type=count, metavar="N", help="output tokens, instead of what routing expects")
    for claim in _CLAIMS:
        add(f"--{claim}", metavar="NAME", help=f"the {claim} that the request claims")


def _run(arguments: Namespace, console: Console) -> int:
    if arguments.file is None and arguments.tokens_in is None:
        raise CannotGoOn(
            Exit.USAGE, "say what to price: a FILE with a request, or --tokens-in N and --tokens-out N"
        )
    document = _publicly(arguments, console) if arguments.provider else _configured(arguments, console)
    if console.json:
        console.say_json(document)
    else:
        console.say(_format(document))
    return Exit.OK


# --- without a configuration --------------------------------------------------------------------------------------


def _publicly(arguments: Namespace, console: Console) -> dict[str, Any]:
    """One model of one provider at its public price."""
    question = None if arguments.file is None else _question(arguments, console)
    model: str | None = arguments.model or (None if question is None else question.model)
    length = _length(arguments, question)
    if model is None:
        raise CannotGoOn(Exit.USAGE, "say which model: --model NAME")
    row = estimate_publicly(arguments.provider, model, length, console.wall())
    return _document(model, length, [row])


def estimate_publicly(provider: str, model: str, length: Length, now_s: float) -> dict[str, Any]:
    """The row of one model, priced from what is publicly known. Raises CannotGoOn (1) where that is nothing."""
    try:
        listing = known_price(provider, model)
        version = prices_version()
    except TableError as error:
        raise CannotGoOn(Exit.ERRORS, str(error)) from None
    price = None if listing is None or listing.prices is None else listing.prices.at(now_s)
    if listing is None or price is None:
        raise CannotGoOn(
            Exit.ERRORS,
            f"the price of `{visible(model)}` at `{visible(provider)}` is not known ({version}); "
            "a price of your own goes into providers.yaml, as `price:` of the model",
        )
    longest = _longest_answer(provider, model)
    most = None if longest is None else cost_of(Usage(length.tokens_in, longest), price)
    return {
        "deployment": f"{listing.provider}/{listing.model}",
        "order": None,
        "tokens_in": length.tokens_in,
        **money("expected", cost_of(length.usage, price)),
        **money("most", most),
        "price_source": _source(listing),
        "note": "",
    }


def _longest_answer(provider: str, model: str) -> int | None:
    preset = PRESETS.get(provider)
    known = None if preset is None else facts(model, preset.name)
    return None if known is None else known.max_output_tokens


def _source(listing: Listing) -> str | None:
    return None if listing.prices is None else listing.prices.version


# --- as routing sees it -------------------------------------------------------------------------------------------


def _configured(arguments: Namespace, console: Console) -> dict[str, Any]:
    snapshot = load_snapshot(console, console.config_dir())
    question = _question(arguments, console) if arguments.file is not None else None
    if question is None:
        length = _length(arguments, None)
        rows = [
            _row(one, length, console.wall())
            for one in snapshot.deployments
            if arguments.model in (None, one.name, one.model)
        ]
        if not rows:
            raise CannotGoOn(Exit.MISSING, f"no deployment is called `{visible(arguments.model)}`")
        return _document(arguments.model, length, rows)
    plan = decide(question, compile_routes(snapshot), Readings(other_than_mock=_has_key(snapshot)))
    if plan.failure is not None:
        console.complain(f"llmproxyd: it would be refused: {plan.failure.message}")
    length = _length(arguments, question)
    exact = arguments.tokens_in is None
    return _document(question.model, length, list(_rows(snapshot, plan, question, length, exact=exact)))


def _has_key(snapshot: Snapshot) -> bool:
    """Whether `mock` steps back. A keyless server counts only once it has answered, which nobody knows here."""
    return any(
        one.enabled and one.configured and not one.keyless and not one.is_mock
        for one in snapshot.providers.values()
    )


def _question(arguments: Namespace, console: Console) -> Question:
    """What the daemon would ask itself about the request. Raises CannotGoOn."""
    request, surface = read_request(arguments.file, console, model=arguments.model, surface=arguments.surface)
    claims = {f"x-llmproxyd-{claim}": getattr(arguments, claim) for claim in _CLAIMS}
    headers = {name: value for name, value in claims.items() if value is not None}
    prompt = RequestPrompt(request, surface, estimate_tokens, _VOCABULARIES.count)
    try:
        return build_question(request, headers, prompt, now_s=console.wall(), turn=0)
    except BadRequest as bad:
        raise CannotGoOn(Exit.USAGE, f"the daemon would refuse this request: {bad.failure.message}") from None


def _length(arguments: Namespace, question: Question | None) -> Length:
    """What is stated; what is not comes from the request."""
    tokens_in, tokens_out = arguments.tokens_in, arguments.tokens_out
    if tokens_in is None:
        tokens_in = 0 if question is None else question.prompt.tokens_in
    if tokens_out is None:
        tokens_out = EXPECTED_OUTPUT_TOKENS if question is None else expected_output_tokens(question)
    return Length(tokens_in, arguments.cached, tokens_out)


def _rows(
    snapshot: Snapshot, plan: Plan, question: Question, length: Length, *, exact: bool
) -> Iterator[dict[str, Any]]:
    """Who would be asked, in that order; then who was dropped, and why; then all others that do such things. ``exact``:
    the request is counted as each model counts, where that can be told."""
    extent = extent_asked(question, plan.overrides)
    if exact:
        _VOCABULARIES.load(deployment.upstream for deployment in snapshot.deployments)

    def row(deployment: Deployment, order: int | None = None, note: str = "") -> dict[str, Any]:
        most = at_most(extent, deployment, question.now_s).nanos
        tokens_in = question.prompt.tokens_for(deployment.upstream) if exact else length.tokens_in
        counted = replace(length, tokens_in=tokens_in)
        return _row(deployment, counted, question.now_s, order=order, note=note, most=most)

    notes = {one.deployment.name: _why(one) for one in plan.dropped}
    asked = {one.deployment.name for one in plan.candidates}
    for place, candidate in enumerate(plan.candidates, 1):
        yield row(candidate.deployment, place)
    for deployment in sorted(snapshot.deployments, key=lambda one: one.name not in notes):
        if deployment.name not in asked and _can(deployment, question.operation):
            note = notes.get(deployment.name) or _why_not_asked(deployment, question.model)
            yield row(deployment, note=note)


def _can(deployment: Deployment, operation: Operation) -> bool:
    return operation in deployment.operations and not deployment.provider.is_mock


def _why(candidate: Candidate) -> str:
    return next((verdict.reason for verdict in candidate.verdicts if verdict.dropped), "")


def _why_not_asked(deployment: Deployment, model: str) -> str:
    provider = deployment.provider
    if not provider.enabled:
        return f"{provider.name} is disabled"
    return (
        f"{provider.name} is not configured: {provider.reason}"
        if not provider.configured
        else f"not meant by {model}"
    )


def _row(
    deployment: Deployment,
    length: Length,
    now_s: float,
    *,
    order: int | None = None,
    note: str = "",
    most: int | None = None,
) -> dict[str, Any]:
    """``order``: the how-manieth it would be asked. ``most``: nano-dollars, None where nothing bounds it."""
    price = price_in_force(deployment, now_s)
    return {
        "deployment": deployment.name,
        "order": order,
        "tokens_in": length.tokens_in,
        **money("expected", None if price is None else cost_of(length.usage, price)),
        **money("most", most),
        "price_source": None if deployment.prices is None else deployment.prices.version,
        "note": note,
    }


# --- telling ------------------------------------------------------------------------------------------------------


def _document(model: str | None, length: Length, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": 1,
        "model": model,
        "tokens_in": length.tokens_in,
        "tokens_cached": min(length.cached, length.tokens_in),
        "tokens_out": length.tokens_out,
        "estimates": rows,
    }


def _format(document: dict[str, Any]) -> str:
    cached = f" ({document['tokens_cached']:,} cached)" if document["tokens_cached"] else ""
    head = f"{document['tokens_in']:,} tokens in{cached}, {document['tokens_out']:,} expected out"
    header = ("", "deployment", "tokens in", "expected USD", "at most USD", "price by", "")
    return "\n".join([head, format_table(header, _cells(document["estimates"]), right=(0, 2, 3, 4))])


def _cells(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        yield (
            "" if row["order"] is None else f"{row['order']}.",
            row["deployment"],
            f"{row['tokens_in']:,}",
            usd_cell(row["expected_nanos"]),
            usd_cell(row["most_nanos"]),
            row["price_source"] or "nobody",
            row["note"],
        )


COMMAND = Command(
    summary=(
        "Price a request on every deployment before it is sent: what is expected, and the most it can cost.\n"
        "Numbered are those that would be asked, in that order. With --provider no configuration is needed."
    ),
    examples="""\
Examples:
  llmproxyd cost estimate body.json
  llmproxyd cost estimate - --model auto --task review < body.json
  llmproxyd cost estimate --tokens-in 2000 --tokens-out 500
  llmproxyd cost estimate --provider openai --model gpt-5.6-luna --tokens-in 2000 --tokens-out 500""",
    add_arguments=_add_arguments,
    run=_run,
)
