"""The fence has one gate: who may make a leave to send, who demands it, and who dials at all. Read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "llmproxyd"
MAKERS = {
    "grant": {"routing/decide.py"},
    "constant_call": {"exchange/probe.py"},
    "Clearance": {"values/plan.py", "exchange/attempt.py", "exchange/upstream.py"},
    "ConstantCall": {"exchange/upstream.py"},
    "_MAKER": set(),
}
DIALLERS = {"exchange/upstream.py", "exchange/webhooks.py"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def importers(module: str, name: str) -> set[str]:
    """Who can reach ``name`` of ``module``: by name, or through the module itself."""
    room, _, last = module.rpartition(".")
    found = set()
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names = {alias.name for alias in node.names}
                if (node.module == module and name in names) or (node.module == room and last in names):
                    found.add(path)
            elif isinstance(node, ast.Import) and module in {alias.name for alias in node.names}:
                found.add(path)
    return found


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """Calls of a function or method of this name."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            own = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if own == name:
                found.append(node)
    return found


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_leave_to_send_is_known_to_those_alone_who_need_it(name: str) -> None:
    assert importers("llmproxyd.values.clearance", name) == MAKERS[name]


def test_nobody_who_may_name_a_clearance_makes_one() -> None:
    for path, tree in sources():
        if path != "values/clearance.py":
            assert not calls(tree, "Clearance"), path
            assert not calls(tree, "ConstantCall"), path


def test_nobody_gets_around_the_constructor() -> None:
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "__new__":
                pytest.fail(f"{path}:{node.lineno} makes an object without its constructor")


def test_pools_are_made_by_the_two_doors_alone() -> None:
    assert {path for path, tree in sources() if calls(tree, "Pool")} == DIALLERS
    assert importers("llmproxyd.exchange.pool", "Pool") == DIALLERS


def test_webhooks_know_nothing_of_requests() -> None:
    tree = dict(sources())["exchange/webhooks.py"]
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    forbidden = (
        "values.request",
        "values.plan",
        "values.answer",
        "surfaces",
        "routing",
        "exchange.lane",
        "exchange.run",
    )
    assert not [m for m in modules if m.removeprefix("llmproxyd.").startswith(forbidden)]


def test_the_door_demands_it_before_it_does_anything() -> None:
    trees = dict(sources())
    (send,) = [
        node
        for node in ast.walk(trees["exchange/upstream.py"])
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "send"
    ]
    first = send.body[1]  # after the docstring
    assert isinstance(first, ast.Expr)
    assert ast.unparse(first) == "require(clearance, deployment)"
