"""What remains of a provider's refusal for others than the client: nothing that may come from the request."""

from __future__ import annotations

import json

import pytest

from llmproxyd.exchange.quotes import without_quotes
from llmproxyd.values.contracts import Call
from llmproxyd.values.failure import Failure, FailureKind
from tests.support.records import replace

SENT = Call("POST", "http://x/v1/models/walnut:generate", {}, b'{"content": "about Chestnuts"}', stream=False)
REFUSED = Failure(FailureKind.OVERLOADED, "busy", said="about Chestnuts", status=503, code="server_error")


def told(code: str | None, sent: Call = SENT) -> str:
    return without_quotes(replace(REFUSED, code=code), sent).told


def test_status_and_code_are_told_and_no_words() -> None:
    assert told("server_error") == "status 503, code server_error"
    assert told(None) == "status 503"


@pytest.mark.parametrize("code", ["chestnuts", "CHESTNUTS", "walnut", "chest"])
def test_a_code_out_of_the_request_is_not_told(code: str) -> None:
    assert told(code) == "status 503"


def test_nor_one_that_the_request_holds_escaped() -> None:
    escaped = "".join(f"\\u{ord(char):04X}" for char in "Chestnuts")
    assert json.loads(f'"{escaped}"') == "Chestnuts"
    assert told("chestnuts", replace(SENT, body=f'{{"content": "{escaped}"}}'.encode())) == "status 503"


@pytest.mark.parametrize("code", ["two words", "x" * 65, "", "ünknown", "a\nb", "a/b"])
def test_nor_one_that_does_not_look_like_a_code(code: str) -> None:
    assert told(code) == "status 503"


def test_nor_any_where_too_much_was_sent_to_be_searched() -> None:
    assert told("server_error", replace(SENT, body=b"x" * (1 << 21))) == "status 503"


def test_our_own_words_stay() -> None:
    ours = replace(REFUSED, detail="the stream ended cut short", status=None)
    assert without_quotes(ours, SENT) is ours


def test_an_error_inside_an_answer_has_a_code_at_most() -> None:
    inside = replace(REFUSED, status=None)
    assert without_quotes(inside, SENT).told == "code server_error"
    assert without_quotes(replace(inside, code=None), SENT).told == "an error without a status"
