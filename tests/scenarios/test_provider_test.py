"""`llmproxyd providers test`: the program asks the daemon, the daemon asks the provider, the operator knows what to do."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.daemon import Daemon, environment
from tests.support.fake_provider import Exchange, FakeProvider, answer, hang

GOOD_KEY, BAD_KEY = "sk-good-4711", "sk-bad-4712"
PROVIDERS = """\
version: 1
providers:
  good: {{preset: openai, endpoint: "{url}", api_key: "${{env:GOOD_KEY}}", models: [m]}}
  bad: {{preset: openai, endpoint: "{url}", api_key: "${{env:BAD_KEY}}", models: [m]}}
  stale: {{preset: openai, endpoint: "{url}", api_key: "${{env:GOOD_KEY}}", models: [m, gone-1]}}
  nobody: {{preset: openai-compatible, endpoint: "http://127.0.0.1:9/v1", models: [m]}}
  silent: {{preset: openai-compatible, endpoint: "{silent}", models: [m]}}
  bare: {{preset: anthropic, models: [claude-opus-5-5]}}
  off: {{preset: openai, endpoint: "{url}", enabled: false, models: [m]}}
  mock: {{models: [echo]}}
"""
PROBED_AT_START = 3
"""good, bad and stale: each configured provider is asked once when it appears."""
LIST = json.dumps({"data": [{"id": "m"}, {"id": "n"}]}).encode()


async def guard_the_list(wire: Exchange) -> None:
    """Lists two models to whoever shows the good key, and repeats a wrong one as some servers do."""
    shown = wire.seen.headers.get("authorization", "")
    if shown == f"Bearer {GOOD_KEY}":
        await answer(body=LIST)(wire)
        return
    message = f"Incorrect API key provided: {shown}"
    error = {"error": {"message": message, "code": "invalid_api_key"}}
    await answer(401, json.dumps(error).encode())(wire)


@dataclass
class Done:
    status: int
    out: str
    err: str


async def run(daemon: Daemon, *arguments: str) -> Done:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llmproxyd",
        "providers",
        *arguments,
        "--listen",
        f"unix:{daemon.socket_path}",
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def settled(fake: FakeProvider) -> int:
    """How many probes came by themselves: one for each provider at this address that may be asked."""
    async with asyncio.timeout(10):
        while len(fake.probes) < PROBED_AT_START:
            await asyncio.sleep(0.01)
    return len(fake.probes)


async def told(daemon: Daemon, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = await run(daemon, "test", *arguments, "--json")
    return done.status, json.loads(done.out)


@pytest.fixture
async def served(daemon: Daemon, first: FakeProvider, second: FakeProvider) -> AsyncIterator[Daemon]:
    first.on_probe, second.on_probe = guard_the_list, hang
    daemon.write(PROVIDERS.format(url=first.url, silent=second.url))
    daemon.environ = {"GOOD_KEY": GOOD_KEY, "BAD_KEY": BAD_KEY}
    async with daemon:
        yield daemon


async def test_a_provider_that_lets_us_in_is_available_from_then_on(
    daemon: Daemon, first: FakeProvider, second: FakeProvider
) -> None:
    """Not available at the start: its first probe, which comes by itself, meets a server that is not up yet."""
    first.on_probe, second.on_probe = answer(503), hang
    daemon.write(PROVIDERS.format(url=first.url, silent=second.url))
    daemon.environ = {"GOOD_KEY": GOOD_KEY, "BAD_KEY": BAD_KEY}
    async with daemon:
        await settled(first)
        await be_let_in(daemon, first)


async def be_let_in(served: Daemon, first: FakeProvider) -> None:
    before = await run(served, "--json")
    first.on_probe = guard_the_list
    status, document = await told(served, "good")
    after = await run(served, "--json")
    assert (status, document["ok"], document["state"]) == (0, True, "available")
    assert (document["reachable"], document["authorised"], document["status"]) == (True, True, 200)
    assert document["models_found"] == {"count": 2, "names": ["m", "n"]}
    assert (document["missing_models"], document["hint"]) == ([], "")
    assert "good" not in json.loads(before.out)["available"]
    assert "good" in json.loads(after.out)["available"]
    assert first.seen == [], "nothing was generated"


async def test_a_wrong_key_is_told_with_the_variable_to_set_and_never_shown(served: Daemon) -> None:
    done = await run(served, "test", "bad")
    assert done.status == 1
    assert "bad: failing" in done.out
    assert "reachable   yes, status 401" in done.out
    assert "authorised  no" in done.out
    assert "set OPENAI_API_KEY or `api_key`" in done.out
    assert "providers.yaml:4:3" in done.out
    assert BAD_KEY not in done.out + done.err
    assert BAD_KEY not in "\n".join(served.raw_log)


async def test_a_model_that_the_server_lacks_is_named(served: Daemon) -> None:
    status, document = await told(served, "stale")
    assert (status, document["ok"], document["problem"]) == (1, False, "models_missing")
    assert document["missing_models"] == ["gone-1"]
    assert "`gone-1`" in document["hint"]


async def test_where_nobody_listens_it_asks_whether_the_server_runs(served: Daemon) -> None:
    status, document = await told(served, "nobody")
    assert (status, document["reachable"], document["problem"]) == (1, False, "unreachable")
    assert "is the server running?" in document["hint"]
    assert "http://127.0.0.1:9/v1" in document["hint"]


async def test_silence_is_75_after_five_seconds(served: Daemon) -> None:
    status, document = await told(served, "silent")
    assert (status, document["problem"]) == (75, "timeout")
    assert 4900 <= document["duration_ms"] < 9000


async def test_what_cannot_be_asked_is_told_without_a_call(served: Daemon, first: FakeProvider) -> None:
    asked = await settled(first)
    status, bare = await told(served, "bare")
    assert (status, bare["problem"], bare["reachable"]) == (1, "not_configured", None)
    assert "set ANTHROPIC_API_KEY or api_key" in bare["hint"]
    status, off = await told(served, "off")
    assert (status, off["problem"]) == (1, "disabled")
    assert len(first.probes) == asked


async def test_an_unknown_name_is_66_with_the_one_that_was_meant(served: Daemon) -> None:
    done = await run(served, "test", "gold")
    assert (done.status, done.out) == (66, "")
    assert "Did you mean `good`?" in done.err


async def test_the_built_in_provider_is_always_well_and_chats_on_demand(served: Daemon) -> None:
    assert (await told(served, "mock"))[0] == 0
    done = await run(served, "test", "mock", "--chat")
    assert done.status == 0
    assert "chat        mock/echo, status 200 in" in done.out
    assert "said        Say hello." in done.out


async def test_a_chat_is_short_and_goes_to_the_provider_that_was_named(
    served: Daemon, first: FakeProvider
) -> None:
    status, document = await told(served, "good", "--model", "m")
    assert (status, document["chat"]["ok"], document["chat"]["text"]) == (0, True, "Good answer.")
    assert (document["chat"]["tokens_in"], document["chat"]["tokens_out"]) == (5, 3)
    [sent] = first.seen
    assert sent.json["model"] == "m"
    assert 16 in (sent.json.get("max_tokens"), sent.json.get("max_completion_tokens"))


async def test_the_admin_path_is_for_the_owner(served: Daemon, first: FakeProvider) -> None:
    asked = await settled(first)
    async with served.session() as session:
        async with session.post("/admin/v1/providers/good/test", json={}) as response:
            assert response.status == 403
        async with session.get("/admin/v1/providers/good/test") as response:
            assert response.status == 405
    assert len(first.probes) == asked
