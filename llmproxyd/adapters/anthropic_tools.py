"""Tools towards Anthropic: definitions, the choice of them, and names that fit.

Names of other dialects may hold dots, colons, slashes. They are written as ``_x2E_`` and read back from the answer,
without a table: the spelling says it all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from llmproxyd.adapters.carried import not_carried
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import CacheMark, Chat, Dialect, Document, Tool, ToolChoice

MAX_NAME_CHARS = 128

_DIALECT = Dialect.ANTHROPIC_MESSAGES
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]|_(?=x[0-9A-F]{2,6}(?:_|[^a-zA-Z0-9_-]))")
_ESCAPED = re.compile(r"_x([0-9A-F]{2,6})_")
_TTLS = frozenset({"5m", "1h"})
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def format_name(name: str, param: str) -> str:
    """A tool's name in the alphabet of this dialect. Raises BadRequest for one that is then too long."""
    fitted = _FOREIGN.sub(lambda char: f"_x{ord(char[0]):02X}_", name)
    if not 1 <= len(fitted) <= MAX_NAME_CHARS:
        raise BadRequest(
            f"The chosen model takes tool names of 1 to {MAX_NAME_CHARS} letters, digits, '_' and '-'.",
            param=param,
        )
    return fitted


def parse_name(name: str) -> str:
    """The name as the client knows it."""
    return _ESCAPED.sub(_unescape, name) if "_x" in name else name


def _unescape(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return chr(code) if code <= 0x10FFFF else found[0]


def format_cache(mark: CacheMark | None) -> dict[str, Any]:
    """The ``cache_control`` field, or none. Lifetimes that others have are left to the default."""
    if mark is None:
        return {}
    return {"cache_control": {"type": "ephemeral"} | ({"ttl": mark.ttl} if mark.ttl in _TTLS else {})}


def format_tools(chat: Chat, own: bool, called: Iterable[str], notes: list[str]) -> dict[str, Any]:
    """The fields ``tools`` and ``tool_choice``; empty where there is nothing to say.

    own: the client speaks this dialect, so that tools of the provider's own may pass. called: names of the tools that
    the history calls; a history with calls needs declared tools, which then must not be used.
    """
    tools = _narrowed(chat.tools, chat.tool_choice)
    if not tools:
        declared = [_declared(name) for name in dict.fromkeys(called)]
        return {"tools": declared, "tool_choice": {"type": "none"}} if declared else {}
    fields: dict[str, Any] = {
        "tools": [_format_tool(tool, index, own, notes) for index, tool in enumerate(tools)]
    }
    choice = _format_choice(chat.tool_choice, chat.parallel_tool_calls)
    return fields if choice is None else fields | {"tool_choice": choice}


def is_forced(choice: Document | None) -> bool:
    """Whether a ``tool_choice`` of this dialect demands a call."""
    return choice is not None and choice.get("type") in ("any", "tool")


def _narrowed(tools: tuple[Tool, ...], choice: ToolChoice | None) -> tuple[Tool, ...]:
    """The dialect cannot name several allowed tools: those that are not are not offered."""
    if choice is None or not choice.names or choice.mode == "named":
        return tools
    return tuple(tool for tool in tools if tool.name in choice.names)


def _declared(name: str) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object"}}


def _format_tool(tool: Tool, index: int, own: bool, notes: list[str]) -> Document:
    where = f"tools[{index}]"
    if tool.kind != "function":
        if own and tool.raw is not None:
            return tool.raw
        raise BadRequest(
            f"The chosen model cannot use a tool of type {tool.kind!r}; it takes functions.",
            param=f"{where}.type",
        )
    wire: dict[str, Any] = {
        "name": format_name(tool.name, f"{where}.name"),
        "input_schema": {"type": "object", **(tool.parameters or {"properties": {}})},
    }
    if tool.description is not None:
        wire["description"] = tool.description
    if tool.strict is not None and own:
        wire["strict"] = tool.strict
    elif tool.strict:
        # What this dialect enforces differs: a schema written for another would be refused as a whole.
        note = not_carried("tools.strict", _DIALECT)
        notes.extend([note] if note not in notes else [])
    return wire | format_cache(tool.cache)


def _format_choice(choice: ToolChoice | None, parallel: bool | None) -> dict[str, Any] | None:
    if choice is None and parallel is None:
        return None
    mode = choice.mode if choice is not None else "auto"
    wire: dict[str, Any] = {"type": _CHOICES.get(mode, "tool")}
    if choice is not None and mode == "named":
        wire["name"] = format_name(choice.names[0], "tool_choice")
    if parallel is not None and mode != "none":
        wire["disable_parallel_tool_use"] = not parallel
    return wire
