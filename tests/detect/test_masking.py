"""What is hidden from a provider, and that the way back leads to what was there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from llmproxyd.detect.hidden import MAX_VALUES, CannotMask, Hidden, find_hidden
from llmproxyd.detect.masking import MaskBook, rewrite
from llmproxyd.detect.pseudonyms import TAG_ALPHABET, Keyring, name_value
from llmproxyd.values.privacy import Finding, Found, Piece, Scan
from llmproxyd.values.request import (
    Chat,
    Dialect,
    File,
    Image,
    Message,
    OutputFormat,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.support.records import replace

KEYS = Keyring(b"k" * 32)
KEY = KEYS.key_of("acme", b"conversation")
MAIL, CARD, NAME = "ann@example.com", "4111 1111 1111 1111", "Ann Miller"
NAMED = re.compile(rf"\b[A-Z_]+_[{TAG_ALPHABET}]{{6}}\b")


def book(*values: str, kind: str = "email", key: bytes = KEY) -> MaskBook:
    return MaskBook(key, [Hidden(kind, value) for value in values])


def say(*texts: str, **more: Any) -> Chat:
    return Chat(tuple(Message(Role.USER, (Text(text),)) for text in texts), **more)


def texts_of(chat: Chat) -> list[str]:
    """Every text in it, arguments of tools as they are written."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    rewrite(chat, note, note)
    return found


def restored(made: MaskBook, masked: Chat) -> Chat:
    """Led back with what an answer would be led back with."""
    meanings = made.meanings
    return rewrite(masked, meanings.plain.restore, meanings.json.restore)


class TestNames:
    def test_say_of_which_group_the_value_is_and_no_more(self) -> None:
        name = name_value(KEY, "national_id.us_ssn", "1", bool)
        assert name is not None
        assert re.fullmatch(rf"NATIONAL_ID_[{TAG_ALPHABET}]{{6}}", name)

    @pytest.mark.parametrize("kind", ["badge-number", "Ünit", "", "...", "x" * 90])
    def test_of_kinds_that_operators_name_are_words_too(self, kind: str) -> None:
        name = name_value(KEY, kind, "1", bool)
        assert name is not None
        assert re.fullmatch(r"[A-Z0-9_]{1,24}_\w{6}", name)

    def test_of_which_every_one_is_to_be_hidden_are_none(self) -> None:
        assert name_value(KEY, "email", "1", lambda name: False) is None
        assert book("EMAIL").mask_text("EMAIL").startswith("DATA_")

    def test_are_the_same_in_every_turn_of_a_conversation(self) -> None:
        first, second = book(MAIL), book(CARD, MAIL)
        assert first.mask_text(MAIL) == second.mask_text(MAIL)

    def test_are_others_in_another_conversation_of_another_owner_and_in_another_process(self) -> None:
        keys = [
            KEY,
            KEYS.key_of("acme", b"another"),
            KEYS.key_of("acm", b"econversation"),
            Keyring(b"x" * 32).key_of("acme", b"conversation"),
            Keyring().key_of("acme", b"conversation"),
        ]
        assert len({book(MAIL, key=key).mask_text(MAIL) for key in keys}) == len(keys)

    def test_give_way_where_the_first_choice_is_taken(self) -> None:
        first = name_value(KEY, "email", MAIL, lambda name: True)
        second = name_value(KEY, "email", MAIL, lambda name: name != first)
        assert first != second

    def test_differ_for_every_value_of_a_large_request(self) -> None:
        values = [f"user{number}@example.com" for number in range(MAX_VALUES)]
        made = book(*values)
        assert len({made.mask_text(value) for value in values}) == MAX_VALUES


