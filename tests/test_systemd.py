"""The units, judged by systemd's own tools, without a running systemd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.programs import program, skip

UNITS = Path(__file__).resolve().parent.parent / "systemd"
SYSTEM_UNITS = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))
EXPOSURE_TENTHS = 13
# Directives that systemd 252 does not know and would only warn about.
TOO_NEW = (
    "FileDescriptorStorePreserve",
    "ImportCredential",
    "ReloadSignal",
    "RestartSteps",
    "notify-reload\n",
)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _directives(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text().splitlines():
        if match := re.fullmatch(r"([A-Za-z]+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with systemd's own units, ours, and a stand-in for the program."""
    system = next((path for path in SYSTEM_UNITS if path.is_dir()), None)
    if system is None:
        program("systemd-analyze", "systemd")
        skip("systemd's own units are not installed: install them with `apt-get install systemd`")
    shutil.copytree(system, tmp_path / "lib/systemd/system", symlinks=True)
    mine = tmp_path / "etc/systemd/system"
    mine.mkdir(parents=True)
    for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        shutil.copy(unit, mine)
    ours = tmp_path / "usr/bin/llmproxyd"
    ours.parent.mkdir(parents=True)
    ours.write_text("#!/bin/sh\n")
    ours.chmod(0o755)
    return tmp_path


def _verify(root: Path) -> subprocess.CompletedProcess[str]:
    units = sorted(path.name for path in (root / "etc/systemd/system").iterdir())
    return _run(program("systemd-analyze", "systemd"), "verify", f"--root={root}", "--man=no", *units)


def test_the_units_are_verified_without_a_word(root: Path) -> None:
    done = _verify(root)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_verification_notices_a_directive_that_does_not_exist(root: Path) -> None:
    service = root / "etc/systemd/system/llmproxyd.service"
    service.write_text(service.read_text().replace("[Service]\n", "[Service]\nProtectEverything=yes\n"))
    assert "ProtectEverything" in _verify(root).stderr


def test_the_service_may_do_as_little_as_promised() -> None:
    done = _run(
        program("systemd-analyze", "systemd"),
        "security",
        "--offline=true",
        f"--threshold={EXPOSURE_TENTHS}",
        "--no-pager",
        str(UNITS / "llmproxyd.service"),
    )
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


def test_nothing_is_used_that_the_oldest_systemd_does_not_know() -> None:
    text = "".join(path.read_text() for path in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")))
    assert not [name for name in TOO_NEW if re.search(rf"^[A-Za-z]*=?{name}", text, re.MULTILINE)]


def test_the_sockets_have_the_names_and_rights_the_daemon_expects() -> None:
    http, unix = _directives("llmproxyd-http.socket"), _directives("llmproxyd-unix.socket")
    assert http["FileDescriptorName"] == ["http"]
    assert http["ListenStream"] == ["127.0.0.1:8400"]
    assert unix["FileDescriptorName"] == ["unix"]
    assert unix["ListenStream"] == ["/run/llmproxyd/llmproxyd.sock"]
    assert (unix["SocketMode"], unix["SocketGroup"]) == (["0660"], ["llmproxyd"])


def test_the_reload_command_runs_as_a_user_who_may_connect() -> None:
    service, unix = _directives("llmproxyd.service"), _directives("llmproxyd-unix.socket")
    assert service["ExecReload"] == ["/usr/bin/llmproxyd reload --wait --timeout 20"]
    assert service["User"] == unix["SocketUser"]
    assert "AF_UNIX" in service["RestrictAddressFamilies"][0]
    assert int(service["TimeoutStartSec"][0]) > 20


def test_stopping_the_service_leaves_the_directory_of_the_socket_alone() -> None:
    assert "RuntimeDirectory" not in _directives("llmproxyd.service")
    assert re.search(
        r"^d /run/llmproxyd +0755 root root", (UNITS / "llmproxyd.tmpfiles").read_text(), re.MULTILINE
    )


def test_the_user_is_one_that_sysusers_makes(tmp_path: Path) -> None:
    done = _run(
        program("systemd-sysusers", "systemd"),
        "--dry-run",
        f"--root={tmp_path}",
        str(UNITS / "llmproxyd.sysusers"),
    )
    assert done.returncode == 0, done.stderr
    assert "llmproxyd" in done.stdout + done.stderr


def test_the_directories_are_made_with_the_rights_they_need(tmp_path: Path) -> None:
    """Really made, below another root, with users that root knows."""
    tool = program("systemd-tmpfiles", "systemd")
    if os.getuid() != 0:
        pytest.skip("only root can give directories to others")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nllmproxyd:x:990:991::/:/bin/false\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nllmproxyd:x:991:\n")
    done = _run(tool, "--create", f"--root={tmp_path}", str(UNITS / "llmproxyd.tmpfiles"))
    assert (done.returncode, done.stderr) == (0, "")
    made = {
        path: (oct((tmp_path / path).stat().st_mode & 0o777), (tmp_path / path).stat().st_gid)
        for path in ("run/llmproxyd", "etc/llmproxyd", "etc/llmproxyd/credentials")
    }
    assert made == {
        "run/llmproxyd": ("0o755", 0),
        "etc/llmproxyd": ("0o750", 991),
        "etc/llmproxyd/credentials": ("0o750", 991),
    }
