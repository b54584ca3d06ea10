"""Canonical messages -> Anthropic's system prompt and turns, in the order its API insists on.

Every call is answered in the very next turn, before anything else there: results are gathered and moved, one that is
missing is replaced by an error, one without a call is left out. Ids are made to fit and to be unique. Empty texts are
dropped, since the API refuses them wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from llmproxyd.adapters.anthropic_blocks import BlockWriter
from llmproxyd.adapters.anthropic_models import ModelFacts
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.replay import safe_tool_id
from llmproxyd.values.request import Message, Role, Text, ToolCall, ToolResult

_INSTRUCTIONS = frozenset({Role.SYSTEM, Role.DEVELOPER})
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_NO_RESULT = "There is no result: the call was interrupted."
_OPENING = "(The conversation begins with the assistant.)"


class Conversation(msgspec.Struct, frozen=True):
    """``called``: names of the tools in the history, as sent. ``unsigned``: the turn in progress goes on from an
    assistant's turn that does not begin with a thought."""

    system: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    called: tuple[str, ...]
    unsigned: bool


class _Turn(msgspec.Struct):
    """``calls``: (the client's id, the id sent) of those that have no result yet. ``results`` precede ``blocks``."""

    role: str
    blocks: list[dict[str, Any]] = msgspec.field(default_factory=list)
    results: list[dict[str, Any]] = msgspec.field(default_factory=list)
    calls: list[tuple[str, str]] = msgspec.field(default_factory=list)

    @property
    def content(self) -> list[dict[str, Any]]:
        return [*self.results, *self.blocks]

    def is_blank(self) -> bool:
        """Nothing but white space, or thoughts without an answer: what the API refuses."""
        return not self.results and all(
            block["type"] in _THOUGHTS or (block["type"] == "text" and not block["text"].strip())
            for block in self.blocks
        )


def format_turns(messages: tuple[Message, ...], facts: ModelFacts, writer: BlockWriter) -> Conversation:
    """Raises BadRequest naming the message that cannot be carried."""
    lead = next((i for i, message in enumerate(messages) if message.role not in _INSTRUCTIONS), len(messages))
    system = [block for i in range(lead) for block in _texts(messages[i], i, writer)]
    composer = _Composer(facts, writer)
    for index in range(lead, len(messages)):
        composer.add(messages[index], index)
    turns = composer.finish()
    if not turns and system:
        # A prompt alone is a request to many clients; here there has to be somebody who asks.
        writer.note("system", "sent as the user's message")
        return Conversation([], [{"role": "user", "content": system}], (), False)
    _check_ends(turns, facts, writer)
    called = (block["name"] for turn in turns for block in turn.blocks if block["type"] == "tool_use")
    return Conversation(
        system=system,
        messages=[{"role": turn.role, "content": turn.content} for turn in turns],
        called=tuple(called),
        unsigned=_is_unsigned(turns),
    )


