"""Lines of the journal: what was written is read, what is damaged is found, what is half there is cut."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.journal import (
    MAX_NANOS,
    MAX_TOKENS,
    Damage,
    Head,
    Journal,
    Record,
    check_form,
    fitted,
    format_record,
    parse_records,
    segments,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.ledger import Intent, LedgerUnavailable, Settlement
from tests.ledger.build import FailingDisk, intent, settlement
from tests.support.records import replace

texts = st.text(max_size=20)
finite = st.floats(0, 4e9, allow_nan=False)
intents = st.builds(
    Intent,
    id=texts,
    request_id=texts,
    at_s=finite,
    provider=texts,
    model=texts,
    tenant=texts,
    user=texts,
    reserved_nanos=st.none() | st.integers(0, MAX_NANOS),
    stream=st.booleans(),
)
usages = st.builds(
    Usage,
    input_tokens=st.integers(0, MAX_TOKENS),
    output_tokens=st.integers(0, MAX_TOKENS),
    billed=st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
settlements = st.builds(
    Settlement,
    id=texts,
    at_s=finite,
    outcome=st.sampled_from(["ok", "failed", "cut", "cancelled", "lost", "orphaned", "cached"]),
    usage=st.none() | usages,
    cost_nanos=st.none() | st.integers(0, MAX_NANOS),
    estimate=st.none() | usages,
)
records = st.lists(intents | settlements, max_size=5)


def lines(written: list[Intent | Settlement]) -> tuple[list[Record], list[bytes]]:
    pairs = [fitted(record) for record in written]
    return [record for record, _ in pairs], [line for _, line in pairs]


@settings(deadline=None)
@given(records)
def test_what_was_written_is_read(written: list[Intent | Settlement]) -> None:
    kept, data = lines(written)
    assert list(parse_records(b"".join(data))) == kept


@settings(deadline=None, max_examples=25)
@given(records)
def test_a_journal_cut_at_any_byte_gives_every_whole_line_and_tells_the_rest(
    written: list[Intent | Settlement],
) -> None:
    kept, data = lines(written)
    whole = b"".join(data)
    ends = [sum(map(len, data[:count])) for count in range(len(data) + 1)]
    for cut in range(len(whole) + 1):
        complete = sum(end <= cut for end in ends) - 1
        torn = cut - ends[complete]
        expected: list[Record | Damage] = list(kept[:complete])
        if torn:
            expected.append(Damage(ends[complete], torn, torn=True))
        assert list(parse_records(whole[:cut])) == expected


def test_every_flipped_bit_is_found_and_costs_at_most_its_line() -> None:
    written: list[Record] = [intent(1), settlement(1), intent(2)]
    whole = b"".join(format_record(record) for record in written)
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        found = list(parse_records(bytes(damaged)))
        read = [record for record in found if not isinstance(record, Damage)]
        assert len(read) < len(found), f"bit {bit} went unnoticed"
        assert len(read) >= 2
        assert all(record in written for record in read)


@given(st.binary(max_size=300))
def test_garbage_is_damage_and_nothing_else(data: bytes) -> None:
    found = list(parse_records(data))
    assert all(isinstance(piece, Damage) for piece in found)
    assert sum(piece.size_bytes for piece in found if isinstance(piece, Damage)) == len(data)


def test_a_line_of_an_older_version_is_read_and_unknown_fields_are_passed_over() -> None:
    def line(body: bytes) -> bytes:
        from zlib import crc32

        return b"%06x %08x %b\n" % (len(body), crc32(body), body)

    old = line(b'i {"id":"a.1","request_id":"a","at_s":1.0,"provider":"p","model":"m"}')
    new = line(b'i {"id":"b.1","request_id":"b","at_s":1.0,"provider":"p","model":"m","from_the_future":[1]}')
    strange = line(b'z {"id":"c"}')
    assert list(parse_records(old + strange + new)) == [
        Intent("a.1", "a", 1.0, "p", "m"),
        Damage(len(old), len(strange), torn=False),
        Intent("b.1", "b", 1.0, "p", "m"),
    ]


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (intent(user="u" * 5_000), intent(user="u" * 256)),
        (intent(user="half \ud800"), intent(user="half ?")),
        (intent(user="a\0b"), intent(user="a\ufffdb")),
        (settlement(cost_nanos=1 << 70), settlement(cost_nanos=MAX_NANOS)),
        (settlement(usage=Usage(1 << 50, 7)), settlement(usage=Usage(MAX_TOKENS, 7))),
        (intent(reserved_nanos=1 << 90), intent(reserved_nanos=MAX_NANOS)),
    ],
    ids=["endless", "no unicode", "nul", "money", "tokens", "reservation"],
)
def test_what_no_table_can_hold_is_mended(given_: Intent | Settlement, kept: Intent | Settlement) -> None:
    record, line = fitted(given_)
    assert record == kept
    assert list(parse_records(line)) == [kept]


def test_numbers_beyond_64_bits_survive() -> None:
    given_ = settlement(usage=Usage(web_searches=1 << 80))
    record, line = fitted(given_)
    assert list(parse_records(line)) == [record]


def test_what_fits_stays_the_same_object() -> None:
    given_ = intent()
    assert fitted(given_)[0] is given_


def test_a_segment_of_a_newer_version_is_refused_with_words(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="newer version"):
        check_form(Head(99), tmp_path / "ledger.journal-00000001")


# --- the file ---------------------------------------------------------------------------------------------------


def read(directory: Path) -> list[Record | Damage]:
    return [
        record
        for path in segments(directory)
        for record in parse_records(path.read_bytes())
        if not isinstance(record, Head)
    ]


def test_only_the_owner_may_read_the_journal(tmp_path: Path) -> None:
    Journal(tmp_path, Disk()).close()
    [path] = segments(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_half_write_is_cut_away_before_the_next(tmp_path: Path) -> None:
    disk = FailingDisk(only=("write",))
    journal = Journal(tmp_path, disk)
    journal.append(format_record(intent(1)))
    disk.fail_at = 0
    with pytest.raises(OSError, match="No space left"):
        journal.append(format_record(intent(2)))
    disk.mend()
    journal.append(format_record(intent(3)))
    assert read(tmp_path) == [intent(1), intent(3)]


def test_a_half_write_that_cannot_be_cut_at_once_is_cut_later(tmp_path: Path) -> None:
    disk = FailingDisk(only=("write", "truncate"))
    journal = Journal(tmp_path, disk)
    disk.fail_at = 0
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            journal.append(format_record(intent(2)))
    assert [type(piece) for piece in read(tmp_path)] == [Damage]
    disk.mend()
    journal.append(format_record(intent(3)))
    assert read(tmp_path) == [intent(3)]


def test_what_is_held_goes_out_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Disk())
    journal.hold(format_record(intent(1)))
    journal.hold(format_record(intent(2)))
    assert read(tmp_path) == []
    journal.append(format_record(intent(3)))
    assert read(tmp_path) == [intent(1), intent(2), intent(3)]
    assert journal.held_bytes == 0


def test_a_new_segment_begins_with_what_is_carried_and_the_old_one_stays_until_it_is_dropped(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path, Disk())
    journal.append(format_record(intent(1)))
    journal.rotate([format_record(intent(1))])
    journal.append(format_record(settlement(1)))
    assert read(tmp_path) == [intent(1), intent(1), settlement(1)]
    journal.drop_older()
    assert read(tmp_path) == [intent(1), settlement(1)]
    assert not journal.has_older


@pytest.mark.parametrize("kind", ["create", "write", "sync"])
def test_when_no_new_segment_can_be_made_the_old_one_goes_on(tmp_path: Path, kind: str) -> None:
    disk = FailingDisk(only=(kind,))
    journal = Journal(tmp_path, disk)
    disk.fail_at = 0
    with pytest.raises(OSError):
        journal.rotate([])
    disk.mend()
    journal.append(format_record(intent(1)))
    assert read(tmp_path) == [intent(1)]
    assert len(segments(tmp_path)) == 1


def test_a_segment_has_a_bound(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Disk())
    lines = format_record(replace(intent(1), user="x" * 200)) * 10_000
    for _ in range((64 << 20) // len(lines)):
        journal.append(lines)
    with pytest.raises(OSError, match="bound"):
        journal.append(lines)
    assert os.path.getsize(segments(tmp_path)[0]) <= 64 << 20