class TestFindHidden:
    def hidden(self, text: str, *spans: tuple[int, int, str], kinds: tuple[str, ...] = ("pii",)) -> set[str]:
        found = tuple(Found("here", Finding(kind, start, end, "test")) for start, end, kind in spans)
        return {each.text for each in find_hidden([Piece("here", text)], Scan(found), kinds)}

    def test_takes_the_values_of_the_kinds_that_are_covered(self) -> None:
        text = f"{MAIL} {CARD}"
        spans = ((0, 15, "email"), (16, 35, "payment_card"))
        assert self.hidden(text, *spans, kinds=("email",)) == {MAIL}
        assert self.hidden(text, *spans) == {MAIL, CARD}

    def test_leaves_no_half_of_two_that_overlap(self) -> None:
        assert self.hidden("abcdefghij", (0, 6, "ip"), (4, 10, "mac")) == {"abcdef", "efghij", "abcdefghij"}

    def test_knows_what_json_makes_of_a_value(self) -> None:
        assert self.hidden(r'{"to": "ann\u0040example.com"}', (8, 28, "email")) == {
            r"ann\u0040example.com",
            MAIL,
        }

    @pytest.mark.parametrize("span", [(3, 99), (5, 5), (6, 2), (-3, 4)])
    def test_refuses_a_finding_outside_its_text(self, span: tuple[int, int]) -> None:
        with pytest.raises(CannotMask, match="outside"):
            self.hidden("only short", (*span, "email"))

    def test_refuses_a_finding_whose_text_is_not_at_hand(self) -> None:
        scan = Scan((Found("elsewhere", Finding("email", 0, 3, "test")),))
        with pytest.raises(CannotMask, match="outside"):
            find_hidden([Piece("here", "abc")], scan, ["email"])

    def test_refuses_what_occurs_everywhere_by_accident(self) -> None:
        with pytest.raises(CannotMask, match="too short"):
            self.hidden("a 4 b", (2, 3, "payment_card"))

    def test_refuses_more_values_than_a_conversation_has(self) -> None:
        pieces = [Piece(str(number), f"{number:08}") for number in range(MAX_VALUES + 1)]
        scan = Scan(tuple(Found(piece.place, Finding("phone", 0, 8, "test")) for piece in pieces))
        with pytest.raises(CannotMask, match="more than"):
            find_hidden(pieces, scan, ["phone"])

    def test_tells_words_that_stand_alone_from_letters_in_a_row(self) -> None:
        scan = Scan((Found("a", Finding("person", 3, 6, "test")),))
        (alone,) = find_hidden([Piece("a", "is Ann here")], scan, ["person"])
        (within,) = find_hidden([Piece("a", "is Annabel")], scan, ["person"])
        assert (alone.word, within.word) == (True, False)


class TestMaskText:
    def test_covers_a_value_wherever_it_occurs(self) -> None:
        masked = book(MAIL).mask_text(f"{MAIL},<{MAIL}>x{MAIL}")
        assert MAIL not in masked
        assert len(set(NAMED.findall(masked.replace("x", " ")))) == 1

    def test_covers_the_longest_where_one_value_holds_another(self) -> None:
        made = book("10.0.0.1", "10.0.0.17")
        assert made.mask_text("10.0.0.17") == made.mask_text("10.0.0.17x")[:-1]
        assert made.restore_text(made.mask_text("10.0.0.17 10.0.0.1")) == "10.0.0.17 10.0.0.1"

    def test_leaves_words_alone_that_hold_a_name(self) -> None:
        made = MaskBook(KEY, [Hidden("person", "Ann", word=True), Hidden("person", NAME, word=True)])
        masked = made.mask_text("Ann Miller's Annual report, by Ann")
        assert "Annual report" in masked
        assert "Miller" not in masked
        assert not made.shows(masked)

    def test_covers_a_whole_value_even_if_a_part_of_it_is_a_word_elsewhere(self) -> None:
        made = MaskBook(KEY, [Hidden("person", "Ann"), Hidden("person", NAME, word=True)])
        assert "Miller" not in made.mask_text("by Ann Miller.")

    def test_is_quick_with_many_values_in_a_long_text(self) -> None:
        values = [f"user{number:04}@example.com" for number in range(1000)]
        text = "lorem ipsum user dolor " * 20_000 + " ".join(values)
        made = book(*values)
        assert made.restore_text(made.mask_text(text)) == text


