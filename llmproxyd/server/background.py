"""Responses with `background`: accepted at once, made whether anybody waits or not, and asked for by their id.

Kept with the other jobs, so that a restart loses none. The dialect's own account: queued, in_progress, and how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.exchange.account import Ending
from llmproxyd.server.answer import STREAM_HEADERS, known_headers
from llmproxyd.server.async_calls import refuse, submit
from llmproxyd.server.detached import Detached, Ended
from llmproxyd.server.errand import new_task
from llmproxyd.server.intake import Visit
from llmproxyd.server.jobs import JobRunner, refusal_of
from llmproxyd.server.live import Channel
from llmproxyd.server.reply import CLIENT_STALL_S, JSON_TYPE, Response, let_go, send
from llmproxyd.server.responses import LOCAL_OWNER
from llmproxyd.state.job_file import StoreError
from llmproxyd.surfaces import openai_responses, responses_stored
from llmproxyd.surfaces.responses_background import (
    ID_PREFIX,
    Replay,
    Retelling,
    foreground_body,
    frames_after,
    new_background,
    read_replay,
    refuse_replay,
    retell,
    retell_failure,
    with_previous,
)
from llmproxyd.surfaces.responses_stream import KEEP_ALIVE
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.job import Job, JobKind, JobResult, JobState
from llmproxyd.values.request import Document, Priority, Request
from llmproxyd.values.stored import StoredResponse

PATH = re.compile(rf"/v1/responses/{ID_PREFIX}[^/?]{{1,128}}(?:/(?:cancel|input_items))?")
PING_S = 15.0
_ID = re.compile(ID_PREFIX + "[0-9a-f]{32}")
_LABEL = "x-llmproxyd-label"
_STREAM_TYPE = "text/event-stream"
_STATES = {JobState.EXPIRED: "failed", JobState.FAILED: "failed"}
_EXPIRED = Failure(FailureKind.INTERNAL, "The response waited for more than a day.", code="expired")


class Background:
    """One for the whole daemon. ``wall``: Unix seconds. ``owner_of`` says who makes a request."""

    def __init__(
        self,
        runner: JobRunner,
        detached: Detached,
        *,
        wall: Callable[[], float],
        owner_of: Callable[[web.BaseRequest], str] = lambda _: LOCAL_OWNER,
        ping_s: float = PING_S,
    ) -> None:
        self._runner = runner
        self._store = runner.store
        self._detached = detached
        self._wall = wall
        self._owner_of = owner_of
        self._ping_s = ping_s
        runner.handle(JobKind.RESPONSE, self._perform)

    # --- accepting ------------------------------------------------------------------------------------------------

    async def accept(
        self, http: web.BaseRequest, visit: Visit, request: Request, inherited: str | None
    ) -> web.StreamResponse:
        """request: understood, and somebody may answer it. Raises ExchangeFailed."""
        try:
            task = new_task(
                visit,
                request,
                kind=JobKind.RESPONSE,
                id_prefix=ID_PREFIX,
                body=foreground_body(request),
                target=http.raw_path,
                inherited=inherited,
                # Somebody watches a stream.
                priority=Priority.NORMAL if request.stream else Priority.BATCH,
                created_s=self._wall(),
            )
        except BadRequest as bad:
            raise ExchangeFailed(bad.failure) from None
        channel = Channel() if request.stream else None
        if channel is not None:
            channel.put(Retelling(_face(request, task.id, task.created_s)).begin())
        job, fresh = await submit(self._runner, task, channel=channel)
        if not fresh:
            job = await self._store.get(job.task.id, visit.owner, body=True, result=True) or job
        visit.record.status, visit.record.ending = 200, Ending.SERVED
        headers = known_headers(visit.record)
        if job.task.stream:
            return await self._stream(http, job, Replay(), headers)
        body = jsontext.encode(_told(job))
        visit.record.bytes_out = len(body)
        return await send(http, 200, body, headers)

    # --- doing ----------------------------------------------------------------------------------------------------

    async def _perform(self, job: Job, channel: Channel) -> Ended:
        return await (self._perform_stream(job, channel) if job.task.stream else self._perform_whole(job))

    async def _perform_whole(self, job: Job) -> Ended:
        ended = await self._detached.run(job.task)
        if ended.failure is not None:
            return ended
        response = retell(jsontext.decode(ended.result.body), _face_of(job))
        return replace(ended, result=replace(ended.result, body=jsontext.encode(response)))

    async def _perform_stream(self, job: Job, channel: Channel) -> Ended:
        telling = Retelling(_face_of(job), channel.next_number)
        if channel.empty:
            channel.put(telling.begin())
        ended = await self._detached.run(job.task, lambda piece: channel.put(telling.feed(piece)))
        if ended.result.status != 200:
            # Told to whoever watches; what is kept is the refusal itself.
            channel.put(telling.fail(ended.failure or _EXPIRED))
            return ended
        return replace(ended, result=replace(ended.result, body=channel.joined()))

    # --- coming back ----------------------------------------------------------------------------------------------

    async def recall(self, request: Request, owner: str) -> StoredResponse | None:
        """The conversation that a request goes on from, if it is a background response. Raises ExchangeFailed."""
        response_id = request.document.get("previous_response_id")
        if not isinstance(response_id, str) or not _ID.fullmatch(response_id):
            return None
        try:
            job = await self._store.get(response_id, owner, body=True, result=True)
        except StoreError as error:
            raise ExchangeFailed(refusal_of(error)) from None
        if job is None or job.state is not JobState.COMPLETED or job.result is None:
            return None
        return _stored(job, job.result)

    async def view(self, http: web.BaseRequest) -> web.StreamResponse:
        """GET and DELETE /v1/responses/{id}, POST …/cancel, GET …/input_items."""
        path, _, query = http.raw_path.partition("?")
        try:
            job, part = await self._find(http, path)
            replay = read_replay(query) if http.method == "GET" and not part else None
            if replay is not None:
                return await self._replay(http, job, replay)
            body = await self._answer(http.method, part, job, query)
        except BadRequest as bad:
            return await refuse(http, bad.failure)
        except ExchangeFailed as failed:
            return await refuse(http, failed.failure)
        except StoreError as error:
            return await refuse(http, refusal_of(error))
        return await send(http, 200, body, {"Cache-Control": "no-store"})

    async def _find(self, http: web.BaseRequest, path: str) -> tuple[Job, str]:
        place = responses_stored.parse_path(path)
        job = None
        if place is not None and _ID.fullmatch(place[0]):
            job = await self._store.get(place[0], self._owner_of(http), body=True, result=True)
        if job is None or place is None:
            name = place[0] if place else path
            raise ExchangeFailed(responses_stored.response_not_found(name))
        return job, place[1]

    async def _answer(self, method: str, part: str, job: Job, query: str) -> bytes:
        match method, part:
            case "GET", "":
                return jsontext.encode(_told(job))
            case "GET", "input_items":
                return responses_stored.format_input_items(_stored(job, job.result or _NOTHING), query)
            case "POST", "cancel":
                return await self._cancel(job)
            case "DELETE", "":
                return await self._delete(job)
        raise BadRequest(f"{method} is not served at this path.")

    async def _cancel(self, job: Job) -> bytes:
        """What is over already stays as it is, and is shown again: a second call does no harm."""
        if not job.state.over and await self._runner.cancel(job.task.id):
            job = replace(job, state=JobState.CANCELLED)
        else:
            job = await self._store.get(job.task.id, job.task.owner, body=True, result=True) or job
        return jsontext.encode(_told(job))

    async def _delete(self, job: Job) -> bytes:
        if not job.state.over:
            await self._runner.cancel(job.task.id)
        await self._store.delete(job.task.id)
        return responses_stored.format_deleted(job.task.id)

    # --- streams --------------------------------------------------------------------------------------------------

    async def _replay(self, http: web.BaseRequest, job: Job, replay: Replay) -> web.StreamResponse:
        if not job.task.stream:
            raise refuse_replay()
        return await self._stream(http, job, replay, {"Cache-Control": "no-store"})

    async def _stream(
        self, http: web.BaseRequest, job: Job, replay: Replay, headers: dict[str, str]
    ) -> Response:
        """Raises ConnectionError when the client is gone, or reads nothing; the job goes on."""
        pieces = _kept(job, replay) if job.state.over else self._live(job, replay)
        response = Response(status=200, headers={**headers, **STREAM_HEADERS})
        response.headers["Content-Type"] = _STREAM_TYPE
        try:
            await response.prepare(http)
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    async with asyncio.timeout(CLIENT_STALL_S):
                        await response.write(piece)
            async with asyncio.timeout(CLIENT_STALL_S):
                await response.write_eof()
        except TimeoutError:
            raise let_go(http.transport) from None
        return response

    async def _live(self, job: Job, replay: Replay) -> AsyncGenerator[bytes, None]:
        following = self._runner.channel(job).follow(replay.after, ping_s=self._ping_s)
        async with contextlib.aclosing(following):
            async for piece in following:
                yield piece or KEEP_ALIVE


_NOTHING = JobResult(0, JSON_TYPE)


async def _kept(job: Job, replay: Replay) -> AsyncGenerator[bytes, None]:
    result = job.result
    if result is not None and result.status == 200:
        yield frames_after(result.body, replay.after)
        return
    telling = Retelling(_face_of(job))
    frames = telling.begin()
    if job.state is not JobState.CANCELLED:
        frames += telling.fail(_failure_of(job))
    yield b"".join(frame for number, frame in frames if number > replay.after)


# --- a job as a response ----------------------------------------------------------------------------------------


def _request_of(job: Job) -> Request:
    """job: with its body."""
    task = job.task
    request = openai_responses.parse_request(task.headers, task.body, task.target)
    return with_previous(request, task.previous)


def _face_of(job: Job) -> dict[str, Any]:
    return _face(_request_of(job), job.task.id, job.task.created_s, job.state)


def _face(
    request: Request, job_id: str, created_s: float, state: JobState = JobState.QUEUED
) -> dict[str, Any]:
    status = _STATES.get(state, state.value)
    return new_background(request, id=job_id, created_s=int(created_s), status=status)


def _told(job: Job) -> Document:
    """The response as it is now."""
    result = job.result
    if result is not None and result.status == 200:
        return _answered(job, result)
    if job.state in (JobState.FAILED, JobState.EXPIRED):
        return retell_failure(_face_of(job), _failure_of(job))
    return _face_of(job)


def _answered(job: Job, result: JobResult) -> Document:
    response = (
        responses_stored.final_response(result.body) if job.task.stream else jsontext.decode(result.body)
    )
    # A stream that broke off where nothing could be said any more.
    return response or retell_failure(_face_of(job), _failure_of(job))


def _failure_of(job: Job) -> Failure:
    """What the kept refusal said."""
    if job.result is None:
        return _EXPIRED
    error = jsontext.decode(job.result.body).get("error") if job.result.status != 200 else None
    if not isinstance(error, dict):
        return Failure(FailureKind.BAD_ANSWER, "The answer broke off.")
    return Failure(FailureKind.INTERNAL, str(error.get("message")), code=error.get("code"))


def _stored(job: Job, result: JobResult) -> StoredResponse:
    """What a conversation goes on from. job: with its body."""
    items = jsontext.encode(responses_stored.input_items(_request_of(job).document))
    told = jsontext.encode(_told(job))
    return StoredResponse(job.task.id, job.task.owner, told, items, result.headers.get(_LABEL))
