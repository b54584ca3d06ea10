"""The models of one provider, written or discovered -> Deployments: facts of the catalogue, overridden by the file.

Unknown stays unknown: a deployment without a capability list is asked for everything, one without a price sorts last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final

from llmproxyd.config.catalogue import Facts, catalogue_date, facts, plain_id
from llmproxyd.config.findings import Findings
from llmproxyd.config.places import Path, look_up
from llmproxyd.config.presets import Preset
from llmproxyd.config.prices import listed_price
from llmproxyd.config.prices_written import find_faults, parse_written
from llmproxyd.config.units import parse_count, parse_duration_s, parse_share
from llmproxyd.values.contracts import Listed
from llmproxyd.values.cost import FREE, Dated, PriceList
from llmproxyd.values.request import Capability, Operation
from llmproxyd.values.snapshot import Deployment, Mock, Place, Provider, Zone

MAX_DISCOVERED: Final = 5000
_DEFAULT_FAIL_STATUS: Final = 500
_EMBEDS: Final = re.compile(r"(?:^|[^a-z])(?:text-)?embed", re.IGNORECASE)
_NO_TEXT: Final = re.compile(
    r"(?:^|[-_/.])(?:tts|whisper|dall-e|image|imagen|veo|sora|transcribe|realtime|moderation|rerank|live)(?:$|[-_/.\d])",
    re.IGNORECASE,
)
"""Services list models that draw, speak or judge beside those that write; only the name tells them apart."""


class DeploymentBuilder:
    """Builds the deployments of one provider after the other; faults go to ``findings``. ``today`` (UTC): the day whose
    prices are in force."""

    def __init__(self, findings: Findings, today: date) -> None:
        self._findings = findings
        self._now_s = datetime.combine(today, time(), UTC).timestamp()

    def build(
        self, provider: Provider, preset: Preset, row: Mapping[str, Any], listed: Sequence[Listed]
    ) -> list[Deployment]:
        """What the file lists; or what the server listed, for a provider that discovers its models."""
        path: Path = ("providers", provider.name, "models")
        models = row.get("models")
        if provider.discover:
            return self._discovered(provider, preset, listed, self._findings.place(path))
        if models == "discover":
            help_ = "write the models out: `models: [...]`"
            message = f"preset `{preset.name}` has no list of models to discover"
            self._findings.error("LP104", path, message, help_)
            return []
        if not models:
            at = self._findings.key(path)
            help_ = "add `models: [...]`, or `enabled: false`"
            self._findings.warning("LP303", at, f"provider `{provider.name}` lists no models", help_)
            return []
        return self._written(provider, preset, models, path)

    def _discovered(
        self, provider: Provider, preset: Preset, listed: Sequence[Listed], place: Place
    ) -> list[Deployment]:
        by_id = {model.id: model for model in listed[:MAX_DISCOVERED] if model.id}
        return [
            _deployment(provider, preset, {"id": model.id}, place, now_s=self._now_s, listed=model)
            for model in sorted(by_id.values(), key=lambda model: model.id)
            if not _NO_TEXT.search(model.id)
        ]

    def _written(
        self, provider: Provider, preset: Preset, models: Sequence[Any], path: Path
    ) -> list[Deployment]:
        deployments: dict[str, Deployment] = {}
        places: dict[str, Path] = {}
        for index, written in enumerate(models):
            row = {"id": written} if isinstance(written, str) else written
            at, model = (*path, index), row["id"]
            if model in deployments:
                self._tell_twice(provider, model, at, places[model])
                continue
            if not self._is_sound(row, at, provider):
                # Kept by name, so that nobody who names it is told that it does not exist.
                row = {"id": model}
            places[model] = at
            name_at = at if isinstance(written, str) else (*at, "id")
            place = self._findings.place_of_value(name_at)
            deployments[model] = _deployment(provider, preset, row, place, now_s=self._now_s)
        return list(deployments.values())

    def _tell_twice(self, provider: Provider, model: str, at: Path, first: Path) -> None:
        self._findings.error(
            "LP205",
            at,
            f"provider `{provider.name}` lists model `{model}` twice",
            "delete one of the two, or give one another `id` and the same `upstream`",
            label="again here",
            secondary=(self._findings.value(first, "first listed here"),),
        )

    def _is_sound(self, row: Mapping[str, Any], at: Path, provider: Provider) -> bool:
        before = len(self._findings.problems)
        if "mock" in row and not provider.is_mock:
            key = self._findings.key((*at, "mock"))
            message = "`mock` works only for models of the built-in `mock` provider"
            self._findings.error("LP101", key, message, "delete it")
        for path, parse in _QUANTITIES:
            value = look_up(path, row)
            if value is None:
                continue
            try:
                parse(value)
            except ValueError as error:
                self._findings.error("LP105", (*at, *path), str(error))
        if isinstance(row.get("price"), (dict, list)):
            for path, text in find_faults(row["price"]):
                self._findings.error("LP105", (*at, "price", *path), text)
        return len(self._findings.problems) == before


_QUANTITIES: Final[tuple[tuple[Path, Callable[[object], object]], ...]] = (
    (("context_window",), parse_count),
    (("max_output_tokens",), parse_count),
    (("mock", "first_token"), parse_duration_s),
    (("mock", "fail", "rate"), parse_share),
)
"""What the schema lets through may still be too large or too fine."""


def _deployment(
    provider: Provider,
    preset: Preset,
    row: Mapping[str, Any],
    place: Place,
    *,
    now_s: float,
    listed: Listed | None = None,
) -> Deployment:
    model: str = row["id"]
    upstream: str = row.get("upstream", model)
    known = facts(model, preset.name) or Facts(model)
    prices = _prices(row, provider, preset, known)
    capabilities = _capabilities(row, listed, known)
    return Deployment(
        name=f"{provider.name}/{model}",
        provider=provider,
        model=plain_id(model, preset.name),
        upstream=upstream,
        operations=_operations(model, preset, capabilities, listed),
        capabilities=capabilities,
        context_window=_count(
            row, "context_window", listed.context_window if listed else None, known.context_window
        ),
        max_output_tokens=_count(row, "max_output_tokens", None, known.max_output_tokens),
        price=None if prices is None else prices.at(now_s),
        prices=prices,
        quality=_quality(row.get("quality")),
        retires=known.retires,
        mock=_mock(row.get("mock", {})) if provider.is_mock else None,
        key=f"{provider.name}|{provider.base_url}|{provider.dialect}|{upstream}",
        place=place,
    )


def _capabilities(
    row: Mapping[str, Any], listed: Listed | None, known: Facts
) -> frozenset[Capability] | None:
    if "capabilities" in row:
        return frozenset(Capability(name) for name in row["capabilities"])
    if listed is not None and listed.capabilities is not None:
        return frozenset(Capability(name) for name in listed.capabilities if name in set(Capability))
    return known.capabilities


def _operations(
    model: str, preset: Preset, capabilities: Iterable[Capability] | None, listed: Listed | None
) -> frozenset[Operation]:
    """A model for embeddings does nothing else, and only such a model does that; `mock` does all. Whoever answers is
    asked to count too: where the provider has no counter, an estimate for its model is what there is."""
    if preset.name == "mock":
        return _with_counting(preset.operations)
    embeds = listed is not None and listed.embeds
    if capabilities is not None:
        embeds = embeds or Capability.EMBEDDINGS in capabilities
    else:
        embeds = embeds or _EMBEDS.search(model) is not None
    if embeds:
        return preset.operations & {Operation.EMBEDDING}
    return _with_counting(preset.operations - {Operation.EMBEDDING})


def _with_counting(operations: frozenset[Operation]) -> frozenset[Operation]:
    return operations | {Operation.COUNT_TOKENS} if Operation.CHAT in operations else operations


def _count(row: Mapping[str, Any], key: str, listed: int | None, known: int | None) -> int | None:
    if key in row:
        return parse_count(row[key])
    return known if listed is None else listed


def _prices(row: Mapping[str, Any], provider: Provider, preset: Preset, known: Facts) -> PriceList | None:
    """The operator's own, else what the provider is known to take, else what the catalogue says of the model."""
    written = row.get("price")
    if isinstance(written, (dict, list)):
        return parse_written(written)
    if written == "free" or (written is None and provider.zone is Zone.LOCAL):
        return PriceList((Dated(FREE),), "free")
    if written == "unknown":
        return None
    listing = listed_price(preset, provider.base_url, row["id"], row.get("upstream", row["id"]))
    if listing is not None and listing.prices is not None:
        return listing.prices
    return None if known.price is None else PriceList((Dated(known.price),), f"catalogue {catalogue_date()}")


def _quality(written: float | Mapping[str, float] | None) -> dict[str, float]:
    if written is None:
        return {}
    if isinstance(written, Mapping):
        return {task: float(quality) for task, quality in written.items()}
    return {"default": float(written)}


def _mock(row: Mapping[str, Any]) -> Mock:
    fail = row.get("fail", {})
    return Mock(
        first_token_s=parse_duration_s(row.get("first_token", 0)),
        tokens_per_second=float(row.get("tokens_per_second", 0)),
        fail_status=fail.get("status", _DEFAULT_FAIL_STATUS),
        fail_share=parse_share(fail.get("rate", 0)),
    )
