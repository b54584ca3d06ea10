"""All an operator wrote, frozen and cross-checked: what one generation of the two files means.

Building one opens nothing. A request takes one snapshot when it is admitted and keeps it to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from llmproxyd.values.budget import Budget
from llmproxyd.values.cost import Price, PriceList
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.privacy import covers_any
from llmproxyd.values.request import Capability, Dialect, Operation, Overrides
from llmproxyd.values.secret import Secret


class Zone(StrEnum):
    """Where a provider's machines stand, as the operator declares it. Never resolved from a name."""

    LOCAL = "local"
    PRIVATE = "private"
    EXTERNAL = "external"


class Auth(StrEnum):
    """How a provider wants to see its key."""

    NONE = "none"
    BEARER = "bearer"  # authorization: Bearer KEY
    X_API_KEY = "x-api-key"
    API_KEY = "api-key"
    X_GOOG_API_KEY = "x-goog-api-key"


class Place(msgspec.Struct, frozen=True):
    """Where in the files something was written; ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


NOWHERE = Place("", 0, 0)


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. ``first_token`` runs to the first content of a stream; ``stall`` between two pieces of content after
    that; ``total`` bounds the attempt, and is the only one that can bound an answer that comes whole."""

    connect_s: float = 2.0
    first_token_s: float = 60.0
    stall_s: float = 60.0
    total_s: float = 600.0


