"""An explanation as a page for people, made from the same document that --json prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from llmproxyd.config.terminal import visible, wrap

Style: TypeAlias = Callable[[str, str], str]
WIDTH = 100
_MOST_SHOWN = 20
_KINDS = {
    "any": "every deployment that can serve it, ranked by the pipeline",
    "set": "{count}, ranked by the pipeline",
    "list": "{count}, in this order",
    "weights": "{count}, the first drawn by share",
    "model": "{count} of this model, ranked by the pipeline",
    "explicit": "one deployment, named by the client",
}


def format_explanation(document: dict[str, Any], style: Style) -> str:
    """``document``: what ``explain_plan`` makes, with ``offline``: providers whose models nobody knows offline."""
    return "\n".join(_lines(document, style))


def _lines(document: dict[str, Any], style: Style) -> Iterator[str]:
    yield from _head(document, style)
    for place, candidate in enumerate(document["candidates"], start=1):
        yield ""
        yield f"{place}. {style(visible(candidate['deployment']), 'bold')}  {_about(candidate)}"
        yield from _verdicts(candidate["verdicts"], style)
        if candidate["rank"]:
            yield f"     rank         {' '.join(map(_number, candidate['rank']))}"
    fenced = {each["deployment"] for each in document["fenced"]}
    yield from _dropped(
        "kept out by the fence", [c for c in document["dropped"] if c["deployment"] in fenced], style
    )
    yield from _dropped("dropped", [c for c in document["dropped"] if c["deployment"] not in fenced], style)
    yield ""
    yield from _tail(document, style)


def _dropped(title: str, candidates: Sequence[dict[str, Any]], style: Style) -> Iterator[str]:
    if candidates:
        yield ""
        yield style(title, "bold")
    for candidate in candidates:
        yield f"   {visible(candidate['deployment'])}  {_about(candidate)}"
        yield from _verdicts([v for v in candidate["verdicts"] if v["dropped"]], style)


def _looked(label: dict[str, Any]) -> Iterator[str]:
    """What was found in the request and what was not read: each with its place and the label it gives."""
    if label["failed"] is not None:
        yield f"scan: failed, so everything counts as found: {visible(label['failed'])}"
    yield from _table(
        "found",
        [(each["kind"], f"{each['place']} {each['start']}-{each['end']}", each) for each in label["found"]],
    )
    yield from _table(
        "unread",
        [(each["kind"], each["place"] or "somewhere in its texts", each) for each in label["unread"]],
    )


def _table(title: str, rows: Sequence[tuple[str, str, dict[str, Any]]]) -> Iterator[str]:
    if not rows:
        return
    yield f"{title}:"
    shown = rows[:_MOST_SHOWN]
    kinds = max(len(visible(kind)) for kind, _, _ in shown)
    places = max(len(visible(place)) for _, place, _ in shown)
    for kind, place, each in shown:
        gives = visible(each["label"]) if each["label"] else "gives no label"
        raised = ", raised it" if each["source"] else ""
        yield f"   {visible(kind).ljust(kinds)}  {visible(place).ljust(places)}  {gives}{raised}"
    if len(rows) > len(shown):
        yield f"   and {len(rows) - len(shown)} more; --json shows all"


def _head(document: dict[str, Any], style: Style) -> Iterator[str]:
    target = document["target"]
    if target is None:
        yield f"{style(visible(document['model']), 'bold')}: no such name"
    else:
        place = f"  ({visible(target['place'])})" if target["place"] else ""
        yield f"{style(visible(document['model']), 'bold')}: {_kind(target)}{place}"
    label = document["label"]
    yield f"label: {visible(label['name'])} ({_listed(label['sources']) or 'default'})"
    yield from _looked(label)
    yield f"rules: {_listed(document['rules']) or 'none applied'}"
    if document["overrides"]:
        yield "set: " + ", ".join(f"{name} = {value}" for name, value in document["overrides"].items())


def _kind(target: dict[str, Any]) -> str:
    count = len(target["deployments"])
    return _KINDS[target["kind"]].format(count=f"{count} deployment{'' if count == 1 else 's'}")


def _about(candidate: dict[str, Any]) -> str:
    upstream = candidate["upstream"]
    known_as = (
        ""
        if upstream == candidate["deployment"].partition("/")[2]
        else f", known there as {visible(upstream)}"
    )
    return f"({candidate['zone']}{known_as})"


def _verdicts(verdicts: Iterable[dict[str, Any]], style: Style) -> Iterator[str]:
    for verdict in verdicts:
        stage = verdict["stage"] or "before"
        rule = f"{visible(verdict['rule'])}: " if verdict["rule"] else ""
        first, *rest = wrap(f"{rule}{visible(verdict['reason'])}", WIDTH - 18, 0)
        yield f"     {style(stage.ljust(12), 'red' if verdict['dropped'] else 'dim')} {first}"
        yield from (" " * 18 + line for line in rest)


def _number(part: float | str) -> str:
    return visible(part) if isinstance(part, str) else f"{part:g}"


def _tail(document: dict[str, Any], style: Style) -> Iterator[str]:
    failure = document["failure"]
    if failure is not None:
        yield style(f"refused with {failure['status']} ({failure['kind']}):", "red")
        yield from (f"   {line}" for line in wrap(visible(failure["message"]), WIDTH - 3, 0))
    else:
        yield from wrap(_fallback(document["fallback"]), WIDTH, 3)
    if document["offline"]:
        names = _listed(document["offline"])
        note = f"note: {names}: the server says which models it has; offline they are unknown and left out"
        yield from wrap(note, WIDTH, 6)


def _fallback(policy: dict[str, Any]) -> str:
    if policy["attempts"] <= 1 or not policy["on"]:
        return "fallback: off; one attempt and no more"
    again = (
        f"the same one again at most {policy['retry_max']}x, after {policy['retry_base_s']:g} to {policy['retry_cap_s']:g} s"
        if policy["retry_max"]
        else "never the same one again"
    )
    return (
        f"fallback: up to {policy['attempts']} attempts within {policy['deadline_s']:g} s; {again}; "
        f"on {', '.join(policy['on'])}"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(visible, names))
