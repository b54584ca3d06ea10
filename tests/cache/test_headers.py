from __future__ import annotations

import pytest
from multidict import CIMultiDict

from llmproxyd.cache.headers import NO_WISH, NOT_CACHED, Outcome, Wish, outcome_headers, read_wish
from llmproxyd.values.contracts import BadRequest

OFF, REFRESH, ONLY = Wish(read=False, write=False), Wish(read=False), Wish(only=True)


@pytest.mark.parametrize(
    ("headers", "wish"),
    [
        ({}, NO_WISH),
        ({"x-llmproxyd-cache": "off"}, OFF),
        ({"x-llmproxyd-cache": " Refresh "}, REFRESH),
        ({"x-llmproxyd-cache": "only"}, ONLY),
        ({"cache-control": "no-cache"}, REFRESH),
        ({"cache-control": "no-store"}, OFF),
        ({"cache-control": "no-cache, no-store"}, OFF),
        ({"cache-control": "Max-Age=60"}, Wish(max_age_s=60.0)),
        ({"cache-control": 'max-age="60", only-if-cached'}, Wish(only=True, max_age_s=60.0)),
        ({"cache-control": "max-age=0"}, Wish(max_age_s=0.0)),
        ({"cache-control": "max-age=soon"}, Wish(max_age_s=0.0)),
        ({"cache-control": "max-age=-1"}, Wish(max_age_s=0.0)),
        ({"cache-control": "max-age=" + "9" * 400}, Wish(max_age_s=0.0)),
        ({"cache-control": "only-if-cached, no-cache"}, Wish(read=False, only=True)),
        ({"cache-control": "no-transform, something=new, ,"}, NO_WISH),
        ({"cache-control": "no-store", "x-llmproxyd-cache": "only"}, ONLY),
    ],
)
def test_a_wish_is_read(headers: dict[str, str], wish: Wish) -> None:
    assert read_wish(headers) == wish
    assert read_wish(CIMultiDict({name.title(): value for name, value in headers.items()})) == wish


def test_a_header_may_come_in_several_lines() -> None:
    headers = CIMultiDict([("Cache-Control", "max-age=5"), ("Cache-Control", "no-store")])
    assert read_wish(headers) == OFF


@pytest.mark.parametrize("word", ["", "on", "no-cache", "off, refresh"])
def test_a_word_that_says_nothing_is_refused(word: str) -> None:
    with pytest.raises(BadRequest) as told:
        read_wish({"x-llmproxyd-cache": word})
    assert told.value.failure.param == "x-llmproxyd-cache"


def test_the_answer_says_what_became_of_it() -> None:
    assert outcome_headers(Outcome.MISS) == {"x-llmproxyd-cache": "miss"}
    assert outcome_headers(Outcome.HIT, 0) == {"x-llmproxyd-cache": "hit", "Age": "0"}


def test_only_if_cached_is_refused_with_504() -> None:
    assert (NOT_CACHED.client_status, NOT_CACHED.code) == (504, "not_cached")
