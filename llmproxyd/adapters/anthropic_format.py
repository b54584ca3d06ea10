"""Canonical content -> the body of a call to /v1/messages or /v1/messages/count_tokens.

What the dialect has no word for is noted: seed, penalties, biases, log probabilities, metadata. Several answers at once
are refused. Sampling goes only to the generations that take it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from llmproxyd.adapters.anthropic_blocks import BlockWriter
from llmproxyd.adapters.anthropic_models import ModelFacts, ThinkingStyle, budget_of, facts_of
from llmproxyd.adapters.anthropic_schema import fit_schema
from llmproxyd.adapters.anthropic_thinking import Circumstances, Thought, Wish, fit_thinking
from llmproxyd.adapters.anthropic_tools import format_tools, is_forced
from llmproxyd.adapters.anthropic_turns import format_turns
from llmproxyd.adapters.carried import foreign_fields
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Chat,
    Dialect,
    Document,
    Operation,
    OutputFormat,
    Overrides,
    Request,
    Sampling,
)
from llmproxyd.values.snapshot import Deployment

DEFAULT_MAX_TOKENS = 4096
STRICT_VERSION = "2026-10-21"
"""The API version that refuses temperature, top_p and top_k whatever the model."""

_DIALECT = Dialect.ANTHROPIC_MESSAGES
_COUNTED = frozenset(
    {
        "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "speed", "cache_control",
    }
)  # fmt: skip
SAMPLING = ("temperature", "top_p", "top_k")
_UNKNOWN = ("seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs")
_TIERS: Mapping[str, str] = {"auto": "auto", "default": "standard_only"}
_JSON_ONLY = "Answer with one JSON object and nothing else: no text around it, no code fence."
_MAX_TEMPERATURE = 1.0
_LEAST_TOP_P = 0.95  # with thinking


def format_body(
    request: Request, chat: Chat, deployment: Deployment, overrides: Overrides, *, version: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (body, warnings). Raises BadRequest naming the field that the dialect cannot carry."""
    return _Formatter(request, chat, deployment, overrides, version).format()


def facts_of_deployment(deployment: Deployment) -> ModelFacts:
    """By the provider's own name for the model, else by the plain one (a deployment may be called anything)."""
    named = "claude" in deployment.upstream.casefold()
    return facts_of(deployment.upstream if named else deployment.model)


def takes_sampling(facts: ModelFacts, version: str) -> bool:
    return facts.sampling and version != STRICT_VERSION


