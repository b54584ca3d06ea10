"""A Gemini stream -> canonical events. A whole answer is a stream of one piece.

Every piece is a response object with new parts. Nothing marks the end, so a stream is whole when every candidate seen has
its reason. Built-in tools that ran code are told as text; other parts that have no canonical form are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from llmproxyd.adapters.decoding import StreamDecoder, read_object
from llmproxyd.adapters.failures import bad_answer
from llmproxyd.adapters.gemini_failures import blocked_prompt, failure_of_error
from llmproxyd.adapters.gemini_frames import GeminiSplitter
from llmproxyd.adapters.gemini_names import parse_name
from llmproxyd.adapters.openai_answer import text_of
from llmproxyd.adapters.tool_deltas import arguments_text, invent_tool_id
from llmproxyd.framing import Frame
from llmproxyd.values.answer import (
    CitationDelta,
    Event,
    Finish,
    Finished,
    Pinged,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from llmproxyd.values.cost import TIERS, Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Dialect, Document, Request

MAX_CHOICES = 128
_MAX_TOKENS = 2**53

_REFUSALS = (
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY", "IMAGE_RECITATION",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE", "MODEL_ARMOR", "ESCALATION", "OTHER", "PUP_LIMITED_DISABLED",
)  # fmt: skip
_FINISHES: Mapping[str, Finish] = {
    "STOP": Finish.STOP,
    "MAX_TOKENS": Finish.LENGTH,
    "CONTINUATION": Finish.LENGTH,
    **dict.fromkeys(_REFUSALS, Finish.CONTENT_FILTER),
}
_NOT_YET = frozenset({"", "FINISH_REASON_UNSPECIFIED"})
# Reasons that mean: there is no answer. True: the same request may do better.
_BROKEN: Mapping[str, bool] = {
    "MALFORMED_FUNCTION_CALL": True,
    "MALFORMED_RESPONSE": True,
    "UNEXPECTED_TOOL_CALL": True,
    "TOO_MANY_TOOL_CALLS": True,
    "MISSING_THOUGHT_SIGNATURE": False,
}


class _Choice(msgspec.Struct):
    index: int
    calls: int = 0
    finished: bool = False


class GeminiDecoder(StreamDecoder[Frame]):
    """The Decoder of one stream."""

    def __init__(self) -> None:
        super().__init__(GeminiSplitter())
        self._choices: dict[int, _Choice] = {}
        self._id = ""

    def close(self) -> list[Event]:
        # The end of an array is no sign of life.
        return [event for event in super().close() if not isinstance(event, Pinged)]

    def _is_whole(self) -> bool:
        return bool(self._choices) and all(choice.finished for choice in self._choices.values())

    def read(self, document: Mapping[str, Any]) -> Iterator[Event]:
        """One decoded piece -> its events."""
        if document.get("error"):
            yield self._fail(failure_of_error(document["error"]))
            return
        candidates = document.get("candidates")
        entries = (
            [entry for entry in candidates if isinstance(entry, dict)] if isinstance(candidates, list) else []
        )
        if not entries and is_blocked(document):
            yield from _usage_events(document)
            yield self._fail(blocked_prompt(document["promptFeedback"]))
            return
        if not self._started and (entries or text_of(document, "responseId")):
            self._started = True
            self._id = text_of(document, "responseId")
            yield Started(self._id, text_of(document, "modelVersion"))
        for entry in entries:
            yield from self._read_candidate(entry)
            if self._ended:
                return
        yield from _usage_events(document)

    def _read_frame(self, frame: Frame) -> Iterator[Event]:
        _, data, _ = frame
        if not data.strip():
            yield Pinged()
            return
        document = read_object(data, "piece")
        if isinstance(document, Failure):
            yield self._fail(document)
        elif not document:
            yield Pinged()
        else:
            yield from self.read(document)

    def _read_candidate(self, entry: dict[str, Any]) -> Iterator[Event]:
        choice = self._choice(entry)
        if choice is None:
            yield self._fail(bad_answer(f"the stream has more than {MAX_CHOICES} candidates"))
            return
        content = entry.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                yield from self._read_part(choice, part)
                if self._ended:
                    return
        yield from _logprobs_events(choice, entry)
        yield from _citation_events(choice, entry)
        yield from self._finish(choice, entry)

    def _read_part(self, choice: _Choice, part: dict[str, Any]) -> Iterator[Event]:
        signature = text_of(part, "thoughtSignature") or None
        text = text_of(part, "text")
        if part.get("thought") is True:
            if text or signature:
                yield ThinkingDelta(text, choice.index, signature, origin=Dialect.GEMINI_GENERATE)
            return
        if isinstance(part.get("functionCall"), dict):
            yield self._tool_call(choice, part["functionCall"], signature)
            return
        text = text or _told(part)
        if text:
            yield TextDelta(text, choice.index)
        if signature:
            # It seals the text before it, not a thought: it must not close an open block.
            yield ThinkingDelta("", choice.index, signature, origin=Dialect.GEMINI_GENERATE, new_block=True)
        if isinstance(part.get("inlineData"), dict):
            kind = text_of(part["inlineData"], "mimeType")
            yield self._fail(bad_answer("the answer holds media, which nobody asked for", kind))

    def _tool_call(self, choice: _Choice, call: dict[str, Any], signature: str | None) -> ToolCallDelta:
        index, choice.calls = choice.calls, choice.calls + 1
        name = parse_name(text_of(call, "name"))
        arguments = arguments_text(call.get("args") or {})
        call_id = text_of(call, "id") or invent_tool_id(
            self._id, str(choice.index), str(index), name, arguments
        )
        return ToolCallDelta(index, call_id, name, arguments, choice.index, signature=signature)

    def _finish(self, choice: _Choice, entry: dict[str, Any]) -> Iterator[Event]:
        native = text_of(entry, "finishReason")
        if native in _NOT_YET or choice.finished:
            return
        if native in _BROKEN:
            yield self._fail(broken_answer(native, entry))
            return
        choice.finished = True
        yield Finished(parse_finish(native, called=choice.calls > 0), choice.index, native)

    def _choice(self, entry: dict[str, Any]) -> _Choice | None:
        index = entry.get("index", 0)  # a zero is left out on this wire
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < MAX_CHOICES:
            return None
        return self._choices.setdefault(index, _Choice(index))


def new_decoder(request: Request) -> GeminiDecoder:
    """``request`` is not asked: both forms of stream tell themselves apart."""
    return GeminiDecoder()


def parse_finish(native: str, *, called: bool) -> Finish:
    """A ``finishReason`` -> Finish; unknown ones are ordinary ends. Gemini itself says STOP after function calls."""
    finish = _FINISHES.get(native, Finish.STOP)
    return Finish.TOOL_CALLS if called and finish is Finish.STOP else finish


def broken_answer(native: str, entry: Mapping[str, Any]) -> Failure:
    told = text_of(entry, "finishMessage")
    return replace(
        bad_answer(f"the answer ended with {native}", told),
        code=native.lower(),
        retryable=_BROKEN[native],
    )


def is_broken(native: str) -> bool:
    return native in _BROKEN


def is_blocked(document: Mapping[str, Any]) -> bool:
    """Whether a response without candidates says that its prompt was refused."""
    feedback = document.get("promptFeedback")
    return isinstance(feedback, dict) and bool(feedback.get("blockReason"))


def parse_usage(value: Any) -> Usage | None:
    """``usageMetadata`` -> Usage; None where there is none, or one without counts. Zeros are left out on this wire."""
    if not isinstance(value, dict):
        return None
    read = _count(value, "promptTokenCount") + _count(value, "toolUsePromptTokenCount")
    thoughts = _count(value, "thoughtsTokenCount")
    written = _count(value, "candidatesTokenCount") + thoughts
    if not read and not written and not _says_less_than_nothing(value):
        return None
    return Usage(
        input_tokens=read,
        output_tokens=written,
        cache_read_tokens=_count(value, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        input_audio_tokens=_of_kind(value, _AUDIO, "promptTokensDetails", "toolUsePromptTokensDetails"),
        output_audio_tokens=_of_kind(value, _AUDIO, "candidatesTokensDetails"),
        tier=parse_tier(value.get("serviceTier") or value.get("trafficType")),
        input_image_tokens=_of_kind(value, _SEEN, "promptTokensDetails", "toolUsePromptTokensDetails"),
        output_image_tokens=_of_kind(value, _SEEN, "candidatesTokensDetails"),
        cached_audio_tokens=_of_kind(value, _AUDIO, "cacheTokensDetails"),
    )


def parse_tier(name: Any) -> str | None:
    """How the request was served: ``flex``, or ``ON_DEMAND_FLEX`` where Google's cloud says it."""
    folded = name.lower().removeprefix("on_demand_") if isinstance(name, str) else ""
    return folded if folded in TIERS else None


