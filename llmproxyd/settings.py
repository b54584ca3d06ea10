"""Process settings: flags and ``LLMPROXYD_*`` variables -> one frozen value.

A flag wins over its variable, the variable over the default. What providers and rules are stands in the two YAML
files, never here; what is here changes only with a restart. Quick to import: every command reads this first.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from llmproxyd.config.units import parse_duration_s, parse_size_bytes
from llmproxyd.exits import Exit

PREFIX = "LLMPROXYD_"
DEFAULT_PORT = 8400
SYSTEM_SOCKET = Path("/run/llmproxyd/llmproxyd.sock")
SYSTEM_STATE_DIR = Path("/var/lib/llmproxyd")
MAX_SOCKET_PATH_BYTES = 107  # sun_path of Linux, without its closing zero
LEVELS = ("debug", "info", "warning", "error")


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"


class SettingsError(ValueError):
    """A flag or a variable has a value that cannot be used; the message names it and says what is expected."""


class Tcp(msgspec.Struct, frozen=True):
    """``host`` is an address or a name without brackets; port 0 asks the kernel for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect. A name other than localhost counts as reachable from outside."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Unix(msgspec.Struct, frozen=True):
    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


Listen: TypeAlias = Tcp | Unix


class Settings(msgspec.Struct, frozen=True):
    """What the process was told.

    ``config_dir`` None: nobody said, so the usual places are searched. ``listen_given`` False: ``listen`` holds the
    defaults. ``unknown``: variables with our prefix that mean nothing, for a warning.
    """

    config_dir: Path | None
    listen: tuple[Listen, ...]
    state_dir: Path
    log_format: LogFormat = LogFormat.JSON
    log_level: str = "info"
    metrics_open: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 64 * 1024 * 1024
    drain_s: float = 30.0
    listen_given: bool = False
    unknown: tuple[str, ...] = ()

    @property
    def admin_token_file(self) -> Path:
        """Where the daemon keeps the token that opens the admin door over TCP (mode 0600)."""
        return self.state_dir / "admin-token"


def parse_listen(text: str) -> Listen:
    """``HOST:PORT``, ``[::1]:8400`` or ``unix:/PATH``. Raises ValueError."""
    if text.startswith("unix:"):
        return Unix(_socket_path(text.removeprefix("unix:")))
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(
            f"expected HOST:PORT or unix:/PATH, such as 127.0.0.1:{text.strip(':') or DEFAULT_PORT}"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("put an IPv6 address into brackets, such as [::1]:8400")
    if not host or not re.fullmatch(r"[A-Za-z0-9.:%_-]+", host):
        raise ValueError(f"{host!r} is neither an address nor a host name")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(f"{port!r} is not a port; expected a number from 0 to 65535")
    return Tcp(host, int(port))


def _socket_path(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError(
            "the path of a Unix socket must be absolute, such as unix:/run/llmproxyd/llmproxyd.sock"
        )
    if "\0" in text or len(os.fsencode(text)) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"the path of a Unix socket may have at most {MAX_SOCKET_PATH_BYTES} bytes")
    return Path(text)


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("expected a directory")
    return Path(text).expanduser()


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"expected one of {', '.join(words)}, found {text!r}")
        return text.lower()

    return parse


def _switch(text: str) -> bool:
    word = text.lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(f"expected true or false, found {text!r}")


def _body_bytes(text: str) -> int:
    size = parse_size_bytes(text)
    if not 1024 <= size <= 1 << 30:
        raise ValueError(f"expected a size from 1KiB to 1GiB, such as 64MiB, found {text!r}")
    return size


def _drain_s(text: str) -> float:
    seconds = parse_duration_s(text)
    if seconds > 3600:
        raise ValueError(f"expected a duration from 0s to 1h, such as 30s, found {text!r}")
    return seconds


def _host_name(text: str) -> str:
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", text):
        raise ValueError(f"expected a host name, with or without a port, found {text!r}")
    return text.lower()


