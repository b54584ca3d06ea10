"""One client request from the door's side: what is refused, what is answered, and what is kept of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from llmproxyd.adapters import ADAPTERS
from llmproxyd.exchange.account import Ending
from llmproxyd.server import reply
from llmproxyd.server.answer import format_usd
from llmproxyd.values.cost import NANOS_PER_USD, Price
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.request import Dialect, Operation
from llmproxyd.values.snapshot import Deployment, Timeouts
from tests.exchange.build import deployment_at, until
from tests.server.door import CHAT, MAX_BODY_BYTES, MESSAGES, Door, open_door
from tests.support.fake_provider import (
    Exchange,
    FakeProvider,
    answer,
    chat_body,
    chat_frames,
    hang,
    stream,
)
from tests.support.records import replace

BUSY = answer(503, b'{"error": {"message": "busy"}}')
BRIEF = Timeouts(connect_s=2.0, first_token_s=0.15, stall_s=20.0, total_s=20.0)


@pytest.fixture
async def door(first: FakeProvider, second: FakeProvider) -> AsyncIterator[Door]:
    async with open_door(deployment_at(first), deployment_at(second, "second")) as opened:
        yield opened


def data_of(text: str) -> list[Any]:
    lines = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) if line != "[DONE]" else line for line in lines]


async def read_head(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status and head of one answer on a bare connection."""
    text = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
    return int(text.split(" ", 2)[1]), text.lower()


class TestAnAnswer:
    async def test_says_who_gave_it_and_what_it_cost(self, first: FakeProvider) -> None:
        dear = replace(deployment_at(first), price=Price(NANOS_PER_USD, 2 * NANOS_PER_USD))
        async with open_door(dear) as door:
            response = await door.post()
            assert response.status == 200
            assert await response.read() == chat_body()
        headers = response.headers
        assert headers["x-llmproxyd-provider"] == "first"
        assert headers["x-llmproxyd-model"] == "m"
        assert headers["x-llmproxyd-attempts"] == "1"
        assert headers["x-llmproxyd-generation"] == "1"
        assert headers["x-llmproxyd-label"] == "internal"
        assert headers["x-llmproxyd-cost-usd"] == "0.000011"
        assert float(headers["x-llmproxyd-overhead-ms"]) >= 0
        assert headers["x-request-id"] == headers["x-llmproxyd-request-id"]
        [record] = door.records
        assert (record.ending, record.status) == (Ending.SERVED, 200)
        assert record.request_id == headers["x-request-id"]
        assert record.cost_nanos == 11_000
        assert record.bytes_out == len(chat_body())
        assert record.first_content_s is not None
        assert 0 <= record.overhead_s <= record.first_content_s <= record.total_s

    async def test_as_a_stream_says_what_is_known_at_its_head(self, door: Door) -> None:
        response = await door.post(stream=True)
        text = await response.text()
        assert response.content_type == "text/event-stream"
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-llmproxyd-provider"] == "first"
        assert data_of(text)[-1] == "[DONE]"
        [record] = door.records
        assert (record.ending, record.status) == (Ending.SERVED, 200)
        assert record.usage is not None
        assert record.bytes_out == len(text.encode())

    async def test_counts_the_attempts_it_took(
        self, door: Door, first: FakeProvider, second: FakeProvider
    ) -> None:
        first.manner = BUSY
        response = await door.post()
        assert response.headers["x-llmproxyd-attempts"] == "2"
        assert response.headers["x-llmproxyd-provider"] == "second"
        [record] = door.records
        assert [a.deployment for a in record.attempts] == ["first/m", "second/m"]

    async def test_leaves_the_connection_for_the_next_request(self, door: Door) -> None:
        ports = set()
        for wanted in (False, True, False):
            response = await door.post(stream=wanted)
            assert response.connection is None or response.connection.transport is not None
            await response.read()
            ports.add(len(door.session.connector._conns))  # type: ignore[union-attr]
        assert ports == {1}

    async def test_warns_in_words_that_fit_a_header(self, first: FakeProvider) -> None:
        """What a translation leaves out is named by the client, who may name it anything."""
        anthropic = deployment_at(first, dialect=Dialect.ANTHROPIC_MESSAGES)
        first.manner = answer(
            body=json.dumps(
                {
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "model": "m",
                    "content": [{"type": "text", "text": "hi"}],
                    "stop_reason": "end_turn",
                    "usage": {"input_tokens": 1, "output_tokens": 1},
                }
            ).encode()
        )
        async with open_door(anthropic) as door:
            odd: dict[str, Any] = {"odd\r\nx-evil: 1": True, "x" * 5000: 1, "seed": 7}
            response = await door.post(**odd)
            assert response.status == 200
        assert "x-evil" not in response.headers
        assert response.headers["x-llmproxyd-warnings"].startswith("odd??x-evil: 1: not carried")
        assert len(response.headers["x-llmproxyd-warnings"]) <= 1000


