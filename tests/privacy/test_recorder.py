"""Nothing of a request that may not go outside goes there: no packet, no question for a name, whatever fails.

The daemon, its providers and a name server live in a network namespace of their own, where the kernel counts every packet
that is not from loopback to loopback; see ``recorder``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.privacy.recorder import CONTROLS, JOBS
from tests.programs import program, skip

ROOT = Path(__file__).resolve().parents[2]
# All processes in it end with the first one, whatever becomes of it.
UNSHARE = ("-rnmpf", "--kill-child", "--mount-proc")
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
    unshare = namespaces()
    directory = tmp_path_factory.mktemp("recorder")
    command = (unshare, *UNSHARE, sys.executable, "-m", "tests.privacy.recorder", request.param, directory)
    done = subprocess.run(tuple(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=2900)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    print(done.stdout)
    return {**seen, "wanted": request.param}


def namespaces() -> str:
    """The program that makes them, where one may."""
    unshare = program("unshare", "util-linux")
    program("ip", "iproute2")
    tried = subprocess.run((unshare, *UNSHARE, "true"), capture_output=True, text=True, timeout=10)
    return unshare if tried.returncode == 0 else skip(f"{HOW_TO}. ({tried.stderr.strip()})")


def test_no_packet_no_look_up_and_no_request_goes_outside(recorded: dict[str, Any]) -> None:
    assert recorded["leaked"] == {"packets": 0, "look_ups": 0, "requests": 0}
    assert recorded["told"] >= recorded["wanted"]


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
    assert recorded["answered"] >= recorded["wanted"] / 5


def test_the_recorder_sees_what_may_go_outside(recorded: dict[str, Any]) -> None:
    """The same requests with another label, and with the same one after the files were widened."""
    controls = recorded["controls"]
    assert controls["fenced"] == {"packets": 0, "requests": 0, "answered": CONTROLS}
    for allowed in (controls["allowed"], controls["widened"]):
        assert allowed["requests"] == allowed["answered"] == CONTROLS
        assert allowed["packets"] >= 4 * CONTROLS
