"""What routing reads and what it returns: question, readings, candidates, plan, attempts, steps."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import inf
from typing import Protocol, TypeAlias

import msgspec

from llmproxyd.values.budget import Bound, Objection
from llmproxyd.values.clearance import Clearance
from llmproxyd.values.failure import Failure
from llmproxyd.values.privacy import NOTHING_FOUND, Scan
from llmproxyd.values.request import NO_OVERRIDES, Capability, Operation, Overrides, Priority
from llmproxyd.values.snapshot import Deployment, FallbackPolicy, Stage, Target


class Prompt(Protocol):
    """Facts that cost something to find out; each is computed when first asked for, and once."""

    @property
    def text(self) -> str:
        """Everything the caller wrote, instructions included, joined by newlines."""
        ...

    @property
    def tokens_in(self) -> int:
        """Estimated input tokens, tool definitions included."""
        ...

    def tokens_for(self, model: str) -> int:
        """The same in the vocabulary of a model (its provider's id), where that can be told."""
        ...

    @property
    def has(self) -> frozenset[str]:
        """Which of tools, images, audio, files, code, json_schema, thinking, system the request has."""
        ...

    @property
    def conversation(self) -> bytes:
        """The same for every turn of one conversation, different for others (a digest of how it began)."""
        ...


class KnownPrompt(msgspec.Struct, frozen=True):
    """A Prompt whose facts are given: for `explain` and for tests."""

    text: str = ""
    tokens_in: int = 0
    has: frozenset[str] = frozenset()
    conversation: bytes = b""

    def tokens_for(self, model: str) -> int:
        return self.tokens_in


class Purse(Protocol):
    """What the budgets of a caller allow, at the moment of one decision."""

    @property
    def left(self) -> float | None:
        """The share (0..1) left of the tightest budget that applies to the caller; None: none does."""
        ...

    def objection(self, deployment: Deployment, bound: Bound) -> Objection | None:
        """Why a budget keeps this deployment from being asked, if the request comes to ``bound`` there."""
        ...


class Question(msgspec.Struct, frozen=True):
    """What decide is asked. Claims (project, user, task, label) are None where nobody made them;
    ``tenant`` is known by its key, None where no key is declared.

    ``headers`` have lower-case names. ``bytes_in`` is the size of the body. ``now_s`` is wall clock, Unix seconds.
    ``scan``: what was found in it, as far as anybody looked.
    ``turn`` numbers the questions of this process; ``seed`` makes jitter repeatable. ``purse`` None: no budgets.
    ``bound``: ranks that the label has at least by the caller's tenant and key, and who says so; ``lowered``: the label that
    a caller who may do so holds to be right, however high the others are.
    ``max_cost_nanos``: the most that one call may come to, by the caller's own word. ``any_tier``: it asks to be served in
    a certain way; looked for only where the caller bounds the cost.
    """

    model: str
    operation: Operation = Operation.CHAT
    surface: str = "openai-chat"
    stream: bool = False
    needs: frozenset[Capability] = frozenset()
    max_output_tokens: int | None = None
    temperature: float | None = None
    n: int | None = None
    project: str | None = None
    user: str | None = None
    task: str | None = None
    label: str | None = None
    tenant: str | None = None
    priority: Priority = Priority.NORMAL
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    prompt: Prompt = KnownPrompt()
    bytes_in: int = 0
    now_s: float = 0.0
    turn: int = 0
    seed: int = 0
    purse: Purse | None = None
    scan: Scan = NOTHING_FOUND
    max_cost_nanos: int | None = None
    any_tier: bool = False
    bound: tuple[tuple[int, str], ...] = ()
    lowered: str | None = None

    @property
    def budget_left(self) -> float | None:
        """As ``Purse.left``."""
        return None if self.purse is None else self.purse.left


class Breaker(StrEnum):
    """Whether a deployment is called. ``cooling``: it asked for a pause (429), which is no ill health; ``half_open``: one
    call at a time tries whether it is well again; ``recovering``: it is, and gets more of its share by and by."""

    CLOSED = "closed"
    RECOVERING = "recovering"
    HALF_OPEN = "half_open"
    COOLING = "cooling"
    OPEN = "open"


class Gauge(msgspec.Struct, frozen=True):
    """What is known of one deployment at this moment. Latency is to first content, seconds, a moving average.

    ``success_rate``: 0..1, recent calls count most; 1 without history. ``ready_s``: monotonic; before it a breaker that
    is cooling or open lets nothing through. ``share``: 0..1 of its calls that it may take while it recovers. ``wait_s``:
    how long a call would wait in line for its provider's limits.
    """

    in_flight: int = 0
    latency_s: float | None = None
    seen: int = 0
    success_rate: float = 1.0
    breaker: Breaker = Breaker.CLOSED
    ready_s: float = 0.0
    share: float = 1.0
    wait_s: float = 0.0


IDLE = Gauge()


class Readings(msgspec.Struct, frozen=True):
    """Gauges by ``Deployment.key``, frozen for one decision at ``now_s`` (monotonic). ``other_than_mock``: some provider
    besides `mock` is, or once was, usable: a key is there, or a server has answered. ``all_well``: every gauge here is
    closed, without a wait and with a good record, so that health changes no order. ``short_of_attempts``: the retry budget
    is spent, so that the first attempt had better be the one that succeeds."""

    gauges: Mapping[str, Gauge] = msgspec.field(default_factory=dict)
    other_than_mock: bool = False
    now_s: float = 0.0
    all_well: bool = True
    short_of_attempts: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """What a stage, or the check before it, said of a candidate. ``rule`` is the rule's name, empty where no rule spoke.
    ``dropped`` False: it ranked it, ``reason`` says how."""

    stage: Stage | None
    rule: str
    reason: str
    dropped: bool = False


class Candidate(msgspec.Struct, frozen=True):
    """A deployment still in question, or dropped. ``rank`` is what it was sorted by. ``masked``: the kinds and groups of
    data that are taken out of what it sees; empty: it sees the request as it is. ``clearance``: leave to send it that, and
    with which label; who was dropped has none."""

    deployment: Deployment
    verdicts: tuple[Verdict, ...] = ()
    rank: tuple[float | str, ...] = ()
    masked: frozenset[str] = frozenset()
    clearance: Clearance | None = None

    @property
    def dropped(self) -> bool:
        return any(v.dropped for v in self.verdicts)


class Plan(msgspec.Struct, frozen=True):
    """The decision. ``candidates`` in the order they will be tried; ``dropped`` with the verdict that dropped them.

    ``failure`` is set instead of candidates when there is none, or a rule rejected the request. ``label`` is the
    effective label's name, ``label_sources`` who raised it (``default``, ``header``, ``rule NAME``), ``lowered_from`` what
    it was before somebody lowered it. ``continues``: an answer that breaks off in the middle is taken up by the next
    candidate.
    """

    target: Target | None
    candidates: tuple[Candidate, ...]
    dropped: tuple[Candidate, ...]
    fallback: FallbackPolicy
    label: str
    label_rank: int
    label_sources: tuple[str, ...] = ()
    overrides: Overrides = NO_OVERRIDES
    rules: tuple[str, ...] = ()
    failure: Failure | None = None
    seed: int = 0
    continues: bool = False
    lowered_from: str | None = None


class Attempt(msgspec.Struct, frozen=True):
    """One call to one candidate, as far as ``next_step`` must know. Times are monotonic seconds.

    ``ended_s`` None: still running. ``failure`` None with ``ended_s`` set: it succeeded. ``sent`` False: the candidate was
    not called at all (its breaker is open, it is full, its dialect cannot carry the request). ``another_key``: its
    provider denied one key and has another. ``hedge``: begun beside another attempt that was still running.
    """

    candidate: int
    started_s: float
    ended_s: float | None = None
    failure: Failure | None = None
    sent: bool = True
    another_key: bool = False
    hedge: bool = False


class Allowance(msgspec.Struct, frozen=True):
    """What an exchange may do beyond its first attempt, as shared bounds stand now. Monotonic seconds.

    ``extra_from_s``: when the retry budget allows one more attempt; inf: not in sight. ``hedge_from_s``: when the running
    attempt has outlived what its deployment usually needs; inf: never, or the share of hedges is spent.
    """

    extra_from_s: float = -inf
    hedge_from_s: float = inf


class Start(msgspec.Struct, frozen=True):
    """Begin an attempt with ``plan.candidates[candidate]`` now. ``force``: although its breaker is open, since nobody
    else is left. ``queue``: it may wait in line. ``hedge``: beside the one that runs."""

    candidate: int
    force: bool = False
    queue: bool = False
    hedge: bool = False


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do before ``until_s`` (monotonic) or before an attempt ends; None: only the latter."""

    until_s: float | None


class GiveUp(msgspec.Struct, frozen=True):
    """No attempt is left: the client gets ``failure``."""

    failure: Failure


Step: TypeAlias = Start | Wait | GiveUp
