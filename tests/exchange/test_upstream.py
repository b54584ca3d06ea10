"""The one door to providers: pools that follow the configuration, and a Failure for every way a wire can break."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from llmproxyd.exchange.upstream import AttemptFailed, Reply, Upstream
from llmproxyd.values.clearance import Clearance, NotCleared, constant_call, grant
from llmproxyd.values.contracts import Call
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Deployment, Mock, Timeouts
from tests.exchange.build import deployment_at, post, provider_at, raw, until
from tests.routing.build import snapshot
from tests.support.fake_provider import Exchange as Wire
from tests.support.fake_provider import FakeProvider, Manner, answer, chat_frames, hang, reset, stream
from tests.support.records import replace

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
LIMIT_BYTES = 1 << 20
IDLE_S = 4.0
"""After this a connection to a local server goes by itself."""


async def ask(upstream: Upstream, deployment: Deployment) -> bytes:
    reply = await upstream.send(post(deployment.provider), deployment, grant(deployment, 1))
    try:
        return await reply.read_all(LIMIT_BYTES)
    finally:
        reply.close()


async def failure_of(upstream: Upstream, deployment: Deployment) -> Failure:
    with pytest.raises(AttemptFailed) as raised:
        await ask(upstream, deployment)
    return raised.value.failure


class TestFailures:
    async def test_nobody_listens(self, first: FakeProvider, upstream: Upstream) -> None:
        await first.stop()
        failure = await failure_of(upstream, deployment_at(first))
        assert failure.kind is FailureKind.UNREACHABLE
        assert failure.message == "first cannot be reached"
        assert "refused" in failure.detail
        assert "127.0.0.1" not in failure.message

    async def test_a_name_that_does_not_exist(self, upstream: Upstream) -> None:
        failure = await failure_of(upstream, deployment_at("http://nobody.invalid/v1"))
        assert failure.kind is FailureKind.UNREACHABLE
        assert failure.detail.startswith("name resolution failed")

    async def test_a_connection_that_is_not_accepted_in_time(self, upstream: Upstream) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(deaf.getsockname())
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
            failure = await failure_of(upstream, deployment_at(url, timeouts=Timeouts(connect_s=0.1)))
            for filler in fillers:
                filler.close()
        assert failure.kind is FailureKind.TIMEOUT
        assert failure.code == "connect_timeout"
        assert failure.detail == "no connection within 0.1 s"

    @pytest.mark.parametrize(
        ("manner", "kind"),
        [
            pytest.param(reset, FailureKind.UNREACHABLE, id="reset before the head"),
            pytest.param(raw(b""), FailureKind.UNREACHABLE, id="closed before the head"),
            pytest.param(raw(b"SSH-2.0-OpenSSH\r\n"), FailureKind.BAD_ANSWER, id="no HTTP"),
            pytest.param(
                raw(HEAD + b"content-length: 9\r\n\r\nabc"), FailureKind.BAD_ANSWER, id="shorter than it says"
            ),
            pytest.param(
                raw(HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
                FailureKind.BAD_ANSWER,
                id="no last chunk",
            ),
            pytest.param(
                raw(HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"ZZ\r\n", close=False),
                FailureKind.BAD_ANSWER,
                id="broken chunk",
            ),
            pytest.param(
                raw(HEAD + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\n", b"abcde"),
                FailureKind.BAD_ANSWER,
                id="no gzip",
            ),
        ],
    )
    async def test_a_wire_that_breaks(
        self, first: FakeProvider, upstream: Upstream, manner: Manner, kind: FailureKind
    ) -> None:
        first.manner = manner
        failure = await failure_of(upstream, deployment_at(first))
        assert failure.kind is kind
        assert failure.detail

    async def test_an_answer_that_is_too_long(self, first: FakeProvider, upstream: Upstream) -> None:
        first.manner = stream([b"x" * 65_536] * 20)
        failure = await failure_of(upstream, deployment_at(first))
        assert failure.kind is FailureKind.BAD_ANSWER
        assert failure.detail == f"more than {LIMIT_BYTES} bytes"
        await until(lambda: first.seen[0].gone_s is not None or first.seen[0].done_s is not None)

    async def test_a_header_that_would_break_out(self, first: FakeProvider, upstream: Upstream) -> None:
        deployment = deployment_at(first)
        with pytest.raises(AttemptFailed) as raised:
            await upstream.send(
                post(deployment.provider, authorization="a\r\nb: c"), deployment, grant(deployment, 1)
            )
        assert raised.value.failure.kind is FailureKind.UNREACHABLE
        assert first.connections == 0


class TestReplies:
    async def test_give_status_headers_and_body(self, first: FakeProvider, upstream: Upstream) -> None:
        first.manner = answer(429, b"slow down", "text/plain", retry_after="7")
        deployment = deployment_at(first)
        reply = await upstream.send(post(deployment.provider), deployment, grant(deployment, 1))
        assert reply.status == 429
        assert reply.headers["retry-after"] == "7"
        assert await reply.read_all(100) == b"slow down"
        assert reply.ended
        reply.close()

    async def test_read_to_their_end_leave_the_connection_for_the_next(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = answer(body=b"fine")
        for _ in range(3):
            assert await ask(upstream, deployment_at(first)) == b"fine"
        assert first.connections == 1

    async def test_left_in_the_middle_cut_it(self, first: FakeProvider, upstream: Upstream) -> None:
        first.manner = stream(chat_frames(), stall_after=1)
        deployment = deployment_at(first)
        reply = await upstream.send(post(deployment.provider), deployment, grant(deployment, 1))
        assert await reply.read()
        assert not reply.ended
        reply.close()
        reply.close()
        await until(lambda: first.seen[0].gone_s is not None)


class TestPools:
    async def test_a_reload_that_leaves_a_provider_alone_leaves_its_connections_alone(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = answer(body=b"fine")
        deployment = deployment_at(first)
        await ask(upstream, deployment)
        upstream.reconcile(snapshot(replace(deployment, upstream="other")))
        await ask(upstream, deployment)
        assert first.connections == 1

    async def test_one_that_is_gone_is_closed_at_once_when_idle(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = answer(body=b"fine")
        deployment = deployment_at(first)
        await ask(upstream, deployment)
        upstream.reconcile(snapshot())
        await until(lambda: first.open == 0, IDLE_S / 2)

    async def test_one_that_is_gone_is_closed_when_its_last_user_has_left(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        held = asyncio.Event()

        async def half_then_rest(wire: Wire) -> None:
            await wire.head(200, {"content-length": "4"})
            wire.writer.write(b"ab")
            await held.wait()
            wire.writer.write(b"cd")

        first.manner = half_then_rest
        deployment = deployment_at(first)
        reply = await upstream.send(post(deployment.provider), deployment, grant(deployment, 1))
        upstream.reconcile(snapshot())
        assert await reply.read() == b"ab"
        held.set()
        assert await reply.read_all(100) == b"cd"
        assert first.open == 1
        reply.close()
        await until(lambda: first.open == 0, IDLE_S / 2)

    async def test_one_that_comes_back_while_in_use_is_kept(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = answer(body=b"fine")
        deployment = deployment_at(first)
        reply = await upstream.send(post(deployment.provider), deployment, grant(deployment, 1))
        upstream.reconcile(snapshot())
        upstream.reconcile(snapshot(deployment))
        await reply.read_all(100)
        reply.close()
        await ask(upstream, deployment)
        assert first.connections == 1

    async def test_a_request_older_than_the_reload_leaves_none_behind(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = answer(body=b"fine")
        upstream.reconcile(snapshot())
        assert await ask(upstream, deployment_at(first)) == b"fine"
        await until(lambda: first.open == 0, IDLE_S / 2)

    async def test_closing_closes_everything(self, first: FakeProvider) -> None:
        first.manner = answer(body=b"fine")
        upstream = Upstream()
        await ask(upstream, deployment_at(first))
        await upstream.close()
        await until(lambda: first.open == 0, IDLE_S / 2)


class TestTheGate:
    """Nothing leaves without the decision's own leave: no bytes, no connection, no look-up."""

    async def refused(self, first: FakeProvider, deployment: Deployment, clearance: Clearance | None) -> None:
        looked_up = Unasked()
        upstream = Upstream(lookup=looked_up)
        with pytest.raises(NotCleared):
            await upstream.send(post(deployment.provider), deployment, clearance)
        await upstream.close()
        assert (first.connections, looked_up.asked) == (0, [])

    async def test_without_a_clearance_nothing_is_sent(self, first: FakeProvider) -> None:
        await self.refused(first, deployment_at(first), None)

    async def test_nobody_is_let_in_because_another_was(self, first: FakeProvider) -> None:
        """Each call shows its own leave, also over a connection that stands already."""
        first.manner = answer(body=b"fine")
        deployment, upstream = deployment_at(first), Upstream()
        await ask(upstream, deployment)
        with pytest.raises(NotCleared):
            await upstream.send(post(deployment.provider), deployment, None)
        await upstream.close()
        assert len(first.seen) == 1

    async def test_mock_is_no_exception(self, first: FakeProvider) -> None:
        await self.refused(first, deployment_at("mock://local", preset="mock"), None)

    async def test_a_clearance_is_for_one_deployment(self, first: FakeProvider) -> None:
        other = deployment_at(first, "second")
        await self.refused(first, deployment_at(first), grant(other, 1))

    async def test_a_clearance_does_not_outlive_its_providers(self, first: FakeProvider) -> None:
        before = deployment_at(first, clearance=3)
        await self.refused(first, deployment_at(first, clearance=1), grant(before, 3))

    async def test_no_name_is_looked_up_for_a_provider_that_may_not_see_the_request(
        self, first: FakeProvider
    ) -> None:
        named = deployment_at("http://away.example/v1", clearance=1)
        await self.refused(first, named, grant(deployment_at("http://away.example/v1"), 3))

    async def test_a_probe_asks_its_own_provider_alone(self, first: FakeProvider) -> None:
        provider = provider_at(first.url)
        probe = constant_call(Call("GET", f"{first.url}/models", {}, b"", False), provider)
        upstream = Upstream()
        with pytest.raises(NotCleared):
            await upstream.fetch(probe, provider_at(first.url, "second"), timeout_s=5)
        await upstream.close()
        assert first.connections == 0


