"""A checkout with a running daemon, as the reader of the documentation has it."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT
from tests.programs import program

DOCUMENTED_URL, DOCUMENTED_SOCKET = "127.0.0.1:8400", "/run/llmproxyd/llmproxyd.sock"
NOBODY = "http://127.0.0.1:9"
"""Where no model server answers, whatever else runs on this machine."""
LOCAL_SERVERS = ("OLLAMA", "LMSTUDIO", "VLLM", "LIGHTLLM", "LLAMACPP", "LOCALAI", "TGI")
START_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 30.0
# Silent, never hanging, and an error where HTTP has one.
CURL = 'curl() { command curl -sS --max-time 10 %s "$@"; }\n'


@dataclass
class Checkout:
    """``directory`` holds the shipped files and `.venv`; the daemon serves them as `make run` does."""

    directory: Path
    environ: dict[str, str]
    process: subprocess.Popen[str]
    address: str

    def run(self, script: str, *, fail_on_http: bool) -> subprocess.CompletedProcess[str]:
        """Run a shell script as documented, with this daemon in place of the usual one. stderr comes with stdout."""
        prelude = CURL % ("--fail-with-body" if fail_on_http else "")
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", prelude + self.here(script)],
            cwd=self.directory,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def here(self, text: str) -> str:
        return text.replace(DOCUMENTED_URL, self.address).replace(
            DOCUMENTED_SOCKET, self.environ["LLMPROXYD_LISTEN"].removeprefix("unix:")
        )

    def restore(self) -> None:
        """Put the shipped files back, and have the daemon take them."""
        copy_files(self.directory)
        done = self.run("llmproxyd reload --wait", fail_on_http=True)
        assert done.returncode == 0, done.stdout


def copy_files(directory: Path) -> None:
    for name in ("providers.yaml", "routing.yaml", "Makefile"):
        shutil.copy(ROOT / name, directory / name)


def environment(directory: Path) -> dict[str, str]:
    """Clean: none of the developer's keys, and the program that is tested first on the PATH."""
    programs = str(Path(sys.executable).parent)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "COLUMNS": "100",
        "LLMPROXYD_CONFIG_DIR": str(directory),
        "LLMPROXYD_STATE_DIR": str(directory / ".state"),
        "LLMPROXYD_LISTEN": f"unix:{directory}/d.sock",
        **{f"{name}_BASE_URL": NOBODY for name in LOCAL_SERVERS},
    }


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    _need_curl()
    directory = tmp_path_factory.mktemp("checkout")
    copy_files(directory)
    (directory / ".venv").symlink_to(Path(sys.executable).parent.parent)
    environ = environment(directory)
    listen = ("--listen", "127.0.0.1:0", "--listen", environ["LLMPROXYD_LISTEN"])
    process = subprocess.Popen(
        [sys.executable, "-m", "llmproxyd", "run", "--log-format", "json", *listen],
        cwd=directory,
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Checkout(directory, environ, process, _address(process))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=15)
        finally:
            process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    """HOST:PORT, as the daemon says it. Reads its log to the end in a thread, so that it never waits for us."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    assert process.stderr is not None
    source = process.stderr

    def read() -> None:
        for line in source:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    seen: list[str] = []
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            line = ""
        seen.append(line)
        if not line:
            process.kill()
            raise AssertionError("the daemon did not start:\n" + "".join(seen))
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("event") == "started":
            url: str = next(u for u in entry["listeners"] if u.startswith("http"))
            return url.removeprefix("http://")


def _need_curl() -> None:
    """The examples call the real one."""
    program("curl", "curl")
