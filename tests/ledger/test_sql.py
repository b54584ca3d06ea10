"""SQL in the ledger's room is literal text: nothing that came from outside is ever part of a statement."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmproxyd.ledger

ROOM = Path(llmproxyd.ledger.__file__).parent
MODULES = sorted(ROOM.glob("*.py"))
RUNS_SQL = {"execute", "executemany", "executescript", "query"}


def literals(tree: ast.Module) -> set[str]:
    """Names of the module that are bound to one text, for good."""
    return {
        node.target.id
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and ast.unparse(node.annotation) == "Final"
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def literal_parameters(function: ast.FunctionDef) -> set[str]:
    """Parameters that the type checker only lets literal text into."""
    return {
        one.arg
        for one in function.args.args
        if one.annotation is not None and ast.unparse(one.annotation) == "LiteralString"
    }


def statements(tree: ast.Module) -> Iterator[tuple[ast.expr, set[str]]]:
    """What is handed to SQLite, and the parameters of the function around it that count as literal."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        allowed = literal_parameters(function)
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in RUNS_SQL
            ):
                yield node.args[0], allowed


def is_literal(sql: ast.expr, own: set[str], parameters: set[str], of_schema: set[str]) -> bool:
    match sql:
        case ast.Constant(value=str()):
            return True
        case ast.Name(id=name):
            return name in own | parameters
        case ast.Attribute(value=ast.Name(id="schema"), attr=name):
            return name in of_schema
    return False


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_statement_is_literal_text(path: Path) -> None:
    of_schema = literals(ast.parse((ROOM / "schema.py").read_text()))
    tree = ast.parse(path.read_text())
    own = literals(tree)
    for sql, parameters in statements(tree):
        assert is_literal(sql, own, parameters, of_schema), f"{path.name}:{sql.lineno}: {ast.unparse(sql)}"


def test_the_check_sees_statements_and_tells_built_ones() -> None:
    store = ast.parse((ROOM / "store.py").read_text())
    assert len(list(statements(store))) > 15
    built = ast.parse(
        "def f(self, name):\n    self.db.execute(f'SELECT {name}')\n    self.db.execute(name)\n"
    )
    assert not any(is_literal(sql, set(), allowed, set()) for sql, allowed in statements(built))
