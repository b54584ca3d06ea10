"""Small configurations for the tests of this directory: written to a real directory, loaded as the daemon does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from llmproxyd.config.load import Loaded, load
from llmproxyd.config.problem import Problem
from llmproxyd.values.contracts import Listed
from llmproxyd.values.snapshot import Deployment, Provider, Snapshot

PROVIDERS = "version: 1\nproviders: {mock: {models: [echo]}}\n"
ROUTING = "version: 1\n"


def write(directory: Path, providers: str = PROVIDERS, routing: str = ROUTING) -> Path:
    """Both files, indentation taken off, ``version: 1`` put in front where it is left out; readable by the owner."""
    for name, text in (("providers", providers), ("routing", routing)):
        text = dedent(text).lstrip("\n")
        file = directory / f"{name}.yaml"
        has_version = re.search(r"^version:", text, re.MULTILINE) is not None
        file.write_text(text if has_version else f"version: 1\n{text}", encoding="utf-8")
        file.chmod(0o600)
    return directory


def build(
    directory: Path,
    providers: str = PROVIDERS,
    routing: str = ROUTING,
    *,
    environ: Mapping[str, str] | None = None,
    discovered: Mapping[str, tuple[Listed, ...]] | None = None,
) -> Loaded:
    return load(write(directory, providers, routing), environ=environ or {}, discovered=discovered or {})


def snapshot_of(loaded: Loaded) -> Snapshot:
    assert loaded.snapshot is not None, loaded.problems
    return loaded.snapshot


def codes_of(loaded: Loaded) -> list[str]:
    return [problem.code for problem in loaded.problems]


def only_problem(loaded: Loaded, code: str) -> Problem:
    """The one problem of this code; there may be others of other codes."""
    (found,) = [problem for problem in loaded.problems if problem.code == code]
    return found


def place_of(problem: Problem) -> tuple[str, int, int, int]:
    """File, line, first column and the column after the last."""
    assert problem.span is not None
    return problem.span.file, problem.span.line, problem.span.column, problem.span.end_column


def marked(problem: Problem, loaded: Loaded) -> str:
    """The text that the problem points at, masked as people see it."""
    assert problem.span is not None
    line = loaded.files.sources[problem.span.file].splitlines()[problem.span.line - 1]
    return line[problem.span.column - 1 : problem.span.end_column - 1]


def provider_of(loaded: Loaded, name: str) -> Provider:
    return snapshot_of(loaded).providers[name]


def deployment_of(loaded: Loaded, name: str) -> Deployment:
    (found,) = [each for each in snapshot_of(loaded).deployments if each.name == name]
    return found
