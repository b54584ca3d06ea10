"""What Ollama speaks natively: /api/chat, /api/generate, /api/embed; streams are JSON lines.

Tool calls come whole and mostly without an id, which is then made from what the call says, the same every time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.calls import format_get, format_post
from llmproxyd.adapters.counts import parse_count, parse_told
from llmproxyd.adapters.decoding import StreamDecoder, read_object
from llmproxyd.adapters.failures import bad_answer, failure_of_error, parse_failure
from llmproxyd.adapters.ollama_format import format_chat, format_embed, format_generate
from llmproxyd.adapters.ollama_relay import inspect_answer, new_relay, splice_call
from llmproxyd.adapters.openai_answer import parse_vector
from llmproxyd.adapters.openai_format import prompt_of
from llmproxyd.adapters.tool_deltas import arguments_text, invent_tool_id
from llmproxyd.framing import LineSplitter
from llmproxyd.values.answer import (
    Answer,
    Event,
    Finish,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
    Vectors,
    fold,
)
from llmproxyd.values.contracts import Adapter, BadRequest, Call, Listed
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Content, Dialect, Embed, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment, Provider

MAX_LISTED = 5000
_STREAM_TYPE = "application/x-ndjson"
_FINISHES: Mapping[str, Finish] = {"stop": Finish.STOP, "length": Finish.LENGTH}
_CAPABILITIES = frozenset({"tools", "vision", "thinking", "audio"})


def format_call(request: Request, content: Content, deployment: Deployment, overrides: Overrides) -> Call:
    """Canonical content -> Call. Raises BadRequest naming the field that Ollama cannot carry."""
    path, body, warnings = _format_body(request, content, deployment, overrides)
    provider = deployment.provider
    return format_post(
        provider,
        provider.base_url + path,
        jsontext.encode(body),
        stream=request.stream,
        stream_type=_STREAM_TYPE,
        warnings=warnings,
    )


def _format_body(
    request: Request, content: Content, deployment: Deployment, overrides: Overrides
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    if request.operation is Operation.COUNT_TOKENS:
        raise BadRequest("The chosen model's provider does not count tokens.", param="model")
    if isinstance(content, Embed):
        body, warnings = format_embed(content, deployment.upstream)
        return "/api/embed", body, warnings
    if request.operation is Operation.COMPLETION:
        prompt = prompt_of(content)
        body, warnings = format_generate(content, prompt, deployment, overrides, stream=request.stream)
        return "/api/generate", body, warnings
    body, warnings = format_chat(content, deployment, overrides, stream=request.stream)
    return "/api/chat", body, warnings


def parse_answer(request: Request, body: bytes) -> Answer | Vectors | Failure:
    """A whole 2xx body -> Answer or Vectors, or the Failure it turns out to be."""
    try:
        document = jsontext.decode(body)
    except jsontext.JSONError as error:
        return bad_answer(f"the answer is not JSON: {error}")
    if not isinstance(document, dict):
        return bad_answer("the answer is not a JSON object")
    if request.operation is Operation.EMBEDDING and not document.get("error"):
        return _parse_vectors(document)
    decoder = OllamaDecoder()
    return fold([*decoder.read(document), *decoder.close()])


class OllamaDecoder(StreamDecoder[bytes]):
    """The Decoder of one stream. A whole answer is a stream of one line."""

    def __init__(self) -> None:
        super().__init__(LineSplitter())
        self._tools = 0
        self._seed = ""

    def _read_frame(self, frame: bytes) -> Iterator[Event]:
        document = read_object(frame, "line")
        if isinstance(document, Failure):
            yield self._fail(document)
        else:
            yield from self.read(document)

    def read(self, document: dict[str, Any]) -> Iterator[Event]:
        """One decoded line -> its events."""
        if document.get("error"):
            yield self._fail(failure_of_error(document["error"]))
            return
        if not self._started:
            self._started = True
            self._seed = _text(document, "created_at")
            yield Started(model=_text(document, "model"), created_s=_parse_time(self._seed))
        message = document.get("message")
        yield from self._read_message(message if isinstance(message, dict) else {}, document)
        if document.get("done") is True:
            yield from self._finish(document)

    def _read_message(self, message: dict[str, Any], document: dict[str, Any]) -> Iterator[Event]:
        thought = _text(message, "thinking") or _text(document, "thinking")
        if thought:
            yield ThinkingDelta(thought, origin=Dialect.OLLAMA_CHAT)
        text = _text(message, "content") or _text(document, "response")
        logprobs = document.get("logprobs")
        if text:
            yield TextDelta(text, logprobs={"content": logprobs} if isinstance(logprobs, list) else None)
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict) and isinstance(call.get("function"), dict):
                yield self._tool_call(call, call["function"])

    def _tool_call(self, call: dict[str, Any], function: dict[str, Any]) -> ToolCallDelta:
        index, self._tools = self._tools, self._tools + 1
        name, arguments = _text(function, "name"), arguments_text(function.get("arguments"))
        call_id = _text(call, "id") or invent_tool_id(self._seed, str(index), name, arguments)
        return ToolCallDelta(index, call_id, name, arguments)

    def _finish(self, document: dict[str, Any]) -> Iterator[Event]:
        self._done = True
        native = _text(document, "done_reason") or None
        reason = _FINISHES.get(native or "stop", Finish.STOP)
        if self._tools and reason is Finish.STOP:
            reason = Finish.TOOL_CALLS  # Ollama itself says `stop`
        yield Finished(reason, native=native)
        usage = parse_usage(document)
        if usage is not None:
            yield UsageReported(usage)


def new_decoder(request: Request) -> OllamaDecoder:
    """``request`` is not asked: chat and generate tell themselves apart."""
    return OllamaDecoder()


def format_probe(provider: Provider) -> Call:
    """A free GET: the provider's own probe, else its version."""
    path = provider.probe.path if provider.probe is not None else "/api/version"
    return format_get(provider, provider.base_url + path)


