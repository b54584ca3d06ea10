"""Asking servers whether they are there: whom, when, and what is made of what they say."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from llmproxyd.adapters import ADAPTERS
from llmproxyd.exchange.probe import Prober, wants_probe
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.state.registry import Outcome, Registry
from llmproxyd.values.contracts import Listed
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import Deployment, Place, Probe, Provider
from tests.exchange.build import provider_at, until
from tests.routing.build import snapshot
from tests.support.fake_provider import Exchange as Wire
from tests.support.fake_provider import FakeProvider, Manner, answer, hang

INTERVAL_S = 30.0


def lists(*names: str) -> Manner:
    return answer(body=json.dumps({"data": [{"id": name} for name in names]}).encode())


def server(fake: FakeProvider, name: str = "lab", **changes: Any) -> Provider:
    """Needs no key and lists its models."""
    given: dict[str, Any] = {
        "keyless": True,
        "discover": True,
        "probe": Probe("/models", lists_models=True),
        "health_interval_s": INTERVAL_S,
    }
    return provider_at(fake.url, name, **(given | changes))


class Told(Registry):
    """A registry that remembers the probes it was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, bool, str, tuple[Listed, ...] | None]] = []

    def probed(
        self,
        provider: Provider,
        *,
        ok: bool,
        alive: bool,
        detail: str,
        now_s: float,
        models: tuple[Listed, ...] | None,
    ) -> None:
        self.told.append((provider.name, ok, detail, models))
        super().probed(provider, ok=ok, alive=alive, detail=detail, now_s=now_s, models=models)


@dataclass
class Scene:
    """``providers`` are those in force; ``now_s`` is the time."""

    upstream: Upstream
    providers: list[Provider] = field(default_factory=list)
    registry: Told = field(default_factory=Told)
    now_s: float = 1000.0
    changes: int = 0
    timeout_s: float = 5.0
    _prober: Prober | None = None

    @property
    def prober(self) -> Prober:
        if self._prober is None:
            self._prober = Prober(
                upstream=self.upstream,
                registry=self.registry,
                adapters={Dialect.OPENAI_CHAT: ADAPTERS[Dialect.OPENAI_CHAT]},
                providers=lambda: self.providers,
                on_models_changed=self._changed,
                clock=lambda: self.now_s,
                timeout_s=self.timeout_s,
            )
        return self._prober

    def use(self, *providers: Provider) -> None:
        self.providers = list(providers)
        self.registry.reconcile(snapshot(providers={p.name: p for p in providers}), self.now_s)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
async def scene(upstream: Upstream) -> Scene:
    return Scene(upstream)


