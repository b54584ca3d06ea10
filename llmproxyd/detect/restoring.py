"""The way back: names in an answer -> the values they stand for, however the answer is cut into pieces.

Only names of this very request are known, so nothing else can be put in their place. Text is held back only while its end
could still become such a name. In JSON (arguments of tools, structured output) a value is written as JSON writes it.
Signatures and sealed thoughts stay as they are. So do log probabilities: they tell of what the model wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from llmproxyd.detect.pseudonyms import LiveNames
from llmproxyd.values.answer import (
    Answer,
    Choice,
    CitationDelta,
    Event,
    Failed,
    Finished,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from llmproxyd.values.request import Part, Refusal, Text, Thinking, ToolCall

Prose: TypeAlias = TextDelta | ThinkingDelta | RefusalDelta


class Meanings(msgspec.Struct, frozen=True):
    """What the names of one request mean: in ``plain`` text, and inside ``json``. ``json_text``: the answer's own text is
    JSON too."""

    plain: LiveNames
    json: LiveNames
    json_text: bool = False

    @property
    def text(self) -> LiveNames:
        return self.json if self.json_text else self.plain

    def arguments(self, kind: str) -> LiveNames:
        """Those for what a tool of this kind is called with."""
        return self.plain if kind == "custom" else self.json


class TextRestorer:
    """One text that comes in pieces. However it is cut, the pieces that go out join to the same."""

    __slots__ = ("_before", "_held", "_names")

    def __init__(self, names: LiveNames) -> None:
        self._names = names
        self._held = ""
        self._before = ""

    def feed(self, text: str) -> str:
        """What may be passed on."""
        return self._settle(self._held + text, self._names.tail_from)

    def close(self) -> str:
        """What was held back, now that nothing follows."""
        return self._settle(self._held, lambda text, start: len(text))

    def _settle(self, text: str, tail_from: Callable[[str, int], int]) -> str:
        """Pass on all but the tail, which is kept. The character before it is kept as well: a name in other letters counts
        only where a word begins."""
        text, place = self._before + text, len(self._before)
        out: list[str] = []
        while True:
            end = tail_from(text, place)
            found = self._names.find(text, place)
            if found is None or found.start() >= end:
                break
            out += (text[place : found.start()], self._names.meaning(found[0]))
            place = found.end()
        out.append(text[place:end])
        self._held, self._before = text[end:], text[max(end - 1, 0) : end]
        return "".join(out)


class _Run(msgspec.Struct):
    """Prose of one sort that is still being written. ``last``: the event that brought its latest piece."""

    last: Prose
    restorer: TextRestorer


class _Call(msgspec.Struct):
    last: ToolCallDelta
    restorer: TextRestorer


class _Choice(msgspec.Struct):
    run: _Run | None = None
    calls: dict[int, _Call] = msgspec.field(default_factory=dict)


class Restorer:
    """The events of one answer, with every name replaced."""

    def __init__(self, meanings: Meanings) -> None:
        self._meanings = meanings
        self._choices: dict[int, _Choice] = {}

    def feed(self, events: Iterable[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            out += self._restored(event)
        return out

    def close(self) -> list[Event]:
        """What was held back of an answer that has ended without saying so."""
        choices, self._choices = self._choices, {}
        return [event for choice in choices.values() for event in _rest_of(choice)]

    def _restored(self, event: Event) -> Iterator[Event]:
        match event:
            case TextDelta() | ThinkingDelta() | RefusalDelta():
                yield from self._prose(event)
            case ToolCallDelta():
                yield from self._call(event)
            case CitationDelta():
                yield from _end_run(self._choice(event.choice))
                yield replace(event, citation=restore_document(event.citation, self._meanings.plain))
            case Finished():
                yield from _rest_of(self._choices.pop(event.choice, _Choice()))
                stop = event.stop_sequence
                yield (
                    event
                    if stop is None
                    else replace(event, stop_sequence=self._meanings.plain.restore(stop))
                )
            case Failed():
                yield from self.close()
                yield event
            case _:
                yield event

    def _choice(self, number: int) -> _Choice:
        return self._choices.setdefault(number, _Choice())

    def _prose(self, event: Prose) -> Iterator[Event]:
        choice = self._choice(event.choice)
        run = choice.run
        if run is not None and (type(run.last) is not type(event) or _opens(event)):
            yield from _end_run(choice)
            run = None
        if run is None:
            names = self._meanings.text if isinstance(event, TextDelta) else self._meanings.plain
            run = choice.run = _Run(event, TextRestorer(names))
        run.last = event
        text = run.restorer.feed(event.text)
        if _closes(event):
            text += run.restorer.close()
            choice.run = None
        # One that says nothing but its text can wait until there is some.
        if text or not event.text or _says_more(event):
            yield replace(event, text=text)

    def _call(self, event: ToolCallDelta) -> Iterator[Event]:
        choice = self._choice(event.choice)
        yield from _end_run(choice)
        call = choice.calls.get(event.index)
        if call is None:
            yield from _end_custom_calls(choice)
            restorer = TextRestorer(self._meanings.arguments(event.kind))
            call = choice.calls[event.index] = _Call(event, restorer)
        arguments = call.restorer.feed(event.arguments)
        name = None if event.name is None else self._meanings.plain.restore(event.name)
        if arguments or not event.arguments or event.id or name or event.signature:
            yield replace(event, name=name, arguments=arguments)


def _opens(event: Prose) -> bool:
    return isinstance(event, ThinkingDelta) and event.new_block


def _closes(event: Prose) -> bool:
    return isinstance(event, ThinkingDelta) and (event.signature is not None or event.encrypted is not None)


def _says_more(event: Prose) -> bool:
    match event:
        case TextDelta():
            return event.logprobs is not None
        case ThinkingDelta():
            return _closes(event) or event.new_block or event.item_id is not None
        case _:
            return False


def _end_run(choice: _Choice) -> Iterator[Event]:
    run, choice.run = choice.run, None
    if run is not None and (text := run.restorer.close()):
        yield _more(run.last, text)


def _more(last: Prose, text: str) -> Event:
    match last:
        case TextDelta():
            return TextDelta(text, last.choice)
        case RefusalDelta():
            return RefusalDelta(text, last.choice)
        case ThinkingDelta():
            return ThinkingDelta(text, last.choice, origin=last.origin, item_id=last.item_id)


def _end_custom_calls(choice: _Choice) -> Iterator[Event]:
    """JSON ends with a bracket, so nothing of it is left to hold; free text may end with anything."""
    for call in choice.calls.values():
        if call.last.kind == "custom":
            yield from _end_call(call)


def _end_call(call: _Call) -> Iterator[Event]:
    if text := call.restorer.close():
        yield ToolCallDelta(call.last.index, arguments=text, choice=call.last.choice, kind=call.last.kind)


def _rest_of(choice: _Choice) -> Iterator[Event]:
    yield from _end_run(choice)
    for call in choice.calls.values():
        yield from _end_call(call)


# --- whole answers ----------------------------------------------------------------------------------------------


def restore_answer(answer: Answer, meanings: Meanings) -> Answer:
    """The same for an answer in one piece."""
    return replace(answer, choices=tuple(_restored_choice(choice, meanings) for choice in answer.choices))


def _restored_choice(choice: Choice, meanings: Meanings) -> Choice:
    stop = choice.stop_sequence
    return replace(
        choice,
        parts=tuple(_restored_part(part, meanings) for part in choice.parts),
        stop_sequence=None if stop is None else meanings.plain.restore(stop),
    )


def _restored_part(part: Part, meanings: Meanings) -> Part:
    plain = meanings.plain
    match part:
        case Text():
            citations = tuple(restore_document(citation, plain) for citation in part.citations)
            return replace(part, text=meanings.text.restore(part.text), citations=citations)
        case Thinking() | Refusal():
            return replace(part, text=plain.restore(part.text))
        case ToolCall():
            arguments = meanings.arguments(part.kind).restore(part.arguments)
            return replace(part, name=plain.restore(part.name), arguments=arguments)
        case _:
            return part


def restore_document(document: Mapping[str, Any], names: LiveNames) -> dict[str, Any]:
    """A decoded JSON object with every name in its texts replaced."""
    return {names.restore(key): _restored_value(value, names) for key, value in document.items()}


def _restored_value(value: Any, names: LiveNames) -> Any:
    match value:
        case str():
            return names.restore(value)
        case Mapping():
            return restore_document(value, names)
        case list() | tuple():
            return [_restored_value(item, names) for item in value]
        case _:
            return value
