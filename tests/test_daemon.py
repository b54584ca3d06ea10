"""The daemon as a whole, where no room of it can answer for a promise alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]

LOOKS_INSIDE = """
import gc, os, signal, sys, threading, time
from llmproxyd.cli import main

def look():
    began = time.monotonic()
    while not (gc.get_freeze_count() and gc.isenabled()) and time.monotonic() - began < 20:
        time.sleep(0.01)
    print(gc.isenabled(), gc.get_freeze_count() > 10_000, gc.get_threshold()[0] > 700)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=look, daemon=True).start()
sys.exit(main(sys.argv[1:]))
"""


def test_the_collector_that_rests_at_the_start_works_when_it_is_over(tmp_path: Path) -> None:
    where = ("--config-dir", str(REPOSITORY), "--state-dir", str(tmp_path), "--listen", "127.0.0.1:0")
    command = [sys.executable, "-c", LOOKS_INSIDE, "run", *where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    assert (done.returncode, done.stdout) == (0, "True True True\n"), done.stderr
