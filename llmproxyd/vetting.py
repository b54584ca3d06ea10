"""The files read, compiled, and shown to keep what they promise: what start, reload and `check` take for right.

``config.load`` says what files mean, ``routing.proof`` whether anything gets where it must not. Neither knows of the other;
here a hole becomes a problem of the files like any other, with its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from llmproxyd.config.load import Files, Loaded
from llmproxyd.config.load import compile_files as compile_unproven
from llmproxyd.config.load import load as load_unproven
from llmproxyd.config.names import place_span
from llmproxyd.config.problem import Problem, Severity, Span, cap_problems
from llmproxyd.routing.proof import MOST_WORLDS, Hole, Undecided, prove
from llmproxyd.values.contracts import Listed
from llmproxyd.values.snapshot import NOWHERE, Assertion, Snapshot

__all__ = ["Files", "Loaded", "compile_files", "load"]

_NOTHING_DISCOVERED: Final[Mapping[str, tuple[Listed, ...]]] = {}
_KEY = "never"


def load(
    config_dir: Path,
    *,
    environ: Mapping[str, str],
    discovered: Mapping[str, tuple[Listed, ...]] = _NOTHING_DISCOVERED,
    today: date | None = None,
) -> Loaded:
    """As ``config.load.load``; files with a hole come to nothing."""
    return _proven(load_unproven(config_dir, environ=environ, discovered=discovered, today=today))


def compile_files(
    files: Files,
    *,
    environ: Mapping[str, str],
    discovered: Mapping[str, tuple[Listed, ...]] = _NOTHING_DISCOVERED,
    today: date | None = None,
) -> Loaded:
    """As ``config.load.compile_files``; files with a hole come to nothing."""
    return _proven(compile_unproven(files, environ=environ, discovered=discovered, today=today))


def _proven(loaded: Loaded) -> Loaded:
    snapshot = loaded.snapshot
    if snapshot is None:
        return loaded
    problems = [_tell(each, snapshot) for each in prove(snapshot)]
    if not problems:
        return loaded
    return replace(loaded, snapshot=None, problems=tuple(cap_problems([*loaded.problems, *problems])))


def _tell(found: Hole | Undecided, snapshot: Snapshot) -> Problem:
    if isinstance(found, Undecided):
        return _tell_undecided(found)
    return _tell_hole(found, snapshot)


def _tell_hole(hole: Hole, snapshot: Snapshot) -> Problem:
    """LP401: who gets where, by which way, and where both are written."""
    deployment = next((d for d in snapshot.deployments if d.name == hole.deployment), None)
    zone = f"{deployment.provider.zone.value} " if deployment else ""
    message = f"privacy hole: a request labelled `{hole.label}` can reach {zone}`{hole.deployment}`"
    secondary: tuple[Span, ...] = ()
    if deployment is not None and deployment.place != NOWHERE:
        length = len(hole.deployment.partition("/")[2])
        secondary = (place_span(deployment.place, length, "reaches this"),)
    path = " -> ".join((f"request{{{', '.join(hole.request)}}}", f"label {hole.label}", *hole.path))
    helps = (
        ("add a rule to the privacy stage that requires or excludes what must not be reached",)
        if hole.assertion
        else ("this is a fault of llmproxyd itself: please report it with these files",)
    )
    return Problem(
        "LP401", Severity.ERROR, message, _span(hole.assertion), secondary, helps, (f"path: {path}",)
    )


def _tell_undecided(undecided: Undecided) -> Problem:
    """LP403."""
    message = f"cannot decide whether this holds: the rules tell {undecided.worlds} kinds of requests apart"
    helps = (
        f"at most {MOST_WORLDS} are gone through; merge patterns with `|`, or rules with the same action",
        "an assertion that cannot be shown to hold is not taken to hold",
    )
    return Problem("LP403", Severity.ERROR, message, _span(undecided.assertion), (), helps)


def _span(assertion: Assertion | None) -> Span | None:
    if assertion is None or assertion.place == NOWHERE:
        return None
    return place_span(assertion.place, len(_KEY), "this does not hold")
