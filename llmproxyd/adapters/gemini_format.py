"""Canonical content -> the bodies of Gemini's calls: generateContent, countTokens, batchEmbedContents.

What Gemini has no field for and can do without is named in the warnings: token biases, the user's name, metadata,
one-call-at-a-time, cache marks (Google caches by itself), strictness, the detail of an image in words it does not know.
Fields of ``extras`` that are Gemini's own go out as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from llmproxyd.adapters.carried import foreign_fields, not_carried
from llmproxyd.adapters.gemini_contents import format_contents
from llmproxyd.adapters.gemini_generations import (
    Generation,
    budget_of,
    effort_of,
    find_generation,
    fit_budget,
    fit_level,
)
from llmproxyd.adapters.gemini_tools import Warn, format_output, format_tools
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Capability, Chat, Dialect, Document, Embed, Overrides, Request, Sampling
from llmproxyd.values.snapshot import Deployment

MAX_WARNINGS = 20

_SAMPLING: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_tokens": "maxOutputTokens",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
    "n": "candidateCount",
}
_TIERS: Mapping[str, str] = {"default": "standard", "flex": "flex", "priority": "priority"}
_TASK_TYPES: Mapping[str, str] = {
    "search_query": "RETRIEVAL_QUERY",
    "search_document": "RETRIEVAL_DOCUMENT",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}


class Warnings:
    """Collects what is not carried, each once, in the order met; bounded, since they end in a header."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def __call__(self, name: str) -> None:
        self.add(not_carried(name, Dialect.GEMINI_GENERATE))

    def add(self, text: str) -> None:
        if len(self._texts) < MAX_WARNINGS:
            self._texts.setdefault(text)

    def texts(self) -> tuple[str, ...]:
        return tuple(self._texts)


def format_chat(
    request: Request, chat: Chat, deployment: Deployment, overrides: Overrides
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body of generateContent, warnings). Raises BadRequest naming the field that cannot be carried."""
    warn = Warnings()
    own = request.dialect is Dialect.GEMINI_GENERATE
    generation = find_generation(deployment.upstream)
    system, contents = format_contents(chat.messages, generation, warn)
    if not contents:
        raise BadRequest("The chosen model needs at least one message that is not empty.", param="messages")
    body: dict[str, Any] = {"contents": contents}
    if system is not None:
        body["systemInstruction"] = system
    body |= format_tools(chat, generation, warn, own=own)
    body |= _surroundings(chat, warn, own=own)
    sampling = _overridden(chat.sampling, overrides, deployment)
    config = _sampling_fields(sampling, warn) | format_output(chat.output_format, generation, warn)
    thinking = format_thinking(chat, sampling.max_tokens, overrides, deployment, warn, own=own)
    if thinking:
        config["thinkingConfig"] = thinking
    if config:
        body["generationConfig"] = config
    merged = _merged(body, chat.extras.get(Dialect.GEMINI_GENERATE, {}))
    if "thinkingLevel" in thinking or "thinkingBudget" in thinking:
        # An automatic budget may be among the extras; there can be one measure only.
        merged["generationConfig"]["thinkingConfig"] = _one_measure(
            merged["generationConfig"]["thinkingConfig"], thinking
        )
    return merged, warn.texts()


def format_count(body: Document, model: str) -> dict[str, Any]:
    """body: of generateContent. Counted are instructions and tools too, which only the wrapped form has room for."""
    return {"generateContentRequest": {"model": model, **body}}


def format_embedding(embed: Embed, model: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body of batchEmbedContents, warnings). model: with its collection, as the body wants it."""
    warn = Warnings()
    for text in foreign_fields(embed, Dialect.GEMINI_GENERATE):
        warn.add(text)
    fields: dict[str, Any] = dict(embed.extras.get(Dialect.GEMINI_GENERATE, {}))
    if embed.dimensions is not None:
        fields["outputDimensionality"] = embed.dimensions
    if embed.input_type is not None:
        task = _TASK_TYPES.get(embed.input_type.lower())
        if task is None:
            warn("input_type")
        else:
            fields["taskType"] = task
    if embed.user is not None:
        warn("user")
    entries = []
    for index, item in enumerate(embed.inputs):
        if not isinstance(item, str):
            raise BadRequest("The chosen model embeds text only, not token ids.", param=f"input[{index}]")
        entries.append({"model": model, "content": {"parts": [{"text": item}]}, **fields})
    return {"requests": entries}, warn.texts()