class Limits(msgspec.Struct, frozen=True):
    """At most so much per minute, and so many calls at a time. None: no bound that we know of."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None

    def __bool__(self) -> bool:
        return (self.requests_per_minute, self.tokens_per_minute, self.concurrency) != (None, None, None)


class Credential(msgspec.Struct, frozen=True):
    """One key of a provider. ``name`` is fit for logs: how the file refers to it, never the key. ``until``: the first day
    (ISO date, UTC) on which it is not used any more."""

    secret: Secret
    name: str
    until: str | None = None


class VirtualKey(msgspec.Struct, frozen=True):
    """A key that clients show us, known by its SHA-256 alone (``digest``, 64 lower-case hexadecimal digits). ``until``: the
    first day (ISO date, UTC) on which it is not taken any more. ``limits``: its own, within those of its tenant.

    ``project`` and ``user``: whoever shows it speaks for these and no others; None: may say what it likes. ``label``:
    what all it sends is labelled at least. ``may_lower``: may say that a request deserves a lower label than it was given."""

    digest: str
    name: str = ""
    until: str | None = None
    limits: Limits = Limits()
    project: str | None = None
    user: str | None = None
    label: str | None = None
    may_lower: bool = False

    @property
    def id(self) -> str:
        """What it is called in logs and in the ledger: the first 8 digits."""
        return self.digest[:8]


class Tenant(msgspec.Struct, frozen=True):
    """Who asks, by virtual key. ``weight``: its part where tenants wait in line for the same provider. ``label``: what
    all its requests are labelled at least."""

    name: str
    keys: tuple[VirtualKey, ...] = ()
    limits: Limits = Limits()
    weight: float = 1.0
    budget: Budget | None = None
    label: str | None = None
    place: Place = NOWHERE


class Quirks(msgspec.Struct, frozen=True):
    """Where a server that speaks a dialect does not speak it like its maker. All data, set by presets.

    ``verbatim``: bodies may pass untouched when the surface speaks the same dialect.
    ``stream_usage``: understands ``stream_options.include_usage``. ``developer_role``: knows that role.
    ``max_completion_tokens``: knows that name for the limit (else ``max_tokens``). ``done``: ends a stream with [DONE].
    ``null_content``: accepts ``content: null``. ``default_max_tokens``: sent where the client set no limit.
    ``responses``: serves OpenAI's Responses under the same base URL as well.
    ``embeddings``: serves ``/embeddings``; ``completions``: serves the legacy ``/completions``.
    """

    verbatim: bool = True
    stream_usage: bool = True
    developer_role: bool = False
    max_completion_tokens: bool = False
    done: bool = True
    null_content: bool = True
    default_max_tokens: int | None = None
    responses: bool = False
    embeddings: bool = True
    completions: bool = True


class Probe(msgspec.Struct, frozen=True):
    """A free request that shows whether a provider answers; ``path`` is joined to its base URL.

    ``lists_models``: the answer names the models the server has.
    """

    path: str
    lists_models: bool = False


class Mock(msgspec.Struct, frozen=True):
    """How a model of the built-in ``mock`` provider behaves. ``fail_share`` in 0..1 of its calls end with
    ``fail_status``, evenly spread and the same every time."""

    first_token_s: float = 0.0
    tokens_per_second: float = 0.0  # 0: as fast as it goes
    fail_status: int = 500
    fail_share: float = 0.0


class Provider(msgspec.Struct, frozen=True):
    """Who is asked and paid: one account at one endpoint.

    ``base_url`` has no trailing slash and includes the version path; for Azure's deployment paths ``api_version`` is
    a date. ``configured`` False: left out of every plan, ``reason`` says what is missing (never a secret).
    ``keyless``: needs no credential, so that only an answer shows that it is there. ``clearance`` is a label's rank.
    ``credentials``: all keys, in order of preference; ``secret`` is the first, or the one chosen for a call.
    ``unhealthy_after`` failures in a row open a deployment's breaker; ``recover_after_s`` is its longest cooldown.
    ``identity`` names the state that survives a reload: name, endpoint and dialect.
    """

    name: str
    preset: str
    dialect: Dialect
    base_url: str
    zone: Zone
    clearance: int
    auth: Auth = Auth.BEARER
    secret: Secret | None = None
    headers: Mapping[str, str | Secret] = msgspec.field(default_factory=dict)
    enabled: bool = True
    configured: bool = True
    reason: str = ""
    keyless: bool = False
    discover: bool = False
    priority: int = 100
    max_retries: int | None = None
    timeouts: Timeouts = Timeouts()
    health_interval_s: float = 30.0
    unhealthy_after: int = 3
    recover_after_s: float = 300.0
    limits: Limits = Limits()
    credentials: tuple[Credential, ...] = ()
    cost_tracking: bool = True
    api_version: str | None = None
    quirks: Quirks = Quirks()
    probe: Probe | None = None
    identity: str = ""
    place: Place = NOWHERE

    @property
    def is_mock(self) -> bool:
        return self.preset == "mock"


class Deployment(msgspec.Struct, frozen=True):
    """One upstream model at one provider: the unit that is chosen, priced and counted.

    ``name`` is ``provider/model``. ``model`` is the plain id clients may ask for, ``upstream`` what the provider is
    sent. ``capabilities`` None: unknown, so nothing is ruled out. ``price`` None: unknown; it is what was in force when
    the files were loaded, ``prices`` what is at any moment, and who says so. ``quality``: 0..1 by task,
    under ``default`` for all others. ``windows`` in tokens. ``key`` names its state across reloads.
    """

    name: str
    provider: Provider
    model: str
    upstream: str
    operations: frozenset[Operation] = frozenset({Operation.CHAT, Operation.COMPLETION})
    capabilities: frozenset[Capability] | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    price: Price | None = None
    quality: Mapping[str, float] = msgspec.field(default_factory=dict)
    retires: str | None = None
    mock: Mock | None = None
    key: str = ""
    place: Place = NOWHERE
    prices: PriceList | None = None


# --- names ------------------------------------------------------------------------------------------------------


class TargetKind(StrEnum):
    ANY = "any"  # every deployment able to serve, ranked by the pipeline
    SET = "set"  # these, ranked by the pipeline
    LIST = "list"  # these, in this order
    WEIGHTS = "weights"  # these, first one drawn by share
    MODEL = "model"  # a plain id: every deployment of that model
    EXPLICIT = "explicit"  # provider/model


class Target(msgspec.Struct, frozen=True):
    """What a name that clients may ask for stands for. ``weights`` runs beside ``deployments``, empty unless WEIGHTS."""

    name: str
    kind: TargetKind
    deployments: tuple[Deployment, ...]
    weights: tuple[float, ...] = ()
    place: Place = NOWHERE


# --- conditions -------------------------------------------------------------------------------------------------


class OneOf(msgspec.Struct, frozen=True):
    """The fact equals one of ``values``. ``key`` names the header or the metadata entry."""

    fact: str
    values: tuple[str | bool, ...]
    key: str = ""


class HasAll(msgspec.Struct, frozen=True):
    """The request has every one of these: tools, images, audio, files, code, json_schema, thinking, system."""

    values: tuple[str, ...]


class Holds(msgspec.Struct, frozen=True):
    """The request holds data of one of these kinds or groups, as far as it was read. Never true of data nobody looked
    for; always of a request in which a detector broke."""

    kinds: tuple[str, ...]


class Range(msgspec.Struct, frozen=True):
    """The fact is a number within these bounds."""

    fact: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


class Absent(msgspec.Struct, frozen=True):
    """The request does not say."""

    fact: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Matches:
    """RE2 ``pattern`` is found in the fact; ``regex`` is it compiled."""

    fact: str
    pattern: str
    regex: Any = field(compare=False)
    key: str = ""


class During(msgspec.Struct, frozen=True):
    """Local time in ``zone`` is on one of ``days`` (0 = Monday) and in [start, end) minutes after midnight; an end
    before the start runs over midnight and belongs to the day it began on."""

    days: frozenset[int]
    start_minute: int
    end_minute: int
    zone: str


class Not(msgspec.Struct, frozen=True):
    condition: Condition


class AllOf(msgspec.Struct, frozen=True):
    conditions: tuple[Condition, ...]


class AnyOf(msgspec.Struct, frozen=True):
    conditions: tuple[Condition, ...]


Condition: TypeAlias = OneOf | HasAll | Holds | Range | Absent | Matches | During | Not | AllOf | AnyOf


# --- rules ------------------------------------------------------------------------------------------------------


class Requirement(msgspec.Struct, frozen=True):
    """What a candidate must be (``require``) or must not be (``exclude``). Every field given must hold, for each list
    one entry. ``price`` is USD per million tokens, three parts input to one part output."""

    zones: tuple[Zone, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    context_window: Range | None = None
    quality: Range | None = None
    price: Range | None = None


class RankBy(StrEnum):
    PRICE = "price"
    LATENCY = "latency"
    LEAST_BUSY = "least_busy"
    ROUND_ROBIN = "round_robin"
    WEIGHT = "weight"


class HedgePolicy(msgspec.Struct, frozen=True):
    """A second candidate is asked while the first still runs. ``after_s``: how long the first may be silent; None: as
    long as 95 % of its answers took to begin. ``max_share`` bounds hedges by requests, ``max_spend`` by money."""

    after_s: float | None = None
    max_share: float = 0.05
    max_spend: float = 0.03


class Degrade(StrEnum):
    """What is still tried when every candidate has failed."""

    SMALLER_MODEL = "smaller_model"
    CACHED = "cached"  # an answer that was kept and has expired since
    ERROR = "error"


class FallbackPolicy(msgspec.Struct, frozen=True):
    """What may be tried after a failure. ``on`` empty or ``attempts`` 1: nothing. ``deadline_s`` runs from admission to
    the commit; ``retry_*``: the same deployment again, with backoff. ``across_models``: when nobody who was asked for has
    the model, one that can do the same for at most ``max_price_ratio`` times the price may answer; and one with a larger
    window where the request was too long. ``degrade``: in this order, when all have failed. ``hedge`` None: never."""

    on: frozenset[FailureKind]
    attempts: int = 3
    deadline_s: float = 600.0
    retry_max: int = 1
    retry_base_s: float = 0.2
    retry_cap_s: float = 5.0
    across_models: bool = True
    max_price_ratio: float = 3.0
    degrade: tuple[Degrade, ...] = (Degrade.ERROR,)
    hedge: HedgePolicy | None = None


DEFAULT_FALLBACK_ON: frozenset[FailureKind] = frozenset(
    {
        FailureKind.RATE_LIMITED,
        FailureKind.OVERLOADED,
        FailureKind.TIMEOUT,
        FailureKind.UNREACHABLE,
        FailureKind.BAD_ANSWER,
        FailureKind.TOO_LARGE,
        FailureKind.MODEL_UNAVAILABLE,
        FailureKind.PROVIDER_DENIED,
    }
)


class Stage(StrEnum):
    PRIVACY = "privacy"
    COST = "cost"
    PERFORMANCE = "performance"


class Rule(msgspec.Struct, frozen=True):
    """One line of a stage: a condition (None: always) and what then happens.

    ``prefer`` names deployments, models or providers, best first. ``within`` (a share, 0.1 = 10 %) bands the prices
    of ``rank_by: price``. ``label`` is a label's rank. ``fallback`` replaces the policy, ``hedge`` the policy's own;
    ``fallback_off``, ``hedge_off`` and ``continues`` False are final from the privacy stage. ``cache_off`` is final from
    every stage. ``max_cost_nanos``: who is expected to cost more is dropped. ``reject`` is the message for the client.
    ``mask``: kinds and groups of data that are taken out for whoever may not see them.
    """

    name: str
    stage: Stage
    when: Condition | None = None
    require: Requirement | None = None
    exclude: Requirement | None = None
    prefer: tuple[str, ...] = ()
    rank_by: RankBy | None = None
    within: float | None = None
    weights: Mapping[str, float] = msgspec.field(default_factory=dict)
    label: int | None = None
    set: Overrides | None = None
    fallback: FallbackPolicy | None = None
    fallback_off: bool = False
    hedge: HedgePolicy | None = None
    hedge_off: bool = False
    continues: bool | None = None
    max_cost_nanos: int | None = None
    reject: str | None = None
    place: Place = NOWHERE
    cache_off: bool = False
    mask: tuple[str, ...] = ()


class CacheScope(StrEnum):
    """Who shares kept answers with whom. A key's and a user's are a tenant's own as well."""

    TENANT = "tenant"
    KEY = "key"
    USER = "user"


