"""Real processes, killed without warning: every attempt that was sent has one entry, and the sums are those of the entries."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pytest

from llmproxyd.ledger.ledger import Ledger
from llmproxyd.ledger.store import LedgerReader
from llmproxyd.values.ledger import SCOPES
from tests.ledger.build import select

ROOT = Path(__file__).resolve().parent.parent.parent
RESERVED_NANOS = 5_000_000


@dataclass
class Told:
    """What the dead told, all together."""

    called: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    settling: dict[str, int] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)

    def hear(self, line: str) -> None:
        match line.split():
            case ["B", id_]:
                self.called.add(id_)
            case ["D", id_]:
                self.begun.add(id_)
            case ["S", id_, nanos]:
                self.settling[id_] = int(nanos)
            case ["T", id_]:
                self.settled.add(id_)


def kill_one(state_dir: Path, told: Told, first: int, after_lines: int) -> None:
    """Start a process, let it tell ``after_lines`` lines, kill it, and hear what it said to its last breath."""
    command = [sys.executable, "-m", "tests.ledger.hammer", str(state_dir), str(first), str(first)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
    ) as child:
        assert child.stdout is not None
        try:
            for line in islice(child.stdout, after_lines):
                told.hear(line)
        finally:
            child.kill()
        for line in child.stdout:
            if line.endswith("\n"):
                told.hear(line)
    assert told.begun, "the process told nothing: it did not get as far as that"


def check(state_dir: Path, told: Told) -> None:
    rows = select(state_dir, "SELECT id, outcome, cost_nanos FROM entries")
    booked = {id_: (outcome, cost) for id_, outcome, cost in rows}
    assert len(rows) == len(booked), "an attempt was booked twice"
    assert told.begun <= set(booked), "an attempt that was sent is not booked"
    assert set(booked) <= told.called
    for id_ in told.settled:
        assert booked[id_] == ("ok", told.settling[id_]), "a settlement that was taken is lost"
    for id_ in booked.keys() - told.settling.keys():
        assert booked[id_] == ("orphaned", RESERVED_NANOS)
    totals = LedgerReader(state_dir).totals(SCOPES, 0)
    for (scope, _), total in totals.items():
        assert total.attempts == len(booked), scope
        assert total.cost_nanos == sum(cost for _, cost in booked.values()), scope
    assert len(totals) == len(SCOPES)


def run(state_dir: Path, kills: int, seed: int) -> Told:
    draw, told = random.Random(seed), Told()
    for number in range(kills):
        kill_one(state_dir, told, (number + 1) * 1_000_000, draw.randrange(5, 3_000))
        if draw.random() < 0.5:  # the next process may as well find what two have left
            Ledger.open(state_dir, wall=time.time).stop()
            check(state_dir, told)
    Ledger.open(state_dir, wall=time.time).stop()
    check(state_dir, told)
    return told


def test_whoever_is_killed_leaves_one_entry_for_every_attempt_that_was_sent(tmp_path: Path) -> None:
    told = run(tmp_path, kills=15, seed=1)
    assert len(told.begun) > 1_000
    assert told.settled < told.begun


@pytest.mark.proof
@pytest.mark.timeout(1_200)
def test_two_hundred_kills_leave_one_entry_for_every_attempt_that_was_sent(tmp_path: Path) -> None:
    told = run(tmp_path, kills=200, seed=2)
    assert len(told.begun) > 20_000