class _Formatter:
    """One body in the making; ``_writer`` collects the notes."""

    def __init__(
        self, request: Request, chat: Chat, deployment: Deployment, overrides: Overrides, version: str
    ) -> None:
        self._request = request
        self._chat = chat
        self._deployment = deployment
        self._overrides = overrides
        self._version = version
        self._facts = facts_of_deployment(deployment)
        self._writer = BlockWriter(
            own=request.dialect is _DIALECT, notes=list(foreign_fields(chat, _DIALECT))
        )
        # What the client said of thinking and of the answer beyond what has a canonical form.
        self._extras = dict(chat.extras.get(_DIALECT, {}))
        self._said = dict(self._extras.pop("thinking", None) or {})
        self._config = dict(self._extras.pop("output_config", None) or {})

    def format(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        chat = self._chat
        conversation = format_turns(chat.messages, self._facts, self._writer)
        own = self._request.dialect is _DIALECT
        tools = format_tools(chat, own, conversation.called, self._writer.notes)
        forced = is_forced(tools.get("tool_choice"))
        if forced and self._facts.always_thinks:
            self._writer.note("tool_choice", "this model always thinks, which rules it out")
            tools["tool_choice"] = {**tools["tool_choice"], "type": "auto"}
            tools["tool_choice"].pop("name", None)
            forced = False
        system = conversation.system + self._output_instruction()
        wish = self._wish()
        max_tokens = self._max_tokens(wish)
        thought = fit_thinking(wish, self._facts, Circumstances(max_tokens, forced, conversation.unsigned))
        for field, why in thought.problems:
            self._writer.note(field, why)
        # The client's own fields first: what is canonical, or was overridden, replaces them.
        body = self._extras | {"model": self._deployment.upstream, "max_tokens": max_tokens}
        body |= {"system": system} if system else {}
        body |= {"messages": conversation.messages} | tools
        body |= self._output_config(thought)
        body |= {"thinking": thought.thinking} if thought.thinking is not None else {}
        return self._complete(body, thought), tuple(self._writer.notes)

    def _complete(self, body: dict[str, Any], thought: Thought) -> dict[str, Any]:
        if self._request.operation is Operation.COUNT_TOKENS:
            return {name: value for name, value in body.items() if name in _COUNTED}
        body |= dict(self._sampling_fields(thought))
        body |= self._people()
        if self._request.stream:
            body["stream"] = True
        return body

    # --- thinking and limits ----------------------------------------------------------------------------------

    def _wish(self) -> Wish:
        chat, effort = self._chat, self._overrides.effort
        return Wish(
            kind=self._said.get("type") if effort is None else None,
            effort=effort or chat.effort,
            budget=chat.thinking_budget if effort is None else None,
            display=self._said.get("display"),
        )

    def _max_tokens(self, wish: Wish) -> int:
        known = self._deployment.max_output_tokens
        wanted = self._overrides.max_tokens
        if wanted is None:
            wanted = self._chat.sampling.max_tokens
        if wanted is not None:
            if known is None or wanted <= known:
                return wanted
            self._writer.note("max_tokens", f"{known} is the most this model writes")
            return known
        usual = self._deployment.provider.quirks.default_max_tokens or known
        if usual is not None:
            return usual
        thinks = wish.on and self._facts.thinking is ThinkingStyle.BUDGET
        budget = (wish.budget or budget_of(wish.effort or "high")) if thinks else 0
        return DEFAULT_MAX_TOKENS + budget

    # --- sampling ---------------------------------------------------------------------------------------------

    def _sampling_fields(self, thought: Thought) -> Iterator[tuple[str, Any]]:
        sampling = _overridden(self._chat.sampling, self._overrides)
        if sampling.n is not None and sampling.n > 1:
            raise BadRequest("The chosen model gives one answer per request.", param="n")
        for name in _UNKNOWN:
            if getattr(sampling, name):
                self._writer.note(name)
        thinks = thought.thinking is not None and thought.thinking["type"] != "disabled"
        for name, value in self._fit_sampling(sampling, thinks):
            if value is not None:
                yield name, value
        stops = [text for text in sampling.stop if text.strip()]
        if len(stops) < len(sampling.stop):
            self._writer.note("stop", "texts of white space only")
        if stops:
            yield "stop_sequences", stops

    def _fit_sampling(self, sampling: Sampling, thinks: bool) -> Iterator[tuple[str, Any]]:
        wanted = {name: getattr(sampling, name) for name in SAMPLING}
        takes_any = takes_sampling(self._facts, self._version)
        for name, value in wanted.items():
            if value is not None and not takes_any:
                self._refuse(wanted, name, "refused by this model")
            elif value is not None and thinks and not _fits_thinking(name, value):
                self._refuse(wanted, name, "thinking rules it out")
        if wanted["temperature"] is not None and wanted["temperature"] > _MAX_TEMPERATURE:
            self._writer.note("temperature", "1 is the highest")
            wanted["temperature"] = _MAX_TEMPERATURE
        if (
            wanted["temperature"] is not None
            and wanted["top_p"] is not None
            and not self._facts.both_samplings
        ):
            self._refuse(wanted, "top_p", "this model takes it or temperature")
        yield from wanted.items()

    def _refuse(self, wanted: dict[str, Any], name: str, why: str) -> None:
        self._writer.note(name, why)
        wanted[name] = None

    # --- the form of the answer -------------------------------------------------------------------------------

    def _output_config(self, thought: Thought) -> dict[str, Any]:
        config = self._config
        if thought.effort is not None:
            config["effort"] = thought.effort
        wanted = self._chat.output_format
        if wanted is not None and wanted.kind == "json_schema" and wanted.schema is not None:
            config["format"] = {"type": "json_schema", "schema": self._schema(wanted, wanted.schema)}
        return {"output_config": config} if config else {}

    def _schema(self, wanted: OutputFormat, schema: Document) -> Document:
        if not self._facts.schemas:
            raise BadRequest("The chosen model cannot be held to a JSON schema.", param="response_format")
        if self._request.dialect is _DIALECT:
            return schema
        fitted, loose = fit_schema(schema, "response_format.json_schema.schema")
        if loose:
            self._writer.note("response_format", f"not enforced: {' '.join(loose)[:120]}")
        return fitted

    def _output_instruction(self) -> list[dict[str, Any]]:
        """There is no mode for JSON of any form; a schema for it would allow the empty object only."""
        wanted = self._chat.output_format
        if wanted is None or not (
            wanted.kind == "json_object" or (wanted.kind == "json_schema" and wanted.schema is None)
        ):
            return []
        self._writer.note("response_format", "asked for in words")
        return [{"type": "text", "text": _JSON_ONLY}]

    # --- who asks ---------------------------------------------------------------------------------------------

    def _people(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self._chat.user is not None and "metadata" not in self._extras:
            fields["metadata"] = {"user_id": self._chat.user}
        if self._chat.metadata and self._request.dialect is not _DIALECT:
            self._writer.note("metadata")
        tier = self._chat.service_tier
        if tier is not None and tier in _TIERS:
            fields["service_tier"] = _TIERS[tier]
        elif tier is not None:
            self._writer.note("service_tier")
        return fields


def _overridden(sampling: Sampling, overrides: Overrides) -> Sampling:
    fields = {
        name: value
        for name in ("temperature", "top_p", "seed")
        if (value := getattr(overrides, name)) is not None
    }
    return replace(sampling, **fields) if fields else sampling


def _fits_thinking(name: str, value: float) -> bool:
    """Thinking has a temperature of its own, and refuses most else."""
    return (name == "temperature" and value == 1) or (name == "top_p" and value >= _LEAST_TOP_P)
