"""Canonical content -> the body of a call to /responses or /responses/input_tokens.

Nothing is kept at the provider: the whole conversation goes out each time, and encrypted thoughts are asked for, which
come back in it. What the dialect has no word for is noted; what would change the answer's meaning is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from llmproxyd.adapters.carried import foreign_fields, not_carried
from llmproxyd.adapters.responses_input import format_input, format_tool_name
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Capability,
    Chat,
    Dialect,
    Document,
    Operation,
    OutputFormat,
    Overrides,
    Request,
    Sampling,
    Tool,
    ToolChoice,
)
from llmproxyd.values.responses import HOSTED_TOOLS, PHASES
from llmproxyd.values.snapshot import Deployment

MIN_OUTPUT_TOKENS = 16

_DIALECT = Dialect.OPENAI_RESPONSES
_COUNTED = frozenset(
    {
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text",
        "truncation",
    }
)  # fmt: skip
_UNKNOWN = ("top_k", "seed", "frequency_penalty", "presence_penalty", "logit_bias")
_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
_EMPTY_SCHEMA: Document = {"type": "object", "properties": {}}

# Fields that OpenAI gave both its dialects; of the others the chat dialect's own are not ours to read.
_SHARED = ("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier")

# Thinking budgets of other dialects, as the efforts they come closest to.
_EFFORT_BUDGETS = ((0, "none"), (1024, "minimal"), (2048, "low"), (8192, "medium"), (16384, "high"))
_LARGEST_EFFORT = "xhigh"


def format_body(
    request: Request, chat: Chat, deployment: Deployment, overrides: Overrides
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body, warnings). Raises BadRequest naming the field that the dialect cannot carry."""
    return _Formatter(request, chat, deployment, overrides).format()


