"""The routing document -> rules. What a rule leaves out of a policy is inherited here, once.

The document has passed its schema; what can only be seen across keys, rules and files is told here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from llmproxyd.config.budgets import parse_usd_at
from llmproxyd.config.conditions import ConditionReader, claims_in
from llmproxyd.config.findings import Findings
from llmproxyd.config.names import NameReader, place_span
from llmproxyd.config.places import Path
from llmproxyd.config.policy import OFF, parse_share_at, read_hedge, read_policy
from llmproxyd.config.privacy import rank_of, read_kinds
from llmproxyd.config.problem import Span
from llmproxyd.config.units import parse_count
from llmproxyd.values.budget import Budget
from llmproxyd.values.privacy import overlap
from llmproxyd.values.request import Capability, Overrides
from llmproxyd.values.snapshot import (
    Deployment,
    FallbackPolicy,
    Privacy,
    RankBy,
    Requirement,
    Rule,
    Stage,
    Tenant,
    Zone,
)

_NOT_ACTIONS: Final = frozenset({"name", "when"})


class RuleReader(msgspec.Struct, frozen=True):
    """What rules are read with. ``fallback``: the file's own policy, which rules inherit from. ``tenants``: those that
    are declared, by name."""

    findings: Findings
    names: NameReader
    privacy: Privacy
    fallback: FallbackPolicy
    tenants: Mapping[str, Tenant] = msgspec.field(default_factory=dict)

    @property
    def conditions(self) -> ConditionReader:
        return ConditionReader(self.findings, self.privacy, self.tenants)


def build_rules(document: Mapping[str, Any], reader: RuleReader) -> tuple[Rule, ...]:
    """All rules, in the order of the stages and, in each, of the file."""
    rules: list[Rule] = []
    seen: dict[str, Path] = {}
    for stage in Stage:
        for index, row in enumerate((document.get("pipeline") or {}).get(stage) or ()):
            path: Path = ("pipeline", str(stage), index)
            _check_name(row["name"], path, seen, reader.findings)
            _check_company(row, stage, path, reader.findings)
            rules.append(_rule(row, stage, path, reader))
    return tuple(rules)


def _rule(row: Mapping[str, Any], stage: Stage, path: Path, reader: RuleReader) -> Rule:
    where = f"rule `{row['name']}`"
    when = row.get("when")
    if stage is Stage.PRIVACY:
        _warn_of_claims(when, (*path, "when"), where, reader)
    fallback, hedge = row.get("fallback"), row.get("hedge")
    return Rule(
        name=row["name"],
        stage=stage,
        when=reader.conditions.read(when, (*path, "when")),
        require=_requirement(row.get("require"), (*path, "require"), where, reader),
        exclude=_requirement(row.get("exclude"), (*path, "exclude"), where, reader),
        prefer=_prefer(row.get("prefer", ()), (*path, "prefer"), where, reader),
        rank_by=RankBy(row["rank_by"]) if "rank_by" in row else None,
        within=parse_share_at(reader.findings, (*path, "within"), row.get("within")),
        weights=_weights(row.get("weights", {}), (*path, "weights"), where, reader),
        label=rank_of(row["label"], (*path, "label"), reader.privacy, reader.findings)
        if "label" in row
        else None,
        set=_overrides(row["set"], (*path, "set"), reader.findings) if "set" in row else None,
        fallback=None
        if fallback in (None, OFF)
        else read_policy(fallback, reader.fallback, (*path, "fallback"), reader.findings),
        fallback_off=fallback == OFF,
        hedge=None
        if hedge is None
        else read_hedge(hedge, reader.fallback.hedge, (*path, "hedge"), reader.findings),
        hedge_off=hedge == OFF,
        continues=row.get("continue"),
        max_cost_nanos=parse_usd_at(reader.findings, (*path, "max_cost"), row.get("max_cost")),
        reject=row.get("reject"),
        cache_off=row.get("cache") == OFF,
        mask=_mask(row.get("mask", ()), (*path, "mask"), where, reader),
        place=reader.findings.place_of_value((*path, "name")),
    )


# --- what one key alone cannot show -----------------------------------------------------------------------------


def _check_name(name: str, path: Path, seen: dict[str, Path], findings: Findings) -> None:
    at = (*path, "name")
    if name in seen:
        first = findings.value(seen[name], "first rule of this name")
        message = f"two rules are called `{name}`"
        findings.error("LP205", at, message, "rename one of them", label="again here", secondary=(first,))
    seen.setdefault(name, at)


def _check_company(row: Mapping[str, Any], stage: Stage, path: Path, findings: Findings) -> None:
    """Keys that mean something only beside others, or in one stage."""
    for key, fits, message in _COMPANY:
        if key in row and not fits(row, stage):
            at = findings.key((*path, key), "does nothing here")
            findings.error("LP101", at, f"`{key}` of rule `{row['name']}` {message}", "move it, or delete it")
    if not row.keys() - _NOT_ACTIONS:
        help_ = "add an action such as `require`, `prefer`, `rank_by` or `reject`"
        findings.warning("LP303", (*path, "name"), f"rule `{row['name']}` does nothing", help_)


_COMPANY: Final[Sequence[tuple[str, Callable[[Mapping[str, Any], Stage], bool], str]]] = (
    (
        "within",
        lambda row, stage: stage is Stage.COST and row.get("rank_by") == RankBy.PRICE,
        "works only in the cost stage, beside `rank_by: price`",
    ),
    (
        "weights",
        lambda row, stage: row.get("rank_by") == RankBy.WEIGHT,
        "works only beside `rank_by: weight`",
    ),
    ("label", lambda row, stage: stage is Stage.PRIVACY, "works only in the privacy stage"),
    ("mask", lambda row, stage: stage is Stage.PRIVACY, "works only in the privacy stage"),
)


def _warn_of_claims(when: Mapping[str, Any] | None, path: Path, where: str, reader: RuleReader) -> None:
    """LP402, unless every key there is says the same of its owner, so that no client can say another."""
    keys = [key for tenant in reader.tenants.values() for key in tenant.keys]
    for at in claims_in(when, path):
        claim = at[-1]
        if keys and claim in _BOUND_BY_KEYS and all(getattr(key, str(claim)) is not None for key in keys):
            continue
        reader.findings.warning(
            "LP402",
            reader.findings.key(at, "clients say this of themselves"),
            f"privacy {where} rests on `{claim}`, which any client can set or leave out",
            "make the strict way the default, and let the claim only loosen what is harmless; or bind every key to its "
            "project and user",
        )


_BOUND_BY_KEYS = ("project", "user")


# --- actions ----------------------------------------------------------------------------------------------------


def _requirement(
    row: Mapping[str, Any] | None, path: Path, where: str, reader: RuleReader
) -> Requirement | None:
    if row is None:
        return None
    bounds = {
        key: reader.conditions.bounds(key, row[key], (*path, key))
        for key in ("context_window", "quality", "price")
        if key in row
    }
    return Requirement(
        zones=tuple(Zone(zone) for _, zone in _items(row, "zone", path)),
        providers=tuple(
            reader.names.read_provider(name, at, where) for at, name in _items(row, "provider", path)
        ),
        models=tuple(
            found.canonical
            for at, name in _items(row, "model", path)
            if (found := reader.names.read(name, at, where)) is not None
        ),
        capabilities=tuple(Capability(name) for _, name in _items(row, "capability", path)),
        **bounds,
    )


def _items(row: Mapping[str, Any], key: str, path: Path) -> list[tuple[Path, str]]:
    """One value, or a list of them, each with its path."""
    value = row.get(key, ())
    if isinstance(value, str):
        return [((*path, key), value)]
    return [((*path, key, index), item) for index, item in enumerate(value)]


def _prefer(entries: Sequence[str], path: Path, where: str, reader: RuleReader) -> tuple[str, ...]:
    found = (
        reader.names.read(entry, (*path, index), where, provider_too=True)
        for index, entry in enumerate(entries)
    )
    return tuple(meaning.canonical for meaning in found if meaning is not None)


def _weights(row: Mapping[str, float], path: Path, where: str, reader: RuleReader) -> dict[str, float]:
    weights: dict[str, float] = {}
    for name, weight in row.items():
        meaning = reader.names.read(name, (*path, name), where, provider_too=True)
        if meaning is not None:
            weights[meaning.canonical] = float(weight)
    if row and not any(row.values()):
        reader.findings.error(
            "LP105", path, f"the weights of {where} add up to 0", "give one of them a weight"
        )
    return weights


def _mask(value: str | Sequence[str], path: Path, where: str, reader: RuleReader) -> tuple[str, ...]:
    """Kinds to be masked; LP303 for those that keep nobody from seeing a request, so that they are never masked."""
    before = len(reader.findings.problems)
    kinds = read_kinds(value, path, reader.privacy, reader.findings)
    if len(reader.findings.problems) > before:
        return kinds
    labelled = [name for rule in reader.privacy.detect for name in rule.kinds]
    for index, kind in enumerate(kinds):
        if not any(overlap(kind, name) for name in labelled):
            reader.findings.warning(
                "LP303",
                path if isinstance(value, str) else (*path, index),
                f"{where} masks `{kind}`, but finding it gives a request no label, so that it is never masked",
                f"add it to `privacy.detect`: `- {{kinds: [{kind}], label: …}}`",
            )
    return kinds


def _overrides(row: Mapping[str, Any], path: Path, findings: Findings) -> Overrides:
    values = dict(row)
    if "max_tokens" in values:
        try:
            values["max_tokens"] = parse_count(values["max_tokens"])
        except ValueError as error:
            findings.error("LP105", (*path, "max_tokens"), str(error))
    if "seed" in values:
        values["seed"] = int(values["seed"])
    return Overrides(**values)


# --- across both files ------------------------------------------------------------------------------------------


def warn_of_missing_prices(
    rules: Sequence[Rule],
    budgets: Iterable[Budget],
    deployments: Sequence[Deployment],
    unpriced: frozenset[str],
    findings: Findings,
) -> None:
    """LP501 for deployments without a price while a rule or a budget goes by it. ``unpriced``: names whose price is left
    open on purpose. ``findings`` are those of providers.yaml."""
    needed = _price_needed(rules, budgets)
    if needed is None:
        return
    why, used_by = needed
    for deployment in deployments:
        provider = deployment.provider
        if deployment.price is not None or not provider.enabled or not provider.configured:
            continue
        if provider.zone is Zone.LOCAL or provider.discover or deployment.name in unpriced:
            continue
        model = deployment.name.removeprefix(f"{provider.name}/")
        findings.warning(
            "LP501",
            place_span(deployment.place, len(model), "no price is known"),
            f"`{deployment.name}` has no price, but {why}",
            "add `price: {input: USD, output: USD}` (per million tokens), or `price: unknown` to leave it last",
            secondary=used_by,
        )


def _price_needed(rules: Sequence[Rule], budgets: Iterable[Budget]) -> tuple[str, tuple[Span, ...]] | None:
    """Who goes by prices, and where that is written; who drops deployments without one before who only ranks them."""
    budget = next((budget for budget in budgets if budget.nanos is not None), None)
    if budget is not None:
        return f"budget `{budget.name}` refuses what it cannot count", ()
    for uses, message, label in (
        (lambda r: r.max_cost_nanos is not None, "bounds the cost", "this rule bounds the cost"),
        (lambda r: r.rank_by is RankBy.PRICE, "ranks by price", "this rule ranks by price"),
    ):
        rule = next(filter(uses, rules), None)
        if rule is not None:
            return f"rule `{rule.name}` {message}", (place_span(rule.place, len(rule.name), label),)
    return None