class _Composer:
    """Puts messages into turns, one after the other."""

    def __init__(self, facts: ModelFacts, writer: BlockWriter) -> None:
        self._facts = facts
        self._writer = writer
        self._turns: list[_Turn] = []
        self._ids: set[str] = set()

    def add(self, message: Message, index: int) -> None:
        if message.name is not None:
            self._writer.note("messages.name")
        if message.role in _INSTRUCTIONS:
            self._instruct(message, index)
        elif message.role is Role.ASSISTANT:
            self._speak(message, index)
        else:
            self._ask(message, index)

    def finish(self) -> list[_Turn]:
        self._complete()
        kept = [turn for turn in self._turns if not turn.is_blank()]
        if len(kept) < len(self._turns):
            self._writer.note("messages", "empty ones")
        return kept

    def _instruct(self, message: Message, index: int) -> None:
        blocks = _texts(message, index, self._writer)
        if not blocks:
            return
        if self._facts.system_turns:
            self._turn("system").blocks += blocks
            return
        # Marked, so that the model can tell it from what the user says.
        for block in blocks:
            block["text"] = f"<system>\n{block['text']}\n</system>"
        self._turn("user").blocks += blocks

    def _speak(self, message: Message, index: int) -> None:
        if not self._turns or self._turns[-1].role != "assistant":
            self._complete()
        turn = self._turn("assistant")
        for place, part in enumerate(message.parts):
            where = f"messages[{index}].content[{place}]"
            if isinstance(part, ToolCall):
                wire_id = self._new_id(part.id)
                turn.calls.append((part.id, wire_id))
                turn.blocks.append(self._writer.write_call(part, wire_id, where))
            elif (block := self._writer.write(part, Role.ASSISTANT, where)) is not None:
                turn.blocks.append(block)

    def _ask(self, message: Message, index: int) -> None:
        for place, part in enumerate(message.parts):
            where = f"messages[{index}].content[{place}]"
            if isinstance(part, ToolResult):
                self._answer(part, where)
            elif (block := self._writer.write(part, Role.USER, where)) is not None:
                self._turn("user").blocks.append(block)
        if not any(isinstance(part, ToolResult) for part in message.parts):
            self._turn("user")

    def _answer(self, result: ToolResult, where: str) -> None:
        place = self._last_assistant()
        waiting = self._turns[place].calls if place is not None else []
        call = next((call for call in waiting if call[0] == result.call_id), None)
        if place is None or call is None:
            self._writer.note("tool_result", "without its call")
            return
        waiting.remove(call)
        self._reply_to(place).results.append(self._writer.write_result(result, call[1], where))

    def _complete(self) -> None:
        """Every call of the last assistant's turn has a result."""
        place = self._last_assistant()
        if place is None or not self._turns[place].calls:
            return
        missing, self._turns[place].calls = self._turns[place].calls, []
        self._writer.note("tool_call", "without a result; an error was put in its place")
        self._reply_to(place).results += [
            {"type": "tool_result", "tool_use_id": wire_id, "content": _NO_RESULT, "is_error": True}
            for _, wire_id in missing
        ]

    def _turn(self, role: str) -> _Turn:
        """The last turn if it has this role, else a new one: consecutive turns of one role are one."""
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(_Turn(role))
        return self._turns[-1]

    def _last_assistant(self) -> int | None:
        return next(
            (i for i in reversed(range(len(self._turns))) if self._turns[i].role == "assistant"), None
        )

    def _reply_to(self, place: int) -> _Turn:
        """The user's turn right after the one at ``place``; an instruction that came between follows it."""
        after = place + 1
        if after == len(self._turns) or self._turns[after].role != "user":
            self._turns.insert(after, _Turn("user"))
        return self._turns[after]

    def _new_id(self, call_id: str) -> str:
        """Some servers count their calls from the beginning in every answer."""
        wire_id, repeats = safe_tool_id(call_id), 1
        while wire_id in self._ids:
            repeats += 1
            wire_id = safe_tool_id(f"{call_id}\0{repeats}")
        self._ids.add(wire_id)
        return wire_id


def _texts(message: Message, index: int, writer: BlockWriter) -> list[dict[str, Any]]:
    blocks = []
    for place, part in enumerate(message.parts):
        if not isinstance(part, Text):
            where = f"messages[{index}].content[{place}]"
            raise BadRequest("The chosen model takes instructions as text only.", param=where)
        if (block := writer.write(part, message.role, "")) is not None and part.text.strip():
            blocks.append(block)
    return blocks


def _check_ends(turns: list[_Turn], facts: ModelFacts, writer: BlockWriter) -> None:
    if not turns:
        raise BadRequest("There is no message with any content.", param="messages")
    if turns[0].role != "user":
        writer.note("messages", "the first must be the user's; one was put before it")
        turns.insert(0, _Turn("user", [{"type": "text", "text": _OPENING}]))
    last = turns[-1]
    if last.role != "assistant":
        return
    if not facts.prefill:
        raise BadRequest(
            "The chosen model cannot continue an assistant's message: the last one must be the user's or a tool's.",
            param="messages",
        )
    # White space at the end is refused.
    while last.blocks[-1]["type"] == "text" and not last.blocks[-1]["text"].strip():
        last.blocks.pop()
    if last.blocks[-1]["type"] == "text":
        last.blocks[-1]["text"] = last.blocks[-1]["text"].rstrip()


def _is_unsigned(turns: list[_Turn]) -> bool:
    last = turns[-1]
    if last.role == "assistant":
        return not _begins_with_thought(last.blocks)
    spoken = [turn for turn in turns if turn.role == "assistant"]
    return bool(last.results and spoken) and not _begins_with_thought(spoken[-1].blocks)


def _begins_with_thought(blocks: Iterable[dict[str, Any]]) -> bool:
    first = next(iter(blocks), None)
    return first is not None and first["type"] in _THOUGHTS
