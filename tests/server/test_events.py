"""The stream of events over a real connection: what is replayed, what follows, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from llmproxyd.server.events import EventView
from llmproxyd.state.events import FOLLOWERS, Events
from tests.exchange.build import until
from tests.server.door import listening
from tests.server.values import AT_S

PATH = "/admin/v1/events"


class Served:
    def __init__(self, events: Events, session: aiohttp.ClientSession, port: int) -> None:
        self.events = events
        self.session = session
        self.port = port

    def get(self, query: str = "", **headers: str) -> Any:
        return self.session.get(PATH + query, headers={k.replace("_", "-"): v for k, v in headers.items()})


@asynccontextmanager
async def serve(**times: float) -> AsyncIterator[Served]:
    events = Events(lambda: AT_S, epoch="e")
    async with (
        listening({("GET", PATH): EventView(events, **times).view}) as (_, port),
        aiohttp.ClientSession(
            base_url=f"http://127.0.0.1:{port}", timeout=aiohttp.ClientTimeout(10)
        ) as session,
    ):
        yield Served(events, session, port)
        events.close()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve() as made:
        yield made


def parse(text: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(id, event, data) of each event in a stream's text, comments and hints left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


async def following(served: Served, count: int = 1) -> None:
    await until(lambda: len(served.events._followers) == count)


async def test_a_follower_is_told_each_event_as_it_happens(served: Served) -> None:
    served.events.publish("cooling", "a/m")
    async with served.get() as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert await response.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
        await following(served)
        served.events.publish("breaker_closed", "b/m")
        told = (await response.content.readuntil(b"\n\n")).decode()
    assert parse(told) == [
        (
            "e-2",
            "breaker_closed",
            {
                "id": "e-2",
                "at": "2026-01-01T00:00:00.250Z",
                "kind": "breaker_closed",
                "subject": "b/m",
                "facts": {},
                "text": "b/m is well again.",
            },
        )
    ]


@pytest.mark.parametrize(
    ("query", "headers", "ids"),
    [
        ("?after=e-1", {}, ["e-2", "e-3"]),
        ("?after=0", {}, ["e-1", "e-2", "e-3"]),
        ("?after=earlier-2", {}, ["e-1", "e-2", "e-3"]),
        ("", {"Last_Event_ID": "e-2"}, ["e-3"]),
        ("?after=e-1", {"Last_Event_ID": "e-2"}, ["e-3"]),
        ("", {}, []),
    ],
)
async def test_a_follower_who_comes_back_is_told_what_it_missed(
    query: str, headers: dict[str, str], ids: list[str], served: Served
) -> None:
    for kind in ("one", "two", "three"):
        served.events.publish(kind)
    async with served.get(query, **headers) as response:
        await following(served)
        served.events.close()
        assert [event[0] for event in parse(await response.text())] == ids


async def test_the_end_of_the_events_is_the_end_of_the_stream(served: Served) -> None:
    async with served.get() as response:
        await following(served)
        served.events.publish("last")
        served.events.close()
        assert [event[1] for event in parse(await response.text())] == ["last"]


async def test_silence_is_filled_with_comments() -> None:
    async with serve(ping_s=0.005) as served, served.get() as response:
        text = b""
        while text.count(b": still here\n\n") < 3:
            text += await response.content.readuntil(b"\n\n")
        assert parse(text.decode()) == []


async def test_a_follower_who_leaves_makes_room(served: Served) -> None:
    served.events.publish("one")
    async with served.get():
        await following(served)
    served.events.publish("two")
    await following(served, 0)


async def test_a_follower_who_reads_nothing_is_let_go() -> None:
    async with serve(client_stall_s=0.05, ping_s=1.0) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
        writer.write(f"GET {PATH} HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\n\r\n".encode())
        await following(served)

        def flood() -> bool:
            for _ in range(100):
                served.events.publish("k", cause="x" * 500, **{f"f{n}": "y" * 500 for n in range(20)})
            return not served.events._followers

        await until(flood, 20)
        writer.close()


async def test_there_is_a_bound_to_followers(served: Served) -> None:
    for _ in range(FOLLOWERS):
        served.events.subscribe()
    async with served.get() as response:
        assert response.status == 503
        assert (await response.json())["error"]["code"] == "too_many_followers"
    async with served.get("?follow=false") as response:
        assert response.status == 200


async def test_what_is_kept_can_be_had_at_once(served: Served) -> None:
    served.events.publish("one", count=2)
    served.events.publish("two")
    async with served.get("?follow=false") as response:
        document = await response.json()
    assert (document["version"], [event["kind"] for event in document["events"]]) == (1, ["one", "two"])
    assert document["events"][0]["facts"] == {"count": 2}
    async with served.get("?follow=false&after=e-1") as response:
        assert [event["id"] for event in (await response.json())["events"]] == ["e-2"]


async def test_a_word_that_is_not_understood_is_refused(served: Served) -> None:
    async with served.get("?follow=perhaps") as response:
        assert response.status == 400
        assert "true or false" in (await response.json())["error"]["message"]