def _usage_events(document: Mapping[str, Any]) -> Iterator[Event]:
    usage = parse_usage(document.get("usageMetadata"))
    if usage is not None:
        yield UsageReported(usage)


def _says_less_than_nothing(value: Mapping[str, Any]) -> bool:
    """Then it was not silent, and can be disputed."""
    told = (value.get("promptTokenCount"), value.get("candidatesTokenCount"))
    return any(type(count) is int and count < 0 for count in told)


def _count(value: Mapping[str, Any], name: str) -> int:
    count = value.get(name)
    return count if type(count) is int and 0 <= count <= _MAX_TOKENS else 0


_AUDIO = frozenset({"AUDIO"})
_SEEN = frozenset({"IMAGE", "DOCUMENT"})
"""A page is read as a picture of it, and costs the same."""


def _of_kind(value: Mapping[str, Any], kinds: frozenset[str], *names: str) -> int:
    """Tokens of some kinds, over the lists of these names."""
    lists = [value.get(name) for name in names]
    entries = (entry for one in lists if isinstance(one, list) for entry in one if isinstance(entry, dict))
    return sum(_count(entry, "tokenCount") for entry in entries if entry.get("modality") in kinds)


def _told(part: Mapping[str, Any]) -> str:
    """What Google's own interpreter ran and what came of it, as text."""
    code, result = part.get("executableCode"), part.get("codeExecutionResult")
    if isinstance(code, dict):
        return f"\n```{text_of(code, 'language').lower()}\n{text_of(code, 'code')}\n```\n"
    if isinstance(result, dict):
        return f"\n```\n{text_of(result, 'output')}\n```\n"
    return ""


