"""The two files -> Snapshot, or every problem found. One path for start, reload and check.

Shape first (YAML, schema), then meaning: what the shape of a file leaves unsaid is not guessed at. Both files are one
unit: a snapshot comes of both or of none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import asdict, replace

from llmproxyd.config.alerts import build_webhooks
from llmproxyd.config.assertions import build_assertions
from llmproxyd.config.budgets import BudgetReader
from llmproxyd.config.cache import build_cache
from llmproxyd.config.catalogue import catalogue_date
from llmproxyd.config.document import Document, merge_documents, parse_document
from llmproxyd.config.files import PROVIDERS, ROUTING, Files, SourceFile, find_config_dir, read_files
from llmproxyd.config.findings import Findings, list_names
from llmproxyd.config.limits import warn_of_narrow_limits
from llmproxyd.config.names import Index, NameReader, build_names
from llmproxyd.config.places import Path as DocumentPath
from llmproxyd.config.policy import build_fallback
from llmproxyd.config.presets import PRESETS
from llmproxyd.config.prices import prices_version
from llmproxyd.config.privacy import build_privacy
from llmproxyd.config.problem import Problem, Severity, Span, cap_problems, has_errors
from llmproxyd.config.providers import Built, build_providers
from llmproxyd.config.references import Resolved, resolve_references
from llmproxyd.config.routes import RuleReader, build_rules, warn_of_missing_prices
from llmproxyd.config.schema import SchemaName, validate
from llmproxyd.config.soundness import outside, sound_part
from llmproxyd.config.tenants import build_tenants
from llmproxyd.values.contracts import Listed
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Provider, Snapshot

__all__ = ["Files", "Loaded", "compile_files", "find_config_dir", "load", "read_files"]

SCHEMA_VERSION: Final = 1
_DEFAULT_PROVIDER: Final = "LLM_PROVIDER"
_NOTHING_DISCOVERED: Final[Mapping[str, tuple[Listed, ...]]] = {}


class Loaded(msgspec.Struct, frozen=True):
    """What came of the files. ``snapshot`` is None exactly if one of ``problems`` is an error.

    ``files`` are those that were compiled; their ``paths`` now hold what references name as well.
    """

    snapshot: Snapshot | None
    problems: tuple[Problem, ...]
    files: Files


def load(
    config_dir: Path,
    *,
    environ: Mapping[str, str],
    discovered: Mapping[str, tuple[Listed, ...]] = _NOTHING_DISCOVERED,
    today: date | None = None,
) -> Loaded:
    """Read and compile the files in ``config_dir``. Raises nothing that an operator could cause."""
    return compile_files(read_files(config_dir), environ=environ, discovered=discovered, today=today)


def compile_files(
    files: Files,
    *,
    environ: Mapping[str, str],
    discovered: Mapping[str, tuple[Listed, ...]] = _NOTHING_DISCOVERED,
    today: date | None = None,
) -> Loaded:
    """Files -> Loaded. ``discovered``: provider -> the models its server listed. ``today``: the day (UTC) on which keys
    may have expired, by default this one. Reads what references name."""
    problems = list(files.problems)
    providers = _read_document(files.providers, PROVIDERS, environ, files.config_dir, problems)
    routing = _read_document(files.routing, ROUTING, environ, files.config_dir, problems)
    documents = [document for document in (providers, routing) if document is not None]
    files = _with_references(files, documents)
    surroundings = _Surroundings(environ, discovered, today or datetime.now(UTC).date())
    snapshot = None
    if providers is not None and routing is not None:
        if has_errors(problems):
            problems += _more_problems(files, providers, routing, surroundings)
        else:
            snapshot = _Compiler(files, providers, routing, surroundings, problems).snapshot()
    for document in documents:
        problems = [document.scrub(problem) for problem in problems]
    return Loaded(snapshot, tuple(cap_problems(list(dict.fromkeys(problems)))), files)


def _more_problems(
    files: Files,
    providers: Resolved,
    routing: Resolved,
    surroundings: _Surroundings,
) -> list[Problem]:
    """What is wrong with the meaning of those parts whose shape is right: all errors are told at once."""
    declared, routes = sound_part(providers.document, PROVIDERS), sound_part(routing.document, ROUTING)
    if declared is None or routes is None:
        return []
    found: list[Problem] = []
    _Compiler(
        files,
        replace(providers, document=declared[0]),
        replace(routing, document=routes[0]),
        surroundings,
        found,
    ).snapshot()
    return [p for p in outside(found, (declared, routes)) if p.severity is Severity.ERROR]


def _with_references(files: Files, documents: Sequence[Resolved]) -> Files:
    """Files that references name, there or not: a credential that appears may mend what was refused."""
    named = sorted({Path(os.path.abspath(file)) for document in documents for file in document.files})
    known = set(files.paths)
    return replace(files, paths=(*files.paths, *(path for path in named if path not in known)))


# --- shape ------------------------------------------------------------------------------------------------------


def _read_document(
    files: Sequence[SourceFile],
    name: SchemaName,
    environ: Mapping[str, str],
    config_dir: Path,
    problems: list[Problem],
) -> Resolved | None:
    """One document of a main file and its fragments, references resolved, in the shape of its schema; or None."""
    document = _merge(files, problems)
    if document is None or not _is_known_version(document, problems):
        return None
    resolved = resolve_references(document, environ=environ, config_dir=config_dir)
    problems += resolved.problems
    # Where a reference could not be resolved, its own text stands in: what the schema says of that is beside the point.
    problems += (p for p in validate(resolved.document, name) if _bare(p.span) not in resolved.unresolved)
    _tell_nan(resolved.document, problems)
    return resolved


def _merge(files: Sequence[SourceFile], problems: list[Problem]) -> Document | None:
    documents: list[Document] = []
    for file in files:
        document, found = parse_document(file.data, file.name)
        problems += found
        if document is None:
            return None
        documents.append(document)
    if not documents:
        return None
    merged, conflicts = merge_documents(documents)
    problems += conflicts
    return merged


def _is_known_version(document: Document, problems: list[Problem]) -> bool:
    findings = Findings(document, problems)
    if "version" not in document.data:
        at = Span(document.file, 1, 1, 2)
        help_ = f"add `version: {SCHEMA_VERSION}` as the first line"
        findings.warning("LP701", at, f"`version` is left out; {SCHEMA_VERSION} is assumed", help_)
        return True
    version = document.data["version"]
    if version == SCHEMA_VERSION and isinstance(version, int) and not isinstance(version, bool):
        return True
    help_ = f"this llmproxyd reads version {SCHEMA_VERSION}"
    findings.error("LP702", ("version",), "this version of the format is not supported", help_)
    return False


def _bare(span: Span | None) -> Span | None:
    return span and span.labelled("")


def _tell_nan(document: Document, problems: list[Problem]) -> None:
    """`.nan` is a number to YAML and within all bounds to a schema; no quantity here can be that."""
    for path in _nans(document.data, ()):
        Findings(document, problems).error("LP105", path, "`.nan` is not a quantity", "write a number")


def _nans(value: Any, path: DocumentPath) -> Iterator[DocumentPath]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _nans(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nans(item, (*path, index))
    elif isinstance(value, float) and value != value:
        yield path


# --- meaning ----------------------------------------------------------------------------------------------------


class _Surroundings(msgspec.Struct, frozen=True):
    """What beside the files has a say."""

    environ: Mapping[str, str]
    discovered: Mapping[str, tuple[Listed, ...]]
    today: date


class _Compiler(msgspec.Struct, frozen=True):
    """Two documents of the right shape, on the way to a snapshot."""

    files: Files
    providers: Resolved
    routing: Resolved
    surroundings: _Surroundings
    problems: list[Problem]

    def snapshot(self) -> Snapshot | None:
        """The snapshot; None after an error."""
        declared = Findings(self.providers.document, self.problems)
        findings = Findings(self.routing.document, self.problems)
        document = self.routing.document.data
        privacy = build_privacy(document, findings)
        built = build_providers(
            self.providers,
            declared,
            environ=self.surroundings.environ,
            privacy=privacy,
            discovered=self.surroundings.discovered,
            today=self.surroundings.today,
        )
        reader = NameReader(Index(built.providers, built.deployments), findings, declared)
        names = build_names(document, reader, findings)
        fallback = build_fallback(document, findings)
        tenants = build_tenants(document, findings, privacy, self.surroundings.today)
        rule_reader = RuleReader(findings, reader, privacy, fallback, tenants)
        rules = build_rules(document, rule_reader)
        cache = build_cache(document, rule_reader.conditions, findings)
        budgets = BudgetReader(findings, reader, tenants).read(document)
        webhooks = build_webhooks(document, findings)
        assertions = build_assertions(document, rule_reader)
        if has_errors(self.problems):
            return None
        own = [tenant.budget for tenant in tenants.values() if tenant.budget is not None]
        warn_of_missing_prices(rules, (*own, *budgets), built.deployments, self._left_open(), declared)
        warn_of_narrow_limits(built.deployments, declared)
        self._warn_of_readers(built)
        default = self._default_provider(built.providers)
        return Snapshot(
            hash=self._hash(built, default),
            providers=built.providers,
            deployments=built.deployments,
            names=names,
            rules=rules,
            privacy=privacy,
            fallback=fallback,
            default_provider=default,
            tenants=tenants,
            budgets=budgets,
            webhooks=webhooks,
            assertions=assertions,
            cache=cache,
            watched=tuple(map(str, self.files.paths)),
        )

    def _left_open(self) -> frozenset[str]:
        """Deployments whose price the operator calls unknown."""
        return frozenset(
            f"{name}/{model['id']}"
            for name, row in self.providers.document.data["providers"].items()
            for model in (row or {}).get("models") or ()
            if isinstance(model, dict) and model.get("price") == "unknown"
        )

    def _warn_of_readers(self, built: Built) -> None:
        """LP603, once for each file."""
        open_files = {file.name: file for file in self.files.providers if file.readable_by_others}
        first = {span.file: span for span in reversed(built.literals) if span.file in open_files}
        for name, span in first.items():
            mode = f"{open_files[name].mode:04o}"
            message = f"`{name}` holds a secret and everybody on this machine can read it (mode {mode})"
            help_ = f"run `chmod 0640 {open_files[name].path}`, or keep the secret elsewhere"
            Findings(self.providers.document, self.problems).warning(
                "LP603", span.labelled("the secret"), message, help_
            )

    def _default_provider(self, providers: Mapping[str, Provider]) -> str | None:
        """The provider that LLM_PROVIDER means, by its name or its preset's."""
        wanted = self.surroundings.environ.get(_DEFAULT_PROVIDER, "").strip()
        if not wanted:
            return None
        preset = PRESETS.get(wanted.lower())
        by_name = [name for name in providers if name.lower() == wanted.lower()]
        by_preset = [
            name for name, provider in providers.items() if preset and provider.preset == preset.name
        ]
        for found in (by_name, by_preset):
            if found:
                return found[0]
        self.problems.append(
            Problem(
                "LP201",
                Severity.WARNING,
                f"environment variable {_DEFAULT_PROVIDER} names unknown provider `{wanted}`",
                helps=(f"defined providers: {list_names(providers)}",),
            )
        )
        return None

    def _hash(self, built: Built, default: str | None) -> str:
        """Over what the files mean here and now: neither comments nor the order of keys, but what references and
        variables gave, and what was discovered."""
        meaning = {
            "providers": self.providers.document.data["providers"],
            "routing": {key: value for key, value in self.routing.document.data.items() if key != "version"},
            "surroundings": {name: _given(provider) for name, provider in built.providers.items()},
            "discovered": {
                name: sorted(
                    (_plain(model) for model in self.surroundings.discovered.get(name, ())), key=repr
                )
                for name, provider in built.providers.items()
                if provider.discover
            },
            "default_provider": default,
            "catalogue": catalogue_date(),
            "prices": prices_version(),
        }
        text = json.dumps(meaning, sort_keys=True, ensure_ascii=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def _given(provider: Provider) -> list[str]:
    """What the environment and the day had a say in."""
    keys = [_digest(credential.secret) for credential in provider.credentials]
    return [provider.base_url, provider.reason, *(keys or [""])]


def _digest(secret: Secret) -> str:
    return hashlib.sha256(secret.reveal().encode()).hexdigest()


def _plain(model: Listed) -> dict[str, Any]:
    row = asdict(model)
    row["capabilities"] = sorted(model.capabilities) if model.capabilities is not None else None
    return row
