"""Telling other programs what happened: a POST to each URL that the operator names.

One queue and one task per URL, so that a receiver who is slow or gone delays nobody, least of all a request. The
path of such a URL is often a secret: only its scheme and host are ever told.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from yarl import URL

from llmproxyd import jsontext
from llmproxyd.adapters.waiting import find_retry_after_s
from llmproxyd.exchange.pool import Pool
from llmproxyd.exchange.resolver import NameTable, Resolver
from llmproxyd.logs import get_logger
from llmproxyd.state.events import Event
from llmproxyd.values.contracts import Call, Headers

WAITING = 1000
MAX_ANSWER_BYTES = 64 * 1024
_CONNECT_S = 3.0
_IDLE_S = 30.0
_NO_ANSWER = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)

_log = get_logger("webhooks")


class Patience(msgspec.Struct, frozen=True):
    """Seconds. ``try_s`` bounds one try; between tries ``base_s`` doubles up to ``cap_s``, give or take a half.
    A receiver's own Retry-After is honoured up to ``longest_s``."""

    try_s: float = 5.0
    retries: int = 5
    base_s: float = 1.0
    cap_s: float = 60.0
    longest_s: float = 600.0


_PATIENCE: Final = Patience()


class Tell(Protocol):
    def __call__(self, place: str, result: str, why: str) -> None:
        """``result``: ``failed`` or ``dropped``. ``why``: without a secret."""
        ...


def keep_quiet(place: str, result: str, why: str) -> None:
    """The Tell of those who do not want to know."""


class _Refusal(msgspec.Struct, frozen=True):
    """What became of one try that did not succeed."""

    why: str
    again: bool = True
    after_s: float | None = None


class Webhooks:
    """``results``: notices by ``delivered``, ``failed`` (given up) and ``dropped`` (never tried to the end, because the
    queue was full or we stopped). Everything here runs on the event loop."""

    def __init__(
        self,
        *,
        tell: Tell = keep_quiet,
        patience: Patience = _PATIENCE,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._patience = patience
        self._jitter = jitter
        self._tell = tell
        self._hooks: dict[str, _Hook] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self.results: Counter[str] = Counter()

    def reconcile(self, urls: Iterable[str]) -> None:
        """Serve these URLs from now on. One that stays keeps what waits for it; one that is gone gets nothing more."""
        wanted = dict.fromkeys(urls)
        for url in [url for url in self._hooks if url not in wanted]:
            leaving = asyncio.ensure_future(self._hooks.pop(url).close(0.0))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        for url in wanted:
            if url not in self._hooks:
                self._hooks[url] = _Hook(url, self._patience, self._jitter, self._note)

    def offer(self, event: Event, text: str) -> None:
        """Send an event to every URL, soon. ``text``: one sentence for people."""
        if not self._hooks:
            return
        body = jsontext.encode(notice_of(event, text))
        for hook in self._hooks.values():
            hook.offer(body)

    async def close(self, timeout_s: float = 2.0) -> None:
        """Send what waits, each once more, for at most ``timeout_s``; then drop the rest."""
        hooks, self._hooks = list(self._hooks.values()), {}
        await asyncio.gather(*(hook.close(timeout_s) for hook in hooks), *self._leaving)

    def _note(self, place: str, result: str, why: str = "", count: int = 1) -> None:
        self.results[result] += count
        if result != "delivered":
            self._tell(place, result, why)


class _Note(Protocol):
    def __call__(self, place: str, result: str, why: str = "", count: int = 1) -> None: ...


class _Hook:
    """One URL. Its task lives until it is closed."""

    def __init__(self, url: str, patience: Patience, jitter: Callable[[], float], note: _Note) -> None:
        self._url = URL(url)
        self._place = place_of(url)
        self._patience = patience
        self._jitter = jitter
        self._note = note
        self._waiting: deque[bytes] = deque()
        self._names = NameTable(aiohttp.ThreadedResolver())
        self._pool: Pool | None = None
        self._more = asyncio.Event()
        self._hurry = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())
        self._task.add_done_callback(self._ended)

    def offer(self, body: bytes) -> None:
        if len(self._waiting) >= WAITING:
            del self._waiting[1]  # the oldest but the one that is being sent
            self._note(self._place, "dropped", "its queue is full")
        self._waiting.append(body)
        self._more.set()

    async def close(self, timeout_s: float) -> None:
        self._hurry.set()
        self._more.set()
        await asyncio.wait({self._task}, timeout=timeout_s)
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._waiting:
            self._note(self._place, "dropped", "we stopped before it could be told", len(self._waiting))
            self._waiting.clear()
        if self._pool is not None:
            await self._pool.close()
        await self._names.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("webhook.crashed", host=self._place, exc_info=error)

    async def _run(self) -> None:
        while not self._hurry.is_set() or self._waiting:
            if self._waiting:
                # Taken out only when it is settled: what a stop interrupts counts as dropped.
                result, why = await self._deliver(self._waiting[0])
                self._waiting.popleft()
                self._note(self._place, result, why)
            else:
                self._more.clear()
                await self._more.wait()

    async def _deliver(self, body: bytes) -> tuple[str, str]:
        failed = 0
        while (refusal := await self._try(body)) is not None:
            if not refusal.again or failed >= self._patience.retries or self._hurry.is_set():
                return "failed", refusal.why
            await self._pause(failed, refusal)
            failed += 1
        return "delivered", ""

    async def _pause(self, failed: int, refusal: _Refusal) -> None:
        """Until it is time to try again; a stop ends every pause."""
        patience = self._patience
        pause_s = min(patience.cap_s, patience.base_s * 2**failed) * (0.5 + self._jitter())
        if refusal.after_s is not None:
            pause_s = min(patience.longest_s, max(pause_s, refusal.after_s))
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._hurry.wait()

    async def _try(self, body: bytes) -> _Refusal | None:
        try:
            async with asyncio.timeout(self._patience.try_s):
                return await self._post(body)
        except TimeoutError:
            return _Refusal(f"no answer within {self._patience.try_s:g} s")
        except _NO_ANSWER as error:
            return _Refusal(_describe(error))

    async def _post(self, body: bytes) -> _Refusal | None:
        pool = self._pool = self._pool or _open_pool(self._url, self._names)
        connection, head, payload = await pool.exchange(_call(self._url, body))
        try:
            await _read_away(payload)
        finally:
            if payload.at_eof():
                connection.release()
            else:
                connection.close()
        return _judge(head.code, head.headers)


