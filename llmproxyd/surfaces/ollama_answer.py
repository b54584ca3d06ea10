"""Canonical answers -> Ollama's, whole; what its streams share with them; and its errors.

The dialect has one answer, one text, one thought: further choices are not shown, refusals are text, signatures and
sources have no place. Durations are whole nanoseconds; they are zero where nobody measured them, as they are in a
whole answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.surfaces.ollama_fields import format_time
from llmproxyd.values.answer import Answer, Choice, Finish, TokenCount, Vectors
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.failure import FailureKind as Kind
from llmproxyd.values.request import Document, Refusal, Request, Text, Thinking, ToolCall

# The dialect knows two reasons; agents look for the calls themselves, not for a reason.
_FINISHES: Mapping[Finish, str] = {
    Finish.LENGTH: "length",
    Finish.PAUSE: "length",  # unfinished, and to be continued, is the nearest it has
}


class Timings(msgspec.Struct, frozen=True):
    """Nanoseconds: up to the end, up to the first content, from there to the end."""

    total_ns: int = 0
    prompt_ns: int = 0
    answer_ns: int = 0


UNMEASURED = Timings()


def format_answer(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002 - unused: answers have no id here
    created_s: int,
) -> bytes:
    """The body of a whole chat."""
    return _format_whole(_need_answer(answer), model, created_s, _message_fields)


def format_generated(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002
    created_s: int,
) -> bytes:
    """The body of a whole /api/generate."""
    return _format_whole(_need_answer(answer), model, created_s, _response_fields)


def format_head(model: str, created_s: int) -> dict[str, Any]:
    """The fields that begin every line and every whole answer."""
    return {"model": model, "created_at": format_time(created_s)}


def format_end(finish: Finish | None, usage: Usage | None, timings: Timings) -> dict[str, Any]:
    """The fields that end an answer. Counts are left out where nobody counted, as Ollama leaves out what is not known."""
    read = {} if usage is None else {"prompt_eval_count": usage.input_tokens}
    written = {} if usage is None else {"eval_count": usage.output_tokens}
    return {
        "done": True,
        "done_reason": _FINISHES.get(finish or Finish.STOP, "stop"),
        "total_duration": timings.total_ns,
        "load_duration": 0,
        **read,
        "prompt_eval_duration": timings.prompt_ns,
        **written,
        "eval_duration": timings.answer_ns,
    }


def format_tool_call(call: ToolCall, index: int) -> dict[str, Any]:
    function = {"index": index, "name": call.name, "arguments": parse_arguments(call.arguments)}
    return ({"id": call.id} if call.id else {}) | {"function": function}


def parse_arguments(text: str) -> Document:
    """The object that clients of this dialect expect. What a model wrote that is none is handed on inside one."""
    try:
        value = jsontext.decode(text) if text.strip() else {}
    except jsontext.JSONError:
        return {"arguments": text}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"arguments": value}


def format_logprobs(pieces: Iterable[Document]) -> dict[str, Any]:
    """The field ``logprobs``: a list of tokens; none where nobody asked."""
    tokens = [token for piece in pieces for token in piece.get("content") or ()]
    return {"logprobs": tokens} if tokens else {}


def format_failure(failure: Failure, request_id: str) -> bytes:
    """The body of an error answer. The request id is put in where our operator will be asked about it."""
    message = failure.message
    if failure.kind is Kind.BAD_REQUEST and failure.param and failure.param not in message:
        message = f"{failure.param}: {message}"
    if failure.kind is Kind.INTERNAL and request_id:
        message += f" Please mention the request id {request_id} when you report this."
    return jsontext.encode({"error": message})


def _format_whole(
    answer: Answer, model: str, created_s: int, format_fields: Callable[[Choice], dict[str, Any]]
) -> bytes:
    choice = answer.choices[0] if answer.choices else Choice((), None)
    body = format_head(model, created_s if answer.created_s is None else answer.created_s)
    body |= format_fields(choice)
    body |= format_logprobs(choice.logprobs)
    return jsontext.encode(body | format_end(choice.finish, answer.usage, UNMEASURED))


def _need_answer(answer: Answer | Vectors | TokenCount) -> Answer:
    if not isinstance(answer, Answer):
        raise TypeError(f"a conversation is not answered with {type(answer).__name__}")
    return answer


def _message_fields(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", **_spoken(choice, "content")}
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    if calls:
        message["tool_calls"] = [format_tool_call(call, index) for index, call in enumerate(calls)]
    return {"message": message}


def _response_fields(choice: Choice) -> dict[str, Any]:
    return _spoken(choice, "response")


def _spoken(choice: Choice, text_field: str) -> dict[str, Any]:
    fields = {text_field: "".join(part.text for part in choice.parts if isinstance(part, (Text, Refusal)))}
    thought = "".join(part.text for part in choice.parts if isinstance(part, Thinking))
    return fields | ({"thinking": thought} if thought else {})
