"""Requests that are answered later, by the daemon as a process: accepted, fetched, cancelled, and through its death."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from tests.support.daemon import Daemon
from tests.support.fake_provider import (
    FakeProvider,
    answer,
    chat_frames,
    good_chat,
    hang,
    stream,
)

PROVIDERS = """
version: 1
providers:
  first: {{preset: openai-compatible, endpoint: "{url}", zone: local, models: [{{id: m, price: free}}]}}
"""
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
LATER = {"Prefer": "respond-async"}
CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"model": "m", "input": "hi"},
    "/v1/messages": {**CHAT, "max_tokens": 50},
    "/v1beta/models/m:generateContent": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "/api/chat": {**CHAT, "stream": False},
}


@pytest.fixture
async def session(daemon: Daemon, first: FakeProvider) -> AsyncIterator[aiohttp.ClientSession]:
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, daemon.session() as opened:
        yield opened


async def accepted(session: aiohttp.ClientSession, path: str = "/v1/chat/completions", **fields: Any) -> str:
    """The place of a job that was accepted."""
    body = {**CALLS.get(path, CHAT), **fields}
    async with session.post(path, json=body, headers=LATER) as response:
        assert response.status == 202, await response.text()
        return response.headers["Location"]


async def over(session: aiohttp.ClientSession, place: str, timeout_s: float = 20.0) -> dict[str, Any]:
    """What is told of a job when it is over."""
    async with asyncio.timeout(timeout_s):
        while True:
            async with session.get(place) as response:
                assert response.status == 200
                told: dict[str, Any] = await response.json()
            if told["status"] not in ("queued", "in_progress"):
                return told
            await asyncio.sleep(0.02)


async def reached(provider: FakeProvider, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while len(provider.seen) < count:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("path", CALLS)
async def test_every_kind_of_call_can_be_answered_later(session: aiohttp.ClientSession, path: str) -> None:
    async with session.post(path, json=CALLS[path]) as response:
        assert response.status == 200
        now = await response.json()
    async with session.post(path, json=CALLS[path], headers=LATER) as response:
        assert response.status == 202
        assert response.headers["Preference-Applied"] == "respond-async"
        told = await response.json()
        place = response.headers["Location"]
    assert place == told["location"] == f"/v1/async/{told['id']}"
    told = await over(session, place)
    assert told["status"] == "completed"
    assert told["result"]["status"] == 200
    assert told["result"]["headers"]["x-llmproxyd-provider"] == "first"
    assert told["result"]["body"].keys() == now.keys()
    async with session.get(place + "/result") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert response.headers["x-llmproxyd-provider"] == "first"
        assert await response.json() == told["result"]["body"]


async def test_a_cancelled_call_is_cut_at_its_provider_at_once(
    session: aiohttp.ClientSession, first: FakeProvider
) -> None:
    first.manner = hang
    place = await accepted(session)
    await reached(first)
    asked_s = time.monotonic()
    async with session.delete(place) as response:
        assert (await response.json())["status"] == "cancelled"
    async with asyncio.timeout(5):
        while first.seen[0].gone_s is None:
            await asyncio.sleep(0.005)
    assert first.seen[0].gone_s - asked_s <= 0.5
    assert (await over(session, place))["status"] == "cancelled"
    async with session.get(place + "/result") as response:
        assert response.status == 410
    async with session.delete(place) as response:
        assert (await response.json())["deleted"] is True
    async with session.get(place) as response:
        assert response.status == 404


async def test_twenty_jobs_outlive_a_kill(daemon: Daemon, first: FakeProvider) -> None:
    first.manner = hang
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, daemon.session() as session:
        places = [await accepted(session, user=str(number)) for number in range(20)]
        await reached(first, 16)
        await daemon.kill()
    assert len(set(places)) == 20
    first.manner = good_chat
    again = Daemon(daemon.directory)
    async with again, again.session() as session:
        entry = await again.logged("jobs.resumed")
        assert entry["count"] == 16
        told = await asyncio.gather(*(over(session, place) for place in places))
    assert [job["status"] for job in told] == ["completed"] * 20
    asked = [seen.json["user"] for seen in first.seen[16:]]
    assert sorted(asked, key=int) == [str(number) for number in range(20)]


async def test_what_is_in_progress_at_a_stop_waits_for_the_next_start(
    daemon: Daemon, first: FakeProvider
) -> None:
    first.manner = hang
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, daemon.session() as session:
        place = await accepted(session)
        await reached(first)
        daemon.signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await daemon.process.wait() == 0
            while first.seen[0].gone_s is None:
                await asyncio.sleep(0.01)
    first.manner = good_chat
    again = Daemon(daemon.directory)
    async with again, again.session() as session:
        assert (await over(session, place))["status"] == "completed"


async def test_a_file_that_is_damaged_is_moved_aside_and_told(daemon: Daemon, first: FakeProvider) -> None:
    state = daemon.directory / "state"
    state.mkdir()
    (state / "jobs.db").write_bytes(b"this is no database" * 500)
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, daemon.session() as session:
        entry = await daemon.logged("jobs.corrupt")
        assert (await over(session, await accepted(session)))["status"] == "completed"
    aside = list(state.glob("jobs.db.corrupt-*"))
    assert [str(path) for path in aside] == [entry["file"]]
    assert aside[0].read_bytes().startswith(b"this is no database")
    assert (state / "jobs.db").stat().st_mode & 0o777 == 0o600


# --- background responses, by OpenAI's own client ---------------------------------------------------------------


def client_of(daemon: Daemon) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0)


async def settled(client: openai.AsyncOpenAI, response_id: str) -> Any:
    async with asyncio.timeout(20):
        while (response := await client.responses.retrieve(response_id)).status in ("queued", "in_progress"):
            await asyncio.sleep(0.02)
    return response


async def test_a_background_response_is_made_and_a_conversation_goes_on_from_it(
    daemon: Daemon, first: FakeProvider
) -> None:
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, client_of(daemon) as client:
        begun = await client.responses.create(model="m", input="one", background=True)
        assert (begun.status, begun.background, begun.output) == ("queued", True, [])
        done = await settled(client, begun.id)
        assert (done.id, done.status, done.output_text) == (begun.id, "completed", "Good answer.")
        assert done.background is True
        assert done.created_at == begun.created_at
        items = await client.responses.input_items.list(begun.id)
        assert [item.type for item in items.data] == ["message"]
        more = await client.responses.create(model="m", input="two", previous_response_id=begun.id)
        assert more.output_text == "Good answer."
        later = await client.responses.create(
            model="m", input="three", previous_response_id=begun.id, background=True
        )
        assert (await settled(client, later.id)).previous_response_id == begun.id
        await client.responses.delete(begun.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(begun.id)
    said = [[m["content"] for m in seen.json["messages"]] for seen in first.seen]
    assert said == [["one"], ["one", "Good answer.", "two"], ["one", "Good answer.", "three"]]
    assert all("background" not in seen.json for seen in first.seen)


async def test_cancelling_a_background_response_cuts_it_at_its_provider(
    daemon: Daemon, first: FakeProvider
) -> None:
    first.manner = hang
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, client_of(daemon) as client:
        begun = await client.responses.create(model="m", input="one", background=True)
        await reached(first)
        assert (await client.responses.retrieve(begun.id)).status == "in_progress"
        asked_s = time.monotonic()
        assert (await client.responses.cancel(begun.id)).status == "cancelled"
        async with asyncio.timeout(5):
            while first.seen[0].gone_s is None:
                await asyncio.sleep(0.005)
        assert first.seen[0].gone_s - asked_s <= 0.5
        assert (await client.responses.cancel(begun.id)).status == "cancelled"
        assert (await client.responses.retrieve(begun.id)).status == "cancelled"


async def test_a_background_stream_goes_on_when_its_client_leaves_and_is_streamed_again(
    daemon: Daemon, first: FakeProvider
) -> None:
    first.manner = stream(chat_frames([f"w{n} " for n in range(20)]), pause_s=0.02)
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, client_of(daemon) as client:
        events = await client.responses.create(model="m", input="one", background=True, stream=True)
        seen: list[Any] = []
        async for event in events:
            seen.append(event)
            if len([e for e in seen if e.type == "response.output_text.delta"]) == 3:
                break
        await events.close()
        assert [e.type for e in seen[:3]] == ["response.created", "response.queued", "response.in_progress"]
        response_id = seen[0].response.id
        again = await client.responses.retrieve(
            response_id, stream=True, starting_after=seen[-1].sequence_number
        )
        rest = [event async for event in again]
        numbers = [event.sequence_number for event in (*seen, *rest)]
        assert numbers == list(range(len(numbers)))
        assert rest[-1].type == "response.completed"
        assert rest[-1].response.id == response_id
        done = await client.responses.retrieve(response_id)
        words = "".join(f"w{n} " for n in range(20))
        assert done.output_text == rest[-1].response.output_text == words
        kept = [event async for event in await client.responses.retrieve(response_id, stream=True)]
        assert [event.sequence_number for event in kept] == numbers


async def test_a_background_response_outlives_a_kill(daemon: Daemon, first: FakeProvider) -> None:
    first.manner = hang
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, client_of(daemon) as client:
        begun = await client.responses.create(model="m", input="one", background=True)
        await reached(first)
        await daemon.kill()
    first.manner = good_chat
    again = Daemon(daemon.directory)
    async with again, client_of(again) as client:
        assert (await settled(client, begun.id)).output_text == "Good answer."


async def test_a_background_response_that_fails_says_why(daemon: Daemon, first: FakeProvider) -> None:
    first.manner = answer(400, b'{"error": {"message": "no such thing", "code": "odd"}}')
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, client_of(daemon) as client:
        begun = await client.responses.create(model="m", input="one", background=True)
        failed = await settled(client, begun.id)
        assert failed.status == "failed"
        assert "no such thing" in failed.error.message
        events = await client.responses.create(model="m", input="one", background=True, stream=True)
        types = [event.type async for event in events]
        assert (types[0], types[-1]) == ("response.created", "response.failed")
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(model="m", input="one", background=True, store=False)
        with pytest.raises(openai.BadRequestError):
            await client.responses.retrieve(begun.id, stream=True)
