from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.framing import Frame, FrameTooLong, LineSplitter, SSESplitter, format_data
from tests.wire import pieces_of, stream


def frames_of(pieces: list[bytes]) -> list[Frame]:
    splitter = SSESplitter()
    return [frame for piece in pieces for frame in splitter.feed(piece)] + splitter.close()


def lines_of(pieces: list[bytes]) -> list[bytes]:
    splitter = LineSplitter()
    return [line for piece in pieces for line in splitter.feed(piece)] + splitter.close()


def said(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(event, text) for event, text, _ in frames_of([data]) if text]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\r\n\ndata: b\n\r\n", [(b"", b"a"), (b"", b"b")]),
        (b"data:a\n\n", [(b"", b"a")]),
        (b"data:  a\n\n", [(b"", b" a")]),
        (b"data: a\ndata: b\ndata\n\n", [(b"", b"a\nb\n")]),
        (b"event: x\nid: 7\nretry: 1\ndata: a\n\n", [(b"x", b"a")]),
        (b": comment\ndata: a\n\n", [(b"", b"a")]),
        (b"\n\n\ndata: a\n\n\n\n", [(b"", b"a")]),
        (b"data: a", [(b"", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b"dataset: a\n\n", []),
    ],
)
def test_events_are_read_as_the_standard_says(data: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    assert said(data) == expected


def test_characters_that_only_look_like_line_ends_do_not_end_lines() -> None:
    text = "a\u2028b\u2029c\u0085d\x0b\x0c\x1ce".encode()
    assert said(b"data: " + text + b"\n\n") == [(b"", text)]


def test_a_comment_is_a_frame_that_says_nothing() -> None:
    assert frames_of([b": ping\n\ndata: a\n\n"]) == [(b"", b"", b": ping\n\n"), (b"", b"a", b"data: a\n\n")]


@pytest.mark.parametrize("case", ["text", "crlf", "local", "lightllm", "openrouter"])
def test_frames_are_the_same_wherever_the_bytes_are_cut(case: str) -> None:
    data = stream("openai_chat", case)
    whole = frames_of([data])
    assert b"".join(raw for _, _, raw in whole) == data
    for pieces in pieces_of(data):
        assert frames_of(pieces) == whole


LINES = st.sampled_from(
    [b"data: x", b"data:", b"event: e", b": c", b"", b"\xf0\x9f\x8c\xa7", b"data: \xc3\xa9"]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.data())
def test_any_mixture_of_line_ends_splits_alike_and_loses_no_byte(
    lines: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    text = b"".join(line + end for line, end in lines)
    whole = frames_of([text])
    assert b"".join(raw for _, _, raw in whole) == text
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert frames_of(pieces) == whole


def test_a_frame_without_end_is_refused_at_its_bound() -> None:
    splitter = SSESplitter(max_frame_bytes=100)
    splitter.feed(b"data: " + b"x" * 90)
    with pytest.raises(FrameTooLong, match="longer than 100 bytes"):
        splitter.feed(b"x" * 90)


def test_a_large_frame_in_many_reads_is_whole() -> None:
    frame = b"data: " + b"x" * 1_000_000 + b"\n\n"
    pieces = [frame[i : i + 1000] for i in range(0, len(frame), 1000)]
    assert frames_of(pieces) == [(b"", b"x" * 1_000_000, frame)]


def test_json_lines_lose_their_ends_and_blank_ones_are_left_out() -> None:
    data = b'{"a":1}\n\r\n  \n{"b":"\xe2\x80\xa8"}\r\n{"c":3}'
    whole = lines_of([data])
    assert whole == [b'{"a":1}', b'{"b":"\xe2\x80\xa8"}', b'{"c":3}']
    for pieces in pieces_of(data):
        assert lines_of(pieces) == whole


def test_a_line_without_end_is_refused_at_its_bound() -> None:
    splitter = LineSplitter(max_line_bytes=10)
    with pytest.raises(FrameTooLong):
        splitter.feed(b"x" * 11)


def test_formatted_data_reads_back() -> None:
    assert said(format_data(b'{"a":1}')) == [(b"", b'{"a":1}')]
