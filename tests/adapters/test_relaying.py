"""What all relays read alike; how each passes its stream is tested with its dialect."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llmproxyd.adapters.relaying import NO_RAW, is_said, new_reader
from llmproxyd.values.failure import Failure, FailureKind


class Inner(msgspec.Struct):
    name: msgspec.Raw = NO_RAW


class Seen(msgspec.Struct):
    inner: Inner | None = None
    kept: msgspec.Raw = NO_RAW
    plain: Any = None


read = new_reader(Seen, "piece")


def test_a_field_kept_as_text_is_read_whatever_it_holds() -> None:
    seen = read(b'{"kept": [1, {"a": 2}], "inner": {"name": "x"}}')
    assert isinstance(seen, Seen)
    assert seen.inner is not None
    assert (bytes(seen.kept), bytes(seen.inner.name)) == (b'[1, {"a": 2}]', b'"x"')


def test_half_an_emoji_hides_no_field_that_is_kept_as_text() -> None:
    seen = read(b'{"plain": "\\ud83d", "kept": "\\ud83d", "inner": {"name": "x"}}')
    assert isinstance(seen, Seen)
    assert seen.inner is not None
    assert (seen.plain, bytes(seen.kept), bytes(seen.inner.name)) == ("\ud83d", b'"\\ud83d"', b'"x"')


@pytest.mark.parametrize("text", [b"{}", b'{"kept": null}', b'{"kept": null, "plain": "\\ud83d"}'])
def test_a_field_that_is_null_is_as_good_as_none(text: bytes) -> None:
    seen = read(text)
    assert isinstance(seen, Seen)
    assert not is_said(seen.kept)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"7", b"{", b'{"inner": 7}', b'{"plain": "\xff"}', b'{"\\ud83d": 1}', b'{"a":' * 100_000],
)
def test_what_cannot_be_read_is_a_failure_that_names_the_frame(text: bytes) -> None:
    failure = read(text)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.BAD_ANSWER
    assert "a piece of the answer " in failure.detail
