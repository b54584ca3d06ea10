"""An event loop whose time is a number: nothing to do means that the next timer is due at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Skipping(selectors.DefaultSelector):
    """Instead of waiting, moves the time on. To wait for ever would mean that a test hangs: it fails instead."""

    skip: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and no timer is set"
            self.skip(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, start_s: float = 1000.0) -> None:
        self._now_s = start_s
        selector = _Skipping()
        selector.skip = self._skip
        super().__init__(selector)

    def time(self) -> float:
        return self._now_s

    def _skip(self, by_s: float) -> None:
        self._now_s += max(0.0, by_s)


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` to its end in a loop of its own; nothing it started may be left behind."""
    loop = VirtualLoop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        result = loop.run_until_complete(main(loop))
        assert not asyncio.all_tasks(loop)
    finally:
        loop.close()
    assert complaints == []
    return result
