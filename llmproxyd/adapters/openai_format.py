"""Canonical content -> the body of a call in OpenAI's dialect: chat, legacy completions, embeddings.

Where a server does not know a field it is told by its ``Quirks``, which are data. Left out with a warning: ``top_k``
for makers that refuse it, cache marks of tools, what only other dialects know. Fields of ``extras`` that are this
dialect's own ride along untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from llmproxyd.adapters.carried import Losses
from llmproxyd.adapters.openai_messages import MessageWriter
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Chat,
    Dialect,
    Document,
    Embed,
    OutputFormat,
    Overrides,
    Request,
    Sampling,
    Text,
    Tool,
    ToolChoice,
)
from llmproxyd.values.snapshot import Deployment, Quirks

_DIALECT = Dialect.OPENAI_CHAT

# Thinking budgets of other dialects, as the efforts they come closest to.
_EFFORT_BUDGETS = ((0, "none"), (1024, "minimal"), (2048, "low"), (8192, "medium"), (16384, "high"))
_LARGEST_EFFORT = "xhigh"

_SAMPLING = (
    "temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "n",
)  # fmt: skip


def format_chat(
    request: Request, chat: Chat, deployment: Deployment, overrides: Overrides
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body, warnings). Raises BadRequest naming the field that the dialect cannot carry."""
    quirks, losses = deployment.provider.quirks, Losses(chat, _DIALECT)
    sampling = _fit(_overridden(chat.sampling, overrides), quirks, losses)
    body: dict[str, Any] = {**chat.extras.get(_DIALECT, {})}
    body["model"] = deployment.upstream
    body["messages"] = MessageWriter(deployment, losses).write(chat.messages)
    body |= dict(_tool_fields(chat, losses))
    body |= dict(_sampling_fields(sampling, quirks))
    effort = overrides.effort or chat.effort or _effort_of(chat.thinking_budget)
    optional: Mapping[str, Any] = {
        "reasoning_effort": effort,
        "response_format": _format_output(chat.output_format),
        "user": chat.user,
        "service_tier": chat.service_tier,
        "metadata": dict(chat.metadata) or None,
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    return body | stream_fields(request, quirks), losses.texts()


def format_completion(
    request: Request, chat: Chat, deployment: Deployment, overrides: Overrides
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A legacy completion: one text in, no conversation."""
    quirks, losses = deployment.provider.quirks, Losses(chat, _DIALECT)
    sampling = _fit(_overridden(chat.sampling, overrides), quirks, losses)
    if overrides.effort or chat.effort or chat.thinking_budget:
        losses.note("reasoning_effort", "a completion has none")
    body: dict[str, Any] = {**chat.extras.get(_DIALECT, {})}
    body |= {"model": deployment.upstream, "prompt": prompt_of(chat)}
    body |= dict(_sampling_fields(sampling, replace(quirks, max_completion_tokens=False)))
    if chat.user is not None:
        body["user"] = chat.user
    return body | stream_fields(request, quirks), losses.texts()


def format_embedding(embed: Embed, deployment: Deployment) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body, warnings). Floats are asked for whatever the client wants: every server knows them, and the surface can
    encode."""
    body: dict[str, Any] = {**embed.extras.get(_DIALECT, {})}
    inputs = [list(item) if isinstance(item, tuple) else item for item in embed.inputs]
    body |= {
        "model": deployment.upstream,
        "input": inputs[0] if len(inputs) == 1 and isinstance(inputs[0], str) else inputs,
    }
    optional: Mapping[str, Any] = {
        "dimensions": embed.dimensions,
        "user": embed.user,
        "input_type": embed.input_type,
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    return body, Losses(embed, _DIALECT).texts()


def stream_fields(request: Request, quirks: Quirks) -> dict[str, Any]:
    """Usage is asked for in every stream, since it has to be counted; the client sees it only if it asked itself."""
    if not request.stream:
        return {}
    return (
        {"stream": True, "stream_options": {"include_usage": True}}
        if quirks.stream_usage
        else {"stream": True}
    )


def prompt_of(chat: Chat) -> str:
    """The text of a conversation of one message. Raises BadRequest if it is more than that."""
    parts = chat.messages[0].parts if len(chat.messages) == 1 else ()
    texts = [part.text for part in parts if isinstance(part, Text)]
    if len(chat.messages) != 1 or len(texts) != len(parts):
        raise BadRequest("A completion takes one text and nothing else.", param="prompt")
    return "".join(texts)


def _overridden(sampling: Sampling, overrides: Overrides) -> Sampling:
    fields = {
        name: value
        for name in ("temperature", "top_p", "max_tokens", "seed")
        if (value := getattr(overrides, name)) is not None
    }
    return replace(sampling, **fields) if fields else sampling


def _fit(sampling: Sampling, quirks: Quirks, losses: Losses) -> Sampling:
    if sampling.max_tokens is None:
        sampling = replace(sampling, max_tokens=quirks.default_max_tokens)
    # Those who know the new name of the limit are the dialect's makers, and refuse what is not theirs.
    if sampling.top_k is not None and quirks.max_completion_tokens:
        losses.note("top_k")
        return replace(sampling, top_k=None)
    return sampling


def _sampling_fields(sampling: Sampling, quirks: Quirks) -> Iterator[tuple[str, Any]]:
    for name in _SAMPLING:
        value = getattr(sampling, name)
        if value is not None:
            yield name, value
    if sampling.max_tokens is not None:
        yield limit_name(quirks), sampling.max_tokens
    if sampling.stop:
        yield "stop", list(sampling.stop)
    if sampling.logit_bias is not None:
        yield "logit_bias", dict(sampling.logit_bias)


def limit_name(quirks: Quirks) -> str:
    """What the server calls the limit of generated tokens."""
    return "max_completion_tokens" if quirks.max_completion_tokens else "max_tokens"


def _effort_of(budget: int | None) -> str | None:
    if budget is None:
        return None
    return next((effort for bound, effort in _EFFORT_BUDGETS if budget <= bound), _LARGEST_EFFORT)


def _tool_fields(chat: Chat, losses: Losses) -> Iterator[tuple[str, Any]]:
    # Several servers refuse these three where there are no tools, and an empty list of them.
    if not chat.tools:
        return
    if any(tool.cache is not None for tool in chat.tools):
        losses.note("cache marks of tools")
    yield "tools", [_format_tool(tool) for tool in chat.tools]
    if chat.tool_choice is not None:
        yield "tool_choice", _format_choice(chat.tool_choice, chat.tools)
    if chat.parallel_tool_calls is not None:
        yield "parallel_tool_calls", chat.parallel_tool_calls


def _format_tool(tool: Tool) -> Document:
    if tool.kind != "function":
        return tool.raw or {"type": tool.kind}
    function: dict[str, Any] = {"name": tool.name}
    optional = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    return {"type": "function", "function": function | {k: v for k, v in optional.items() if v is not None}}


def _format_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> Any:
    named = [_reference(name, tools) for name in choice.names]
    if choice.mode == "named":
        return named[0]
    if named:
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}
    return choice.mode


def _reference(name: str, tools: tuple[Tool, ...]) -> dict[str, Any]:
    kind = next((tool.kind for tool in tools if tool.name == name), "function")
    return {"type": kind, kind: {"name": name}}


def _format_output(wanted: OutputFormat | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    optional = {"schema": wanted.schema, "strict": wanted.strict, "description": wanted.description}
    schema = {"name": wanted.name or "answer"} | {k: v for k, v in optional.items() if v is not None}
    return {"type": "json_schema", "json_schema": schema}
