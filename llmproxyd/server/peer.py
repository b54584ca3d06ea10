"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct

import msgspec
from aiohttp import web

_UCRED = struct.Struct("3i")


class Peer(msgspec.Struct, frozen=True):
    pid: int
    uid: int
    gid: int


def is_local(http: web.BaseRequest) -> bool:
    """Whether the request came over a Unix socket. A TCP peer has an address, a Unix peer an empty name."""
    transport = http.transport
    return transport is not None and not transport.get_extra_info("peername")


def peer_of(http: web.BaseRequest) -> Peer | None:
    """The process at the other end, as the kernel says; None over TCP."""
    transport = http.transport
    peer = None if transport is None else transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    return Peer(*_UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


def is_own(http: web.BaseRequest) -> bool:
    """Whether root or the daemon's own user asks, over the Unix socket."""
    peer = peer_of(http)
    return peer is not None and peer.uid in (0, os.getuid())
