"""The providers document -> Provider and Deployment: presets filled in, facts looked up, models checked.

The document has passed its schema and its references are resolved; everything wrong that is left is told as a problem.
Keys are found by ``keys``; a provider without one is no fault: it is *not configured*, and says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from llmproxyd.config.deployments import DeploymentBuilder
from llmproxyd.config.endpoints import default_zone, is_date, parse_endpoint
from llmproxyd.config.findings import Findings
from llmproxyd.config.keys import KeyReader
from llmproxyd.config.limits import build_limits
from llmproxyd.config.mask import is_secret_name
from llmproxyd.config.places import Path
from llmproxyd.config.policy import parse_duration_at
from llmproxyd.config.presets import PRESETS, Preset
from llmproxyd.config.privacy import tell_unknown_label
from llmproxyd.config.problem import Span
from llmproxyd.config.references import Resolved
from llmproxyd.config.suggest import closest
from llmproxyd.values.contracts import Listed
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Auth, Deployment, Privacy, Probe, Provider, Timeouts, Zone

DEFAULT_PRIORITY: Final = 100
_MIN_INTERVAL_S: Final = 1.0
_MIN_RECOVER_S: Final = 0.1
_DATED_PROBE: Final = Probe("/openai/models")
"""Where Azure's older paths, whose base has no path of its own, list what could be deployed."""
_ANTHROPIC_VERSION: Final = "anthropic-version"
_AUTH_HEADERS: Final[Mapping[Auth, str]] = {
    Auth.BEARER: "authorization",
    Auth.X_API_KEY: "x-api-key",
    Auth.API_KEY: "api-key",
    Auth.X_GOOG_API_KEY: "x-goog-api-key",
}
_OURS: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that belong to the connection, not to the operator."""
_HEALTH_TIMES: Final = (
    ("interval", "health_interval_s", _MIN_INTERVAL_S),
    ("recover_after", "recover_after_s", _MIN_RECOVER_S),
)


class Built(msgspec.Struct, frozen=True):
    """Providers by name, deployments in the order of the file. ``literals``: where credentials stand in the open."""

    providers: Mapping[str, Provider]
    deployments: tuple[Deployment, ...]
    literals: tuple[Span, ...]


def build_providers(
    resolved: Resolved,
    findings: Findings,
    *,
    environ: Mapping[str, str],
    privacy: Privacy,
    discovered: Mapping[str, Sequence[Listed]],
    today: date,
) -> Built:
    """Every provider of the document, and its deployments. Faults go to ``findings``.

    ``today`` (UTC) decides which keys are still used. A faulty provider is built as far as it goes, so that nobody who names it is told that it does not exist.
    """
    keys = KeyReader(resolved, findings, environ, today)
    builder = _ProviderBuilder(findings, environ, privacy, keys)
    models = DeploymentBuilder(findings, today)
    providers: dict[str, Provider] = {}
    deployments: list[Deployment] = []
    for name, row in findings.document.data["providers"].items():
        preset = _find_preset(name, row or {}, findings)
        providers[name] = builder.build(name, row or {}, preset)
        deployments += models.build(providers[name], preset, row or {}, discovered.get(name, ()))
    return Built(providers, tuple(deployments), tuple(keys.literals))


def _find_preset(name: str, row: Mapping[str, Any], findings: Findings) -> Preset:
    preset = PRESETS.get(row.get("preset", name))
    if preset is not None:
        return preset
    near = closest(name, PRESETS)
    at = findings.key(("providers", name), "not a known name")
    helps = [f"add `preset: {near}`, or rename the provider to `{near}`"] if near else []
    if "endpoint" in row:
        helps.append("add `preset: openai-compatible` if the server speaks the OpenAI dialect")
    helps.append(f"presets: {', '.join(sorted(PRESETS))}")
    findings.error("LP207", at, f"provider `{name}` needs a `preset`", *helps)
    return PRESETS["openai-compatible"]


class _ProviderBuilder:
    def __init__(
        self, findings: Findings, environ: Mapping[str, str], privacy: Privacy, keys: KeyReader
    ) -> None:
        self._findings = findings
        self._environ = environ
        self._privacy = privacy
        self._keys = keys

    def build(self, name: str, row: Mapping[str, Any], preset: Preset) -> Provider:
        path: Path = ("providers", name)
        base_url, no_endpoint = self._base_url(path, row, preset)
        zone = Zone(row["zone"]) if "zone" in row else default_zone(base_url)
        keys = self._keys.read(path, row, preset)
        headers = self._headers(path, row, preset)
        needs_no_key = preset.keyless or _AUTH_HEADERS.get(preset.auth) in headers
        missing = [what for what in (no_endpoint, "" if needs_no_key else keys.missing) if what]
        discover = self._discovers(row, preset)
        api_version = self._api_version(path, row, preset)
        return Provider(
            name=name,
            preset=preset.name,
            dialect=preset.dialect,
            base_url=base_url,
            zone=zone,
            clearance=self._clearance(path, row, zone),
            auth=preset.auth,
            secret=keys.credentials[0].secret if keys.credentials else None,
            credentials=keys.credentials,
            headers=headers,
            enabled=row.get("enabled", True),
            configured=not missing,
            reason=" and ".join(missing),
            keyless=preset.keyless,
            discover=discover,
            priority=int(row.get("priority", DEFAULT_PRIORITY)),
            max_retries=row.get("max_retries"),
            timeouts=self._timeouts((*path, "timeouts"), row.get("timeouts", {})),
            limits=build_limits(row.get("limits", {}), (*path, "limits"), self._findings),
            **self._health((*path, "health"), row.get("health", {})),
            cost_tracking=row.get("cost_tracking", True),
            api_version=api_version,
            quirks=preset.quirks,
            probe=_DATED_PROBE if api_version else preset.listing if discover else preset.probe,
            identity=f"{name}|{base_url}|{preset.dialect}",
            place=self._findings.place(path),
        )

    def _base_url(self, path: Path, row: Mapping[str, Any], preset: Preset) -> tuple[str, str]:
        """The base URL, and what to do so that there is one; the URL is empty without one, or after telling a fault."""
        if preset.name == "mock":
            return self._mock_url(path, row, preset)
        variable = next((name for name in preset.endpoint_env if self._environ.get(name)), None)
        written = row.get("endpoint")
        endpoint = written or (self._environ[variable] if variable else preset.endpoint)
        if not endpoint:
            return self._without_endpoint(path, preset)
        try:
            return parse_endpoint(endpoint.strip(), preset, row.get("api_version")), ""
        except ValueError as error:
            if written:
                self._findings.error("LP206", (*path, "endpoint"), str(error))
            else:
                at = self._findings.key(path)
                help_ = f"correct the environment variable, or write `endpoint` for `{path[-1]}`"
                self._findings.error("LP206", at, f"{variable}: {error}", help_)
            return "", ""

    def _mock_url(self, path: Path, row: Mapping[str, Any], preset: Preset) -> tuple[str, str]:
        if "endpoint" in row:
            at = self._findings.key((*path, "endpoint"))
            message = "the built-in `mock` provider has no endpoint"
            self._findings.error("LP206", at, message, "delete the line")
        return preset.endpoint, ""

    def _without_endpoint(self, path: Path, preset: Preset) -> tuple[str, str]:
        if preset.endpoint_env:
            return "", f"set {' or '.join(preset.endpoint_env)} or endpoint"
        help_ = "add `endpoint: http://HOST:PORT`"
        at = self._findings.key(path)
        self._findings.error("LP206", at, f"provider `{path[-1]}` needs an `endpoint`", help_)
        return "", ""

    def _headers(self, path: Path, row: Mapping[str, Any], preset: Preset) -> dict[str, str | Secret]:
        headers: dict[str, str | Secret] = dict(preset.headers)
        if preset.name == "anthropic" and "api_version" in row:
            headers[_ANTHROPIC_VERSION] = row["api_version"]
        seen: dict[str, Path] = {}
        for name, value in row.get("headers", {}).items():
            at = (*path, "headers", name)
            folded = name.lower()
            if folded in _OURS:
                self._findings.error(
                    "LP105", self._findings.key(at), f"header `{name}` cannot be set", "delete it"
                )
            elif folded in seen:
                first = self._findings.key(seen[folded], "first definition")
                self._findings.error(
                    "LP205", self._findings.key(at), f"header `{name}` is set twice", secondary=(first,)
                )
            if is_secret_name(name):
                self._keys.tell_literal(at, f"header `{name}`")
            seen[folded] = at
            headers[folded] = Secret(value)
        return headers

    def _clearance(self, path: Path, row: Mapping[str, Any], zone: Zone) -> int:
        if "clearance" not in row:
            return self._privacy.clearance[zone]
        label = row["clearance"]
        rank = self._privacy.rank(label)
        if rank is not None:
            return rank
        tell_unknown_label(self._findings, (*path, "clearance"), label, self._privacy)
        return 0

    def _discovers(self, row: Mapping[str, Any], preset: Preset) -> bool:
        """A server of one's own that is given no list is asked for it."""
        models = row.get("models")
        if models is None:
            return preset.keyless and preset.listing is not None
        return models == "discover" and preset.listing is not None

    def _api_version(self, path: Path, row: Mapping[str, Any], preset: Preset) -> str | None:
        version: str | None = row.get("api_version")
        if version is not None and not preset.versioned:
            at = self._findings.key((*path, "api_version"))
            message = f"`api_version` means nothing to preset `{preset.name}`"
            self._findings.warning("LP303", at, message, "delete the line")
        return version if preset.name == "azure" and is_date(version) else None

    def _timeouts(self, path: Path, row: Mapping[str, Any]) -> Timeouts:
        written = {
            f"{name}_s": self._duration((*path, name), value, what=f"timeout `{name}`")
            for name, value in row.items()
        }
        return replace(Timeouts(), **written)

    def _health(self, path: Path, row: Mapping[str, Any]) -> dict[str, Any]:
        """The provider's fields about its health that are written."""
        written: dict[str, Any] = {}
        for key, field_, least_s in _HEALTH_TIMES:
            if key in row:
                what = f"health `{key}`"
                written[field_] = self._duration((*path, key), row[key], what=what, at_least_s=least_s)
        if "unhealthy_after" in row:
            written["unhealthy_after"] = int(row["unhealthy_after"])
        return written

    def _duration(self, path: Path, value: object, *, what: str, at_least_s: float = 0.001) -> float:
        return parse_duration_at(self._findings, path, value, what=what, at_least_s=at_least_s)
