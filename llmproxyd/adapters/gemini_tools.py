"""Canonical tools, the choice of them, and the form of the answer -> Gemini's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmproxyd.adapters.gemini_generations import Generation
from llmproxyd.adapters.gemini_names import format_name
from llmproxyd.adapters.gemini_schema import SchemaTooLarge, sanitize_schema
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Chat, Document, OutputFormat, Tool, ToolChoice

Warn = Callable[[str], None]
"""Takes the name of a field that is not carried."""


def format_tools(chat: Chat, generation: Generation, warn: Warn, *, own: bool) -> dict[str, Any]:
    """``tools`` and ``toolConfig``; nothing where there are no tools. ``own``: the client speaks Gemini itself.

    Raises BadRequest naming a tool that Gemini cannot be given.
    """
    if not chat.tools:
        # A choice without anything to choose from is refused.
        return {}
    if chat.parallel_tool_calls is False:
        warn("parallel_tool_calls")
    declarations = []
    hosted = []
    for index, tool in enumerate(chat.tools):
        where = f"tools[{index}]"
        if tool.kind == "function":
            declarations.append(_format_declaration(tool, where, generation, warn, own=own))
        elif own and tool.raw is not None:
            hosted.append(tool.raw)
        else:
            raise BadRequest(
                f"The chosen model knows function tools only, not {tool.kind[:64]!r}.", param=f"{where}.type"
            )
    fields: dict[str, Any] = {
        "tools": [*([{"functionDeclarations": declarations}] if declarations else []), *hosted]
    }
    if chat.tool_choice is not None:
        fields["toolConfig"] = {"functionCallingConfig": _format_choice(chat.tool_choice)}
    return fields


def tool_name(name: str, where: str) -> str:
    """The name as Gemini takes it. Raises BadRequest."""
    try:
        return format_name(name)
    except ValueError as error:
        raise BadRequest(f"The chosen model cannot call this tool: {error}.", param=f"{where}.name") from None


def format_output(wanted: OutputFormat | None, generation: Generation, warn: Warn) -> dict[str, Any]:
    """The fields of ``generationConfig`` that say what form the answer has. Raises BadRequest."""
    if wanted is None:
        return {}
    if wanted.kind == "text":
        return {"responseMimeType": "text/plain"}
    form: dict[str, Any] = {"responseMimeType": "application/json"}
    if wanted.schema is None:
        return form
    if wanted.strict is False:
        warn("response_format.strict")
    if wanted.description is not None:
        warn("response_format.description")
    if generation.json_schema:
        return form | {"responseJsonSchema": _plain(wanted.schema)}
    return form | {"responseSchema": _cut(wanted.schema, "response_format.schema", warn)}


def _format_declaration(
    tool: Tool, where: str, generation: Generation, warn: Warn, *, own: bool
) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": tool_name(tool.name, where)}
    if tool.description is not None:
        declaration["description"] = tool.description
    if tool.strict:
        warn(f"{where}.strict")
    if tool.cache is not None:
        warn("cache marks")
    if tool.parameters is not None and _has_fields(tool.parameters):
        if generation.json_schema:
            declaration["parametersJsonSchema"] = _plain(tool.parameters)
        else:
            declaration["parameters"] = _cut(tool.parameters, f"{where}.parameters", warn)
    return declaration | dict(tool.raw or {}) if own else declaration


def _has_fields(schema: Document) -> bool:
    """An object without fields is refused by some models; without parameters it means the same."""
    return bool(
        set(schema) - {"type", "properties", "required", "additionalProperties", "$schema", "title"}
    ) or bool(schema.get("properties"))


def _plain(schema: Document) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "$schema"}


def _cut(schema: Document, where: str, warn: Warn) -> dict[str, Any]:
    try:
        cut, lost = sanitize_schema(schema)
    except SchemaTooLarge as error:
        raise BadRequest(f"The chosen model cannot be given this schema: {error}.", param=where) from None
    for name in lost:
        warn(f"{where}: {name}")
    return cut


def _format_choice(choice: ToolChoice) -> dict[str, Any]:
    names = [tool_name(name, "tool_choice") for name in choice.names]
    if choice.mode == "none":
        return {"mode": "NONE"}
    if choice.mode == "auto":
        # Names are taken with ANY and VALIDATED only; the latter leaves the model free to answer in text.
        return {"mode": "VALIDATED", "allowedFunctionNames": names} if names else {"mode": "AUTO"}
    return {"mode": "ANY", "allowedFunctionNames": names} if names else {"mode": "ANY"}
