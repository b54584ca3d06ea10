"""One daemon as a real process, providers whose manners change while it works, and a load: what every scenario needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.faults.figures import Figures
from tests.faults.load import Clients, Connection, Load, Told
from tests.faults.manners import BRISK, TABLE, Pace, chat, refusal
from tests.faults.report import Report, allowed_extras, tries_of
from tests.support.daemon import Daemon
from tests.support.fake_provider import FakeProvider, Manner, no_models

NAMES = ("one", "two", "three")
ROUTING = "version: 1\nmodels: {{careful: [{models}]}}\n"


@dataclass(frozen=True, slots=True)
class Form:
    """The same scenario in two sizes: ``short`` in every run of the tests, ``long`` as the table has it."""

    name: str
    pace: Pace
    rate: float
    seconds: float

    @property
    def long(self) -> bool:
        return self.name == "long"

    @property
    def load(self) -> Load:
        return Load(self.rate, round(self.rate * self.seconds))


def forms(
    *,
    short_s: float = 3.0,
    long_s: float = 20.0,
    short_rate: float = 50.0,
    long_rate: float = 100.0,
    timeout_s: float = 300.0,
) -> pytest.MarkDecorator:
    """Parametrises ``form``: so many seconds of load, at so many requests per second."""
    short = Form("short", BRISK, short_rate, short_s)
    long = Form("long", TABLE, long_rate, long_s)
    marks = (pytest.mark.proof, pytest.mark.timeout(timeout_s))
    return pytest.mark.parametrize(
        "form", [pytest.param(short, id="short"), pytest.param(long, id="long", marks=marks)]
    )


@dataclass
class Rig:
    """``async with`` starts the providers and the daemon. ``provider``: YAML of every provider's entry; ``providers``: of
    some of them, by name, instead. ``routing``: the whole second file, ``{models}`` stands for all deployments.
    ``endpoints``: base URLs instead of a fake's own, ``{port}`` is its port. ``ports``: where a fake listens."""

    directory: Path
    pace: Pace = BRISK
    count: int = 3
    provider: str = ""
    providers: Mapping[str, str] = field(default_factory=dict)
    routing: str = ROUTING
    endpoints: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    daemon: Daemon = field(init=False)
    fakes: dict[str, FakeProvider] = field(default_factory=dict)
    clients_kind: type[Connection] = Connection
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _clients: Clients | None = None

    def __post_init__(self) -> None:
        self.daemon = Daemon(self.directory)

    @property
    def one(self) -> FakeProvider:
        return self.fakes["one"]

    @property
    def two(self) -> FakeProvider:
        return self.fakes["two"]

    @property
    def clients(self) -> Clients:
        assert self._clients is not None, "not started"
        return self._clients

    async def __aenter__(self) -> Self:
        for name in NAMES[: self.count]:
            fake = FakeProvider(manner=chat(self.pace), _port=self.ports.get(name, 0))
            self.fakes[name] = await self._stack.enter_async_context(fake)
        self.write()
        self._stack.push_async_exit(self._stop_daemon)
        await self.daemon.__aenter__()
        self._clients = Clients(self.daemon.port, self.clients_kind)
        self._stack.push_async_callback(self._clients.close)
        return self

    async def _stop_daemon(self, *exc: object) -> None:
        await self.daemon.__aexit__(*exc)

    async def restart(self) -> None:
        """End the daemon, wait for its end, and start another with the same files, doors and limits."""
        before = self.daemon
        await before.__aexit__(None, None, None)
        self.daemon = Daemon(before.directory, before.environ, before.arguments, before.program)
        self.daemon.descriptors, self.daemon.inherits = before.descriptors, before.inherits
        await self.daemon.__aenter__()
        self.clients.port = self.daemon.port

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def write(self) -> None:
        """The two files as the rig has them now."""
        entries = [self._entry(name, fake) for name, fake in self.fakes.items()]
        models = ", ".join(f"{name}/m" for name in self.fakes)
        self.daemon.write(
            "version: 1\nproviders:\n" + "\n".join(entries) + "\n", self.routing.format(models=models)
        )

    def _entry(self, name: str, fake: FakeProvider) -> str:
        more = self.providers.get(name, self.provider)
        models = "" if "models:" in more else "models: [{id: m, price: free}]"
        extra = ", ".join(part for part in (models, more) if part)
        url = self.endpoints.get(name, fake.url).format(port=fake.port)
        return f'  {name}: {{preset: openai-compatible, endpoint: "{url}", zone: local, {extra}}}'

    # --- load -------------------------------------------------------------------------------------------------

    async def run(self, load: Load) -> Report:
        """The load, to its last answer."""
        return self.report(await self.clients.send(load))

    def start(self, load: Load) -> asyncio.Task[list[Told]]:
        """The load, beside whatever the scenario does meanwhile."""
        return asyncio.ensure_future(self.clients.send(load))

    @property
    def single(self) -> Load:
        """For one request at a time."""
        return Load(1.0, 1)

    async def ask(self, load: Load, *, stream: bool = True, **more: Any) -> Told:
        return await self.clients.ask(load, stream=stream, **more)

    def report(self, told: Sequence[Told]) -> Report:
        logs = {name: fake.seen for name, fake in self.fakes.items()}
        return Report(told, self.pace.text, tries_of(logs))

    async def warm(self, requests: int = 60) -> Report:
        """Enough good answers for the daemon to know every provider's habits, and for us to know the daemon's.

        Each provider by its own name, since a list asks but its first. Returns the report of the first one.
        """
        reports = await asyncio.gather(*(self.warm_only(name, requests) for name in self.fakes))
        return reports[0]

    async def warm_only(self, name: str, requests: int = 60, rate: float = 30.0) -> Report:
        """The same with one provider, at ``rate`` per second."""
        load = Load(rate, requests, model=f"{name}/m", seed=len(name))
        report = await self.run(load)
        assert not report.errors, report.explain(report.errors)
        return report

    # --- faults -----------------------------------------------------------------------------------------------

    def fail(self, name: str, manner: Manner, probe: Manner | None = None) -> float:
        """From now on. Returns the time."""
        self.fakes[name].manner = manner
        self.fakes[name].on_probe = probe or no_models
        return time.monotonic()

    def recover(self, name: str) -> float:
        return self.fail(name, chat(self.pace))

    def refuse(self, name: str, status: int, **headers: str) -> float:
        """Calls and probes alike."""
        return self.fail(name, refusal(status, **headers), refusal(status))

    # --- what must hold in every scenario -----------------------------------------------------------------------

    def judge(self, report: Report, figures: Figures, *, visible: float = 0.0) -> None:
        """No truncated success, no hang, no more attempts than the retry budget allows, and at most a share of
        ``visible`` errors."""
        errors, truncated = report.errors, report.truncated
        share = len(errors) / max(1, len(report.told))
        if visible:
            figures.at_most("visible errors", share, visible, "%", report.explain(errors))
        else:
            figures.none("visible errors", len(errors), report.explain(errors))
        figures.none("truncated successes", len(truncated), report.explain(truncated))
        extras, requests = self.report(self.clients.sent).worst_window()
        bound = allowed_extras(requests)
        figures.at_most(f"extra attempts in any 10 s (worst: {requests} requests)", extras, bound)
