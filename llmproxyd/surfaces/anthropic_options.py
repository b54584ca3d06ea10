"""What surrounds the messages of an Anthropic request: tools, thinking, the form of the answer, who asks.

Of thinking and ``output_config`` the effort, the budget and the schema have a canonical form. The rest of them rides
in the dialect's own extras, so that it comes out again towards Anthropic, and only there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from llmproxyd.surfaces.anthropic_blocks import BlockReader, parse_cache_mark
from llmproxyd.surfaces.openai_fields import (
    need_object,
    need_text,
    read_bool,
    read_int,
    read_number,
    read_object,
    read_objects,
    read_text,
    wrong_type,
    wrong_value,
)
from llmproxyd.values.request import Document, OutputFormat, Sampling, Tool, ToolChoice

EFFORTS = ("low", "medium", "high", "xhigh", "max")
MAX_USER_CHARS = 64
"""Longer names of a user are refused by others; Claude Code's is a whole JSON document."""

_THINKING = ("adaptive", "enabled", "disabled", "between_tools")
_CHOICES: Mapping[str, str] = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}
_TIERS: Mapping[str, str] = {"auto": "auto", "standard_only": "default"}
_TOOL_FIELDS = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})


class Thought(msgspec.Struct, frozen=True):
    """What a request says of thinking; ``extras`` are its fields that only this dialect has."""

    effort: str | None = None
    budget: int | None = None
    output_format: OutputFormat | None = None
    extras: Mapping[str, Document] = msgspec.field(default_factory=dict)


def parse_tools(document: Document, reader: BlockReader) -> tuple[Tool, ...]:
    return tuple(
        _parse_tool(tool, f"tools[{index}].", reader)
        for index, tool in enumerate(read_objects(document, "tools"))
    )


def _parse_tool(tool: Document, where: str, reader: BlockReader) -> Tool:
    kind = read_text(tool, "type", where) or "custom"
    if kind != "custom":
        # A tool that runs at Anthropic's; its definition stays whole.
        return Tool(read_text(tool, "name", where) or "", kind=kind, raw=tool)
    for name, value in tool.items():
        if name not in _TOOL_FIELDS and value is not None:
            reader.leave_out(f"tools.{name[:64]}")
    return Tool(
        name=need_text(tool, "name", where),
        description=read_text(tool, "description", where),
        parameters=need_object(tool, "input_schema", where),
        strict=read_bool(tool, "strict", where),
        cache=parse_cache_mark(tool),
    )


def parse_tool_choice(document: Document) -> tuple[ToolChoice | None, bool | None]:
    """-> (choice, whether several calls at once are allowed)."""
    choice = read_object(document, "tool_choice")
    if choice is None:
        return None, None
    kind = need_text(choice, "type", "tool_choice.")
    if kind not in _CHOICES:
        raise wrong_value(
            "tool_choice.type", kind, f"Supported values are: {', '.join(map(repr, _CHOICES))}."
        )
    alone = read_bool(choice, "disable_parallel_tool_use", "tool_choice.")
    names = (need_text(choice, "name", "tool_choice."),) if kind == "tool" else ()
    return ToolChoice(_CHOICES[kind], names), None if alone is None else not alone


def parse_thought(document: Document) -> Thought:
    """``thinking`` and ``output_config`` (or the older ``output_format``)."""
    thinking, config = read_object(document, "thinking"), dict(read_object(document, "output_config") or {})
    effort = read_text(config, "effort", "output_config.")
    if effort is not None and effort not in EFFORTS:
        raise wrong_value("output_config.effort", effort, f"Supported values are: {', '.join(EFFORTS)}.")
    config.pop("effort", None)
    wanted = config.pop("format", None) or document.get("output_format")
    kind, budget, rest = _parse_thinking(thinking, effort)
    if kind == "disabled":
        # The effort then steers the answer alone, which no other dialect can say.
        config |= {"effort": effort} if effort is not None else {}
        effort = "none"
    extras = {"thinking": rest, "output_config": config}
    return Thought(
        effort, budget, _parse_format(wanted), {name: value for name, value in extras.items() if value}
    )


def parse_sampling(document: Document) -> Sampling:
    return Sampling(
        temperature=read_number(document, "temperature"),
        top_p=read_number(document, "top_p"),
        top_k=read_int(document, "top_k", low=0),
        max_tokens=read_int(document, "max_tokens", low=0),
        stop=_parse_stop(document),
    )


def parse_tier(document: Document) -> str | None:
    tier = read_text(document, "service_tier")
    if tier is not None and tier not in _TIERS:
        raise wrong_value("service_tier", tier, f"Supported values are: {', '.join(map(repr, _TIERS))}.")
    return None if tier is None else _TIERS[tier]


def read_user(document: Document) -> str | None:
    """``metadata.user_id`` as it is written."""
    metadata = read_object(document, "metadata") or {}
    return read_text(metadata, "user_id", "metadata.")


def shorten_user(user: str) -> str:
    """A name that every provider takes, the same for the same user."""
    if len(user) <= MAX_USER_CHARS:
        return user
    return "user_" + hashlib.blake2b(user.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _parse_thinking(
    thinking: Document | None, effort: str | None
) -> tuple[str | None, int | None, dict[str, Any]]:
    """-> (type, budget, what only this dialect can say)."""
    if thinking is None:
        return None, None, {}
    kind = need_text(thinking, "type", "thinking.")
    if kind not in _THINKING:
        raise wrong_value("thinking.type", kind, f"Supported values are: {', '.join(map(repr, _THINKING))}.")
    budget = thinking.get("budget_tokens") if kind == "enabled" else None
    if kind == "enabled" and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
        raise wrong_type("thinking.budget_tokens", "a positive integer", budget)
    rest = {name: value for name, value in thinking.items() if name not in ("type", "budget_tokens")}
    if kind == "between_tools" or (kind == "adaptive" and effort is None):
        rest["type"] = kind
    return kind, budget, rest


def _parse_format(wanted: Any) -> OutputFormat | None:
    if wanted is None:
        return None
    if not isinstance(wanted, dict):
        raise wrong_type("output_config.format", "an object", wanted)
    kind = need_text(wanted, "type", "output_config.format.")
    if kind != "json_schema":
        raise wrong_value("output_config.format.type", kind, "Supported values are: 'json_schema'.")
    return OutputFormat(kind, schema=need_object(wanted, "schema", "output_config.format."))


def _parse_stop(document: Document) -> tuple[str, ...]:
    stop = document.get("stop_sequences")
    if stop is None:
        return ()
    if not isinstance(stop, list):
        raise wrong_type("stop_sequences", "an array of strings", stop)
    for index, item in enumerate(stop):
        if not isinstance(item, str):
            raise wrong_type(f"stop_sequences[{index}]", "a string", item)
    return tuple(stop)
