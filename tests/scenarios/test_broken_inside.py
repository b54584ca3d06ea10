"""A part that runs beside requests breaks: the daemon ends, and says so in a way that has it started again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from llmproxyd.exits import Exit
from tests.support.daemon import environment

PROGRAM = """
import sys
from llmproxyd.cli import main
from llmproxyd.exchange.probe import Prober

async def broken(self):
    raise ZeroDivisionError

Prober.run = broken
sys.exit(main())
"""


async def test_a_broken_part_ends_the_daemon_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text("version: 1\nproviders: {mock: {models: [echo]}}\n")
    (tmp_path / "routing.yaml").write_text("version: 1\nmodels: {auto: any}\n")
    flags = ("--config-dir", str(tmp_path), "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path / "state"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "run", *flags, env=environment(), stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        _, log = await process.communicate()
    assert b"background_task_failed" in log
    assert b"ZeroDivisionError" in log
    assert process.returncode == Exit.ERRORS, "a service manager restarts what failed, not what ended"
