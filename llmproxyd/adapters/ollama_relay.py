"""The verbatim lane in Ollama's dialect: bodies pass as they are, and are only watched.

On the way out the model's name is put in, and what a rule sets. On the way back the name is changed where the client is
to see another one; lines keep their bytes, blank ones are dropped since the official client breaks on them. Lines before
the first content are held back, so that a provider that fails there can still be replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.adapters.calls import format_post
from llmproxyd.adapters.counts import parse_told
from llmproxyd.adapters.failures import bad_answer, failure_of_error
from llmproxyd.adapters.ollama_format import format_chat
from llmproxyd.adapters.relaying import NO_RAW, StreamRelay, is_said, new_reader
from llmproxyd.framing import LineSplitter
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Call, Inspected
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Chat, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment

PATHS: Mapping[str, str] = {
    "ollama-chat": "/api/chat",
    "ollama-generate": "/api/generate",
    "ollama-embed": "/api/embed",
    "ollama-embeddings": "/api/embeddings",
}
"""The surface a request came in by says where it goes on."""

_STREAM_TYPE = "application/x-ndjson"


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    thinking: Any = None
    tool_calls: Any = None
    images: Any = None

    def says_something(self) -> bool:
        return bool(self.content or self.thinking or self.tool_calls or self.images)


class _Line(msgspec.Struct, gc=False):
    """What has to be seen of a line or a whole answer; everything else is skipped unread."""

    model: msgspec.Raw = NO_RAW
    message: _Message | None = None
    response: Any = None
    thinking: Any = None
    image: Any = None
    embeddings: msgspec.Raw = NO_RAW
    embedding: msgspec.Raw = NO_RAW
    error: Any = None
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None

    def says_something(self) -> bool:
        return bool(self.response or self.thinking or self.image) or (
            self.message is not None and self.message.says_something()
        )

    def calls(self) -> bool:
        return self.message is not None and bool(self.message.tool_calls)

    def usage(self) -> Usage | None:
        """The count of the prompt is left out when it was found in the cache."""
        read, written = parse_told(self.prompt_eval_count), parse_told(self.eval_count)
        return None if read is None and written is None else Usage(read or 0, written or 0)

    def finish(self, *, called: bool) -> Finish:
        """Ollama itself says ``stop`` where it calls tools."""
        if self.done_reason == "length":
            return Finish.LENGTH
        return Finish.TOOL_CALLS if called else Finish.STOP


_decode = new_reader(_Line, "line")


def splice_call(request: Request, deployment: Deployment, overrides: Overrides) -> Call:
    """The client's own body with only the model and what a rule sets put in; every other field keeps its bytes."""
    fields: dict[str, Any] = {"model": deployment.upstream}
    warnings: tuple[str, ...] = ()
    if overrides and request.operation is Operation.CHAT:
        # A conversation without any wish of its own says what the overrides come to.
        wished, warnings = format_chat(Chat(messages=()), deployment, overrides, stream=request.stream)
        if "options" in wished:
            fields["options"] = {**(request.document.get("options") or {}), **wished["options"]}
        if "think" in wished:
            fields["think"] = wished["think"]
    spliced = {name: jsontext.encode(value) for name, value in fields.items()}
    return format_post(
        deployment.provider,
        deployment.provider.base_url + PATHS[request.surface],
        jsontext.splice(request.body, spliced),
        stream=request.stream,
        stream_type=_STREAM_TYPE,
        warnings=warnings,
    )


class OllamaRelay(StreamRelay[bytes]):
    """The Relay of one stream. Its end is a line of its own: without that it was cut."""

    __slots__ = ("_called", "_echo")

    def __init__(self, *, echo: str | None) -> None:
        super().__init__(LineSplitter())
        self._echo = None if echo is None else jsontext.encode(echo)
        self._called = False

    def _pass(self, frame: bytes) -> bytes:
        if self._done or self._ended:
            return b""
        seen = _read_line(frame)
        if isinstance(seen, Failure):
            return self._fail(seen)
        self._called = self._called or seen.calls()
        if seen.done is True:
            self._done = True
            self._usage = seen.usage()
            self._finish = seen.finish(called=self._called)
        # An answer may be empty: its end is then all there is to send.
        self._content = self._content or self._done or seen.says_something()
        return _renamed(frame, seen.model, self._echo) + b"\n"


def new_relay(*, echo: str | None, keep_usage: bool) -> OllamaRelay:
    """``keep_usage`` is not asked: counts stand in the last line, which has to come anyway."""
    return OllamaRelay(echo=echo)


def inspect_answer(body: bytes, echo: str | None) -> Inspected:
    """A whole 2xx body that passes through: chat, generate or embeddings."""
    seen = _read_line(body)
    if isinstance(seen, Failure):
        return Inspected(body, failure=seen)
    embeds = is_said(seen.embeddings) or is_said(seen.embedding)
    if not embeds and seen.done is not True:
        return Inspected(body, failure=bad_answer("the answer is not complete"))
    return Inspected(
        body=_renamed(body, seen.model, None if echo is None else jsontext.encode(echo)),
        usage=seen.usage(),
        finish=None if embeds else seen.finish(called=seen.calls()),
    )


def _renamed(line: bytes, named: msgspec.Raw, echo: bytes | None) -> bytes:
    """The line with another model's name in it, where it names one. ``echo`` is JSON text."""
    found = bytes(named)
    if echo is None or found in (b"", b'""', b"null"):
        return line
    head = b'{"model":' + found
    # Ollama names the model first: nothing else of the line has to be looked at then.
    if line.startswith(head):
        return b'{"model":' + echo + line[len(head) :]
    return jsontext.splice(line, {"model": echo})


def _read_line(line: bytes) -> _Line | Failure:
    seen = _decode(line)
    if isinstance(seen, Failure):
        return seen
    return failure_of_error(seen.error) if seen.error else seen
