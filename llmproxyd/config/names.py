"""What names in routing.yaml mean: providers, deployments, plain models; and the table of names clients may ask for.

An entry is ``provider/model`` if that provider exists, else a plain model id, under any spelling the catalogue knows.
Providers that discover their models may get any model later: an entry for one is left out until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from llmproxyd.config.catalogue import plain_id
from llmproxyd.config.findings import Findings, did_you_mean, list_names
from llmproxyd.config.places import Path
from llmproxyd.config.problem import Span
from llmproxyd.config.suggest import closest
from llmproxyd.values.snapshot import Deployment, Place, Provider, Target, TargetKind

_ANY: Final = "any"
_LATEST: Final = ":latest"


class Meaning(msgspec.Struct, frozen=True):
    """``canonical``: the one spelling that rules compare with. ``deployments`` empty: not there, or not there yet."""

    canonical: str
    deployments: tuple[Deployment, ...]


class Index:
    """All deployments by every name they go by."""

    def __init__(self, providers: Mapping[str, Provider], deployments: Iterable[Deployment]) -> None:
        self.providers = providers
        self.deployments = tuple(deployments)
        self.explicit: dict[str, Deployment] = {}
        self.plain: dict[str, tuple[Deployment, ...]] = {}
        self._spellings: dict[str, Deployment] = {}
        self._written: dict[str, str] = {}
        for deployment in self.deployments:
            self.explicit[deployment.name] = deployment
            self.plain[deployment.model] = (*self.plain.get(deployment.model, ()), deployment)
            self._written.setdefault(_written_id(deployment), deployment.model)
        for deployment in self.deployments:
            for spelling in _other_spellings(deployment):
                self._spellings.setdefault(spelling, deployment)

    def find(self, entry: str) -> Meaning | None:
        """What ``entry`` means; None if nothing by that name exists or can be discovered."""
        provider_name, slash, model = entry.partition("/")
        provider = self.providers.get(provider_name) if slash else None
        if provider is not None:
            return self._find_explicit(entry, provider, model)
        for model_id in (entry, self._written.get(entry), None if slash else plain_id(entry, "")):
            if model_id in self.plain:
                return Meaning(model_id, self.plain[model_id])
        return None

    def may_appear(self, entry: str) -> bool:
        """Whether a server may yet list a model of this plain id."""
        return "/" not in entry and any(provider.discover for provider in self.providers.values())

    def _find_explicit(self, entry: str, provider: Provider, model: str) -> Meaning | None:
        found = self.explicit.get(entry) or self._spellings.get(entry)
        found = found or self._spellings.get(f"{provider.name}/{plain_id(model, provider.preset)}")
        if found is not None:
            return Meaning(found.name, (found,))
        return Meaning(entry, ()) if provider.discover else None


def _other_spellings(deployment: Deployment) -> Iterable[str]:
    provider = deployment.provider
    yield f"{provider.name}/{deployment.model}"
    if provider.preset == "ollama":
        yield f"{provider.name}/{deployment.upstream.removesuffix(_LATEST)}{_LATEST}"


class NameReader:
    """Reads the entries of one routing document; ``declared`` tells where providers.yaml wrote something."""

    def __init__(self, index: Index, findings: Findings, declared: Findings) -> None:
        self.index = index
        self._findings = findings
        self._declared = declared

    def read(self, entry: str, path: Path, where: str, *, provider_too: bool = False) -> Meaning | None:
        """The meaning of the text at ``path``; None after telling that it has none. ``where``: who names it."""
        if provider_too and entry in self.index.providers:
            return Meaning(entry, ())
        meaning = self.index.find(entry)
        if meaning is not None:
            return meaning
        if self.index.may_appear(entry):
            self._warn_of_slip(entry, path, where, provider_too=provider_too)
            return Meaning(entry, ())
        self._tell_unknown(entry, path, where, provider_too=provider_too)
        return None

    def read_provider(self, name: str, path: Path, where: str) -> str:
        """``name``, told if no provider has it."""
        if name not in self.index.providers:
            self._tell_unknown_provider(name, path, self._findings.value(path), where)
        return name

    def _tell_unknown(self, entry: str, path: Path, where: str, *, provider_too: bool) -> None:
        provider_name, slash, model = entry.partition("/")
        if slash and provider_name in self.index.providers:
            self._tell_unknown_model(entry, provider_name, model, path, where)
        elif slash:
            span = self._findings.part(path, entry, len(provider_name))
            self._tell_unknown_provider(provider_name, path, span, where)
        else:
            self._tell_unknown_plain(entry, path, where, provider_too=provider_too)

    def _tell_unknown_provider(self, name: str, path: Path, span: Span, where: str) -> None:
        near = closest(name, self.index.providers)
        secondary = [self._declared.key(("providers", near), "similar name defined here")] if near else []
        self._findings.error(
            "LP201",
            span,
            f"{where} names unknown provider `{name}`",
            did_you_mean(near),
            f"defined providers: {list_names(self.index.providers)}",
            label="not defined in providers.yaml",
            secondary=secondary,
        )

    def _tell_unknown_model(self, entry: str, provider: str, model: str, path: Path, where: str) -> None:
        models = {
            d.name.removeprefix(f"{provider}/"): d
            for d in self.index.deployments
            if d.provider.name == provider
        }
        near = closest(model, models)
        self._findings.error(
            "LP202",
            self._findings.part(path, entry, len(model), start=len(provider) + 1),
            f"{where} names model `{model}`, which provider `{provider}` does not have",
            did_you_mean(f"{provider}/{near}" if near else None),
            f"models of `{provider}`: {list_names(models)}",
            label="not listed in providers.yaml",
            secondary=_places([models[near]] if near else [], "similar name listed here"),
        )

    def _warn_of_slip(self, entry: str, path: Path, where: str, *, provider_too: bool) -> None:
        """A name that is not there yet, and so near to one that is that it is more likely a slip."""
        known = self._plain_names(provider_too=provider_too)
        near = closest(entry, known)
        if near is not None:
            self._findings.warning(
                "LP202",
                path,
                f"{where} names `{entry}`, which no provider has listed yet",
                did_you_mean(near),
                label="nothing is called so now",
                secondary=_places(known[near][:1], "similar name listed here"),
            )

    def _plain_names(self, *, provider_too: bool) -> dict[str, tuple[Deployment, ...]]:
        return {**self.index.plain, **(dict.fromkeys(self.index.providers, ()) if provider_too else {})}

    def _tell_unknown_plain(self, entry: str, path: Path, where: str, *, provider_too: bool) -> None:
        known = self._plain_names(provider_too=provider_too)
        near = closest(entry, known) or closest(entry, self.index.explicit)
        what = "model or provider" if provider_too else "model"
        self._findings.error(
            "LP202",
            path,
            f"{where} names unknown {what} `{entry}`",
            did_you_mean(near),
            "write `provider/model`, or a model that a provider lists",
            label="not listed in providers.yaml",
            secondary=_places(known.get(near or "", ())[:1], "similar name listed here"),
        )


def build_names(document: Mapping[str, Any], reader: NameReader, findings: Findings) -> dict[str, Target]:
    """Every name a client may ask for: the aliases of the file, then ``provider/model``, then plain ids."""
    aliases = document.get("models") or {}
    names = {name: _build_target(name, value, reader, findings) for name, value in aliases.items()}
    for name, target in _own_names(reader.index):
        if name in aliases:
            _tell_shadow(name, target, findings)
        names.setdefault(name, target)
    return names


def _own_names(index: Index) -> Iterable[tuple[str, Target]]:
    for name, deployment in index.explicit.items():
        yield name, Target(name, TargetKind.EXPLICIT, (deployment,), place=deployment.place)
        written = name.partition("/")[2]
        if deployment.provider.preset == "ollama" and ":" not in written:
            spelling = f"{name}{_LATEST}"
            yield spelling, Target(spelling, TargetKind.EXPLICIT, (deployment,), place=deployment.place)
    for model, deployments in index.plain.items():
        for spelling in dict.fromkeys((model, *(_written_id(deployment) for deployment in deployments))):
            # `anthropic/x` at OpenRouter is a model's id, but with a provider `anthropic` it names that one's model.
            if spelling.partition("/")[0] not in index.providers:
                yield spelling, Target(spelling, TargetKind.MODEL, deployments, place=deployments[0].place)


def _written_id(deployment: Deployment) -> str:
    return deployment.name.removeprefix(f"{deployment.provider.name}/")


def _tell_shadow(name: str, target: Target, findings: Findings) -> None:
    if all(deployment.provider.discover for deployment in target.deployments):
        return
    path: Path = ("models", name)
    what = "deployment" if target.kind is TargetKind.EXPLICIT else "model"
    findings.warning(
        "LP204",
        findings.key(path, "clients who ask for this get what is written here"),
        f"name `{name}` hides the {what} of that name",
        "rename it, unless that is meant",
        secondary=_places(target.deployments[:1], "hidden by it"),
    )


def _build_target(name: str, value: Any, reader: NameReader, findings: Findings) -> Target:
    path: Path = ("models", name)
    where = f"name `{name}`"
    place = findings.place(path)
    if value == _ANY:
        return Target(name, TargetKind.ANY, reader.index.deployments, place=place)
    if isinstance(value, dict):
        entries = _read_all(value[_ANY], (*path, _ANY), where, reader)
        return Target(name, TargetKind.SET, _flat(entries), place=place)
    if isinstance(value, str):
        meaning = reader.read(value, path, where)
        return Target(name, TargetKind.LIST, meaning.deployments if meaning else (), place=place)
    if any(isinstance(item, dict) for item in value):
        return _build_weights(name, value, reader, findings)
    return Target(name, TargetKind.LIST, _flat(_read_all(value, path, where, reader)), place=place)


def _read_all(entries: Sequence[str], path: Path, where: str, reader: NameReader) -> list[Meaning]:
    found = (reader.read(entry, (*path, index), where) for index, entry in enumerate(entries))
    return [meaning for meaning in found if meaning is not None]


def _flat(meanings: Iterable[Meaning]) -> tuple[Deployment, ...]:
    found = (deployment for meaning in meanings for deployment in meaning.deployments)
    return tuple({deployment.name: deployment for deployment in found}.values())


def _build_weights(name: str, items: Sequence[Any], reader: NameReader, findings: Findings) -> Target:
    path: Path = ("models", name)
    shares: dict[str, tuple[Deployment, float]] = {}
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            message = f"name `{name}` mixes entries with and without a weight"
            findings.error(
                "LP102", (*path, index), message, "write {to: ..., weight: ...} for all, or for none"
            )
            continue
        meaning = reader.read(item["to"], (*path, index, "to"), f"name `{name}`")
        for deployment in meaning.deployments if meaning else ():
            # A plain id's weight is for all its deployments together.
            share = item["weight"] / len(meaning.deployments) if meaning else 0.0
            known = shares.get(deployment.name, (deployment, 0.0))[1]
            shares[deployment.name] = (deployment, known + share)
    if not any(item["weight"] for item in items if isinstance(item, dict)):
        findings.error(
            "LP105", path, f"the weights of name `{name}` add up to 0", "give one of them a weight"
        )
    return Target(
        name,
        TargetKind.WEIGHTS,
        tuple(deployment for deployment, _ in shares.values()),
        tuple(share for _, share in shares.values()),
        place=findings.place(path),
    )


def _places(deployments: Iterable[Deployment], label: str) -> tuple[Span, ...]:
    return tuple(
        place_span(deployment.place, len(_written_id(deployment)), label) for deployment in deployments
    )


def place_span(place: Place, length: int, label: str) -> Span:
    """The span of ``length`` characters at a place."""
    return Span(place.file, place.line, place.column, place.column + length, label)
