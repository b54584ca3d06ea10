"""Process settings: precedence, defaults, and what is refused."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.settings import (
    DEFAULT_PORT,
    SETTINGS,
    SYSTEM_SOCKET,
    LogFormat,
    Settings,
    SettingsError,
    Tcp,
    Unix,
    check_listeners,
    default_sockets,
    load_settings,
    parse_listen,
)

HOME = {"HOME": "/home/ada"}


def load(
    flags: Mapping[str, Sequence[str]] | None = None,
    environ: Mapping[str, str] = HOME,
    *,
    tty: bool = False,
    uid: int = 1000,
) -> Settings:
    return load_settings(flags or {}, environ, tty=tty, uid=uid)


def test_without_flags_and_variables_the_defaults_hold() -> None:
    settings = load()
    assert settings.config_dir is None
    assert settings.state_dir == Path("/home/ada/.local/state/llmproxyd")
    assert settings.listen[0] == Tcp("127.0.0.1", DEFAULT_PORT)
    assert (settings.log_format, settings.log_level) == (LogFormat.JSON, "info")
    assert (settings.metrics_open, settings.allowed_hosts, settings.allowed_origins) == (False, (), ())
    assert (settings.max_body_bytes, settings.drain_s) == (64 << 20, 30.0)
    assert not settings.listen_given
    assert settings.admin_token_file == settings.state_dir / "admin-token"


SAMPLES: dict[str, tuple[str, str]] = {
    "config_dir": ("/etc/one", "/etc/two"),
    "listen": ("127.0.0.1:1", "127.0.0.1:2"),
    "state_dir": ("/var/one", "/var/two"),
    "log_format": ("json", "console"),
    "log_level": ("debug", "error"),
    "metrics_open": ("true", "false"),
    "allowed_hosts": ("one.example", "two.example"),
    "allowed_origins": ("https://one.example", "https://two.example"),
    "max_body_bytes": ("1MiB", "2MiB"),
    "drain_s": ("5s", "2m"),
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_flag_wins_over_its_variable_and_the_variable_over_the_default(setting: object) -> None:
    row = next(s for s in SETTINGS if s is setting)
    by_flag, by_variable = SAMPLES[row.name]
    default = getattr(load(), row.name)
    from_variable = getattr(load(environ={**HOME, row.variable: by_variable}), row.name)
    from_flag = getattr(load({row.name: [by_flag]}, {**HOME, row.variable: by_variable}), row.name)
    assert from_flag != from_variable
    assert default not in (from_flag, from_variable) or default in (False, LogFormat.JSON)


def test_every_variable_is_named_after_its_flag() -> None:
    assert [s.variable for s in SETTINGS] == [
        "LLMPROXYD_CONFIG_DIR",
        "LLMPROXYD_LISTEN",
        "LLMPROXYD_STATE_DIR",
        "LLMPROXYD_LOG_FORMAT",
        "LLMPROXYD_LOG_LEVEL",
        "LLMPROXYD_METRICS_OPEN",
        "LLMPROXYD_ALLOW_HOST",
        "LLMPROXYD_ALLOW_ORIGIN",
        "LLMPROXYD_MAX_BODY",
        "LLMPROXYD_DRAIN",
    ]


def test_logs_are_for_people_on_a_terminal_and_for_machines_elsewhere() -> None:
    assert load(tty=True).log_format is LogFormat.CONSOLE
    assert load(tty=False).log_format is LogFormat.JSON
    assert load({"log_format": ["json"]}, tty=True).log_format is LogFormat.JSON


def test_several_listeners_are_kept_in_order_and_once() -> None:
    flags = {"listen": ["[::1]:9000", "unix:/tmp/x.sock", "[::1]:9000"]}
    assert load(flags).listen == (Tcp("::1", 9000), Unix(Path("/tmp/x.sock")))
    variable = {**HOME, "LLMPROXYD_LISTEN": "localhost:1, unix:/tmp/y.sock"}
    settings = load(environ=variable)
    assert settings.listen == (Tcp("localhost", 1), Unix(Path("/tmp/y.sock")))
    assert settings.listen_given


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("127.0.0.1:8400", Tcp("127.0.0.1", 8400)),
        ("localhost:0", Tcp("localhost", 0)),
        ("[::1]:8400", Tcp("::1", 8400)),
        ("unix:/run/x.sock", Unix(Path("/run/x.sock"))),
    ],
)
def test_a_listener_reads_back_as_it_was_written(text: str, value: object) -> None:
    assert parse_listen(text) == value
    assert str(parse_listen(text)) == text


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_every_address_and_port_survives_writing_and_reading(address: object, port: int) -> None:
    listen = Tcp(str(address), port)
    assert parse_listen(str(listen)) == listen


@given(st.text(max_size=40))
def test_what_is_accepted_as_a_listener_can_be_written_and_read_again(text: str) -> None:
    with contextlib.suppress(ValueError):
        listen = parse_listen(text)
        assert parse_listen(str(listen)) == listen


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"listen": ["8400"]}, "--listen: expected HOST:PORT or unix:/PATH, such as 127.0.0.1:8400"),
        ({"listen": [":8400"]}, "--listen: expected HOST:PORT"),
        ({"listen": ["::1:8400"]}, "--listen: put an IPv6 address into brackets"),
        ({"listen": ["127.0.0.1:http"]}, "--listen: 'http' is not a port"),
        ({"listen": ["127.0.0.1:65536"]}, "'65536' is not a port; expected a number from 0 to 65535"),
        ({"listen": ["unix:run.sock"]}, "must be absolute"),
        ({"listen": ["unix:/" + "x" * 107]}, "at most 107 bytes"),
        ({"listen": ["a b:1"]}, "neither an address nor a host name"),
        ({"log_format": ["xml"]}, "--log-format: expected one of json, console, found 'xml'"),
        ({"log_level": ["loud"]}, "--log-level: expected one of debug, info, warning, error, found 'loud'"),
        ({"max_body_bytes": ["12"]}, "--max-body: expected a size from 1KiB to 1GiB"),
        ({"max_body_bytes": ["64 parsecs"]}, "--max-body: "),
        ({"drain_s": ["soon"]}, "--drain: "),
        ({"drain_s": ["2h"]}, "--drain: expected a duration from 0s to 1h"),
        ({"allowed_hosts": ["http://x/"]}, "--allow-host: expected a host name"),
        ({"allowed_origins": ["x.example"]}, "--allow-origin: expected scheme://host"),
        ({"config_dir": [""]}, "--config-dir: expected a directory"),
    ],
)
def test_a_bad_flag_is_named_with_what_was_expected(flags: dict[str, list[str]], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load(flags)


def test_a_bad_variable_is_named_as_the_variable() -> None:
    with pytest.raises(
        SettingsError, match=r"^LLMPROXYD_METRICS_OPEN: expected true or false, found 'maybe'"
    ):
        load(environ={**HOME, "LLMPROXYD_METRICS_OPEN": "maybe"})


def test_unknown_variables_with_our_prefix_are_reported() -> None:
    environ = {**HOME, "LLMPROXYD_LISTENER": "x", "LLMPROXYD_LISTEN": "localhost:1", "OTHER": "y"}
    assert load(environ=environ).unknown == ("LLMPROXYD_LISTENER",)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/llmproxyd"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/llmproxyd"),
        ({"HOME": "/h"}, "/h/.local/state/llmproxyd"),
        ({}, "/var/lib/llmproxyd"),
    ],
)
def test_state_lives_where_systemd_or_xdg_say(environ: dict[str, str], expected: str) -> None:
    assert load(environ=environ).state_dir == Path(expected)


def test_the_socket_is_in_the_users_runtime_directory_if_there_is_one() -> None:
    settings = load(environ={**HOME, "XDG_RUNTIME_DIR": "/run/user/1000"})
    assert settings.listen[1] == Unix(Path("/run/user/1000/llmproxyd/llmproxyd.sock"))


def test_the_socket_of_root_is_the_systems(tmp_path: Path) -> None:
    assert load(uid=0).listen[1] == Unix(SYSTEM_SOCKET)


def test_the_socket_falls_back_to_the_state_directory(tmp_path: Path) -> None:
    sockets = default_sockets({}, tmp_path)
    assert sockets == (SYSTEM_SOCKET, tmp_path / "llmproxyd.sock")


def test_a_default_socket_whose_path_is_too_long_is_refused_with_a_way_out() -> None:
    deep = "/" + "d" * 120
    with pytest.raises(SettingsError, match="at most 107 bytes; choose another with --listen unix:/PATH"):
        load(environ={**HOME, "XDG_RUNTIME_DIR": deep})


@pytest.mark.parametrize("text", ["0.0.0.0:8400", "[::]:8400", "192.0.2.7:80", "proxy.example:8400"])
def test_listening_beyond_this_machine_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        check_listeners((parse_listen("127.0.0.1:8400"), parse_listen(text)))
    assert stop.value.code == 78
    said = capsys.readouterr().err
    assert f"refusing to listen on {text}:" in said
    assert "declares no client keys" in said
    assert "printf %s KEY | sha256sum" in said
    assert "listen on 127.0.0.1" in said


def test_listening_beyond_this_machine_is_allowed_once_clients_show_keys() -> None:
    check_listeners((parse_listen("0.0.0.0:8400"),), keys_declared=True)


def test_listening_on_loopback_and_sockets_is_allowed() -> None:
    check_listeners(
        [parse_listen(t) for t in ("127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "unix:/x")]
    )


def test_reading_settings_imports_nothing_heavy() -> None:
    script = (
        "import sys, llmproxyd.settings; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'aiohttp', 'yaml', 'jsonschema', 'asyncio'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "[]"
