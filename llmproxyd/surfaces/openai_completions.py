"""What clients speak on /v1/completions: one text in, its continuation out.

To a provider without this path the text goes as a message of the user. What that cannot express (several prompts,
token ids, a suffix, an echo, the best of many, the old shape of logprobs) is refused by name, and passes only where
the provider speaks the same.
"""

from __future__ import annotations

from typing import Any

from llmproxyd import jsontext
from llmproxyd.framing import format_data
from llmproxyd.surfaces.openai_answer import format_finish, format_usage
from llmproxyd.surfaces.openai_chat import own_fields
from llmproxyd.surfaces.openai_failure import error_object, format_failure
from llmproxyd.surfaces.openai_fields import (
    decode_body,
    empty,
    missing,
    read_bool,
    read_int,
    read_metadata,
    read_model,
    read_number,
    read_text,
    read_wants_usage,
    wrong_type,
)
from llmproxyd.surfaces.openai_options import parse_sampling
from llmproxyd.surfaces.openai_stream import DONE, KEEP_ALIVE
from llmproxyd.values.answer import (
    Answer,
    Choice,
    Event,
    Failed,
    Finished,
    Pinged,
    RefusalDelta,
    Started,
    TextDelta,
    TokenCount,
    UsageReported,
    Vectors,
)
from llmproxyd.values.contracts import BadRequest, Headers, Surface
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Chat, Dialect, Message, Operation, Refusal, Request, Role, Text

_KNOWN = frozenset(
    {
        "model", "prompt", "stream", "stream_options", "temperature", "top_p", "top_k", "max_tokens", "stop", "seed",
        "frequency_penalty", "presence_penalty", "logit_bias", "n", "user", "metadata", "suffix", "echo", "best_of",
        "logprobs",
    }
)  # fmt: skip
# Values of fields that a chat cannot express, but that ask for nothing.
_ASKS_NOTHING: dict[str, tuple[Any, ...]] = {
    "suffix": ("",),
    "echo": (False,),
    "best_of": (1,),
    "logprobs": (),
}


def parse_request(headers: Headers, body: bytes, target: str) -> Request:
    """headers and target say nothing in this dialect. Raises BadRequest for what no provider could answer."""
    document = decode_body(body)
    model = read_model(document)
    _check_prompt(document.get("prompt"))
    stream = read_bool(document, "stream") or False
    wants_usage = read_wants_usage(document)
    return Request(
        operation=Operation.COMPLETION,
        dialect=Dialect.OPENAI_CHAT,
        surface=SURFACE.name,
        model=model,
        stream=stream,
        body=body,
        document=document,
        max_output_tokens=read_int(document, "max_tokens", low=0),
        temperature=read_number(document, "temperature"),
        n=read_int(document, "n", low=1, high=128),
        metadata=read_metadata(document),
        wants_usage=wants_usage or not stream,
    )


def parse_content(request: Request) -> Chat:
    """The prompt as a chat of one message. Raises BadRequest naming what that cannot express."""
    document = request.document
    for name, harmless in _ASKS_NOTHING.items():
        value = document.get(name)
        if value is not None and value not in harmless:
            raise BadRequest(
                f"Unsupported parameter: '{name}' is not supported with this model.",
                param=name,
                code="unsupported_parameter",
            )
    sampling = {name: value for name, value in document.items() if name != "logprobs"}
    return Chat(
        messages=(Message(Role.USER, (Text(_single_prompt(document["prompt"])),)),),
        sampling=parse_sampling(sampling),
        user=read_text(document, "user"),
        metadata=request.metadata,
        extras=own_fields(document, _KNOWN),
    )


def _check_prompt(prompt: Any) -> None:
    """A text, token ids, or a list of either."""
    if prompt is None:
        raise missing("prompt")
    if isinstance(prompt, str):
        return
    if not isinstance(prompt, list):
        raise wrong_type("prompt", "a string or an array", prompt)
    if not prompt:
        raise empty("prompt")
    for index, item in enumerate(prompt):
        if not isinstance(item, (str, int, list)) or isinstance(item, bool):
            raise wrong_type(f"prompt[{index}]", "a string, a token id or an array of token ids", item)


def _single_prompt(prompt: Any) -> str:
    text = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
    if isinstance(text, str):
        return text
    raise BadRequest(
        "The chosen model takes a single text as its prompt.", param="prompt", code="invalid_value"
    )


def format_answer(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002 - as the dialect calls it
    created_s: int,
) -> bytes:
    """A whole completion. ``id`` and ``created_s`` stand in where the provider gave none."""
    if not isinstance(answer, Answer):
        raise TypeError(f"a completion is not answered with {type(answer).__name__}")
    head = _head(answer.id or id, created_s if answer.created_s is None else answer.created_s, model)
    choices = [
        _format_choice(index, _text_of(choice), format_finish(choice.finish, called=False))
        for index, choice in enumerate(answer.choices)
    ]
    usage = {} if answer.usage is None else {"usage": format_usage(answer.usage)}
    return jsontext.encode({**head, "choices": choices, **usage})


def _text_of(choice: Choice) -> str:
    return "".join(part.text for part in choice.parts if isinstance(part, (Text, Refusal)))


def _head(answer_id: str, created_s: int, model: str) -> dict[str, Any]:
    return {"id": answer_id, "object": "text_completion", "created": created_s, "model": model}


def _format_choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


class CompletionEncoder:
    """The Encoder of one stream. Thoughts and tool calls have no place here; nobody asked for them."""

    def __init__(self, request: Request, *, model: str, id: str, created_s: int) -> None:  # noqa: A002
        self._wants_usage = request.wants_usage
        self._model = model
        self._id = id
        self._created_s = created_s
        self._usage: Usage | None = None

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() | RefusalDelta():
                return self._chunk(event.choice, event.text, None) if event.text else b""
            case Finished():
                return self._chunk(event.choice, "", format_finish(event.reason, called=False))
            case Started():
                self._id = event.id or self._id
                self._created_s = self._created_s if event.created_s is None else event.created_s
                self._usage = event.usage or self._usage
                return b""
            case UsageReported():
                self._usage = event.usage
                return b""
            case Failed():
                return self.fail(event.failure)
            case Pinged():
                return self.ping()
            case _:
                return b""

    def close(self) -> bytes:
        if not self._wants_usage or self._usage is None:
            return DONE
        return self._frame({"choices": [], "usage": format_usage(self._usage)}) + DONE

    def fail(self, failure: Failure) -> bytes:
        return format_data(jsontext.encode({"error": error_object(failure)}))

    def ping(self) -> bytes:
        return KEEP_ALIVE

    def _chunk(self, choice: int, text: str, finish: str | None) -> bytes:
        usage = {"usage": None} if self._wants_usage else {}
        return self._frame({"choices": [_format_choice(choice, text, finish)], **usage})

    def _frame(self, fields: dict[str, Any]) -> bytes:
        return format_data(jsontext.encode({**_head(self._id, self._created_s, self._model), **fields}))


def new_encoder(request: Request, *, model: str, id: str, created_s: int) -> CompletionEncoder:  # noqa: A002
    return CompletionEncoder(request, model=model, id=id, created_s=created_s)


SURFACE = Surface(
    name="openai-completions",
    dialect=Dialect.OPENAI_CHAT,
    operation=Operation.COMPLETION,
    parse_request=parse_request,
    parse_content=parse_content,
    format_answer=format_answer,
    new_encoder=new_encoder,
    format_failure=format_failure,
)
