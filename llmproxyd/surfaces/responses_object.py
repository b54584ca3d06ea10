"""The response object that surrounds every answer of the Responses dialect, in streams and whole.

Ids are made from the id of the request, so that they are the same wherever they are written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from llmproxyd.surfaces.openai_failure import error_object
from llmproxyd.values.answer import Finish
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Document, Request

RESOLVED = "llmproxyd.previous_response_id"
"""Where a document keeps the id of the previous response once that conversation was put in front of its input."""

# What a request may leave out and an answer always says.
_DEFAULTS: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_MERGED = ("reasoning", "text")

_REASONS: Mapping[Finish, str] = {
    Finish.LENGTH: "max_output_tokens",
    Finish.PAUSE: "max_output_tokens",  # unfinished, and to be continued, is the nearest this dialect has
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "content_filter",
}


def make_id(prefix: str, request_id: str, place: int = 0) -> str:
    """e.g. ``msg_5f0c…``: unique as far as the request id is, and the same for the same place in its answer."""
    digest = hashlib.blake2b(f"{prefix}\0{request_id}\0{place}".encode(), digest_size=16)
    return f"{prefix}_{digest.hexdigest()}"


def new_response(request: Request, *, model: str, request_id: str, created_s: int) -> dict[str, Any]:
    """A response of which nothing is known yet but the question."""
    document = request.document
    return {
        "id": make_id("resp", request_id),
        "object": "response",
        "created_at": created_s,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "previous_response_id": document.get(RESOLVED),
        "usage": None,
    } | {name: _echoed(document, name, default) for name, default in _DEFAULTS.items()}


def completed(
    response: Document, output: list[dict[str, Any]], finish: Finish, usage: Usage | None
) -> dict[str, Any]:
    """The response with its outcome: ``completed``, or ``incomplete`` and why."""
    reason = _REASONS.get(finish)
    if finish is Finish.REFUSAL and _refuses(output):
        # The model said so itself, and to its end.
        reason = None
    return {
        **response,
        "status": "completed" if reason is None else "incomplete",
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": output,
        "usage": None if usage is None else format_usage(usage),
    }


def failed(response: Document, output: list[dict[str, Any]], failure: Failure) -> dict[str, Any]:
    error = error_object(failure)
    message = error["message"]
    if failure.retry_after_s is not None:
        # The only place for it after the headers are out; agents look for these words.
        message += f" Please try again in {failure.retry_after_s:g}s."
    return {
        **response,
        "status": "failed",
        "error": {"code": error["code"] or "server_error", "message": message},
        "output": output,
    }


def format_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens + usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _echoed(document: Document, name: str, default: Any) -> Any:
    given = document.get(name)
    if given is None:
        return default
    return {**default, **given} if name in _MERGED and isinstance(given, dict) else given


def _refuses(output: list[dict[str, Any]]) -> bool:
    return any(part.get("type") == "refusal" for item in output for part in item.get("content") or ())