class TestABody:
    async def test_that_says_it_is_too_long_is_refused_unread(self, door: Door) -> None:
        reader, writer = await door.raw(door.head(content_length=str(MAX_BODY_BYTES + 1)))
        status, head = await read_head(reader)
        assert status == 413
        assert "connection: close" in head
        writer.close()
        [record] = door.records
        assert record.failure is not None
        assert record.failure.code == "request_too_large"

    async def test_that_turns_out_too_long_is_refused(self, door: Door) -> None:
        chunk = b"%x\r\n%b\r\n" % (MAX_BODY_BYTES + 1, b"x" * (MAX_BODY_BYTES + 1))
        reader, writer = await door.raw(door.head(transfer_encoding="chunked"), chunk)
        assert (await read_head(reader))[0] == 413
        writer.close()

    async def test_that_comes_too_slowly_is_refused(self, first: FakeProvider) -> None:
        async with open_door(deployment_at(first), body_timeout_s=0.05) as door:
            reader, writer = await door.raw(door.head(content_length="10"), b"{")
            status, head = await read_head(reader)
            assert status == 408
            assert "connection: close" in head
            assert b"within 0.05 s" in await reader.read(1000)
            writer.close()

    async def test_that_cannot_be_unpacked_is_refused(self, door: Door) -> None:
        head = door.head(content_encoding="gzip", content_length="5")
        reader, writer = await door.raw(head, b"abcde")
        assert (await read_head(reader))[0] == 400
        writer.close()

    async def test_that_is_cut_has_nobody_to_answer(self, door: Door) -> None:
        _, writer = await door.raw(door.head(content_length="100"), b"{")
        await until(lambda: door.web.count == 1)
        writer.close()
        await until(lambda: bool(door.records))
        assert door.records[0].ending is Ending.CANCELLED
        assert door.web.count == 0

    async def test_that_waits_for_leave_is_invited(self, door: Door) -> None:
        body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
        reader, writer = await door.raw(door.head(content_length=str(len(body)), expect="100-continue"))
        assert (await read_head(reader))[0] == 100
        writer.write(body)
        assert (await read_head(reader))[0] == 200
        writer.close()

    async def test_that_does_not_say_it_is_json_is_refused(self, door: Door) -> None:
        response = await door.session.post(CHAT, data=b"{}", headers={"content-type": "text/plain"})
        assert response.status == 415
        assert (await response.json())["error"]["code"] == "unsupported_media_type"

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": "m"}'])
    async def test_that_makes_no_sense_is_refused(self, door: Door, body: bytes) -> None:
        response = await door.session.post(CHAT, data=body, headers={"content-type": "application/json"})
        assert response.status == 400
        assert (await response.json())["error"]["message"]
        [record] = door.records
        assert record.ending is Ending.FAILED
        assert door.registry.begun == []