def parse_models(body: bytes) -> tuple[Listed, ...]:
    """``/api/tags`` -> models, in the server's order. Raises ValueError if it is no such list."""
    document = jsontext.decode(body)
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, list):
        raise ValueError("the server's list of models has no `models`")
    return tuple(
        _parse_model(entry)
        for entry in models[:MAX_LISTED]
        if isinstance(entry, dict) and (_text(entry, "model") or _text(entry, "name"))
    )


def _parse_model(entry: dict[str, Any]) -> Listed:
    details = entry.get("details")
    window = parse_count(details.get("context_length")) if isinstance(details, dict) else None
    given = entry.get("capabilities")
    capabilities = frozenset(str(name) for name in given) if isinstance(given, list) else None
    name = _text(entry, "model") or _text(entry, "name")
    return Listed(
        id=name,
        context_window=window or None,
        capabilities=None if capabilities is None else capabilities & _CAPABILITIES,
        embeds="embedding" in capabilities if capabilities is not None else "embed" in name.lower(),
    )


def _parse_vectors(document: dict[str, Any]) -> Vectors | Failure:
    embeddings = document.get("embeddings")
    if not isinstance(embeddings, list) or not embeddings:
        return bad_answer("the answer has no embeddings")
    try:
        vectors = tuple(parse_vector(vector) for vector in embeddings)
    except (TypeError, ValueError) as error:
        return bad_answer(f"an embedding cannot be read: {type(error).__name__}", error)
    return Vectors(_text(document, "model"), vectors, parse_usage(document))


def parse_usage(document: dict[str, Any]) -> Usage | None:
    """``prompt_eval_count`` is left out when the prompt was found in the cache."""
    read, written = parse_told(document.get("prompt_eval_count")), parse_told(document.get("eval_count"))
    if read is None and written is None:
        return None
    return Usage(input_tokens=read or 0, output_tokens=written or 0)


def _parse_time(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return None


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


ADAPTER = Adapter(
    dialect=Dialect.OLLAMA_CHAT,
    operations=frozenset({Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING}),
    format_call=format_call,
    splice_call=splice_call,
    parse_answer=parse_answer,
    new_decoder=new_decoder,
    parse_failure=parse_failure,
    format_probe=format_probe,
    parse_models=parse_models,
    new_relay=new_relay,
    inspect_answer=inspect_answer,
)
