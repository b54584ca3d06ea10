"""Canonical content -> the bodies of Cohere's /v2/chat and /v2/embed.

What the dialect has no word for is noted: biases, the alternatives of log probabilities, user, metadata, service tier.
Several answers at once, more than five stop sequences, and a form of the answer beside tools are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from llmproxyd.adapters.anthropic_models import budget_of
from llmproxyd.adapters.carried import foreign_fields, not_carried
from llmproxyd.adapters.cohere_messages import format_messages
from llmproxyd.adapters.cohere_tools import format_tools
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Capability,
    Chat,
    Dialect,
    Embed,
    Overrides,
    Request,
    Sampling,
)
from llmproxyd.values.snapshot import Deployment

MAX_TEXTS = 96
MAX_STOPS = 5
INPUT_TYPES = ("search_document", "search_query", "classification", "clustering")

_DIALECT = Dialect.COHERE_CHAT
_DEFAULT_INPUT_TYPE = "search_document"
# (name here, name there, least, most): Cohere refuses what lies outside.
_RANGES: tuple[tuple[str, str, float | None, float | None], ...] = (
    ("temperature", "temperature", 0, None),
    ("top_p", "p", 0.01, 0.99),
    ("top_k", "k", 0, 500),
    ("frequency_penalty", "frequency_penalty", 0, 1),
    ("presence_penalty", "presence_penalty", 0, 1),
)
_ENDLESS = "max"


def format_chat(
    request: Request, chat: Chat, deployment: Deployment, overrides: Overrides
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body, warnings). Raises BadRequest naming the field that the dialect cannot carry."""
    notes = list(foreign_fields(chat, _DIALECT))
    sampling = _overridden(chat.sampling, overrides, deployment)
    # The client's own fields first: what is canonical, or was overridden, replaces them.
    body: dict[str, Any] = {**chat.extras.get(_DIALECT, {}), "model": deployment.upstream}
    body["messages"] = format_messages(chat.messages, notes)
    body |= format_tools(chat, notes)
    body |= _format_output(chat, "tools" in body)
    body |= dict(_format_sampling(sampling, notes))
    body |= _format_thinking(chat, deployment, overrides, sampling.max_tokens, notes)
    # Without the field Cohere does not stream; its own client always says so.
    body["stream"] = request.stream
    notes += _unknown(chat, ("user", "metadata", "service_tier"))
    return body, tuple(notes)


def format_embed(embed: Embed, deployment: Deployment) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body, warnings). Raises BadRequest for what cannot be embedded, or not in one call."""
    notes = list(foreign_fields(Chat((), extras=embed.extras), _DIALECT))
    if not all(isinstance(item, str) for item in embed.inputs):
        raise BadRequest("The chosen model embeds text only, not token ids.", param="input")
    if len(embed.inputs) > MAX_TEXTS:
        raise BadRequest(
            f"The chosen model embeds {MAX_TEXTS} texts in one request, not {len(embed.inputs)}.",
            param="input",
        )
    input_type = embed.input_type or _DEFAULT_INPUT_TYPE
    if input_type not in INPUT_TYPES:
        raise BadRequest(
            f"The chosen model takes as input_type: {', '.join(INPUT_TYPES)}.", param="input_type"
        )
    if embed.user is not None:
        notes.append(not_carried("user", _DIALECT))
    body: dict[str, Any] = {
        **embed.extras.get(_DIALECT, {}),
        "model": deployment.upstream,
        "texts": list(embed.inputs),
        "input_type": input_type,
        # Floats are asked for whatever the client wants: the surface can encode.
        "embedding_types": ["float"],
    }
    if embed.dimensions is not None:
        body["output_dimension"] = embed.dimensions
    return body, tuple(notes)


def _overridden(sampling: Sampling, overrides: Overrides, deployment: Deployment) -> Sampling:
    fields = {
        name: value
        for name in ("temperature", "top_p", "max_tokens", "seed")
        if (value := getattr(overrides, name)) is not None
    }
    sampling = replace(sampling, **fields) if fields else sampling
    usual = deployment.provider.quirks.default_max_tokens
    return sampling if sampling.max_tokens is not None else replace(sampling, max_tokens=usual)


def _format_sampling(sampling: Sampling, notes: list[str]) -> Iterator[tuple[str, Any]]:
    if sampling.n is not None and sampling.n > 1:
        raise BadRequest("The chosen model gives one answer per request.", param="n")
    notes += _unknown(sampling, ("logit_bias", "top_logprobs"))
    for name, there, least, most in _RANGES:
        value = getattr(sampling, name)
        if value is not None:
            yield there, _clamped(name, value, least, most, notes)
    if sampling.seed is not None and sampling.seed < 0:
        notes.append(not_carried("seed", _DIALECT, "it must not be negative"))
    elif sampling.seed is not None:
        yield "seed", sampling.seed
    if sampling.max_tokens is not None:
        yield "max_tokens", sampling.max_tokens
    if sampling.logprobs:
        yield "logprobs", True
    stops = _stops(sampling.stop)
    if stops:
        yield "stop_sequences", stops


def _unknown(source: Chat | Sampling, names: tuple[str, ...]) -> Iterator[str]:
    """Warnings for the fields that are set and that the dialect has no word for."""
    return (not_carried(name, _DIALECT) for name in names if getattr(source, name))


def _clamped(name: str, value: float, least: float | None, most: float | None, notes: list[str]) -> float:
    if least is not None and value < least:
        notes.append(not_carried(name, _DIALECT, f"{least:g} is the least"))
        return least
    if most is not None and value > most:
        notes.append(not_carried(name, _DIALECT, f"{most:g} is the most"))
        return most
    return value


def _stops(stops: tuple[str, ...]) -> list[str]:
    # An empty text would end every answer at once.
    fitting = [text for text in stops if text]
    if len(fitting) > MAX_STOPS:
        raise BadRequest(f"The chosen model takes at most {MAX_STOPS} stop sequences.", param="stop")
    return fitting


def _format_output(chat: Chat, has_tools: bool) -> dict[str, Any]:
    wanted = chat.output_format
    if wanted is None or wanted.kind == "text":
        return {}
    if has_tools:
        raise BadRequest(
            "The chosen model cannot be held to a form of its answer while it has tools.",
            param="response_format",
        )
    schema: Mapping[str, Any] = {} if wanted.schema is None else {"json_schema": wanted.schema}
    return {"response_format": {"type": "json_object", **schema}}


def _format_thinking(
    chat: Chat, deployment: Deployment, overrides: Overrides, max_tokens: int | None, notes: list[str]
) -> dict[str, Any]:
    effort = overrides.effort or chat.effort
    budget = chat.thinking_budget if overrides.effort is None else None
    if effort is None and budget is None:
        return {}
    off = effort == "none" or budget == 0
    known = deployment.capabilities
    if known is not None and Capability.THINKING not in known:
        if not off:
            notes.append(not_carried("reasoning_effort", _DIALECT, "the model does not think"))
        return {}
    if off:
        return {"thinking": {"type": "disabled"}}
    tokens = _budget(effort, budget)
    if max_tokens is not None and tokens is not None and tokens >= max_tokens:
        # Thought and answer share the limit: without this there would be nothing but thought.
        tokens = max_tokens // 2
    if tokens == 0:
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled", **({} if tokens is None else {"token_budget": tokens})}}


def _budget(effort: str | None, budget: int | None) -> int | None:
    """Tokens of thought; None: as many as the model likes."""
    if budget is not None:
        return budget
    return None if effort is None or effort == _ENDLESS else budget_of(effort)
