"""One call to one candidate: send, wait for the commit, hand out the rest; its timers and its end.

A stream commits at its first content, a whole answer when it is complete. Before that any failure may lead to another
attempt; after it the failure is told to the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from math import inf

import msgspec

from llmproxyd.exchange.alarm import Alarm
from llmproxyd.exchange.lane import Lane
from llmproxyd.exchange.quotes import without_quotes
from llmproxyd.exchange.upstream import (
    MAX_ERROR_BYTES,
    MAX_WHOLE_ANSWER_BYTES,
    AttemptFailed,
    Reply,
    Upstream,
)
from llmproxyd.values.answer import Finish
from llmproxyd.values.clearance import Clearance
from llmproxyd.values.contracts import Adapter, Call, Progress
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect, Operation
from llmproxyd.values.snapshot import Deployment

_DRAIN_S = 0.25
_BYTES_PER_TOKEN = 4
_FRAMES_WITHOUT_TEXT = 1
"""The first one names a role, or begins a block."""
_FRAME_ENDS = {Dialect.OLLAMA_CHAT: b"\n"}


class Patience(msgspec.Struct, frozen=True):
    """How long an attempt may be silent, from what its deployment has taught: before the commit, and between two pieces
    of content. Seconds; the operator's own timeouts always hold as well."""

    commit_s: float = inf
    stall_s: float = inf


CONFIGURED = Patience()


