"""From a request's bytes to an exchange that can begin: understand, decide, open. Knows of no connection.

Whoever waits for the answer is somebody else's affair: `server.handler` has a client at a socket, `server.detached`
a store. The generation in force is taken once, when a request is admitted, and kept to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from llmproxyd.exchange.account import Account, Ending, ExchangeRecord
from llmproxyd.exchange.lane import Voice
from llmproxyd.exchange.run import Exchange
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.in_force import Generation, InForce
from llmproxyd.routing.decide import decide
from llmproxyd.server.answer import failure_headers, known_headers
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.question import build_question, claims_of, read_deadline_s
from llmproxyd.server.responses import LOCAL_OWNER, ResponseKeeper
from llmproxyd.state.registry import Registry
from llmproxyd.values.answer import TokenCount
from llmproxyd.values.contracts import Adapter, BadRequest, Headers, Surface
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.plan import Plan, Prompt
from llmproxyd.values.request import Dialect, Operation, Request
from llmproxyd.values.snapshot import Deployment, Privacy
from llmproxyd.values.stored import StoredResponse


@dataclass(slots=True)
class Visit:
    """One request in hand. ``headers``: lower-case names, or a mapping that does not tell cases apart.

    ``admitted_s``: monotonic seconds. ``owner``: who asks, for what is kept for them.
    """

    surface: Surface
    headers: Headers
    generation: Generation
    record: ExchangeRecord
    admitted_s: float
    owner: str = LOCAL_OWNER


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
        registry: Registry,
        upstream: Upstream,
        adapters: Mapping[Dialect, Adapter],
        account: Account,
        keeper: ResponseKeeper,
        new_prompt: Callable[[Request, Surface], Prompt],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._in_force = in_force
        self._registry = registry
        self._upstream = upstream
        self._adapters = adapters
        self._account = account
        self._keeper = keeper
        self._new_prompt = new_prompt
        self.clock = clock
        self.wall = wall

    # --- the beginning and the end of a visit -------------------------------------------------------------------

    def admit(self, surface: Surface, headers: Headers) -> Visit:
        admitted_s = self.clock()
        generation = self._in_force.current
        record = ExchangeRecord(new_request_id(), generation.number, surface=surface.name)
        return Visit(surface, headers, generation, record, admitted_s)

    def leave(self, visit: Visit) -> None:
        """Once for each ``admit``: the record goes to the log and the metrics."""
        visit.record.total_s = self.clock() - visit.admitted_s
        self._account.close(visit.record)

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

    # --- the way to the exchange ----------------------------------------------------------------------------------

    def understand(self, visit: Visit, body: bytes, target: str) -> Request:
        """target: path with query, as sent. Raises ExchangeFailed."""
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
        readings = self._registry.readings(target.deployments if target else ())
        try:
            question = build_question(
                request,
                headers,
                self._new_prompt(request, visit.surface),
                now_s=self.wall(),
                turn=self._registry.next_turn(),
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
        record.label = plan.label
        if deadline_s is not None and deadline_s < plan.fallback.deadline_s:
            plan = replace(plan, fallback=replace(plan.fallback, deadline_s=deadline_s))
        return plan

    def open(self, visit: Visit, request: Request, plan: Plan) -> tuple[Voice, Exchange]:
        """An exchange that has not begun. Whoever gets it closes it."""
        voice = Voice(request, visit.surface, request.model, visit.record.request_id, int(self.wall()))
        exchange = Exchange(
            voice=voice,
            plan=plan,
            upstream=self._upstream,
            adapters=self._adapters,
            account=self._account,
            record=visit.record,
            admitted_s=visit.admitted_s,
            clock=self.clock,
        )
        return voice, exchange

    def listener(self, visit: Visit, request: Request, plan: Plan) -> Callable[[bytes], None] | None:
        """To be shown every piece of the answer, so that the next request can go on from it; None: nobody listens."""
        return self._keeper.listener(request, plan.label, visit.owner)

    # --- counting ---------------------------------------------------------------------------------------------------

    def counts(self, deployment: Deployment) -> bool:
        """Whether this deployment's provider counts tokens itself."""
        adapter = self._adapters.get(deployment.provider.dialect)
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


def _higher(claimed: str | None, inherited: str, privacy: Privacy) -> str:
    """The higher of a request's own label and its conversation's; an unknown claim is left for ``decide`` to refuse."""
    own, past = None if claimed is None else privacy.rank(claimed), privacy.rank(inherited)
    if claimed is not None and (own is None or past is None or own >= past):
        return claimed
    # A label that a reload has renamed since is nobody's any more: then the highest there is.
    return inherited if past is not None else privacy.labels[-1]
