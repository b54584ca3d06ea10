"""Everything together, as a door uses it: the shipped rules, the cache and the flights in front of a counted upstream."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters import ADAPTERS
from llmproxyd.cache.entry import Cached
from llmproxyd.cache.flight import Broadcast, Flights
from llmproxyd.cache.headers import NO_WISH, Outcome
from llmproxyd.cache.key import Who
from llmproxyd.cache.policy import CacheRules, CacheUse, compile_cache, may_keep, plan_cache
from llmproxyd.cache.replay import form_of, replay
from llmproxyd.cache.response_cache import ResponseCache
from llmproxyd.config.load import load
from llmproxyd.routing.compile import Routes, compile_routes
from llmproxyd.routing.decide import decide
from llmproxyd.surfaces.facts import RequestPrompt
from llmproxyd.values.answer import Answer, Choice, Finish, unfold
from llmproxyd.values.plan import Plan, Question, Readings
from llmproxyd.values.request import Request, Text
from llmproxyd.values.snapshot import CachePolicy
from tests.cache.asking import CHAT, parse, surface_of

ROOT = Path(__file__).resolve().parents[2]
SURFACE = surface_of(CHAT)
NOW_S = 1_800_000_000.0
WEEK_S = 7 * 86_400.0


def shipped() -> tuple[Routes, CacheRules, CachePolicy]:
    snapshot = load(ROOT, environ={}).snapshot
    assert snapshot is not None
    return compile_routes(snapshot), compile_cache(snapshot), snapshot.cache


@dataclass
class Door:
    """The few lines that a door needs. ``asked``: what reached the upstream."""

    cache: ResponseCache
    routes: Routes
    rules: CacheRules
    flights: Flights[str]
    asked: Counter[bytes]
    pause: asyncio.Event

    async def ask(self, body: bytes, tenant: str | None, now_s: float) -> tuple[Outcome, bytes]:
        request = parse(CHAT, body)
        plan, use = self._plan(request, tenant)
        if use.key is None:
            return Outcome.OFF, self._upstream(request, tenant)
        hit = await self.cache.get(use.key, now_s, max_age_s=use.max_age_s, persisted=use.persist)
        # Somebody may have landed while the disk was read.
        hit = hit or self.cache.peek(use.key, now_s, max_age_s=use.max_age_s)
        if hit is not None:
            said = replay(
                hit.cached, request, SURFACE, ADAPTERS[SURFACE.dialect], model="m", id="i", created_s=0
            )
            if said is not None:
                return Outcome.HIT, said
        return await self._fly(request, plan, use, tenant, now_s)

    def _plan(self, request: Request, tenant: str | None) -> tuple[Plan, CacheUse]:
        question = Question(
            model=request.model,
            stream=request.stream,
            temperature=request.temperature,
            tenant=tenant,
            bytes_in=len(request.body),
            prompt=RequestPrompt(request, SURFACE, len),
        )
        plan = decide(question, self.routes, Readings())
        assert plan.failure is None, plan.failure
        use = plan_cache(
            self.rules,
            request=request,
            question=question,
            plan=plan,
            wish=NO_WISH,
            who=Who(tenant),
            form=form_of(request, SURFACE),
            secret=self.cache.secret,
        )
        return plan, use

    async def _fly(
        self, request: Request, plan: Plan, use: CacheUse, tenant: str | None, now_s: float
    ) -> tuple[Outcome, bytes]:
        assert use.key is not None
        assert use.flight_key is not None
        key = use.key

        async def fly(out: Broadcast[str]) -> None:
            await self.pause.wait()
            out.begin(plan.candidates[0].deployment.name)
            await out.send(self._upstream(request, tenant))
            self._keep(key, use, request, plan, out.body(), now_s)

        seat = self.flights.join(use.flight_key, fly)
        try:
            await seat.head()
            said = b"".join([piece async for piece in seat])
            return (Outcome.MISS if seat.leads else Outcome.SHARED), said
        finally:
            seat.leave()

    def _keep(
        self, key: bytes, use: CacheUse, request: Request, plan: Plan, body: bytes | None, now_s: float
    ) -> None:
        deployment = plan.candidates[0].deployment.name
        if body is not None and may_keep(request, plan, deployment, [Finish.STOP]):
            kept = Cached(
                SURFACE.name, use.form, "application/json", body, deployment, now_s, cost_nanos=1000
            )
            self.cache.put(key, kept, use.ttl_s, now_s, persist=use.persist)

    def _upstream(self, request: Request, tenant: str | None) -> bytes:
        """No two answers are alike, so a wrong one shows."""
        self.asked[request.body] += 1
        number = sum(self.asked.values())
        answer = Answer("i", "m", (Choice((Text(f"{tenant}: answer {number}"),), Finish.STOP),))
        if request.stream:
            encoder = SURFACE.new_encoder(request, model="m", id="i", created_s=0)
            return b"".join([*map(encoder.feed, unfold(answer)), encoder.close()])
        return SURFACE.format_answer(answer, request, model="m", id="i", created_s=0)


def door(state_dir: Path | None = None) -> Door:
    routes, rules, policy = shipped()
    cache = ResponseCache.open(state_dir, policy, wall=lambda: NOW_S)
    flowing = asyncio.Event()
    flowing.set()
    return Door(cache, routes, rules, Flights(), Counter(), flowing)


def body_of(text: str, **fields: Any) -> bytes:
    document = {"model": "mock/echo", "messages": [{"role": "user", "content": text}], **fields}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("prompts", "exponent", "least_share"),
    [
        (500, 1.0, 0.95),
        # Here more than one request in twenty is the first of its kind: no cache could do better than this.
        (2000, 1.4, 0.93),
    ],
)
async def test_common_prompts_are_answered_once(
    tmp_path: Path, prompts: int, exponent: float, least_share: float
) -> None:
    """10,000 requests for prompts that follow Zipf's law, written in many ways, over six days, with a restart.

    How many can hit is up to the trace: each prompt's first request cannot. That nothing else misses is up to us.
    """
    chance, here = random.Random(1), door(tmp_path)
    weights = [1 / rank**exponent for rank in range(1, prompts + 1)]
    first_said: dict[int, bytes] = {}
    hits = 0
    for number, prompt in enumerate(chance.choices(range(prompts), weights, k=10_000)):
        if number == 5_000:
            await here.cache.close()
            here.cache = door(tmp_path).cache
        outcome, said = await here.ask(written(prompt, chance), "acme", NOW_S + number * 50.0)
        hits += outcome is Outcome.HIT
        assert said == first_said.setdefault(prompt, said)
    await here.cache.close()
    repeats = 10_000 - len(first_said)
    assert hits / repeats >= 0.995
    assert here.asked.total() == 10_000 - hits
    assert hits / 10_000 >= least_share


def written(prompt: int, chance: random.Random) -> bytes:
    """A common prompt the way one of many programs writes it; every other one is deterministic."""
    fields: dict[str, Any] = {"user": f"user {chance.randrange(50)}", "n": 1}
    if prompt % 2:
        fields["temperature"] = chance.choice([0, 0.0])
    document = {
        "model": "mock/echo",
        "messages": [{"role": "user", "content": f"common prompt {prompt}"}],
        **fields,
    }
    items = list(document.items())
    chance.shuffle(items)
    return json.dumps(dict(items), indent=chance.choice([None, 1])).encode()


async def test_a_thousand_equal_requests_at_once_are_one_call() -> None:
    here = door()
    here.pause.clear()
    asking = [asyncio.create_task(here.ask(body_of("hello"), "acme", NOW_S)) for _ in range(1000)]
    while len(here.flights) == 0:
        await asyncio.sleep(0)
    here.pause.set()
    results = await asyncio.gather(*asking)
    assert Counter(outcome for outcome, _ in results) == {Outcome.MISS: 1, Outcome.SHARED: 999}
    assert len({said for _, said in results}) == 1
    assert here.asked.total() == 1
    assert await here.ask(body_of("hello"), "acme", NOW_S) == (Outcome.HIT, results[0][1])


async def test_time_runs_out_to_the_second() -> None:
    here = door()
    body = body_of("hello", temperature=0)
    moments = [NOW_S, NOW_S + WEEK_S - 1, NOW_S + WEEK_S, NOW_S + WEEK_S + 1]
    outcomes = [(await here.ask(body, None, moment))[0] for moment in moments]
    assert outcomes == [Outcome.MISS, Outcome.HIT, Outcome.MISS, Outcome.HIT]


async def test_a_stream_is_told_from_a_whole_answer_and_back() -> None:
    here = door()
    whole, stream = (body_of("hello", temperature=0, stream=stream) for stream in (False, True))
    first, said = await here.ask(whole, None, NOW_S)
    again, told = await here.ask(stream, None, NOW_S)
    assert (first, again) == (Outcome.MISS, Outcome.HIT)
    assert json.loads(said)["choices"][0]["message"]["content"] == "None: answer 1"
    assert b"None: answer 1" in told
    assert told.endswith(b"data: [DONE]\n\n")


async def test_a_chat_window_that_regenerates_is_answered_anew() -> None:
    here = door()
    body = body_of("hello", stream=True)
    assert [(await here.ask(body, None, NOW_S))[0] for _ in range(2)] == [Outcome.OFF] * 2
    assert here.asked[body] == 2


asks = st.tuples(
    st.sampled_from([None, "acme", "other", "ACME"]),
    st.integers(0, 2),
    st.sampled_from(
        [{}, {"temperature": 0}, {"temperature": 0.0, "user": "u"}, {"stream": True, "temperature": 0}]
    ),
)


@given(st.lists(asks, min_size=1, max_size=12))
async def test_no_tenant_ever_gets_anothers_answer(
    questions: list[tuple[str | None, int, dict[str, Any]]],
) -> None:
    here = door()
    for tenant, number, fields in questions:
        _, said = await here.ask(body_of(f"prompt {number}", **fields), tenant, NOW_S)
        assert f"{tenant}: answer".encode() in said
