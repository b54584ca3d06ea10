"""What a key says of its owner's requests, at sockets: whose they are, how well they must be kept, who may say less."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from llmproxyd.exchange.account import ExchangeRecord
from llmproxyd.server import binding
from llmproxyd.state.jobs import JobStore
from llmproxyd.values.snapshot import DetectRule, Privacy, Tenant, VirtualKey, Zone
from tests.exchange.build import deployment_at
from tests.server.door import Door, open_door
from tests.support.fake_provider import FakeProvider
from tests.support.records import replace

LOWER = "x-llmproxyd-lower-label"
MAIL = [{"role": "user", "content": "write to jane.roe@corp-mail.com please"}]


def key(name: str, **bound: Any) -> VirtualKey:
    return VirtualKey(sha256(name.encode()).hexdigest(), name, **bound)


ACME = Tenant(
    "acme",
    (
        key("plain"),
        key("bound", project="website", user="jane"),
        key("careful", label="confidential"),
        key("trusted", may_lower=True),
        key("trusted-careful", label="confidential", may_lower=True),
    ),
)
CAREFUL = Tenant(
    "careful", (key("of-careful"), key("trusted-of-careful", may_lower=True)), label="restricted"
)
TENANTS = {tenant.name: tenant for tenant in (ACME, CAREFUL)}
LOOKS_FOR_MAIL = Privacy(detect=(DetectRule(("email",), 3),))


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs.db", wall=time.time)


@pytest.fixture
async def door(store: JobStore, first: FakeProvider, second: FakeProvider) -> AsyncIterator[Door]:
    """``first`` is outside and may see what is internal, ``second`` is at home and may see everything."""
    outside = deployment_at(first, zone=Zone.EXTERNAL, clearance=1)
    home = deployment_at(second, "second", zone=Zone.LOCAL, clearance=3)
    async with open_door(outside, home, tenants=TENANTS, privacy=LOOKS_FOR_MAIL, jobs=store) as opened:
        yield opened


def shown(name: str, **more: str) -> dict[str, str]:
    return {"x-api-key": name, **more}


async def label_of(door: Door, name: str, **how: Any) -> str:
    headers = shown(name, **how.pop("headers", {}))
    response = await door.post(headers=headers, **how)
    assert response.status == 200, await response.text()
    return str(response.headers["x-llmproxyd-label"])


class TestClaims:
    async def test_are_the_keys_where_it_makes_them(self, door: Door) -> None:
        assert (await door.post(headers=shown("bound"))).status == 200
        assert (door.records[-1].project, door.records[-1].user) == ("website", "jane")

    async def test_may_be_repeated(self, door: Door) -> None:
        same = shown("bound", **{"x-llmproxyd-project": "website"})
        assert (await door.post(headers=same)).status == 200

    @pytest.mark.parametrize("claim", ["project", "user"])
    async def test_that_contradict_the_key_are_refused_without_its_own_word(
        self, door: Door, first: FakeProvider, claim: str
    ) -> None:
        response = await door.post(headers=shown("bound", **{f"x-llmproxyd-{claim}": "another"}))
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (403, "claim_conflict")
        assert f"x-llmproxyd-{claim}" in error["message"]
        assert "website" not in error["message"]
        assert "jane" not in error["message"]
        assert first.seen == []

    async def test_of_an_unbound_key_are_the_clients(self, door: Door) -> None:
        assert (await door.post(headers=shown("plain", **{"x-llmproxyd-project": "hr"}))).status == 200
        assert (door.records[-1].project, door.records[-1].user) == ("hr", "")


class TestLabel:
    @pytest.mark.parametrize(
        ("name", "label"), [("plain", "internal"), ("careful", "confidential"), ("of-careful", "restricted")]
    )
    async def test_is_at_least_the_keys_and_the_tenants(
        self, door: Door, first: FakeProvider, name: str, label: str
    ) -> None:
        assert await label_of(door, name) == label
        assert bool(first.seen) is (label == "internal")

    async def test_may_be_lowered_by_who_may_and_that_is_written_down(
        self, door: Door, first: FakeProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        audit = Mock()
        monkeypatch.setattr(binding, "_audit", audit)
        assert await label_of(door, "trusted", messages=MAIL) == "restricted"
        assert not audit.mock_calls
        assert await label_of(door, "trusted", messages=MAIL, headers={LOWER: "internal"}) == "internal"
        assert len(first.seen) == 1
        told = audit.warning.call_args
        assert told.args == ("label_lowered",)
        assert told.kwargs == {
            "request_id": door.records[-1].request_id,
            "tenant": "acme",
            "key": key("trusted").id,
            "label": "internal",
            "lowered_from": "restricted",
            "sources": ["default", "email found", "lowered by the caller"],
        }

    @pytest.mark.parametrize("name", ["plain", "careful", "of-careful"])
    async def test_is_lowered_by_nobody_else(self, door: Door, first: FakeProvider, name: str) -> None:
        response = await door.post(headers=shown(name, **{LOWER: "public"}), messages=MAIL)
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (403, "not_permitted")
        assert first.seen == []

    @pytest.mark.parametrize(
        ("name", "label"), [("trusted-careful", "confidential"), ("trusted-of-careful", "restricted")]
    )
    async def test_is_never_lowered_below_the_keys_and_the_tenants(
        self, door: Door, first: FakeProvider, name: str, label: str
    ) -> None:
        assert await label_of(door, name, messages=MAIL, headers={LOWER: "public"}) == label
        assert first.seen == []

    async def test_is_not_raised_by_lowering(self, door: Door) -> None:
        assert await label_of(door, "trusted", headers={LOWER: "restricted"}) == "internal"

    async def test_that_nobody_knows_is_refused(self, door: Door) -> None:
        response = await door.post(headers=shown("trusted", **{LOWER: "harmless"}))
        error = (await response.json())["error"]
        assert (response.status, error["code"], error["param"]) == (400, "unknown_label", LOWER)


async def test_what_goes_on_from_a_lowered_request_has_the_label_it_had_before(
    door: Door, second: FakeProvider
) -> None:
    """One request's leave is not that of the whole conversation."""
    headers = shown("trusted", **{LOWER: "internal", "x-llmproxyd-label": "restricted"})
    response = await door.post("/v1/responses", headers=headers, input="a secret plan", store=True)
    assert response.headers["x-llmproxyd-label"] == "internal"
    again = {"input": "and now?", "previous_response_id": (await response.json())["id"]}
    response = await door.post("/v1/responses", headers=shown("trusted"), **again)
    assert response.headers["x-llmproxyd-label"] == "restricted"
    assert len(second.seen) == 1


