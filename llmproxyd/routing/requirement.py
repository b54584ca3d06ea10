"""What a candidate must be, or must not be: ``require`` and ``exclude`` worked out for every deployment at load.

Unknown facts: a price or a window nobody knows is in no range; an unknown quality is 0.5; unknown capabilities rule
nothing out, so they satisfy ``require`` and escape ``exclude``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from llmproxyd.routing.match import within_range
from llmproxyd.values.cost import FREE, NANOS_PER_USD, Price
from llmproxyd.values.plan import Verdict
from llmproxyd.values.snapshot import Deployment, Range, Requirement, Rule, Stage, Zone

UNKNOWN_QUALITY = 0.5

_Check = Callable[[Deployment, str | None], bool]


class Gate(msgspec.Struct, frozen=True):
    """Who passes one ``require`` or ``exclude``: places of deployments in the snapshot's order.

    ``by_task`` holds the tasks for which some deployment states a quality of its own, ``otherwise`` all other tasks.
    ``explicit`` is for requests that name one deployment, None where they are judged like all others.
    ``verdict`` is what those who fail are told.
    """

    by_task: Mapping[str, frozenset[int]]
    otherwise: frozenset[int]
    explicit: frozenset[int] | None
    verdict: Verdict

    def passing(self, task: str | None, *, explicit: bool) -> frozenset[int]:
        """The places of those who pass, for this task."""
        if explicit and self.explicit is not None:
            return self.explicit
        return self.by_task.get(task, self.otherwise) if task is not None else self.otherwise


def price_of(deployment: Deployment) -> Price | None:
    """The price to rank and judge by; nobody is paid for a local deployment without one. None: unknown."""
    if deployment.price is None and deployment.provider.zone is Zone.LOCAL:
        return FREE
    return deployment.price


def quality_of(deployment: Deployment, task: str | None) -> float:
    """The operator's judgement for this task, else the one for all tasks, else 0.5."""
    quality = deployment.quality
    if task is not None and task in quality:
        return quality[task]
    return quality.get("default", UNKNOWN_QUALITY)


def blended_usd(deployment: Deployment) -> float | None:
    """USD per million tokens, three parts input to one part output; None if the price is unknown."""
    price = price_of(deployment)
    return None if price is None else (3 * price.input + price.output) / 4 / NANOS_PER_USD


def named_by(deployment: Deployment) -> tuple[str, str, str]:
    """What an entry may call a deployment, most specific first: ``provider/model``, the plain model, the provider."""
    return deployment.name, deployment.model, deployment.provider.name


def compile_gates(rule: Rule, deployments: Sequence[Deployment], tasks: Iterable[str]) -> tuple[Gate, ...]:
    """The gates of one rule, ``require`` first. ``tasks``: every task some deployment states a quality for."""
    gates = []
    if rule.require is not None:
        gates.append(_gate(rule, rule.require, deployments, tasks, wanted=True))
    if rule.exclude is not None:
        gates.append(_gate(rule, rule.exclude, deployments, tasks, wanted=False))
    return tuple(gates)


def _gate(
    rule: Rule,
    requirement: Requirement,
    deployments: Sequence[Deployment],
    tasks: Iterable[str],
    *,
    wanted: bool,
) -> Gate:
    def passing(requirement: Requirement, task: str | None) -> frozenset[int]:
        check = _check(requirement, unknown_capabilities=wanted)
        return frozenset(i for i, d in enumerate(deployments) if check(d, task) is wanted)

    word = "requires" if wanted else "excludes"
    explicit: frozenset[int] | None = None
    if requirement.quality is not None and rule.stage is not Stage.PRIVACY:
        # Outside the fence, quality is a preference: it never stands between a caller and the deployment they named.
        everybody = frozenset(range(len(deployments)))
        explicit = passing(replace(requirement, quality=None), None) if wanted else everybody
    return Gate(
        by_task={task: passing(requirement, task) for task in tasks} if requirement.quality else {},
        otherwise=passing(requirement, None),
        explicit=explicit,
        verdict=Verdict(
            rule.stage, rule.name, f"rule `{rule.name}` {word} {describe(requirement)}", dropped=True
        ),
    )


def _check(requirement: Requirement, *, unknown_capabilities: bool) -> _Check:
    zones, providers = frozenset(requirement.zones), frozenset(requirement.providers)
    models, capabilities = frozenset(requirement.models), frozenset(requirement.capabilities)
    window, quality, price = (
        within_range(r) if r else None
        for r in (requirement.context_window, requirement.quality, requirement.price)
    )

    def check(deployment: Deployment, task: str | None) -> bool:
        has = deployment.capabilities
        return (
            (not zones or deployment.provider.zone in zones)
            and (not providers or deployment.provider.name in providers)
            and (not models or not models.isdisjoint((deployment.name, deployment.model)))
            and (
                not capabilities
                or (unknown_capabilities if has is None else not capabilities.isdisjoint(has))
            )
            and (window is None or window(deployment.context_window))
            and (quality is None or quality(quality_of(deployment, task)))
            and (price is None or price(blended_usd(deployment)))
        )

    return check


def describe(requirement: Requirement) -> str:
    """In words for people: ``zone local, quality >= 0.5``."""
    lists: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("zone", requirement.zones),
        ("provider", requirement.providers),
        ("model", requirement.models),
        ("capability", requirement.capabilities),
    )
    ranges = (
        ("context window", requirement.context_window),
        ("quality", requirement.quality),
        ("price", requirement.price),
    )
    words = [f"{name} {' or '.join(values)}" for name, values in lists if values]
    words += [f"{name} {_describe_range(r)}" for name, r in ranges if r is not None]
    return ", ".join(words)


def _describe_range(bounds: Range) -> str:
    signs = ((">", bounds.gt), (">=", bounds.gte), ("<", bounds.lt), ("<=", bounds.lte))
    return " and ".join(f"{sign} {number:g}" for sign, number in signs if number is not None)