class _Formatter:
    """One body in the making; ``notes`` collects the warnings."""

    def __init__(self, request: Request, chat: Chat, deployment: Deployment, overrides: Overrides) -> None:
        self._request = request
        self._extras = dict(chat.extras.get(_DIALECT, {}))
        self._shared = dict(chat.extras.get(Dialect.OPENAI_CHAT, {}))
        self._deployment = deployment
        self._overrides = overrides
        self._chat = chat
        self.notes: list[str] = []

    def format(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        chat = self._chat
        phases, hosted = self._extras.pop(PHASES, []), self._extras.pop(HOSTED_TOOLS, [])
        include = [*self._extras.pop("include", ())]
        shared = self._take_shared()
        instructions, items = format_input(chat.messages, phases, self.notes)
        if not items:
            raise BadRequest(
                "There is nothing in the messages that can be sent to the chosen model.", param="messages"
            )
        # The client's own fields first: what is canonical, or was overridden, replaces them.
        body: dict[str, Any] = self._extras | shared | {"model": self._deployment.upstream, "input": items}
        if instructions is not None:
            body["instructions"] = instructions
        body |= dict(self._tool_fields(hosted))
        body |= self._reasoning() | self._text()
        if self._request.operation is Operation.COUNT_TOKENS:
            return {name: value for name, value in body.items() if name in _COUNTED}, tuple(self.notes)
        body |= dict(self._sampling_fields()) | self._people() | {"store": False}
        include = self._include(include)
        if include:
            body["include"] = include
        if self._request.stream:
            body["stream"] = True
        return body, tuple(self.notes)

    def _take_shared(self) -> dict[str, Any]:
        """What the chat dialect's fields are called here; the rest of them is noted, with all foreign fields."""
        taken = {name: self._shared.pop(name) for name in _SHARED if name in self._shared}
        verbosity = self._shared.pop("verbosity", None)
        if verbosity is not None:
            self._extras["text"] = {"verbosity": verbosity, **self._extras.get("text", {})}
        left = {**self._chat.extras, Dialect.OPENAI_CHAT: self._shared}
        self.notes.extend(foreign_fields(replace(self._chat, extras=left), _DIALECT))
        return taken

    # --- tools ------------------------------------------------------------------------------------------------

    def _tool_fields(self, hosted: list[Document]) -> Iterator[tuple[str, Any]]:
        chat = self._chat
        own = self._request.dialect is _DIALECT
        tools = [*(_format_tool(tool, f"tools[{n}]", own) for n, tool in enumerate(chat.tools)), *hosted]
        if not tools:
            # A choice among no tools is refused.
            return
        yield "tools", tools
        if chat.tool_choice is not None:
            yield "tool_choice", _format_choice(chat.tool_choice, chat.tools)
        if chat.parallel_tool_calls is not None:
            yield "parallel_tool_calls", chat.parallel_tool_calls

    # --- the form of the answer -------------------------------------------------------------------------------

    def _reasoning(self) -> dict[str, Any]:
        chat = self._chat
        reasoning = dict(self._extras.get("reasoning", {}))
        effort = self._overrides.effort or chat.effort or _effort_of(chat.thinking_budget)
        if effort is not None:
            reasoning["effort"] = effort
        return {"reasoning": reasoning} if reasoning else {}

    def _text(self) -> dict[str, Any]:
        text = dict(self._extras.get("text", {}))
        if self._chat.output_format is not None:
            text["format"] = _format_output(self._chat.output_format)
        return {"text": text} if text else {}

    def _include(self, wanted: list[str]) -> list[str]:
        known = self._deployment.capabilities
        # Models that are known not to think refuse to be asked for it.
        if (known is None or Capability.THINKING in known) and _ENCRYPTED not in wanted:
            wanted = [*wanted, _ENCRYPTED]
        if self._chat.sampling.logprobs and _LOGPROBS not in wanted:
            wanted = [*wanted, _LOGPROBS]
        return wanted

    # --- sampling and people ----------------------------------------------------------------------------------

    def _sampling_fields(self) -> Iterator[tuple[str, Any]]:
        sampling = _overridden(self._chat.sampling, self._overrides)
        if sampling.n is not None and sampling.n > 1:
            raise BadRequest("The chosen model gives one answer per request.", param="n")
        if sampling.stop:
            raise BadRequest("The chosen model knows no stop sequences.", param="stop")
        for name in _UNKNOWN:
            if getattr(sampling, name):
                self.notes.append(not_carried(name, _DIALECT))
        for name in ("temperature", "top_p", "top_logprobs"):
            if getattr(sampling, name) is not None:
                yield name, getattr(sampling, name)
        if sampling.max_tokens is not None:
            if sampling.max_tokens < MIN_OUTPUT_TOKENS:
                self.notes.append(not_carried("max_tokens", _DIALECT, f"{MIN_OUTPUT_TOKENS} is the least"))
            yield "max_output_tokens", max(sampling.max_tokens, MIN_OUTPUT_TOKENS)

    def _people(self) -> dict[str, Any]:
        chat = self._chat
        fields: Mapping[str, Any] = {
            "user": chat.user,
            "service_tier": chat.service_tier,
            "metadata": dict(chat.metadata) or None,
        }
        return {name: value for name, value in fields.items() if value is not None}


def _overridden(sampling: Sampling, overrides: Overrides) -> Sampling:
    fields = {
        name: value
        for name in ("temperature", "top_p", "max_tokens", "seed")
        if (value := getattr(overrides, name)) is not None
    }
    return replace(sampling, **fields) if fields else sampling


def _effort_of(budget: int | None) -> str | None:
    if budget is None:
        return None
    return next((effort for bound, effort in _EFFORT_BUDGETS if budget <= bound), _LARGEST_EFFORT)


def _format_tool(tool: Tool, where: str, own: bool) -> Document:
    if tool.kind == "custom" and tool.raw is not None:
        return _format_custom(tool.raw)
    if tool.kind != "function":
        if own and tool.raw is not None:
            return tool.raw
        raise BadRequest(
            f"The chosen model cannot use a tool of type {tool.kind[:64]!r}.", param=f"{where}.type"
        )
    wire: dict[str, Any] = {
        "type": "function",
        "name": format_tool_name(tool.name, f"{where}.name"),
        "parameters": _EMPTY_SCHEMA if tool.parameters is None else tool.parameters,
        # Left out it would mean true here, and schemas that were not written for that are refused.
        "strict": bool(tool.strict),
    }
    return wire if tool.description is None else wire | {"description": tool.description}


def _format_custom(raw: Document) -> Document:
    """A custom tool of the chat dialect, which wraps what is flat here."""
    inner = raw.get("custom")
    if not isinstance(inner, dict):
        return raw
    wanted = inner.get("format")
    grammar = wanted.get("grammar") if isinstance(wanted, dict) else None
    flat = {**inner, "type": "custom"}
    return flat | {"format": {"type": "grammar", **grammar}} if isinstance(grammar, dict) else flat


def _format_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> Any:
    named = [_reference(name, tools) for name in choice.names]
    if choice.mode == "named":
        return named[0]
    if named:
        return {"type": "allowed_tools", "mode": choice.mode, "tools": named}
    return choice.mode


def _reference(name: str, tools: tuple[Tool, ...]) -> dict[str, Any]:
    kind = next((tool.kind for tool in tools if tool.name == name), "function")
    return {"type": kind, "name": format_tool_name(name, "tool_choice")}


def _format_output(wanted: OutputFormat) -> dict[str, Any]:
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    optional = {"strict": wanted.strict, "description": wanted.description}
    schema = {"type": wanted.kind, "name": wanted.name or "answer", "schema": wanted.schema or _EMPTY_SCHEMA}
    return schema | {name: value for name, value in optional.items() if value is not None}
