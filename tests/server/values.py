"""Small values that the tests of metrics and admin documents share."""

from __future__ import annotations

from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.in_force import Generation, InForce, ReloadVerdict, Result
from llmproxyd.routing.compile import compile_routes
from llmproxyd.state.report import DeploymentReport, ProviderReport
from llmproxyd.values.cost import FREE
from llmproxyd.values.request import Dialect
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Deployment, Provider, Snapshot, Zone

CANARY = "sk-canary-4711"
AT_S = 1_767_225_600.25  # 2026-01-01T00:00:00.250Z
BAD_NAME = Problem("LP201", Severity.ERROR, "unknown provider `opnai`", Span("routing.yaml", 11, 18, 23))
BAD_KEY = Problem("LP101", Severity.ERROR, "unknown key `timout`", Span("providers.yaml", 9, 5, 11))


def provider(name: str, **changes: object) -> Provider:
    fields: dict[str, object] = {
        "preset": name,
        "dialect": Dialect.OPENAI_CHAT,
        "base_url": f"https://{name}.example/v1",
        "zone": Zone.EXTERNAL,
        "clearance": 1,
        "secret": Secret(CANARY),
        "identity": name,
    }
    return Provider(name=name, **{**fields, **changes})  # type: ignore[arg-type]


def deployment(owner: Provider, model: str) -> Deployment:
    return Deployment(f"{owner.name}/{model}", owner, model, model, price=FREE, key=f"{owner.name}|{model}")


def snapshot(*deployments: Deployment, more: tuple[Provider, ...] = (), hash_: str = "abc123") -> Snapshot:
    providers = {d.provider.name: d.provider for d in deployments} | {p.name: p for p in more}
    return Snapshot(hash=hash_, providers=providers, deployments=deployments, names={}, rules=())


def deployment_report(name: str, **changes: object) -> DeploymentReport:
    """One that was never called."""
    fields: dict[str, object] = {
        "model": name.partition("/")[2],
        "breaker": "closed",
        "cause": "",
        "help": "",
        "ready_in_s": 0.0,
        "share": 1.0,
        **dict.fromkeys(("in_flight", "requests", "successes", "failures", "consecutive_failures"), 0),
        **dict.fromkeys(("success_rate", "mean_first_content_s", "mean_total_s")),
        **dict.fromkeys(("last_checked_s", "last_success_s", "last_failure_s")),
    }
    return DeploymentReport(name=name, **{**fields, **changes})  # type: ignore[arg-type]


def provider_report(name: str, **changes: object) -> ProviderReport:
    """One that answers and was never called."""
    fields: dict[str, object] = {
        "preset": name,
        "zone": "external",
        "state": "available",
        "reason": "",
        **dict.fromkeys(("requests", "successes", "failures"), 0),
        **dict.fromkeys(("success_rate", "mean_response_s", "last_success_s", "last_failure_s")),
        "models": (),
    }
    return ProviderReport(name=name, **{**fields, **changes})  # type: ignore[arg-type]


def verdict(result: Result, generation: int, *problems: Problem, trigger: str = "watch") -> ReloadVerdict:
    return ReloadVerdict(result, generation, f"t{generation}", trigger, 0.0312, problems, AT_S)


def in_force(current: Snapshot, *verdicts: ReloadVerdict, number: int = 1) -> InForce:
    """As the reloader leaves it after ``verdicts``; without any, after the first load."""
    force = InForce()
    force.swap(Generation(number, current, compile_routes(current), AT_S, current.hash))
    for entry in verdicts or (verdict("applied", 1, trigger="start"),):
        force.record(entry)
    return force
