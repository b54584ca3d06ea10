"""Disguises are seen through, and what is found stands where the disguise stood."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.detect.engine import default_detectors
from llmproxyd.detect.normalise import fold_characters, to_plain
from llmproxyd.detect.view import View

CARD = "4111 1111 1111 1111"
MAIL = "ada@mail.example.org"


def kinds(text: str) -> set[str]:
    return {f.kind for f in default_detectors().find(text)}


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "disguise",
    [
        lambda text: "\u200b".join(text),
        lambda text: text.translate({sign: sign + 0xFEE0 for sign in range(0x21, 0x7F)}),
        lambda text: text.replace("a", "а").replace("e", "е").replace("1", "١"),
        packed,
        lambda text: packed(f"the value is {text}, you see"),
        lambda text: packed(packed(text)),
        lambda text: text.encode().hex(),
        lambda text: " ".join(f"{byte:02x}" for byte in text.encode()),
        lambda text: quote(text, safe=""),
        lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
        lambda text: quote(quote(text, safe=""), safe=""),
        lambda text: "".join(f"\\u{ord(sign):04x}" for sign in text),
        lambda text: "".join(f"\\x{byte:02x}" for byte in text.replace(" ", "\u00a0").encode()),
        lambda text: base64.encodebytes(f"{'so much before it: ' * 3}{text}, you see".encode()).decode(),
        lambda text: json.dumps({"a": json.dumps({"b": json.dumps([text])})}),
        lambda text: "".join(f"&#{ord(sign)};" for sign in text),
    ],
)
@pytest.mark.parametrize(("value", "kind"), [(CARD, "payment_card"), (MAIL, "email")])
def test_a_disguise_is_seen_through(disguise: object, value: str, kind: str) -> None:
    assert callable(disguise)
    text = f'x = "{disguise(value)}" end'
    found = default_detectors().find(text)
    assert kind in {f.kind for f in found}
    assert all(4 <= f.start < f.end <= len(text) - 4 for f in found)


@pytest.mark.parametrize(
    "text",
    [
        "got 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 a",
        "got 4-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1 a",
        "D E 8 9 3 7 0 4 0 0 4 4 0 5 3 2 0 1 3 0 0 0",
        "q=my+card+is+4111+1111+1111+1111&x=1",
        "got 4 - 1 - 1 - 1 - 1 - 1 - 1 - 1 - 1 - 1 - 1 - 1 - 1 - 1 - 1 - 1 a",
        "IBAN: D-E-8-9-3-7-0-4-0-0-4-4-0-5-3-2-0-1-3-0-0-0",
    ],
)
def test_digits_that_are_spelt_out_are_read_together(text: str) -> None:
    assert kinds(text) & {"payment_card", "iban"}


def test_a_plus_in_a_form_is_a_blank_and_an_escaped_one_a_plus() -> None:
    assert kinds("q=call+me+%2b86+138+2333+5253+or+not") == {"phone"}


def test_plain_text_stays_as_it_is() -> None:
    view = View("nothing to see here, 10 % of it, a\tb")
    assert fold_characters(view) is view
    assert to_plain(view) == (view, ())


def test_words_of_other_alphabets_stay_theirs() -> None:
    text = "Привет, мир. Καλημέρα κόσμε."
    assert fold_characters(View(text)).text == text
    assert fold_characters(View("pаypal")).text == "paypal"


@given(st.text(max_size=200))
def test_every_part_of_a_plain_text_is_led_back_into_the_text_it_came_from(text: str) -> None:
    plain, readings = to_plain(fold_characters(View(text)))
    for view in (plain, *readings):
        ends = [view.locate(at, at + 1) for at in range(len(view.text))]
        assert all(0 <= start < end <= len(text) for start, end in ends)
        assert ends == sorted(ends)


@given(st.text(alphabet="ab%\\u0041 42\u200b４é", max_size=60))
def test_what_no_step_touched_is_found_where_it_was(text: str) -> None:
    plain, _ = to_plain(fold_characters(View(f"{text}|END")))
    at = plain.text.rindex("END")
    assert plain.locate(at, at + 3) == (len(text) + 1, len(text) + 4)