@contextlib.asynccontextmanager
async def running(prober: Prober) -> AsyncIterator[None]:
    task = asyncio.ensure_future(prober.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class TestWhom:
    @pytest.mark.parametrize("changes", [{"keyless": True}, {"discover": True}, {"keyless": False}])
    def test_everybody_who_can_be_asked_for_nothing(self, changes: dict[str, Any]) -> None:
        assert wants_probe(provider_at("http://x", probe=Probe("/models"), **changes))

    @pytest.mark.parametrize(
        "changes",
        [
            {"enabled": False},
            {"configured": False},
            {"probe": None},
            {"preset": "mock"},
        ],
    )
    def test_nobody_else(self, changes: dict[str, Any]) -> None:
        given: dict[str, Any] = {"keyless": True, "probe": Probe("/models")} | changes
        assert not wants_probe(provider_at("http://x", **given))


class TestWhen:
    async def test_at_once_and_then_every_interval(self, scene: Scene, first: FakeProvider) -> None:
        scene.use(server(first))
        await scene.prober.round()
        scene.now_s += INTERVAL_S - 0.1
        await scene.prober.round()
        assert len(first.probes) == 1
        scene.now_s += 0.1
        await scene.prober.round()
        assert len(first.probes) == 2

    async def test_who_came_later_is_asked_at_once_and_alone(
        self, scene: Scene, first: FakeProvider, second: FakeProvider
    ) -> None:
        scene.use(server(first))
        await scene.prober.round()
        scene.use(server(first), server(second, "other"))
        await scene.prober.round()
        assert (len(first.probes), len(second.probes)) == (1, 1)

    async def test_who_went_and_came_back_is_asked_at_once(self, scene: Scene, first: FakeProvider) -> None:
        scene.use(server(first))
        await scene.prober.round()
        scene.use()
        await scene.prober.round()
        scene.use(server(first))
        await scene.prober.round()
        assert len(first.probes) == 2

    async def test_a_changed_entry_is_asked_at_once_a_moved_one_is_not(
        self, scene: Scene, first: FakeProvider
    ) -> None:
        scene.use(server(first))
        await scene.prober.round()
        scene.use(server(first, place=Place("providers.yaml", 7, 3)))
        await scene.prober.round()
        assert len(first.probes) == 1
        scene.use(server(first, max_retries=3))
        await scene.prober.round()
        assert len(first.probes) == 2

    async def test_nobody_is_asked_who_is_being_called(self, scene: Scene, first: FakeProvider) -> None:
        quiet = server(first, discover=False)
        scene.use(quiet)
        await scene.prober.round()
        scene.now_s += INTERVAL_S - 1.0
        called = Deployment("lab/m", quiet, "m", "m", key="lab|m")
        scene.registry.started(called, scene.now_s)
        scene.registry.ended(called, Outcome(True, None, 0.1, 0.1), scene.now_s)
        scene.now_s += 2.0
        await scene.prober.round()
        assert len(first.probes) == 1
        scene.now_s += INTERVAL_S
        await scene.prober.round()
        assert len(first.probes) == 2

    async def test_an_open_breaker_is_asked_after_within_seconds(
        self, scene: Scene, first: FakeProvider
    ) -> None:
        lab = server(first, discover=False)
        broken = Deployment("lab/m", lab, "m", "m", key="lab|m")
        scene.providers = [lab]
        scene.registry.reconcile(snapshot(broken, providers={"lab": lab}), scene.now_s)
        await scene.prober.round()
        gone = Outcome(False, Failure(FailureKind.UNREACHABLE, "gone"), None, 0.01)
        for _ in range(lab.unhealthy_after):
            scene.registry.started(broken, scene.now_s)
            scene.registry.ended(broken, gone, scene.now_s)
        assert scene.registry.refusal(broken, scene.now_s) is not None
        scene.now_s += 1.5
        await scene.prober.round()
        assert len(first.probes) == 2
        assert scene.registry.refusal(broken, scene.now_s) is None

    async def test_a_slow_one_does_not_keep_the_others_waiting(
        self, scene: Scene, first: FakeProvider, second: FakeProvider
    ) -> None:
        first.on_probe = hang
        scene.use(server(first, "slow"), server(second, "quick"))
        asking = asyncio.ensure_future(scene.prober.round())
        await until(lambda: any(name == "quick" for name, *_ in scene.registry.told))
        assert not asking.done()
        asking.cancel()

    async def test_a_wake_is_heard_while_it_waits(self, scene: Scene, first: FakeProvider) -> None:
        async with running(scene.prober):
            await asyncio.sleep(0)
            scene.use(server(first))
            scene.prober.wake()
            await until(lambda: bool(scene.registry.told))

    async def test_a_wake_is_heard_while_it_asks(
        self, scene: Scene, first: FakeProvider, second: FakeProvider
    ) -> None:
        go_on = asyncio.Event()

        async def slowly(wire: Wire) -> None:
            await go_on.wait()
            await lists("a")(wire)

        first.on_probe = slowly
        scene.use(server(first))
        async with running(scene.prober):
            await until(lambda: bool(first.probes))
            scene.use(server(first), server(second, "other"))
            scene.prober.wake()
            go_on.set()
            await until(lambda: bool(second.probes))


class TestWhatIsSaid:
    async def test_a_list_is_passed_on(self, scene: Scene, first: FakeProvider) -> None:
        first.on_probe = lists("a", "b")
        scene.use(server(first))
        await scene.prober.round()
        assert scene.registry.told == [("lab", True, "", (Listed("a"), Listed("b")))]
        assert [m.id for m in scene.registry.discovered()["lab"]] == ["a", "b"]

    async def test_only_a_changed_list_is_news(self, scene: Scene, first: FakeProvider) -> None:
        scene.use(server(first))
        changes = []
        for names in (("a",), ("a",), ("a", "b"), ("a", "b")):
            first.on_probe = lists(*names)
            await scene.prober.round()
            changes.append(scene.changes)
            scene.now_s += INTERVAL_S
        assert changes == [1, 1, 2, 2]

    async def test_who_only_has_to_be_there_is_not_read(self, scene: Scene, first: FakeProvider) -> None:
        first.on_probe = answer(body=b"pong")
        scene.use(server(first, probe=Probe("/health"), discover=False))
        await scene.prober.round()
        assert scene.registry.told == [("lab", True, "", None)]
        assert first.probes[0].path == "/v1/health"

    @pytest.mark.parametrize(
        ("manner", "said"),
        [
            pytest.param(answer(503), "the probe was answered with status 503", id="an error"),
            pytest.param(answer(body=b"<html>"), "the list of models cannot be read", id="no list"),
            pytest.param(answer(body=b"[" * 100_000), "the list of models cannot be read", id="too deep"),
            pytest.param(
                answer(body=b'{"data": 5}'), "the list of models cannot be read", id="another shape"
            ),
        ],
    )
    async def test_what_is_wrong_is_said(
        self, scene: Scene, first: FakeProvider, manner: Manner, said: str
    ) -> None:
        first.on_probe = manner
        scene.use(server(first))
        await scene.prober.round()
        [(_, ok, detail, models)] = scene.registry.told
        assert not ok
        assert detail.startswith(said)
        assert len(detail) <= 200
        assert models is None

    async def test_nobody_there(self, scene: Scene, first: FakeProvider) -> None:
        await first.stop()
        scene.use(server(first))
        await scene.prober.round()
        [(_, ok, detail, _)] = scene.registry.told
        assert not ok
        assert "refused" in detail

    async def test_silence(self, scene: Scene, first: FakeProvider) -> None:
        first.on_probe = hang
        scene.timeout_s = 0.05
        scene.use(server(first))
        await scene.prober.round()
        [(_, ok, detail, _)] = scene.registry.told
        assert not ok
        assert "0.05 s" in detail

    async def test_a_dialect_nobody_speaks(self, scene: Scene, first: FakeProvider) -> None:
        scene.use(server(first, dialect=Dialect.COHERE_CHAT))
        await scene.prober.round()
        assert scene.registry.told == [("lab", False, "this version does not speak cohere-chat", None)]
        assert not first.probes


class TestOnDemand:
    async def test_anybody_can_be_asked_and_is_available_from_then_on(
        self, scene: Scene, first: FakeProvider
    ) -> None:
        first.on_probe = lists("a", "b")
        paid = server(first, keyless=False, discover=False)
        scene.use(paid)
        asked = await scene.prober.test(paid, [Probe("/models", lists_models=True)])
        assert (asked.ok, asked.status, asked.models) == (True, 200, (Listed("a"), Listed("b")))
        assert scene.registry.told == [("lab", True, "", None)]
        assert (scene.changes, first.seen) == (0, [])

    async def test_what_a_discovering_provider_lists_is_used(self, scene: Scene, first: FakeProvider) -> None:
        first.on_probe = lists("a")
        lab = server(first)
        scene.use(lab)
        await scene.prober.test(lab, [Probe("/models", lists_models=True)])
        assert [model.id for model in scene.registry.discovered()["lab"]] == ["a"]
        assert scene.changes == 1

    async def test_each_probe_is_asked_until_one_fails(self, scene: Scene, first: FakeProvider) -> None:
        async def only_the_list(wire: Wire) -> None:
            await (answer(401) if wire.seen.path == "/v1/key" else lists("a"))(wire)

        lab, probes = server(first), [Probe("/key"), Probe("/models", lists_models=True)]
        scene.use(lab)
        asked = await scene.prober.test(lab, probes)
        assert [seen.path for seen in first.probes] == ["/v1/key", "/v1/models"]
        assert asked.models == ()
        first.on_probe = only_the_list
        asked = await scene.prober.test(lab, probes)
        assert [seen.path for seen in first.probes[2:]] == ["/v1/key"]
        assert (asked.ok, asked.status) == (False, 401)
        assert asked.failure is not None
        assert asked.failure.kind is FailureKind.PROVIDER_DENIED

    async def test_without_a_probe_nobody_is_asked(self, scene: Scene, first: FakeProvider) -> None:
        lab = server(first, discover=False)
        scene.use(lab)
        assert (await scene.prober.test(lab, [])).ok
        assert first.probes == []

    async def test_silence_ends_in_time(self, scene: Scene, first: FakeProvider) -> None:
        first.on_probe = hang
        scene.timeout_s = 0.05
        lab = server(first)
        scene.use(lab)
        asked = await scene.prober.test(lab, [Probe("/models")])
        assert asked.failure is not None
        assert (asked.failure.kind, asked.status) == (FailureKind.TIMEOUT, None)
