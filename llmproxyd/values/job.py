"""A request that is answered later: what is kept of it until somebody fetches the answer. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class JobKind(StrEnum):
    ASYNC = "async"  # any call, by `Prefer: respond-async`
    RESPONSE = "response"  # OpenAI's Responses, by `background`


class JobState(StrEnum):
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # it waited longer than answers are kept

    @property
    def over(self) -> bool:
        return self not in (JobState.QUEUED, JobState.IN_PROGRESS)


class Task(msgspec.Struct, frozen=True):
    """The request to be answered, fit to be asked again by another process: no credential is in it.

    ``target``: path with query. ``headers``: lower-case names, those that have a say. ``body``: as it will be parsed,
    an earlier conversation already in it; that conversation's label is ``inherited`` and its id ``previous``.
    ``stream``: whether events are wanted. ``rank``: lower ones are begun first. ``key_id``: of the key it was asked with,
    which has to be there still when it is begun; empty without one.
    """

    id: str
    kind: JobKind
    owner: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    created_s: float
    stream: bool = False
    rank: int = 0
    inherited: str | None = None
    previous: str | None = None
    key: str | None = None
    digest: bytes = b""
    key_id: str = ""


class JobResult(msgspec.Struct, frozen=True):
    """The answer as it would have come at once."""

    status: int
    content_type: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""


class Job(msgspec.Struct, frozen=True):
    """``task.body`` and ``result.body`` are empty where they were not asked for. ``starts``: how often it was begun."""

    task: Task
    state: JobState
    starts: int = 0
    completed_s: float | None = None
    result: JobResult | None = None
