from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.cache.entry import PACKED_ABOVE_BYTES, format_entry, parse_entry
from tests.cache.asking import cached_of

KEY, OTHER = bytes(32), bytes([1]) * 32
SHORT = cached_of(b"data: {}\n\n", form="text/event-stream", warnings=("'seed' was left out",))
LONG = cached_of(b"the same again and again; " * 1000)


@given(st.binary(max_size=3 * PACKED_ABOVE_BYTES), st.none() | st.integers(0, 2**60))
def test_what_is_kept_comes_back(body: bytes, cost_nanos: int | None) -> None:
    cached = cached_of(body, cost_nanos=cost_nanos)
    assert parse_entry(KEY, format_entry(KEY, cached)) == cached


def test_usage_and_warnings_come_back_too() -> None:
    assert parse_entry(KEY, format_entry(KEY, SHORT)) == SHORT
    bare = cached_of(usage=None, cost_nanos=None)
    assert parse_entry(KEY, format_entry(KEY, bare)) == bare


def test_long_answers_are_packed_and_short_ones_are_not() -> None:
    assert len(format_entry(KEY, LONG)) < len(LONG.body) // 10
    assert SHORT.body in format_entry(KEY, SHORT)


def test_an_entry_cut_anywhere_is_none() -> None:
    blob = format_entry(KEY, SHORT)
    assert [parse_entry(KEY, blob[:end]) for end in range(len(blob))] == [None] * len(blob)
    assert parse_entry(KEY, blob + b"\0") is None


def test_an_answer_does_not_show_in_logs() -> None:
    assert "data:" not in repr(SHORT)


def test_a_flipped_bit_anywhere_is_none() -> None:
    for cached in (SHORT, LONG):
        blob = format_entry(KEY, cached)
        for place in range(len(blob)):
            torn = bytearray(blob)
            torn[place] ^= 1 << (place % 8)
            assert parse_entry(KEY, bytes(torn)) is None


def test_an_entry_in_anothers_place_is_none() -> None:
    assert parse_entry(OTHER, format_entry(KEY, SHORT)) is None
