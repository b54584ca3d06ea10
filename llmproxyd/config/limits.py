"""``limits`` of a provider or a tenant -> Limits, and whether what they allow is of any use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmproxyd.config.findings import Findings
from llmproxyd.config.places import Path
from llmproxyd.config.units import parse_count
from llmproxyd.values.snapshot import Deployment, Limits


def build_limits(row: Mapping[str, Any], path: Path, findings: Findings) -> Limits:
    """What is written at ``path``; what is left out is not limited. Numbers too large are told (LP105)."""
    written: dict[str, int] = {}
    for key, value in row.items():
        try:
            written[key] = parse_count(value)
        except ValueError as error:
            findings.error("LP105", (*path, key), str(error))
    return Limits(**written)


def warn_of_narrow_limits(deployments: Iterable[Deployment], findings: Findings) -> None:
    """LP304, once for each provider: a model takes more tokens in one request than its provider allows in a minute."""
    widest: dict[str, Deployment] = {}
    for deployment in deployments:
        provider = deployment.provider
        if provider.enabled and provider.limits.tokens_per_minute is not None:
            known = widest.setdefault(provider.name, deployment)
            if (deployment.context_window or 0) > (known.context_window or 0):
                widest[provider.name] = deployment
    for name, deployment in widest.items():
        allowed, window = deployment.provider.limits.tokens_per_minute, deployment.context_window
        if allowed is None or window is None or window <= allowed:
            continue
        findings.warning(
            "LP304",
            ("providers", name, "limits", "tokens_per_minute"),
            f"a request that fills `{deployment.name}` could never pass",
            f"write a smaller `context_window` for the model (at most {allowed}), or raise the limit",
            label=f"one request may have {window} tokens",
        )
