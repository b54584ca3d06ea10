"""What a provider answers, in nobody's dialect: canonical events of a stream, and the whole answer they fold into.

A decoder turns a provider's bytes into these events; an encoder turns them into a client's bytes. Order within one
choice is the order in which the model produced things. ``choice`` counts from 0 where ``n`` > 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeAlias

import msgspec

from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Dialect, Document, Part, Refusal, Text, Thinking, ToolCall


class Finish(StrEnum):
    """Why a model stopped."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"


class Started(msgspec.Struct, frozen=True):
    """The provider took the request. Ids may be empty; the encoder then makes its own."""

    id: str = ""
    model: str = ""
    created_s: int | None = None
    usage: Usage | None = None


class TextDelta(msgspec.Struct, frozen=True):
    text: str
    choice: int = 0
    logprobs: Document | None = None


class ThinkingDelta(msgspec.Struct, frozen=True):
    """A piece of thought. A ``signature`` or ``encrypted`` blob closes the block it belongs to.

    ``origin`` says whose signature it is; ``new_block`` separates two blocks that follow each other. ``item_id``: what
    its maker calls the block, where it wants to see that again.
    """

    text: str = ""
    choice: int = 0
    signature: str | None = None
    encrypted: str | None = None
    origin: Dialect | None = None
    new_block: bool = False
    item_id: str | None = None


class RefusalDelta(msgspec.Struct, frozen=True):
    text: str
    choice: int = 0


class ToolCallDelta(msgspec.Struct, frozen=True):
    """``index`` counts tool calls of the choice from 0 without gaps. ``id`` and ``name`` come once, in the first delta of
    their index, which may hold arguments already. ``arguments`` is a piece of JSON text."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    choice: int = 0
    kind: str = "function"
    signature: str | None = None


class CitationDelta(msgspec.Struct, frozen=True):
    """A source the text before it rests on, as its dialect wrote it."""

    citation: Document
    choice: int = 0
    origin: Dialect | None = None


class Finished(msgspec.Struct, frozen=True):
    """A choice is complete. ``native`` is the provider's own word for the reason."""

    reason: Finish
    choice: int = 0
    native: str | None = None
    stop_sequence: str | None = None


class UsageReported(msgspec.Struct, frozen=True):
    """Totals so far; the last one counts."""

    usage: Usage


class Pinged(msgspec.Struct, frozen=True):
    """A sign of life without content. It may be passed on; it never resets a timer."""


class Failed(msgspec.Struct, frozen=True):
    """The stream said that it failed. Nothing follows."""

    failure: Failure


Event: TypeAlias = (
    Started
    | TextDelta
    | ThinkingDelta
    | RefusalDelta
    | ToolCallDelta
    | CitationDelta
    | Finished
    | UsageReported
    | Pinged
    | Failed
)

CONTENT_EVENTS = (TextDelta, ThinkingDelta, RefusalDelta, ToolCallDelta, Finished)
"""The events that commit a stream: after one of these was sent, no other attempt may start."""


