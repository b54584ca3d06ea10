"""From a request's bytes to an exchange that can begin: understand, decide, open. Knows of no connection.

Whoever waits for the answer is somebody else's affair: `server.handler` has a client at a socket, `server.detached`
a store. The generation in force is taken once, when a request is admitted, and kept to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec.structs import replace

from llmproxyd.detect.hidden import CannotMask, find_hidden
from llmproxyd.detect.masking import MaskBook
from llmproxyd.detect.pseudonyms import Keyring
from llmproxyd.exchange.account import Ending, ExchangeRecord
from llmproxyd.exchange.attempts import Attempts
from llmproxyd.exchange.gate import Toll
from llmproxyd.exchange.lane import Voice
from llmproxyd.exchange.masked import UNMASKED_CODE
from llmproxyd.exchange.means import Means
from llmproxyd.exchange.run import Exchange
from llmproxyd.in_force import Generation, InForce
from llmproxyd.routing.across import further
from llmproxyd.routing.bound import Extent, at_most, extent_of
from llmproxyd.routing.decide import decide
from llmproxyd.routing.privacy import DEFAULT_SOURCES, FOUND
from llmproxyd.server.answer import failure_headers, known_headers
from llmproxyd.server.auth import ANYBODY, Caller, Doorkeeper
from llmproxyd.server.binding import bind, tell_lowered
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.overload import Overload
from llmproxyd.server.poison import Quarantine
from llmproxyd.server.question import build_question, claims_of, read_deadline_s, read_priority
from llmproxyd.server.responses import LOCAL_OWNER, ResponseKeeper
from llmproxyd.server.scanning import NOT_LOOKED, Looked, Scanner
from llmproxyd.state.budgets import Budgets
from llmproxyd.state.window import Taken, Windows
from llmproxyd.values.answer import TokenCount
from llmproxyd.values.budget import Bound, Who
from llmproxyd.values.contracts import BadRequest, Headers, Surface
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.plan import IDLE, Candidate, Plan, Prompt, Question, Readings
from llmproxyd.values.privacy import NOTHING_FOUND
from llmproxyd.values.request import Operation, Request
from llmproxyd.values.snapshot import Deployment, Privacy, Tenant
from llmproxyd.values.stored import StoredResponse


class Visit(msgspec.Struct):
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
    caller: Caller = ANYBODY
    body: bytes = b""
    question: Question | None = None
    looked: Looked = NOT_LOOKED
    counted: bool = False
    taken: tuple[Taken, ...] = ()


class Refusal(msgspec.Struct, frozen=True):
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
        budgets: Budgets,
        scanner: Scanner,
        new_prompt: Callable[[Request, Surface], Prompt],
        wall: Callable[[], float],
    ) -> None:
        self._in_force = in_force
        self._means = means
        self._keeper = keeper
        self._doorkeeper = doorkeeper
        self._overload = overload
        self._windows = windows
        self._budgets = budgets
        self._scanner = scanner
        self._keyring = Keyring()
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
            visit.tenant, visit.caller = caller.tenant, caller
            visit.owner = visit.record.tenant = caller.tenant.name
            visit.record.key_id = caller.key_id
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
        if visit.taken:
            used = None if record.usage is None else record.usage.input_tokens + record.usage.output_tokens
            for taken in visit.taken:
                taken.leave(used, now_s)
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

    async def look(self, visit: Visit, request: Request) -> None:
        """Find personal and secret data in the request, where that could matter. Before ``decide``."""
        detectors = self._scanner.detectors(visit.generation.snapshot)
        if detectors is not None:
            visit.looked = await self._scanner.look(request, detectors)

    def mask(self, visit: Visit, kinds: frozenset[str]) -> MaskBook:
        """For candidates that may see the request only without these kinds of data. Raises BadRequest."""
        assert visit.question is not None, "there is a plan"
        looked, conversation = visit.looked, visit.question.prompt.conversation
        key = self._keyring.key_of(visit.owner, conversation)
        try:
            return MaskBook(key, find_hidden(looked.pieces, looked.scan, kinds))
        except CannotMask as why:
            raise BadRequest(f"The request cannot be masked: {why}.", code=UNMASKED_CODE) from None

    def decide(self, visit: Visit, request: Request, inherited: str | None) -> Plan:
        """inherited: the label that the conversation has already. Raises ExchangeFailed for a header that says nothing;
        a request that nobody may answer is a plan with a ``failure``."""
        record, headers, routes = visit.record, visit.headers, visit.generation.routes
        record.request = request
        target = routes.resolve(request.model)
        registry = self._means.registry
        now_s = visit.admitted_s
        readings = registry.readings(target.deployments if target else (), now_s)
        if target is not None and self._means.gates.in_use:
            readings = self._with_waits(readings, target.deployments, visit)
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
            question = bind(question, visit.caller, headers, routes.snapshot.privacy)
            record.project, record.user, record.task = claims_of(question)
            if visit.looked.scan is not NOTHING_FOUND:
                question = replace(question, scan=visit.looked.scan)
            if self._budgets.active:
                who = Who(record.tenant, question.project, question.user, record.key_id)
                question = replace(question, purse=self._budgets.purse(who, question.now_s))
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
        if plan.lowered_from is not None:
            tell_lowered(record, plan)
        if deadline_s is not None and deadline_s < plan.fallback.deadline_s:
            plan = replace(plan, fallback=replace(plan.fallback, deadline_s=deadline_s))
        return plan

    def _with_waits(self, readings: Readings, deployments: Iterable[Deployment], visit: Visit) -> Readings:
        """The same, with how long a call would wait in line for its provider's limits."""
        toll = Toll(0, read_priority(visit.headers), visit.owner)
        gauges = dict(readings.gauges)
        for deployment in deployments:
            wait_s = self._means.gates.expected_wait_s(deployment.provider, toll)
            if wait_s:
                gauges[deployment.key] = replace(gauges.get(deployment.key, IDLE), wait_s=wait_s)
        return replace(readings, gauges=gauges, all_well=False) if gauges != readings.gauges else readings

    def _take(self, visit: Visit, tenant: Tenant, question: Question) -> None:
        """Of the tenant's own limits, and its key's. Raises ExchangeFailed (`limit_reached`)."""
        now_s = self.clock()
        of_key = f"{tenant.name}/{visit.record.key_id}"
        for owner, limits in ((tenant.name, tenant.limits), (of_key, visit.caller.key_limits)):
            if not limits:
                continue
            tokens = question.prompt.tokens_in if limits.tokens_per_minute else 0
            taken = self._windows.take(owner, limits, tokens, now_s)
            if isinstance(taken, Failure):
                raise ExchangeFailed(taken)
            visit.taken = (*visit.taken, taken)

    def voice(self, visit: Visit, request: Request) -> Voice:
        """How the client is to be spoken to."""
        return Voice(request, visit.surface, request.model, visit.record.request_id, int(self.wall()))

    def open(self, visit: Visit, voice: Voice, plan: Plan) -> Exchange:
        """An exchange that has not begun. Whoever gets it closes it."""
        attempts = Attempts(
            self._means,
            voice=voice,
            plan=plan,
            record=visit.record,
            admitted_s=visit.admitted_s,
            asker=_Asker(self, visit, plan),
        )
        return Exchange(attempts)

    def further(self, visit: Visit, plan: Plan, failure: Failure) -> tuple[Candidate, ...]:
        """Who else could answer after everybody in ``plan`` has failed."""
        assert visit.question is not None, "there is a plan"
        routes = visit.generation.routes
        readings = self._means.registry.readings(routes.snapshot.deployments, self.clock())
        return further(plan, visit.question, routes, readings, failure)

    def listener(self, visit: Visit, request: Request, plan: Plan) -> Callable[[bytes], None] | None:
        """To be shown every piece of the answer, so that the next request can go on from it; None: nobody listens."""
        label = _label_to_keep(plan, visit.generation.snapshot.privacy)
        return self._keeper.listener(request, label, visit.owner)

    # --- counting ---------------------------------------------------------------------------------------------------

    def counts(self, deployment: Deployment) -> bool:
        """Whether this deployment's provider counts tokens itself."""
        adapter = self._means.adapters.get(deployment.provider.dialect)
        return adapter is not None and Operation.COUNT_TOKENS in adapter.operations

    def estimate(self, voice: Voice) -> bytes:
        """The answer to a request to count tokens, estimated."""
        tokens = self._new_prompt(voice.request, voice.surface).tokens_for(voice.request.model)
        return voice.surface.format_answer(
            TokenCount(tokens, estimated=True),
            voice.request,
            model=voice.model,
            id=voice.id,
            created_s=voice.created_s,
        )


