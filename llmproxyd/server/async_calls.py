"""`Prefer: respond-async`: any generating call, accepted at once and answered later. RFC 7240, section 4.1.

What can be refused without asking a provider is refused at once, as it would be otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from llmproxyd import jsontext
from llmproxyd.exchange.account import Ending
from llmproxyd.server.answer import known_headers
from llmproxyd.server.errand import new_task
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.intake import Visit
from llmproxyd.server.jobs import JobRunner, refusal_of
from llmproxyd.server.reply import JSON_TYPE, Written, send, send_json
from llmproxyd.server.responses import LOCAL_OWNER
from llmproxyd.state.job_file import StoreError
from llmproxyd.state.jobs import KeyTaken, QueueFull
from llmproxyd.surfaces.openai_failure import format_failure
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.job import Job, JobKind, JobResult, JobState, Task
from llmproxyd.values.request import Operation, Priority, Request

PREFIX = "/v1/async/"
PATH = re.compile(re.escape(PREFIX) + r"[^/?]{1,128}(?:/result)?")
ID_PREFIX = "async_"
_ID = re.compile(re.escape(ID_PREFIX) + "[0-9a-f]{32}")

_LASTING = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING})
_NO_STORE = {"Cache-Control": "no-store"}
_RETRY_AFTER_S: Mapping[JobState, str] = {JobState.QUEUED: "5", JobState.IN_PROGRESS: "2"}


def prefers_async(request: Request, headers: Mapping[str, str]) -> bool:
    """Whether the client wishes so, and it makes sense: counting tokens takes no time."""
    if request.operation not in _LASTING:
        return False
    told = getattr(headers, "getall", None)
    lines = told("Prefer", ()) if told is not None else [headers.get("prefer", "")]
    wishes = (wish.partition(";")[0].strip().lower() for line in lines for wish in line.split(","))
    return "respond-async" in wishes


class AsyncCalls:
    """One for the whole daemon. ``wall``: Unix seconds. ``owner_of`` says who makes a request."""

    def __init__(
        self,
        runner: JobRunner,
        *,
        wall: Callable[[], float],
        owner_of: Callable[[web.BaseRequest], str] = lambda _: LOCAL_OWNER,
    ) -> None:
        self._runner = runner
        self._store = runner.store
        self._wall = wall
        self._owner_of = owner_of

    # --- accepting ------------------------------------------------------------------------------------------------

    async def accept(
        self, http: web.BaseRequest, visit: Visit, request: Request, inherited: str | None
    ) -> Written:
        """request: understood, and somebody may answer it. Raises ExchangeFailed."""
        try:
            task = new_task(
                visit,
                request,
                kind=JobKind.ASYNC,
                id_prefix=ID_PREFIX,
                body=request.body,
                target=http.raw_path,
                inherited=inherited,
                priority=Priority.BATCH,
                created_s=self._wall(),
            )
        except BadRequest as bad:
            raise ExchangeFailed(bad.failure) from None
        job, _ = await submit(self._runner, task)
        body = jsontext.encode(_told(job))
        record = visit.record
        record.status, record.ending, record.bytes_out = 202, Ending.SERVED, len(body)
        head = {"Location": PREFIX + job.task.id, "Preference-Applied": "respond-async"}
        return await send(http, 202, body, {**known_headers(record), **head, **_NO_STORE})

    # --- coming back ------------------------------------------------------------------------------------------------

    async def view(self, http: web.BaseRequest) -> Written:
        """GET /v1/async/{id}, GET …/result, DELETE /v1/async/{id}."""
        job_id, _, part = http.raw_path.partition("?")[0].removeprefix(PREFIX).partition("/")
        try:
            job = await self._find(http, job_id, result=http.method == "GET")
            if http.method == "DELETE":
                return await self._delete(http, job, part)
            return await (self._result(http, job) if part else self._state(http, job))
        except ExchangeFailed as failed:
            return await refuse(http, failed.failure)
        except StoreError as error:
            return await refuse(http, refusal_of(error))

    async def _find(self, http: web.BaseRequest, job_id: str, *, result: bool) -> Job:
        job = None
        if _ID.fullmatch(job_id):
            job = await self._store.get(job_id, self._owner_of(http), result=result)
        if job is None:
            raise ExchangeFailed(_unknown(job_id))
        return job

    async def _state(self, http: web.BaseRequest, job: Job) -> Written:
        headers = dict(_NO_STORE)
        if not job.state.over:
            headers["Retry-After"] = _RETRY_AFTER_S[job.state]
        return await send(http, 200, format_job(job), headers)

    async def _result(self, http: web.BaseRequest, job: Job) -> Written:
        """The answer itself, as it would have come at once; 202 as long as there is none."""
        result = job.result
        if result is not None:
            headers = {**result.headers, **_NO_STORE}
            return await send(http, result.status, result.body, headers, content_type=result.content_type)
        if job.state.over:
            failure = Failure(
                FailureKind.NOT_FOUND,
                f"The request was {job.state.value}: it has no result.",
                code="no_result",
            )
            return await refuse(http, failure, status=410)
        headers = {**_NO_STORE, "Location": PREFIX + job.task.id, "Retry-After": _RETRY_AFTER_S[job.state]}
        return await send(http, 202, format_job(job), headers)

    async def _delete(self, http: web.BaseRequest, job: Job, part: str) -> Written:
        if part:
            raise ExchangeFailed(
                Failure(FailureKind.BAD_REQUEST, f"DELETE is served at {PREFIX}{job.task.id}, not below it.")
            )
        if not job.state.over and await self._runner.cancel(job.task.id):
            return await send_json(http, 200, {"id": job.task.id, "status": JobState.CANCELLED.value})
        await self._store.delete(job.task.id)
        return await send_json(http, 200, {"id": job.task.id, "deleted": True})


async def submit(runner: JobRunner, task: Task, **how: Any) -> tuple[Job, bool]:
    """``JobRunner.submit``, whose verdicts become those for the client. Raises ExchangeFailed."""
    try:
        return await runner.submit(task, **how)
    except (StoreError, QueueFull) as error:
        raise ExchangeFailed(refusal_of(error)) from None
    except KeyTaken:
        raise ExchangeFailed(
            Failure(
                FailureKind.BAD_REQUEST,
                "This Idempotency-Key was used with another request in the last 24 hours.",
                status=409,
                code="idempotency_key_reused",
                param="idempotency-key",
            )
        ) from None


async def refuse(http: web.BaseRequest, failure: Failure, *, status: int | None = None) -> Written:
    headers = dict(_NO_STORE)
    if failure.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, -int(-failure.retry_after_s // 1)))
    body = format_failure(failure, new_request_id())
    return await send(http, status or failure.client_status, body, headers)


def format_job(job: Job) -> bytes:
    """The state of a job; with the answer, byte for byte, once there is one."""
    told = jsontext.encode(_told(job))
    if job.result is None:
        return told
    return told[:-1] + b',"result":' + _format_result(job.result, job.task.stream) + b"}"


def _format_result(result: JobResult, stream: bool) -> bytes:
    """JSON stays what it is; a stream becomes a text, even one of JSON, which may have broken off."""
    plain = result.content_type == JSON_TYPE and not (stream and result.status == 200)
    body = result.body if plain else _text(result.body)
    head = jsontext.encode({"status": result.status, "headers": _all_headers(result)})
    return head[:-1] + b',"body":' + (body or b"null") + b"}"


def _text(body: bytes) -> bytes:
    return jsontext.encode(body.decode("utf-8", "replace"))


def _all_headers(result: JobResult) -> dict[str, str]:
    return {"content-type": result.content_type, **result.headers}


def _told(job: Job) -> dict[str, Any]:
    return {
        "id": job.task.id,
        "object": "async",
        "status": job.state.value,
        "created_at": int(job.task.created_s),
        "completed_at": None if job.completed_s is None else int(job.completed_s),
        "location": PREFIX + job.task.id,
    }


def _unknown(job_id: str) -> Failure:
    return Failure(
        FailureKind.NOT_FOUND,
        f"There is no asynchronous request with the id '{job_id[:128]}'; answers are kept for a day.",
        code="async_not_found",
    )