class RunningAttempt:
    """``begin`` first; when it returns, ``first`` holds the bytes to commit with and ``rest`` gives what follows. ``sent``:
    the provider may have seen some of the request.

    Times are monotonic seconds of ``clock``, which runs with the loop's own. ``clearance``: the candidate's; without one
    nothing is sent.
    """

    def __init__(
        self,
        *,
        deployment: Deployment,
        adapter: Adapter,
        lane: Lane,
        call: Call,
        clock: Callable[[], float],
        operation: Operation = Operation.CHAT,
        clearance: Clearance | None = None,
    ) -> None:
        self.deployment = deployment
        self.clearance = clearance
        self.operation = operation
        self.lane = lane
        self.call = call
        self._adapter = adapter
        self._clock = clock
        self._reply: Reply | None = None
        self.started_s = clock()
        self.first_content_s: float | None = None
        self.first = b""
        self.complete = False
        self.sent = False
        self.longest_gap_s: float | None = None
        self._stall_s = deployment.provider.timeouts.stall_s
        self.usage: Usage | None = None
        self.bytes_read = 0
        self._frames = 0
        self._begun_bytes = 0
        self._least_bytes: int | None = None
        self._frame_end = _FRAME_ENDS.get(adapter.dialect, b"\n\n")
        self.finish: Finish | None = None

    # --- up to the commit -----------------------------------------------------------------------------------

    async def begin(self, upstream: Upstream, *, deadline_s: float, patience: Patience = CONFIGURED) -> None:
        """Returns when the attempt may be committed. Raises AttemptFailed; then the connection is gone."""
        timeouts = self.deployment.provider.timeouts
        allowed_s = timeouts.first_token_s if self.call.stream else timeouts.total_s
        own_limit_s = self.started_s + min(allowed_s, patience.commit_s)
        self._stall_s = min(timeouts.stall_s, patience.stall_s)
        try:
            with Alarm(min(own_limit_s, deadline_s)):
                self._reply = await upstream.send(self.call, self.deployment, self.clearance, self._note_sent)
                await self._until_commit(self._reply)
        except TimeoutError:
            self.close()
            raise AttemptFailed(self._silent(deadline_first=deadline_s < own_limit_s)) from None
        except BaseException:
            self.close()
            raise
        self.first_content_s = self._clock()

    def _note_sent(self) -> None:
        self.sent = True

    async def _until_commit(self, reply: Reply) -> None:
        if not 200 <= reply.status < 300:
            body = await _read_error(reply)
            raise self._failed(self._adapter.parse_failure(reply.status, reply.headers, body))
        if not self.call.stream:
            self._take_whole(await reply.read_all(MAX_WHOLE_ANSWER_BYTES))
        elif self._came_whole(reply):
            self._take(self.lane.whole_as_stream(await reply.read_all(MAX_WHOLE_ANSWER_BYTES)))
            self.complete = True
        else:
            await self._until_content(reply)

    def _came_whole(self, reply: Reply) -> bool:
        """A stream was asked for, and JSON came. (One dialect can stream as a JSON array, and says so in Accept.)"""
        kind = reply.headers.get("Content-Type", "")
        return kind.startswith("application/json") and not self.call.headers.get("accept", "").startswith(
            "application/json"
        )

    async def _until_content(self, reply: Reply) -> None:
        while True:
            data = await reply.read()
            progress = self.lane.feed(data) if data else self.lane.close()
            self._count(data, progress)
            self._take(progress)
            if not data or progress.done:
                self.complete = True
            if progress.content or self.complete:
                return

    def _take(self, progress: Progress) -> None:
        self.usage = progress.usage or self.usage
        self.finish = progress.finish or self.finish
        if progress.failure is not None:
            raise self._failed(progress.failure)
        self.first += progress.out

    def _take_whole(self, body: bytes) -> None:
        self.bytes_read = len(body)
        whole = self.lane.whole(body)
        if whole.failure is not None:
            raise self._failed(whole.failure)
        self.first, self.usage, self.finish = whole.body, whole.usage, whole.finish
        self.complete = True

    # --- after it -------------------------------------------------------------------------------------------

    async def rest(self) -> AsyncGenerator[bytes, None]:
        """What follows ``first``, piece by piece. Raises AttemptFailed after the last good piece."""
        reply = self._reply
        if self.complete or reply is None:
            return
        stall_s = self._stall_s
        end_s = self.started_s + self.deployment.provider.timeouts.total_s
        content_s = self._clock()
        try:
            with Alarm(None) as alarm:
                while not self.complete:
                    alarm.set(min(content_s + stall_s, end_s))
                    data = await reply.read()
                    progress = self.lane.feed(data) if data else self.lane.close()
                    self._count(data, progress)
                    # The timer guards against a silent provider, not a slow client: it rests while we write.
                    alarm.set(None)
                    self.usage = progress.usage or self.usage
                    self.finish = progress.finish or self.finish
                    if progress.out:
                        written_s = self._clock()
                        yield progress.out
                        content_s += self._clock() - written_s
                    if progress.failure is not None:
                        raise self._failed(progress.failure)
                    if progress.content:
                        now_s = self._clock()
                        self._note_gap(now_s - content_s)
                        content_s = now_s
                    self.complete = not data or progress.done
        except TimeoutError:
            raise AttemptFailed(self._stalled(at_end=self._clock() >= end_s)) from None

    def _note_gap(self, gap_s: float) -> None:
        if self.longest_gap_s is None or gap_s > self.longest_gap_s:
            self.longest_gap_s = gap_s

    def estimate_output(self) -> int:
        """About how many tokens were generated, where the provider does not say: a token for each frame of a stream, or
        one for each four bytes beyond what every frame has around its text, whichever is more."""
        if not self.call.stream:
            return -(-self.bytes_read // _BYTES_PER_TOKEN)
        around = self._least_bytes
        text_bytes = 0 if around is None else self.bytes_read - self._frames * around
        return max(self._frames - _FRAMES_WITHOUT_TEXT, text_bytes // _BYTES_PER_TOKEN, 0)

    def _count(self, data: bytes, progress: Progress) -> None:
        self.bytes_read += len(data)
        frames = data.count(self._frame_end)
        if not frames:
            self._begun_bytes += len(data)
            return
        left = len(data) - data.rfind(self._frame_end) - len(self._frame_end)
        whole_bytes, self._begun_bytes = self._begun_bytes + len(data) - left, left
        self._frames += frames
        # A frame that only says how it ended is shorter than one around a text: beside it every text would look long.
        if progress.content and progress.finish is None:
            each_bytes = whole_bytes // frames
            self._least_bytes = (
                each_bytes if self._least_bytes is None else min(self._least_bytes, each_bytes)
            )

    async def drain(self) -> None:
        """After the dialect's own end: read what little may follow, so that the connection can serve again."""
        if self._reply is None or not self.complete or self._reply.ended:
            return
        try:
            async with asyncio.timeout(_DRAIN_S):
                while await self._reply.read():
                    pass
        except (TimeoutError, AttemptFailed):
            # The answer is whole; a connection that does not end cleanly is merely not reused.
            return

    def close(self) -> None:
        """Lets go of the connection: reused if the answer was read to its end, else cut, so that the provider stops."""
        if self._reply is not None:
            self._reply.close()
            self._reply = None

    def _failed(self, failure: Failure) -> AttemptFailed:
        """For what the provider has said: nobody but the client may read that as it is."""
        return AttemptFailed(without_quotes(failure, self.call))

    def _silent(self, *, deadline_first: bool) -> Failure:
        name = self.deployment.provider.name
        if deadline_first:
            return Failure(
                FailureKind.TIMEOUT, f"{name} had not answered when the deadline came", code="deadline"
            )
        what = "no content" if self.call.stream else "no answer"
        waited_s = self._clock() - self.started_s
        return Failure(
            FailureKind.TIMEOUT, f"{name} gave {what} within {waited_s:.3g} s", code="first_token_timeout"
        )

    def _stalled(self, *, at_end: bool) -> Failure:
        name = self.deployment.provider.name
        if at_end:
            return Failure(
                FailureKind.TIMEOUT, f"the answer of {name} took longer than allowed", code="total_timeout"
            )
        return Failure(FailureKind.TIMEOUT, f"{name} stopped in the middle of its answer", code="stalled")


async def _read_error(reply: Reply) -> bytes:
    """What a refused call was answered with; nothing if it is too long or breaks off, since the status says enough."""
    try:
        return await reply.read_all(MAX_ERROR_BYTES)
    except AttemptFailed:
        return b""
