"""A request that nobody waits for at a socket: the same way to the exchange, and its answer into one piece.

What can go wrong on the way ends in a result as a client would have got it; only being cancelled does not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from llmproxyd.exchange.account import Ending
from llmproxyd.exchange.attempt import RunningAttempt
from llmproxyd.exchange.run import Exchange
from llmproxyd.logs import get_logger
from llmproxyd.server.answer import add_cost, commit_headers
from llmproxyd.server.auth import Caller
from llmproxyd.server.intake import Intake, Visit
from llmproxyd.server.reply import JSON_TYPE
from llmproxyd.server.responses import LOCAL_OWNER
from llmproxyd.surfaces import SURFACES, gemini_generate
from llmproxyd.surfaces.responses_background import with_previous
from llmproxyd.values.contracts import Surface
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.job import JobKind, JobResult, JobState, Task
from llmproxyd.values.request import Request
from llmproxyd.values.snapshot import Tenant, VirtualKey

MAX_ANSWER_BYTES = 64 * 1024 * 1024

_log = get_logger("jobs")


class Ended(msgspec.Struct, frozen=True):
    """What came of a task. ``failure``: why it failed; a stream may have failed after its 200."""

    result: JobResult
    failure: Failure | None = None

    @property
    def state(self) -> JobState:
        return JobState.COMPLETED if self.failure is None else JobState.FAILED


def find_surface(target: str) -> Surface | None:
    """What is served at this path with query, as sent."""
    path = target.partition("?")[0]
    if path.startswith("/v1/v1/"):
        path = path.removeprefix("/v1")
    return SURFACES.get(path) or gemini_generate.find_surface(target)


def _find_key(tenant: Tenant | None, key_id: str) -> VirtualKey | None:
    return next((key for key in tenant.keys if key.id == key_id), None) if tenant is not None else None


_KEY_GONE = Failure(
    FailureKind.UNAUTHENTICATED,
    "The key that this was asked with has been taken back since.",
    code="invalid_api_key",
)


class Detached:
    """One for the whole daemon. max_bytes: of one answer, which has to be kept whole until it is done."""

    def __init__(self, intake: Intake, *, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._intake = intake
        self._max_bytes = max_bytes

    async def run(self, task: Task, hear: Callable[[bytes], None] | None = None) -> Ended:
        """hear: is given every piece of the answer as it comes."""
        visit = self._visit(task)
        try:
            return await self._run(visit, task, hear or _nobody)
        except ExchangeFailed as failed:
            return self._refuse(visit, failed.failure)
        except asyncio.CancelledError:
            self._intake.gone(visit)
            raise
        except Exception as bug:  # noqa: BLE001 - a bug ends one job, not the daemon
            _log.exception("job_crashed", job=task.id, request_id=visit.record.request_id)
            refused = self._refuse(visit, _crashed(visit.record.request_id))
            self._intake.crashed(visit, bug, begun=False)
            return refused
        finally:
            self._intake.leave(visit)

    def fail(self, task: Task, failure: Failure) -> Ended:
        """A task that is not run (again)."""
        visit = self._visit(task)
        refused = self._refuse(visit, failure)
        self._intake.leave(visit)
        return refused

    def _visit(self, task: Task) -> Visit:
        surface = find_surface(task.target)
        assert surface is not None, "only what a surface took is kept"
        visit = self._intake.admit(surface, task.headers)
        visit.owner = task.owner
        if task.owner != LOCAL_OWNER:
            visit.tenant = visit.generation.snapshot.tenants.get(task.owner)
            visit.caller = Caller(visit.tenant, _find_key(visit.tenant, task.key_id))
            visit.record.tenant, visit.record.key_id = task.owner, task.key_id
        return visit

    async def _run(self, visit: Visit, task: Task, hear: Callable[[bytes], None]) -> Ended:
        if task.key_id and visit.caller.key is None:
            raise ExchangeFailed(_KEY_GONE)
        request = with_previous(self._intake.understand(visit, task.body, task.target), task.previous)
        await self._intake.look(visit, request)
        plan = self._intake.decide(visit, request, task.inherited)
        # A background response is found in the store, under another id than its provider gave it.
        keeps = task.kind is JobKind.ASYNC
        listener = self._intake.listener(visit, request, plan) if keeps else None
        exchange = self._intake.open(visit, self._intake.voice(visit, request), plan)
        try:
            return await self._collect(visit, request, exchange, _both(hear, listener))
        finally:
            await exchange.close()

    async def _collect(
        self, visit: Visit, request: Request, exchange: Exchange, hear: Callable[[bytes], None]
    ) -> Ended:
        running = await exchange.commit()
        record = visit.record
        record.first_content_s = self._intake.clock() - visit.admitted_s
        headers = commit_headers(record, running, exchange.waited_s)
        hear(running.first)
        pieces, failure = [running.first], None
        if request.stream:
            failure = await self._rest(running, exchange, pieces, hear)
        else:
            add_cost(headers, exchange)
        body = b"".join(pieces)
        record.status, record.bytes_out, record.failure = 200, len(body), failure
        record.ending = Ending.SERVED if failure is None else Ending.CUT
        if failure is None:
            exchange.end()
        kind = visit.surface.stream_type if request.stream else JSON_TYPE
        return Ended(JobResult(200, kind, headers, body), failure)

    async def _rest(
        self, running: RunningAttempt, exchange: Exchange, pieces: list[bytes], hear: Callable[[bytes], None]
    ) -> Failure | None:
        """Adds what follows to ``pieces``; a failure is told as the dialect tells it inside a stream."""
        size = len(running.first)
        try:
            async with contextlib.aclosing(exchange.rest()) as following:
                async for piece in following:
                    size += len(piece)
                    if size > self._max_bytes:
                        raise ExchangeFailed(_too_long(self._max_bytes))
                    pieces.append(piece)
                    hear(piece)
        except ExchangeFailed as failed:
            pieces.append(running.lane.fail(failed.failure))
            hear(pieces[-1])
            return failed.failure
        return None

    def _refuse(self, visit: Visit, failure: Failure) -> Ended:
        refusal = self._intake.refuse(visit, failure)
        return Ended(JobResult(refusal.status, JSON_TYPE, refusal.headers, refusal.body), failure)


def _nobody(piece: bytes) -> None:
    """Hears nothing."""


def _both(hear: Callable[[bytes], None], listener: Callable[[bytes], None] | None) -> Callable[[bytes], None]:
    if listener is None:
        return hear

    def both(piece: bytes) -> None:
        hear(piece)
        listener(piece)

    return both


def _crashed(request_id: str) -> Failure:
    return Failure(FailureKind.INTERNAL, f"llmproxyd failed; its log tells more under {request_id}.")


def _too_long(max_bytes: int) -> Failure:
    return Failure(
        FailureKind.BAD_ANSWER, f"The answer is longer than {max_bytes} bytes, which is more than is kept."
    )
