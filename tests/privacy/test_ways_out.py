"""Every way out of the house, walked with something that must not leave it.

Whoever may see a masked copy sees that and nothing else, however often and after whatever it is asked; whoever may see
nothing is not asked, also not for an answer that is given later; and what is written down holds no word of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.server.exchange_log import ExchangeLog
from llmproxyd.state.jobs import JobStore
from llmproxyd.values.ledger import Intent, Settlement
from llmproxyd.values.snapshot import Deployment, HedgePolicy, OneOf, Rule, Stage, Zone
from tests.exchange.build import deployment_at
from tests.faults.manners import by_turns
from tests.server.door import open_door
from tests.server.test_jobs import RESPONSES, later, over
from tests.server.test_scanning import CARD, LOOKING, MAIL, MASKING, ask, at_home, outside
from tests.support.fake_provider import (
    FakeProvider,
    Manner,
    answer,
    chat_body,
    chat_frames,
    good_chat,
    hang,
    stream,
)

NAME = "jane.doe"
SECRET = f"{NAME}@example.com"
"""Of its two halves hosts are put out wherever clients are told something; the other one tells who saw it."""
BUSY = answer(503, b'{"error": {"message": "busy"}}')
CUT = stream(chat_frames(["One ", "two ", "three "]), cut_after=3)
AGAIN = {"retry_max": 1, "retry_base_s": 0.0}
BESIDE = {"hedge": HedgePolicy(after_s=0.02, max_share=1.0, max_spend=1.0)}
GOES_ON = (*MASKING, Rule("go on", Stage.PERFORMANCE, continues=True))


@pytest.mark.parametrize(
    ("manner", "fallback", "rules"),
    [
        pytest.param(by_turns(BUSY, good_chat), AGAIN, MASKING, id="retry"),
        pytest.param(BUSY, {}, MASKING, id="fallback"),
        pytest.param(hang, BESIDE, MASKING, id="hedge"),
        pytest.param(CUT, {}, GOES_ON, id="continuation"),
    ],
)
async def test_who_may_see_a_masked_copy_never_sees_more(
    first: FakeProvider,
    second: FakeProvider,
    manner: Manner,
    fallback: Mapping[str, Any],
    rules: tuple[Rule, ...],
) -> None:
    first.manner, second.manner = manner, good_chat
    others = () if fallback is AGAIN else (at_away(second),)
    async with open_door(outside(first), *others, privacy=LOOKING, rules=rules, fallback=fallback) as door:
        status, _ = await ask(door, MAIL, stream=True)
    calls = [seen.body.decode() for seen in (*first.seen, *second.seen)]
    assert status == 200
    assert len(calls) == 2
    assert not [call for call in calls if SECRET in call]


def at_away(fake: FakeProvider) -> Deployment:
    """Another provider like ``outside``."""
    return deployment_at(fake, "away", zone=Zone.EXTERNAL, clearance=1)


# --- answers that are given later -------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs.db", wall=time.time)


HR = (Rule("hr", Stage.PRIVACY, OneOf("project", ("hr",)), label=3),)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        pytest.param({"x-llmproxyd-label": "restricted"}, "hello", id="its label"),
        pytest.param({"x-llmproxyd-project": "hr"}, "hello", id="a rule"),
        pytest.param({}, CARD, id="what is found in it"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", RESPONSES])
async def test_a_request_to_be_answered_later_stays_at_home_as_it_would_have_at_once(
    first: FakeProvider, second: FakeProvider, store: JobStore, path: str, headers: dict[str, str], text: str
) -> None:
    first.manner = second.manner = good_chat
    async with open_door(outside(first), at_home(second), privacy=LOOKING, rules=HR, jobs=store) as door:
        given = {"input": text} if path == RESPONSES else {"messages": [{"role": "user", "content": text}]}
        told = await over(door, await later(door, path, headers, **given))
    assert told["status"] == "completed"
    assert (len(first.seen), len(second.seen)) == (0, 1)


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_goes_on_from_a_conversation_stays_where_that_was(
    first: FakeProvider, second: FakeProvider, store: JobStore, at_once: bool
) -> None:
    first.manner = second.manner = good_chat
    async with open_door(outside(first), at_home(second), privacy=LOOKING, jobs=store) as door:
        restricted = {"x-llmproxyd-label": "restricted"}
        begun = await (await door.post(RESPONSES, headers=restricted, input="hello")).json()
        following: dict[str, Any] = {"input": "and then?", "previous_response_id": begun["id"]}
        if at_once:
            assert (await door.post(RESPONSES, **following)).status == 200
        else:
            await over(door, await later(door, RESPONSES, **following))
    assert (len(first.seen), len(second.seen)) == (0, 2)


# --- what is written down ---------------------------------------------------------------------------------------


@dataclass
class Notebook:
    """A ledger in memory."""

    entries: list[Intent | Settlement] = field(default_factory=list)

    def begin(self, intent: Intent) -> None:
        self.entries.append(intent)

    def settle(self, settlement: Settlement) -> None:
        self.entries.append(settlement)


@pytest.mark.parametrize(
    "manner",
    [
        pytest.param(good_chat, id="served"),
        pytest.param(
            answer(400, json.dumps({"error": {"message": MAIL}}).encode()), id="quoted by a provider"
        ),
        pytest.param(answer(body=chat_body(MAIL)), id="repeated by a model"),
        pytest.param(CUT, id="cut"),
    ],
)
async def test_neither_log_nor_ledger_holds_a_word_of_it(
    first: FakeProvider, manner: Manner, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.manner, ledger = manner, Notebook()
    rows: list[Any] = []
    monkeypatch.setattr("llmproxyd.logs.write_rows", rows.extend)
    async with open_door(at_home(first), ledger=ledger, privacy=LOOKING) as door:
        await ask(door, MAIL, stream=True, user=SECRET)
        await ask(door, MAIL)
    log = ExchangeLog(time.time)
    for record in door.records:
        log(record)
    log.flush()
    assert len(rows) == 2
    assert len(ledger.entries) == 4
    assert NAME not in repr(rows)
    assert NAME not in repr(ledger.entries)
