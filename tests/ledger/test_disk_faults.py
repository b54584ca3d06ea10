"""Full disks and failing writes, at every operation: refused or kept as configured, always told, mended without help."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.ledger import MAX_HELD_BYTES, MAX_UNBOOKED, Ledger, Policy
from llmproxyd.values.ledger import LedgerUnavailable
from tests.ledger.build import Alarms, FailingDisk, book, intent, select, settlement, wall

ATTEMPTS = 12
RETRY_S = 0.002


def play(ledger: Ledger) -> tuple[set[str], set[str]]:
    """A short day: twelve attempts, a new segment in the middle. -> ids that were taken, ids that were refused."""
    taken, refused = set(), set()
    for number in range(ATTEMPTS):
        one = intent(number)
        try:
            ledger.begin(one)
        except LedgerUnavailable:
            refused.add(one.id)
            continue
        taken.add(one.id)
        ledger.settle(settlement(number))
        if number == ATTEMPTS // 2:
            ledger.flush(0.005)
            ledger.rotate_journal()
    return taken, refused


def operations(tmp_path: Path) -> int:
    """How many operations a day without faults has, roughly: how many statements depends on the batches."""
    disk = FailingDisk()
    ledger = Ledger.open(tmp_path, wall=wall, disk=disk, retry_s=RETRY_S)
    play(ledger)
    ledger.flush()
    ledger.stop()
    return disk.count


@pytest.mark.parametrize("policy", ["refuse", "memory"])
def test_whichever_operation_is_the_first_to_fail_nothing_is_lost_and_nothing_is_silent(
    tmp_path: Path, policy: Policy
) -> None:
    most = operations(tmp_path / "well")
    assert most > ATTEMPTS * 2
    reasons = set()
    for fail_at in range(1, most + 10):
        state_dir = tmp_path / f"{fail_at}"
        disk, alarms = FailingDisk(fail_at), Alarms()
        try:
            ledger = Ledger.open(
                state_dir, wall=wall, policy=policy, alarm=alarms, disk=disk, retry_s=RETRY_S
            )
        except LedgerUnavailable as refusal:
            reasons.add(str(refusal).rpartition(": ")[2])
            continue
        taken, refused = play(ledger)
        assert not refused or disk.failed, f"refused without a reason, at {fail_at}"
        ledger.flush(0.02)
        if disk.failed:
            assert not alarms.wait_for(ok=False).ok
            disk.mend()
            alarms.wait_for(ok=True, timeout_s=1.0)
        disk.mend()
        assert ledger.healthy() == (True, "")
        book(ledger, 99)
        assert ledger.stop(), f"not all was written, at {fail_at}"
        outcomes = dict(select(state_dir, "SELECT id, outcome FROM entries"))
        assert outcomes == dict.fromkeys(taken | {"req_99.1"}, "ok"), f"at {fail_at}"
    assert reasons == {"[Errno 28] No space left on device", "database or disk is full"}


@pytest.mark.parametrize("policy", ["refuse", "memory"])
def test_whichever_operation_fails_a_kill_then_leaves_one_entry_for_each_attempt_that_was_sent(
    tmp_path: Path, policy: Policy
) -> None:
    for fail_at in range(1, operations(tmp_path / "well") + 10, 3):
        state_dir = tmp_path / f"{fail_at}"
        try:
            ledger = Ledger.open(
                state_dir, wall=wall, policy=policy, disk=FailingDisk(fail_at), retry_s=RETRY_S
            )
        except LedgerUnavailable:
            continue
        taken, refused = play(ledger)
        ledger.stop()  # the disk is still full: nothing more is written than a kill would leave
        Ledger.open(state_dir, wall=wall).stop()
        booked = [id_ for (id_,) in select(state_dir, "SELECT id FROM entries")]
        assert len(booked) == len(set(booked))
        assert not refused & set(booked)
        if policy == "refuse":
            assert set(booked) == taken
        assert set(booked) <= taken


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_real_disk_says_what_is_wrong_with_it() -> None:
    disk = Disk()
    for flags, why in ((os.O_WRONLY, errno.ENOSPC), (os.O_RDONLY, errno.EBADF)):
        fd = os.open("/dev/full", flags)
        with pytest.raises(OSError, match=os.strerror(why)) as refused:
            disk.write(fd, b"a line\n")
        assert refused.value.errno == why
        disk.close(fd)


def test_a_refusal_says_why_without_a_path(tmp_path: Path) -> None:
    disk = FailingDisk(only=("write",))
    ledger = Ledger.open(tmp_path, wall=wall, disk=disk)
    disk.fail_at = 0
    with pytest.raises(LedgerUnavailable, match="No space left on device: free some space") as refusal:
        ledger.begin(intent(1))
    assert str(tmp_path) not in str(refusal.value)
    ok, reason = ledger.healthy()
    assert not ok
    assert "free some space" in reason
    disk.mend()
    ledger.stop()


def test_service_is_back_with_the_first_attempt_after_there_is_room(tmp_path: Path) -> None:
    disk = FailingDisk(only=("write",))
    ledger = Ledger.open(tmp_path, wall=wall, disk=disk, retry_s=60)
    disk.fail_at = 0
    with pytest.raises(LedgerUnavailable):
        ledger.begin(intent(1))
    disk.mend()
    book(ledger, 2)
    assert ledger.flush()
    assert select(tmp_path, "SELECT id FROM entries") == [("req_2.1",)]
    ledger.stop()


def test_memory_for_the_journal_has_a_bound_and_then_attempts_are_refused(tmp_path: Path) -> None:
    disk, alarms = FailingDisk(only=("write",)), Alarms()
    ledger = Ledger.open(tmp_path, wall=wall, policy="memory", alarm=alarms, disk=disk, retry_s=RETRY_S)
    disk.fail_at = 0
    taken, refusal = 0, ""
    while not refusal:
        try:
            ledger.begin(intent(taken))
            taken += 1
        except LedgerUnavailable as error:
            refusal = str(error)
    assert "memory for it is full" in refusal
    assert ledger._journal.held_bytes > MAX_HELD_BYTES - 1_000
    assert ledger._journal.held_bytes <= MAX_HELD_BYTES
    assert len(alarms.heard) == 1
    disk.mend()
    alarms.wait_for(ok=True, timeout_s=1.0)
    ledger.stop()
    Ledger.open(tmp_path, wall=wall).stop()
    assert select(tmp_path, "SELECT count(*), count(DISTINCT id) FROM entries") == [(taken, taken)]


def test_when_only_sqlite_fails_the_journal_has_the_entries_up_to_a_bound(tmp_path: Path) -> None:
    disk, alarms = FailingDisk(only=("sql", "connect")), Alarms()
    ledger = Ledger.open(tmp_path, wall=wall, alarm=alarms, disk=disk, retry_s=RETRY_S)
    disk.fail_at = 0
    book(ledger, *range(MAX_UNBOOKED))
    with pytest.raises(LedgerUnavailable, match="too far behind: SQLite does not take entries"):
        ledger.begin(intent(-1))
    alarms.wait_for(ok=False)
    disk.mend()
    alarms.wait_for(ok=True, timeout_s=1.0)
    assert ledger.flush()
    book(ledger, MAX_UNBOOKED)
    assert ledger.stop()
    assert select(tmp_path, "SELECT count(*) FROM entries") == [(MAX_UNBOOKED + 1,)]


def test_the_same_trouble_is_told_once(tmp_path: Path) -> None:
    disk, alarms = FailingDisk(only=("write",)), Alarms()
    ledger = Ledger.open(tmp_path, wall=wall, alarm=alarms, disk=disk, retry_s=RETRY_S)
    disk.fail_at = 0
    for number in range(50):
        with pytest.raises(LedgerUnavailable):
            ledger.begin(intent(number))
    disk.mend()
    alarms.wait_for(ok=True)
    ledger.stop()
    assert [health.ok for health in alarms.heard] == [False, True]
