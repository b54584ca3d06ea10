"""One call to one candidate: when it may be committed, what ends it, and what becomes of its connection."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from llmproxyd.exchange.attempt import RunningAttempt
from llmproxyd.exchange.lane import Voice
from llmproxyd.exchange.upstream import MAX_ERROR_BYTES, AttemptFailed, Upstream
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect
from tests.exchange.build import PATIENT, attempt, deployment_at, in_turn, raw, until, voice
from tests.support.fake_provider import (
    Exchange,
    FakeProvider,
    Manner,
    answer,
    chat_body,
    chat_frames,
    cut_before_content,
    hang,
    stream,
)
from tests.support.records import replace

ROLE, GOOD, MORE, *END = chat_frames()
PING = b": ping\n\n"
CUT = b""
FAR_S = 1e12


def attempt_at(fake: FakeProvider, speaker: Voice | None = None, **timeouts: float) -> RunningAttempt:
    return attempt(deployment_at(fake, timeouts=replace(PATIENT, **timeouts)), speaker or with_usage())


def with_usage(**fields: Any) -> Voice:
    """Wants every frame there is, so that what comes out is what went in."""
    return voice(stream_options={"include_usage": True}, **fields)


async def begin(running: RunningAttempt, upstream: Upstream, deadline_s: float = FAR_S) -> None:
    await running.begin(upstream, deadline_s=deadline_s)


async def failure_at_begin(running: RunningAttempt, upstream: Upstream, deadline_s: float = FAR_S) -> Failure:
    with pytest.raises(AttemptFailed) as raised:
        await begin(running, upstream, deadline_s)
    return raised.value.failure


async def read_rest(running: RunningAttempt) -> tuple[bytes, Failure | None]:
    """All that follows the commit, and what it ended with."""
    pieces = []
    try:
        async for piece in running.rest():
            pieces.append(piece)
    except AttemptFailed as failed:
        return b"".join(pieces), failed.failure
    return b"".join(pieces), None


def paced(*pieces: bytes | asyncio.Event) -> Manner:
    """Chunks as they are; at an event, the wait until it is set; CUT hangs up."""

    async def manner(wire: Exchange) -> None:
        await wire.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for piece in pieces:
            if piece is CUT:
                wire.writer.close()
                return
            await (wire.chunk(piece) if isinstance(piece, bytes) else piece.wait())
        await wire.last_chunk()

    return manner


def endless(piece: bytes, *before: bytes) -> Manner:
    async def manner(wire: Exchange) -> None:
        await wire.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for first in before:
            await wire.chunk(first)
        while not wire.gone.is_set():
            await wire.chunk(piece)
            await asyncio.sleep(0.005)

    return manner


class TestTheCommit:
    async def test_of_a_stream_comes_with_its_first_content(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        thinking = asyncio.Event()
        first.manner = paced(ROLE, PING, thinking, GOOD, asyncio.Event())
        running = attempt_at(first)
        beginning = asyncio.ensure_future(begin(running, upstream))
        await until(lambda: running.lane is not None and bool(first.seen))
        assert not (await asyncio.wait({beginning}, timeout=0.05))[0]
        thinking.set()
        await beginning
        assert running.first == ROLE + PING + GOOD
        assert running.first_content_s is not None
        assert not running.complete
        running.close()

    async def test_of_a_whole_answer_comes_with_its_end(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = answer(body=chat_body())
        running = attempt_at(first, voice(stream=False))
        await begin(running, upstream)
        assert running.first == chat_body()
        assert running.complete
        assert running.usage is not None
        assert await read_rest(running) == (b"", None)
        running.close()

    async def test_gives_all_of_a_stream_that_came_at_once(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = stream([b"".join(chat_frames())])
        running = attempt_at(first)
        await begin(running, upstream)
        rest, failure = await read_rest(running)
        assert running.first + rest == b"".join(chat_frames())
        assert failure is None
        running.close()

    async def test_turns_json_into_the_stream_that_was_asked_for(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = answer(body=chat_body("Hi there"), content_type="application/json; charset=utf-8")
        running = attempt_at(first)
        await begin(running, upstream)
        assert running.complete
        assert b"Hi there" in running.first
        assert running.first.endswith(b"data: [DONE]\n\n")
        running.close()

    async def test_holds_what_a_translation_says_before_content(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = stream(chat_frames())
        running = attempt_at(first, voice("/v1/messages"))
        await begin(running, upstream)
        assert running.first.startswith(b"event: message_start\n")
        assert b"content_block_delta" in running.first
        running.close()


class TestBeforeTheCommit:
    async def test_the_first_content_timer_runs_while_nothing_comes(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = hang
        failure = await failure_at_begin(attempt_at(first, first_token_s=0.05), upstream)
        assert (failure.kind, failure.code) == (FailureKind.TIMEOUT, "first_token_timeout")
        assert failure.message.startswith("first gave no content within 0.0")
        await until(lambda: first.seen[0].gone_s is not None)

    @pytest.mark.parametrize("sign", [PING, ROLE], ids=["pings", "empty frames"])
    async def test_signs_of_life_do_not_stop_it(
        self, first: FakeProvider, upstream: Upstream, sign: bytes
    ) -> None:
        first.manner = endless(sign)
        failure = await failure_at_begin(attempt_at(first, first_token_s=0.05), upstream)
        assert failure.code == "first_token_timeout"

    async def test_a_whole_answer_has_the_total_time(self, first: FakeProvider, upstream: Upstream) -> None:
        first.manner = hang
        running = attempt_at(first, voice(stream=False), first_token_s=0.001, total_s=0.06)
        start_s = time.monotonic()
        failure = await failure_at_begin(running, upstream)
        assert time.monotonic() - start_s >= 0.055
        assert failure.message.startswith("first gave no answer within 0.0")

    async def test_the_deadline_of_the_request_comes_before_its_own_limit(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = hang
        failure = await failure_at_begin(attempt_at(first), upstream, time.monotonic() + 0.05)
        assert (failure.kind, failure.code) == (FailureKind.TIMEOUT, "deadline")

    async def test_a_cut_is_a_failure(self, first: FakeProvider, upstream: Upstream) -> None:
        first.manner = cut_before_content
        failure = await failure_at_begin(attempt_at(first), upstream)
        assert failure.kind is FailureKind.BAD_ANSWER

    async def test_an_end_without_content_is_a_failure(self, first: FakeProvider, upstream: Upstream) -> None:
        first.manner = stream([ROLE])
        failure = await failure_at_begin(attempt_at(first), upstream)
        assert failure.kind is FailureKind.BAD_ANSWER

    async def test_an_error_inside_the_stream_is_a_failure(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        error = b'data: {"error": {"message": "overloaded", "type": "overloaded_error", "code": 529}}\n\n'
        first.manner = stream([ROLE, error])
        running = attempt_at(first)
        failure = await failure_at_begin(running, upstream)
        assert failure.kind is FailureKind.OVERLOADED

    async def test_a_refusal_is_read_as_its_dialect_says(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = answer(429, b'{"error": {"message": "slow down"}}', retry_after="7")
        failure = await failure_at_begin(attempt_at(first), upstream)
        assert failure.kind is FailureKind.RATE_LIMITED
        assert failure.retry_after_s == 7

    @pytest.mark.parametrize(
        "manner",
        [
            pytest.param(answer(503, b"x" * (MAX_ERROR_BYTES + 200_000), "text/html"), id="too long"),
            pytest.param(raw(b"HTTP/1.1 503 No\r\ncontent-length: 99\r\n\r\n<html"), id="cut"),
        ],
    )
    async def test_a_refusal_that_cannot_be_read_is_judged_by_its_status(
        self, first: FakeProvider, upstream: Upstream, manner: Manner
    ) -> None:
        first.manner = manner
        failure = await failure_at_begin(attempt_at(first), upstream)
        assert (failure.kind, failure.status) == (FailureKind.OVERLOADED, 503)

    async def test_who_stops_waiting_stops_the_provider(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = paced(ROLE, asyncio.Event())
        beginning = asyncio.ensure_future(begin(attempt_at(first), upstream))
        await until(lambda: bool(first.seen))
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        await until(lambda: first.open == 0 or first.seen[0].gone_s is not None)


class TestAfterTheCommit:
    async def test_the_rest_is_the_rest(self, first: FakeProvider, upstream: Upstream) -> None:
        first.manner = stream(chat_frames())
        running = attempt_at(first)
        await begin(running, upstream)
        rest, failure = await read_rest(running)
        assert running.first + rest == b"".join(chat_frames())
        assert failure is None
        assert running.complete
        assert running.usage is not None
        assert running.usage.output_tokens == 2

    async def test_a_cut_comes_after_the_last_good_piece(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        committed, read = asyncio.Event(), asyncio.Event()
        first.manner = paced(ROLE, GOOD, committed, MORE, read, CUT)
        running = attempt_at(first)
        await begin(running, upstream)
        committed.set()
        rest, failure = b"", None
        try:
            async for piece in running.rest():
                rest += piece
                read.set()
        except AttemptFailed as failed:
            failure = failed.failure
        assert running.first + rest == ROLE + GOOD + MORE
        assert failure is not None
        assert failure.kind is FailureKind.BAD_ANSWER

    async def test_a_silent_provider_has_stalled(self, first: FakeProvider, upstream: Upstream) -> None:
        first.manner = stream(chat_frames(), stall_after=2)
        running = attempt_at(first, stall_s=0.05)
        await begin(running, upstream)
        _, failure = await read_rest(running)
        assert failure is not None
        assert (failure.kind, failure.code) == (FailureKind.TIMEOUT, "stalled")

    async def test_pings_do_not_keep_a_stalled_one_alive(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = endless(PING, ROLE, GOOD)
        running = attempt_at(first, stall_s=0.05)
        await begin(running, upstream)
        _, failure = await read_rest(running)
        assert failure is not None
        assert failure.code == "stalled"
        running.close()

    @pytest.mark.parametrize("slow_at", [MORE, PING], ids=["content", "a ping"])
    async def test_a_slow_client_is_no_stall(
        self, first: FakeProvider, upstream: Upstream, slow_at: bytes
    ) -> None:
        """The time the client takes is not the provider's, whatever it takes it for."""
        committed, taken = asyncio.Event(), asyncio.Event()
        first.manner = paced(ROLE, GOOD, committed, slow_at, taken, MORE, *END)
        running = attempt_at(first, stall_s=0.1)
        await begin(running, upstream)
        committed.set()
        got = b""
        async for piece in running.rest():
            got += piece
            if got == slow_at:
                await asyncio.sleep(0.25)
                # Only after the client is back: until then nothing was there to read.
                asyncio.get_running_loop().call_later(0.02, taken.set)
        assert got == slow_at + MORE + b"".join(END)

    async def test_the_total_time_ends_even_a_lively_one(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = endless(GOOD, ROLE)
        running = attempt_at(first, total_s=0.1)
        await begin(running, upstream)
        _, failure = await read_rest(running)
        assert failure is not None
        assert (failure.kind, failure.code) == (FailureKind.TIMEOUT, "total_timeout")
        running.close()

    async def test_an_error_inside_the_stream_ends_it(self, first: FakeProvider, upstream: Upstream) -> None:
        committed = asyncio.Event()
        error = b'data: {"error": {"message": "no", "code": 500}}\n\n'
        first.manner = paced(ROLE, GOOD, committed, MORE + error)
        running = attempt_at(first)
        await begin(running, upstream)
        committed.set()
        rest, failure = await read_rest(running)
        assert running.first + rest == ROLE + GOOD + MORE
        assert failure is not None
        running.close()

    async def test_but_not_when_it_came_together_with_the_first_content(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        """Nothing has been sent: somebody else may still answer."""
        first.manner = stream([ROLE + GOOD + b'data: {"error": {"message": "no", "code": 500}}\n\n'])
        failure = await failure_at_begin(attempt_at(first), upstream)
        assert failure.kind is FailureKind.OVERLOADED


class TestTheConnection:
    async def test_serves_again_after_a_complete_answer(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = in_turn(stream(chat_frames()), answer(body=chat_body()))
        for speaker in (with_usage(), voice(stream=False)):
            running = attempt_at(first, speaker)
            await begin(running, upstream)
            await read_rest(running)
            await running.drain()
            running.close()
        assert first.connections == 1

    async def test_serves_again_when_only_the_last_chunk_was_late(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        late = asyncio.Event()
        first.manner = in_turn(paced(*chat_frames(), late), answer(body=chat_body()))
        running = attempt_at(first)
        await begin(running, upstream)
        await read_rest(running)
        asyncio.get_running_loop().call_later(0.02, late.set)
        await running.drain()
        running.close()
        await begin(attempt_at(first, voice(stream=False)), upstream)
        assert first.connections == 1

    async def test_is_not_waited_for_when_it_does_not_end(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = paced(*chat_frames(), asyncio.Event())
        running = attempt_at(first)
        await begin(running, upstream)
        await read_rest(running)
        await asyncio.wait_for(running.drain(), 2)
        running.close()
        await until(lambda: first.open == 0 or first.seen[0].gone_s is not None)

    async def test_is_cut_when_the_answer_is_left_in_the_middle(
        self, first: FakeProvider, upstream: Upstream
    ) -> None:
        first.manner = paced(ROLE, GOOD, asyncio.Event())
        running = attempt_at(first)
        await begin(running, upstream)
        await running.drain()
        running.close()
        await until(lambda: first.seen[0].gone_s is not None)


async def test_a_dialect_that_streams_as_json_is_read_as_a_stream(
    first: FakeProvider, upstream: Upstream
) -> None:
    """Asked for in Accept, JSON is what its stream is made of, not an answer that came whole."""
    running = attempt(deployment_at(first, dialect=Dialect.GEMINI_GENERATE), voice())
    running.call = replace(running.call, headers={**running.call.headers, "accept": "application/json"})
    text = b'{"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}}]}'
    first.manner = paced_json(
        b"[" + text, b"," + text.replace(b"}]}}]}", b'}]}, "finishReason": "STOP"}]}') + b"]"
    )
    await begin(running, upstream)
    rest, failure = await read_rest(running)
    assert failure is None
    assert (running.first + rest).count(b'"Hi"') == 2
    running.close()


def paced_json(*pieces: bytes) -> Manner:
    return stream(pieces, content_type="application/json")