class CacheRule(msgspec.Struct, frozen=True):
    """Requests for which ``when`` holds (None: all): their answers are kept for ``ttl_s`` seconds; None: not at all."""

    name: str
    when: Condition | None = None
    ttl_s: float | None = None
    place: Place = NOWHERE


class CachePolicy(msgspec.Struct, frozen=True):
    """Which answers are kept. The first rule that matches decides; none: not kept. ``max_bytes`` bounds the file,
    ``stale_s`` how long an answer that has expired may still stand in when every provider has failed."""

    scope: CacheScope = CacheScope.TENANT
    max_bytes: int = 1 << 30
    rules: tuple[CacheRule, ...] = ()
    stale_s: float = 7 * 86_400.0


class DetectRule(msgspec.Struct, frozen=True):
    """What is of these kinds or groups gives a request the label of this rank."""

    kinds: tuple[str, ...]
    label: int
    place: Place = NOWHERE


class OwnPattern(msgspec.Struct, frozen=True):
    """A kind of the operator's own: RE2 ``pattern``, or ``words``, found whole and in any case. One of the two is given."""

    kind: str
    pattern: str = ""
    words: tuple[str, ...] = ()
    place: Place = NOWHERE


class Privacy(msgspec.Struct, frozen=True):
    """``labels`` from low to high; a label's rank is its index. ``clearance`` of a zone is the highest rank it may see.

    ``detect`` empty: nobody looks for anything. ``unscanned``: ranks by what cannot be read (UNSCANNED_KINDS).
    """

    labels: tuple[str, ...] = ("public", "internal", "confidential", "restricted")
    default_label: int = 1
    clearance: Mapping[Zone, int] = msgspec.field(
        default_factory=lambda: {Zone.EXTERNAL: 1, Zone.PRIVATE: 2, Zone.LOCAL: 3}
    )
    detect: tuple[DetectRule, ...] = ()
    unscanned: Mapping[str, int] = msgspec.field(default_factory=dict)
    patterns: tuple[OwnPattern, ...] = ()

    def rank(self, label: str) -> int | None:
        """The rank of a label's name; None if there is no such label."""
        return self.labels.index(label) if label in self.labels else None

    def rank_of_kind(self, kind: str) -> int | None:
        """The highest rank that a finding of this kind gives; None: nobody says anything of it."""
        return max((rule.label for rule in self.detect if covers_any(rule.kinds, kind)), default=None)

    def rank_of_unscanned(self, kind: str) -> int:
        """The rank that something unread gives: the highest there is where nobody says anything of it."""
        return self.unscanned.get(kind, len(self.labels) - 1)


