"""Canonical content -> the bodies of Ollama's native API: /api/chat, /api/generate, /api/embed.

Ollama's own defaults are kept: what the client does not set is not sent, ``num_ctx`` above all, since changing it
loads the model anew. Dropped with a warning: a demand for tool use (there is no such field), token biases, the wish
for one call at a time. Dropped silently: user, metadata, service tier, cache marks, signatures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmproxyd import jsontext
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Capability,
    Chat,
    Dialect,
    Embed,
    File,
    Image,
    Message,
    OutputFormat,
    Overrides,
    Part,
    Refusal,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from llmproxyd.values.snapshot import Deployment

# Ollama's own OpenAI-like layer translates efforts like this.
_THINK: dict[str, bool | str] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max",
}  # fmt: skip
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "max_tokens": "num_predict",
}


def format_chat(
    chat: Chat, deployment: Deployment, overrides: Overrides, *, stream: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body of /api/chat, warnings). Raises BadRequest naming the field that cannot be carried."""
    warnings: list[str] = []
    body: dict[str, Any] = {**_extras(chat), "messages": list(_format_messages(chat.messages))}
    tools = _usable_tools(chat, warnings)
    if tools:
        body["tools"] = [_format_tool(tool, index) for index, tool in enumerate(tools)]
    body |= _common(chat, deployment, overrides, warnings, stream=stream)
    return body, tuple(warnings)