class TestMaskContent:
    CHAT = Chat(
        messages=(
            Message(Role.SYSTEM, (Text(f"You serve {MAIL}."),), name=MAIL),
            Message(Role.USER, (Text(f"I am {MAIL}", citations=({"cited_text": MAIL, "n": [MAIL, 1]},)),)),
            Message(
                Role.ASSISTANT,
                (
                    Thinking(f"so {MAIL}", signature="c2ln", origin=Dialect.ANTHROPIC_MESSAGES),
                    ToolCall(MAIL, "send", '{"to": "ann\\u0040example.com", "n": 1.50}'),
                    ToolCall("c2", "shell", f"mail {MAIL}", kind="custom"),
                ),
            ),
            Message(
                Role.TOOL,
                (ToolResult(MAIL, (Text(f"sent to {MAIL}"), Image(url=f"https://x.example/?q={MAIL}"))),),
            ),
            Message(Role.USER, (File(data="QUJD", filename=f"{MAIL}.txt", text=f"by {MAIL}"),)),
        ),
        tools=(Tool("send", f"to {MAIL}", {"properties": {MAIL: {"enum": [MAIL, None, 3]}}}),),
        tool_choice=ToolChoice("named", (MAIL,)),
        output_format=OutputFormat("json_schema", {"const": MAIL}, name="answer"),
        sampling=Sampling(stop=(MAIL,), temperature=0.5),
        user=MAIL,
        metadata={"who": MAIL},
        extras={Dialect.OPENAI_CHAT: {"prediction": {"content": MAIL}}},
    )

    def test_reaches_every_text_whatever_field_it_is_in(self) -> None:
        masked = book(MAIL).mask_content(self.CHAT)
        assert not [text for text in texts_of(masked) if "ann" in text]
        names = {name for text in texts_of(masked) for name in NAMED.findall(text)}
        assert len(names) == 1

    def test_leaves_everything_else_as_it_was(self) -> None:
        masked = book(MAIL).mask_content(self.CHAT)
        assert masked.messages[2].parts[0].signature == "c2ln"  # type: ignore[union-attr]
        assert masked.messages[4].parts[0].data == "QUJD"  # type: ignore[union-attr]
        assert masked.tools[0].name == "send"
        assert masked.sampling.temperature == 0.5
        assert masked.extras.keys() == {Dialect.OPENAI_CHAT}

    def test_comes_back_as_it_was(self) -> None:
        made = book(MAIL)
        back = restored(made, made.mask_content(self.CHAT))
        same_json(back.messages[2].parts[1], self.CHAT.messages[2].parts[1])
        assert drop_arguments(back) == drop_arguments(self.CHAT)

    def test_of_nothing_to_hide_is_the_same(self) -> None:
        assert book("never said").mask_content(self.CHAT) == self.CHAT

    def test_is_the_same_for_every_attempt(self) -> None:
        made = book(MAIL)
        assert made.mask_content(self.CHAT) == made.mask_content(self.CHAT)

    def test_gives_earlier_answers_the_names_they_had(self) -> None:
        """The client sends back what was restored; the provider sees what it wrote."""
        made = book(MAIL)
        asked = made.mask_content(say(f"write to {MAIL}"))
        wrote = f"Dear {NAMED.findall(texts_of(asked)[0])[0]},"
        later = book(MAIL, CARD)
        turn = say(f"write to {MAIL}", made.restore_text(wrote), f"pay with {CARD}")
        assert texts_of(later.mask_content(turn))[:2] == [*texts_of(asked), wrote]


class TestArguments:
    def call(self, arguments: str) -> Chat:
        return Chat((Message(Role.ASSISTANT, (ToolCall("c", "send", arguments),)),))

    def masked(self, made: MaskBook, arguments: str) -> str:
        (part,) = made.mask_content(self.call(arguments)).messages[0].parts
        assert isinstance(part, ToolCall)
        return part.arguments

    def test_stay_json_when_a_number_is_a_value(self) -> None:
        made = book("13800138000", kind="phone")
        masked = self.masked(made, '{"phone": 13800138000, "text": "13800138000", "n": 1}')
        said = json.loads(masked)
        assert said["phone"].startswith("NUMBER_")
        assert said["text"].startswith("PHONE_")
        assert made.meanings.json.restore(masked) == '{"phone": 13800138000, "text": "13800138000", "n": 1}'

    def test_hide_a_value_with_letters_that_json_escapes(self) -> None:
        made = book('pass"word\\n', "line\nbreak", kind="secret.x")
        given = json.dumps({"a": 'pass"word\\n', "b": ["line\nbreak"]})
        masked = self.masked(made, given)
        assert not [value for value in json.loads(masked).values() if "pass" in value or "line" in value]
        assert json.loads(made.meanings.json.restore(masked)) == json.loads(given)

    @pytest.mark.parametrize(
        ("value", "arguments"),
        [
            ('{"to": "ann\\u0040example.com"}', '{"to": "ann\\u0040example.com"}'),
            ('"a", "b"', '["a", "b"]'),
            ("u0040example", '["ann\\u0040example.com"]'),
            ("true, false", "[true, false]"),
        ],
    )
    def test_that_hold_a_value_in_several_pieces_are_refused(self, value: str, arguments: str) -> None:
        with pytest.raises(CannotMask, match="spread over"):
            self.masked(book(value), arguments)

    @pytest.mark.parametrize(
        "broken", ["", "{", f'{{"to": "{MAIL}', f'{{"to": {MAIL}}}', '"\\', "null", f'"{MAIL}\\']
    )
    def test_that_are_no_json_are_text_like_any_other(self, broken: str) -> None:
        made = book(MAIL)
        masked = self.masked(made, broken)
        assert MAIL not in masked
        assert made.restore_text(masked) == broken


class TestLookAlikes:
    def test_are_given_a_name_so_that_they_come_back_as_they_were(self) -> None:
        made = book(MAIL)
        name = made.mask_text(MAIL)
        chat = say(f"{MAIL} is not {name}, nor {name.lower()}, nor {name.replace('_', ' ')}.")
        masked = made.mask_content(chat)
        assert texts_of(masked)[0].count(name) == 1
        assert restored(made, masked) == chat

    def test_that_stand_for_nothing_here_stay(self) -> None:
        made, other = book(MAIL), book(CARD, key=KEYS.key_of("acme", b"another"))
        name = other.mask_text(CARD)
        assert made.mask_content(say(name)) == say(name)
        assert made.restore_text(name) == name

    def test_keep_their_names_in_later_turns(self) -> None:
        name = book(MAIL).mask_text(MAIL)
        turns = [say(MAIL, name), say(MAIL, name, "and now?")]
        first, second = (texts_of(book(MAIL).mask_content(turn)) for turn in turns)
        assert second[:2] == first


