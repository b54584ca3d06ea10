"""Taking up an answer that broke off in the middle: what to ask the next candidate, and how the two halves are joined.

The next candidate gets the conversation with what the client has already read as the model's own last words, and is
asked to go on with the very next character. Its answer is written by the encoder that wrote the first half, so that the
client sees one stream. Where a model repeats its last words before it goes on, the repetition is cut off.

Only plain text is taken up: half a tool call, half a JSON document or one of several choices is not.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from llmproxyd.exchange.lane import Lane, TranslatedLane, Voice
from llmproxyd.routing.estimate import estimate_tokens
from llmproxyd.values.answer import (
    Event,
    Failed,
    Finished,
    Pinged,
    Started,
    TextDelta,
    ThinkingDelta,
    UsageReported,
)
from llmproxyd.values.contracts import Adapter, BadRequest, Call, Encoder, Progress
from llmproxyd.values.request import Chat, Content, Message, Operation, Overrides, Request, Role, Text
from llmproxyd.values.snapshot import Deployment

ASK = (
    "Your last message was cut off by a broken connection; the reader has seen it up to its last character. "
    "Go on with the very next character. Repeat nothing, introduce nothing, comment on nothing."
)

MAX_SAID_CHARS = 1_000_000
"""An answer longer than this is not taken up: it would have to be sent as a prompt."""

SHORTEST_OVERLAP_CHARS = 16
"""A shorter repetition may be the text itself ("very, very"); models that repeat begin at a sentence or a line."""
LONGEST_OVERLAP_CHARS = 400


def wants_continuation(request: Request) -> bool:
    """Whether an answer to this request could be taken up at all."""
    return request.stream and request.operation is Operation.CHAT and request.n in (None, 1)


def may_continue(lane: Lane) -> bool:
    """Whether what came over ``lane`` so far can be taken up by somebody else."""
    return isinstance(lane, ContinuableLane) and lane.is_open


class ContinuableLane(TranslatedLane):
    """A translated lane that remembers what the client has read. ``said``: the text so far; ``has_finished``: the model has
    said why it stopped."""

    def __init__(self, voice: Voice, adapter: Adapter) -> None:
        super().__init__(voice, adapter)
        self._pieces: list[str] = []
        self._length = 0
        self._plain = True
        self.has_finished = False

    @property
    def said(self) -> str:
        return "".join(self._pieces)

    @property
    def is_open(self) -> bool:
        """The answer is text, and not at its end."""
        return self._plain and not self.has_finished and self._length <= MAX_SAID_CHARS

    def _say(self, events: list[Event]) -> Progress:
        for event in events:
            if isinstance(event, TextDelta) and event.choice == 0 and event.logprobs is None:
                self._note(event.text)
            elif isinstance(event, Finished):
                self.has_finished = True
            elif not isinstance(event, _HARMLESS):
                self._plain = False
        return super()._say(events)

    def _note(self, text: str) -> None:
        if self._length <= MAX_SAID_CHARS:
            self._pieces.append(text)
            self._length += len(text)


class Seam:
    """Where one answer broke off: makes the lanes that may go on from there.

    Source: a trailing turn of the model's own works with every dialect only if the caller has the last word; several
    models refuse a conversation that ends with the assistant.
    """

    def __init__(self, voice: Voice, broken: Lane) -> None:
        assert isinstance(broken, ContinuableLane)
        self._voice = voice
        self._said = broken.said
        self._encoder = broken.speaker()

    def new_lane(self, adapter: Adapter) -> Lane:
        return ContinuedLane(self._voice, adapter, self._said, self._encoder)


class ContinuedLane(ContinuableLane):
    """The second half of an answer. ``said``: the whole text, the first half included."""

    def __init__(self, voice: Voice, adapter: Adapter, said: str, encoder: Encoder) -> None:
        super().__init__(voice, adapter)
        self._encoder = encoder
        self._before = said
        self._note(said)
        self._trimmer = Trimmer(said)

    def format_call(self, deployment: Deployment, overrides: Overrides) -> Call:
        content = self._voice.surface.parse_content(self._voice.request)
        return self._adapter.format_call(
            self._voice.request, _go_on(content, self._before), deployment, _less(overrides, self._before)
        )

    def _say(self, events: list[Event]) -> Progress:
        joined: list[Event] = []
        for event in events:
            match event:
                case Started() | ThinkingDelta():
                    # The client has seen the beginning; thoughts after the first words have no place in its dialect.
                    continue
                case TextDelta():
                    text = self._trimmer.feed(event.text)
                    if text:
                        joined.append(replace(event, text=text))
                case Finished():
                    text = self._trimmer.close()
                    joined += [TextDelta(text), event] if text else [event]
                case _:
                    joined.append(event)
        return super()._say(joined)


class Trimmer:
    """Cuts off what the second half repeats of the end of the first. Indifferent to where its text is cut."""

    def __init__(self, said: str) -> None:
        self._tail = said[-LONGEST_OVERLAP_CHARS:]
        self._held = ""
        self._decided = len(self._tail) < SHORTEST_OVERLAP_CHARS

    def feed(self, text: str) -> str:
        """What may be passed on. Text is held back while it could still be a repetition."""
        if self._decided:
            return text
        self._held += text
        if len(self._held) < len(self._tail) and self._held in self._tail:
            return ""
        return self.close()

    def close(self) -> str:
        """The text has ended, or it is plain what it is: whatever was held back and is new."""
        held, self._held, self._decided = self._held, "", True
        longest = min(len(held), len(self._tail))
        for length in range(longest, SHORTEST_OVERLAP_CHARS - 1, -1):
            if self._tail.endswith(held[:length]):
                return held[length:]
        return held


_HARMLESS = (Started, ThinkingDelta, UsageReported, Pinged, Failed)


def _go_on(content: Content, said: str) -> Content:
    """The conversation as the next candidate gets it. Raises BadRequest for what cannot be taken up."""
    if not isinstance(content, Chat):
        raise BadRequest("only a conversation can be taken up")
    if content.output_format is not None and content.output_format.kind != "text":
        raise BadRequest("a JSON document that broke off cannot be taken up")
    if not said:
        return content
    turns: Sequence[Message] = (
        Message(Role.ASSISTANT, (Text(said),)),
        Message(Role.USER, (Text(ASK),)),
    )
    sampling = replace(content.sampling, max_tokens=_left(content.sampling.max_tokens, said))
    return replace(content, messages=(*content.messages, *turns), sampling=sampling)


def _less(overrides: Overrides, said: str) -> Overrides:
    return replace(overrides, max_tokens=_left(overrides.max_tokens, said))


def _left(max_tokens: int | None, said: str) -> int | None:
    """The client's bound counts both halves."""
    return None if max_tokens is None else max(1, max_tokens - estimate_tokens(said))