class TestARefusal:
    async def test_is_told_in_the_clients_dialect(self, door: Door) -> None:
        response = await door.post(MESSAGES, model="unheard-of")
        told = await response.json()
        assert response.status == 404
        assert told["type"] == "error"
        assert told["error"]["type"] == "not_found_error"
        assert response.headers["request-id"] == response.headers["x-llmproxyd-request-id"]

    async def test_after_attempts_asks_not_to_be_repeated(
        self, door: Door, first: FakeProvider, second: FakeProvider
    ) -> None:
        first.manner = second.manner = answer(429, b"{}", retry_after="7")
        response = await door.post()
        assert response.status == 429
        assert response.headers["x-should-retry"] == "false"
        assert response.headers["x-llmproxyd-attempts"] == "2"
        assert response.headers["retry-after"] in ("6", "7")

    async def test_without_attempts_does_not(self, door: Door) -> None:
        response = await door.post(model="unheard-of")
        assert "x-should-retry" not in response.headers
        assert response.headers["x-llmproxyd-attempts"] == "0"

    @pytest.mark.parametrize(
        ("header", "value"),
        [("deadline", "soon"), ("deadline", "0s"), ("priority", "urgent"), ("project", "a\tb")],
    )
    async def test_names_the_header_that_makes_no_sense(self, door: Door, header: str, value: str) -> None:
        response = await door.post(headers={f"x-llmproxyd-{header}": value})
        assert response.status == 400
        assert (await response.json())["error"]["param"] == f"x-llmproxyd-{header}"


class TestHeaders:
    async def test_a_deadline_shortens_the_wait(self, door: Door, first: FakeProvider) -> None:
        first.manner = hang
        response = await door.post(headers={"x-llmproxyd-deadline": "80ms"})
        assert response.status == 504
        assert door.records[0].total_s < 5
        assert door.records[0].failure is not None
        assert door.records[0].failure.code == "deadline"

    async def test_a_longer_one_than_the_operators_changes_nothing(self, first: FakeProvider) -> None:
        first.manner = hang
        async with open_door(deployment_at(first), fallback={"deadline_s": 0.08}) as door:
            response = await door.post(headers={"x-llmproxyd-deadline": "60m"})
            assert response.status == 504
            assert door.records[0].total_s < 5

    @pytest.mark.parametrize("priority", ["interactive", "normal", "batch", "Batch"])
    async def test_a_priority_is_understood(self, door: Door, priority: str) -> None:
        response = await door.post(headers={"x-llmproxyd-priority": priority})
        assert response.status == 200

    async def test_claims_are_kept_for_the_log(self, door: Door) -> None:
        await door.post(headers={"x-llmproxyd-project": "web", "x-llmproxyd-user": "alice"})
        [record] = door.records
        assert (record.project, record.user, record.task) == ("web", "alice", "")


class TestCountingTokens:
    PATH = MESSAGES + "/count_tokens"

    async def test_is_an_estimate_where_nobody_counts(self, first: FakeProvider) -> None:
        async with open_door(counting(first, Dialect.OPENAI_CHAT)) as door:
            response = await door.post(self.PATH)
            assert response.status == 200
            assert (await response.json())["input_tokens"] > 0
            assert response.headers["x-llmproxyd-warnings"] == "input tokens are estimated"
            assert not first.seen
            assert door.records[0].ending is Ending.SERVED

    async def test_is_the_providers_where_it_counts(self, first: FakeProvider) -> None:
        first.manner = answer(body=b'{"input_tokens": 4711}')
        async with open_door(counting(first)) as door:
            response = await door.post(self.PATH)
            assert (await response.json())["input_tokens"] == 4711
            assert "x-llmproxyd-warnings" not in response.headers

    async def test_is_an_estimate_where_its_counter_fails(self, first: FakeProvider) -> None:
        first.manner = BUSY
        async with open_door(counting(first)) as door:
            response = await door.post(self.PATH)
            assert response.status == 200
            assert response.headers["x-llmproxyd-warnings"] == "input tokens are estimated"
            assert [kind for _, kind in settled(door)] == [FailureKind.OVERLOADED]

    async def test_is_refused_for_a_model_that_does_not_exist(self, door: Door) -> None:
        response = await door.post(self.PATH, model="unheard-of")
        assert response.status == 404