class Choice(msgspec.Struct, frozen=True):
    """``parts`` in the order produced: Text, Thinking, Refusal, ToolCall."""

    parts: tuple[Part, ...]
    finish: Finish | None
    native_finish: str | None = None
    stop_sequence: str | None = None
    logprobs: tuple[Document, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    created_s: int | None = None


class Vectors(msgspec.Struct, frozen=True):
    """Embeddings in the order of the inputs."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage | None = None


class TokenCount(msgspec.Struct, frozen=True):
    """How long a conversation is. ``estimated``: counted by us, since its provider has no counter."""

    input_tokens: int
    estimated: bool = False


class _Draft(msgspec.Struct):
    """One choice while it is folded. ``tools`` maps a tool index to its place in ``parts``."""

    parts: list[Part] = msgspec.field(default_factory=list)
    tools: dict[int, int] = msgspec.field(default_factory=dict)
    logprobs: list[Document] = msgspec.field(default_factory=list)
    finished: Finished | None = None


def fold(events: Iterable[Event]) -> Answer | Failure:
    """Join a stream's events into the answer a caller who did not stream would have got.

    Returns the Failure if the stream failed. A stream without ``Finished`` folds into choices with ``finish`` None:
    the caller decides whether that is a cut stream.
    """
    started = Started()
    usage: Usage | None = None
    drafts: dict[int, _Draft] = {}
    for event in events:
        match event:
            case Started():
                started = event
                usage = event.usage or usage
            case UsageReported():
                usage = event.usage
            case Failed():
                return event.failure
            case Pinged():
                pass
            case _:
                _add(drafts.setdefault(event.choice, _Draft()), event)
    choices = tuple(
        Choice(
            parts=tuple(draft.parts),
            finish=draft.finished.reason if draft.finished else None,
            native_finish=draft.finished.native if draft.finished else None,
            stop_sequence=draft.finished.stop_sequence if draft.finished else None,
            logprobs=tuple(draft.logprobs),
        )
        for _, draft in sorted(drafts.items())
    )
    return Answer(
        id=started.id, model=started.model, choices=choices, usage=usage, created_s=started.created_s
    )


def _add(
    draft: _Draft,
    event: TextDelta | ThinkingDelta | RefusalDelta | ToolCallDelta | CitationDelta | Finished,
) -> None:
    parts = draft.parts
    last = parts[-1] if parts else None
    match event:
        case TextDelta():
            if event.logprobs is not None:
                draft.logprobs.append(event.logprobs)
            if isinstance(last, Text):
                parts[-1] = Text(last.text + event.text, citations=last.citations)
            elif event.text:
                parts.append(Text(event.text))
        case ThinkingDelta():
            _add_thinking(parts, last, event)
        case RefusalDelta():
            if isinstance(last, Refusal):
                parts[-1] = Refusal(last.text + event.text)
            elif event.text:
                parts.append(Refusal(event.text))
        case ToolCallDelta():
            _add_tool_call(draft, event)
        case CitationDelta():
            if isinstance(last, Text):
                parts[-1] = Text(last.text, citations=(*last.citations, event.citation))
            else:
                parts.append(Text("", citations=(event.citation,)))
        case Finished():
            draft.finished = event


def _add_thinking(parts: list[Part], last: Part | None, event: ThinkingDelta) -> None:
    open_block = (
        isinstance(last, Thinking)
        and last.signature is None
        and last.encrypted is None
        and not event.new_block
    )
    if open_block and isinstance(last, Thinking):
        parts[-1] = Thinking(
            text=last.text + event.text,
            signature=event.signature,
            encrypted=event.encrypted,
            origin=event.origin or last.origin,
            item_id=event.item_id or last.item_id,
        )
    else:
        parts.append(Thinking(event.text, event.signature, event.encrypted, event.origin, event.item_id))


def _add_tool_call(draft: _Draft, event: ToolCallDelta) -> None:
    place = draft.tools.get(event.index)
    if place is None:
        draft.tools[event.index] = len(draft.parts)
        draft.parts.append(
            ToolCall(event.id or "", event.name or "", event.arguments, event.kind, event.signature)
        )
        return
    known = draft.parts[place]
    assert isinstance(known, ToolCall)
    draft.parts[place] = ToolCall(
        id=known.id or event.id or "",
        name=known.name or event.name or "",
        arguments=known.arguments + event.arguments,
        kind=known.kind,
        signature=known.signature or event.signature,
    )


def unfold(answer: Answer) -> list[Event]:
    """The events a stream of ``answer`` would have had, each part in one piece."""
    events: list[Event] = [Started(answer.id, answer.model, answer.created_s)]
    for number, choice in enumerate(answer.choices):
        events += _part_events(choice, number)
        if choice.finish is not None:
            events.append(Finished(choice.finish, number, choice.native_finish, choice.stop_sequence))
    if answer.usage is not None:
        events.append(UsageReported(answer.usage))
    return events


def _part_events(choice: Choice, number: int) -> Iterable[Event]:
    calls = 0
    for part in choice.parts:
        match part:
            case Text():
                yield TextDelta(part.text, number)
                for citation in part.citations:
                    yield CitationDelta(citation, number)
            case Thinking():
                yield ThinkingDelta(
                    part.text, number, part.signature, part.encrypted, part.origin, True, part.item_id
                )
            case Refusal():
                yield RefusalDelta(part.text, number)
            case ToolCall():
                yield ToolCallDelta(
                    calls, part.id, part.name, part.arguments, number, part.kind, part.signature
                )
                calls += 1
            case _:
                raise TypeError(f"an answer cannot hold {type(part).__name__}")
