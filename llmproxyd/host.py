"""What the process owes its host: no core that holds requests; to systemd notifications, the watchdog's rhythm, and the
sockets that were opened for it.

Without systemd what is for it does nothing. Follows sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3).
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import resource
import socket
import time
from collections.abc import Mapping, MutableMapping

FIRST_FD = 3
FDS_MAX = 64
STATUS_MAX = 400
_SEND_TIMEOUT_S = 1.0
_LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_log = logging.getLogger(__name__)


def leave_no_core() -> None:
    """A core holds the texts of the requests in hand. The hard limit stays, for who wants one all the same (prlimit)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def sd_notify(message: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send ``KEY=value`` lines to whoever started us.

    False without ``NOTIFY_SOCKET``, or when it could not be sent within a second (which is logged): a host that does
    not listen must not stop us from serving.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.settimeout(_SEND_TIMEOUT_S)
        try:
            out.sendto(message.encode(), address)
        except OSError as error:
            _log.warning("systemd could not be notified: %s", error)
            return False
    return True


def ready(status_line: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Started, or done with a reload, a refused one included: systemd waits for this word either way."""
    return sd_notify(f"READY=1\nSTATUS={_one_line(status_line)}", environ)


def reloading(environ: Mapping[str, str] = os.environ) -> bool:
    """A reload begins; ``ready`` must follow whatever comes of it."""
    now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
    return sd_notify(f"RELOADING=1\nMONOTONIC_USEC={now_us}", environ)


def stopping(status_line: str = "stopping", environ: Mapping[str, str] = os.environ) -> bool:
    return sd_notify(f"STOPPING=1\nSTATUS={_one_line(status_line)}", environ)


def status(status_line: str, environ: Mapping[str, str] = os.environ) -> bool:
    return sd_notify(f"STATUS={_one_line(status_line)}", environ)


def watchdog(environ: Mapping[str, str] = os.environ) -> bool:
    """A sign of life; send it from the event loop, so that a loop that hangs is noticed."""
    return sd_notify("WATCHDOG=1", environ)


def extend_timeout(seconds: float, environ: Mapping[str, str] = os.environ) -> bool:
    """Ask for this much more time to start or to stop, counted from now."""
    return sd_notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", environ)


def watchdog_interval_s(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """How often to call ``watchdog``: half of what systemd allows; None if it does not watch this process."""
    if environ.get("WATCHDOG_PID", str(pid or os.getpid())) != str(pid or os.getpid()):
        return None
    allowed_us = _count(environ.get("WATCHDOG_USEC", ""))
    return allowed_us / 2_000_000 if allowed_us else None


def listen_fds(
    environ: MutableMapping[str, str] = os.environ, pid: int | None = None
) -> list[tuple[str, int]]:
    """Sockets that systemd opened for us: (name, descriptor), in its order; a name may be ``unknown`` or repeat.

    The variables are removed from ``environ`` and the descriptors closed to children, so that no child takes the
    sockets for its own. Empty if they were meant for another process. Raises OSError if one of them is not open.
    """
    owner, count, names = (environ.get(variable, "") for variable in _LISTEN_VARIABLES[:3])
    for variable in _LISTEN_VARIABLES:
        environ.pop(variable, None)
    if owner != str(pid or os.getpid()):
        return []
    fds = range(FIRST_FD, FIRST_FD + min(_count(count), FDS_MAX))
    for fd in fds:
        _close_to_children(fd)
    given = names.split(":") if names else []
    return [(given[at] if at < len(given) and given[at] else "unknown", fd) for at, fd in enumerate(fds)]


def _close_to_children(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.fcntl(fd, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)
    except OSError as error:
        raise OSError(
            error.errno, f"LISTEN_FDS promises a socket that is not open (descriptor {fd})"
        ) from None


def _count(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) else 0


def _one_line(text: str) -> str:
    """A line break would begin another assignment."""
    return "".join(char if char.isprintable() else " " for char in text)[:STATUS_MAX]