def _origin(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", text):
        raise ValueError(f"expected scheme://host[:port] without a path, found {text!r}")
    return text.lower()


class Setting(msgspec.Struct, frozen=True):
    """One row: its flag, its variable, how its text is read. ``many``: may be given several times; a variable then
    separates its values by commas. ``metavar`` empty: a switch."""

    name: str
    flag: str
    metavar: str
    parse: Callable[[str], Any]
    help: str
    many: bool = False

    @property
    def variable(self) -> str:
        return PREFIX + self.flag.removeprefix("--").replace("-", "_").upper()


SETTINGS: tuple[Setting, ...] = (
    Setting("config_dir", "--config-dir", "DIR", _path, "where providers.yaml and routing.yaml are"),
    Setting(
        "listen", "--listen", "ADDR", parse_listen, "HOST:PORT or unix:/PATH; may be repeated", many=True
    ),
    Setting("state_dir", "--state-dir", "DIR", _path, "where the daemon keeps what must last"),
    Setting("log_format", "--log-format", "FORMAT", _one_of(*LogFormat), "json or console"),
    Setting("log_level", "--log-level", "LEVEL", _one_of(*LEVELS), ", ".join(LEVELS)),
    Setting("metrics_open", "--metrics-open", "", _switch, "serve /metrics to callers without admin rights"),
    Setting(
        "allowed_hosts",
        "--allow-host",
        "NAME",
        _host_name,
        "Host header to accept besides loopback",
        many=True,
    ),
    Setting("allowed_origins", "--allow-origin", "ORIGIN", _origin, "web origin that may call", many=True),
    Setting("max_body_bytes", "--max-body", "SIZE", _body_bytes, "largest request body (64MiB)"),
    Setting("drain_s", "--drain", "TIME", _drain_s, "how long open requests may take at shutdown (30s)"),
)


def load_settings(
    flags: Mapping[str, Sequence[str]],
    environ: Mapping[str, str],
    *,
    tty: bool,
    uid: int | None = None,
) -> Settings:
    """Merge flags, variables and defaults.

    flags: setting name -> its texts as given, in order; absent or empty where the flag was not used.
    tty: whether diagnostics go to a terminal. uid: the user, by default this process's.
    Raises SettingsError naming the flag or variable.
    """
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        given = _given(setting, flags, environ)
        if given is not None:
            values[setting.name] = given
    state_dir = values.setdefault("state_dir", default_state_dir(environ))
    values["listen_given"] = "listen" in values
    if not values["listen_given"]:
        values["listen"] = default_listen(environ, state_dir, os.geteuid() if uid is None else uid)
    values["log_format"] = LogFormat(values.get("log_format", LogFormat.CONSOLE if tty else LogFormat.JSON))
    values.setdefault("config_dir", None)
    return Settings(**values, unknown=_unknown(environ))


def _given(setting: Setting, flags: Mapping[str, Sequence[str]], environ: Mapping[str, str]) -> Any:
    """The parsed value of a setting, or None where neither its flag nor its variable says anything."""
    texts, source = list(flags.get(setting.name, ())), setting.flag
    if not texts:
        source, text = setting.variable, environ.get(setting.variable, "").strip()
        if not text:
            return None
        texts = [part.strip() for part in text.split(",") if part.strip()] if setting.many else [text]
    try:
        parsed = [setting.parse(text) for text in texts]
    except ValueError as error:
        raise SettingsError(f"{source}: {error}") from None
    return tuple(dict.fromkeys(parsed)) if setting.many else parsed[-1]


def _unknown(environ: Mapping[str, str]) -> tuple[str, ...]:
    known = {setting.variable for setting in SETTINGS}
    return tuple(sorted(name for name in environ if name.startswith(PREFIX) and name not in known))


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """systemd's directory, else XDG's, else the one XDG falls back to; without a home, the system's."""
    managed = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if managed:
        return Path(managed)
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):  # the XDG specification has relative paths ignored
        return Path(base) / "llmproxyd"
    home = environ.get("HOME", "")
    return Path(home) / ".local/state/llmproxyd" if home.startswith("/") else SYSTEM_STATE_DIR


def default_sockets(environ: Mapping[str, str], state_dir: Path) -> tuple[Path, ...]:
    """Where a daemon that was not told otherwise may have its socket, the most private place first."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    own = (Path(runtime) / "llmproxyd/llmproxyd.sock",) if runtime.startswith("/") else ()
    return (*own, SYSTEM_SOCKET, state_dir.absolute() / "llmproxyd.sock")


def default_listen(environ: Mapping[str, str], state_dir: Path, uid: int) -> tuple[Listen, ...]:
    """127.0.0.1:8400 and the first of the usual sockets that this user can make. Raises SettingsError."""
    for path in default_sockets(environ, state_dir):
        if path != SYSTEM_SOCKET or uid == 0 or os.access(path.parent, os.W_OK):
            break
    try:
        return (Tcp("127.0.0.1", DEFAULT_PORT), Unix(_socket_path(str(path))))
    except ValueError as error:
        raise SettingsError(f"{path}: {error}; choose another with --listen unix:/PATH") from None


def check_listeners(listen: Sequence[Listen], *, keys_declared: bool = False) -> None:
    """Refuse to serve strangers: whoever is not on this machine has to show a key, so there must be one.

    keys_declared: whether the configuration has a tenant. Raises SystemExit(78) after saying why on stderr.
    """
    open_ones = [str(address) for address in listen if isinstance(address, Tcp) and not address.loopback]
    if keys_declared or not open_ones:
        return
    sys.stderr.write(
        f"llmproxyd: refusing to listen on {', '.join(open_ones)}: anyone who can reach that address could spend "
        "your provider keys, because routing.yaml declares no client keys.\n"
        '  Declare one: `tenants: {NAME: {keys: ["sha256:..."]}}`, with the 64 digits that '
        "`printf %s KEY | sha256sum` prints.\n"
        "  Or listen on 127.0.0.1, [::1] or unix:/PATH, and let a reverse proxy that authenticates callers "
        "stand in front.\n"
    )
    raise SystemExit(Exit.CONFIG)
