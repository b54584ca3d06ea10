"""Everything about routing that can be worked out once per generation, so that deciding is little more than looking up.

Owns the compiled forms of rules, names and deployments. Nothing here sees a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

import msgspec

from llmproxyd.routing.match import Test, compile_condition
from llmproxyd.routing.requirement import Gate, compile_gates, named_by, price_of
from llmproxyd.values.cost import NANOS_PER_USD
from llmproxyd.values.plan import Candidate, Verdict
from llmproxyd.values.request import Capability, Operation, Overrides
from llmproxyd.values.snapshot import (
    Deployment,
    FallbackPolicy,
    HedgePolicy,
    RankBy,
    Rule,
    Snapshot,
    Stage,
    Target,
    TargetKind,
)

_STAGE_ORDER = {stage: place for place, stage in enumerate(Stage)}


class Option(msgspec.Struct, frozen=True, eq=False):
    """A deployment with what no request can change about it.

    ``index`` is its place in the snapshot. ``input_usd`` and ``output_usd`` are per token, None if unknown.
    ``tie`` decides where no rule does: default provider, priority, name. ``salt`` makes its draws its own.
    """

    index: int
    deployment: Deployment
    name: str
    clearance: int
    is_mock: bool
    capabilities: frozenset[Capability] | None
    context_window: int | None
    max_output_tokens: int | None
    input_usd: float | None
    output_usd: float | None
    tie: tuple[float, float, str]
    salt: bytes


class CompiledRule(msgspec.Struct, frozen=True, eq=False):
    """One rule. ``applies`` None: always. ``positions`` and ``preferred`` run beside the snapshot's deployments, empty
    without ``prefer``; ``shares`` likewise for ``rank_by: weight``. ``fallback`` holds `off` as a policy of one attempt.
    The three ``…_final`` say that no other rule may change what this one turns off."""

    name: str
    stage: Stage
    applies: Test | None
    gates: tuple[Gate, ...] = ()
    positions: tuple[float, ...] = ()
    preferred: tuple[Verdict, ...] = ()
    rank_by: RankBy | None = None
    within: float | None = None
    shares: tuple[float, ...] = ()
    label: int | None = None
    source: str = ""
    set: Overrides | None = None
    fallback: FallbackPolicy | None = None
    fallback_final: bool = False
    hedge: HedgePolicy | None = None
    hedge_off: bool = False
    hedge_final: bool = False
    continues: bool | None = None
    continues_final: bool = False
    max_cost_usd: float | None = None
    reject: str | None = None
    mask: frozenset[str] = frozenset()


class Field(msgspec.Struct, frozen=True, eq=False):
    """Who may compete for one name and one operation. ``unable`` can never serve it in this generation, with reasons.

    ``smallest_window`` and ``smallest_output`` (tokens): requests below both need no look at the single deployments.
    ``needs_met``: every option is known to have these capabilities, or says nothing about its own.
    ``has_mock``: an option must step back once anybody else is usable; only ever under `any`.
    """

    options: tuple[Option, ...]
    unable: tuple[Candidate, ...]
    smallest_window: int | None
    smallest_output: int | None
    needs_met: frozenset[Capability]
    has_mock: bool


class Shortlist(msgspec.Struct, frozen=True, eq=False):
    """What a name stands for. ``order`` (by ``Option.index``) comes before all ranks; empty: the pipeline decides.
    ``shares`` likewise for weights."""

    target: Target
    explicit: bool
    fields: Mapping[Operation, Field]
    order: Mapping[int, float] = msgspec.field(default_factory=dict)
    shares: Mapping[int, float] = msgspec.field(default_factory=dict)


class Routes(msgspec.Struct, frozen=True, eq=False):
    """A compiled snapshot. ``rules`` in stage order; ``label_rules`` are those of them that raise the label.

    ``everybody``: all deployments, for when those behind a name have failed. ``rules_on_overlap``: some rule says
    something of hedging or of going on with a broken answer. ``rules_on_cost``: some rule says what may be spent.
    """

    snapshot: Snapshot
    shortlists: Mapping[str, Shortlist]
    everybody: Shortlist
    rules: tuple[CompiledRule, ...]
    rules_on_overlap: bool
    rules_on_cost: bool
    label_rules: tuple[CompiledRule, ...]
    label_ranks: Mapping[str, int]
    listed: tuple[str, ...]

    def resolve(self, model: str) -> Target | None:
        """What the name stands for: an alias, else ``provider/model``, else a plain id; None if nobody knows it."""
        shortlist = self.shortlists.get(model)
        return shortlist.target if shortlist else None

    def listed_names(self) -> tuple[str, ...]:
        """The names worth offering to clients: those behind which some deployment is enabled and configured."""
        return self.listed


def compile_routes(snapshot: Snapshot) -> Routes:
    """Snapshot -> Routes. Opens nothing; raises only for a snapshot that its checks should have refused."""
    options = {d.name: _option(i, d, snapshot) for i, d in enumerate(snapshot.deployments)}
    unusable = {name: _unusable(o.deployment) for name, o in options.items()}
    shortlists = {name: _shortlist(target, options, unusable) for name, target in _names(snapshot).items()}
    everybody = Target("", TargetKind.SET, snapshot.deployments)
    rules = _compile_rules(snapshot)
    return Routes(
        snapshot=snapshot,
        shortlists=shortlists,
        everybody=_shortlist(everybody, options, unusable),
        rules=rules,
        rules_on_overlap=any(r.hedge or r.hedge_off or r.continues is not None for r in rules),
        rules_on_cost=any(r.max_cost_usd is not None for r in rules),
        label_rules=tuple(r for r in rules if r.label is not None),
        label_ranks={label: rank for rank, label in enumerate(snapshot.privacy.labels)},
        listed=tuple(name for name in snapshot.names if _is_served(shortlists[name])),
    )


def _option(index: int, deployment: Deployment, snapshot: Snapshot) -> Option:
    provider, price = deployment.provider, price_of(deployment)
    per_token = NANOS_PER_USD * 1_000_000
    return Option(
        index=index,
        deployment=deployment,
        name=deployment.name,
        clearance=provider.clearance,
        is_mock=provider.is_mock,
        capabilities=deployment.capabilities,
        context_window=deployment.context_window,
        max_output_tokens=deployment.max_output_tokens,
        input_usd=None if price is None else price.input / per_token,
        output_usd=None if price is None else price.output / per_token,
        tie=(float(provider.name != snapshot.default_provider), float(provider.priority), deployment.name),
        salt=blake2b(deployment.name.encode()).digest(),
    )


def _unusable(deployment: Deployment) -> Verdict | None:
    provider = deployment.provider
    if not provider.enabled:
        return Verdict(None, "", f"{provider.name}: disabled in the configuration", dropped=True)
    if not provider.configured:
        return Verdict(None, "", f"{provider.name}: {provider.reason or 'not configured'}", dropped=True)
    return None


# --- names ------------------------------------------------------------------------------------------------------


def _names(snapshot: Snapshot) -> dict[str, Target]:
    """The snapshot's names, and the spellings of deployments it leaves out: the first meaning of a name stands."""
    names = dict(snapshot.names)
    explicit: dict[str, list[Deployment]] = {}
    plain: dict[str, list[Deployment]] = {}
    for deployment in snapshot.deployments:
        provider = deployment.provider.name
        for spelling in {
            deployment.name,
            f"{provider}/{deployment.model}",
            f"{provider}/{deployment.upstream}",
        }:
            explicit.setdefault(spelling, []).append(deployment)
        plain.setdefault(deployment.model, []).append(deployment)
    for kind, found in ((TargetKind.EXPLICIT, explicit), (TargetKind.MODEL, plain)):
        for name, deployments in found.items():
            names.setdefault(name, Target(name, kind, tuple(deployments)))
    return names