def format_generate(
    chat: Chat, prompt: str, deployment: Deployment, overrides: Overrides, *, stream: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body of /api/generate, warnings): a text without a conversation."""
    warnings: list[str] = []
    body: dict[str, Any] = {**_extras(chat), "prompt": prompt}
    return body | _common(chat, deployment, overrides, warnings, stream=stream), tuple(warnings)


def format_embed(embed: Embed, upstream: str) -> dict[str, Any]:
    if not all(isinstance(item, str) for item in embed.inputs):
        raise BadRequest("The chosen model embeds text only, not token ids.", param="input")
    body: dict[str, Any] = {
        **embed.extras.get(Dialect.OLLAMA_CHAT, {}),
        "model": upstream,
        "input": list(embed.inputs),
    }
    return body if embed.dimensions is None else body | {"dimensions": embed.dimensions}


def _extras(chat: Chat) -> dict[str, Any]:
    return {**chat.extras.get(Dialect.OLLAMA_CHAT, {})}


def _common(
    chat: Chat, deployment: Deployment, overrides: Overrides, warnings: list[str], *, stream: bool
) -> dict[str, Any]:
    # Without the field Ollama streams.
    fields: dict[str, Any] = {"model": deployment.upstream, "stream": stream}
    options = {**_extras(chat).get("options", {}), **_options(chat.sampling, overrides, warnings)}
    if options:
        fields["options"] = options
    think = _think(chat, deployment, overrides, warnings)
    if think is not None:
        fields["think"] = think
    output = _format_output(chat.output_format)
    if output is not None:
        fields["format"] = output
    if chat.sampling.logprobs:
        fields["logprobs"] = True
        if chat.sampling.top_logprobs is not None:
            fields["top_logprobs"] = chat.sampling.top_logprobs
    return fields


def _options(sampling: Sampling, overrides: Overrides, warnings: list[str]) -> dict[str, Any]:
    if sampling.n is not None and sampling.n > 1:
        raise BadRequest("The chosen model gives one answer per request.", param="n")
    if sampling.logit_bias:
        warnings.append("logit_bias was left out: the provider does not know it")
    options: dict[str, Any] = {}
    for name, option in _OPTIONS.items():
        wanted = getattr(overrides, name, None)
        value = getattr(sampling, name) if wanted is None else wanted
        if value is not None:
            options[option] = value
    if sampling.stop:
        options["stop"] = list(sampling.stop)
    return options


def _think(
    chat: Chat, deployment: Deployment, overrides: Overrides, warnings: list[str]
) -> bool | str | None:
    effort = overrides.effort or chat.effort
    think: bool | str | None = chat.thinking_budget > 0 if chat.thinking_budget is not None else None
    if effort is not None:
        think = _THINK.get(effort, True)
    known = deployment.capabilities
    if think and known is not None and Capability.THINKING not in known:
        # Ollama refuses the whole request otherwise.
        warnings.append("the reasoning effort was left out: the model does not think")
        return None
    return think


def _format_output(wanted: OutputFormat | None) -> Any:
    if wanted is None or wanted.kind == "text":
        return None
    return wanted.schema if wanted.kind == "json_schema" and wanted.schema is not None else "json"


# --- tools ------------------------------------------------------------------------------------------------------


def _usable_tools(chat: Chat, warnings: list[str]) -> tuple[Tool, ...]:
    """Ollama has no choice of tools: what must not be called is not offered, what must be called cannot be forced."""
    if chat.parallel_tool_calls is False and chat.tools:
        warnings.append("parallel_tool_calls was left out: the provider does not know it")
    choice = chat.tool_choice
    if choice is None:
        return chat.tools
    if choice.mode == "none":
        return ()
    if choice.mode in ("required", "named") and chat.tools:
        warnings.append("tool_choice was left out: the provider cannot force a tool call")
    return tuple(tool for tool in chat.tools if tool.name in choice.names) if choice.names else chat.tools


def _format_tool(tool: Tool, index: int) -> dict[str, Any]:
    if tool.kind != "function":
        raise BadRequest(
            f"The chosen model knows function tools only, not {tool.kind!r}.", param=f"tools[{index}].type"
        )
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


# --- messages ---------------------------------------------------------------------------------------------------


def _format_messages(messages: tuple[Message, ...]) -> Iterator[dict[str, Any]]:
    names: dict[str, str] = {}  # call id -> tool name; a later call with the same id wins
    for index, message in enumerate(messages):
        names |= {part.id: part.name for part in message.parts if isinstance(part, ToolCall)}
        yield from _format_message(message, f"messages[{index}]", names)


def _format_message(message: Message, where: str, names: dict[str, str]) -> Iterator[dict[str, Any]]:
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    others: list[Part] = [part for part in message.parts if not isinstance(part, ToolResult)]
    for result in results:
        yield _format_result(result, names)
    # A tool message holds text only: its images go to a user message that follows.
    moved: list[Part] = [part for result in results for part in result.parts if not isinstance(part, Text)]
    if not results or others or moved:
        role = Role.USER if results else message.role
        yield _format_turn(role, [*moved, *others], where)


def _format_turn(role: Role, parts: list[Part], where: str) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "role": Role.SYSTEM.value if role is Role.DEVELOPER else role.value,
        "content": "\n".join(text for text in map(_text_of, parts) if text),
    }
    images = [
        _format_image(part, f"{where}.content[{i}]")
        for i, part in enumerate(parts)
        if _is_seen(part, where, i)
    ]
    if images:
        wire["images"] = images
    thoughts = [part.text for part in parts if isinstance(part, Thinking) and part.text]
    if thoughts and role is Role.ASSISTANT:
        wire["thinking"] = "".join(thoughts)
    calls = [_format_tool_call(part) for part in parts if isinstance(part, ToolCall)]
    if calls:
        wire["tool_calls"] = calls
    return wire


def _text_of(part: Part) -> str:
    match part:
        case Text() | Refusal():
            return part.text
        case File(text=str(text)):
            return text
        case _:
            return ""


def _is_seen(part: Part, where: str, index: int) -> bool:
    """Whether the part is an image; what is neither that nor text cannot be carried."""
    if isinstance(part, Image):
        return True
    if isinstance(part, (Text, Refusal, Thinking, ToolCall)) or (
        isinstance(part, File) and part.text is not None
    ):
        return False
    what = type(part).__name__.lower()
    raise BadRequest(f"The chosen model takes text and images, no {what}.", param=f"{where}.content[{index}]")


def _format_image(part: Part, where: str) -> str:
    if isinstance(part, Image) and part.data is not None:
        return part.data
    raise BadRequest(
        "The chosen model takes images as data only: send a data: URL instead of an address.", param=where
    )


def _format_tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "function": {"name": call.name, "arguments": _arguments(call.arguments)}}


def _arguments(text: str) -> dict[str, Any]:
    """Ollama wants an object. What a model once wrote and is none is kept in one, so that history stays history."""
    if not text.strip():
        return {}
    try:
        value = jsontext.decode(text)
    except jsontext.JSONError:
        return {"arguments": text}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"arguments": value}


def _format_result(result: ToolResult, names: dict[str, str]) -> dict[str, Any]:
    text = "\n".join(part.text for part in result.parts if isinstance(part, Text))
    wire: dict[str, Any] = {"role": "tool", "content": f"Error: {text}" if result.is_error else text}
    if result.call_id:
        wire["tool_call_id"] = result.call_id
    name = result.name or names.get(result.call_id)
    return wire if name is None else wire | {"tool_name": name}