async def later(door: Door, name: str, **headers: str) -> str:
    response = await door.post(headers=shown(name, **{"prefer": "respond-async", **headers}), messages=MAIL)
    assert response.status == 202, await response.text()
    return str(response.headers["location"])


class TestAnsweredLater:
    async def test_by_the_same_key(self, door: Door, first: FakeProvider) -> None:
        """Its claims, its label and its leave are still its own when nobody waits any more."""
        await later(door, "bound")
        await later(door, "trusted", **{LOWER: "internal"})
        done: list[ExchangeRecord] = []
        async with asyncio.timeout(10):
            while len(done) < 2:
                await asyncio.sleep(0.01)
                done = [record for record in door.records if record.deployment is not None]
        assert len(first.seen) == 1
        assert {record.key_id for record in done} == {key("bound").id, key("trusted").id}
        assert {record.user for record in done} == {"jane", ""}

    async def test_not_at_all_when_the_key_was_taken_back(
        self, tmp_path: Path, store: JobStore, first: FakeProvider
    ) -> None:
        async with open_door(deployment_at(first), tenants=TENANTS, jobs=store, workers=0) as door:
            place = await later(door, "plain")
        rest = replace(ACME, keys=tuple(key for key in ACME.keys if key.name != "plain"))
        again = JobStore(tmp_path / "jobs.db", wall=time.time)
        async with open_door(deployment_at(first), tenants={"acme": rest}, jobs=again) as door:
            told = await over(door, place)
        assert told["status"] == "failed"
        assert "taken back" in told["result"]["body"]["error"]["message"]
        assert first.seen == []


async def over(door: Door, place: str) -> Any:
    async with asyncio.timeout(10):
        while True:
            told = await (await door.session.get(place, headers={"x-owner": "acme"})).json()
            if told["status"] not in ("queued", "in_progress"):
                return told
            await asyncio.sleep(0.005)
