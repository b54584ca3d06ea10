"""Tools towards Cohere: definitions, the choice of them, and names that fit.

Cohere's names hold letters, digits and underscores, and do not begin with a digit. All else is written as ``_x2E_`` and
read back from the answer, without a table: the spelling says it all.
"""

from __future__ import annotations

import re
from typing import Any

from llmproxyd.adapters.carried import not_carried
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Chat, Dialect, Tool, ToolChoice

MAX_NAME_CHARS = 256

_DIALECT = Dialect.COHERE_CHAT
_FOREIGN = re.compile(r"[^a-zA-Z0-9_]|^[0-9]|_(?=x[0-9A-F]{2,6}(?:_|[^a-zA-Z0-9_]))")
_ESCAPED = re.compile(r"_x([0-9A-F]{2,6})_")
_CHOICES = {"none": "NONE", "required": "REQUIRED", "named": "REQUIRED"}


def format_name(name: str, param: str) -> str:
    """A tool's name in Cohere's alphabet. Raises BadRequest for one that is empty or too long then."""
    fitted = _FOREIGN.sub(lambda char: f"_x{ord(char[0]):02X}_", name)
    if not 1 <= len(fitted) <= MAX_NAME_CHARS:
        raise BadRequest(
            f"The chosen model takes tool names of 1 to {MAX_NAME_CHARS} letters, digits and '_'.",
            param=param,
        )
    return fitted


def parse_name(name: str) -> str:
    """The name as the client knows it."""
    return _ESCAPED.sub(_unescape, name) if "_x" in name else name


def _unescape(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return chr(code) if code <= 0x10FFFF else found[0]


def format_tools(chat: Chat, notes: list[str]) -> dict[str, Any]:
    """The fields ``tools``, ``strict_tools`` and ``tool_choice``; empty where there are no tools to speak of."""
    tools = _narrowed(chat.tools, chat.tool_choice)
    if not tools:
        return {}
    if chat.parallel_tool_calls is False:
        notes.append(not_carried("parallel_tool_calls", _DIALECT))
    fields: dict[str, Any] = {"tools": [_format_tool(tool, index) for index, tool in enumerate(tools)]}
    if all(map(_is_strict, tools)):
        fields["strict_tools"] = True
    elif any(tool.strict for tool in tools):
        # Strictness is for all tools or none, and each must then have a required parameter.
        notes.append(not_carried("tools.strict", _DIALECT, "it is for all tools or none"))
    # "auto" is what happens unless told otherwise; there is no word for it.
    mode = chat.tool_choice.mode if chat.tool_choice is not None else "auto"
    return fields | ({"tool_choice": _CHOICES[mode]} if mode in _CHOICES else {})


def _narrowed(tools: tuple[Tool, ...], choice: ToolChoice | None) -> tuple[Tool, ...]:
    """A tool cannot be demanded by name: the others are not offered."""
    if choice is None or not choice.names:
        return tools
    return tuple(tool for tool in tools if tool.name in choice.names)


def _is_strict(tool: Tool) -> bool:
    return bool(tool.strict and tool.parameters and tool.parameters.get("required"))


def _format_tool(tool: Tool, index: int) -> dict[str, Any]:
    where = f"tools[{index}]"
    if tool.kind != "function":
        raise BadRequest(
            f"The chosen model cannot use a tool of type {tool.kind!r}; it takes functions.",
            param=f"{where}.type",
        )
    function: dict[str, Any] = {"name": format_name(tool.name, f"{where}.name")}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = {"type": "object", **(tool.parameters or {"properties": {}})}
    return {"type": "function", "function": function}
