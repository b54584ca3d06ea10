"""A timer that ends a wait of the current task: ``asyncio.timeout`` with less ceremony, for the hot path.

Setting it again costs an assignment as long as the time moves on: the loop's timer is armed once and looks, when it
goes off, whether it was put off meanwhile.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Alarm:
    """``with Alarm(at_s) as alarm: await ...`` raises TimeoutError when ``at_s`` (loop time) has come.

    ``at_s`` may be set anew at any time, None lets the wait go on for ever. One per wait; for use in one task.
    """

    __slots__ = ("_armed_s", "_cancelling", "_fired", "_handle", "_loop", "_task", "at_s")

    def __init__(self, at_s: float | None) -> None:
        self.at_s = at_s
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._armed_s = 0.0
        self._cancelling = 0
        self._fired = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task(self._loop)
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._arm()
        return self

    def _arm(self) -> None:
        if self.at_s is not None:
            self._armed_s = self.at_s
            self._handle = self._loop.call_at(self.at_s, self._ring)

    def set(self, at_s: float | None) -> None:
        """A time earlier than the one armed for needs the timer anew; a later one does not."""
        self.at_s = at_s
        if at_s is None or (self._handle is not None and at_s >= self._armed_s):
            return
        if self._handle is not None:
            self._handle.cancel()
        self._arm()

    def _ring(self) -> None:
        self._handle = None
        if self.at_s is None:
            return
        if self._loop.time() < self.at_s:
            self._arm()
            return
        assert self._task is not None
        self._fired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if not self._fired:
            return
        assert self._task is not None
        # Somebody else may have cancelled the task as well: then theirs counts.
        ours_alone = self._task.uncancel() <= self._cancelling
        if ours_alone and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error
