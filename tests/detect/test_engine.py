"""How texts are read: in pieces, across their seams, in time, and what happens if a detector breaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

import pytest

from llmproxyd.detect.detector import Detector, Find
from llmproxyd.detect.engine import CHUNK_CHARS, Detectors, build_detectors, default_detectors
from llmproxyd.values.privacy import Finding, Found, Piece, Scan
from llmproxyd.values.snapshot import OwnPattern

CARD = "4111 1111 1111 1111"


def scan(detectors: Detectors, *pieces: Piece) -> Scan:
    return detectors.scan(pieces, clock=lambda: 0.0, budget_s=1.0)


def test_findings_say_where_in_which_piece() -> None:
    pieces = [Piece("instructions", "be kind"), Piece("messages[0].content", f"my card: {CARD}")]
    assert scan(default_detectors(), *pieces) == Scan(
        (Found("messages[0].content", Finding("payment_card", 9, 28, "number")),)
    )


@pytest.mark.parametrize("at", range(1, len(CARD)))
def test_what_is_split_between_two_parts_is_found_in_both(at: int) -> None:
    first, second = f"it is {CARD[:at]}", f"{CARD[at:]}, right?"
    found = scan(default_detectors(), Piece("a", first), Piece("b", second, joined=True)).found
    kept = {f.place: (f.finding.start, f.finding.end) for f in found if f.finding.kind == "payment_card"}
    assert kept["a"][0] == 6
    assert kept["b"][1] == len(CARD) - at


def test_a_split_at_the_end_of_a_long_text_is_found_where_it_stands() -> None:
    first = "word " * 1000 + CARD[:9]
    found = scan(default_detectors(), Piece("a", first), Piece("b", CARD[9:], joined=True)).found
    assert {(f.place, f.finding.start, f.finding.end) for f in found} == {("a", 5000, 5009), ("b", 0, 10)}


def test_texts_that_do_not_belong_together_are_not_joined() -> None:
    assert scan(default_detectors(), Piece("a", CARD[:9]), Piece("b", CARD[9:])).found == ()


@pytest.mark.parametrize("shift", [0, 5, 11, 19, 40])
def test_a_long_text_is_read_to_its_end_and_across_its_chunks(shift: int) -> None:
    before = "word " * (CHUNK_CHARS // 5)
    text = before[: CHUNK_CHARS - 30 + shift] + f" {CARD} " + "word " * 2000 + f" {CARD}"
    found = [f.finding for f in scan(default_detectors(), Piece("a", text)).found]
    assert [text[f.start : f.end] for f in found] == [CARD, CARD]


def test_what_there_is_no_time_for_counts_as_unscanned() -> None:
    ticks = count()
    text = f"{CARD} " + "word " * 100_000
    result = default_detectors().scan([Piece("a", text)], clock=lambda: float(next(ticks)), budget_s=3.0)
    assert result.unscanned == {"text"}
    assert result.failed is None
    assert result.has("payment_card")


def test_what_is_packed_too_deeply_counts_as_unscanned() -> None:
    from tests.detect.test_normalise import packed

    text = packed(packed(packed("a text that is packed three times over")))
    assert scan(default_detectors(), Piece("a", text)).unscanned == {"text"}


def _raising(text: str) -> Iterator[Finding]:
    raise RuntimeError(text)


def _breaking_off(text: str) -> Iterator[Finding]:
    yield Finding("x", 0, 1, "x")
    raise KeyError(text)


def _endless(text: str) -> Iterator[Finding]:
    while True:
        yield Finding("x", 0, 1, "x")


@pytest.mark.parametrize(
    "find",
    [
        _raising,
        _endless,
        lambda text: [Finding("x", 3, 2, "x")],
        lambda text: [Finding("x", 0, len(text) + 1, "x")],
        lambda text: [Finding("other", 0, 1, "x")],
        lambda text: [Finding("x", -3, 2, "x")],
        lambda text: [Finding("x", 0, 10**30, "x")],
        lambda text: [Finding("x", 0.5, 2.5, "x")],  # type: ignore[arg-type]
        lambda text: [Finding("x", float("nan"), 2, "x")],  # type: ignore[arg-type]
        lambda text: [Finding("x", "0", "1", "x")],  # type: ignore[arg-type]
        lambda text: [Finding(["x"], 0, 1, "x")],  # type: ignore[arg-type]
        lambda text: [Finding(None, 0, 1, "x")],  # type: ignore[arg-type]
        lambda text: ("x", 0, 1),
        lambda text: 7,
        _breaking_off,
        lambda text: [None],
        lambda text: None,
    ],
)
def test_a_broken_detector_counts_as_if_everything_was_found(find: Find) -> None:
    detectors = Detectors([Detector("x", frozenset({"x"}), (), find)], {"x"})
    result = scan(detectors, Piece("a", "a very private text"))
    assert result.failed is not None
    assert "private" not in result.failed
    assert result.has("payment_card")


def test_only_what_was_asked_for_is_found() -> None:
    text = f"{CARD} and ada@mail.example.org"
    assert build_detectors({"email"}).kinds == {"email"}
    assert scan(build_detectors({"email"}), Piece("a", text)).kinds == {"email"}
    assert scan(build_detectors({"national_id"}), Piece("a", text)).kinds == set()
    assert scan(build_detectors({"hard"}), Piece("a", text)).kinds == {"payment_card", "email"}


def test_own_patterns_and_words_are_found_whole_and_in_any_case() -> None:
    own: Iterable[OwnPattern] = (
        OwnPattern("customer", pattern=r"\bK-[0-9]{6}\b"),
        OwnPattern("code_name", words=("Falcon", "blue bird")),
    )
    text = "falcon, Blue  Bird, falconry, K-123456, K-1234567"
    found = scan(build_detectors({"customer", "code_name"}, own), Piece("a", text)).found
    assert {(f.finding.kind, text[f.finding.start : f.finding.end]) for f in found} == {
        ("customer", "K-123456"),
        ("code_name", "falcon"),
        ("code_name", "Blue  Bird"),
    }


def test_half_a_character_is_no_reason_to_fail() -> None:
    assert scan(default_detectors(), Piece("a", f"\ud800 {CARD} \udfff")).kinds == {"payment_card"}
