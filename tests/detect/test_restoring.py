"""The way back: however an answer is cut, every name in it is replaced, and nothing else is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.detect.hidden import Hidden
from llmproxyd.detect.masking import MaskBook
from llmproxyd.detect.pseudonyms import Keyring, LiveNames
from llmproxyd.detect.restoring import Meanings, Restorer, TextRestorer
from llmproxyd.values.answer import (
    Answer,
    Choice,
    CitationDelta,
    Event,
    Failed,
    Finish,
    Finished,
    Pinged,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    fold,
)
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Chat, OutputFormat, Refusal, Text, Thinking, ToolCall

MAIL, CARD, KEY_TEXT = "EMAIL_4KQ7XM", "PAYMENT_CARD_B2CD3F", "SECRET_9HJKMN"
VALUES = {MAIL: "ann@example.com", CARD: "4111 1111 1111 1111", KEY_TEXT: 'a"b\\c\nd'}
PLAIN = LiveNames(VALUES)
JSON = LiveNames({name: json.dumps(value)[1:-1] for name, value in VALUES.items()}, {"NUMBER_7ZXWVT": "42"})
MEANINGS = Meanings(PLAIN, JSON)


def restore(*events: Event, meanings: Meanings = MEANINGS) -> list[Event]:
    restorer = Restorer(meanings)
    return [*itertools.chain.from_iterable(restorer.feed([event]) for event in events), *restorer.close()]


def folded(events: Sequence[Event]) -> tuple[Any, ...]:
    answer = fold(events)
    assert isinstance(answer, Answer)
    return answer.choices[0].parts


def feed_all(pieces: Sequence[str], names: LiveNames = PLAIN) -> str:
    restorer = TextRestorer(names)
    return "".join([*map(restorer.feed, pieces), restorer.close()])


class TestNames:
    @pytest.mark.parametrize(
        "written",
        [
            MAIL,
            "email_4kq7xm",
            "Email_4Kq7xM",
            "EMAIL 4KQ7XM",
            "EMAIL\\_4KQ7XM",
            "EMAIL-4KQ7XM",
            "EMAIL _ 4KQ7XM",
            "email\\\\_4kq7xm",
        ],
    )
    def test_are_known_in_other_letters_and_with_another_separator(self, written: str) -> None:
        assert PLAIN.restore(f"to <{written}>.") == "to <ann@example.com>."

    @pytest.mark.parametrize(
        "unknown",
        [
            "EMAIL_4KQ7XN",
            "EMAIL_4KQ7X",
            "PHONE_4KQ7XM",
            "4KQ7XM",
            "email_4kq7xmz",
            "xemail_4kq7xm",
            "E-MAIL_4KQ7XM",
            "EMAIL__4KQ7XM",
            "EMAIL\n4KQ7XM",
            "EMAIL_B2CD3F",
        ],
    )
    def test_that_stand_for_nothing_stay(self, unknown: str) -> None:
        assert PLAIN.restore(unknown) == unknown

    def test_as_written_count_whatever_surrounds_them(self) -> None:
        assert PLAIN.restore(f"x{MAIL}y") == "xann@example.comy"

    def test_of_several_words_may_be_taken_apart(self) -> None:
        assert PLAIN.restore("the payment card b2cd3f") == "the 4111 1111 1111 1111"

    def test_are_not_looked_for_in_what_they_stood_for(self) -> None:
        names = LiveNames({"EMAIL_222222": "PHONE_333333", "PHONE_333333": "x"})
        assert names.restore("EMAIL_222222 PHONE_333333") == "PHONE_333333 x"
        assert feed_all(list("EMAIL_222222 PHONE_333333"), names) == "PHONE_333333 x"

    def test_there_may_be_none(self) -> None:
        assert LiveNames({}).restore(MAIL) == MAIL
        assert feed_all([MAIL[:3], MAIL[3:]], LiveNames({})) == MAIL


class TestHolding:
    @pytest.mark.parametrize(
        ("text", "held"),
        [
            ("Write to EMA", "EMA"),
            ("Write to EMAIL_4KQ7X", "EMAIL_4KQ7X"),
            ("Write to EMAIL_4KQ7XM", ""),
            ("Write to email_4kq7xm", "email_4kq7xm"),
            ("Write to EMAIL_4KQ9", ""),
            ("Write to EMAIL_B", ""),
            ("Write to Zoe", ""),
            ("some", ""),
            ("e", "e"),
            ("payment card b2", "payment card b2"),
            ("payment due", ""),
            ("email ", "email "),
            ("email 5", ""),
        ],
    )
    def test_lasts_only_while_the_end_could_become_a_name(self, text: str, held: str) -> None:
        restorer = TextRestorer(PLAIN)
        assert PLAIN.restore(text[: len(text) - len(held)]) == restorer.feed(text)
        assert restorer.close() == PLAIN.restore(held)

    def test_ends_with_the_first_letter_that_does_not_fit(self) -> None:
        restorer = TextRestorer(PLAIN)
        assert [restorer.feed(piece) for piece in ("EM", "AIL", "_4", "9", "!")] == [
            "",
            "",
            "",
            "EMAIL_49",
            "!",
        ]

    def test_never_holds_more_than_the_longest_name_may_be(self) -> None:
        restorer, said, given_ = TextRestorer(PLAIN), 0, 0
        for letter in "payment_card_" * 20 + "email - " * 20 + "\\" * 50:
            said, given_ = said + len(restorer.feed(letter)), given_ + 1
            assert given_ - said <= PLAIN.longest


WORDS = st.one_of(
    st.sampled_from([*VALUES, *(name.lower() for name in VALUES), *(n.replace("_", " ") for n in VALUES)]),
    st.sampled_from(
        [MAIL[:5], MAIL[:8], "email\\_4kq7xm", "_", " ", "\\", "\\\\", "-", "4KQ7XM", "x", "EMAIL_", '"']
    ),
    st.sampled_from(['"NUMBER_7ZXWVT"', "NUMBER_7ZXWVT", "EMAIL_222222", "p", "S"]),
    st.text(max_size=4),
)
TEXTS = st.lists(WORDS, max_size=10).map("".join)


@given(TEXTS, st.sampled_from([PLAIN, JSON]))
def test_every_cut_gives_the_same(text: str, names: LiveNames) -> None:
    whole = names.restore(text)
    assert feed_all(list(text), names) == whole
    for place in range(len(text) + 1):
        assert feed_all([text[:place], text[place:]], names) == whole


@given(TEXTS, st.lists(st.integers(0, 80), max_size=8), st.sampled_from([PLAIN, JSON]))
def test_any_cuts_give_the_same(text: str, cuts: list[int], names: LiveNames) -> None:
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(places)] if places == sorted(places) else [text]
    assert "".join(pieces) == text
    assert feed_all(pieces, names) == names.restore(text)


class TestEvents:
    def test_text_is_restored_across_pieces_with_signs_of_life_between(self) -> None:
        events = restore(
            Started("id", "m"),
            TextDelta("to EMAIL"),
            Pinged(),
            TextDelta("_4KQ7XM"),
            TextDelta(" now"),
            Finished(Finish.STOP),
        )
        assert events == [
            Started("id", "m"),
            TextDelta("to "),
            Pinged(),
            TextDelta("ann@example.com"),
            TextDelta(" now"),
            Finished(Finish.STOP),
        ]

    def test_what_is_held_comes_before_the_end(self) -> None:
        events = restore(TextDelta("my EMA"), Finished(Finish.LENGTH))
        assert events == [TextDelta("my "), TextDelta("EMA"), Finished(Finish.LENGTH)]

    def test_what_is_held_comes_before_a_failure_and_before_a_silent_end(self) -> None:
        failed = Failed(Failure(FailureKind.BAD_ANSWER, "cut"))
        assert restore(TextDelta("EMA"), failed) == [TextDelta("EMA"), failed]
        assert restore(RefusalDelta("EMA")) == [RefusalDelta("EMA")]

    def test_choices_are_kept_apart(self) -> None:
        events = restore(
            TextDelta("EMAIL_", 0),
            TextDelta("PAYMENT_CARD_", 1),
            TextDelta("4KQ7XM", 0),
            TextDelta("B2CD3F", 1),
            Finished(Finish.STOP, 0),
            Finished(Finish.STOP, 1),
        )
        assert events[:2] == [TextDelta("ann@example.com", 0), TextDelta("4111 1111 1111 1111", 1)]

    def test_arguments_are_restored_as_json_writes_them(self) -> None:
        pieces = ['{"key": "', "SECRET_9H", 'JKMN", "to": ["EMAIL_', '4KQ7XM"], "n": "NUMBER_7', 'ZXWVT"}']
        first = ToolCallDelta(0, "c", "send", pieces[0])
        events = restore(first, *(ToolCallDelta(0, arguments=piece) for piece in pieces[1:]))
        (call,) = folded(events)
        assert json.loads(call.arguments) == {"key": 'a"b\\c\nd', "to": ["ann@example.com"], "n": 42}

    def test_free_text_for_a_tool_is_restored_as_it_is(self) -> None:
        call = ToolCallDelta(0, "c", "sh", f"echo {KEY_TEXT} EMA", kind="custom")
        other = ToolCallDelta(1, "d", "sh", "IL_4KQ7XM", kind="custom")
        parts = folded(restore(call, other, Finished(Finish.TOOL_CALLS)))
        assert [part.arguments for part in parts] == ['echo a"b\\c\nd EMA', "IL_4KQ7XM"]

    def test_calls_that_interleave_are_kept_apart(self) -> None:
        events = restore(
            ToolCallDelta(0, "a", "f", '"EMAIL_'),
            ToolCallDelta(1, "b", "g", '"PAYMENT_'),
            ToolCallDelta(0, arguments='4KQ7XM"'),
            ToolCallDelta(1, arguments='CARD_B2CD3F"'),
            Finished(Finish.TOOL_CALLS),
        )
        parts = folded(events)
        assert [(p.id, p.name, p.arguments) for p in parts] == [
            ("a", "f", '"ann@example.com"'),
            ("b", "g", '"4111 1111 1111 1111"'),
        ]

    def test_a_tools_name_is_restored(self) -> None:
        assert restore(ToolCallDelta(0, "c", f"mail_{MAIL}")) == [
            ToolCallDelta(0, "c", "mail_ann@example.com")
        ]

    def test_thoughts_are_restored_and_their_signatures_left(self) -> None:
        events = restore(
            ThinkingDelta(f"so {MAIL[:4]}", new_block=True),
            ThinkingDelta(MAIL[4:]),
            ThinkingDelta(" or EMA"),
            ThinkingDelta(signature=MAIL),
            ThinkingDelta("IL_4KQ7XM", new_block=True),
            ThinkingDelta(encrypted=MAIL),
        )
        assert folded(events) == (
            Thinking("so ann@example.com or EMA", signature=MAIL),
            Thinking("IL_4KQ7XM", encrypted=MAIL),
        )

    def test_one_sort_of_text_never_runs_into_another(self) -> None:
        events = restore(
            ThinkingDelta("EMAIL_"), TextDelta("4KQ7XM "), RefusalDelta("EMAIL_"), TextDelta("4KQ7XM")
        )
        assert folded(events) == (Thinking("EMAIL_"), Text("4KQ7XM "), Refusal("EMAIL_"), Text("4KQ7XM"))

    def test_citations_are_restored_after_the_text_they_belong_to(self) -> None:
        cited = CitationDelta({"cited_text": f"{MAIL}", "spans": [{"of": MAIL, "at": 3}]})
        events = restore(TextDelta("see EMA"), cited)
        assert events == [
            TextDelta("see "),
            TextDelta("EMA"),
            CitationDelta({"cited_text": "ann@example.com", "spans": [{"of": "ann@example.com", "at": 3}]}),
        ]

    def test_a_stop_sequence_is_the_one_the_client_named(self) -> None:
        given_ = Finished(Finish.STOP_SEQUENCE, stop_sequence=MAIL)
        assert restore(given_) == [Finished(Finish.STOP_SEQUENCE, stop_sequence="ann@example.com")]

    def test_structured_output_stays_json(self) -> None:
        meanings = Meanings(PLAIN, JSON, json_text=True)
        events = restore(TextDelta('{"key": "SECRET_'), TextDelta('9HJKMN"}'), meanings=meanings)
        (text,) = folded(events)
        assert json.loads(text.text) == {"key": 'a"b\\c\nd'}

    def test_log_probabilities_tell_what_the_model_wrote(self) -> None:
        odds = {"content": [{"token": "EMA"}]}
        assert restore(TextDelta("EMA", logprobs=odds)) == [TextDelta("", logprobs=odds), TextDelta("EMA")]


class TestWholeAnswers:
    def test_are_restored_in_every_part(self) -> None:
        made = MaskBook(Keyring(b"k" * 32).key_of("a", b"b"), [Hidden("secret.x", 'a"b')])
        name = made.mask_text('a"b')
        made.mask_content(Chat((), output_format=OutputFormat("json_object")))
        parts = (
            Text(f'{{"k": "{name}"}}', citations=({"text": name},)),
            Thinking(name, signature=name),
            Refusal(name),
            ToolCall("c", name, f'["{name}"]', signature=name),
            ToolCall("d", "sh", name, kind="custom"),
        )
        answer = Answer("id", "m", (Choice(parts, Finish.STOP, stop_sequence=name),))
        (choice,) = made.restore_answer(answer).choices
        assert choice.parts == (
            Text('{"k": "a\\"b"}', citations=({"text": 'a"b'},)),
            Thinking('a"b', signature=name),
            Refusal('a"b'),
            ToolCall("c", 'a"b', '["a\\"b"]', signature=name),
            ToolCall("d", "sh", 'a"b', kind="custom"),
        )
        assert choice.stop_sequence == 'a"b'


@given(st.lists(st.emails(), min_size=1, max_size=3, unique=True), st.lists(st.integers(0, 60), max_size=6))
def test_nothing_of_another_request_is_ever_restored(values: list[str], cuts: list[int]) -> None:
    keys = Keyring(b"k" * 32)
    mine = MaskBook(keys.key_of("mine", b"c"), [Hidden("email", value) for value in values])
    theirs = MaskBook(keys.key_of("theirs", b"c"), [Hidden("email", value) for value in values])
    said = " ".join(map(theirs.mask_text, values))
    places = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    restorer = mine.new_restorer()
    events = [TextDelta(said[a:b]) for a, b in itertools.pairwise(places)]
    parts = folded([*restorer.feed(events), *restorer.close()])
    assert parts == (Text(said),)
    assert theirs.restore_text(said) == " ".join(values)
