"""From a request's bytes to an exchange that can begin: understand, decide, open. Knows of no connection.

Whoever waits for the answer is somebody else's affair: `server.handler` has a client at a socket, `server.detached`
a store. The generation in force is taken once, when a request is admitted, and kept to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from llmproxyd.exchange.account import Ending, ExchangeRecord
from llmproxyd.exchange.gate import Toll
from llmproxyd.exchange.lane import Voice
from llmproxyd.exchange.run import Exchange, Means
from llmproxyd.in_force import Generation, InForce
from llmproxyd.routing.across import further
from llmproxyd.routing.decide import decide
from llmproxyd.server.answer import failure_headers, known_headers
from llmproxyd.server.auth import Doorkeeper
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.overload import Overload
from llmproxyd.server.poison import Quarantine
from llmproxyd.server.question import build_question, claims_of, read_deadline_s, read_priority
from llmproxyd.server.responses import LOCAL_OWNER, ResponseKeeper
from llmproxyd.state.window import Taken, Windows
from llmproxyd.values.answer import TokenCount
from llmproxyd.values.contracts import BadRequest, Headers, Surface
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.plan import Candidate, Plan, Prompt, Question
from llmproxyd.values.request import Operation, Request
from llmproxyd.values.snapshot import Deployment, Privacy, Tenant
from llmproxyd.values.stored import StoredResponse


@dataclass(slots=True)
class Visit:
    """One request in hand. ``headers``: lower-case names, or a mapping that does not tell cases apart.

    ``admitted_s``: monotonic seconds. ``owner``: who asks, for what is kept for them; ``tenant``: the same, where keys are
    declared. ``question``: what was decided on. ``counted``: among those in hand. ``taken``: of the tenant's limits.
    """

    surface: Surface
    headers: Headers
    generation: Generation
    record: ExchangeRecord
    admitted_s: float
    owner: str = LOCAL_OWNER
    tenant: Tenant | None = None
    body: bytes = b""
    question: Question | None = None
    counted: bool = False
    taken: Taken | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a failed request is answered with, in its surface's own form."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Intake:
    """One for the whole daemon; holds nothing of a request. ``clock``: monotonic seconds, ``wall``: Unix seconds."""

    def __init__(
        self,
        *,
        in_force: InForce,
        means: Means,
        keeper: ResponseKeeper,
        doorkeeper: Doorkeeper,
        overload: Overload,
        windows: Windows,
        new_prompt: Callable[[Request, Surface], Prompt],
        wall: Callable[[], float],
    ) -> None:
        self._in_force = in_force
        self._means = means
        self._keeper = keeper
        self._doorkeeper = doorkeeper
        self._overload = overload
        self._windows = windows
        self._quarantine = Quarantine()
        self._new_prompt = new_prompt
        self.clock = means.clock
        self.wall = wall

    # --- the beginning and the end of a visit -------------------------------------------------------------------

    def admit(self, surface: Surface, headers: Headers) -> Visit:
        admitted_s = self.clock()
        generation = self._in_force.current
        record = ExchangeRecord(new_request_id(), generation.number, surface=surface.name)
        return Visit(surface, headers, generation, record, admitted_s)

    def enter(self, visit: Visit, *, local: bool, target: str) -> None:
        """Who is it, and is there room? local: root or our own user at the Unix socket. target: path with query, as sent.

        Raises ExchangeFailed: unauthenticated, or saturated while we are overloaded.
        """
        caller = self._doorkeeper.identify(
            visit.headers, visit.generation.snapshot, local=local, target=target
        )
        if isinstance(caller, Failure):
            raise ExchangeFailed(caller)
        if caller.tenant is not None:
            visit.tenant = caller.tenant
            visit.owner = visit.record.tenant = caller.tenant.name
        try:
            refused = self._overload.refusal(read_priority(visit.headers), visit.admitted_s)
        except BadRequest as bad:
            raise ExchangeFailed(bad.failure) from None
        if refused is not None:
            raise ExchangeFailed(refused)
        self._overload.began()
        visit.counted = True

    def leave(self, visit: Visit) -> None:
        """Once for each ``admit``: the record goes to the log and the metrics."""
        now_s, record = self.clock(), visit.record
        if visit.counted:
            self._overload.ended()
        if visit.taken is not None:
            usage = record.usage
            visit.taken.leave(None if usage is None else usage.input_tokens + usage.output_tokens, now_s)
        record.total_s = now_s - visit.admitted_s
        self._means.account.close(record)

    def refuse(self, visit: Visit, failure: Failure) -> Refusal:
        """Note in the record that the request failed; what to answer."""
        record = visit.record
        record.failure, record.status = failure, failure.client_status
        return Refusal(
            record.status,
            {**known_headers(record), **failure_headers(failure, record)},
            visit.surface.format_failure(failure, record.request_id),
        )

    def gone(self, visit: Visit) -> None:
        """Note that whoever asked does not wait any more."""
        if visit.record.ending is Ending.FAILED:
            visit.record.ending = Ending.CANCELLED

    def crashed(self, visit: Visit, bug: Exception, *, begun: bool) -> None:
        """Note a fault of ours. ``begun``: part of the answer was out already."""
        record = visit.record
        record.status, record.ending = (200, Ending.CUT) if begun else (500, Ending.FAILED)
        record.failure = Failure(FailureKind.INTERNAL, "llmproxyd failed", detail=type(bug).__name__)
        self._quarantine.crashed(visit.surface.name, visit.body, record.request_id, self.clock())

    # --- the way to the exchange ----------------------------------------------------------------------------------

    def understand(self, visit: Visit, body: bytes, target: str) -> Request:
        """target: path with query, as sent. Raises ExchangeFailed."""
        visit.body = body
        refused = self._quarantine.refusal(visit.surface.name, body, visit.admitted_s)
        if refused is not None:
            raise ExchangeFailed(refused)
        try:
            return visit.surface.parse_request(visit.headers, body, target)
        except BadRequest as bad:
            raise ExchangeFailed(bad.failure) from None

    def resume(
        self, visit: Visit, request: Request, recalled: StoredResponse | None = None
    ) -> tuple[Request, str | None]:
        """The request with the conversation it goes on from, and that conversation's label. Raises ExchangeFailed."""
        return self._keeper.resume(request, visit.owner, recalled)

    def decide(self, visit: Visit, request: Request, inherited: str | None) -> Plan:
        """inherited: the label that the conversation has already. Raises ExchangeFailed for a header that says nothing;
        a request that nobody may answer is a plan with a ``failure``."""
        record, headers, routes = visit.record, visit.headers, visit.generation.routes
        record.request = request
        target = routes.resolve(request.model)
        registry = self._means.registry
        now_s = visit.admitted_s
        readings = registry.readings(target.deployments if target else (), now_s)
        if not readings.all_well and self._means.retries.extra_from_s(now_s) > now_s:
            readings = replace(readings, short_of_attempts=True)
        try:
            question = build_question(
                request,
                headers,
                self._new_prompt(request, visit.surface),
                now_s=self.wall(),
                turn=registry.next_turn(),
                tenant=visit.tenant.name if visit.tenant else None,
            )
            record.claims = claims_of(question)
            if inherited is not None:
                question = replace(
                    question, label=_higher(question.label, inherited, routes.snapshot.privacy)
                )
            plan = decide(question, routes, readings)
            deadline_s = read_deadline_s(headers)
        except BadRequest as bad:
            raise ExchangeFailed(bad.failure) from None
        visit.question = question
        if visit.tenant is not None and visit.counted:
            self._take(visit, visit.tenant, question)
        record.label = plan.label
        if deadline_s is not None and deadline_s < plan.fallback.deadline_s:
            plan = replace(plan, fallback=replace(plan.fallback, deadline_s=deadline_s))
        return plan

    def _take(self, visit: Visit, tenant: Tenant, question: Question) -> None:
        """The tenant's own limits. Raises ExchangeFailed (`limit_reached`)."""
        if not tenant.limits:
            return
        tokens = question.prompt.tokens_in if tenant.limits.tokens_per_minute else 0
        taken = self._windows.take(tenant.name, tenant.limits, tokens, self.clock())
        if isinstance(taken, Failure):
            raise ExchangeFailed(taken)
        visit.taken = taken

    def open(self, visit: Visit, request: Request, plan: Plan) -> tuple[Voice, Exchange]:
        """An exchange that has not begun. Whoever gets it closes it."""
        voice = Voice(request, visit.surface, request.model, visit.record.request_id, int(self.wall()))
        exchange = Exchange(
            self._means,
            voice=voice,
            plan=plan,
            record=visit.record,
            admitted_s=visit.admitted_s,
            toll=lambda deployment: _toll(visit, deployment),
            extend=lambda tried, failure: self._further(visit, tried, failure),
        )
        return voice, exchange

    def _further(self, visit: Visit, plan: Plan, failure: Failure) -> tuple[Candidate, ...]:
        """Who else could answer after everybody in ``plan`` has failed."""
        assert visit.question is not None, "there is a plan"
        routes = visit.generation.routes
        readings = self._means.registry.readings(routes.snapshot.deployments, self.clock())
        return further(plan, visit.question, routes, readings, failure)

    def listener(self, visit: Visit, request: Request, plan: Plan) -> Callable[[bytes], None] | None:
        """To be shown every piece of the answer, so that the next request can go on from it; None: nobody listens."""
        return self._keeper.listener(request, plan.label, visit.owner)

    # --- counting ---------------------------------------------------------------------------------------------------

    def counts(self, deployment: Deployment) -> bool:
        """Whether this deployment's provider counts tokens itself."""
        adapter = self._means.adapters.get(deployment.provider.dialect)
        return adapter is not None and Operation.COUNT_TOKENS in adapter.operations

    def estimate(self, voice: Voice) -> bytes:
        """The answer to a request to count tokens, estimated."""
        tokens = self._new_prompt(voice.request, voice.surface).tokens_in
        return voice.surface.format_answer(
            TokenCount(tokens, estimated=True),
            voice.request,
            model=voice.model,
            id=voice.id,
            created_s=voice.created_s,
        )


def _toll(visit: Visit, deployment: Deployment) -> Toll:
    """What a call asks of its provider's limits. Tokens are counted only where somebody bounds them."""
    question, tenant = visit.question, visit.tenant
    assert question is not None, "there is a plan"
    tokens = 0
    if deployment.provider.limits.tokens_per_minute is not None:
        tokens = question.prompt.tokens_in + (question.max_output_tokens or 0)
    return Toll(tokens, question.priority, visit.owner, tenant.weight if tenant else 1.0)


def _higher(claimed: str | None, inherited: str, privacy: Privacy) -> str:
    """The higher of a request's own label and its conversation's; an unknown claim is left for ``decide`` to refuse."""
    own, past = None if claimed is None else privacy.rank(claimed), privacy.rank(inherited)
    if claimed is not None and (own is None or past is None or own >= past):
        return claimed
    # A label that a reload has renamed since is nobody's any more: then the highest there is.
    return inherited if past is not None else privacy.labels[-1]
