"""What the host hears, on a real datagram socket, and what it hands over, on real descriptors."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd import host


class Host:
    """Plays systemd's side of the notification socket."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(5)
        self._socket.bind(address.replace("@", "\0", 1))

    def heard(self) -> list[str]:
        return self._socket.recv(65536).decode().split("\n")

    def heard_nothing(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(65536)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def notified(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    end = Host(str(tmp_path / "n") if request.param == "path" else f"@llmproxyd-test-{os.getpid()}")
    yield end
    end.close()


def test_start_reload_and_stop_are_told_in_order(notified: Host) -> None:
    environ = notified.environ
    assert host.ready("gen 1 ok", environ)
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
    assert host.reloading(environ)
    after_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
    assert host.ready("gen 1 kept: routing.yaml:11:18 LP201 unknown provider", environ)
    assert host.watchdog(environ)
    assert host.status("draining, 3 requests left", environ)
    assert host.extend_timeout(2.5, environ)
    assert host.stopping(environ=environ)

    assert notified.heard() == ["READY=1", "STATUS=gen 1 ok"]
    reloading, moment = notified.heard()
    assert reloading == "RELOADING=1"
    assert before_us <= int(moment.removeprefix("MONOTONIC_USEC=")) <= after_us
    assert notified.heard() == ["READY=1", "STATUS=gen 1 kept: routing.yaml:11:18 LP201 unknown provider"]
    assert notified.heard() == ["WATCHDOG=1"]
    assert notified.heard() == ["STATUS=draining, 3 requests left"]
    assert notified.heard() == ["EXTEND_TIMEOUT_USEC=2500000"]
    assert notified.heard() == ["STOPPING=1", "STATUS=stopping"]
    assert notified.heard_nothing()


@given(st.text())
def test_no_status_can_smuggle_in_another_assignment(text: str) -> None:
    line = host._one_line(f"gen 1 kept: {text}\nMAINPID=1")
    assert len(line.splitlines()) == 1
    assert len(line) <= host.STATUS_MAX


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_host_nothing_is_sent(environ: dict[str, str]) -> None:
    assert not host.ready("gen 1 ok", environ)


def test_a_host_that_is_gone_is_logged_and_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not host.ready("gen 1 ok", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert "systemd could not be notified" in caplog.text


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "20000000"}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "42"}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    environ: dict[str, str], expected: float | None
) -> None:
    assert host.watchdog_interval_s(environ, pid=42) == expected


@pytest.mark.parametrize(
    "environ",
    [
        {"LISTEN_FDS": "2", "LISTEN_PID": "43", "LISTEN_FDNAMES": "http:unix"},
        {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:unix"},
        {"LISTEN_FDS": "", "LISTEN_PID": "42"},
        {},
    ],
)
def test_sockets_meant_for_another_process_are_ignored_and_the_variables_go(environ: dict[str, str]) -> None:
    environ["PATH"] = "/usr/bin"
    assert host.listen_fds(environ, pid=42) == []
    assert environ == {"PATH": "/usr/bin"}


RECEIVER = """
    import fcntl, json, os, socket, subprocess, sys
    from llmproxyd import host
    os.environ["LISTEN_PID"] = str(os.getpid())
    given = host.listen_fds()
    child = subprocess.run(
        [sys.executable, "-c", "import json, os; print(json.dumps(sorted(v for v in os.environ if 'LISTEN' in v)))"],
        capture_output=True, text=True, check=True,
    )
    print(json.dumps({
        "given": given,
        "again": host.listen_fds(),
        "closed_on_exec": [bool(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC) for _, fd in given],
        "families": [socket.socket(fileno=fd).family.name for _, fd in given],
        "child": json.loads(child.stdout),
    }))
"""


def _handing_over(*sockets: socket.socket) -> Callable[[], None]:
    def place() -> None:
        for at, one in enumerate(sockets):
            os.dup2(one.fileno(), host.FIRST_FD + at)

    return place


def _receive(
    names: str | None, *sockets: socket.socket, fds: int | None = None
) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "LISTEN_FDS": str(len(sockets) if fds is None else fds)}
    if names is not None:
        environ["LISTEN_FDNAMES"] = names
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RECEIVER)],
        env=environ,
        preexec_fn=_handing_over(*sockets),
        close_fds=False,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def two_sockets(tmp_path: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket(socket.AF_INET) as http, socket.socket(socket.AF_UNIX) as unix:
        http.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "u.sock"))
        # Out of the way of the numbers they will be given.
        moved = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 100) for one in (http, unix)]
        with socket.socket(fileno=moved[0]) as high_http, socket.socket(fileno=moved[1]) as high_unix:
            yield high_http, high_unix


def test_sockets_are_taken_over_by_name(two_sockets: tuple[socket.socket, socket.socket]) -> None:
    done = _receive("http:unix", *two_sockets)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "given": [["http", 3], ["unix", 4]],
        "again": [],
        "closed_on_exec": [True, True],
        "families": ["AF_INET", "AF_UNIX"],
        "child": [],
    }


@pytest.mark.parametrize(
    ("names", "expected"), [(None, ["unknown", "unknown"]), ("http", ["http", "unknown"])]
)
def test_sockets_without_a_name_are_called_unknown(
    two_sockets: tuple[socket.socket, socket.socket], names: str | None, expected: list[str]
) -> None:
    done = _receive(names, *two_sockets)
    assert done.returncode == 0, done.stderr
    assert [name for name, _ in json.loads(done.stdout)["given"]] == expected


def test_a_socket_that_was_promised_and_is_not_there_is_an_error_that_says_so(
    two_sockets: tuple[socket.socket, socket.socket],
) -> None:
    done = _receive("http:unix", *two_sockets, fds=60)
    assert done.returncode == 1
    assert "LISTEN_FDS promises a socket that is not open (descriptor " in done.stderr


def test_no_core_is_left_behind() -> None:
    script = (
        "import os, resource, signal\n"
        "from llmproxyd.host import leave_no_core\n"
        "before = resource.getrlimit(resource.RLIMIT_CORE)\n"
        "leave_no_core()\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, before[1])\n"
        "os.kill(os.getpid(), signal.SIGQUIT)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == -signal.SIGQUIT, done.stderr
