"""Answers in the Responses dialect -> canonical ones. The stream's decoder and the relay share the readers.

What hosted tools did on the way has no canonical form; their results are in the text that follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import msgspec
from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.adapters import failures
from llmproxyd.adapters.anthropic_tools import parse_name
from llmproxyd.adapters.failures import bad_answer, failure_of_error
from llmproxyd.adapters.openai_answer import text_of
from llmproxyd.adapters.openai_usage import parse_tier
from llmproxyd.adapters.openai_usage import parse_usage as parse_chat_usage
from llmproxyd.adapters.scrub import scrub_message
from llmproxyd.adapters.tool_deltas import arguments_text, invent_tool_id
from llmproxyd.values.answer import Answer, Choice, Finish, TokenCount
from llmproxyd.values.contracts import Headers
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.failure import FailureKind as Kind
from llmproxyd.values.request import (
    Dialect,
    Document,
    Operation,
    Part,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolCall,
)

DIALECT = Dialect.OPENAI_RESPONSES
CALLS: Mapping[str, tuple[str, str]] = {
    # item -> (kind of the tool, the item's text)
    "function_call": ("function", "arguments"),
    "custom_tool_call": ("custom", "input"),
}

_REASONS: Mapping[str, Finish] = {"content_filter": Finish.CONTENT_FILTER}
_ENDED = ("completed", "incomplete")


def parse_answer(request: Request, body: bytes) -> Answer | TokenCount | Failure:
    """A whole 2xx body -> Answer, TokenCount where tokens were to be counted, or the Failure it turns out to be."""
    document = read_object(body)
    if isinstance(document, Failure):
        return document
    if request.operation is Operation.COUNT_TOKENS:
        count = document.get("input_tokens")
        return TokenCount(count) if is_count(count) else bad_answer("the answer has no input_tokens")
    failure = find_failure(document)
    if failure is not None:
        return failure
    try:
        return _parse_response(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return bad_answer(f"the answer does not have the expected form: {type(error).__name__}", error)


def parse_failure(status: int, headers: Headers, body: bytes) -> Failure:
    """Say what a refused call means. A 404 about what the request refers to is not one about the model."""
    failure = failures.parse_failure(status, headers, body)
    if failure.kind is not Kind.MODEL_UNAVAILABLE or failure.param is None:
        return failure
    if failure.param.startswith(("previous_response_id", "input", "conversation", "prompt")):
        said = scrub_message(failure.said.removeprefix(f"[{failure.code}] "))
        return replace(failure, kind=Kind.NOT_FOUND, message=said)
    return failure


def read_object(data: bytes) -> dict[str, Any] | Failure:
    try:
        document = jsontext.decode(data)
    except jsontext.JSONError as error:
        return bad_answer(f"the answer is not JSON: {error}")
    return document if isinstance(document, dict) else bad_answer("the answer is not a JSON object")


def find_failure(response: Document) -> Failure | None:
    """The failure that a response with a good HTTP status holds; None if it ended well."""
    if response.get("error"):
        return failure_of_error(response["error"])
    status = response.get("status")
    # Servers that copied the dialect may leave it out of an answer that is otherwise complete.
    if status is None and isinstance(response.get("output"), list):
        return None
    return None if status in _ENDED else bad_answer("the response ended with a status that is no end", status)


def parse_finish(response: Document, *, called: bool) -> tuple[Finish, str]:
    """-> (why the model stopped, the provider's own word). ``called``: the answer holds tool calls."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = text_of(details, "reason") if isinstance(details, dict) else ""
        return _REASONS.get(reason, Finish.LENGTH), reason or "incomplete"
    return (Finish.TOOL_CALLS if called else Finish.STOP), "completed"


def parse_usage(value: Any) -> Usage | None:
    """A ``usage`` object -> Usage; None for null and for one without counts. Reasoning is always part of the output."""
    if not isinstance(value, dict):
        return None
    named = {
        "prompt_tokens": value.get("input_tokens"),
        "completion_tokens": value.get("output_tokens"),
        "prompt_tokens_details": value.get("input_tokens_details"),
        "completion_tokens_details": value.get("output_tokens_details"),
        "cost": value.get("cost"),
        "cost_details": value.get("cost_details"),
        "is_byok": value.get("is_byok"),
        "cost_in_usd_ticks": value.get("cost_in_usd_ticks"),
    }
    return parse_chat_usage(named, reasoning_apart=False)


def find_usage(response: Document) -> Usage | None:
    """The usage of a response, with what stands beside it: how it was served, and the searches it made."""
    usage = parse_usage(response.get("usage"))
    if usage is None:
        return None
    searches = sum(1 for item in objects(response.get("output")) if _searched(item))
    return msgspec.structs.replace(
        usage, tier=parse_tier(response.get("service_tier")), web_searches=usage.web_searches or searches
    )


def _searched(item: Document) -> bool:
    """A search is paid for; opening a page it found, or looking for words there, is not."""
    action = item.get("action")
    kind = action.get("type", "search") if isinstance(action, dict) else "search"
    return item.get("type") == "web_search_call" and item.get("status") != "failed" and kind == "search"


def parse_call(item: Document, seed: str) -> ToolCall:
    """A ``function_call`` or ``custom_tool_call``. seed: makes an id where the server gave none."""
    kind, field = CALLS[item["type"]]
    return ToolCall(
        id=text_of(item, "call_id") or invent_tool_id(seed),
        name=parse_name(text_of(item, "name")),
        arguments=arguments_text(item.get(field)),
        kind=kind,
    )


def parse_thought(item: Document) -> Thinking:
    """A ``reasoning`` item: its summary, else (servers with open weights) the thought itself."""
    texts = _texts(item.get("summary")) or _texts(item.get("content"))
    return Thinking(
        "\n\n".join(texts),
        encrypted=text_of(item, "encrypted_content") or None,
        origin=DIALECT,
        item_id=text_of(item, "id") or None,
    )


def content_parts(item: Document) -> Iterator[Text | Refusal]:
    """What a ``message`` says."""
    for part in objects(item.get("content")):
        citations = tuple(objects(part.get("annotations")))
        if text_of(part, "text") or citations:
            yield Text(text_of(part, "text"), citations=citations)
        elif text_of(part, "refusal"):
            yield Refusal(text_of(part, "refusal"))


def logprobs_of(part: Document) -> Document | None:
    """``logprobs`` in the canonical form; None where there are none."""
    given = objects(part.get("logprobs"))
    return {"content": given} if given else None


def objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def created_of(response: Document) -> int | None:
    created = response.get("created_at")
    return int(created) if isinstance(created, (int, float)) and 0 < created < 2**53 else None


def _parse_response(response: dict[str, Any]) -> Answer:
    output = response["output"]
    if not isinstance(output, list):
        raise TypeError("output is not a list")
    response_id = text_of(response, "id")
    parts = tuple(
        part for place, item in enumerate(output) for part in _item_parts(item, f"{response_id}.{place}")
    )
    logprobs = [logprobs_of(part) for item in objects(output) for part in objects(item.get("content"))]
    finish, native = parse_finish(response, called=any(isinstance(part, ToolCall) for part in parts))
    choice = Choice(parts, finish, native, logprobs=tuple(entry for entry in logprobs if entry is not None))
    return Answer(
        response_id,
        text_of(response, "model"),
        (choice,),
        find_usage(response),
        created_of(response),
    )


def _item_parts(item: dict[str, Any], seed: str) -> Iterator[Part]:
    kind = text_of(item, "type")
    if kind == "message":
        yield from content_parts(item)
    elif kind == "reasoning":
        thought = parse_thought(item)
        if thought.text or thought.encrypted is not None:
            yield thought
    elif kind in CALLS:
        yield parse_call(item, seed)


def _texts(value: Any) -> list[str]:
    return [text for part in objects(value) if (text := text_of(part, "text"))]
