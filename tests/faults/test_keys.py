"""A key that is denied: the next one is used at once, the denied one is left alone, and the operator is told."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.conftest import NewRig
from tests.faults.harness import Rig
from tests.faults.load import Load
from tests.faults.manners import BRISK, chat, refusal
from tests.support.fake_provider import Exchange

ONE = Load(100.0, 1)
KEYS = 'api_keys: [{ref: "${env:OLD_KEY}"}, {ref: "${env:NEW_KEY}"}]'


@pytest.fixture
def rig(new_rig: NewRig) -> Rig:
    rig = new_rig(count=2, providers={"one": KEYS})
    rig.daemon.environ.update(OLD_KEY="sk-old", NEW_KEY="sk-new")
    return rig


async def only_new(exchange: Exchange) -> None:
    good = exchange.seen.headers.get("authorization") == "Bearer sk-new"
    await (chat(BRISK) if good else refusal(401))(exchange)


async def test_f12_a_denied_key_is_quarantined_and_the_next_one_serves(rig: Rig) -> None:
    async with rig:
        rig.one.manner = only_new
        told = [await rig.ask(ONE, stream=number % 2 == 0) for number in range(20)]
        told += await asyncio.gather(*(rig.ask(ONE) for _ in range(20)))
        async with rig.daemon.unix_session() as admin, admin.get("/admin/v1/providers") as response:
            text = await response.text()
    report = rig.report(told)
    assert not report.errors, report.explain(report.errors)
    assert set(report.served_by()) == {"one"}
    used = [seen.headers["authorization"] for seen in rig.one.seen]
    assert used.count("Bearer sk-old") == 1
    assert "OLD_KEY" in text
    assert "quarantined" in text
    assert "sk-old" not in text + "".join(rig.daemon.raw_log)
    assert any("OLD_KEY" in line for line in rig.daemon.raw_log), "the operator was not told"


async def test_f12_when_every_key_is_denied_another_provider_serves(rig: Rig) -> None:
    async with rig:
        rig.refuse("one", 401)
        report = rig.report([await rig.ask(ONE) for _ in range(10)])
    assert not report.errors, report.explain(report.errors)
    assert set(report.served_by()) == {"two"}
    assert len(rig.one.seen) == 2, "once for each key"