def format_thinking(
    chat: Chat, max_tokens: int | None, overrides: Overrides, deployment: Deployment, warn: Warn, *, own: bool
) -> dict[str, Any]:
    """``thinkingConfig``. Who asks for effort in another dialect is shown the thoughts as well, as there."""
    effort, budget = overrides.effort or chat.effort, chat.thinking_budget
    if overrides.effort is not None:
        budget = None
    if effort is None and budget is None:
        return {}
    generation = find_generation(deployment.upstream)
    known = deployment.capabilities
    thinks = known is None or Capability.THINKING in known
    if not thinks or not (generation.levels or generation.budget):
        warn("reasoning effort")
        return {}
    if generation.levels:
        config = _level(effort, budget, generation, warn, exact=own and overrides.effort is None)
    else:
        config = _budget(effort, budget, max_tokens, generation, warn)
    asked = effort not in (None, "none") or budget not in (None, 0)
    return config | ({"includeThoughts": True} if asked and not own else {})


def _level(
    effort: str | None, budget: int | None, generation: Generation, warn: Warn, *, exact: bool
) -> dict[str, Any]:
    if exact and effort is not None and effort not in ("none", "max"):
        return {"thinkingLevel": effort.upper()}
    level, same = fit_level(effort or effort_of(budget or 0), generation)
    if not same:
        warn(f"reasoning effort {effort or budget} ({level} was asked for)")
    return {"thinkingLevel": level}


def _budget(
    effort: str | None, budget: int | None, max_tokens: int | None, generation: Generation, warn: Warn
) -> dict[str, Any]:
    assert generation.budget is not None
    wanted = budget if budget is not None else budget_of(effort or "none")
    tokens = fit_budget(wanted, generation.budget)
    if max_tokens is not None and tokens >= max_tokens:
        # Thoughts count against the limit; all of it spent on them would leave no answer.
        tokens = max(generation.budget.low, max_tokens // 2)
    if tokens != wanted:
        warn(f"thinking budget {wanted} ({tokens} was asked for)")
    return {"thinkingBudget": tokens}


def _one_measure(config: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in config.items() if name in wanted or not name.startswith("thinking")
    }


def _overridden(sampling: Sampling, overrides: Overrides, deployment: Deployment) -> Sampling:
    given = {name: getattr(overrides, name) for name in ("temperature", "top_p", "max_tokens", "seed")}
    sampling = replace(sampling, **{name: value for name, value in given.items() if value is not None})
    if sampling.max_tokens is None:
        return replace(sampling, max_tokens=deployment.provider.quirks.default_max_tokens)
    return sampling


def _sampling_fields(sampling: Sampling, warn: Warn) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, wire in _SAMPLING.items():
        value = getattr(sampling, name)
        if value is not None:
            fields[wire] = value
    if sampling.stop:
        fields["stopSequences"] = list(sampling.stop)
    if sampling.logit_bias:
        warn("logit_bias")
    return fields


def _surroundings(chat: Chat, warn: Warnings, *, own: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if chat.user is not None:
        warn("user")
    if chat.metadata and own:
        fields["labels"] = dict(chat.metadata)
    elif chat.metadata:
        warn("metadata")
    tier = _TIERS.get(chat.service_tier or "")
    if tier is not None:
        fields["serviceTier"] = tier
    elif chat.service_tier not in (None, "auto"):
        warn("service_tier")
    for text in foreign_fields(chat, Dialect.GEMINI_GENERATE):
        warn.add(text)
    return fields


def _merged(body: dict[str, Any], extras: Document) -> dict[str, Any]:
    """Extras beside what we wrote, object by object; ours win where both say something."""
    merged = {**extras, **body}
    for name in extras.keys() & body.keys():
        if isinstance(extras[name], Mapping) and isinstance(body[name], dict):
            merged[name] = _merged(body[name], extras[name])
    return merged
