"""``llmproxyd run``: serve until stopped."""

from __future__ import annotations

import gc
from argparse import Namespace
from typing import Any

from llmproxyd.commands.console import Command, Console


def _add_arguments(parser: Any) -> None:
    """Nothing beyond the settings, which every command knows."""


def _run(_arguments: Namespace, console: Console) -> int:
    settings = console.settings(warn=False)  # the daemon logs them
    # A fifth of the start was looking for garbage among modules and files that stay: the daemon turns it on when it is up.
    gc.disable()
    from llmproxyd import daemon

    return daemon.run(settings)


COMMAND = Command(
    summary="Serve until stopped (SIGTERM drains, SIGHUP reads the files again).",
    examples="""\
Examples:
  llmproxyd run --config-dir /etc/llmproxyd
  llmproxyd run --listen 127.0.0.1:9000 --listen unix:/tmp/llm.sock

Each option is also a variable, such as LLMPROXYD_CONFIG_DIR; commas separate several values.""",
    add_arguments=_add_arguments,
    run=_run,
)
