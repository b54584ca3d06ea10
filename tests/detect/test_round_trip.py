"""A model that repeats what it was told, cut at every place: the client reads what was said in the first place."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from llmproxyd.detect.hidden import CannotMask, Hidden
from llmproxyd.detect.masking import MaskBook
from llmproxyd.detect.pseudonyms import Keyring, LiveNames
from llmproxyd.detect.restoring import TextRestorer
from llmproxyd.values.answer import Answer, Event, TextDelta, ThinkingDelta, ToolCallDelta, fold
from llmproxyd.values.request import Chat, Message, OutputFormat, Part, Role, Text, Thinking, ToolCall

FILLER = (
    "write to ", " and ", "EMAIL_", "email ", "e", "\\", '"', "\n", "_", " - ", "PHONE", "ß", "\U0001f600", "4KQ7XM", "...",
    "secret", "National ID", "", " ", "x",
)  # fmt: skip
KINDS = ("email", "phone", "payment_card", "national_id.us_ssn", "secret.x", "badge")
KEYS = Keyring(b"k" * 32)


class Conversation:
    """One conversation, from a seed: values, some of them odd, texts that hold them, and texts that look like names."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        values = [self.value() for _ in range(self.random.randint(1, 3))]
        hidden = [Hidden(self.random.choice(KINDS), value) for value in values]
        key = KEYS.key_of(f"owner {seed % 7}", seed.to_bytes(4, "big"))
        self.book = MaskBook(key, hidden)
        names = [self.book.mask_text(value) for value in values]
        alike = [
            *names,
            *map(str.lower, names),
            *(name.replace("_", " ") for name in names),
            *(n[:-1] for n in names),
        ]
        self.words = (*values, *values, *FILLER, *alike)
        self.structured = seed % 3 == 0
        text = json.dumps({"said": self.text()}) if self.structured else self.text()
        arguments = json.dumps(
            {"to": self.text(), "n": [self.random.randint(0, 99)]}, ensure_ascii=seed % 2 == 0
        )
        self.parts: tuple[Part, ...] = (
            Thinking(self.text() or "-", signature="c2ln"),
            Text(text or "-"),
            ToolCall("c", "send", arguments),
        )

    def value(self) -> str:
        shape, digits = self.random.randrange(4), f"{self.random.randrange(10**16):016}"
        return (
            f"user{digits[:5]}@mail{digits[5]}.example",
            " ".join(digits[i : i + 4] for i in range(0, 16, 4)),
            f'k"{digits[:6]}\\{digits[6:9]}\n',
            f"+49 {digits[:3]} {digits[3:10]}",
        )[shape]

    def text(self) -> str:
        return "".join(self.random.choices(self.words, k=self.random.randint(0, 6)))

    def masked(self) -> tuple[Thinking, Text, ToolCall]:
        asked = OutputFormat("json_object" if self.structured else "text")
        chat = Chat((Message(Role.ASSISTANT, self.parts),), output_format=asked)
        thinking, text, call = self.book.mask_content(chat).messages[0].parts
        assert isinstance(thinking, Thinking)
        assert isinstance(text, Text)
        assert isinstance(call, ToolCall)
        return thinking, text, call

    def repeated(self, masked: tuple[Thinking, Text, ToolCall], cut: int | None) -> tuple[Part, ...]:
        """What the client reads if each part of the model's answer is cut there; None: letter by letter."""
        thinking, text, call = masked
        told: list[Event] = [
            *(ThinkingDelta(piece) for piece in _cut(thinking.text, cut)),
            ThinkingDelta(signature=thinking.signature),
            *(TextDelta(piece) for piece in _cut(text.text, cut)),
            ToolCallDelta(0, call.id, call.name),
            *(ToolCallDelta(0, arguments=piece) for piece in _cut(call.arguments, cut)),
        ]
        restorer = self.book.new_restorer()
        events = [event for each in told for event in restorer.feed([each])]
        answer = fold([*events, *restorer.close()])
        assert isinstance(answer, Answer)
        return answer.choices[0].parts

    def meant(self, parts: tuple[Part, ...]) -> tuple[Any, ...]:
        """The parts, with JSON read: how it is written does not matter."""
        thinking, text, call = parts
        assert isinstance(thinking, Thinking)
        assert isinstance(text, Text)
        assert isinstance(call, ToolCall)
        said = json.loads(text.text) if self.structured else text.text
        return thinking.text, thinking.signature, said, json.loads(call.arguments)


def _cut(text: str, cut: int | None) -> list[str]:
    return list(text) if cut is None else [text[:cut], text[cut:]]


def _each_cut(text: str, names: LiveNames) -> set[str]:
    """All that comes out, whether the text is cut here or there."""
    found = set()
    for cut in range(len(text) + 1):
        restorer = TextRestorer(names)
        found.add(restorer.feed(text[:cut]) + restorer.feed(text[cut:]) + restorer.close())
    return found


@pytest.mark.parametrize(
    "conversations",
    [
        pytest.param(200, id="short"),
        pytest.param(100_000, id="long", marks=(pytest.mark.proof, pytest.mark.timeout(3000))),
    ],
)
def test_whatever_is_masked_is_read_as_it_was_said(conversations: int) -> None:
    refused = 0
    for seed in range(conversations):
        said = Conversation(seed)
        try:
            masked = said.masked()
        except CannotMask:
            refused += 1
            continue
        expected = said.meant(said.parts)
        assert said.meant(said.repeated(masked, None)) == expected, seed
        assert said.meant(said.repeated(masked, seed % 40)) == expected, seed
        thinking, text, call = masked
        meanings = said.book.meanings
        for written, names in (
            (thinking.text, meanings.plain),
            (text.text, meanings.text),
            (call.arguments, meanings.json),
        ):
            assert _each_cut(written, names) == {names.restore(written)}, seed
    assert refused <= conversations // 100
