"""Run in a network namespace of its own: the daemon, two local providers, an external one, a name server, and a recorder of
every packet that leaves the machine.

    unshare -rnm python -m tests.privacy.recorder REQUESTS DIRECTORY

Prints one JSON object. Requests may not go outside; meanwhile the local providers fail in every manner of the fault table,
files are saved, and the daemon is killed and started again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.faults.load import Clients, Load, Told
from tests.faults.manners import BRISK, Pace, chat, cut_after, pinging, refusal, sometimes, stall_after
from tests.privacy.namespace import NAME, NameServer, Outside, Recorder, furnish, talking
from tests.support.daemon import Daemon
from tests.support.fake_provider import FakeProvider, Manner, answer, chat_body, hang, reset

AT_ONCE = 48
LEAST_ROUND, TURNS = 60, 400
KILLED_EVERY = 16
JOBS = 5
CONTROLS = 20

LOCAL = """\
zone: local, timeouts: {connect: 200ms, first_token: 250ms, stall: 100ms, total: 600ms},
         health: {interval: 1h, recover_after: 100ms}, models: [{id: m, price: {input: 2, output: 2}}]"""


def providers_file(one: str, two: str, out: str) -> str:
    """The addresses of two local ones and of an external one, which is cheaper and comes first."""
    return f"""\
version: 1
providers:
  one: {{preset: openai-compatible, endpoint: "{one}", {LOCAL}}}
  two: {{preset: openai-compatible, endpoint: "{two}", {LOCAL}}}
  out: {{preset: openai-compatible, endpoint: "{out}", zone: external, priority: 1, health: {{interval: 1h}},
         models: [{{id: m, price: free}}, {{id: n, price: free}}]}}
"""


def routing_file(turn: int, external: str) -> str:
    """``external``: the highest label that may go outside."""
    return f"""\
version: 1
models: {{auto: any, careful: [out/m, one/m, two/m], sometimes: [{{to: out/m, weight: 9}}, {{to: one/m, weight: 1}}]}}
privacy: {{clearance: {{external: {external}}}, detect: [{{kinds: [email], label: confidential}}]}}
pipeline:
  privacy: [{{name: hr is restricted, when: {{project: hr}}, label: restricted}}]
  performance: [{{name: turn {turn}, prefer: [out, one], continue: true}}]
fallback: {{attempts: 4, deadline: 1s, retry: {{max: 1, base: 5ms, cap: 20ms}}, degrade: [smaller_model, error],
            hedge: {{after: 20ms, max_share: 50%, max_spend: 50%}}}}
cache: {{rules: [{{name: hr, when: {{project: hr}}, ttl: 1m}}]}}
"""


def broken_file(turn: int) -> str:
    return f"version: 1\nmodels: {{auto: [nobody/m{turn}]}}\n"


CLAIMS: tuple[dict[str, str], ...] = (
    {"x-llmproxyd-label": "restricted"},
    {"x-llmproxyd-project": "hr"},
    {"x-llmproxyd-label": "confidential"},
    {},  # what is found in it keeps it here
)
MODELS = ("auto", "careful", "sometimes", "m", "out/m")


def _said(status: int, code: str) -> Manner:
    body = json.dumps({"error": {"message": code, "type": "invalid_request_error", "code": code}}).encode()
    return answer(status, body)


WELL = chat(BRISK)
FAULTS: dict[str, Manner | None] = {
    "F01 refuses connections": None,
    "F01 resets them": reset,
    "F02 500": refusal(500),
    "F02 503": refusal(503),
    "F03 half of all calls": sometimes(0.5, refusal(502), WELL, seed=3),
    "F05 429 with a pause": refusal(429, retry_after_ms="20"),
    "F06 429 without": refusal(429),
    "F07 silence": hang,
    "F08 signs of life": pinging(5.0, every_s=0.05, pace=BRISK),
    "F09 cut": cut_after(BRISK, 5),
    "F10 stalls": stall_after(BRISK, 5),
    "F11 not an answer": answer(body=b"not an answer"),
    "F12 too long": _said(400, "context_length_exceeded"),
    "F12 against a policy": _said(400, "content_filter"),
    "F12 a key that is denied": _said(401, "invalid_api_key"),
    "F12 no such model": _said(404, "model_not_found"),
    "F13 well again": WELL,
    "F14 slow": chat(Pace(first_s=0.2, pieces=5, pause_s=0.003)),
}


def weather() -> Iterator[tuple[Manner | None, Manner | None]]:
    """How the two local providers behave, turn by turn: each fault strikes some calls of one while the other is well, and
    then every call, beside some fault of the other's. After enough turns every pair was there."""
    faults = list(FAULTS.values())
    for shift in itertools.count(5):
        for place, fault in enumerate(faults):
            yield sometimes(0.3, fault or reset, WELL, seed=place), WELL
            yield fault, faults[(place + shift) % len(faults)]