def _shortlist(
    target: Target, options: Mapping[str, Option], unusable: Mapping[str, Verdict | None]
) -> Shortlist:
    # A set may list a deployment that has not been discovered yet, or list one twice; the first mention counts.
    found = list(dict.fromkeys(options[d.name] for d in target.deployments if d.name in options))
    return Shortlist(
        target=target,
        explicit=target.kind is TargetKind.EXPLICIT,
        fields={operation: _field(target, operation, found, unusable) for operation in Operation},
        order=_order(target, found),
        shares=_shares(target, options),
    )


def _order(target: Target, found: Sequence[Option]) -> dict[int, float]:
    if target.kind is TargetKind.LIST:
        return {option.index: float(place) for place, option in enumerate(found)}
    if target.kind is TargetKind.ANY and any(o.is_mock for o in found):
        # Where `mock` is still in question nobody else has ever answered: it stands in, so it goes first.
        return {option.index: float(not option.is_mock) for option in found}
    return {}


def _shares(target: Target, options: Mapping[str, Option]) -> dict[int, float]:
    shares: dict[int, float] = {}
    if target.kind is TargetKind.WEIGHTS:
        for deployment, weight in zip(target.deployments, target.weights, strict=True):
            if deployment.name in options:
                index = options[deployment.name].index
                shares[index] = shares.get(index, 0.0) + weight
    return shares


