"""The house holds to its plan: docs/architecture.md says which room is on which floor, and imports go down."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "llmproxyd"
PLAN = ROOT / "docs" / "architecture.md"

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)
PURE_ROOMS = {"config", "surfaces", "adapters", "routing"}


@cache
def floors() -> dict[str, int]:
    """Room -> floor, read from the plan's table: ``| 1 | config, surfaces | ... |``."""
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", PLAN.read_text(), re.MULTILINE)
    return {room.strip("` "): int(floor) for floor, rooms in rows for room in rooms.split(",")}


def room_of(module: str) -> str:
    """``llmproxyd.config.load`` -> ``config``; ``llmproxyd.reload`` -> ``reload``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports_of(module: str) -> Iterator[str]:
    path = ROOT / (module.replace(".", "/") + ".py")
    if not path.exists():
        path = ROOT / module.replace(".", "/") / "__init__.py"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("llmproxyd"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llmproxyd"):
            yield from _imported(node)


def _imported(node: ast.ImportFrom) -> Iterator[str]:
    assert node.module is not None
    for alias in node.names:
        full = f"{node.module}.{alias.name}"
        yield full if full in MODULES else node.module


def test_every_room_is_on_the_plan() -> None:
    rooms = {room_of(module) for module in MODULES} - {"", "__main__"}
    assert rooms - set(floors()) == set(), "add these to the table in docs/architecture.md"
    assert set(floors()) - rooms == set(), "these are on the plan but not in the house"


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) not in ("", "__main__")])
def test_imports_go_down_never_up(module: str) -> None:
    own_room, own_floor = room_of(module), floors()[room_of(module)]
    for imported in imports_of(module):
        room = room_of(imported)
        if room in ("", own_room):
            continue
        assert floors()[room] <= own_floor, f"{module} imports {imported} from a floor above"
        if own_room in PURE_ROOMS:
            assert room not in PURE_ROOMS, f"{module} imports its neighbour {imported}"


def test_there_are_no_import_cycles() -> None:
    graph = {module: set(imports_of(module)) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module in done:
            return
        for imported in graph.get(module, ()):
            if imported != module:
                visit(imported, (*path, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.proof, id="all"), pytest.param(20, id="some")]
)
def test_every_module_imports_alone(step: int) -> None:
    """Each in a fresh interpreter's view: no module may rely on another having been imported first. That there are no
    cycles says nearly as much, so that some of them will do where time is short."""
    script = (
        "import importlib, sys\n"
        "base = set(sys.modules)\n"
        "for name in sys.argv[1:]:\n"
        "    for known in [m for m in sys.modules if m.startswith('llmproxyd')]: del sys.modules[known]\n"
        "    importlib.import_module(name)\n"
    )
    names = [module for module in sorted(MODULES) if module != "llmproxyd.__main__"][::step]
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", script, *names],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr


def test_only_the_pool_opens_connections_to_providers() -> None:
    """The fence stands or falls with this: whoever else could dial would be a way around it."""
    dialling = re.compile(
        r"ClientSession|TCPConnector|UnixConnector|open_connection|create_connection\(|open_unix_connection"
    )
    found = {
        str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if dialling.search(path.read_text())
    }
    assert found == {"exchange/pool.py"}


def test_nothing_swallows_cancellation_or_everything() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                pytest.fail(f"bare except in {path}:{node.lineno}")
