"""``budgets`` and ``tenants.*.budget`` of routing.yaml -> Budgets: for whom, how much, how long, and what then.

A budget for a name nobody has would never count anything, so names of tenants, providers and models are looked up;
projects, users and keys are known only when somebody shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec

from llmproxyd.config.conditions import read_zone
from llmproxyd.config.findings import Findings, did_you_mean, list_names
from llmproxyd.config.names import NameReader
from llmproxyd.config.places import Path
from llmproxyd.config.policy import parse_share_at
from llmproxyd.config.suggest import closest
from llmproxyd.config.units import parse_count, parse_usd_nanos
from llmproxyd.values.budget import DEFAULT_ALERTS, DEFAULT_CEILING_FROM, Budget, Per, Scope, Then

EACH: Final = "each"
TENANTS_OWN: Final = "tenant {}"
"""How the budget that stands with a tenant is called."""


def parse_usd_at(findings: Findings, path: Path, value: object) -> int | None:
    """Nano-dollars; None where nothing is written, and after telling a fault (LP105)."""
    return _parse_at(findings, path, value, parse_usd_nanos)


def build_tenant_budget(name: str, row: Mapping[str, Any], findings: Findings) -> Budget | None:
    """The ``budget`` of tenant ``name``, whose row this is; None: it has none."""
    if "budget" not in row:
        return None
    path: Path = ("tenants", name, "budget")
    return _build(TENANTS_OWN.format(name), Scope.TENANT, name, row["budget"], path, findings)


class BudgetReader(msgspec.Struct, frozen=True):
    """What the list of budgets is read with. ``tenants``: the names that are declared."""

    findings: Findings
    names: NameReader
    tenants: Collection[str]

    def read(self, document: Mapping[str, Any]) -> tuple[Budget, ...]:
        """All budgets of the list, in its order."""
        seen: dict[str, Path] = {
            TENANTS_OWN.format(t): ("tenants", t, "budget") for t in self._with_budget(document)
        }
        budgets: list[Budget] = []
        for index, row in enumerate(document.get("budgets") or ()):
            path: Path = ("budgets", index)
            self._check_name(row["name"], path, seen)
            scope, only = self._scope(row.get("scope", Scope.OVERALL), (*path, "scope"), row["name"])
            budgets.append(_build(row["name"], scope, only, row, path, self.findings))
        return tuple(budgets)

    def _with_budget(self, document: Mapping[str, Any]) -> list[str]:
        return [name for name, row in (document.get("tenants") or {}).items() if "budget" in row]

    def _check_name(self, name: str, path: Path, seen: dict[str, Path]) -> None:
        at = (*path, "name")
        if name in seen:
            first = self.findings.value(seen[name], "first budget of this name")
            message = f"two budgets are called `{name}`"
            self.findings.error(
                "LP205", at, message, "rename one of them", label="again here", secondary=(first,)
            )
        seen.setdefault(name, at)

    def _scope(self, value: Any, path: Path, budget: str) -> tuple[Scope, str | None]:
        """``overall``, or one scope and a name in it; None: each name."""
        if isinstance(value, str):
            return Scope(value), None
        [(word, name)] = value.items()
        if name == EACH:
            return Scope(word), None
        return Scope(word), self._check_only(Scope(word), name, (*path, word), f"budget `{budget}`")

    def _check_only(self, scope: Scope, name: str, path: Path, where: str) -> str:
        if scope is Scope.TENANT and name not in self.tenants:
            self.findings.error(
                "LP209",
                path,
                f"unknown tenant `{name}`",
                did_you_mean(closest(name, self.tenants)),
                f"declared tenants: {list_names(self.tenants)}",
                label="not among `tenants`",
            )
        if scope is Scope.PROVIDER:
            self.names.read_provider(name, path, where)
        return self._plain_model(name, path, where) if scope is Scope.MODEL else name

    def _plain_model(self, name: str, path: Path, where: str) -> str:
        """The one spelling of a plain id: what is spent is summed by that, whoever serves the model."""
        meaning = self.names.read(name, path, where)
        if meaning is None:
            return name
        if meaning.canonical in self.names.index.explicit:
            plain = self.names.index.explicit[meaning.canonical].model
            self.findings.error(
                "LP105",
                path,
                "a budget counts a model whoever serves it, so its name stands without a provider",
                f"write `{plain}`, or a budget for the provider",
                label="a model at one provider",
            )
            return plain
        return meaning.canonical


def _build(
    name: str, scope: Scope, only: str | None, row: Mapping[str, Any], path: Path, findings: Findings
) -> Budget:
    _check_company(name, row, path, findings)
    return Budget(
        name=name,
        scope=scope,
        only=only,
        nanos=parse_usd_at(findings, (*path, "usd"), row.get("usd")),
        tokens=_parse_at(findings, (*path, "tokens"), row.get("tokens"), parse_count),
        per=Per(row["per"]),
        zone=read_zone(row.get("zone", "UTC"), (*path, "zone"), findings),
        alert_at=_read_alerts(row, (*path, "alert_at"), findings),
        then=Then(row.get("then", Then.REJECT)),
        ceiling=parse_usd_at(findings, (*path, "ceiling"), row.get("ceiling")),
        ceiling_from=_share(findings, (*path, "ceiling_from"), row.get("ceiling_from"), DEFAULT_CEILING_FROM),
    )


def _check_company(name: str, row: Mapping[str, Any], path: Path, findings: Findings) -> None:
    """Keys that need, or only mean something beside, others."""
    if "usd" not in row and "tokens" not in row:
        message = f"budget `{name}` says neither how much money nor how many tokens"
        findings.error("LP103", path, message, "add `usd: 200`, or `tokens: 10_000_000`, or both")
    for key, beside, fits in (
        ("ceiling", "then: downgrade", row.get("then") == Then.DOWNGRADE),
        ("ceiling_from", "ceiling", "ceiling" in row),
    ):
        if key in row and not fits:
            at = findings.key((*path, key), "does nothing here")
            message = f"`{key}` of budget `{name}` works only beside `{beside}`"
            findings.error("LP101", at, message, f"add `{beside}`, or delete it")


def _read_alerts(row: Mapping[str, Any], path: Path, findings: Findings) -> tuple[float, ...]:
    if "alert_at" not in row:
        return DEFAULT_ALERTS
    written, single = row["alert_at"], not isinstance(row["alert_at"], list)
    shares = (
        parse_share_at(findings, path if single else (*path, index), value)
        for index, value in enumerate([written] if single else written)
    )
    return tuple(sorted({share for share in shares if share is not None}))


def _share(findings: Findings, path: Path, value: object, usual: float) -> float:
    share = parse_share_at(findings, path, value)
    return usual if share is None else share


def _parse_at(findings: Findings, path: Path, value: object, parse: Callable[[object], int]) -> int | None:
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        findings.error("LP105", path, str(error))
        return None
