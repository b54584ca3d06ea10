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
from llmproxyd.adapters.failures import bad_answer, failure_of_error
from llmproxyd.adapters.ollama_format import format_chat
from llmproxyd.framing import FrameTooLong, LineSplitter
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Call, Inspected, Progress
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Chat, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment

MAX_HELD_BYTES = 1024 * 1024
"""What may come before the first content. More of it is no answer."""

PATHS: Mapping[str, str] = {
    "ollama-chat": "/api/chat",
    "ollama-generate": "/api/generate",
    "ollama-embed": "/api/embed",
    "ollama-embeddings": "/api/embeddings",
}
"""The surface a request came in by says where it goes on."""

_STREAM_TYPE = "application/x-ndjson"
_NO_MODEL = msgspec.Raw(b"")
_NOTHING = Progress()
_MAX_TOKENS = 2**53


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    thinking: Any = None
    tool_calls: Any = None
    images: Any = None

    def says_something(self) -> bool:
        return bool(self.content or self.thinking or self.tool_calls or self.images)


class _Line(msgspec.Struct, gc=False):
    """What has to be seen of a line or a whole answer; everything else is skipped unread."""

    model: msgspec.Raw = _NO_MODEL
    message: _Message | None = None
    response: Any = None
    thinking: Any = None
    image: Any = None
    embeddings: msgspec.Raw | None = None
    embedding: msgspec.Raw | None = None
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
        read, written = _count(self.prompt_eval_count), _count(self.eval_count)
        return None if read is None and written is None else Usage(read or 0, written or 0)

    def finish(self, *, called: bool) -> Finish:
        """Ollama itself says ``stop`` where it calls tools."""
        if self.done_reason == "length":
            return Finish.LENGTH
        return Finish.TOOL_CALLS if called else Finish.STOP


_decode = msgspec.json.Decoder(_Line).decode


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


class OllamaRelay:
    """The Relay of one stream."""

    __slots__ = (
        "_called", "_content", "_done", "_echo", "_ended", "_failure", "_finish", "_held", "_open", "_splitter",
        "_usage",
    )  # fmt: skip

    def __init__(self, *, echo: str | None) -> None:
        self._splitter = LineSplitter()
        self._echo = None if echo is None else jsontext.encode(echo)
        self._held = bytearray()
        self._open = False  # content was seen: nothing is held back any more
        self._called = False
        self._done = False
        self._ended = False
        # What the read in hand came to:
        self._content = False
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._failure: Failure | None = None

    def feed(self, data: bytes) -> Progress:
        if self._ended:
            return _NOTHING
        try:
            return self._relay(self._splitter.feed(data))
        except FrameTooLong as error:
            self._ended = True
            return Progress(failure=bad_answer(str(error)))

    def close(self) -> Progress:
        if self._ended:
            return _NOTHING
        last = self._relay(self._splitter.close())
        self._ended = True
        if last.failure is not None or self._done:
            return last
        what = "cut short" if self._open else "without any answer"
        failure = bad_answer(f"the stream ended {what}")
        return Progress(last.out, last.content, last.usage, last.finish, failure)

    def _relay(self, lines: list[bytes]) -> Progress:
        self._content = False
        self._usage = self._finish = None
        out = b"".join([self._pass(line) for line in lines])
        if not self._open:
            out = self._hold(out)
        return Progress(out, self._content, self._usage, self._finish, self._failure, self._done)

    def _hold(self, out: bytes) -> bytes:
        self._held += out
        if self._content:
            self._open = True
            out = bytes(self._held)
            self._held.clear()
            return out
        if len(self._held) > MAX_HELD_BYTES and self._failure is None:
            self._fail(bad_answer(f"{MAX_HELD_BYTES} bytes came without any content"))
        return b""

    def _fail(self, failure: Failure) -> bytes:
        self._ended = True
        self._failure = failure
        return b""

    def _pass(self, line: bytes) -> bytes:
        """One line -> what the client gets for it."""
        if self._done or self._ended:
            return b""
        seen = _read_line(line)
        if isinstance(seen, Failure):
            return self._fail(seen)
        self._called = self._called or seen.calls()
        if seen.done is True:
            self._done = True
            self._usage = seen.usage()
            self._finish = seen.finish(called=self._called)
        # An answer may be empty: its end is then all there is to send.
        self._content = self._content or self._done or seen.says_something()
        return _renamed(line, seen.model, self._echo) + b"\n"


def new_relay(*, echo: str | None, keep_usage: bool) -> OllamaRelay:
    """``keep_usage`` is not asked: counts stand in the last line, which has to come anyway."""
    return OllamaRelay(echo=echo)


def inspect_answer(body: bytes, echo: str | None) -> Inspected:
    """A whole 2xx body that passes through: chat, generate or embeddings."""
    seen = _read_line(body)
    if isinstance(seen, Failure):
        return Inspected(body, failure=seen)
    embeds = seen.embeddings is not None or seen.embedding is not None
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


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MAX_TOKENS:
        return None
    return int(value)


def _read_line(line: bytes) -> _Line | Failure:
    try:
        seen = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_line_slowly(line)
    return failure_of_error(seen.error) if seen.error else seen


def _read_line_slowly(line: bytes) -> _Line | Failure:
    """What msgspec refuses and JSON allows: half an emoji, whose other half comes in the next line."""
    try:
        document = jsontext.decode(line)
        if not isinstance(document, dict):
            return bad_answer("a line of the answer is not a JSON object")
        raw = {name: document.pop(name, None) for name in ("model", "embeddings", "embedding")}
        seen = msgspec.convert(document, _Line)
        seen.model = msgspec.Raw(jsontext.encode(raw["model"]))
        seen.embeddings = None if raw["embeddings"] is None else msgspec.Raw(b"[]")
        seen.embedding = None if raw["embedding"] is None else msgspec.Raw(b"[]")
    except (jsontext.JSONError, msgspec.ValidationError) as error:
        return bad_answer(f"a line of the answer cannot be read: {error}")
    return failure_of_error(seen.error) if seen.error else seen
