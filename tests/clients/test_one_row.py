"""A provider that speaks OpenAI's dialect is one row: saved while the daemon runs, and used a moment later."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.support.daemon import Daemon
from tests.support.fake_provider import FakeProvider, answer, chat_body, chat_frames, stream

BEFORE = "version: 1\nproviders:\n  mock: {models: [echo]}\n"
ROW = "  newcomer: {{preset: openai-compatible, endpoint: '{url}', api_key: '${{env:NEWCOMER_KEY}}', models: [new-model]}}\n"
AT_ONCE_S = 1.0


@pytest.fixture
async def newcomer() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(tmp_path, {"NEWCOMER_KEY": "key-of-the-newcomer"})
    daemon.write(BEFORE)
    async with daemon:
        yield daemon


async def ask(session: aiohttp.ClientSession) -> tuple[int, Any]:
    body = {"model": "newcomer/new-model", "messages": [{"role": "user", "content": "hi"}]}
    async with session.post("/v1/chat/completions", json=body) as response:
        return response.status, await response.json()


async def save(daemon: Daemon, providers: str) -> None:
    """Saves in place, as editors do that do not rename, and waits for the daemon to tell that it is in force."""
    known = len(daemon.log)
    (daemon.config_dir / "providers.yaml").write_text(providers)
    await daemon.logged("config.applied", after=known)


@pytest.mark.quiet
async def test_a_new_row_is_used_within_a_second(daemon: Daemon, newcomer: FakeProvider) -> None:
    newcomer.manner = answer(body=chat_body("I am new here."))
    async with daemon.session() as session:
        status, refusal = await ask(session)
        assert (status, refusal["error"]["code"]) == (404, "model_not_found")
        start_s = time.monotonic()
        await save(daemon, BEFORE + ROW.format(url=newcomer.url))
        status, body = await ask(session)
        took_s = time.monotonic() - start_s
    assert (status, body["choices"][0]["message"]["content"]) == (200, "I am new here.")
    assert newcomer.seen[-1].path == "/v1/chat/completions"
    assert newcomer.seen[-1].headers["authorization"] == "Bearer key-of-the-newcomer"
    assert newcomer.seen[-1].json["model"] == "new-model"
    assert took_s < AT_ONCE_S


async def test_a_client_of_another_dialect_finds_and_uses_the_new_row(
    daemon: Daemon, newcomer: FakeProvider
) -> None:
    await save(daemon, BEFORE + ROW.format(url=newcomer.url))
    newcomer.manner = stream(chat_frames())
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{daemon.url}/v1", max_retries=0) as client:
        listed = [model.id async for model in client.models.list()]
        asked = await client.responses.create(model="new-model", input="hi", stream=True)
        *_, last = [event async for event in asked]
    assert "newcomer/new-model" in listed
    assert last.type == "response.completed"
    assert last.response.output_text == "Good answer."


async def test_a_row_that_is_deleted_is_asked_no_more(daemon: Daemon, newcomer: FakeProvider) -> None:
    await save(daemon, BEFORE + ROW.format(url=newcomer.url))
    async with daemon.session() as session:
        assert (await ask(session))[0] == 200
        await save(daemon, BEFORE)
        assert (await ask(session))[0] == 404
    assert len(newcomer.seen) == 1
