"""Small snapshots for the tests of routing and state: everything has a default, a test says only what it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmproxyd.routing.compile import compile_routes
from llmproxyd.routing.decide import decide
from llmproxyd.values.cost import NANOS_PER_USD, Price
from llmproxyd.values.plan import Plan, Question, Readings
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import (
    Deployment,
    Provider,
    Rule,
    Snapshot,
    Stage,
    Target,
    TargetKind,
    Zone,
)

CLEARANCE = {Zone.EXTERNAL: 1, Zone.PRIVATE: 2, Zone.LOCAL: 3}


def provider(name: str = "openai", zone: Zone = Zone.EXTERNAL, **changes: Any) -> Provider:
    given: dict[str, Any] = {
        "preset": name,
        "dialect": Dialect.OPENAI_CHAT,
        "base_url": f"http://{name}.example/v1",
        "clearance": CLEARANCE[zone],
        "identity": f"{name}|http://{name}.example/v1",
    }
    return Provider(name=name, zone=zone, **(given | changes))


def deployment(name: str, by: Provider | None = None, **changes: Any) -> Deployment:
    """``name`` is ``provider/model``; the provider is an external one of that name unless ``by`` is given."""
    owner, _, model = name.partition("/")
    given: dict[str, Any] = {"model": model, "upstream": model, "key": f"{name}|key"}
    return Deployment(name=name, provider=by or provider(owner), **(given | changes))


def usd(input_usd: float, output_usd: float = 0.0) -> Price:
    """USD per million tokens."""
    return Price(round(input_usd * NANOS_PER_USD), round(output_usd * NANOS_PER_USD))


def target(name: str, kind: TargetKind, *deployments: Deployment, weights: Sequence[float] = ()) -> Target:
    return Target(name, kind, deployments, tuple(weights))


def snapshot(
    *deployments: Deployment,
    targets: Sequence[Target] = (),
    rules: Sequence[Rule] = (),
    providers: Mapping[str, Provider] | None = None,
    **changes: Any,
) -> Snapshot:
    """A snapshot of these deployments; the name ``auto`` is any of them unless a target says otherwise."""
    auto = Target("auto", TargetKind.ANY, deployments)
    return Snapshot(
        hash="test",
        providers=providers or {d.provider.name: d.provider for d in deployments},
        deployments=deployments,
        names={"auto": auto} | {t.name: t for t in targets},
        rules=tuple(rules),
        **changes,
    )


def privacy(name: str = "fence", **what: Any) -> Rule:
    return Rule(name=name, stage=Stage.PRIVACY, **what)


def cost(name: str = "thrift", **what: Any) -> Rule:
    return Rule(name=name, stage=Stage.COST, **what)


def performance(name: str = "speed", **what: Any) -> Rule:
    return Rule(name=name, stage=Stage.PERFORMANCE, **what)


def ask(given: Snapshot, model: str = "auto", readings: Readings | None = None, **facts: Any) -> Plan:
    """Decide one question against a snapshot."""
    return decide(Question(model=model, **facts), compile_routes(given), readings or Readings())


def order(plan: Plan) -> list[str]:
    """The names of the candidates, in the order they will be tried."""
    return [c.deployment.name for c in plan.candidates]


def reasons(plan: Plan) -> dict[str, str]:
    """Why each dropped deployment was dropped."""
    return {c.deployment.name: v.reason for c in plan.dropped for v in c.verdicts if v.dropped}