def place_of(url: str) -> str:
    """Scheme, host and port: what may be told of a URL whose path or query may be a secret."""
    return str(URL(url).origin()) if URL(url).host else "(no host)"


def notice_of(event: Event, text: str) -> dict[str, Any]:
    """``{"id", "at", "kind", "subject", "facts", "text"}``; ``text`` alone is what chat programs show."""
    at = datetime.fromtimestamp(event.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "id": event.id,
        "at": at,
        "kind": event.kind,
        "subject": event.subject,
        "facts": dict(event.facts),
        "text": text,
    }


def _open_pool(url: URL, names: NameTable) -> Pool:
    return Pool(
        str(url.origin()),
        tls=None,
        resolver=Resolver(names, patience_s=_CONNECT_S),
        connect_timeout_s=_CONNECT_S,
        idle_s=_IDLE_S,
    )


def _call(url: URL, body: bytes) -> Call:
    headers = {"content-type": "application/json", "accept": "*/*"}
    if url.user is not None:
        pair = f"{url.user}:{url.password or ''}".encode()
        headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return Call("POST", str(url), headers, body, stream=False)


async def _read_away(payload: StreamReader) -> None:
    """What a receiver says is nobody's business; reading it lets the connection be used again."""
    read = 0
    while read <= MAX_ANSWER_BYTES and (data := await payload.readany()):
        read += len(data)


def _judge(status: int, headers: Headers) -> _Refusal | None:
    """A redirect is not followed: it could lead to a host that nobody has named."""
    if 200 <= status < 300:
        return None
    again = status in (408, 429) or status >= 500
    return _Refusal(f"status {status}", again, find_retry_after_s(headers, None, "") if again else None)


def _describe(error: BaseException) -> str:
    reason = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