def counting(fake: FakeProvider, dialect: Dialect = Dialect.ANTHROPIC_MESSAGES) -> Deployment:
    deployment = deployment_at(fake, dialect=dialect)
    return replace(deployment, operations=frozenset({Operation.CHAT, Operation.COUNT_TOKENS}))


def settled(door: Door) -> list[tuple[str, FailureKind | None]]:
    return [(name, o.failure.kind if o.failure else None) for name, o in door.registry.settled]


class TestSignsOfLife:
    async def test_come_while_attempts_go_on(self, first: FakeProvider, second: FakeProvider) -> None:
        """The 200 is out before anybody has answered; the next candidate is tried behind it."""
        first.manner = hang
        slow = deployment_at(first, timeouts=BRIEF)
        async with open_door(slow, deployment_at(second, "second"), ping_after_s=0.03) as door:
            response = await door.post(stream=True)
            assert not second.seen
            text = await response.text()
        assert text.startswith(": keep-alive\n\n: keep-alive\n\n")
        assert data_of(text)[-1] == "[DONE]"
        assert "x-llmproxyd-request-id" in response.headers
        assert "x-llmproxyd-provider" not in response.headers
        [record] = door.records
        assert record.ending is Ending.SERVED
        assert record.deployment is not None
        assert record.deployment.name == "second/m"

    async def test_do_not_come_where_the_first_content_is_quick(self, door: Door) -> None:
        response = await door.post(stream=True)
        assert "keep-alive" not in await response.text()

    @pytest.mark.parametrize("path", [CHAT, MESSAGES])
    async def test_a_failure_behind_them_is_told_in_the_stream(self, first: FakeProvider, path: str) -> None:
        first.manner = hang
        async with open_door(deployment_at(first, timeouts=BRIEF), ping_after_s=0.03) as door:
            response = await door.post(path, stream=True)
            assert response.status == 200
            told = data_of(await response.text())
        assert told[-1]["error"]["message"]
        assert "[DONE]" not in told
        [record] = door.records
        assert (record.ending, record.status) == (Ending.CUT, 200)
        assert record.failure is not None
        assert record.failure.kind is FailureKind.TIMEOUT

    async def test_a_client_that_leaves_during_them_stops_everything(self, first: FakeProvider) -> None:
        first.manner = hang
        async with open_door(deployment_at(first), ping_after_s=0.02) as door:
            response = await door.post(stream=True)
            await response.content.readany()
            response.close()
            await until(lambda: first.seen[0].gone_s is not None)
            await until(lambda: bool(door.records))
            assert door.records[0].ending is Ending.CANCELLED
            assert len(door.registry.settled) == 1


class TestLeaving:
    @pytest.mark.parametrize("wanted", [True, False])
    async def test_before_the_answer_is_recorded_and_stops_the_provider(
        self, door: Door, first: FakeProvider, wanted: bool
    ) -> None:
        first.manner = hang
        asking = asyncio.ensure_future(door.post(stream=wanted))
        await until(lambda: bool(first.seen))
        asking.cancel()
        await until(lambda: bool(door.records))
        assert door.records[0].ending is Ending.CANCELLED
        assert settled(door) == [("first/m", None)]
        await until(lambda: first.seen[0].gone_s is not None)
        assert door.web.count == 0

    async def test_in_the_middle_too(self, door: Door, first: FakeProvider) -> None:
        first.manner = stream(chat_frames(), stall_after=2)
        response = await door.post(stream=True)
        await response.content.readany()
        response.close()
        await until(lambda: bool(door.records))
        assert door.records[0].ending is Ending.CANCELLED
        assert door.records[0].bytes_out > 0
        assert settled(door) == [("first/m", None)]

    @pytest.mark.parametrize("wanted", [True, False])
    async def test_a_client_that_reads_nothing_is_let_go(
        self, first: FakeProvider, monkeypatch: pytest.MonkeyPatch, wanted: bool
    ) -> None:
        """It is there, and takes nothing: it must not hold a provider's connection for ever."""
        monkeypatch.setattr(reply, "CLIENT_STALL_S", 0.1)
        huge = "x" * 16_000_000
        first.manner = answer(body=chat_body(huge)) if not wanted else endless
        async with open_door(deployment_at(first), client_stall_s=0.1) as door:
            body = json.dumps(
                {"model": "m", "stream": wanted, "messages": [{"role": "user", "content": "x"}]}
            )
            _, writer = await door.raw(door.head(content_length=str(len(body))), body.encode())
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: bool(door.records), 10)
            assert door.records[0].ending is Ending.CANCELLED
            assert settled(door) == [("first/m", None)]
            writer.close()


