"""Doing what was accepted to be answered later: a few at a time, from the store and back into it.

A restart goes on where the last process was: what waited still waits, what was in progress is asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from llmproxyd.logs import get_logger
from llmproxyd.server.detached import Detached, Ended
from llmproxyd.server.live import Channel
from llmproxyd.state.job_file import StoreError
from llmproxyd.state.jobs import JobStore, QueueFull
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.job import Job, JobKind, Task

WORKERS = 16
MAX_STARTS = 3
SWEEP_S = 60.0
RETRY_S = 5.0

Perform: TypeAlias = Callable[[Job, Channel], Awaitable[Ended]]

_log = get_logger("jobs")


class JobRunner:
    """One for the whole daemon. ``perform`` does the jobs of a kind; those of every other are collected as they come.

    workers: jobs at a time. wall: Unix seconds. Times of waiting are monotonic.
    """

    def __init__(
        self,
        store: JobStore,
        detached: Detached,
        *,
        wall: Callable[[], float],
        workers: int = WORKERS,
        sweep_s: float = SWEEP_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self.store = store
        self._detached = detached
        self._wall = wall
        self._workers = workers
        self._sweep_s = sweep_s
        self._retry_s = retry_s
        self._perform: dict[JobKind, Perform] = {}
        self._active: dict[str, asyncio.Task[None]] = {}
        self._channels: dict[str, Channel] = {}
        # What is to be said of answers that could not be kept, as soon as something can be written again.
        self._unkept: dict[str, Ended] = {}
        self._news = asyncio.Event()
        self._recovered = False
        self._unusable = ""
        self._next_sweep_s = 0.0

    @property
    def in_progress(self) -> int:
        """How many are being answered now."""
        return len(self._active)

    def handle(self, kind: JobKind, perform: Perform) -> None:
        """Jobs of this kind are done by ``perform``."""
        self._perform[kind] = perform

    # --- for the doors --------------------------------------------------------------------------------------------

    async def submit(self, task: Task, channel: Channel | None = None) -> tuple[Job, bool]:
        """Keep a job and begin it when it is its turn. Raises QueueFull, KeyTaken, StoreError. -> the job, whether new"""
        if channel is not None:
            self._channels[task.id] = channel
        fresh = False
        try:
            job, fresh = await self.store.add(task)
        finally:
            if not fresh:
                self._channels.pop(task.id, None)
        self._news.set()
        return job, fresh

    async def cancel(self, job_id: str) -> bool:
        """Whether it was still to be done, or being done; then nothing is done for it any more. Raises StoreError."""
        if not await self.store.cancel(job_id):
            return False
        worker = self._active.get(job_id)
        if worker is not None:
            worker.cancel()
        else:
            self._close_channel(job_id)
        return True

    def channel(self, job: Job) -> Channel:
        """Where the events of a job that is not over can be followed."""
        return self._channels.setdefault(job.task.id, self._new_channel(job.task))

    def _new_channel(self, task: Task) -> Channel:
        # No provider has a thousand events in a millisecond: what an earlier process told had lower numbers.
        elapsed_s = max(0.0, self._wall() - task.created_s)
        return Channel(int(elapsed_s * 1000) * 1000)

    def _close_channel(self, job_id: str) -> None:
        channel = self._channels.pop(job_id, None)
        if channel is not None:
            channel.close()

    # --- the work -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. A store that cannot be used is tried again; it never ends this."""
        while True:
            self._news.clear()
            pause_s = self._sweep_s
            try:
                await self._turn()
                self._tell_usable()
            except StoreError as error:
                self._tell_unusable(error)
                pause_s = self._retry_s
            if self._unkept:
                pause_s = self._retry_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()

    async def _turn(self) -> None:
        if not self._recovered:
            count = await self.store.recover()
            self._recovered = True
            if count:
                _log.warning(
                    "jobs.resumed", count=count, help="they are asked for again, and may be billed twice"
                )
        for job_id, ended in list(self._unkept.items()):
            await self.store.finish(job_id, ended.state, ended.result)
            del self._unkept[job_id]
        loop_s = asyncio.get_running_loop().time()
        if loop_s >= self._next_sweep_s:
            self._next_sweep_s = loop_s + self._sweep_s
            for job_id in await self.store.sweep():
                self._close_channel(job_id)
        while len(self._active) < self._workers and (job := await self.store.take()) is not None:
            self._begin(job)

    def _begin(self, job: Job) -> None:
        worker = asyncio.ensure_future(self._work(job))
        self._active[job.task.id] = worker
        worker.add_done_callback(lambda done: self._ended(job.task.id, done))

    def _ended(self, job_id: str, worker: asyncio.Task[None]) -> None:
        del self._active[job_id]
        self._close_channel(job_id)
        self._news.set()
        if not worker.cancelled() and (bug := worker.exception()) is not None:
            _log.error("job_crashed", job=job_id, exc_info=bug)

    async def _work(self, job: Job) -> None:
        task = job.task
        if job.starts > MAX_STARTS:
            ended = self._detached.fail(task, _given_up(job.starts - 1))
        else:
            perform = self._perform.get(task.kind)
            ended = await (self._detached.run(task) if perform is None else perform(job, self.channel(job)))
        try:
            await self.store.finish(task.id, ended.state, ended.result)
        except StoreError as error:
            _log.error("jobs.answer_lost", job=task.id, reason=str(error))
            self._unkept[task.id] = self._detached.fail(task, _unkept(error))

    def _tell_unusable(self, error: StoreError) -> None:
        if str(error) != self._unusable:
            self._unusable = str(error)
            _log.error(
                "jobs.unusable",
                reason=str(error),
                help="requests are not accepted to be answered later until the state directory can be written",
            )

    def _tell_usable(self) -> None:
        if self._unusable:
            self._unusable = ""
            _log.info("jobs.usable")

    # --- the end --------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """After ``run`` was cancelled: what is in progress is cut, and waits for the next start."""
        workers = list(self._active.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for job_id in list(self._channels):
            self._close_channel(job_id)
        try:
            count = await self.store.put_back()
            if count:
                _log.info("jobs.put_back", count=count)
        except StoreError as error:
            _log.error(
                "jobs.unusable", reason=str(error), help="jobs in progress are found at the next start"
            )
        await self.store.close()


def refusal_of(error: StoreError | QueueFull) -> Failure:
    """Why a request cannot be kept for later, for the client."""
    if isinstance(error, QueueFull):
        return Failure(
            FailureKind.LIMIT_REACHED,
            "As many requests wait to be answered later as may wait.",
            code="async_queue_full",
            retry_after_s=10.0,
        )
    return Failure(
        FailureKind.SATURATED,
        f"Requests cannot be kept to be answered later now: {error}. Send them to be answered at once.",
        code="async_store_unusable",
        retry_after_s=30.0,
    )


def _given_up(starts: int) -> Failure:
    return Failure(
        FailureKind.INTERNAL,
        f"The request was begun {starts} times, and each time llmproxyd ended before its answer came.",
        code="async_given_up",
    )


def _unkept(error: StoreError) -> Failure:
    return Failure(
        FailureKind.INTERNAL, f"The answer came but could not be kept: {error}.", code="async_answer_lost"
    )
