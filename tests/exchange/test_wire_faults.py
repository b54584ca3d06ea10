"""Faults below HTTP, at real sockets: certificates, handshakes, name servers, addresses that lead nowhere."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from llmproxyd.exchange.upstream import AttemptFailed, Upstream
from llmproxyd.exchange.wire_faults import unreachable
from llmproxyd.values.clearance import grant
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Deployment, Timeouts
from tests.exchange.build import deployment_at, post, provider_at
from tests.exchange.certificates import DAY, Authority
from tests.support.fake_provider import FakeProvider, answer

NAME = "api.provider.example"
BRIEF = Timeouts(connect_s=0.2)


class Addresses(AbstractResolver):
    """A name server that knows one name. ``says``: (family, address), or the error; ``silent``: it says nothing."""

    def __init__(self, *says: tuple[socket.AddressFamily, str]) -> None:
        self.says = says
        self.error: OSError | None = None
        self.silent = False
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return [
            ResolveResult(hostname=host, host=one, port=port, family=kind, proto=0, flags=0)
            for kind, one in self.says
        ]

    async def close(self) -> None:
        return


@asynccontextmanager
async def calling(**how: Any) -> AsyncIterator[Upstream]:
    upstream = Upstream(**how)
    try:
        yield upstream
    finally:
        await upstream.close()


async def ask(upstream: Upstream, deployment: Deployment) -> bytes:
    reply = await upstream.send(post(deployment.provider), deployment, grant(deployment, 1))
    try:
        return await reply.read_all(1 << 16)
    finally:
        reply.close()


async def failure_of(upstream: Upstream, deployment: Deployment) -> Failure:
    with pytest.raises(AttemptFailed) as raised:
        await ask(upstream, deployment)
    return raised.value.failure


async def _say_fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine")
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[str]:
    """Its base URL."""
    server = await asyncio.start_server(_say_fine, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class TestCertificates:
    async def test_a_good_one_is_accepted(self, authority: Authority) -> None:
        async with tls_server(authority.server()) as url, calling(tls=authority.trust()) as upstream:
            assert await ask(upstream, deployment_at(url)) == b"fine"

    @pytest.mark.parametrize(
        ("host", "begins", "ends", "code", "detail"),
        [
            (
                "localhost",
                -2 * DAY,
                -DAY,
                "certificate_expired",
                "certificate expired: the provider must renew",
            ),
            ("localhost", DAY, 2 * DAY, "certificate_not_yet_valid", "check this machine's clock"),
            ("other.example", -DAY, DAY, "certificate_wrong_name", "check the host"),
        ],
    )
    async def test_a_bad_one_is_refused_in_words(
        self, authority: Authority, host: str, begins: timedelta, ends: timedelta, code: str, detail: str
    ) -> None:
        shown = authority.server(host, begins=begins, ends=ends)
        async with tls_server(shown) as url, calling(tls=authority.trust()) as upstream:
            failure = await failure_of(upstream, deployment_at(url))
        assert (failure.kind, failure.code) == (FailureKind.UNREACHABLE, code)
        assert detail in failure.detail
        assert failure.consequence.fallback
        assert not failure.retryable, "it does not mend within seconds"
        assert "localhost" not in failure.message

    async def test_one_of_an_unknown_authority_says_how_to_make_it_known(
        self, authority: Authority, tmp_path: Path
    ) -> None:
        stranger = Authority(tmp_path, "Somebody Else")
        async with tls_server(stranger.server()) as url, calling(tls=authority.trust()) as upstream:
            failure = await failure_of(upstream, deployment_at(url))
        assert failure.code == "certificate_untrusted"
        assert "SSL_CERT_FILE" in failure.detail


class TestHandshakes:
    async def test_one_that_stalls_ends_with_the_connect_timeout(self, authority: Authority) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
            url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
            async with calling(tls=authority.trust()) as upstream:
                began_s = time.monotonic()
                failure = await failure_of(upstream, deployment_at(url, timeouts=BRIEF))
        assert (failure.kind, failure.code) == (FailureKind.TIMEOUT, "connect_timeout")
        assert time.monotonic() - began_s < 5 * BRIEF.connect_s

    async def test_all_addresses_together_have_one_connect_timeout(self, authority: Authority) -> None:
        with socket.create_server(("0.0.0.0", 0)) as silent:
            url = f"https://{NAME}:{silent.getsockname()[1]}/v1"
            many = Addresses(*((socket.AF_INET, f"127.0.0.{last}") for last in range(1, 21)))
            async with calling(tls=authority.trust(), lookup=many) as upstream:
                began_s = time.monotonic()
                failure = await failure_of(upstream, deployment_at(url, timeouts=BRIEF))
        assert failure.code == "connect_timeout"
        assert time.monotonic() - began_s < 5 * BRIEF.connect_s, "not once for each of the twenty"

    @pytest.mark.parametrize(
        ("says", "detail"),
        [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "no TLS: "), (b"", "ClientConnectorError: Connection")],
    )
    async def test_a_server_that_does_not_speak_tls_is_told_as_such(
        self, authority: Authority, says: bytes, detail: str
    ) -> None:
        async def puzzled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1 << 16)
            writer.write(says)
            writer.close()

        async with await asyncio.start_server(puzzled, "127.0.0.1", 0) as server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            async with calling(tls=authority.trust()) as upstream:
                failure = await failure_of(upstream, deployment_at(url))
        assert failure.kind is FailureKind.UNREACHABLE
        assert failure.detail.startswith(detail)


class TestNames:
    async def test_the_last_good_address_serves_while_the_name_servers_are_away(
        self, first: FakeProvider
    ) -> None:
        first.manner = answer(body=b"fine", connection="close")
        names = Addresses((socket.AF_INET, "127.0.0.1"))
        async with calling(lookup=names) as upstream:
            deployment = deployment_at(f"http://{NAME}:{first.port}/v1")
            await ask(upstream, deployment)
            names.error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            _forget_when(upstream)
            assert await ask(upstream, deployment) == b"fine"
        assert names.asked == 2

    async def test_one_that_never_resolved_fails_with_the_reason(self) -> None:
        names = Addresses()
        names.error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        async with calling(lookup=names) as upstream:
            failure = await failure_of(upstream, deployment_at(f"http://{NAME}/v1"))
        assert failure.kind is FailureKind.UNREACHABLE
        assert failure.detail == "name resolution failed: Temporary failure in name resolution"
        assert NAME not in failure.message

    async def test_a_look_up_that_hangs_ends_within_the_connect_timeout(self) -> None:
        names = Addresses()
        names.silent = True
        async with calling(lookup=names) as upstream:
            began_s = time.monotonic()
            failure = await failure_of(upstream, deployment_at(f"http://{NAME}/v1", timeouts=BRIEF))
        assert failure.kind is FailureKind.UNREACHABLE
        assert "no name server answered within" in failure.detail
        assert time.monotonic() - began_s < 5 * BRIEF.connect_s

    async def test_a_server_that_has_moved_is_found_again(self, first: FakeProvider) -> None:
        """What the name stood for refuses: the next attempt asks anew, long before the address is old."""
        first.manner = answer(body=b"fine")
        names = Addresses((socket.AF_INET, "127.0.0.77"))
        async with calling(lookup=names) as upstream:
            deployment = deployment_at(f"http://{NAME}:{first.port}/v1")
            assert (await failure_of(upstream, deployment)).kind is FailureKind.UNREACHABLE
            _forget_when(upstream)
            names.says = ((socket.AF_INET, "127.0.0.1"),)
            assert await ask(upstream, deployment) == b"fine"


def _forget_when(upstream: Upstream) -> None:
    """As if what the upstream knows of names were half a minute old."""
    assert upstream._names is not None
    for entry in upstream._names._entries.values():
        entry.looked_up_s -= 31.0
        entry.fresh_until_s -= 31.0


class TestAddresses:
    async def test_an_ipv6_address_that_swallows_everything_costs_a_quarter_of_a_second(
        self, first: FakeProvider
    ) -> None:
        first.manner = answer(body=b"fine")
        names = Addresses((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
        with black_hole("::1", first.port):
            async with calling(lookup=names) as upstream:
                began_s = time.monotonic()
                assert await ask(upstream, deployment_at(f"http://{NAME}:{first.port}/v1")) == b"fine"
                took_s = time.monotonic() - began_s
        assert 0.2 < took_s < 0.5


@contextmanager
def black_hole(host: str, port: int) -> Iterator[None]:
    """Connections there are neither accepted nor refused."""
    with socket.create_server((host, port), family=socket.AF_INET6, backlog=0):
        fillers = [socket.socket(socket.AF_INET6) for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((host, port))
        try:
            yield
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_what_we_ran_out_of_is_not_held_against_the_provider(number: int) -> None:
    wrapped = aiohttp.ClientConnectorError(None, OSError(number, os.strerror(number)))  # type: ignore[arg-type]
    failure = unreachable(wrapped, provider_at("http://127.0.0.1:1/v1"))
    assert (failure.kind, failure.code) == (FailureKind.SATURATED, "out_of_descriptors")
    assert not failure.consequence.unhealthy
    assert failure.consequence.fallback