class Unasked(AbstractResolver):
    """A name server that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        raise OSError("nobody is to be asked")

    async def close(self) -> None:
        return


class TestFetch:
    async def test_gives_status_and_body(self, first: FakeProvider, upstream: Upstream) -> None:
        provider = provider_at(first.url)
        call = Call("GET", f"{first.url}/models", {}, b"", False)
        status, body = await upstream.fetch(constant_call(call, provider), provider, timeout_s=5)
        assert status == 200
        assert b'"data"' in body

    async def test_a_silent_server_is_a_timeout(self, first: FakeProvider, upstream: Upstream) -> None:
        first.on_probe = hang
        call = Call("GET", f"{first.url}/models", {}, b"", False)
        provider = provider_at(first.url)
        with pytest.raises(AttemptFailed) as raised:
            await upstream.fetch(constant_call(call, provider), provider, timeout_s=0.05)
        assert raised.value.failure.kind is FailureKind.TIMEOUT
        assert raised.value.failure.message == "first did not answer within 0.05 s"
        await until(lambda: first.probes[0].gone_s is not None)


class TestMock:
    BODY = b'{"model": "echo", "stream": true, "messages": [{"role": "user", "content": "one two three"}]}'

    async def send(self, upstream: Upstream, behaviour: Mock) -> Reply:
        provider = provider_at("mock://local", "mock", preset="mock")
        deployment = Deployment("mock/echo", provider, "echo", "echo", mock=behaviour, key="mock|echo")
        call = Call("POST", "mock://local/v1/chat/completions", {}, self.BODY, True)
        return await upstream.send(call, deployment, grant(deployment, 1))

    async def test_takes_its_time_as_it_was_told(self) -> None:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        reply = await self.send(Upstream(sleep=sleep), Mock(first_token_s=0.5, tokens_per_second=20))
        body = await reply.read_all(LIMIT_BYTES)
        assert b"three" in body
        assert reply.ended
        assert slept[0] == 0.5
        assert set(slept[1:]) == {0.05}

    async def test_fails_as_often_as_it_was_told(self, upstream: Upstream) -> None:
        behaviour = Mock(fail_status=503, fail_share=0.5)
        statuses = [(await self.send(upstream, behaviour)).status for _ in range(6)]
        assert sorted(statuses) == [200, 200, 200, 503, 503, 503]

    async def test_ends_when_it_is_closed(self, upstream: Upstream) -> None:
        reply = await self.send(upstream, Mock())
        assert await reply.read()
        reply.close()
        assert await reply.read() == b""
