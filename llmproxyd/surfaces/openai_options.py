"""What surrounds the messages of an OpenAI request: tools, the choice of them, the form of the answer, sampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from llmproxyd.surfaces.openai_parts import parse_cache_mark
from llmproxyd.values.request import Document, OutputFormat, Sampling, Tool, ToolChoice

_MODES = ("none", "auto", "required")
_FORMATS = ("text", "json_object", "json_schema")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def parse_tools(document: Document) -> tuple[Tool, ...]:
    """``tools``, or the deprecated ``functions``."""
    tools = [
        _parse_tool(tool, f"tools[{index}].") for index, tool in enumerate(read_objects(document, "tools"))
    ]
    functions = [
        _parse_function(function, f"functions[{index}].", None)
        for index, function in enumerate(read_objects(document, "functions"))
    ]
    return (*tools, *functions)


def _parse_tool(tool: Document, where: str) -> Tool:
    kind = need_text(tool, "type", where)
    if kind == "function":
        return _parse_function(need_object(tool, "function", where), f"{where}function.", tool)
    # Hosted tools and grammars mean something to their maker only; the definition stays whole.
    inner = tool.get(kind)
    name = inner.get("name") if isinstance(inner, dict) else None
    return Tool(name if isinstance(name, str) else "", kind=kind, raw=tool)


def _parse_function(function: Document, where: str, tool: Document | None) -> Tool:
    return Tool(
        name=need_text(function, "name", where),
        description=read_text(function, "description", where),
        parameters=read_object(function, "parameters", where),
        strict=read_bool(function, "strict", where),
        cache=parse_cache_mark(tool or function),
    )


def parse_tool_choice(document: Document) -> ToolChoice | None:
    """``tool_choice``, or the deprecated ``function_call``."""
    name = "tool_choice" if document.get("tool_choice") is not None else "function_call"
    choice = document.get(name)
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice not in _MODES:
            raise wrong_value(name, choice, f"Supported values are: {', '.join(map(repr, _MODES))}.")
        return ToolChoice(choice)
    if not isinstance(choice, dict):
        raise wrong_type(name, "a string or an object", choice)
    if name == "function_call":
        return ToolChoice("named", (need_text(choice, "name", "function_call."),))
    return _parse_named_choice(choice)


def _parse_named_choice(choice: Document) -> ToolChoice:
    kind = need_text(choice, "type", "tool_choice.")
    inner = need_object(choice, kind, "tool_choice.")
    if kind != "allowed_tools":
        return ToolChoice("named", (need_text(inner, "name", f"tool_choice.{kind}."),))
    mode = need_text(inner, "mode", "tool_choice.allowed_tools.")
    if mode not in ("auto", "required"):
        raise wrong_value("tool_choice.allowed_tools.mode", mode, "Supported values are: 'auto', 'required'.")
    names = []
    for index, tool in enumerate(read_objects(inner, "tools", "tool_choice.allowed_tools.")):
        where = f"tool_choice.allowed_tools.tools[{index}]."
        reference = need_object(tool, need_text(tool, "type", where), where)
        names.append(need_text(reference, "name", f"{where}{tool['type']}."))
    return ToolChoice(mode, tuple(names))


def parse_output_format(document: Document) -> OutputFormat | None:
    wanted = read_object(document, "response_format")
    if wanted is None:
        return None
    kind = need_text(wanted, "type", "response_format.")
    if kind not in _FORMATS:
        raise wrong_value(
            "response_format.type", kind, f"Supported values are: {', '.join(map(repr, _FORMATS))}."
        )
    if kind != "json_schema":
        return OutputFormat(kind)
    inside = "response_format.json_schema."
    schema = need_object(wanted, "json_schema", "response_format.")
    return OutputFormat(
        kind,
        schema=read_object(schema, "schema", inside),
        name=need_text(schema, "name", inside),
        strict=read_bool(schema, "strict", inside),
        description=read_text(schema, "description", inside),
    )


def read_max_tokens(document: Document) -> int | None:
    """The limit of generated tokens, under its new or its old name."""
    new = read_int(document, "max_completion_tokens", low=1)
    old = read_int(document, "max_tokens", low=1)
    return old if new is None else new


def parse_sampling(document: Document) -> Sampling:
    logprobs = read_bool(document, "logprobs")
    return Sampling(
        temperature=read_number(document, "temperature"),
        top_p=read_number(document, "top_p"),
        top_k=read_int(document, "top_k"),
        max_tokens=read_max_tokens(document),
        stop=parse_stop(document),
        seed=read_int(document, "seed"),
        frequency_penalty=read_number(document, "frequency_penalty"),
        presence_penalty=read_number(document, "presence_penalty"),
        logit_bias=_parse_logit_bias(document),
        logprobs=logprobs,
        top_logprobs=read_int(document, "top_logprobs", low=0),
        n=read_int(document, "n", low=1, high=128),
    )


def parse_stop(document: Document) -> tuple[str, ...]:
    stop = document.get("stop")
    if stop is None:
        return ()
    if isinstance(stop, str):
        return (stop,)
    if not isinstance(stop, list):
        raise wrong_type("stop", "a string or an array of strings", stop)
    for index, item in enumerate(stop):
        if not isinstance(item, str):
            raise wrong_type(f"stop[{index}]", "a string", item)
    return tuple(stop)


def _parse_logit_bias(document: Document) -> Mapping[str, float] | None:
    bias: dict[str, Any] | None = read_object(document, "logit_bias")
    for token, value in (bias or {}).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong_type(f"logit_bias.{token[:64]}", "a decimal", value)
    return bias


def read_effort(document: Document) -> str | None:
    effort = read_text(document, "reasoning_effort")
    if effort is not None and effort not in EFFORTS:
        raise wrong_value(
            "reasoning_effort", effort, f"Supported values are: {', '.join(map(repr, EFFORTS))}."
        )
    return effort
