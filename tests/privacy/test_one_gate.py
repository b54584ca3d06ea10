"""The fence has one gate: who may make a leave to send, who demands it, and who dials at all. Read from the source."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
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
REACHING = {
    "getaddrinfo": set(),
    "ThreadedResolver": {"exchange/upstream.py", "exchange/webhooks.py"},
    "NameTable": {"exchange/upstream.py", "exchange/webhooks.py"},
    "TCPConnector": {"exchange/pool.py"},
    "ClientSession": set(),
    "create_connection": set(),
    "create_datagram_endpoint": set(),
    "open_connection": set(),
    "sock_connect": set(),
    "urlopen": set(),
}
"""What finds an address or opens a connection, and who says it."""
DIALLERS = {"exchange/upstream.py", "exchange/webhooks.py"}


@cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    """Every module of the package, read once."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return tuple((str(path.relative_to(PACKAGE)), ast.parse(path.read_text())) for path in paths)


@cache
def nodes() -> tuple[tuple[str, ast.AST], ...]:
    """Whatever calls, imports or reaches into something, with its module."""
    telling = (ast.Call, ast.ImportFrom, ast.Import, ast.Attribute)
    return tuple(
        (path, node) for path, tree in sources() for node in ast.walk(tree) if isinstance(node, telling)
    )


def importers(module: str, name: str) -> set[str]:
    """Who can reach ``name`` of ``module``: by name, or through the module itself."""
    room, _, last = module.rpartition(".")
    found = set()
    for path, node in nodes():
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if (node.module == module and name in names) or (node.module == room and last in names):
                found.add(path)
        elif isinstance(node, ast.Import) and module in {alias.name for alias in node.names}:
            found.add(path)
    return found


def callers(name: str) -> set[str]:
    """Who calls a function or method of this name."""
    return _calls()[name]


@cache
def _calls() -> Mapping[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path, node in nodes():
        if isinstance(node, ast.Call):
            called = node.func
            found[called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")].add(path)
    return found


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_leave_to_send_is_known_to_those_alone_who_need_it(name: str) -> None:
    assert importers("llmproxyd.values.clearance", name) == MAKERS[name]


def test_nobody_who_may_name_a_clearance_makes_one() -> None:
    assert callers("Clearance") | callers("ConstantCall") == {"values/clearance.py"}


def test_nobody_gets_around_the_constructor() -> None:
    for path, node in nodes():
        if isinstance(node, ast.Attribute) and node.attr == "__new__":
            pytest.fail(f"{path}:{node.lineno} makes an object without its constructor")


def test_pools_are_made_by_the_two_doors_alone() -> None:
    assert callers("Pool") == DIALLERS
    assert importers("llmproxyd.exchange.pool", "Pool") == DIALLERS


@pytest.mark.parametrize("name", list(REACHING))
def test_nobody_else_finds_an_address_or_opens_a_connection(name: str) -> None:
    assert callers(name) == REACHING[name]


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
