"""The views beside the surfaces over a real connection: who may see them, and what they are made from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from llmproxyd.exchange.line import LineReport
from llmproxyd.server.metrics import Counters, Gathered
from llmproxyd.server.views import Views
from llmproxyd.state.events import Events
from llmproxyd.state.registry import Registry
from llmproxyd.values.request import Priority
from tests.server.door import listening
from tests.server.values import AT_S, deployment, in_force, provider, snapshot

TOKEN = {"Authorization": "Bearer t0ken"}
FAST = deployment(provider("openai"), "fast")
NOBODY = dict.fromkeys(Priority, 0)


@pytest.fixture
def events() -> Events:
    return Events(lambda: AT_S, epoch="e")


@pytest.fixture
async def session(events: Events) -> AsyncIterator[aiohttp.ClientSession]:
    current, registry = snapshot(FAST), Registry()
    nobody_reloads: Any = None
    registry.reconcile(current, 0.0)
    line = LineReport("openai", NOBODY | {Priority.BATCH: 3}, NOBODY, 8, 8)
    views = Views(
        in_force=in_force(current),
        reloader=nobody_reloads,
        registry=registry,
        counters=Counters(),
        admin_token="t0ken",
        metrics_open=False,
        in_flight=lambda: 1,
        log_lines_lost=lambda: 0,
        events=events,
        gathered=lambda: Gathered(lines=(line,), events=dict(events.counts)),
        clock=lambda: 0.0,
        wall=lambda: AT_S,
    )
    exact = {
        ("GET", "/admin/v1/events"): views.guarded(views.events),
        ("GET", "/admin/v1/providers"): views.guarded(views.providers),
        ("GET", "/metrics"): views.metrics,
    }
    async with (
        listening(exact) as (_, port),
        aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}") as made,
    ):
        yield made


@pytest.mark.parametrize("path", ["/admin/v1/events", "/admin/v1/providers", "/metrics"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "t0ken"}])
async def test_nobody_gets_in_without_the_token(
    path: str, headers: dict[str, str], session: aiohttp.ClientSession
) -> None:
    async with session.get(path, headers=headers) as response:
        assert response.status == 403


async def test_events_are_told_to_who_may_administer(session: aiohttp.ClientSession, events: Events) -> None:
    events.publish("cooling", "openai/fast")
    async with session.get("/admin/v1/events?follow=false", headers=TOKEN) as response:
        assert [event["kind"] for event in (await response.json())["events"]] == ["cooling"]


async def test_providers_are_told_with_who_waits_for_them(session: aiohttp.ClientSession) -> None:
    async with session.get("/admin/v1/providers", headers=TOKEN) as response:
        [openai] = (await response.json())["providers"]
    assert (openai["state"], openai["waiting"]["batch"]) == ("not yet tested", 3)
    assert openai["deployments"][0]["breaker"] == "closed"


async def test_metrics_hold_what_other_rooms_count(session: aiohttp.ClientSession, events: Events) -> None:
    events.publish("cooling", "openai/fast")
    async with session.get("/metrics", headers=TOKEN) as response:
        text = await response.text()
    assert 'llmproxyd_limit_waiting{class="batch",provider="openai"} 3.0' in text
    assert 'llmproxyd_events_total{kind="cooling"} 1.0' in text
    assert 'llmproxyd_deployment_breaker{model="fast",provider="openai",state="closed"} 1.0' in text
