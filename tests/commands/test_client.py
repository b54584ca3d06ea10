"""Asking the daemon: where it is looked for, and what happens when it does not answer as it should."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from llmproxyd.commands.client import MAX_REPLY_BYTES, addresses, ask
from llmproxyd.commands.console import CannotGoOn
from llmproxyd.exits import Exit
from llmproxyd.settings import SYSTEM_SOCKET, Settings, Unix, load_settings
from tests.commands.daemon_double import DaemonDouble, serve

PATH = "/admin/v1/thing"
FINE = {("GET", PATH): (200, {"fine": True})}


def settings_of(environ: dict[str, str], *listen: str) -> Settings:
    return load_settings({"listen": listen}, environ, tty=False)


def refusal(environ: dict[str, str], *listen: str, timeout_s: float = 10.0) -> CannotGoOn:
    with pytest.raises(CannotGoOn) as stop:
        ask(settings_of(environ, *listen), environ, "GET", PATH, timeout_s=timeout_s)
    return stop.value


def test_the_default_socket_is_asked_without_a_token(environ: dict[str, str], socket_path: Path) -> None:
    with serve(DaemonDouble(FINE), socket_path) as daemon:
        reply = ask(settings_of(environ), environ, "GET", PATH)
    assert (reply.status, reply.document) == (200, {"fine": True})
    ((method, path, headers, body),) = daemon.seen
    assert (method, path, body) == ("GET", PATH, None)
    assert "authorization" not in headers


def test_a_document_is_sent_as_json(environ: dict[str, str], socket_path: Path) -> None:
    with serve(DaemonDouble({("POST", PATH): (202, {})}), socket_path) as daemon:
        assert ask(settings_of(environ), environ, "POST", PATH, {"wait": True}).status == 202
    assert daemon.seen[0][3] == {"wait": True}
    assert daemon.seen[0][2]["content-type"] == "application/json"


def test_by_default_only_sockets_are_tried_since_a_token_must_not_reach_strangers(
    environ: dict[str, str],
) -> None:
    found = addresses(settings_of(environ), environ)
    assert all(isinstance(address, Unix) for address in found)
    assert Unix(SYSTEM_SOCKET) in found


def test_given_listeners_are_tried_sockets_first(environ: dict[str, str]) -> None:
    settings = settings_of(environ, "127.0.0.1:1", "unix:/nowhere/x.sock")
    assert list(map(str, addresses(settings, environ))) == ["unix:/nowhere/x.sock", "127.0.0.1:1"]


def test_over_tcp_the_admin_token_is_shown(environ: dict[str, str]) -> None:
    token_file = settings_of(environ).admin_token_file
    token_file.parent.mkdir(parents=True)
    token_file.write_text("t0ken\n", encoding="ascii")
    with serve(DaemonDouble(FINE)) as daemon:
        reply = ask(settings_of(environ, f"127.0.0.1:{daemon.port}"), environ, "GET", PATH)
    assert reply.document == {"fine": True}
    assert daemon.seen[0][2]["authorization"] == "Bearer t0ken"


def test_over_tcp_without_a_readable_token_the_way_out_is_told(environ: dict[str, str]) -> None:
    with serve(DaemonDouble(FINE)) as daemon:
        said = refusal(environ, f"127.0.0.1:{daemon.port}")
    assert said.status is Exit.UNAVAILABLE
    assert "admin-token: No such file or directory. Use the daemon's own --state-dir" in str(said)
    assert daemon.seen == []


def test_nobody_there_names_every_place_and_what_to_do(environ: dict[str, str], socket_path: Path) -> None:
    said = refusal(environ)
    assert said.status is Exit.UNAVAILABLE
    assert str(said).startswith(f"no daemon answers at unix:{socket_path}, unix:{SYSTEM_SOCKET}, unix:")
    assert "start it with `llmproxyd run`" in str(said)


def test_a_socket_that_nobody_serves_any_more_is_nobody_there(
    environ: dict[str, str], socket_path: Path
) -> None:
    socket_path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(socket_path))
    assert refusal(environ).status is Exit.UNAVAILABLE


def test_a_daemon_that_says_nothing_is_given_up_in_time(environ: dict[str, str], socket_path: Path) -> None:
    with serve(DaemonDouble({}, silent=threading.Event()), socket_path):
        said = refusal(environ, timeout_s=0.05)
    assert said.status is Exit.TIMED_OUT
    assert str(said) == f"the daemon at unix:{socket_path} did not answer in time"


def test_a_connection_that_breaks_off_is_told(environ: dict[str, str], socket_path: Path) -> None:
    socket_path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen(1)

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(65_536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        said = refusal(environ)
        thread.join()
    assert said.status is Exit.UNAVAILABLE
    assert "broke off" in str(said)


@pytest.mark.parametrize("answer", [b"<html>", b"[1]", b"", b"\xff", b"[" * 100_000])
def test_something_else_on_the_socket_is_not_mistaken_for_us(
    answer: bytes, environ: dict[str, str], socket_path: Path
) -> None:
    with serve(DaemonDouble({("GET", PATH): (200, answer)}), socket_path):
        said = refusal(environ)
    assert (said.status, str(said)) == (
        Exit.UNAVAILABLE,
        f"what answers at unix:{socket_path} is not llmproxyd (status 200)",
    )


def test_an_endless_answer_is_not_read_to_its_end(environ: dict[str, str], socket_path: Path) -> None:
    with serve(DaemonDouble({("GET", PATH): (200, b" " * (MAX_REPLY_BYTES + 1))}), socket_path):
        assert "longer than" in str(refusal(environ))


@pytest.mark.parametrize("status", [401, 403])
def test_being_turned_away_is_told_as_such(status: int, environ: dict[str, str], socket_path: Path) -> None:
    with serve(DaemonDouble({("GET", PATH): (status, {"error": {}})}), socket_path):
        said = refusal(environ)
    assert said.status is Exit.UNAVAILABLE
    assert "lets its owner and root in" in str(said)
