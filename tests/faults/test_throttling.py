"""Providers that ask for a pause: it is kept to the millisecond, and it is not held against them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TypeAlias

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, Rig, forms
from tests.faults.load import Load, Told
from tests.faults.manners import chat, refusal
from tests.support.fake_provider import Exchange, Manner, Seen

Hint: TypeAlias = Callable[[], dict[str, str]]

ONE = Load(100.0, 1)
LATE_S = 0.050
EARLY_S = 0.001  # two clocks read one after the other
ON_THE_WAY_S = 0.100  # a call that was sent before the 429 arrived, on a machine that has other things to do


def date_in(seconds: int) -> dict[str, str]:
    """An instant, as HTTP writes it, beside the clock it belongs to."""
    now_s = int(time.time())
    at = [datetime.fromtimestamp(now_s + extra, UTC) for extra in (0, seconds)]
    return {"date": format_datetime(at[0], usegmt=True), "retry_after": format_datetime(at[1], usegmt=True)}


HINTS: dict[str, tuple[float, Hint]] = {
    "seconds": (1.0, lambda: {"retry_after": "1"}),
    "milliseconds": (0.350, lambda: {"retry_after_ms": "350"}),
    "a date": (2.0, lambda: date_in(2)),
    "a window that resets": (
        0.6,
        lambda: {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "600ms"},
    ),
}


def in_turn(*manners: Manner) -> Manner:
    """One after the other; the last for all that follow."""
    left = list(manners)

    async def manner(exchange: Exchange) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return manner


@pytest.mark.quiet
@pytest.mark.parametrize(
    ("hint", "stream"),
    [
        ("seconds", False),
        *(pytest.param(hint, True, marks=pytest.mark.proof if hint != "a date" else ()) for hint in HINTS),
    ],
)
async def test_f05_a_pause_that_is_asked_for_is_kept_exactly(
    new_rig: NewRig, figures: Figures, hint: str, stream: bool
) -> None:
    wait_s, headers = HINTS[hint]
    async with new_rig(count=1) as rig:
        rig.one.manner = in_turn(refusal(429, **headers()), chat(rig.pace))
        told = await rig.ask(ONE, stream=stream)
    assert told.success, told
    waited_s = rig.one.seen[1].at_s - wrote_s(rig.one.seen[0])
    figures.at_least(f"early, {hint}", waited_s - wait_s, -EARLY_S, "ms")
    figures.at_most(f"late, {hint}", waited_s - wait_s, LATE_S, "ms")


def wrote_s(seen: Seen) -> float:
    assert seen.wrote_s is not None
    return seen.wrote_s


@forms(short_s=4.0, long_s=20.0)
async def test_f05_nobody_calls_inside_a_pause_and_the_others_serve(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    """The primary asks for a pause, and asks again whenever it is called."""
    pause_s = 1.0
    async with new_rig(pace=form.pace) as rig:
        rig.fail("one", refusal(429, retry_after="1"))
        report = await rig.run(form.load)
    rig.judge(report, figures)
    asked = [wrote_s(seen) for seen in rig.one.seen]
    inside = [
        seen.at_s - said_s
        for said_s in asked
        for seen in rig.one.seen
        if said_s + ON_THE_WAY_S < seen.at_s < said_s + pause_s - EARLY_S
    ]
    figures.none("attempts inside a pause", len(inside), str(inside))
    figures.at_least("attempts after a pause", len(asked), form.seconds / 2)


@pytest.mark.parametrize(
    ("first_s", "second_s"), [("0.4", "1.2"), ("1.2", "0.4")], ids=["longer later", "shorter later"]
)
async def test_f05_the_longer_of_two_pauses_wins(
    new_rig: NewRig, figures: Figures, first_s: str, second_s: str
) -> None:
    """Two calls are on their way when the provider has enough; each is told another pause."""
    async with new_rig(count=2) as rig:
        both = asyncio.Barrier(2)
        answered = asyncio.Event()

        async def manner(exchange: Exchange) -> None:
            if len(rig.one.seen) > 2:
                await chat(rig.pace)(exchange)
                return
            is_first = exchange.seen is rig.one.seen[0]
            await both.wait()
            if not is_first:
                await answered.wait()
            await refusal(429, retry_after_ms=f"{float(first_s if is_first else second_s) * 1000:.0f}")(
                exchange
            )
            answered.set()

        rig.one.manner = manner
        told = list(await asyncio.gather(rig.ask(ONE), rig.ask(ONE)))
        ends_s = max(
            wrote_s(seen) + float(s) for seen, s in zip(rig.one.seen, (first_s, second_s), strict=False)
        )
        while time.monotonic() < ends_s + 0.2:
            told.append(await rig.ask(ONE))
    assert all(t.success for t in told), rig.report(told).explain(told)
    assert len(rig.one.seen) > 2, "it was not asked again after its pause"
    back_s = rig.one.seen[2].at_s - ends_s
    figures.at_least("early", back_s, -EARLY_S, "ms")
    figures.at_most("back after the longer pause", back_s, 0.3, "ms")


async def test_f05_when_all_pause_the_client_hears_the_shortest(new_rig: NewRig) -> None:
    pauses_s = {"one": 40, "two": 20, "three": 30}
    async with new_rig() as rig:
        for name, pause_s in pauses_s.items():
            rig.fail(name, refusal(429, retry_after=str(pause_s)))
        for told in await ask_twice(rig):
            assert told.status == 429
            assert told.error is not None
            assert 18 <= int(told.headers["retry-after"]) <= 20
    calls = {name: len(fake.seen) for name, fake in rig.fakes.items()}
    assert calls == dict.fromkeys(pauses_s, 1), "the second request may not call anybody"


async def ask_twice(rig: Rig) -> list[Told]:
    return [await rig.ask(ONE, stream=False), await rig.ask(ONE, stream=False)]


@forms(short_s=5.0, long_s=20.0)
async def test_f06_without_a_hint_it_is_asked_less_and_less(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    async with new_rig(pace=form.pace) as rig:
        await rig.warm(20)
        rig.one.seen.clear()
        rig.fail("one", refusal(429))
        report = await rig.run(Load(form.rate, form.load.requests, steady=True))
        async with rig.daemon.unix_session() as admin, admin.get("/admin/v1/providers") as response:
            entry = next(p for p in (await response.json())["providers"] if p["name"] == "one")
    rig.judge(report, figures)
    at = [seen.at_s for seen in rig.one.seen]
    most = max(sum(start_s <= other_s < start_s + 3.0 for other_s in at) for start_s in at)
    figures.at_most("attempts in any 3 s", most, 2)
    assert entry["state"] != "failing", "a limit is no ill health"