def _field(
    target: Target,
    operation: Operation,
    found: Iterable[Option],
    unusable: Mapping[str, Verdict | None],
) -> Field:
    able: list[Option] = []
    unable: list[Candidate] = []
    for option in found:
        verdict = unusable[option.name] or _unfit(operation, option.deployment)
        if verdict is None:
            able.append(option)
        else:
            unable.append(Candidate(option.deployment, (verdict,)))
    windows = [o.context_window for o in able if o.context_window is not None]
    outputs = [o.max_output_tokens for o in able if o.max_output_tokens is not None]
    known = [o.capabilities for o in able if o.capabilities is not None]
    return Field(
        options=tuple(able),
        unable=tuple(unable),
        smallest_window=min(windows, default=None),
        smallest_output=min(outputs, default=None),
        needs_met=frozenset(Capability).intersection(*known),
        has_mock=target.kind is TargetKind.ANY and any(o.is_mock for o in able),
    )


def _unfit(operation: Operation, deployment: Deployment) -> Verdict | None:
    if operation in deployment.operations:
        return None
    return Verdict(None, "", f"{deployment.name}: does not serve {operation} requests", dropped=True)


def _is_served(shortlist: Shortlist) -> bool:
    return any(f.options for f in shortlist.fields.values())


# --- rules ------------------------------------------------------------------------------------------------------


def _compile_rules(snapshot: Snapshot) -> tuple[CompiledRule, ...]:
    tasks = sorted({task for d in snapshot.deployments for task in d.quality} - {"default"})
    ordered = sorted(snapshot.rules, key=lambda rule: _STAGE_ORDER[rule.stage])
    return tuple(_compile_rule(rule, snapshot, tasks) for rule in ordered)


def _compile_rule(rule: Rule, snapshot: Snapshot, tasks: Sequence[str]) -> CompiledRule:
    deployments = snapshot.deployments
    off = FallbackPolicy(on=frozenset(), attempts=1, deadline_s=snapshot.fallback.deadline_s, retry_max=0)
    positions = tuple(_position(rule.prefer, d) for d in deployments) if rule.prefer else ()
    return CompiledRule(
        name=rule.name,
        stage=rule.stage,
        applies=None if rule.when is None else compile_condition(rule.when),
        gates=compile_gates(rule, deployments, tasks),
        positions=positions,
        preferred=tuple(_preference(rule, position) for position in positions),
        rank_by=rule.rank_by,
        within=rule.within,
        shares=tuple(_share(rule.weights, d) for d in deployments) if rule.rank_by is RankBy.WEIGHT else (),
        label=rule.label,
        source=f"rule {rule.name}",
        set=rule.set,
        fallback=off if rule.fallback_off else rule.fallback,
        fallback_final=rule.fallback_off and rule.stage is Stage.PRIVACY,
        hedge=rule.hedge,
        hedge_off=rule.hedge_off,
        hedge_final=rule.hedge_off and rule.stage is Stage.PRIVACY,
        continues=rule.continues,
        continues_final=rule.continues is False and rule.stage is Stage.PRIVACY,
        max_cost_usd=None if rule.max_cost_nanos is None else rule.max_cost_nanos / NANOS_PER_USD,
        reject=rule.reject,
        mask=frozenset(rule.mask),
    )


def _position(prefer: Sequence[str], deployment: Deployment) -> float:
    names = named_by(deployment)
    return float(next((place for place, entry in enumerate(prefer) if entry in names), len(prefer)))


def _preference(rule: Rule, position: float) -> Verdict:
    place = int(position)
    reason = f"preferred as number {place + 1}" if place < len(rule.prefer) else "not among the preferred"
    return Verdict(rule.stage, rule.name, reason)


def _share(weights: Mapping[str, float], deployment: Deployment) -> float:
    """The most specific entry counts; those not listed share nothing. No entries at all: everybody alike."""
    if not weights:
        return 1.0
    return next((weights[name] for name in named_by(deployment) if name in weights), 0.0)