class Assertion(msgspec.Struct, frozen=True):
    """What the operator says can never happen: a request for which ``when`` holds reaches a deployment in one of ``zones``
    and of one of ``providers`` (empty: any). Proven when the files are loaded; it decides nothing."""

    when: Condition
    zones: tuple[Zone, ...] = ()
    providers: tuple[str, ...] = ()
    place: Place = NOWHERE


class Snapshot(msgspec.Struct, frozen=True):
    """One generation of the configuration.

    ``hash``: over the canonical meaning of both files, what references resolved to (as fingerprints) and what was
    discovered: equal hashes mean that nothing changed. ``names``: every name a client may ask for that is known ahead.
    ``default_provider``: preferred where nothing else decides. ``watched``: files whose change may change this.
    ``assertions``: what must be true of all this.
    ``budgets``: all but those that stand with a tenant. ``webhooks`` are not shown: their URLs often hold a token.
    """

    hash: str
    providers: Mapping[str, Provider]
    deployments: tuple[Deployment, ...]
    names: Mapping[str, Target]
    rules: tuple[Rule, ...]
    privacy: Privacy = Privacy()
    fallback: FallbackPolicy = FallbackPolicy(on=DEFAULT_FALLBACK_ON)
    default_provider: str | None = None
    tenants: Mapping[str, Tenant] = msgspec.field(default_factory=dict)
    budgets: tuple[Budget, ...] = ()
    webhooks: tuple[str, ...] = ()
    cache: CachePolicy = CachePolicy()
    watched: tuple[str, ...] = ()
    assertions: tuple[Assertion, ...] = ()

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "webhooks")
        return f"Snapshot({', '.join(shown)})"