class TestShows:
    def test_a_copy_that_still_holds_a_value_is_seen_through(self) -> None:
        made = book(MAIL)
        assert made.shows(f"to:{MAIL}")
        assert not made.shows(made.mask_text(MAIL))

    def test_looking_like_a_name_is_not_showing(self) -> None:
        made = book(MAIL)
        name = made.mask_text(MAIL)
        masked = made.mask_content(say(MAIL, name))
        assert not any(map(made.shows, texts_of(masked)))


# --- whatever is said -------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.emails(),
    st.from_regex(r"[0-9]{4}( ?[0-9]{4}){2,3}", fullmatch=True),
    st.from_regex(r"[A-Z][a-z]{2,8} [A-Z][a-z]{2,8}", fullmatch=True),
    st.text(min_size=3, max_size=20).filter(lambda text: len("".join(text.split())) >= 3),
    st.sampled_from(
        ["EMAIL", "_4KQ", "PHONE_", 'a"b\\c', "-----BEGIN\nKEY-----", "\\u0041bc", "\ud800\ud800x"]
    ),
)
FILLER = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["EMAIL_", "email ", "_", "\\_", "X", " ", '"', "\\", "\n", "EMAIL_4KQ7XM", "E", "EMA"]),
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[MaskBook, Chat]:
    values = draw(st.lists(VALUES, min_size=1, max_size=4, unique=True))
    kinds = st.sampled_from(["email", "phone", "national_id.us_ssn", "id", "secret.x"])
    made = MaskBook(KEY, [Hidden(draw(kinds), value) for value in values])
    # What would be live names, if the client came to write them.
    alike = [name for value in values for name in (made._names[value], made._names[value].lower())]
    pieces = st.lists(st.one_of(FILLER, st.sampled_from(values), st.sampled_from(alike)), max_size=8)
    words = pieces.map("".join)
    tree = st.recursive(
        st.one_of(words, st.integers(), st.none()),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
        max_leaves=5,
    )
    messages = []
    for _ in range(draw(st.integers(1, 3))):
        arguments = json.dumps(draw(tree), ensure_ascii=draw(st.booleans()))
        messages.append(
            Message(Role.ASSISTANT, (Text(draw(words)), Thinking(draw(words)), ToolCall("c", "t", arguments)))
        )
    return made, Chat(tuple(messages), user=draw(words))


# Conversations are large; on a busy machine drawing them may take longer than the check allows.
SLOWLY = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@SLOWLY
@given(conversations())
def test_what_is_masked_comes_back_as_it_was(given_: tuple[MaskBook, Chat]) -> None:
    made, chat = given_
    try:
        masked = made.mask_content(chat)
    except CannotMask:
        # Rather none than one that cannot be read again; a test below sees to it that this stays rare.
        return
    back = restored(made, masked)
    assert drop_arguments(back) == drop_arguments(chat)
    for one, other in zip(calls_of(back), calls_of(chat), strict=True):
        same_json(one, other)


@SLOWLY
@given(conversations())
def test_no_value_is_left_in_the_copy(given_: tuple[MaskBook, Chat]) -> None:
    made, chat = given_
    try:
        masked = made.mask_content(chat)
    except CannotMask:
        return
    for text in texts_of(drop_arguments(masked)):
        assert not made.shows(text)


@given(st.lists(st.emails(), min_size=1, max_size=4, unique=True), st.lists(FILLER, max_size=6))
def test_ordinary_values_can_always_be_masked(values: list[str], filler: list[str]) -> None:
    made = book(*values)
    chat = say(
        *(f"{left}{value}{made.mask_text(value)}" for left, value in zip(filler, values, strict=False))
    )
    assume(chat.messages)
    assert restored(made, made.mask_content(chat)) == chat


def calls_of(chat: Chat) -> Iterator[ToolCall]:
    for message in chat.messages:
        yield from (part for part in message.parts if isinstance(part, ToolCall))


def same_json(one: object, other: object) -> None:
    assert isinstance(one, ToolCall)
    assert isinstance(other, ToolCall)
    assert json.loads(one.arguments) == json.loads(other.arguments)


def drop_arguments(chat: Chat) -> Chat:
    return replace(
        chat,
        messages=tuple(
            replace(
                message,
                parts=tuple(
                    replace(part, arguments="")
                    if isinstance(part, ToolCall) and part.kind == "function"
                    else part
                    for part in message.parts
                ),
            )
            for message in chat.messages
        ),
    )
