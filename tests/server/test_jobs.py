"""Requests that are answered later, from the door's side; what needs a process to die is in the scenarios."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.adapters import ADAPTERS
from llmproxyd.exchange.account import Ending
from llmproxyd.server.detached import find_surface
from llmproxyd.server.jobs import MAX_STARTS
from llmproxyd.state.jobs import JobStore
from llmproxyd.surfaces import SURFACES, gemini_generate
from llmproxyd.values.job import JobKind, Task
from llmproxyd.values.request import Dialect, Operation
from tests.exchange.build import deployment_at
from tests.server.door import CHAT, MESSAGES, Door, open_door
from tests.support.fake_provider import (
    Exchange,
    FakeProvider,
    answer,
    chat_body,
    chat_frames,
    good_chat,
    hang,
    stream,
)
from tests.support.records import replace

LATER = {"Prefer": "respond-async"}
RESPONSES = "/v1/responses"


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs.db", wall=time.time)


@pytest.fixture
async def door(store: JobStore, first: FakeProvider) -> AsyncIterator[Door]:
    async with open_door(deployment_at(first), jobs=store) as opened:
        yield opened


async def later(door: Door, path: str = CHAT, headers: dict[str, str] | None = None, **fields: Any) -> str:
    response = await door.post(path, headers={**LATER, **(headers or {})}, **fields)
    assert response.status == 202, await response.text()
    return str(response.headers["Location"])


async def over(door: Door, place: str) -> Any:
    async with asyncio.timeout(10):
        while True:
            told = await (await door.session.get(place)).json()
            if told["status"] not in ("queued", "in_progress"):
                return told
            await asyncio.sleep(0.005)


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("target", [*SURFACES, "/v1/v1/chat/completions", "/v1beta/models/m:generateContent"])
def test_a_kept_target_leads_to_the_surface_that_took_it(target: str) -> None:
    expected = SURFACES.get(target.removeprefix("/v1") if "/v1/v1" in target else target)
    assert find_surface(target) is (expected or gemini_generate.GENERATE)


class TestWhatIsRefusedAtOnce:
    @pytest.mark.parametrize(
        ("fields", "status"), [({"model": "nobody"}, 404), ({"messages": "x"}, 400), ({"model": 7}, 400)]
    )
    async def test_needs_no_provider(self, door: Door, fields: dict[str, Any], status: int) -> None:
        now = await door.post(**fields)
        asked = await door.post(headers=LATER, **fields)
        assert (now.status, asked.status) == (status, status)
        assert "Location" not in asked.headers

    async def test_a_key_that_is_none(self, door: Door) -> None:
        response = await door.post(headers={**LATER, "Idempotency-Key": "x" * 300})
        assert response.status == 400
        assert (await response.json())["error"]["param"] == "idempotency-key"

    async def test_background_where_nothing_is_kept(self, first: FakeProvider) -> None:
        async with open_door(deployment_at(first)) as door:
            response = await door.post(RESPONSES, input="x", background=True)
            assert (response.status, (await response.json())["error"]["param"]) == (400, "background")


class TestAnAcceptedCall:
    async def test_is_on_the_disk_when_it_is_accepted(self, tmp_path: Path, first: FakeProvider) -> None:
        first.manner = hang
        async with open_door(deployment_at(first), jobs=JobStore(tmp_path / "j.db", wall=time.time)) as door:
            place = await later(door, headers={"Authorization": "Bearer secret-1", "x-llmproxyd-user": "eve"})
        kept = sqlite3.connect(tmp_path / "j.db")
        [(job_id, headers)] = kept.execute("SELECT id, headers FROM jobs").fetchall()
        kept.close()
        assert place.endswith(job_id)
        assert json.loads(headers)["x-llmproxyd-user"] == "eve"
        assert json.loads(headers)["x-llmproxyd-priority"] == "batch"
        assert b"secret-1" not in (tmp_path / "j.db").read_bytes()

    async def test_leaves_a_record_of_itself_and_one_of_its_answer(self, door: Door) -> None:
        await over(door, await later(door))
        accepted, answered = door.records
        assert (accepted.status, accepted.ending, accepted.attempts) == (202, Ending.SERVED, [])
        assert (answered.status, answered.ending) == (200, Ending.SERVED)
        assert answered.usage is not None
        assert answered.bytes_out == len(chat_body())
        assert [attempt.failure for attempt in answered.attempts] == [None]

    async def test_is_unknown_to_others(self, door: Door) -> None:
        place = await later(door)
        for method in ("get", "delete"):
            response = await getattr(door.session, method)(place, headers={"x-owner": "bob"})
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "async_not_found"
        assert (await over(door, place))["status"] == "completed"

    async def test_that_fails_keeps_the_refusal_as_it_would_have_been(
        self, door: Door, first: FakeProvider
    ) -> None:
        first.manner = answer(503, b'{"error": {"message": "busy"}}')
        now = await door.post(MESSAGES)
        told = await over(door, await later(door, MESSAGES))
        assert told["status"] == "failed"
        result = await door.session.get(told["location"] + "/result")
        assert result.status == told["result"]["status"] == now.status == 503
        error = (await now.json())["error"]
        assert (await result.json())["error"] == told["result"]["body"]["error"] == error

    async def test_that_streams_is_kept_as_the_text_it_would_have_been(
        self, door: Door, first: FakeProvider
    ) -> None:
        now = await (await door.post(stream=True)).read()
        told = await over(door, await later(door, stream=True))
        result = await door.session.get(told["location"] + "/result")
        assert result.content_type == "text/event-stream"
        assert await result.read() == told["result"]["body"].encode() == now

    async def test_whose_stream_breaks_off_is_a_failure_that_keeps_what_came(
        self, door: Door, first: FakeProvider
    ) -> None:
        first.manner = stream(chat_frames(["a", "b", "c"]), cut_after=3)
        told = await over(door, await later(door, stream=True))
        assert (told["status"], told["result"]["status"]) == ("failed", 200)
        assert '"a"' in told["result"]["body"]
        assert "error" in told["result"]["body"]
        assert door.records[-1].ending is Ending.CUT

    async def test_whose_stream_does_not_end_is_cut_at_its_bound(
        self, store: JobStore, first: FakeProvider
    ) -> None:
        first.manner = stream(chat_frames(["x" * 1000] * 50), pause_s=0.002)
        async with open_door(deployment_at(first), jobs=store, max_answer_bytes=20_000) as door:
            told = await over(door, await later(door, stream=True))
        assert told["status"] == "failed"
        assert len(told["result"]["body"]) < 30_000
        assert "longer than 20000 bytes" in told["result"]["body"]

    async def test_has_no_result_until_it_is_over(self, door: Door, first: FakeProvider) -> None:
        first.manner = hang
        place = await later(door)
        for where in (place, place + "/result"):
            response = await door.session.get(where)
            assert response.status == (202 if where.endswith("result") else 200)
            assert int(response.headers["Retry-After"]) > 0
            assert "result" not in await response.json()

    async def test_that_meets_a_bug_of_ours_fails_alone(self, store: JobStore, first: FakeProvider) -> None:
        def broken(*_: Any) -> Any:
            raise ZeroDivisionError

        adapter = replace(ADAPTERS[Dialect.OPENAI_CHAT], inspect_answer=broken)
        adapters = {**ADAPTERS, Dialect.OPENAI_CHAT: adapter}
        async with open_door(deployment_at(first), jobs=store, adapters=adapters) as door:
            told = await over(door, await later(door))
            assert (told["status"], told["result"]["status"]) == ("failed", 500)
            assert (await over(door, await later(door, stream=True)))["status"] == "completed"
        assert door.records[1].failure is not None
        assert door.records[1].failure.detail == "ZeroDivisionError"


class TestTheIdempotencyKey:
    async def test_makes_the_same_request_the_same_job(self, door: Door, first: FakeProvider) -> None:
        key = {"Idempotency-Key": "once"}
        places = {await later(door, headers=key) for _ in range(3)}
        assert len(places) == 1
        await over(door, places.pop())
        assert len(first.seen) == 1

    async def test_refuses_another_request(self, door: Door) -> None:
        key = {"Idempotency-Key": "once"}
        await later(door, headers=key)
        response = await door.post(headers={**LATER, **key}, temperature=0.5)
        assert response.status == 409
        assert (await response.json())["error"]["code"] == "idempotency_key_reused"

    async def test_makes_the_same_background_response_the_same(self, door: Door) -> None:
        ids = set()
        for _ in range(2):
            response = await door.post(
                RESPONSES, headers={"Idempotency-Key": "once"}, input="x", background=True
            )
            ids.add((await response.json())["id"])
        assert len(ids) == 1


class TestBounds:
    async def test_no_more_run_at_a_time_than_there_are_workers(
        self, store: JobStore, first: FakeProvider
    ) -> None:
        running, most, begun, go_on = 0, 0, asyncio.Event(), asyncio.Event()

        async def counting(exchange: Exchange) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == 3:
                begun.set()
            await go_on.wait()
            running -= 1
            await good_chat(exchange)

        first.manner = counting
        async with open_door(deployment_at(first), jobs=store, workers=3) as door:
            places = [await later(door, user=str(number)) for number in range(12)]
            async with asyncio.timeout(10):
                await begun.wait()
            go_on.set()
            for place in places:
                assert (await over(door, place))["status"] == "completed"
        assert most == 3

    async def test_a_full_line_says_when_to_come_back(self, tmp_path: Path, first: FakeProvider) -> None:
        first.manner = hang
        narrow = JobStore(tmp_path / "jobs.db", wall=time.time, max_waiting=1)
        async with open_door(deployment_at(first), jobs=narrow, workers=1) as door:
            await later(door)
            await until(lambda: first.seen)
            await later(door)
            response = await door.post(headers=LATER)
            assert response.status == 429
            assert int(response.headers["Retry-After"]) > 0

    async def test_a_full_disk_refuses_with_the_reason_and_nothing_else_breaks(
        self, tmp_path: Path, first: FakeProvider
    ) -> None:
        small = JobStore(tmp_path / "jobs.db", wall=time.time, max_file_bytes=16 * 4096)
        async with open_door(deployment_at(first), jobs=small) as door:
            response = await door.post(headers=LATER, user="x" * 60_000)
            assert response.status == 503
            assert "full" in (await response.json())["error"]["message"]
            assert (await door.post(user="x" * 60_000)).status == 200
            assert (await over(door, await later(door)))["status"] == "completed"

    async def test_an_answer_for_which_there_is_no_room_is_said_to_be_lost(
        self, tmp_path: Path, first: FakeProvider
    ) -> None:
        first.manner = answer(body=chat_body("x" * 200_000))
        small = JobStore(tmp_path / "jobs.db", wall=time.time, max_file_bytes=32 * 4096)
        async with open_door(deployment_at(first), jobs=small) as door:
            told = await over(door, await later(door))
        assert told["status"] == "failed"
        assert "could not be kept" in told["result"]["body"]["error"]["message"]

    async def test_what_ended_the_process_three_times_is_not_begun_again(
        self, tmp_path: Path, first: FakeProvider
    ) -> None:
        path = tmp_path / "jobs.db"
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
        job_id = "async_" + "0" * 32
        dying = JobStore(path, wall=time.time)
        await dying.add(Task(job_id, JobKind.ASYNC, "local", CHAT, {}, body, time.time()))
        for _ in range(MAX_STARTS):
            assert await dying.take() is not None
            await dying.recover()
        await dying.close()
        async with open_door(deployment_at(first), jobs=JobStore(path, wall=time.time)) as door:
            told = await over(door, f"/v1/async/{job_id}")
        assert told["status"] == "failed"
        assert "3 times" in told["result"]["body"]["error"]["message"]
        assert first.seen == []


class TestABackgroundStream:
    async def test_has_signs_of_life_while_nothing_happens_and_ends_when_cancelled(
        self, door: Door, first: FakeProvider
    ) -> None:
        first.manner = hang
        response = await door.post(RESPONSES, input="x", background=True, stream=True)
        read = b""
        async with asyncio.timeout(10):
            while b": keep-alive" not in read:
                read += await response.content.readany()
        events = [json.loads(line[6:]) for line in read.decode().split("\n") if line.startswith("data: ")]
        assert [event["type"] for event in events] == ["response.created", "response.queued"]
        response_id = events[0]["response"]["id"]
        cancelled = await door.session.post(f"{RESPONSES}/{response_id}/cancel")
        assert (await cancelled.json())["status"] == "cancelled"
        async with asyncio.timeout(10):
            rest = await response.content.read()
        assert b"data:" not in rest
        again = await (await door.session.get(f"{RESPONSES}/{response_id}?stream=true")).text()
        assert again.count("data:") == 2

    async def test_is_unknown_to_others(self, door: Door) -> None:
        made = await (await door.post(RESPONSES, input="x", background=True)).json()
        place, other = f"{RESPONSES}/{made['id']}", {"x-owner": "bob"}
        for call in (
            door.session.get(place, headers=other),
            door.session.delete(place, headers=other),
            door.session.post(place + "/cancel", headers=other),
            door.session.get(place + "?stream=true", headers=other),
        ):
            assert (await call).status == 404


async def test_counting_tokens_is_never_put_off(store: JobStore, first: FakeProvider) -> None:
    counting = replace(deployment_at(first), operations=frozenset({Operation.CHAT, Operation.COUNT_TOKENS}))
    async with open_door(counting, jobs=store) as door:
        response = await door.post(f"{MESSAGES}/count_tokens", headers=LATER)
    assert response.status == 200
    assert "Preference-Applied" not in response.headers


@pytest.mark.parametrize("wish", ["wait=5, respond-async", "RESPOND-ASYNC; x=1"])
async def test_the_wish_may_stand_among_others(door: Door, wish: str) -> None:
    assert (await door.post(headers={"Prefer": wish})).status == 202
    assert (await door.post(headers={"Prefer": "return=minimal"})).status == 200
