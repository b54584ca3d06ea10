"""What clients speak on /v1/responses and /v1/responses/input_tokens, Codex above all.

``parse_request`` looks at what routing must know; a body that goes on to a provider of the same dialect stays as it is.
``parse_content`` takes it apart for a translation, and refuses by name what only OpenAI could do: hosted tools, state
kept there, items of its own. The web search that Codex offers with every request is left out with a warning instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from llmproxyd.surfaces.effort import responses_effort
from llmproxyd.surfaces.openai_failure import format_failure
from llmproxyd.surfaces.openai_fields import (
    decode_body,
    empty,
    missing,
    need_text,
    read_bool,
    read_int,
    read_metadata,
    read_model,
    read_number,
    read_object,
    read_objects,
    read_text,
    wrong_type,
    wrong_value,
)
from llmproxyd.surfaces.openai_options import EFFORTS
from llmproxyd.surfaces.responses_items import parse_input
from llmproxyd.surfaces.responses_object import RESOLVED
from llmproxyd.surfaces.responses_stream import format_answer, new_encoder
from llmproxyd.surfaces.responses_tools import ToolBook, count_client_tools, parse_tool_choice, read_tools
from llmproxyd.values.contracts import BadRequest, Headers, Surface
from llmproxyd.values.request import (
    Capability,
    Chat,
    Dialect,
    Document,
    Operation,
    OutputFormat,
    Request,
    Sampling,
)
from llmproxyd.values.responses import HOSTED_TOOLS, PHASES

FORWARDED_HEADERS = ("openai-beta", "x-openai-internal-codex-responses-lite")
"""What changes how OpenAI reads the body; all else is between the client and us."""

_DIALECT = Dialect.OPENAI_RESPONSES
_STATE = ("conversation", "prompt")
_MISSED_EASILY = ("web_search", "web_search_preview")
_FORMATS = ("text", "json_object", "json_schema")
_LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"
_PART_NEEDS: Mapping[str, Capability] = {
    "input_image": Capability.VISION,
    "input_audio": Capability.AUDIO,
    "input_file": Capability.FILES,
}

# Fields with a place in the envelope or in Chat; all others are this dialect's own and ride along in ``extras``.
_KNOWN = frozenset(
    {
        "model", "input", "instructions", "stream", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning",
        "temperature", "top_p", "top_logprobs", "max_output_tokens", "include", "metadata", "user", "service_tier",
        "store", "background", RESOLVED,
    }
)  # fmt: skip


def parse_request(headers: Headers, body: bytes, target: str) -> Request:
    """headers: those of FORWARDED_HEADERS go on to a provider of the same dialect; target says nothing. Raises
    BadRequest for what no provider could answer."""
    return _parse_envelope(headers, body, SURFACE)


def parse_count_request(headers: Headers, body: bytes, target: str) -> Request:
    """The same for /v1/responses/input_tokens, which never streams."""
    return replace(_parse_envelope(headers, body, COUNT_SURFACE), stream=False)


def parse_content(request: Request) -> Chat:
    """All of a request in canonical form. Raises BadRequest naming what is wrong or cannot be carried."""
    document = request.document
    _refuse_state(document)
    book = read_tools(document)
    hosted = _missed_easily(book)
    conversation = parse_input(document, book)
    wanted = _read_wanted(document)
    extras = {name: value for name, value in document.items() if name not in _KNOWN and value is not None}
    extras |= wanted.extras
    if any(conversation.phases):
        extras[PHASES] = conversation.phases
    if hosted:
        extras[HOSTED_TOOLS] = hosted
    return Chat(
        messages=tuple(conversation.messages),
        tools=tuple(book.tools.values()),
        tool_choice=parse_tool_choice(document, book),
        parallel_tool_calls=read_bool(document, "parallel_tool_calls"),
        output_format=wanted.output_format,
        sampling=_parse_sampling(document, logprobs=wanted.logprobs),
        effort=wanted.effort,
        user=read_text(document, "user"),
        metadata=request.metadata,
        service_tier=read_text(document, "service_tier"),
        extras={_DIALECT: extras} if extras else {},
    )


def find_needs(document: Document) -> frozenset[Capability]:
    """The capabilities without which an answer would be wrong."""
    needs: set[Capability] = set()
    if count_client_tools(document):
        needs.add(Capability.TOOLS)
    text = document.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        needs.add(Capability.JSON_SCHEMA)
    needs.update(_input_needs(document.get("input")))
    return frozenset(needs)


# --- the envelope -----------------------------------------------------------------------------------------------


def _parse_envelope(headers: Headers, body: bytes, surface: Surface) -> Request:
    document = decode_body(body)
    model = read_model(document)
    _check_input(document)
    if read_bool(document, "background") and read_bool(document, "store") is False:
        raise BadRequest(
            "An answer in the background has to be stored: leave out 'store', or 'background'.",
            param="background",
            code="invalid_value",
        )
    return Request(
        operation=surface.operation,
        dialect=_DIALECT,
        surface=surface.name,
        model=model,
        stream=read_bool(document, "stream") or False,
        body=body,
        document=document,
        needs=find_needs(document),
        max_output_tokens=read_int(document, "max_output_tokens", low=1),
        temperature=read_number(document, "temperature"),
        metadata=read_metadata(document),
        headers={name: headers[name] for name in FORWARDED_HEADERS if name in headers},
        effort=responses_effort(document),
    )


def _check_input(document: Document) -> None:
    given = document.get("input")
    goes_on = any(document.get(name) is not None for name in ("previous_response_id", *_STATE))
    if given is None:
        if not goes_on:
            raise missing("input")
    elif isinstance(given, list):
        read_objects(document, "input")
        if not given and not goes_on:
            raise empty("input")
    elif not isinstance(given, str):
        raise wrong_type("input", "a string or an array of objects", given)


def _input_needs(given: Any) -> Iterator[Capability]:
    for item in given if isinstance(given, list) else ():
        for name in ("content", "output"):
            parts = item.get(name)
            for part in parts if isinstance(parts, list) else ():
                kind = part.get("type") if isinstance(part, dict) else None
                if isinstance(kind, str) and kind in _PART_NEEDS:
                    yield _PART_NEEDS[kind]


# --- the content ------------------------------------------------------------------------------------------------


class _Wanted(msgspec.Struct, frozen=True):
    """What ``text``, ``reasoning`` and ``include`` come to; ``extras`` is what only this dialect knows of them."""

    output_format: OutputFormat | None
    effort: str | None
    logprobs: bool | None
    extras: dict[str, Any]


def _refuse_state(document: Document) -> None:
    if document.get("previous_response_id") is not None:
        raise BadRequest(
            "The previous response is not known here; send the whole conversation in 'input'.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    for name in _STATE:
        if document.get(name) is not None:
            raise BadRequest(
                f"'{name}' is kept at OpenAI and cannot be used with the chosen model.",
                param=name,
                code="unsupported_parameter",
            )


def _missed_easily(book: ToolBook) -> list[Document]:
    """The hosted tools a model can do without. Raises BadRequest naming any other."""
    for where, tool in book.hosted:
        if tool["type"] not in _MISSED_EASILY:
            raise BadRequest(
                f"Tools of type {tool['type'][:64]!r} run at OpenAI and cannot be used with the chosen model.",
                param=f"{where}.type",
                code="unsupported_tool",
            )
    return [tool for _, tool in book.hosted]


def _read_wanted(document: Document) -> _Wanted:
    text, reasoning = (
        dict(read_object(document, "text") or {}),
        dict(read_object(document, "reasoning") or {}),
    )
    output_format = _parse_format(text)
    effort = read_text(reasoning, "effort", "reasoning.")
    if effort is not None and effort not in EFFORTS:
        raise wrong_value(
            "reasoning.effort", effort, f"Supported values are: {', '.join(map(repr, EFFORTS))}."
        )
    text.pop("format", None)
    reasoning.pop("effort", None)
    include = _read_include(document)
    others = {
        "text": {name: value for name, value in text.items() if value is not None},
        "reasoning": {name: value for name, value in reasoning.items() if value is not None},
        # Encrypted thoughts are always handed out.
        "include": [name for name in include if name not in (_LOGPROBS, _ENCRYPTED)],
    }
    extras = {name: value for name, value in others.items() if value}
    return _Wanted(output_format, effort, True if _LOGPROBS in include else None, extras)


def _parse_format(text: Document) -> OutputFormat | None:
    wanted = read_object(text, "format", "text.")
    if wanted is None:
        return None
    inside = "text.format."
    kind = need_text(wanted, "type", inside)
    if kind not in _FORMATS:
        raise wrong_value(f"{inside}type", kind, f"Supported values are: {', '.join(map(repr, _FORMATS))}.")
    if kind != "json_schema":
        return OutputFormat(kind)
    return OutputFormat(
        kind,
        schema=read_object(wanted, "schema", inside),
        name=need_text(wanted, "name", inside),
        strict=read_bool(wanted, "strict", inside),
        description=read_text(wanted, "description", inside),
    )


def _read_include(document: Document) -> list[str]:
    include = document.get("include")
    if include is None:
        return []
    if not isinstance(include, list):
        raise wrong_type("include", "an array of strings", include)
    for index, name in enumerate(include):
        if not isinstance(name, str):
            raise wrong_type(f"include[{index}]", "a string", name)
    return include


def _parse_sampling(document: Document, *, logprobs: bool | None) -> Sampling:
    return Sampling(
        temperature=read_number(document, "temperature"),
        top_p=read_number(document, "top_p"),
        max_tokens=read_int(document, "max_output_tokens", low=1),
        logprobs=logprobs,
        top_logprobs=read_int(document, "top_logprobs", low=0),
    )


SURFACE = Surface(
    name="openai-responses",
    dialect=_DIALECT,
    operation=Operation.CHAT,
    parse_request=parse_request,
    parse_content=parse_content,
    format_answer=format_answer,
    new_encoder=new_encoder,
    format_failure=format_failure,
)

COUNT_SURFACE = replace(
    SURFACE,
    name="openai-responses-input-tokens",
    operation=Operation.COUNT_TOKENS,
    parse_request=parse_count_request,
)
