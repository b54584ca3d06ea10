"""What operators assert, read: conditions as rules have them, and deployments by zone and provider."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmproxyd.values.snapshot import AllOf, Assertion, Holds, OneOf, Range, Zone
from tests.config.building import build, codes_of, only_problem, snapshot_of


def read(directory: Path, never: str) -> Assertion:
    (found,) = snapshot_of(build(directory, routing=f"assert:\n  - never: {never}\n")).assertions
    return found


@pytest.mark.parametrize(
    ("never", "when", "zones", "providers"),
    [
        ("{data: [pii], reaches: {zone: external}}", Holds(("pii",)), (Zone.EXTERNAL,), ()),
        ("{project: hr, reaches: {provider: mock}}", OneOf("project", ("hr",)), (), ("mock",)),
        (
            "{label: {gte: confidential}, reaches: {zone: [external]}}",
            Range("label", gte=2.0),
            (Zone.EXTERNAL,),
            (),
        ),
        (
            "{model: [a, b], data: email, reaches: {zone: [private, external], provider: [mock]}}",
            AllOf((OneOf("model", ("a", "b")), Holds(("email",)))),
            (Zone.PRIVATE, Zone.EXTERNAL),
            ("mock",),
        ),
        ("{reaches: {zone: private}}", AllOf(()), (Zone.PRIVATE,), ()),
    ],
)
def test_an_assertion_says_who_must_not_reach_whom(
    tmp_path: Path, never: str, when: object, zones: tuple[Zone, ...], providers: tuple[str, ...]
) -> None:
    found = read(tmp_path, never)
    assert (found.when, found.zones, found.providers) == (when, zones, providers)
    assert (found.place.line, found.place.column) == (3, 5)


@pytest.mark.parametrize(
    ("never", "code"),
    [
        ("{data: [credit_card], reaches: {zone: external}}", "LP211"),
        ("{label: secret, reaches: {zone: external}}", "LP203"),
        ("{tenant: nobody, reaches: {zone: external}}", "LP209"),
        ("{project: hr, reaches: {provider: mokc}}", "LP201"),
        ("{project: hr, reach: {provider: mock}}", "LP101"),
        ("{project: hr, reaches: {}}", "LP105"),
        ("{prompt: salary, reaches: {zone: external}}", "LP101"),
    ],
)
def test_a_slip_in_an_assertion_is_told(tmp_path: Path, never: str, code: str) -> None:
    loaded = build(tmp_path, routing=f"assert:\n  - never: {never}\n")
    assert loaded.snapshot is None
    assert code in codes_of(loaded)


def test_a_provider_is_found_again_by_its_place(tmp_path: Path) -> None:
    routing = "assert:\n  - never: {project: hr, reaches: {provider: [mock, nobody]}}\n"
    problem = only_problem(build(tmp_path, routing=routing), "LP201")
    assert problem.span is not None
    assert problem.span.line == 3