def _citation_events(choice: _Choice, entry: Mapping[str, Any]) -> Iterator[Event]:
    for citation in _citations(entry):
        yield CitationDelta(citation, choice.index, Dialect.GEMINI_GENERATE)


def _citations(entry: Mapping[str, Any]) -> Iterator[Document]:
    """Sources of the text and pages it was grounded on, both as ``{"uri", "title", …}``."""
    metadata, grounding = entry.get("citationMetadata"), entry.get("groundingMetadata")
    sources = metadata.get("citationSources") if isinstance(metadata, dict) else None
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict):
            yield source
    chunks = grounding.get("groundingChunks") if isinstance(grounding, dict) else None
    for chunk in chunks if isinstance(chunks, list) else ():
        if isinstance(chunk, dict) and isinstance(chunk.get("web"), dict):
            yield chunk["web"]


def _logprobs_events(choice: _Choice, entry: Mapping[str, Any]) -> Iterator[Event]:
    """``logprobsResult`` in its common form, ``{"content": [{"token", "logprob", "top_logprobs"}]}``."""
    result = entry.get("logprobsResult")
    chosen = result.get("chosenCandidates") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(chosen, list):
        return
    given = result.get("topCandidates")
    tops = given if isinstance(given, list) else []
    content = []
    for place, token in enumerate(chosen):
        top = tops[place].get("candidates") if place < len(tops) and isinstance(tops[place], dict) else None
        others = [_token(other) for other in top if isinstance(other, dict)] if isinstance(top, list) else []
        if isinstance(token, dict):
            content.append({**_token(token), "top_logprobs": others})
    if content:
        yield TextDelta("", choice.index, {"content": content})


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    text = text_of(entry, "token")
    probability = entry.get("logProbability")
    return {
        "token": text,
        "logprob": probability if isinstance(probability, (int, float)) else 0.0,
        "bytes": list(text.encode("utf-8", "surrogatepass")),
    }
