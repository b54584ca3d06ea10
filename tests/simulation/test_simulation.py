"""A year of outages in virtual time. The long forms are run by ``pytest -m proof``, the short ones always."""

from __future__ import annotations

from random import Random
from time import perf_counter

import pytest

from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    FallbackPolicy,
    Probe,
    Requirement,
    Snapshot,
    Zone,
)
from tests.routing.build import deployment, privacy, provider, snapshot
from tests.simulation.simulator import Simulation, Tally
from tests.simulation.world import Server, draw_outages
from tests.support.records import replace

DAY_S = 86_400.0
YEAR_DAYS = 365
SHORT_DAYS = 14
EVERY_S = 145.0
POLICY = FallbackPolicy(on=DEFAULT_FALLBACK_ON, deadline_s=120.0)
ALWAYS_UP: tuple[()] = ()


def three_providers(policy: FallbackPolicy = POLICY) -> Snapshot:
    free = Probe("/models")
    return snapshot(*(deployment(f"{n}/m", provider(n, probe=free)) for n in "abc"), fallback=policy)


def of_three(days: float, seed: int, policy: FallbackPolicy = POLICY) -> Tally:
    """Three providers, each down for exactly 0.5 % of the time."""
    servers = {
        name: Server(
            draw_outages(Random(f"outages {name} {seed}"), days * DAY_S, 0.005), Random(f"{name} {seed}")
        )
        for name in "abc"
    }
    return Simulation(
        three_providers(policy), servers, seed=seed, every_s=EVERY_S, horizon_s=days * DAY_S
    ).run()


def of_one_admissible(days: float, seed: int) -> Tally:
    """One provider the request may go to, and two it may not, which are always up.

    The one is up a little more than 99.9 % of the time: of a year's requests only some two hundred come while it is
    down, and chance moves that number by fifteen.
    """
    fence = privacy(require=Requirement(zones=(Zone.LOCAL,)))
    given = three_providers()
    home = replace(given.deployments[0], provider=provider("a", Zone.LOCAL, probe=Probe("/models")))
    fenced = snapshot(home, *given.deployments[1:], rules=[fence], fallback=POLICY)
    outages = draw_outages(Random(f"outages {seed}"), days * DAY_S, 0.0008)
    servers = {n: Server(outages if n == "a" else ALWAYS_UP, Random(f"{n} {seed}")) for n in "abc"}
    return Simulation(fenced, servers, seed=seed, every_s=EVERY_S, horizon_s=days * DAY_S).run()


def of_three_flaky_ones(hours: float, seed: int) -> Tally:
    """Three providers that never go down and fail every tenth call by chance; a request each second."""
    servers = {n: Server(ALWAYS_UP, Random(f"{n} {seed}"), flaky_share=0.1) for n in "abc"}
    return Simulation(three_providers(), servers, seed=seed, every_s=1.0, horizon_s=hours * 3600.0).run()


def check_promises(tally: Tally) -> None:
    """Nobody waits for ever, and nobody takes a part for the whole."""
    assert tally.hung == 0
    assert tally.truncated == 0
    assert tally.served + tally.failed + tally.cut == tally.requests


class TestFourteenDays:
    def test_three_providers_with_outages_are_one_without(self) -> None:
        tally = of_three(SHORT_DAYS, seed=1)
        check_promises(tally)
        assert tally.requests > 8_000
        assert tally.served_share >= 0.9999
        assert tally.in_vain == 0
        assert tally.probes > 0
        assert len(tally.calls) > 1, "nobody failed over: the outages were not met"

    def test_without_fallback_the_same_outages_are_felt(self) -> None:
        tally = of_three(SHORT_DAYS, seed=1, policy=replace(POLICY, on=frozenset(), attempts=1))
        check_promises(tally)
        assert tally.served_share < 0.999

    def test_the_same_seed_gives_the_same_history_and_another_seed_another(self) -> None:
        one, again, other = of_three(3, seed=1), of_three(3, seed=1), of_three(3, seed=2)
        assert one == again
        assert one.digest != other.digest

    def test_one_admissible_provider_is_called_whenever_it_is_up_and_nobody_else_ever(self) -> None:
        tally = of_one_admissible(SHORT_DAYS, seed=1)
        check_promises(tally)
        assert tally.failed > 0, "the outage was not met"
        assert tally.in_vain == 0
        assert set(tally.calls) == {"a"}

    def test_a_tenth_of_all_calls_may_fail_and_hardly_anybody_notices(self) -> None:
        tally = of_three_flaky_ones(hours=4, seed=1)
        check_promises(tally)
        assert tally.requests > 14_000
        assert 1 - tally.served_share <= 0.0015
        assert 1.05 < tally.attempts / tally.requests <= 1.2


@pytest.mark.proof
class TestAYear:
    def test_three_providers_of_99_5_percent_serve_99_99_percent_and_it_takes_a_minute_at_most(self) -> None:
        began_s = perf_counter()
        tally = of_three(YEAR_DAYS, seed=1)
        took_s = perf_counter() - began_s
        check_promises(tally)
        assert tally.requests >= 200_000
        assert tally.served_share >= 0.9999
        assert tally.in_vain == 0
        assert took_s <= 60.0
        print(f"{tally.served_share:.4%} of {tally.requests} requests served, in {took_s:.1f} s")

    def test_one_admissible_provider_of_99_9_percent_serves_99_9_percent(self) -> None:
        tally = of_one_admissible(YEAR_DAYS, seed=1)
        check_promises(tally)
        assert tally.requests >= 200_000
        assert tally.served_share >= 0.999
        assert tally.in_vain == 0
        assert set(tally.calls) == {"a"}
