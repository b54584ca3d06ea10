"""A daemon with everything on, providers that repeat what they are asked, requests full of canaries, and all that is left."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.privacy.canaries import canary
from tests.privacy.canary_manners import Parrot
from tests.privacy.canary_requests import CHAT, KEY, MAX_BODY, MESSAGES, PLACES, RESPONSES, Asked, said
from tests.support.daemon import Daemon
from tests.support.fake_provider import FakeProvider, answer, hang
from tests.support.records import replace

PRESETS = {"one": "openai-compatible", "two": "anthropic", "three": "gemini", "four": "ollama"}
IDS = tuple(f"m{number}" for number in range(25))
"""So many at each provider, because each has a breaker and pauses of its own: they would keep calls away."""
NAMED_FIRST = (*(f"{name}/m0" for name in PRESETS), "auto", "any")
MODELS = (*(f"{name}/{model}" for name in PRESETS for model in IDS), *NAMED_FIRST * 2)
AT_ONCE = 16
STREAMED = (MESSAGES, RESPONSES, "/v1/completions", "/api/chat")
OTHERS_KEY = "the-key-of-somebody-else"
CRASH, BROKEN_DETECTOR = "crash-here", "detector-breaks at@an.address.example"
FULL_DISK, ROOM_AGAIN = "disk-is-full", "disk-has-room"
PROGRAM = f"""
import asyncio, os, resource, sys, warnings
os.dup2(2, 1)  # what is printed is searched with the log
from llmproxyd.detect import engine
from llmproxyd.routing import decide as module
decide, checked = module.decide, engine._checked

async def lost(text):
    raise KeyError(text)

def crash(text):
    asyncio.ensure_future(lost(text))
    asyncio.get_running_loop().call_soon(lambda words: {{}}[words], text)
    warnings.warn(text, stacklevel=1)
    try:
        raise KeyError(text)
    except KeyError as error:
        error.add_note(text)
        raise RuntimeError(text) from error

def planted(question, routes, readings):
    text = question.prompt.text
    for word, limit in (("{FULL_DISK}", 0), ("{ROOM_AGAIN}", resource.RLIM_INFINITY)):
        if word in text:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if "{CRASH}" in text:
        crash(text)
    return decide(question, routes, readings)

def broken(detector, text, watch):
    if "{BROKEN_DETECTOR}" in text:
        raise ValueError(text)
    return checked(detector, text, watch)

module.decide, engine._checked = planted, broken
from llmproxyd.cli import main
sys.exit(main())
"""
ROUTING = """
version: 1
models: {{auto: [{all}], any: any}}
privacy:
  clearance: {{local: confidential}}
  detect: [{{kinds: [email], label: internal}}]
  unscanned: {{image: internal, audio: internal, file: internal, text: internal}}
pipeline:
  privacy:
    - {{name: not these, when: {{project: refused}}, reject: This project may ask nobody.}}
tenants:
  acme: {{keys: ["sha256:{key}"]}}
  other: {{keys: ["sha256:{other}"]}}
