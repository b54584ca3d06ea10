"""Canonical content -> the bodies of Ollama's native API: /api/chat, /api/generate, /api/embed.

Ollama's own defaults are kept: what the client does not set is not sent, ``num_ctx`` above all, since changing it
loads the model anew. Left out with a warning: a demand for tool use (there is no such field), token biases, the wish
for one call at a time, user, metadata, service tier, names, cache marks, citations, strictness of tools, and what only
other dialects know. Left out silently: signatures, which mean something to their makers only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.carried import Losses
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

_DIALECT = Dialect.OLLAMA_CHAT

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
    losses = Losses(chat, _DIALECT)
    body: dict[str, Any] = {**_extras(chat), "messages": list(_Writer(losses).write(chat.messages))}
    tools = _usable_tools(chat, losses)
    if tools:
        body["tools"] = [_format_tool(tool, index, losses) for index, tool in enumerate(tools)]
    body |= _common(chat, deployment, overrides, losses, stream=stream)
    return body, losses.texts()


def format_generate(
    chat: Chat, prompt: str, deployment: Deployment, overrides: Overrides, *, stream: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body of /api/generate, warnings): a text without a conversation."""
    losses = Losses(chat, _DIALECT)
    body: dict[str, Any] = {**_extras(chat), "prompt": prompt}
    return body | _common(chat, deployment, overrides, losses, stream=stream), losses.texts()


def format_embed(embed: Embed, upstream: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body of /api/embed, warnings). Raises BadRequest for what is no text."""
    if not all(isinstance(item, str) for item in embed.inputs):
        raise BadRequest("The chosen model embeds text only, not token ids.", param="input")
    losses = Losses(embed, _DIALECT)
    losses.note_given(embed, "user", "input_type")
    body: dict[str, Any] = {
        **embed.extras.get(_DIALECT, {}),
        "model": upstream,
        "input": list(embed.inputs),
    }
    return body if embed.dimensions is None else body | {"dimensions": embed.dimensions}, losses.texts()


def _extras(chat: Chat) -> dict[str, Any]:
    return {**chat.extras.get(_DIALECT, {})}


def _common(
    chat: Chat, deployment: Deployment, overrides: Overrides, losses: Losses, *, stream: bool
) -> dict[str, Any]:
    losses.note_given(chat, "user", "metadata")
    if chat.service_tier not in (None, "auto"):
        losses.note("service_tier")
    # Without the field Ollama streams.
    fields: dict[str, Any] = {"model": deployment.upstream, "stream": stream}
    options = {**_extras(chat).get("options", {}), **_options(chat.sampling, overrides, losses)}
    if options:
        fields["options"] = options
    think = _think(chat, deployment, overrides, losses)
    if think is not None:
        fields["think"] = think
    output = _format_output(chat.output_format, losses)
    if output is not None:
        fields["format"] = output
    if chat.sampling.logprobs:
        fields["logprobs"] = True
        if chat.sampling.top_logprobs is not None:
            fields["top_logprobs"] = chat.sampling.top_logprobs
    return fields


def _options(sampling: Sampling, overrides: Overrides, losses: Losses) -> dict[str, Any]:
    if sampling.n is not None and sampling.n > 1:
        raise BadRequest("The chosen model gives one answer per request.", param="n")
    losses.note_given(sampling, "logit_bias")
    options: dict[str, Any] = {}
    for name, option in _OPTIONS.items():
        wanted = getattr(overrides, name, None)
        value = getattr(sampling, name) if wanted is None else wanted
        if value is not None:
            options[option] = value
    if sampling.stop:
        options["stop"] = list(sampling.stop)
    return options


def _think(chat: Chat, deployment: Deployment, overrides: Overrides, losses: Losses) -> bool | str | None:
    effort = overrides.effort or chat.effort
    think: bool | str | None = chat.thinking_budget > 0 if chat.thinking_budget is not None else None
    if effort is not None:
        think = _THINK.get(effort, True)
    known = deployment.capabilities
    if think and known is not None and Capability.THINKING not in known:
        # Ollama refuses the whole request otherwise.
        losses.note("reasoning_effort", "the model does not think")
        return None
    return think


def _format_output(wanted: OutputFormat | None, losses: Losses) -> Any:
    if wanted is None or wanted.kind == "text":
        return None
    if wanted.description:
        losses.note("response_format.description")
    return wanted.schema if wanted.kind == "json_schema" and wanted.schema is not None else "json"


# --- tools ------------------------------------------------------------------------------------------------------


def _usable_tools(chat: Chat, losses: Losses) -> tuple[Tool, ...]:
    """Ollama has no choice of tools: what must not be called is not offered, what must be called cannot be forced."""
    if chat.parallel_tool_calls is False and chat.tools:
        losses.note("parallel_tool_calls")
    choice = chat.tool_choice
    if choice is None:
        return chat.tools
    if choice.mode == "none":
        return ()
    if choice.mode in ("required", "named") and chat.tools:
        losses.note("tool_choice", "a call cannot be forced")
    return tuple(tool for tool in chat.tools if tool.name in choice.names) if choice.names else chat.tools


def _format_tool(tool: Tool, index: int, losses: Losses) -> dict[str, Any]:
    if tool.kind != "function":
        raise BadRequest(
            f"The chosen model knows function tools only, not {tool.kind!r}.", param=f"tools[{index}].type"
        )
    if tool.strict:
        losses.note("tools.strict")
    if tool.cache is not None:
        losses.note("cache marks")
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


# --- messages ---------------------------------------------------------------------------------------------------


class _Writer:
    """Writes the messages of one call."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._names: dict[str, str] = {}  # call id -> tool name; a later call with the same id wins

    def write(self, messages: tuple[Message, ...]) -> Iterator[dict[str, Any]]:
        for index, message in enumerate(messages):
            self._names |= {part.id: part.name for part in message.parts if isinstance(part, ToolCall)}
            yield from self._message(message, f"messages[{index}]")

    def _message(self, message: Message, where: str) -> Iterator[dict[str, Any]]:
        if message.name is not None:
            self._losses.note("messages.name")
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        others: list[Part] = [part for part in message.parts if not isinstance(part, ToolResult)]
        for result in results:
            self._note(result)
            yield _format_result(result, self._names)
        # A tool message holds text only: its images go to a user message that follows.
        moved: list[Part] = [
            part for result in results for part in result.parts if not isinstance(part, Text)
        ]
        if not results or others or moved:
            role = Role.USER if results else message.role
            yield self._turn(role, [*moved, *others], where)

    def _turn(self, role: Role, parts: list[Part], where: str) -> dict[str, Any]:
        for part in parts:
            self._note(part)
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

    def _note(self, part: Part) -> None:
        """What is lost of a part that is carried."""
        if isinstance(part, Text | Image | File | ToolResult) and part.cache is not None:
            self._losses.note("cache marks")
        match part:
            case Text(citations=citations) if citations:
                self._losses.note("citations")
            case Image(detail=detail) if detail not in (None, "auto"):
                self._losses.note("image_url.detail")
            case Thinking(text="", encrypted=str()):
                self._losses.note("thinking", "another model's")
            case ToolResult(parts=inner):
                for text in inner:
                    if isinstance(text, Text):
                        self._note(text)


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
