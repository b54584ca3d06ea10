"""A Gemini request -> the canonical conversation: instructions, contents, tools, generation config.

What only Gemini knows rides along in ``extras``; who speaks another dialect says that it was not carried. What would change the meaning of the answer by being left out is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmproxyd.surfaces.gemini_contents import parse_contents, parse_system
from llmproxyd.surfaces.gemini_fields import Fields
from llmproxyd.surfaces.gemini_schema import parse_schema
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Chat, Dialect, Document, OutputFormat, Sampling, Tool, ToolChoice

_TOP = (
    "model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier", "labels",
)  # fmt: skip
_CONFIG = (
    "temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "seed", "presencePenalty",
    "frequencyPenalty", "responseLogprobs", "logprobs", "responseMimeType", "responseSchema", "responseJsonSchema",
    "responseModalities", "thinkingConfig",
)  # fmt: skip
_REFUSED: Mapping[str, str] = {"cachedContent": "the content is kept by Google"}
_REFUSED_CONFIG: Mapping[str, str] = {
    "continuationToken": "only the model that was cut short can continue",
    "responseFormat": "use responseMimeType and responseJsonSchema",
}
_EFFORTS: Mapping[str, str] = {
    "MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh",
}  # fmt: skip
_TIERS: Mapping[str, str] = {"STANDARD": "default", "FLEX": "flex", "PRIORITY": "priority"}
_AUTOMATIC_BUDGET = -1
MAX_CHOICES = 8


def call_fields(document: Document) -> Fields:
    """The fields of a generateContent request; countTokens may wrap them in ``generateContentRequest``.

    Raises BadRequest.
    """
    fields = Fields(document)
    wrapped = fields.object("generateContentRequest")
    if wrapped is None:
        return fields
    if "contents" in fields:
        raise BadRequest(
            "'contents' and 'generateContentRequest' cannot both be given.", param="generateContentRequest"
        )
    return wrapped


def parse_chat(document: Document) -> Chat:
    """Raises BadRequest naming the field that cannot be carried."""
    fields = call_fields(document)
    config = fields.object("generationConfig") or Fields({}, fields.path("generationConfig"))
    _check_portable(fields, config)
    tools = tuple(_parse_tools(fields.objects("tools")))
    choice, choice_extras = _parse_choice(fields.object("toolConfig"))
    effort, budget, thinking_extras = _parse_thinking(config.object("thinkingConfig"))
    config_extras = config.others(*_CONFIG, *_REFUSED_CONFIG) | thinking_extras
    extras = fields.others(*_TOP, *_REFUSED) | choice_extras
    if config_extras:
        extras["generationConfig"] = config_extras
    return Chat(
        messages=(
            *parse_system(fields.object("systemInstruction")),
            *parse_contents(fields.objects("contents")),
        ),
        tools=tools,
        tool_choice=choice,
        output_format=_parse_output_format(config),
        sampling=_parse_sampling(config),
        effort=effort,
        thinking_budget=budget,
        metadata=parse_labels(fields),
        service_tier=_parse_tier(fields),
        extras={Dialect.GEMINI_GENERATE: extras} if extras else {},
    )


def parse_labels(fields: Fields) -> dict[str, str]:
    labels = fields.mapping("labels") or {}
    for name, value in labels.items():
        if not isinstance(value, str):
            where = f"{fields.path('labels')}.{name[:64]}"
            raise BadRequest(f"Invalid value at '{where}': expected a string.", param=where)
    return labels


def _check_portable(fields: Fields, config: Fields) -> None:
    for holder, refused in ((fields, _REFUSED), (config, _REFUSED_CONFIG)):
        for name, why in refused.items():
            if name in holder:
                raise holder.refuse(name, why)
    if any(kind.upper() != "TEXT" for kind in config.texts("responseModalities")):
        raise config.refuse("responseModalities", "other models answer in text")


def _parse_tier(fields: Fields) -> str | None:
    tier = fields.text("serviceTier")
    if tier is None or tier.lower().endswith("unspecified"):
        return None
    return _TIERS.get(tier.upper(), tier)


# --- tools ------------------------------------------------------------------------------------------------------


def _parse_tools(tools: list[Fields]) -> Iterator[Tool]:
    for tool in tools:
        for declaration in tool.objects("functionDeclarations"):
            yield _parse_declaration(declaration)
        # Google's own tools mean something to Google only; the definition stays whole.
        for name, value in tool.others("functionDeclarations").items():
            yield Tool(name, kind=name, raw={name: value})


def _parse_declaration(declaration: Fields) -> Tool:
    own = declaration.mapping("parameters")
    plain = declaration.mapping("parametersJsonSchema")
    if own is not None and plain is not None:
        raise BadRequest(
            "'parameters' and 'parametersJsonSchema' cannot both be given.",
            param=declaration.path("parametersJsonSchema"),
        )
    others = declaration.others("name", "description", "parameters", "parametersJsonSchema")
    return Tool(
        name=declaration.need_text("name"),
        description=declaration.text("description"),
        parameters=parse_schema(own, declaration.path("parameters")) if own is not None else plain,
        raw=others or None,
    )


def _parse_choice(config: Fields | None) -> tuple[ToolChoice | None, dict[str, Any]]:
    """-> (choice, what is Gemini's own about it)."""
    if config is None:
        return None, {}
    own = config.others("functionCallingConfig")
    calling = config.object("functionCallingConfig") or Fields({}, config.path("functionCallingConfig"))
    mode = calling.choice("mode", ("AUTO", "ANY", "NONE", "VALIDATED"))
    names = calling.texts("allowedFunctionNames")
    if mode == "VALIDATED" and not names:
        # As good as no choice to everybody else.
        own["functionCallingConfig"] = {"mode": mode}
        mode = None
    extras = {"toolConfig": own} if own else {}
    if mode is None:
        return None, extras
    if mode == "ANY":
        return ToolChoice("named" if len(names) == 1 else "required", names), extras
    return ToolChoice("none" if mode == "NONE" else "auto", names), extras


# --- generation config ------------------------------------------------------------------------------------------


def _parse_sampling(config: Fields) -> Sampling:
    # Google declares topK as a decimal, though only whole numbers mean something.
    return Sampling(
        temperature=config.number("temperature"),
        top_p=config.number("topP"),
        top_k=config.integer("topK", low=0),
        max_tokens=config.integer("maxOutputTokens", low=1),
        stop=config.texts("stopSequences"),
        seed=config.integer("seed"),
        frequency_penalty=config.number("frequencyPenalty"),
        presence_penalty=config.number("presencePenalty"),
        logprobs=config.boolean("responseLogprobs"),
        top_logprobs=config.integer("logprobs", low=0),
        n=config.integer("candidateCount", low=1, high=MAX_CHOICES),
    )


def _parse_output_format(config: Fields) -> OutputFormat | None:
    media_type = (config.text("responseMimeType") or "").lower()
    if media_type not in ("", "text/plain", "application/json"):
        raise config.refuse("responseMimeType", "only text/plain and application/json have a counterpart")
    own, plain = config.mapping("responseSchema"), config.mapping("responseJsonSchema")
    if own is not None and plain is not None:
        raise BadRequest(
            "'responseSchema' and 'responseJsonSchema' cannot both be given.",
            param=config.path("responseJsonSchema"),
        )
    schema = parse_schema(own, config.path("responseSchema")) if own is not None else plain
    if schema is not None:
        return OutputFormat("json_schema", schema=schema)
    return {"application/json": OutputFormat("json_object"), "text/plain": OutputFormat("text")}.get(
        media_type
    )


def _parse_thinking(config: Fields | None) -> tuple[str | None, int | None, dict[str, Any]]:
    """-> (effort, budget, what is Gemini's own about it)."""
    if config is None:
        return None, None, {}
    level = config.choice("thinkingLevel", _EFFORTS)
    budget = config.integer("thinkingBudget", low=_AUTOMATIC_BUDGET)
    own = config.others("thinkingLevel", "thinkingBudget")
    if budget == _AUTOMATIC_BUDGET:
        own["thinkingBudget"] = budget
        budget = None
    return _EFFORTS[level] if level else None, budget, {"thinkingConfig": own} if own else {}
