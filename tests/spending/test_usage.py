"""What was used and what it cost, through streams, retries, hedges, leaving clients and the cache: the ledger says what
those who served say, attempt by attempt and in all."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, Rig, forms
from tests.faults.load import Load
from tests.faults.manners import MARK, Pace, number_of
from tests.spending.audit import LEFT, Pair, Row, differences, misjudged, paired, rows_of, sums_of, total
from tests.spending.clients import ask, leave, naming, send, state_dir
from tests.spending.served import PRICED, Metered, all_bills, metered
from tests.support.fake_provider import Exchange, Manner
from tests.support.records import replace

ROUTING = """
version: 1
models: {{careful: [{models}]}}
fallback: {{hedge: {{after: 120ms, max_share: 50%, max_spend: 100%}}}}
cache: {{rules: [{{name: asked coldly, when: {{temperature: {{lte: 0}}}}, ttl: 1h}}]}}
"""
LATE, LEAVING_FROM, REPEATED_FROM = 41 * 20_000 + 17, 1_000_000, 2_000_000
"""Numbers of a request that is answered late, of those whose clients leave and of those that are asked several times."""


def moody(till: Metered, pace: Pace) -> Manner:
    """Mostly well; some calls are refused, some break off before or in the middle of the answer, some begin late."""
    moods: dict[int, Manner] = {
        3: till.refusing(503),
        7: till.refusing(429),
        11: till.cutting(pace, 0),
        **dict.fromkeys((13, 22, 29, 36), till.cutting(pace, pace.pieces // 2)),
        17: till.serving(replace(pace, first_s=0.5)),
        19: till.serving(replace(pace, first_s=0.5)),
    }
    good = till.serving(pace)

    async def manner(exchange: Exchange) -> None:
        number = number_of(exchange.seen.body)
        plain = number < LEAVING_FROM
        await (moods.get(number % 41, good) if plain else good)(exchange)

    return manner


async def leave_in_the_middle(rig: Rig, count: int, every_s: float) -> None:
    """Clients that hang up after a quarter of their answer."""
    wanted, leaving = rig.pace.pieces // 4, []
    for number in range(LEAVING_FROM, LEAVING_FROM + count):
        enough = lambda heard: heard.count(MARK) >= wanted  # noqa: E731
        load = Load(1.0, 1, model="two/m")
        leaving.append(asyncio.ensure_future(leave(rig, number, enough=enough, load=load)))
        await asyncio.sleep(every_s)
    await asyncio.gather(*leaving)


async def repeat(rig: Rig, subjects: int, times: int) -> None:
    """The same questions again and again: some while the first is under way, some after it."""
    for subject in range(REPEATED_FROM, REPEATED_FROM + subjects):
        stream = bool(subject % 2)
        asked = [ask(rig, about=subject, stream=stream, temperature=0) for _ in range(times)]
        told = await asyncio.gather(*asked)
        told.append(await ask(rig, about=subject, stream=not stream, temperature=0))
        assert all(one.success and one.text == rig.pace.text for one in told), told


@forms(short_s=3.0, long_s=60.0, short_rate=60.0, long_rate=80.0)
async def test_usage_in_the_ledger_is_what_was_served(new_rig: NewRig, form: Form, figures: Figures) -> None:
    async with new_rig(pace=form.pace, provider=PRICED, routing=ROUTING) as rig:
        tills = metered(rig)
        await rig.warm_only("one", 20)
        rig.clients.sent.clear()
        for till in tills.values():
            till.bills.clear()
        rig.one.manner = moody(tills["one"], form.pace)
        # While nothing else is to be done, so that it is certain to be hedged: under way it may be for want of a share.
        late = await ask(rig, about=LATE)
        leavers = round(form.seconds * 5)
        told, _, _ = await asyncio.gather(
            send(rig, form.load),
            leave_in_the_middle(rig, leavers, form.seconds / leavers),
            repeat(rig, round(form.seconds * 2), 8),
        )
    rows, bills = [row for row in rows_of(state_dir(rig)) if row.task], all_bills(tills)
    pairs, unbilled, unbooked = paired(rows, bills)
    figures.none("calls without an entry", len(unbooked), repr(unbooked[:5]))
    strange = [row for row in unbilled if not given_up(row)]
    figures.none("entries without a call", len(strange), repr(strange[:5]))
    figures.note("attempts given up before they arrived", len(unbilled))
    figures.none(
        "entries that differ from the bill", len(found := list(differences(pairs))), "\n".join(found[:5])
    )
    figures.none("estimates in the wrong place", len(found := misjudged(pairs)), "\n".join(found[:5]))
    assert all(row.cost_nanos == row.priced_nanos for row, _ in pairs), "tokens and money disagree"
    judge_sums(rig, pairs, figures)
    judge_cache(rows, pairs, figures)
    assert {row.task for row in rows} >= {f"q{one.number}" for one in told if one.success} | {f"q{LATE}"}
    assert late.success, late
    for kind, count in sorted(Counter(row.outcome for row in rows).items()):
        figures.note(f"entries: {kind}", count)
    outcomes = {row.outcome for row in rows}
    assert outcomes == {"ok", "failed", "cut", "cancelled", "lost", "cached"}, outcomes


def given_up(row: Row) -> bool:
    """So early that it was not sent, or that its provider never read it: at most the prompt is counted."""
    by_us = row.outcome in LEFT or row.failure == "timeout"
    return row.unsent or (by_us and bool(row.estimated) and not row.output)


def judge_sums(rig: Rig, pairs: list[Pair], figures: Figures) -> None:
    """What was told, to the token and nano-dollar; what had to be estimated, by the pieces that were said."""
    told = [pair for pair in pairs if pair.bill.told is not None and not pair.row.estimated]
    booked_nanos = sum(row.cost_nanos or 0 for row, _ in told)
    served_nanos = sum(bill.told.nanos for _, bill in told if bill.told is not None)
    figures.none("nano-dollars between ledger and bills", abs(booked_nanos - served_nanos))
    # Of those that were cancelled a provider may have said more than anybody heard: that is measured elsewhere.
    broken = [pair for pair in pairs if pair.row.outcome in ("cut", "failed") and pair.row.estimated]
    said = sum(bill.said for _, bill in broken)
    error = sum(abs(row.output - bill.said) for row, bill in broken)
    figures.at_most(f"of {said} tokens in broken answers, error", error / max(1, said), 0.02, "%")
    assert sums_of(state_dir(rig)) == total(rows_of(state_dir(rig))), (
        "the sums by hour are not those of the entries"
    )


def judge_cache(rows: list[Row], pairs: list[Pair], figures: Figures) -> None:
    """Every kept or shared answer: nothing owed, and saved what the one call did cost."""
    paid = {row.task: row.cost_nanos for row, _ in pairs if row.outcome == "ok"}
    kept = [row for row in rows if row.outcome == "cached"]
    wrong = [row for row in kept if (row.cost_nanos, row.saved_nanos) != (0, paid[row.task])]
    figures.none("kept answers with a wrong saving", len(wrong), repr(wrong[:3]))
    # An attempt that was given up because it was slow has an entry of its own.
    repeated = Counter(
        row.task for row, _ in pairs if int(row.task[1:]) >= REPEATED_FROM and row.outcome == "ok"
    )
    assert set(repeated.values()) == {1}, repeated
    assert set(repeated) == {row.task for row in kept}


async def test_usage_of_a_request_is_in_its_headers_and_in_its_entry(new_rig: NewRig) -> None:
    """What the client is told that it cost is what is booked."""
    async with new_rig(provider=PRICED, count=1) as rig:
        tills = metered(rig)
        told = await ask(rig, naming(Load(1.0, 1), 1), stream=False)
    [row], [bill] = rows_of(state_dir(rig)), tills["one"].bills
    assert bill.told is not None
    assert row.cost_nanos == bill.told.nanos == round(float(told.headers["x-llmproxyd-cost-usd"]) * 1e9)
    assert row.id.startswith(told.headers["x-llmproxyd-request-id"] + ".")
