"""What recorded traffic would have cost elsewhere."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.ledger.compare import Savings, compare
from llmproxyd.ledger.reports import Spent
from llmproxyd.values.cost import Dated, Price, PriceList, Usage, cost_of
from llmproxyd.values.request import Capability, Dialect, Operation
from llmproxyd.values.snapshot import Deployment, Privacy, Provider, Snapshot, Zone
from tests.support.records import replace

MILLION = 1_000_000
DEAR, FAIR, CHEAP = Price(8 * MILLION, 8 * MILLION), Price(4 * MILLION, 4 * MILLION), Price(MILLION, MILLION)
USAGE = Usage(900, 100)  # a thousand tokens: 8_000, 4_000 or 1_000 nano-dollars


def deployment(name: str, price: Price | None, *, priority: int = 100, **changes: Any) -> Deployment:
    provider_name, _, model = name.partition("/")
    usual = Provider(
        provider_name, "openai", Dialect.OPENAI_CHAT, "http://x", Zone.EXTERNAL, 1, priority=priority
    )
    provider = replace(usual, **changes.pop("provider", {}))
    prices = None if price is None else PriceList((Dated(price),), "operator")
    known: dict[str, Any] = {"price": price, "prices": prices, **changes}
    return Deployment(name, provider, model, model, **known)


def snapshot(*deployments: Deployment, default_provider: str | None = None) -> Snapshot:
    providers = {one.provider.name: one.provider for one in deployments}
    return Snapshot("", providers, deployments, {}, (), privacy=Privacy(), default_provider=default_provider)


def spent(**changes: Any) -> Spent:
    known: dict[str, Any] = {
        "at_s": 1000.0,
        "provider": "b",
        "model": "fair",
        "operation": "chat",
        "task": "",
        "label": "internal",
        "outcome": "ok",
        "cost_nanos": 4_000,
        "usage": USAGE,
    }
    return Spent(**known | changes)


MARKET = (
    deployment("a/dear", DEAR, priority=1),
    deployment("b/fair", FAIR, priority=2),
    deployment("c/cheap", CHEAP, priority=3),
)


def test_savings_are_against_the_dearest_and_against_the_first_in_priority_order() -> None:
    assert compare([spent(), spent()], snapshot(*MARKET)).savings == Savings(2, 2, 8_000, 16_000, 16_000)
    by_default = compare([spent()], snapshot(*MARKET, default_provider="c"))
    assert by_default.savings == Savings(1, 1, 4_000, 8_000, 1_000)


def test_attempts_that_gave_nothing_count_against_us() -> None:
    lost = [spent(outcome=outcome, cost_nanos=500) for outcome in ("failed", "lost", "orphaned")]
    assert compare(lost, snapshot(*MARKET)).savings == Savings(3, 0, 1_500, 0, 0)


def test_an_answer_from_the_cache_would_have_cost_something_elsewhere() -> None:
    found = compare([spent(outcome="cached", cost_nanos=0)], snapshot(*MARKET))
    assert found.savings == Savings(1, 1, 0, 8_000, 8_000)
    assert found.alternatives == ()


def test_where_nothing_can_be_compared_no_saving_is_claimed() -> None:
    for entry in (spent(usage=None), spent(operation="embedding"), spent(cost_nanos=7, label="restricted")):
        savings = compare([entry], snapshot(*MARKET)).savings
        assert (savings.compared, savings.dearest_nanos) == (0, savings.spent_nanos)


def test_only_who_could_have_served_it_is_compared() -> None:
    unable = (
        deployment("s/short", CHEAP, context_window=999),
        deployment("t/terse", CHEAP, max_output_tokens=99),
        deployment("e/embeds", CHEAP, operations=frozenset({Operation.EMBEDDING})),
        deployment("p/public", CHEAP, provider={"clearance": 0}),
        deployment("o/off", CHEAP, provider={"enabled": False}),
        deployment("k/keyless", CHEAP, provider={"configured": False}),
        deployment("m/mock", CHEAP, provider={"preset": "mock"}),
        deployment("u/unknown", None),
    )
    fair = deployment("b/fair", FAIR)
    found = compare([spent()], snapshot(fair, *unable))
    assert found.savings == Savings(1, 1, 4_000, 4_000, 4_000)
    assert found.alternatives == ()


def test_a_label_that_is_no_more_needs_the_highest_clearance() -> None:
    cleared = deployment("l/local", CHEAP, provider={"clearance": 3})
    savings = compare([spent(label="gone")], snapshot(*MARKET, cleared)).savings
    assert savings.first_nanos == 1_000


def test_prices_are_those_of_the_day() -> None:
    risen = PriceList((Dated(CHEAP), Dated(DEAR, from_s=2000.0)), "operator")
    market = snapshot(deployment("b/fair", DEAR, prices=risen))
    entries = [spent(at_s=at_s, cost_nanos=0) for at_s in (1999.0, 2000.0)]
    assert [compare([one], market).savings.dearest_nanos for one in entries] == [1_000, 8_000]


def test_a_cheaper_place_is_named_with_what_it_would_have_saved() -> None:
    entries = [spent(task="docs"), spent(task="docs"), spent()]
    found = compare(entries, snapshot(*MARKET)).alternatives
    assert [(one.task, one.deployment, one.saved_nanos, one.attempts) for one in found] == [
        ("docs", "c/cheap", 6_000, 2),
        ("", "c/cheap", 3_000, 1),
    ]
    assert (found[0].same_model, found[0].quality) == (False, None)


def test_the_same_model_elsewhere_is_as_good() -> None:
    twin = deployment("d/fair", CHEAP)
    (found,) = compare([spent()], snapshot(MARKET[1], twin)).alternatives
    assert (found.deployment, found.same_model, found.quality) == ("d/fair", True, True)


def test_what_the_operator_calls_worse_is_not_recommended() -> None:
    fair = replace(MARKET[1], quality={"default": 0.7, "docs": 0.5})
    cheap = replace(MARKET[2], quality={"default": 0.6})
    market = snapshot(fair, cheap)
    assert compare([spent()], market).alternatives == ()
    (found,) = compare([spent(task="docs")], market).alternatives
    assert found.quality is True


def test_what_cannot_do_as_much_is_not_recommended() -> None:
    able = replace(MARKET[1], capabilities=frozenset({Capability.TOOLS}))
    less = replace(MARKET[2], capabilities=frozenset())
    assert compare([spent()], snapshot(able, less)).alternatives == ()


def test_who_could_not_have_given_every_answer_is_not_recommended() -> None:
    short = replace(MARKET[2], context_window=2_000)
    entries = [spent(), spent(usage=Usage(5_000, 100), cost_nanos=20_400)]
    assert compare(entries, snapshot(MARKET[1], short)).alternatives == ()


def test_no_task_takes_all_the_room() -> None:
    cheaper = [deployment(f"c{n}/cheap", Price(n * 1000, n * 1000)) for n in range(1, 6)]
    entries = [spent(task=f"task {n}") for n in range(9)]
    found = compare(entries, snapshot(MARKET[1], *cheaper)).alternatives
    assert len(found) == 10
    assert {one.deployment for one in found} <= {"c1/cheap", "c2/cheap"}


PRICES = st.builds(Price, st.integers(0, 10**10), st.integers(0, 10**10))
USAGES = st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**5))


@given(prices=st.lists(PRICES, min_size=1, max_size=5), usages=st.lists(USAGES, max_size=8), data=st.data())
def test_the_dearest_is_never_below_what_was_paid_and_the_first_is_always_the_same_one(
    prices: list[Price], usages: list[Usage], data: st.DataObject
) -> None:
    market = [deployment(f"p{n}/m{n}", price, priority=n) for n, price in enumerate(prices)]
    entries = []
    for usage in usages:
        served = data.draw(st.sampled_from(range(len(prices))))
        entries.append(
            spent(
                provider=f"p{served}",
                model=f"m{served}",
                usage=usage,
                cost_nanos=cost_of(usage, prices[served]),
            )
        )
    found = compare(entries, snapshot(*market))
    assert found.savings.dearest_nanos >= found.savings.spent_nanos
    assert found.savings.first_nanos == sum(cost_of(usage, prices[0]) for usage in usages)
    for one in found.alternatives:
        assert 0 < one.saved_nanos <= one.spent_nanos
