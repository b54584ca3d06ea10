"""A client request's headers and envelope -> the Question that routing is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from llmproxyd.config.units import parse_usd_nanos
from llmproxyd.routing.bound import asks_for_tier
from llmproxyd.routing.cost import MAX_COST_HEADER
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.plan import Prompt, Purse, Question
from llmproxyd.values.request import Priority, Request

_CLAIM = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")
_PRIORITIES = {priority.value: priority for priority in Priority}
_DEADLINE = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


def read_claim(headers: Mapping[str, str], name: str) -> str | None:
    """The claim ``x-llmproxyd-NAME``; None if nobody makes it. Raises BadRequest for what cannot be a name."""
    value = headers.get("x-llmproxyd-" + name)
    if value is None or value == "":
        return None
    if not _CLAIM.fullmatch(value):
        raise BadRequest(
            f"The header x-llmproxyd-{name} must be 1 to 128 printable ASCII characters.",
            param=f"x-llmproxyd-{name}",
        )
    return value


def read_priority(headers: Mapping[str, str]) -> Priority:
    value = headers.get("x-llmproxyd-priority")
    if value is None:
        return Priority.NORMAL
    priority = _PRIORITIES.get(value.lower())
    if priority is None:
        raise BadRequest(
            "The header x-llmproxyd-priority must be interactive, normal or batch.",
            param="x-llmproxyd-priority",
        )
    return priority


def read_deadline_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the caller is willing to wait for the first content; None: as the operator says."""
    value = headers.get("x-llmproxyd-deadline")
    if value is None:
        return None
    found = _DEADLINE.fullmatch(value.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= 86_400:
        raise BadRequest(
            "The header x-llmproxyd-deadline must be a duration such as 500ms, 30s or 2m.",
            param="x-llmproxyd-deadline",
        )
    return seconds


def read_max_cost_nanos(headers: Mapping[str, str]) -> int | None:
    """The most that the caller allows a call to come to; None: as the operator says."""
    value = headers.get(MAX_COST_HEADER)
    if value is None:
        return None
    try:
        return parse_usd_nanos(value)
    except ValueError as why:
        raise BadRequest(f"The header {MAX_COST_HEADER}: {why}.", param=MAX_COST_HEADER) from None


def claims_of(question: Question) -> tuple[str, str, str]:
    """(project, user, task): what the caller said of itself, for the log and the books; empty: nothing."""
    return question.project or "", question.user or "", question.task or ""


def build_question(
    request: Request,
    headers: Mapping[str, str],
    prompt: Prompt,
    *,
    now_s: float,
    turn: int,
    tenant: str | None = None,
    purse: Purse | None = None,
) -> Question:
    """``now_s`` is wall clock. Raises BadRequest for a header that cannot be understood."""
    max_cost_nanos = read_max_cost_nanos(headers)
    return Question(
        model=request.model,
        operation=request.operation,
        surface=request.surface,
        stream=request.stream,
        needs=request.needs,
        max_output_tokens=request.max_output_tokens,
        temperature=request.temperature,
        n=request.n,
        project=read_claim(headers, "project"),
        user=read_claim(headers, "user"),
        task=read_claim(headers, "task"),
        label=read_claim(headers, "label"),
        tenant=tenant,
        priority=read_priority(headers),
        headers=headers,
        metadata=request.metadata,
        prompt=prompt,
        bytes_in=len(request.body),
        now_s=now_s,
        turn=turn,
        seed=turn,
        purse=purse,
        max_cost_nanos=max_cost_nanos,
        any_tier=max_cost_nanos is not None and asks_for_tier(request.body),
    )
