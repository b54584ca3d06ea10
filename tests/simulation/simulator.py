"""Plays exchanges in virtual time: the real decision, the real next step and the real registry, a drawn world.

Nothing sleeps and nothing is awaited: a heap of moments, taken in order. Whatever happens goes into a digest, so that two
runs of one seed can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count
from random import Random
from struct import pack

from llmproxyd.routing.compile import compile_routes
from llmproxyd.routing.decide import decide
from llmproxyd.routing.fallback import anybody_left, next_step
from llmproxyd.state.registry import Outcome, Registry
from llmproxyd.state.retry_budget import RetryBudget
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Allowance, Attempt, GiveUp, Plan, Question, Start, Wait
from llmproxyd.values.snapshot import Deployment, Provider, Snapshot
from tests.simulation.world import Fate, Server

BYTES_IN = 2_000


@dataclass(slots=True)
class Tally:
    """What the clients met. ``cut``: told that the answer broke off. ``hung``: no end within what was promised.
    ``in_vain``: failed although somebody who may serve it was up when it came and when it was given up.
    ``truncated``: told that all is well, with less than the whole answer. ``calls`` by provider name."""

    requests: int = 0
    served: int = 0
    failed: int = 0
    in_vain: int = 0
    cut: int = 0
    hung: int = 0
    truncated: int = 0
    attempts: int = 0
    probes: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    digest: str = ""

    @property
    def served_share(self) -> float:
        return self.served / self.requests


@dataclass(slots=True, eq=False)
class Exchange:
    number: int
    admitted_s: float
    plan: Plan
    attempts: list[Attempt] = field(default_factory=list)
    fate: Fate | None = None


class Simulation:
    """``servers`` by provider name. ``every_s``: mean time between two requests, which come as a Poisson process."""

    def __init__(
        self, snapshot: Snapshot, servers: dict[str, Server], *, seed: int, every_s: float, horizon_s: float
    ) -> None:
        self.tally = Tally()
        self.routes = compile_routes(snapshot)
        self.providers = {p.identity: p for p in snapshot.providers.values()}
        self.deployments = snapshot.deployments
        self.servers = servers
        self.every_s = every_s
        self.horizon_s = horizon_s
        self.rng = Random(f"arrivals {seed}")
        self.registry = Registry(jitter=Random(f"jitter {seed}").random)
        self.registry.reconcile(snapshot, 0.0)
        self.budget = RetryBudget()
        self._open: set[int] = set()
        self._moments: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._probing: dict[str, float] = {}
        self._log = blake2b(digest_size=16)

    def run(self) -> Tally:
        """To the end of the last exchange that began before the horizon."""
        self._at(self.rng.expovariate(1 / self.every_s), self._arrive)
        while self._moments:
            now_s, _, happen = heappop(self._moments)
            happen(now_s)
        self.tally.hung += len(self._open)
        self.tally.digest = self._log.hexdigest()
        return self.tally

    def _at(self, when_s: float, happen: Callable[[float], None]) -> None:
        heappush(self._moments, (when_s, next(self._order), happen))

    def _note(self, now_s: float, what: str, number: int = -1, place: int = -1) -> None:
        self._log.update(pack("<dqi", now_s, number, place) + what.encode())

    # --- exchanges ----------------------------------------------------------------------------------------------

    def _arrive(self, now_s: float) -> None:
        next_s = now_s + self.rng.expovariate(1 / self.every_s)
        if next_s < self.horizon_s:
            self._at(next_s, self._arrive)
        turn = self.registry.next_turn()
        question = Question(model="auto", stream=True, bytes_in=BYTES_IN, turn=turn, seed=turn)
        plan = decide(question, self.routes, self.registry.readings(self.deployments, now_s))
        self.tally.requests += 1
        self.budget.request(now_s)
        self._open.add(turn)
        self._go_on(Exchange(turn, now_s, plan), now_s)

    def _go_on(self, exchange: Exchange, now_s: float) -> None:
        """As the next step says, until there is something to wait for."""
        while True:
            allowance = Allowance(extra_from_s=self.budget.extra_from_s(now_s))
            step = next_step(exchange.plan, exchange.attempts, now_s, exchange.admitted_s, allowance)
            match step:
                case Start():
                    if self._start(exchange, step, now_s):
                        return
                case Wait(until_s):
                    assert until_s is not None
                    assert until_s > now_s
                    self._at(until_s, lambda at_s: self._go_on(exchange, at_s))
                    return
                case GiveUp(failure):
                    self._end(exchange, now_s, failure.kind)
                    return

    def _start(self, exchange: Exchange, step: Start, now_s: float) -> bool:
        """Whether a call went out."""
        deployment = exchange.plan.candidates[step.candidate].deployment
        refusal = self.registry.refusal(deployment, now_s, force=step.force)
        if refusal is not None:
            self._note(now_s, refusal.code or refusal.kind, exchange.number, step.candidate)
            exchange.attempts.append(Attempt(step.candidate, now_s, now_s, refusal, sent=False))
            return False
        if any(a.sent for a in exchange.attempts):
            self.budget.extra(now_s)
        self.registry.started(deployment, now_s)
        self.tally.attempts += 1
        name = deployment.provider.name
        self.tally.calls[name] = self.tally.calls.get(name, 0) + 1
        self._note(now_s, "sent", exchange.number, step.candidate)
        exchange.attempts.append(Attempt(step.candidate, now_s))
        exchange.fate = self.servers[name].called(now_s)
        ends_s, failure = self._up_to_content(exchange, deployment, exchange.fate, now_s)
        self._at(ends_s, lambda at_s: self._content_or_not(exchange, deployment, failure, at_s))
        return True

    def _up_to_content(
        self, exchange: Exchange, deployment: Deployment, fate: Fate, now_s: float
    ) -> tuple[float, Failure | None]:
        """(when the attempt is decided, what went wrong): content, a refusal, the limit or the deadline comes first."""
        limit_s = deployment.provider.timeouts.first_token_s
        learnt_s = self.registry.timers(deployment, True, None, BYTES_IN).first_content_s
        if learnt_s is not None and anybody_left(exchange.plan, exchange.attempts):
            limit_s = min(limit_s, learnt_s)
        until_s = min(now_s + limit_s, exchange.admitted_s + exchange.plan.fallback.deadline_s)
        if min(fate.content_s, fate.refused_s) > until_s:
            return until_s, Failure(FailureKind.TIMEOUT, "no content in time")
        if fate.refused_s < fate.content_s:
            return fate.refused_s, fate.refusal
        return fate.content_s, None

    def _content_or_not(
        self, exchange: Exchange, deployment: Deployment, failure: Failure | None, now_s: float
    ) -> None:
        running = exchange.attempts[-1]
        exchange.attempts[-1] = Attempt(running.candidate, running.started_s, now_s, failure)
        if failure is None:
            self._committed(exchange, deployment, running.started_s, now_s)
            return
        self._note(now_s, failure.kind, exchange.number, running.candidate)
        outcome = Outcome(False, failure, None, now_s - running.started_s, stream=True, bytes_in=BYTES_IN)
        self.registry.ended(deployment, outcome, now_s)
        self._plan_probes(now_s)
        self._go_on(exchange, now_s)

    # --- streams ------------------------------------------------------------------------------------------------

    def _committed(self, exchange: Exchange, deployment: Deployment, started_s: float, now_s: float) -> None:
        """The client gets content from now on: nobody else can be asked any more."""
        assert next_step(exchange.plan, exchange.attempts, now_s, exchange.admitted_s) == Wait(None)
        assert exchange.fate is not None
        if now_s > exchange.admitted_s + exchange.plan.fallback.deadline_s:
            self.tally.hung += 1
        fate, limits = exchange.fate, deployment.provider.timeouts
        stalled_s = fate.mute_s + limits.stall_s
        ends_s = min(fate.whole_s, fate.cut_s, stalled_s, started_s + limits.total_s)
        failure = None if ends_s == fate.whole_s else Failure(FailureKind.BAD_ANSWER, "it broke off")
        self._at(ends_s, lambda at_s: self._stream_over(exchange, deployment, failure, at_s))

    def _stream_over(
        self, exchange: Exchange, deployment: Deployment, failure: Failure | None, now_s: float
    ) -> None:
        last, fate = exchange.attempts[-1], exchange.fate
        assert fate is not None
        outcome = Outcome(
            failure is None,
            failure,
            fate.content_s - last.started_s,
            now_s - last.started_s,
            stream=True,
            bytes_in=BYTES_IN,
            longest_gap_s=0.2,
        )
        self.registry.ended(deployment, outcome, now_s)
        self._plan_probes(now_s)
        if failure is None and (now_s < fate.whole_s or fate.mute_s <= now_s or fate.cut_s <= now_s):
            self.tally.truncated += 1
        self._end(exchange, now_s, None, cut=failure is not None)

    def _end(
        self, exchange: Exchange, now_s: float, failure: FailureKind | None, *, cut: bool = False
    ) -> None:
        self._open.remove(exchange.number)
        self._note(now_s, "cut" if cut else failure or "served", exchange.number)
        if failure is not None:
            self.tally.failed += 1
            self.tally.in_vain += self._could_have_been_served(exchange, now_s)
            self.tally.hung += now_s > exchange.admitted_s + exchange.plan.fallback.deadline_s
        elif cut:
            self.tally.cut += 1
        else:
            self.tally.served += 1

    def _could_have_been_served(self, exchange: Exchange, now_s: float) -> bool:
        names = {candidate.deployment.provider.name for candidate in exchange.plan.candidates}
        return any(
            self.servers[name].outage_at(exchange.admitted_s) is None
            and self.servers[name].outage_at(now_s) is None
            for name in names
        )

    # --- probes -------------------------------------------------------------------------------------------------

    def _plan_probes(self, now_s: float) -> None:
        """Whoever the registry wants asked is asked when it is due, one probe at a time each."""
        for identity, due_s in self.registry.to_probe(now_s).items():
            if identity not in self._probing:
                self._probing[identity] = due_s
                self._at(max(due_s, now_s), lambda at_s, of=identity: self._probe(of, at_s))  # type: ignore[misc]

    def _probe(self, identity: str, now_s: float) -> None:
        due_s = self.registry.to_probe(now_s).get(identity)
        if due_s is None or due_s > now_s:
            del self._probing[identity]
            self._plan_probes(now_s)
            return
        provider = self.providers[identity]
        fate = self.servers[provider.name].probed(now_s)
        self.tally.probes += 1
        self._at(fate.ends_s, lambda at_s: self._probed(provider, fate.ok, fate.alive, at_s))

    def _probed(self, provider: Provider, ok: bool, alive: bool, now_s: float) -> None:
        self._note(now_s, f"probed {ok} {alive}", place=list(self.providers).index(provider.identity))
        detail = "" if ok else "the probe failed"
        self.registry.probed(provider, ok=ok, alive=alive, detail=detail, now_s=now_s, models=None)
        del self._probing[provider.identity]
        self._plan_probes(now_s)
