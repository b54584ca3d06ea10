"""A process to be killed: books attempts as fast as it can, and tells a pipe about each step before and after it.

    python -m tests.ledger.hammer STATE_DIR FIRST_NUMBER SEED

Lines: ``B id`` begin is called, ``D id`` it has returned (the request would be sent now), ``S id nanos`` settle is
called, ``T id`` it has returned.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from llmproxyd.ledger.ledger import Ledger
from tests.ledger.build import intent, settlement

OPEN_AT_ONCE = 8


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def main(state_dir: str, first: str, seed: str) -> None:
    draw = random.Random(seed)
    ledger = Ledger.open(Path(state_dir), wall=time.time)
    tell("R", 0)
    number, open_ones = int(first), list[int]()
    while True:
        if len(open_ones) < OPEN_AT_ONCE and draw.random() < 0.6:
            number += 1
            one = intent(number)
            tell("B", one.id)
            ledger.begin(one)
            tell("D", one.id)
            open_ones.append(number)
        elif open_ones:
            settled = settlement(
                open_ones.pop(draw.randrange(len(open_ones))), cost_nanos=draw.randrange(10**9)
            )
            tell("S", settled.id, settled.cost_nanos)
            ledger.settle(settled)
            tell("T", settled.id)


if __name__ == "__main__":
    main(*sys.argv[1:])
