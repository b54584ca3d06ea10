"""Nothing of a request that may not go outside goes there: no packet, no question for a name, whatever fails.

The daemon, its providers and a name server live in a network namespace of their own, where the kernel counts every packet
that is not from loopback to loopback; see ``recorder``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.privacy.mutations import MUTATIONS
from tests.privacy.planting import ROOT, Copy
from tests.privacy.recorder import CONTROLS, JOBS
from tests.programs import program, skip

# All processes in it end with the first one, whatever becomes of it.
UNSHARE = ("-rnmpf", "--kill-child", "--mount-proc")
LOOKED_UP_AHEAD = "names are looked up ahead, also of those who were dropped"
HOW_TO = (
    "this machine lets nobody make a network namespace: run as root, or `sysctl -w kernel.unprivileged_userns_clone=1` "
    "(Debian), `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu); a container needs CAP_SYS_ADMIN"
)
WAYS = ("retried", "fell_back", "hedged", "continued", "panicked", "refused", "shared", "jobs")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(2_000, id="short"),
        pytest.param(100_000, id="long", marks=[pytest.mark.proof, pytest.mark.timeout(3000)]),
    ],
)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen of so many requests; ``wanted`` is how many."""
    return {**record(ROOT, tmp_path_factory.mktemp("recorder"), request.param), "wanted": request.param}


def record(source: Path, directory: Path, requests: int) -> dict[str, Any]:
    """What ``recorder`` tells of the package in ``source``."""
    command = (namespaces(), *UNSHARE, sys.executable, "-m", "tests.privacy.recorder")
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(
        (*command, str(requests), str(directory)),
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        timeout=2900,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def namespaces() -> str:
    """The program that makes them, where one may."""
    unshare = program("unshare", "util-linux")
    program("ip", "iproute2")
    tried = subprocess.run((unshare, *UNSHARE, "true"), capture_output=True, text=True, timeout=10)
    return unshare if tried.returncode == 0 else skip(f"{HOW_TO}. ({tried.stderr.strip()})")


def test_no_packet_no_look_up_and_no_request_goes_outside(recorded: dict[str, Any]) -> None:
    assert recorded["leaked"] == {"packets": 0, "look_ups": 0, "requests": 0}
    assert recorded["counts"]["told"] >= recorded["wanted"]


def test_when_it_starts_it_asks_outside_for_a_sign_of_life_and_for_nothing_else(
    recorded: dict[str, Any],
) -> None:
    """Requests that were taken up again after a kill were under way meanwhile."""
    starts, outside = recorded["counts"]["starts"], recorded["outside"]
    assert outside["probes"] == outside["connections"] == starts
    assert outside["requests"] == 0
    assert outside["kinds"] == ["GET /v1/models b''"]
    assert outside["look_ups"] == starts
    assert outside["names"] == ["llm.external.test"]


def test_every_way_out_was_tried(recorded: dict[str, Any]) -> None:
    """Else that nothing was seen would mean little."""
    counts = recorded["counts"]
    assert {way: counts.get(way, 0) for way in WAYS if not counts.get(way)} == {}
    assert counts["kills"] == counts["starts"] - 1 >= 2
    assert counts["jobs"] >= JOBS * counts["kills"] / 2
    assert counts["config.applied"] >= recorded["wanted"] / 400
    assert counts["config.rejected"] >= 2
    assert counts["answered"] >= recorded["wanted"] / 10


def test_the_recorder_sees_what_may_go_outside(recorded: dict[str, Any]) -> None:
    """The same requests with another label, and with the same one after the files were widened."""
    controls = recorded["controls"]
    assert controls["fenced"] == {"packets": 0, "requests": 0, "answered": CONTROLS}
    for allowed in (controls["allowed"], controls["widened"]):
        assert allowed["requests"] == allowed["answered"] == CONTROLS
        assert allowed["packets"] >= 4 * CONTROLS


@pytest.mark.proof
def test_the_recorder_sees_what_a_fault_behind_the_decision_lets_out(tmp_path: Path) -> None:
    """Nothing before the daemon's start can find these: who was dropped is asked last, or only looked up."""
    copy = Copy(tmp_path / "copy")
    (tmp_path / "asked").mkdir()
    (tmp_path / "named").mkdir()
    extend = "more = self._asker.further(plan, failure)"
    with (
        copy.planted("exchange/upstream.py", "        require(clearance, deployment)\n", ""),
        copy.planted("exchange/run.py", extend, f"{extend} or plan.dropped"),
    ):
        leaked = record(copy.root, tmp_path / "asked", 600)["leaked"]
    assert leaked["requests"]
    assert leaked["packets"] >= 4 * leaked["requests"]

    ahead = next(m for m in MUTATIONS if m.name == LOOKED_UP_AHEAD)
    with copy.planted(ahead.path, ahead.text, ahead.instead):
        leaked = record(copy.root, tmp_path / "named", 600)["leaked"]
    assert leaked["look_ups"] > leaked["packets"] == 0
