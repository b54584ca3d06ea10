"""A network namespace of one's own: a resolver's file, a name server, an address that is not ours, and the kernel's count of
what goes there."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import subprocess
from pathlib import Path
from typing import cast

from tests.support.fake_provider import FakeProvider

EXTERNAL, NAME, NAME_SERVER = "203.0.113.10", "llm.external.test", "127.0.0.53"

_ALL_PROTOCOLS = 3
_SO_ATTACH_FILTER = 26
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SILENT = ("0A", "06")  # LISTEN, TIME_WAIT
_LOOPBACK_NET = 0x7F000000
# Classic BPF over an IPv4 header: dropped if both ends are 127.0.0.0/8, else kept. (code, true, false, operand)
_NOT_LOOPBACK = (
    (0x20, 0, 0, 12),  # the source
    (0x54, 0, 0, 0xFF000000),
    (0x15, 0, 3, _LOOPBACK_NET),
    (0x20, 0, 0, 16),  # the destination
    (0x54, 0, 0, 0xFF000000),
    (0x15, 1, 0, _LOOPBACK_NET),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


def furnish(directory: Path) -> None:
    """Loopback, the external address, a way to every other one, and a resolver's file that names our name server.

    Whatever is sent anywhere goes over ``lo``, where it is counted.
    """
    for command in (
        ("link", "set", "lo", "up"),
        ("addr", "add", f"{EXTERNAL}/32", "dev", "lo"),
        ("route", "add", "default", "dev", "lo"),
    ):
        subprocess.run(("ip", *command), check=True, timeout=10)
    resolver = directory / "resolv.conf"
    resolver.write_text(f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:2\n")
    subprocess.run(("mount", "--bind", str(resolver), "/etc/resolv.conf"), check=True, timeout=10)


def talking() -> bool:
    """Whether a connection with the external address could still send something."""
    address = socket.inet_aton(EXTERNAL)[::-1].hex().upper()
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(address in local + remote and state not in _SILENT for _, local, remote, state, *_ in lines)


class NameServer(asyncio.DatagramProtocol):
    """Knows one name. ``asked``: the name in every question that came."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._transport: asyncio.DatagramTransport | None = None

    async def listen(self) -> asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(NAME_SERVER, 53))
        return transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        labels, at = [], 12
        while size := data[at]:
            labels.append(data[at + 1 : at + 1 + size].decode())
            at += size + 1
        self.asked.append(".".join(labels))
        wants_ipv4 = struct.unpack_from("!H", data, at + 1)[0] == 1
        known = wants_ipv4 and self.asked[-1] == NAME
        head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, int(known), 0, 0)
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(EXTERNAL) if known else b""
        self._transport.sendto(head + data[12 : at + 5] + record, addr)


class Recorder:
    """The kernel's count of packets that are not from loopback to loopback: nothing has to be read, so nothing is lost to
    a busy reader."""

    def __init__(self) -> None:
        # Without a protocol nothing is counted before the filter is in place.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NOT_LOOPBACK))
        program = struct.pack("HL", len(_NOT_LOOPBACK), ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        self._socket.bind(("lo", _ALL_PROTOCOLS))

    def close(self) -> int:
        """How many there were."""
        counts = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._socket.close()
        packets: int = struct.unpack("II", counts)[0]  # those that found no room in the queue included
        return packets


class Outside(FakeProvider):
    """A provider at the external address."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, EXTERNAL, self._port, backlog=64)
        self._port = self._server.sockets[0].getsockname()[1]