cache: {{rules: [{{name: deterministic, when: {{temperature: {{lte: 0}}}}, ttl: 1h}}]}}
alerts: {{webhooks: ["{hook}"]}}
fallback: {{attempts: 3, deadline: 3s, retry: {{max: 1, base: 1ms, cap: 5ms}}}}
"""
VIEWS = (
    "config", "providers", "events?follow=false", "cost?by=model", "cost?by=project", "cost?by=user", "cost?by=task", "budgets",
)  # fmt: skip


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Rig:
    """``told``: what those who asked were answered, ``overheard``: what somebody else was."""

    def __init__(self, directory: Path, seed: int = 7) -> None:
        self.fakes = {name: FakeProvider(manner=Parrot(place)) for place, name in enumerate(PRESETS)}
        self.hook = FakeProvider(manner=answer())
        self.random = Random(seed)
        self.statuses: Counter[int] = Counter()
        self.sent: set[str] = set()
        self.told, self.overheard = bytearray(), bytearray()
        self.views: dict[str, bytes] = {}
        self.logs: list[str] = []
        self.jobs: list[str] = []
        self._directory = directory
        self._stack = AsyncExitStack()
        self.daemon = self._new_daemon()

    def _new_daemon(self) -> Daemon:
        environ = {
            "KEY": "key-of-ours",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONDEVMODE": "1",
            "PYTHONASYNCIODEBUG": "0",
        }
        arguments = ("--max-body", f"{MAX_BODY}B", "--log-level", "debug")
        return Daemon(self._directory, environ, arguments, ("-c", PROGRAM))

    async def __aenter__(self) -> Self:
        for fake in (*self.fakes.values(), self.hook):
            await self._stack.enter_async_context(fake)
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        await self._stack.__aexit__(kind, error, trace)

    async def start(self) -> None:
        self.daemon = self._new_daemon()
        models = ", ".join(f"{{id: {model}, price: free}}" for model in IDS)
        entries = [
            f'  {name}: {{preset: {preset}, endpoint: "{self.fakes[name].url}", zone: local, api_key: "${{env:KEY}}",'
            f" models: [{models}], timeouts: {{first_token: 300ms, stall: 300ms}}}}"
            for name, preset in PRESETS.items()
        ]
        routing = ROUTING.format(
            all=", ".join(f"{name}/m0" for name in PRESETS),
            key=digest(KEY),
            other=digest(OTHERS_KEY),
            hook=self.hook.url,
        )
        self.daemon.write("version: 1\nproviders:\n" + "\n".join(entries) + "\n", routing)
        await self.daemon.__aenter__()

    async def stop(self) -> None:
        """Its end, and the rest of its log."""
        await self.daemon.__aexit__(None, None, None)
        self.logs += self.daemon.raw_log
        self.daemon.raw_log = []

    # --- what is asked ----------------------------------------------------------------------------------------------

    async def load(self, count: int) -> None:
        """So many requests with canaries, each part in turn, in all manners; now and then somebody else asks."""
        places = _turns(self.random)
        numbers = iter(range(count))
        async with self.daemon.session() as session:

            async def client() -> None:
                for number in numbers:
                    await self._ask(session, next(places))
                    if number % 20 == 0:
                        await self._overhear(session)

            await asyncio.gather(*(client() for _ in range(AT_ONCE)))

    async def _ask(self, session: aiohttp.ClientSession, place: str) -> None:
        self.sent.add(place)
        asked = self._flavoured(PLACES[place](canary(place)))
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **asked.headers}
        try:
            async with session.post(asked.path, data=asked.sent, headers=headers) as response:
                self.statuses[response.status] += 1
                self.told += await response.read()
                if response.status == 202:
                    self.jobs.append(response.headers["Location"])
        except aiohttp.ClientError as cut:
            self.statuses[0] += 1
            self.told += str(cut).encode()

    def _flavoured(self, asked: Asked) -> Asked:
        """For a model, and so that it fails in one more way."""
        model = self.random.choice(MODELS)
        if asked.raw is not None or not asked.body:
            return asked
        if asked.path.startswith("/v1beta"):
            return replace(asked, path=asked.path.replace("{model}", model.rpartition("/")[2]))
        body, headers = {"model": model, **asked.body}, dict(asked.headers)
        if asked.path != CHAT:
            body["stream"] = asked.path in STREAMED and self.random.random() < 0.5
            return replace(asked, body=body)
        match self.random.randrange(16):
            case 0 | 1 | 2 | 3 | 4:
                body["stream"] = True
            case 5:
                body.setdefault("temperature", 0)
            case 6:
                headers["prefer"] = "respond-async"
            case 7:
                body["messages"] = [*body["messages"], said("user", f"{CRASH} {self.random.random()}")]
            case 8:
                body["messages"] = [*body["messages"], said("user", BROKEN_DETECTOR)]
            case 9:
                headers.setdefault("x-llmproxyd-project", "refused")
            case 10:
                headers.setdefault("x-llmproxyd-label", "restricted")
        return replace(asked, body=body, headers=headers)

    async def _overhear(self, session: aiohttp.ClientSession) -> None:
        """Somebody else fails likewise, and looks around."""
        headers = {"authorization": f"Bearer {OTHERS_KEY}"}
        asked = {"model": self.random.choice(MODELS), "messages": [said("user", "Hello from outside")]}
        async with session.post(CHAT, json=asked, headers=headers) as response:
            self.overheard += await response.read() + str(response.headers).encode()
        async with session.get("/v1/models", headers=headers) as response:
            self.overheard += await response.read()

    async def say(self, word: str) -> None:
        """For what is planted in the daemon."""
        async with self.daemon.session() as session:
            asked = {"model": "auto", "messages": [said("user", f"{word} {canary('user text')}")]}
            async with session.post(CHAT, json=asked, headers={"authorization": f"Bearer {KEY}"}) as response:
                self.told += await response.read()

    async def end_in_hand(self, how: signal.Signals) -> None:
        """The daemon ends at once, with a request for every provider in hand."""
        before = {name: len(fake.seen) for name, fake in self.fakes.items()}
        manners = {name: fake.manner for name, fake in self.fakes.items()}
        for fake in self.fakes.values():
            fake.manner = hang
        async with self.daemon.session() as session:
            waiting = [asyncio.ensure_future(self._wait(session, name, before[name])) for name in self.fakes]
            async with asyncio.timeout(10):
                while any(len(fake.seen) == before[name] for name, fake in self.fakes.items()):
                    await asyncio.sleep(0.005)
            self.daemon.signal(how)
            await asyncio.gather(*waiting)
        await self.daemon.process.wait()
        await self.stop()
        for name, fake in self.fakes.items():
            fake.manner = manners[name]

    async def _wait(self, session: aiohttp.ClientSession, name: str, before: int) -> None:
        """Asks until the provider is asked: it may have a pause, or the ledger not yet any room."""
        asked = {"model": f"{name}/{IDS[-1]}", "messages": [said("user", canary("user text"))]}
        headers = {"authorization": f"Bearer {KEY}"}
        while len(self.fakes[name].seen) == before:
            try:
                async with session.post(CHAT, json=asked, headers=headers) as response:
                    self.told += await response.read()
            except aiohttp.ClientError:
                return
            await asyncio.sleep(0.02)

    # --- jobs -------------------------------------------------------------------------------------------------------

    async def finish_jobs(self) -> None:
        async with self.daemon.session() as session, asyncio.timeout(60):
            for place in self.jobs:
                while (await self._job(session, "GET", place)).get("status") in ("queued", "in_progress"):
                    await asyncio.sleep(0.01)

    async def delete_jobs(self) -> None:
        async with self.daemon.session() as session:
            for place in self.jobs:
                await self._job(session, "DELETE", place)

    async def _job(self, session: aiohttp.ClientSession, method: str, place: str) -> dict[str, Any]:
        async with session.request(method, place, headers={"authorization": f"Bearer {KEY}"}) as response:
            assert response.status < 300, await response.text()
            told = await response.read()
            return await response.json() if told else {}

    # --- what is left -----------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Whatever the administration shows."""
        async with self.daemon.unix_session() as session:
            for view in VIEWS:
                async with session.get(f"/admin/v1/{view}") as response:
                    assert response.status == 200, await response.text()
                    name = f"view {view.partition('?')[0]}"
                    self.views[name] = self.views.get(name, b"") + await response.read()
            async with session.get("/metrics") as response:
                self.views["metrics"] = self.views.get("metrics", b"") + await response.read()

    def files(self) -> dict[str, bytes]:
        """Everything below the state directory and beside it, by its kind; not the configuration, which we wrote."""
        written: dict[str, bytes] = {}
        for path in self._directory.rglob("*"):
            inside = path.relative_to(self._directory)
            if not path.is_file() or inside.parts[0] == "conf":
                continue
            kind = "ledger" if "journal" in str(inside) or "ledger" in str(inside) else path.name
            written[f"file {kind}"] = (
                written.get(f"file {kind}", b"") + str(inside).encode() + path.read_bytes()
            )
        return written

    def sinks(self) -> dict[str, bytes]:
        """Everything that was written for others than those who asked."""
        return {
            "log": "\n".join([*self.logs, *self.daemon.raw_log]).encode(),
            "webhooks": b"".join(seen.body + str(seen.headers).encode() for seen in self.hook.seen),
            "another client's answers": bytes(self.overheard),
            **self.views,
            **self.files(),
        }


def _turns(random: Random) -> Iterator[str]:
    """Each place once, then each once more, in another order."""
    while True:
        places = list(PLACES)
        random.shuffle(places)
        yield from places
