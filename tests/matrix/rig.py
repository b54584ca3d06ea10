"""One daemon and all providers of the matrix for a whole module: started once, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.matrix.upstreams.base import Upstream
from tests.support.daemon import Daemon
from tests.support.fake_provider import FakeProvider, Manner, Seen
from tests.support.records import replace

_T = TypeVar("_T")
_TIMEOUT_S = 40.0
_ROUTING = "version: 1\nmodels: {auto: any}\nfallback: {attempts: 1, retry: {max: 0}}\n"


@dataclass
class Rig:
    """Used by ``with``. A test tells a provider how to behave next, asks, and looks at what came.

    ``spares``: so many times each provider is declared once more, under other names. A denied key is put aside and a
    throttled deployment left alone, so that each such answer needs a provider that has not heard one yet.
    """

    directory: Path
    upstreams: Mapping[str, Upstream]
    spares: int = 0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rig", daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        self._fakes = {name: FakeProvider() for name in self.upstreams}
        self._spares_of = {name: iter(range(self.spares)) for name in self.upstreams}
        self._daemon = Daemon(
            self.directory, {up.key_env: f"key-{up.name}" for up in self.upstreams.values()}
        )
        try:
            self._run(self._start())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    @property
    def url(self) -> str:
        return self._daemon.url

    def behave(self, name: str, manner: Manner) -> None:
        """How the provider answers from now on; what it saw so far is forgotten."""
        self._fakes[name].manner = manner
        self._fakes[name].seen.clear()

    def spare(self, name: str) -> str:
        """The name of a provider like ``name``, at the same address, that was never called."""
        return _spare(name, next(self._spares_of[name]))

    def seen(self, name: str) -> list[Seen]:
        return list(self._fakes[name].seen)

    async def _start(self) -> None:
        for fake in self._fakes.values():
            await self._stack.enter_async_context(fake)
        rows = [row for up in self.upstreams.values() for row in self._rows(up)]
        self._daemon.write("version: 1\nproviders:\n" + "".join(rows), _ROUTING)
        await self._stack.enter_async_context(self._daemon)

    def _rows(self, upstream: Upstream) -> list[str]:
        url = self._fakes[upstream.name].url.removesuffix("/v1")
        spares = (replace(upstream, name=_spare(upstream.name, number)) for number in range(self.spares))
        return [one.row(url) for one in (upstream, *spares)]

    def _stop(self) -> None:
        try:
            self._run(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_TIMEOUT_S)
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_TIMEOUT_S)


def _spare(name: str, number: int) -> str:
    return f"{name}-spare-{number}"