class _Asker:
    """Answers an exchange's questions about its request; each costs nothing until it is asked."""

    __slots__ = ("_books", "_extent", "_intake", "_plan", "_visit")

    def __init__(self, intake: Intake, visit: Visit, plan: Plan) -> None:
        self._intake = intake
        self._visit = visit
        self._plan = plan
        self._extent: Extent | None = None
        self._books: dict[frozenset[str], MaskBook] = {}

    @property
    def _question(self) -> Question:
        assert self._visit.question is not None, "there is a plan"
        return self._visit.question

    def toll(self, deployment: Deployment) -> Toll:
        """Tokens are counted only where somebody bounds them."""
        question, tenant = self._question, self._visit.tenant
        tokens = 0
        if deployment.provider.limits.tokens_per_minute is not None:
            tokens = question.prompt.tokens_in + (question.max_output_tokens or 0)
        return Toll(tokens, question.priority, self._visit.owner, tenant.weight if tenant else 1.0)

    def bound(self, deployment: Deployment, wall_s: float) -> Bound:
        if self._extent is None:
            request = self._visit.record.request
            assert request is not None, "there is a plan"
            self._extent = extent_of(request, self._plan.overrides)
        return at_most(self._extent, deployment, wall_s)

    def further(self, plan: Plan, failure: Failure) -> tuple[Candidate, ...]:
        return self._intake.further(self._visit, plan, failure)

    def tokens_in(self, deployment: Deployment) -> int:
        return self._question.prompt.tokens_for(deployment.upstream)

    def mask(self, kinds: frozenset[str]) -> MaskBook:
        book = self._books.get(kinds)
        if book is None:
            book = self._books[kinds] = self._intake.mask(self._visit, kinds)
        return book


def _label_to_keep(plan: Plan, privacy: Privacy) -> str:
    """The label that a conversation has whatever is found in it: what goes on from it is looked into again, and a label
    that only findings raised would stand in the way of masking them."""
    if plan.lowered_from is not None:  # one request's leave is not that of all that go on from it
        return plan.lowered_from
    raised = [source for source in plan.label_sources if source not in DEFAULT_SOURCES]
    by_findings = raised and all(source.endswith(FOUND) for source in raised)
    return privacy.labels[privacy.default_label] if by_findings else plan.label


def _higher(claimed: str | None, inherited: str, privacy: Privacy) -> str:
    """The higher of a request's own label and its conversation's; an unknown claim is left for ``decide`` to refuse."""
    own, past = None if claimed is None else privacy.rank(claimed), privacy.rank(inherited)
    if claimed is not None and (own is None or past is None or own >= past):
        return claimed
    # A label that a reload has renamed since is nobody's any more: then the highest there is.
    return inherited if past is not None else privacy.labels[-1]
