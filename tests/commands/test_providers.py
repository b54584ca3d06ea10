"""`llmproxyd providers`: the daemon's figures as a table, or what the files say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmproxyd.commands.providers import PATH
from llmproxyd.server.admin import providers_status
from llmproxyd.state.registry import ProviderReport
from llmproxyd.values.snapshot import Snapshot
from tests.commands.conftest import Run
from tests.commands.daemon_double import DaemonDouble, serve

REPORTS = (
    ProviderReport(
        "openai",
        "openai",
        "external",
        "available",
        "",
        200,
        199,
        1,
        0.995,
        1.234,
        1767225600.25,
        1767139200.0,
        ("big",),
    ),
    ProviderReport(
        "anthropic",
        "anthropic",
        "external",
        "not configured",
        "set ANTHROPIC_API_KEY or api_key",
        0,
        0,
        0,
        None,
        None,
        None,
        None,
        (),
    ),
)
DOCUMENT = providers_status(REPORTS, Snapshot("h", {}, (), {}, (), default_provider="openai"))


def test_a_table_and_the_list_of_those_that_answer(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({("GET", PATH): (200, DOCUMENT)}), socket_path):
        done = run("providers")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "default provider: openai",
        "",
        "NAME       STATE           REQUESTS  SUCCESS    MEAN  LAST SUCCESS          LAST FAILURE          WHY",
        "openai     available            200    99.5%  1.23 s  2026-01-01T00:00:00Z  2025-12-31T00:00:00Z",
        "anthropic  not configured         0        -       -  -                     -                     "
        "set ANTHROPIC_API_KEY or api_key",
        "",
        "available: openai",
    ]


def test_json_passes_on_what_the_daemon_says(run: Run, socket_path: Path) -> None:
    with serve(DaemonDouble({("GET", PATH): (200, DOCUMENT)}), socket_path):
        done = run("providers", "--json")
    assert json.loads(done.out) == DOCUMENT


def test_without_a_daemon_it_is_69(run: Run) -> None:
    done = run("providers")
    assert (done.status, done.out) == (69, "")
    assert "start it with `llmproxyd run`" in done.err


@pytest.mark.parametrize(("status", "document"), [(200, {}), (500, {"error": {"message": "broken"}})])
def test_a_daemon_that_does_not_tell_is_69(
    status: int, document: object, run: Run, socket_path: Path
) -> None:
    with serve(DaemonDouble({("GET", PATH): (status, document)}), socket_path):
        done = run("providers")
    assert done.status == 69
    assert f"status {status}" in done.err


def test_offline_shows_what_the_files_say(run: Run, config_dir: Path) -> None:
    done = run(
        "providers", "--offline", "--config-dir", str(config_dir), environ={"OPENAI_API_KEY": "sk-canary"}
    )
    assert done.status == 0
    states = {
        line.split()[0]: line for line in done.out.splitlines()[3:] if line and ":" not in line.split()[0]
    }
    assert "not yet tested" in states["openai"]
    assert "not configured" in states["anthropic"]
    assert "ANTHROPIC_API_KEY" in states["anthropic"]
    assert done.out.splitlines()[0] == "default provider: none; rules and priorities decide"
    assert "nobody was asked" in done.err
    assert "canary" not in done.out + done.err


def test_offline_json_has_the_shape_of_the_daemons_answer(run: Run, config_dir: Path) -> None:
    done = run("providers", "--offline", "--json", "--config-dir", str(config_dir))
    document = json.loads(done.out)
    assert document.keys() == DOCUMENT.keys()
    assert document["providers"][0].keys() == DOCUMENT["providers"][0].keys()
