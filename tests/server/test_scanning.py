"""What is found in a request decides who may see it, before anybody does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import pytest

from llmproxyd.detect.detector import Detector
from llmproxyd.detect.engine import Detectors
from llmproxyd.server import scanning
from llmproxyd.server.scanning import Scanner
from llmproxyd.values.privacy import Finding
from llmproxyd.values.snapshot import Deployment, DetectRule, Privacy, Rule, Snapshot, Stage, Zone
from tests.exchange.build import deployment_at
from tests.server.door import CHAT, MESSAGES, Door, open_door
from tests.support.fake_provider import Exchange as Wire
from tests.support.fake_provider import FakeProvider, answer, chat_body, chat_frames, good_chat, stream

CONFIDENTIAL, RESTRICTED = 2, 3
LOOKING = Privacy(
    detect=(
        DetectRule(("secret", "payment_card"), RESTRICTED),
        DetectRule(("email",), CONFIDENTIAL),
    ),
    unscanned={"image": 1},
)
CARD = "My card is 4111 1111 1111 1111, please."
MAIL = "Write to jane.doe@example.com and say hello."
MASKING = (Rule("mask contacts", Stage.PRIVACY, mask=("email",)),)


def outside(fake: FakeProvider) -> Deployment:
    return deployment_at(fake, "outside", zone=Zone.EXTERNAL, clearance=1)


def at_home(fake: FakeProvider) -> Deployment:
    return deployment_at(fake, "home", zone=Zone.LOCAL, clearance=3)


async def ask(door: Door, text: Any, *, path: str = CHAT, **fields: Any) -> tuple[int, str]:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    async with door.session.post(path, json=body) as response:
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("text", "who"),
    [
        pytest.param("What is the weather?", "outside", id="nothing"),
        pytest.param(CARD, "home", id="a card"),
        pytest.param(MAIL, "home", id="an address"),
        pytest.param("x " * 20_000 + CARD, "home", id="long"),
        pytest.param(
            [{"type": "text", "text": "4111 1111"}, {"type": "text", "text": " 1111 1111"}],
            "home",
            id="split",
        ),
    ],
)
async def test_what_is_found_stays_at_home(
    first: FakeProvider, second: FakeProvider, text: Any, who: str
) -> None:
    first.manner = second.manner = good_chat
    async with open_door(outside(first), at_home(second), privacy=LOOKING) as door:
        status, _ = await ask(door, text)
    assert status == 200
    assert [bool(first.seen), bool(second.seen)] == [who == "outside", who == "home"]


async def test_where_nobody_may_see_it_the_client_is_told_and_nobody_else(first: FakeProvider) -> None:
    async with open_door(outside(first), privacy=LOOKING) as door:
        status, said = await ask(door, CARD)
    assert status == 503
    assert "payment_card found" in said
    assert "4111" not in said
    assert not first.seen
    assert door.records[0].label == "restricted"


async def test_a_failure_at_home_does_not_let_it_out(first: FakeProvider, second: FakeProvider) -> None:
    second.manner = answer(503, b'{"error": {"message": "busy"}}')
    async with open_door(outside(first), at_home(second), privacy=LOOKING) as door:
        for _ in range(5):
            assert (await ask(door, CARD))[0] == 503
    assert not first.seen


async def test_what_nobody_could_read_has_the_label_the_operator_gave_it(
    first: FakeProvider, second: FakeProvider
) -> None:
    first.manner = second.manner = good_chat
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 20}}
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRiQ" * 40, "format": "wav"}}
    async with open_door(outside(first), at_home(second), privacy=LOOKING) as door:
        await ask(door, [picture])
        assert (len(first.seen), len(second.seen)) == (1, 0)
        await ask(door, [sound])
    assert (len(first.seen), len(second.seen)) == (1, 1)


NONSENSE: dict[str, Any] = {
    "ends before it begins": [Finding("email", 5, 2, "nonsense")],
    "stands before the text": [Finding("email", -5, 2, "nonsense")],
    "ends beyond the text": [Finding("email", 0, 10**30, "nonsense")],
    "is between two characters": [Finding("email", 0.5, 2.5, "nonsense")],  # type: ignore[arg-type]
    "is a kind that nobody knows": [Finding("nonsense", 0, 2, "nonsense")],
    "is no finding": [("email", 0, 2)],
    "is nothing at all": None,
}


class Broken(Scanner):
    """One of its detectors is broken."""

    def __init__(self, how: str) -> None:
        super().__init__(time.monotonic, budget_s=0.05, patience_s=0.05)
        self._how = how

    def detectors(self, snapshot: Snapshot) -> Detectors | None:
        def find(text: str) -> Iterable[Finding]:
            if self._how == "hangs":
                time.sleep(0.5)  # longer than anybody waits for it here
            if self._how == "raises":
                raise RuntimeError(text)
            found: Iterable[Finding] = NONSENSE[self._how]
            return found

        return Detectors([Detector("broken", frozenset({"email"}), (), find)], ["email"])


@pytest.mark.parametrize("rules", [(), MASKING], ids=["", "and somebody may see a masked copy"])
@pytest.mark.parametrize("how", ["raises", "hangs", *NONSENSE])
async def test_a_detector_that_breaks_keeps_everything_at_home(
    first: FakeProvider,
    second: FakeProvider,
    how: str,
    rules: tuple[Rule, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(scanning._log, "error", lambda event, **values: told.append((event, values)))
    second.manner = good_chat
    async with open_door(
        outside(first), at_home(second), privacy=LOOKING, rules=rules, scanner=Broken(how)
    ) as door:
        status, _ = await ask(door, "nothing special")
    assert status == 200
    assert not first.seen
    assert [event for event, _ in told] == ["detector_failed"]
    assert "special" not in str(told)
    assert door.records[0].label == "restricted"


async def test_a_scan_that_runs_out_of_time_counts_as_unread(
    first: FakeProvider, second: FakeProvider
) -> None:
    second.manner = good_chat
    hasty = Scanner(time.monotonic, budget_s=0.0)
    async with open_door(outside(first), at_home(second), privacy=LOOKING, scanner=hasty) as door:
        await ask(door, "nothing special")
    assert not first.seen


class TestMasked:
    async def test_a_provider_sees_a_name_for_it_and_the_client_its_own_words(
        self, first: FakeProvider
    ) -> None:
        async def echo(wire: Wire) -> None:
            said = wire.seen.json["messages"][-1]["content"]
            await answer(body=chat_body(f"You wrote: {said}"))(wire)

        first.manner = echo
        async with open_door(outside(first), privacy=LOOKING, rules=MASKING) as door:
            status, said = await ask(door, MAIL)
        assert status == 200
        assert "jane.doe@example.com" not in first.seen[0].body.decode()
        assert json.loads(said)["choices"][0]["message"]["content"] == f"You wrote: {MAIL}"

    @pytest.mark.parametrize("path", [CHAT, MESSAGES])
    async def test_a_stream_is_restored_wherever_it_is_cut(self, first: FakeProvider, path: str) -> None:
        async def echo(wire: Wire) -> None:
            said = str(wire.seen.json["messages"][-1]["content"])
            await stream(chat_frames([said[i : i + 3] for i in range(0, len(said), 3)]))(wire)

        first.manner = echo
        async with open_door(outside(first), privacy=LOOKING, rules=MASKING) as door:
            status, said = await ask(door, MAIL, path=path, stream=True, max_tokens=100)
        assert status == 200
        assert "jane.doe@example.com" not in first.seen[0].body.decode()
        deltas = [json.loads(line[6:]) for line in said.split("\n") if line.startswith("data: {")]
        told = "".join(
            event.get("delta", {}).get("text", "")
            if path == MESSAGES
            else "".join(c["delta"].get("content") or "" for c in event["choices"])
            for event in deltas
        )
        assert told == MAIL

    async def test_masking_answers_only_for_what_it_covers(self, first: FakeProvider) -> None:
        async with open_door(outside(first), privacy=LOOKING, rules=MASKING) as door:
            status, _ = await ask(door, f"{MAIL} {CARD}")
        assert status == 503
        assert not first.seen

    async def test_whoever_may_see_it_sees_it_as_it_is(self, first: FakeProvider) -> None:
        first.manner = good_chat
        async with open_door(at_home(first), privacy=LOOKING, rules=MASKING) as door:
            await ask(door, MAIL)
        assert "jane.doe@example.com" in first.seen[0].body.decode()


async def test_nobody_looks_where_nothing_could_come_of_it(first: FakeProvider) -> None:
    first.manner = good_chat

    class Curious(Scanner):
        looked = 0

        async def look(self, request: Any, detectors: Any) -> Any:
            Curious.looked += 1
            return await super().look(request, detectors)

    async with open_door(at_home(first), privacy=LOOKING, scanner=Curious(time.monotonic)) as door:
        await ask(door, CARD)
    assert Curious.looked == 0
