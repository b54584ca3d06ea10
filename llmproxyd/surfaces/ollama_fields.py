"""Reads what Ollama's paths have in common: the model's name, the options, the wish for thought, the form of the answer.

Wrong fields are refused in the words of the neighbours' readers. Options that only Ollama knows are kept apart, for a
provider that speaks this dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from llmproxyd.surfaces.openai_fields import (
    need_object,
    need_text,
    read_bool,
    read_int,
    read_model,
    read_number,
    read_object,
    read_objects,
    read_text,
    wrong_type,
    wrong_value,
)
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Dialect, Document, OutputFormat, Sampling, Tool

LATEST = ":latest"
MAX_TOP_LOGPROBS = 20
USUAL_BUDGET = 8192
"""Tokens of thought that ``think: true`` stands for elsewhere: the middle of what other dialects name."""

_LEVELS = ("low", "medium", "high", "max")
_OPTIONS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_WHOLE_OPTIONS: Mapping[str, str] = {"top_k": "top_k", "seed": "seed"}


def bare_name(name: str) -> str:
    """``x:latest`` and ``x`` are one name: clients add the tag by themselves."""
    return name.removesuffix(LATEST) or name


def read_name(document: Document) -> str:
    """The model asked for, without the tag that says nothing. Raises BadRequest."""
    return bare_name(read_model(document))


def read_stream(document: Document) -> bool:
    """Who does not say gets a stream."""
    stream = read_bool(document, "stream")
    return True if stream is None else stream


def read_options(document: Document) -> dict[str, Any]:
    return read_object(document, "options") or {}


def read_max_tokens(options: Document) -> int | None:
    """``num_predict``; None where it sets no limit, as zero and negative numbers do not."""
    limit = _read_whole(options, "num_predict")
    return limit if limit is not None and limit > 0 else None


def read_temperature(options: Document) -> float | None:
    return _read_number(options, "temperature")


def parse_sampling(document: Document) -> Sampling:
    """Raises BadRequest naming the option."""
    options = read_options(document)
    fields: dict[str, Any] = {name: _read_number(options, option) for name, option in _OPTIONS.items()}
    fields |= {name: _read_whole(options, option) for name, option in _WHOLE_OPTIONS.items()}
    return Sampling(
        **fields,
        max_tokens=read_max_tokens(options),
        stop=_read_stop(options),
        logprobs=read_bool(document, "logprobs"),
        top_logprobs=read_int(document, "top_logprobs", low=0, high=MAX_TOP_LOGPROBS),
    )


def own_fields(document: Document, known: frozenset[str]) -> dict[Dialect, Document]:
    """What only this dialect's adapter will read: fields beside ``known``, and options without a canonical form."""
    extras = {name: value for name, value in document.items() if name not in known and value is not None}
    options = _own_options(read_options(document))
    if options:
        extras["options"] = options
    return {Dialect.OLLAMA_CHAT: extras} if extras else {}


def _own_options(options: Document) -> dict[str, Any]:
    known = {*_OPTIONS.values(), *_WHOLE_OPTIONS.values(), "stop"}
    if read_max_tokens(options) is not None:
        known.add("num_predict")
    return {name: value for name, value in options.items() if name not in known and value is not None}


def parse_think(document: Document) -> tuple[str | None, int | None]:
    """``think`` -> (effort, budget). True names no effort, so it becomes a usual budget."""
    think = document.get("think")
    if think is None:
        return None, None
    if isinstance(think, bool):
        return (None, USUAL_BUDGET) if think else ("none", None)
    if not isinstance(think, str):
        raise wrong_type("think", "a boolean or a string", think)
    if think not in _LEVELS:
        raise wrong_value(
            "think", think, f"Supported values are: true, false, {', '.join(map(repr, _LEVELS))}."
        )
    return think, None


def parse_output_format(document: Document) -> OutputFormat | None:
    """``format``: the word ``json``, or a JSON schema."""
    wanted = document.get("format")
    if wanted is None or wanted == "":
        return None
    if isinstance(wanted, dict):
        return OutputFormat("json_schema", schema=wanted)
    if not isinstance(wanted, str):
        raise wrong_type("format", "'json' or an object", wanted)
    if wanted != "json":
        raise wrong_value("format", wanted, "Supported values are: 'json', or a JSON schema.")
    return OutputFormat("json_object")


def wants_schema(document: Document) -> bool:
    return isinstance(document.get("format"), dict)


def parse_tools(document: Document) -> tuple[Tool, ...]:
    return tuple(
        _parse_tool(tool, f"tools[{index}].") for index, tool in enumerate(read_objects(document, "tools"))
    )


def _parse_tool(tool: Document, where: str) -> Tool:
    kind = read_text(tool, "type", where) or "function"
    if kind != "function":
        raise wrong_value(f"{where}type", kind, "Supported values are: 'function'.")
    function = need_object(tool, "function", where)
    inside = f"{where}function."
    return Tool(
        name=need_text(function, "name", inside),
        description=read_text(function, "description", inside) or None,
        parameters=read_object(function, "parameters", inside),
    )


def refuse(param: str, why: str) -> BadRequest:
    """A field that is fine as such, but that only an Ollama server could serve."""
    return BadRequest(f"'{param}' cannot be carried to the chosen model: {why}.", param=param)


def format_time(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_number(options: Document, name: str) -> float | None:
    try:
        return read_number(options, name)
    except BadRequest as refused:
        raise _inside_options(refused, name) from None


def _read_whole(options: Document, name: str) -> int | None:
    value = _read_number(options, name)
    if isinstance(value, float):
        if not value.is_integer():
            raise wrong_type(f"options.{name}", "an integer", value)
        return int(value)
    return value


def _read_stop(options: Document) -> tuple[str, ...]:
    stop = options.get("stop")
    if stop is None:
        return ()
    if not isinstance(stop, list) or not all(isinstance(item, str) for item in stop):
        raise wrong_type("options.stop", "an array of strings", stop)
    return tuple(stop)


def _inside_options(refused: BadRequest, name: str) -> BadRequest:
    failure = refused.failure
    return BadRequest(
        failure.message.replace(f"'{name}'", f"'options.{name}'"), param=f"options.{name}", code=failure.code
    )