class Scene:
    """``leaked``: what was seen outside of requests that may not go there; ``counts``: what was done, and which ways were
    taken."""

    def __init__(self, directory: Path) -> None:
        self.daemon = Daemon(directory)
        self.one, self.two = FakeProvider(), FakeProvider()
        # It ends each connection, so that none is left that could close later, when nothing may be seen.
        self.out = Outside(
            manner=answer(body=chat_body("ok"), connection="close"),
            on_probe=answer(body=b'{"object": "list", "data": []}', connection="close"),
        )
        self.names = NameServer()
        self.clients = Clients(0)
        self.leaked: Counter[str] = Counter(packets=0, look_ups=0, requests=0)
        self.counts: Counter[str] = Counter()
        self.jobs: list[str] = []
        self._sent = 0

    # --- the daemon -------------------------------------------------------------------------------------------------

    def write(self, turn: int, external: str = "internal") -> None:
        providers = providers_file(self.one.url, self.two.url, f"http://{NAME}:{self.out.port}/v1")
        self.daemon.write(providers, routing_file(turn, external))

    def save(self, turn: int) -> None:
        """Files that are right, or now and then are not, while requests are under way."""
        self.write(turn)
        if turn % 5 == 0:
            (self.daemon.config_dir / "routing.yaml").write_text(broken_file(turn))
        self.daemon.signal(signal.SIGHUP)

    async def reload(self) -> None:
        before = len(self.daemon.log)
        self.daemon.signal(signal.SIGHUP)
        await self.daemon.logged("config.applied", after=before)

    async def start(self) -> None:
        """Returns when the external provider was asked whether it is there, which holds nothing of a request."""
        await self.daemon.__aenter__()
        self.clients.port = self.daemon.port
        self.counts["starts"] += 1
        async with asyncio.timeout(20):
            while len(self.out.probes) < self.counts["starts"] or talking():
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        await self.daemon.kill()
        self.note_log()
        self.counts["kills"] += 1
        before = self.daemon
        self.daemon = Daemon(before.directory)

    async def behave(self, one: Manner | None, two: Manner | None) -> None:
        for fake, manner in ((self.one, one), (self.two, two)):
            await fake.stop()
            if manner is not None:
                fake.manner = manner
                await fake.start()

    # --- what is asked ----------------------------------------------------------------------------------------------

    async def load(self, count: int) -> None:
        """So many requests that may not go outside. After the daemon has ended nobody asks any more."""
        places, daemon = asyncio.Semaphore(AT_ONCE), self.daemon

        async def one(number: int) -> None:
            async with places:
                if daemon.process.returncode is None:
                    told = await self.ask(number)
                    self.counts.update(told=told.status > 0, answered=told.success)

        first, self._sent = self._sent, self._sent + count
        await asyncio.gather(*(one(first + number) for number in range(count)))
        for record in (self.clients.sent, self.one.seen, self.two.seen):  # of no use any more, and large
            record.clear()

    async def ask(self, number: int) -> Told:
        claims = CLAIMS[number % len(CLAIMS)]
        load = Load(1.0, 1, model=MODELS[number % len(MODELS)], headers=claims)
        texts = [f"q{number}"] if claims else ["Write to jane.doe@example.com.", f"q{number}"]
        messages = [{"role": "user", "content": text} for text in texts]
        return await self.clients.ask(load, stream=number // len(CLAIMS) % 2 == 0, messages=messages)

    async def leave_jobs(self) -> None:
        """Requests to be answered later, which nobody will answer before the daemon is killed."""
        await self.behave(hang, hang)
        headers = {"prefer": "respond-async", "x-llmproxyd-label": "restricted"}
        async with self.daemon.session() as session:
            for number in range(JOBS):
                body = {"model": "auto", "messages": [{"role": "user", "content": f"later {number}"}]}
                async with session.post("/v1/chat/completions", json=body, headers=headers) as taken:
                    assert taken.status == 202, await taken.text()
                    self.jobs.append(taken.headers["location"])

    async def collect_jobs(self) -> None:
        """Some may have been refused before the daemon was killed, since those who could answer had asked for a pause."""
        async with self.daemon.session() as session, asyncio.timeout(30):
            while self.jobs:
                async with session.get(f"{self.jobs[-1]}/result") as found:
                    if found.status == 202:
                        await asyncio.sleep(0.05)
                        continue
                    self.jobs.pop()
                    self.counts["jobs"] += found.status == 200

    # --- what is seen -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Nothing may leave the machine within."""
        recorder, asked, seen = Recorder(), len(self.names.asked), len(self.out.seen)
        try:
            yield
        finally:
            self.leaked["packets"] += recorder.close()
            self.leaked["look_ups"] += len(self.names.asked) - asked
            self.leaked["requests"] += len(self.out.seen) - seen

    def seen_outside(self) -> dict[str, Any]:
        """Everything since the beginning, starts included."""
        return {
            "connections": self.out.connections,
            "probes": len(self.out.probes),
            "kinds": sorted({f"{probe.method} {probe.path} {probe.body!r}" for probe in self.out.probes}),
            "requests": len(self.out.seen),
            "look_ups": len(self.names.asked),
            "names": sorted(set(self.names.asked)),
        }

    async def control(self, headers: dict[str, str]) -> dict[str, int]:
        """What is seen of a few requests."""
        recorder, seen = Recorder(), len(self.out.seen)
        load = Load(1.0, 1, model="careful", headers=headers)
        told = [await self.clients.ask(load, stream=False) for _ in range(CONTROLS)]
        requests = len(self.out.seen) - seen
        return {
            "packets": recorder.close(),
            "requests": requests,
            "answered": sum(t.success for t in told),
        }

    def note_log(self) -> None:
        """Count the ways that were taken."""
        for entry in self.daemon.log:
            event = entry.get("event")
            if event == "exchange":
                self.counts.update(ways_of(entry))
            elif event in ("config.applied", "config.rejected"):
                self.counts[event] += 1


def ways_of(entry: dict[str, Any]) -> set[str]:
    """The ways an exchange has gone, from its line in the log."""
    attempts: list[dict[str, Any]] = entry.get("attempts", [])
    sent = [each["deployment"] for each in attempts if each.get("sent", True)]
    held_back = [each["deployment"] for each in attempts if not each.get("sent", True)]
    ways = {
        "retried": len(sent) > len(set(sent)),
        "fell_back": len(set(sent)) > 1,
        "hedged": any(each.get("hedge") and each.get("sent", True) for each in attempts),
        "continued": bool(entry.get("continued")),
        "panicked": bool(set(sent) & set(held_back)),
        "refused": entry.get("failure") == "privacy_no_route",
        "shared": entry.get("cache", "off") != "off",
    }
    return {way for way, taken in ways.items() if taken}


# --- the scenario ---------------------------------------------------------------------------------------------------


async def play(scene: Scene, requests: int) -> None:
    """Until so many requests have been answered, or refused."""
    each = max(LEAST_ROUND, requests // TURNS)
    for turn, (one, two) in enumerate(weather()):
        async with scene.recorded():
            await scene.behave(one, two)
            scene.save(turn)
            await scene.load(each)
        if turn % KILLED_EVERY == KILLED_EVERY // 2:
            await be_killed(scene, turn)
        if scene.counts["told"] >= requests:
            return


async def be_killed(scene: Scene, turn: int) -> None:
    """In the middle of requests, and with some that wait to be answered later."""
    async with scene.recorded():
        await scene.leave_jobs()
        asking = asyncio.ensure_future(scene.load(AT_ONCE))
        await asyncio.sleep(0.1)
        await scene.kill()
        await asking
    await scene.behave(WELL, WELL)
    scene.write(turn)
    await scene.start()
    async with scene.recorded():
        await scene.collect_jobs()


async def compare(scene: Scene) -> dict[str, dict[str, int]]:
    """What is seen of the same requests when they may not go outside, and when they may: by their label, or since the
    files say so."""
    await scene.behave(WELL, WELL)
    restricted, public = {"x-llmproxyd-label": "restricted"}, {"x-llmproxyd-label": "public"}
    scene.write(-1)
    await scene.reload()
    seen = {"fenced": await scene.control(restricted), "allowed": await scene.control(public)}
    scene.write(-2, external="restricted")
    await scene.reload()
    return {**seen, "widened": await scene.control(restricted)}


async def run(requests: int, directory: Path) -> dict[str, object]:
    scene, began_s = Scene(directory), time.monotonic()
    async with AsyncExitStack() as stack:
        stack.callback((await scene.names.listen()).close)
        for fake in (scene.one, scene.two, scene.out):
            await stack.enter_async_context(fake)
        stack.push_async_callback(scene.clients.close)
        scene.write(0)
        await scene.start()
        await play(scene, requests)
        outside = scene.seen_outside()
        controls = await compare(scene)
        await scene.daemon.__aexit__(None, None, None)
        scene.note_log()
    return {
        "leaked": dict(scene.leaked),
        "outside": outside,
        "controls": controls,
        "counts": dict(scene.counts),
        "seconds": round(time.monotonic() - began_s, 1),
    }


if __name__ == "__main__":
    place = Path(sys.argv[2])
    furnish(place)
    print(json.dumps(asyncio.run(run(int(sys.argv[1]), place))))