async def endless(wire: Exchange) -> None:
    await wire.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    piece = chat_frames(["x" * 50_000])[1]
    while not wire.gone.is_set():
        await wire.chunk(piece)


class TestABug:
    """In a dialect, say: the request ends, the process does not, and the log knows which request it was."""

    async def test_before_the_answer_is_a_500_with_an_id(
        self, first: FakeProvider, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with open_door(deployment_at(first), adapters=broken_relay(at_frame=0)) as door:
            with caplog.at_level(logging.CRITICAL):
                response = await door.post(stream=True)
            told = await response.json()
            assert response.status == 500
            assert response.headers["connection"] == "close"
            request_id = response.headers["x-llmproxyd-request-id"]
            assert request_id in told["error"]["message"]
            assert "ZeroDivisionError" not in json.dumps(told)
            [record] = door.records
            assert record.request_id == request_id
            assert (record.ending, record.status) == (Ending.FAILED, 500)
            assert record.failure is not None
            assert (record.failure.kind, record.failure.detail) == (
                FailureKind.INTERNAL,
                "ZeroDivisionError",
            )
            assert len(door.registry.settled) == 1

    async def test_in_the_middle_of_a_stream_cuts_it(self, first: FakeProvider) -> None:
        """A second answer would be read as more of the first."""
        first.manner = stream(chat_frames(["a "] * 5), pause_s=0.01)
        async with open_door(deployment_at(first), adapters=broken_relay(at_frame=3)) as door:
            response = await door.post(stream=True)
            got = bytearray()
            with pytest.raises(aiohttp.ClientPayloadError):
                await collect(response, got)
            assert b"HTTP/1.1 500" not in got
            assert b'"a "' in got
            [record] = door.records
            assert (record.ending, record.status) == (Ending.CUT, 200)

    async def test_leaves_the_door_open(self, first: FakeProvider) -> None:
        async with open_door(deployment_at(first), adapters=broken_relay(at_frame=0)) as door:
            assert (await door.post(stream=True)).status == 500
            assert (await door.post(stream=False)).status == 200


async def collect(response: aiohttp.ClientResponse, got: bytearray) -> None:
    async for piece in response.content.iter_any():
        got += piece


def broken_relay(at_frame: int) -> dict[Dialect, Any]:
    """OpenAI's dialect with a relay that fails at a piece."""
    adapter = ADAPTERS[Dialect.OPENAI_CHAT]
    assert adapter.new_relay is not None
    make = adapter.new_relay

    class Broken:
        def __init__(self, **how: Any) -> None:
            self._real = make(**how)
            self._left = at_frame

        def feed(self, data: bytes) -> Any:
            self._left -= 1
            if self._left < 0:
                raise ZeroDivisionError("the client's own words")
            return self._real.feed(data)

        def close(self) -> Any:
            return self._real.close()

        def fail(self, said: bytes) -> bytes:
            return self._real.fail(said)

    return {Dialect.OPENAI_CHAT: replace(adapter, new_relay=Broken)}


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0"), (1, "0.000000001"), (1_076_800, "0.0010768"), (2_500_000_000, "2.5"), (10**9, "1")],
)
def test_money_is_written_without_exponent_or_trailing_zeros(nanos: int, text: str) -> None:
    assert format_usd(nanos) == text
