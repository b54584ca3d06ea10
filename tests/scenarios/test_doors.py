"""Who gets in, and what those are told who do not: raw sockets, because proper clients cannot be this rude."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.daemon import Daemon

MOCK = "version: 1\nproviders: {mock: {models: [{id: echo, mock: {}}]}}\n"
CHAT = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "hi"}]}).encode()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    """One for all: nothing that is done to it here may change it."""
    daemon = Daemon(tmp_path_factory.mktemp("served"))
    daemon.write(MOCK)
    async with daemon:
        yield daemon


class Answer:
    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def say(daemon: Daemon, request: bytes, *, unix: bool = False) -> Answer:
    if unix:
        reader, writer = await asyncio.open_unix_connection(str(daemon.socket_path))
    else:
        host, port = daemon.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(10):
        data = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(h.split(b":")[1]) for h in data.lower().split(b"\r\n") if h.startswith(b"content-length")), 0
        )
        data += await reader.readexactly(length)
    writer.close()
    return Answer(data)


def post(
    daemon: Daemon, body: bytes = CHAT, *headers: str, host: str | None = None, length: int | None = None
) -> bytes:
    host = daemon.url.removeprefix("http://") if host is None else host
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: {host}",
        f"Content-Length: {len(body) if length is None else length}",
        *(headers or ("Content-Type: application/json",)),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_a_plain_request_is_answered_by_the_built_in_provider(served: Daemon) -> None:
    answer = await say(served, post(served))
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "hi"
    assert answer.headers["x-llmproxyd-provider"] == "mock"


async def test_the_unix_socket_takes_any_host_and_is_private_to_user_and_group(served: Daemon) -> None:
    answer = await say(served, post(served, host="whatever"), unix=True)
    assert answer.status == 200
    assert stat.S_IMODE(served.socket_path.stat().st_mode) == 0o660


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:8400"])
async def test_a_foreign_host_is_misdirected(served: Daemon, host: str) -> None:
    """DNS rebinding: the page's own name in Host gives it away."""
    answer = await say(served, post(served, host=host))
    assert answer.status == 421
    assert answer.headers["connection"] == "close"
    assert "--allow-host" in answer.json["error"]["message"]


async def test_two_hosts_are_one_too_many(served: Daemon) -> None:
    good = served.url.removeprefix("http://")
    answer = await say(served, post(served, CHAT, "Content-Type: application/json", f"Host: {good}"))
    assert answer.status == 400


@pytest.mark.parametrize("header", ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"])
async def test_a_web_page_cannot_spend_money(served: Daemon, header: str) -> None:
    answer = await say(served, post(served, CHAT, "Content-Type: application/json", header))
    assert answer.status == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_must_say_that_it_is_json(served: Daemon, kind: str) -> None:
    headers = (f"Content-Type: {kind}",) if kind else ("Accept: */*",)
    answer = await say(served, post(served, CHAT, *headers))
    assert answer.status == 415
    assert "application/json" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"", "JSON"),
        (b'{"model": "auto"}', "messages"),
        (b'{"model": 3, "messages": [{"role": "user", "content": "hi"}]}', "model"),
        (b'{"model": "auto", "messages": "hi"}', "messages"),
        (b'{"model": "auto", "messages": [{"role": "user", "content": "hi"}], "n": NaN}', "NaN"),
        (b"[" * 100_000, "deep"),
        (b"\xff\xfe", ""),
    ],
)
async def test_malformed_bodies_are_refused_by_name(served: Daemon, body: bytes, part: str) -> None:
    answer = await say(served, post(served, body))
    assert answer.status == 400, answer.body
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert part in answer.json["error"]["message"]


async def test_a_body_that_is_too_long_is_refused_before_it_is_read(daemon: Daemon) -> None:
    daemon.write(MOCK)
    daemon.arguments = ("--max-body", "10KiB")
    async with daemon:
        declared = await say(daemon, post(daemon, b"", length=11_000))
        assert declared.status == 413
        assert "--max-body" in declared.json["error"]["message"]
        chunked = b"4000\r\n" + b" " * 0x4000 + b"\r\n0\r\n\r\n"
        head = post(daemon, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        assert (await say(daemon, head + chunked)).status == 413
        assert (await say(daemon, post(daemon))).status == 200


async def test_unknown_paths_and_methods_are_told_apart(served: Daemon) -> None:
    host = served.url.removeprefix("http://")
    unknown = await say(served, f"GET /v2/nothing HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert unknown.status == 404
    wrong = await say(served, f"GET /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert wrong.status == 405
    assert wrong.headers["allow"] == "POST"


async def test_health_needs_nothing(served: Daemon) -> None:
    async with served.session() as session:
        for path, word in (("/healthz", "ok"), ("/readyz", "ready"), ("/readyz?verbose", "generation 1")):
            async with session.get(path) as response:
                assert response.status == 200
                assert word in await response.text()


@pytest.mark.parametrize("path", ["/admin/v1/config", "/admin/v1/providers", "/metrics"])
async def test_administration_is_for_the_owner(served: Daemon, path: str) -> None:
    token = (served.directory / "state" / "admin-token").read_text().strip()
    assert stat.S_IMODE((served.directory / "state" / "admin-token").stat().st_mode) == 0o600
    async with served.session() as session:
        async with session.get(path) as response:
            assert response.status == 403
        async with session.get(path, headers={"Authorization": "Bearer wrong"}) as response:
            assert response.status == 403
        async with session.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
            assert response.status == 200
    async with served.unix_session() as session, session.get(path) as response:
        assert response.status == 200


async def test_metrics_may_be_opened(daemon: Daemon) -> None:
    daemon.write(MOCK)
    daemon.arguments = ("--metrics-open",)
    async with daemon, daemon.session() as session, session.get("/metrics") as response:
        text = await response.text()
    assert response.status == 200
    assert "llmproxyd_config_last_reload_successful 1.0" in text


async def test_logs_never_hold_what_was_said(served: Daemon) -> None:
    secret = "the patient Zebulon Quirk has a rare condition"
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": secret}]}).encode()
    assert (await say(served, post(served, body))).status == 200
    broken, logged = body.replace(b'"role": "user"', b'"role": 7'), len(served.log)
    await say(served, post(served, broken))
    await served.logged("exchange", after=logged)
    assert "Zebulon" not in "\n".join(served.raw_log)


async def test_pipelined_requests_are_answered_in_order(served: Daemon) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    bodies = [
        json.dumps({"model": "auto", "messages": [{"role": "user", "content": f"n{n}"}]}).encode()
        for n in range(5)
    ]
    writer.write(b"".join(post(served, body) for body in bodies))
    for n in range(5):
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        assert json.loads(body)["choices"][0]["message"]["content"] == f"n{n}"
    writer.close()


@pytest.mark.parametrize("path", ["/v1/v1/chat/completions", "/v1/v1/messages"])
async def test_a_doubled_v1_is_understood(served: Daemon, path: str) -> None:
    """The commonest mistake with base URLs."""
    body = json.dumps({**json.loads(CHAT), "max_tokens": 20}).encode()
    answer = await say(served, post(served, body).replace(b"/v1/chat/completions", path.encode(), 1))
    assert answer.status == 200
