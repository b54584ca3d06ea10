"""Spending and budgets as text for people: tables of the documents that ``--json`` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmproxyd.commands.console import format_table
from llmproxyd.config.terminal import visible

_NANOS_PER_MICRO: Final = 1000
_NOBODY: Final = "-"
_COLUMNS: Final = ("attempts", "input tokens", "output tokens", "USD", "saved USD", "share")


def usd_cell(nanos: int | None) -> str:
    """Six decimals, so that points stand below each other: ``1.250000``; a dash for an unknown cost."""
    if nanos is None:
        return _NOBODY
    if 0 < abs(nanos) < _NANOS_PER_MICRO // 2:
        return "<0.000001"
    sign, micros = "-" if nanos < 0 else "", (abs(nanos) + _NANOS_PER_MICRO // 2) // _NANOS_PER_MICRO
    return f"{sign}{micros // 1_000_000}.{micros % 1_000_000:06d}"


def format_cost(document: Mapping[str, Any]) -> str:
    """The whole report, part by part; a part with nothing to say is left out."""
    parts = [
        _head(document),
        _table(document),
        _projection(document["projection"]),
        _savings(document["savings"]),
        _top(document["top"]),
        _recommendations(document["recommendations"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(document: Mapping[str, Any]) -> str:
    since, until = (document[end].partition(".")[0] + "Z" for end in ("since", "until"))
    return f"{since} to {until}, by {document['by']} ({visible(document['zone'])})"


def _table(document: Mapping[str, Any]) -> str:
    total = document["total"]
    if not total["attempts"]:
        return "Nothing was asked in this time."
    rows = [[row["name"] or _NOBODY, *_cells(row, total)] for row in document["rows"]]
    rows.append(["total", *_cells(total, total)])
    header = (document["by"], *_COLUMNS)
    text = format_table(header, rows, right=range(1, len(header)))
    unpriced = total["unpriced"]
    if not unpriced:
        return text
    return (
        f"{text}\n{unpriced} of {total['attempts']} attempts have no known cost and are missing in the sums."
    )


def _cells(row: Mapping[str, Any], total: Mapping[str, Any]) -> list[str]:
    numbers = [f"{row[name]:,}" for name in ("attempts", "input_tokens", "output_tokens")]
    share = _share(row["cost_nanos"], total["cost_nanos"])
    return [*numbers, usd_cell(row["cost_nanos"]), usd_cell(row["saved_nanos"]), share]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole > 0 else _NOBODY


def _projection(found: Mapping[str, Any]) -> str:
    head = f"Month {found['month']}: {usd_cell(found['spent_nanos'])} USD so far"
    if found["expected_nanos"] is None:
        return f"{head}; the ledger is empty, so there is no pace to go by."
    pace, since = usd_cell(found["pace_per_day_nanos"]), found["pace_since"].partition("T")[0]
    return f"{head}, {usd_cell(found['expected_nanos'])} USD expected by its end ({pace} USD a day since {since})."


def _savings(savings: Mapping[str, Any] | None) -> str:
    if savings is None or not savings["compared"]:
        return ""
    lines = [
        f"Of the newest {savings['attempts']:,} attempts {savings['compared']:,} were priced elsewhere too:"
    ]
    for habit, words in (("dearest", "the dearest candidate"), ("first", "the first in priority order")):
        saved = savings[f"saved_against_{habit}_nanos"]
        word, other = ("saved", usd_cell(saved)) if saved >= 0 else ("lost", usd_cell(-saved))
        share = _share(abs(saved), savings[f"{habit}_nanos"])
        lines.append(f"  {word} {other} USD ({share}) against always {words}")
    return "\n".join(lines)


def _top(requests: Sequence[Mapping[str, Any]]) -> str:
    if not requests:
        return ""
    header = ("dearest requests", "at", "USD", "attempts", "in", "out", "model", "tenant", "task")
    rows = [
        [
            request["request_id"],
            request["at"].partition(".")[0] + "Z",
            usd_cell(request["cost_nanos"]),
            str(request["attempts"]),
            f"{request['input_tokens']:,}",
            f"{request['output_tokens']:,}",
            f"{request['provider']}/{request['model']}",
            request["tenant"] or _NOBODY,
            request["task"] or _NOBODY,
        ]
        for request in requests
    ]
    return format_table(header, rows, right=(2, 3, 4, 5))


_QUALITY: Final[Mapping[bool | None, str]] = {
    True: "as good, by the figures in providers.yaml",
    None: "how good it is there is not stated: try it first",
}


def _recommendations(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return ""
    lines = ["Cheaper on this traffic, with the line for pipeline.cost of routing.yaml:"]
    for one in found:
        task = f"task {one['task']}" if one["task"] else "requests without a task"
        why = "the same model" if one["same_model"] else _QUALITY[one["as_good"]]
        lines += [
            visible(
                f"  {task} at {one['deployment']}: {usd_cell(one['saved_nanos'])} of {usd_cell(one['spent_nanos'])} USD "
                f"less, over {one['attempts']:,} answers ({why})"
            ),
            f"    - {format_rule(one['rule'])}",
        ]
    return "\n".join(lines)


def format_rule(rule: Mapping[str, Any]) -> str:
    """One line of YAML; JSON in quotes where YAML might read something else."""
    prefer = ", ".join(json.dumps(name) for name in rule["prefer"])
    task = rule["when"]["task"]
    word = task if task == "absent" else json.dumps(task)
    return f"{{name: {json.dumps(rule['name'])}, when: {{task: {word}}}, prefer: [{prefer}]}}"


def format_budgets(document: Mapping[str, Any]) -> str:
    """A line for each balance, least left first."""
    header = ("budget", "for", "per", "amount", "spent", "held", "left", "ends", "then", "refused")
    rows = [
        [
            one["name"],
            _whose(one),
            one["per"],
            _amount(one, "amount"),
            _amount(one, "spent"),
            _amount(one, "held"),
            f"{one['left']:.0%}",
            one["to"].partition(".")[0] + "Z",
            one["then"],
            str(one["refused"]),
        ]
        for one in document["budgets"]
    ]
    return format_table(header, rows, right=(3, 4, 5, 6, 9))


def _whose(one: Mapping[str, Any]) -> str:
    if one["shared"]:
        return f"all other {one['scope']}s"
    return f"{one['scope']} {one['for']}" if one["for"] else one["scope"]


def _amount(one: Mapping[str, Any], name: str) -> str:
    """Money, tokens or both, as the budget counts them."""
    parts = []
    if one["amount_nanos"] is not None:
        parts.append(f"{usd_cell(one[f'{name}_nanos'])} USD")
    if one["amount_tokens"] is not None:
        parts.append(f"{one[f'{name}_tokens']:,} tokens")
    return ", ".join(parts)
