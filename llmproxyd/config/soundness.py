"""What of a document is fit to be asked for its meaning, when the shape of another part of it is not.

A fault in one provider must not hide a fault in another: the operator mends all of them in one go. So the parts that
no schema error touches are compiled all the same, only to find their problems; what may merely follow from what was
taken away is left unsaid.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from llmproxyd.config.document import Document
from llmproxyd.config.nodes import walk
from llmproxyd.config.places import Path
from llmproxyd.config.problem import Problem
from llmproxyd.config.schema import SchemaName, fault_paths

_ROUNDS = 12  # a removal may leave its parent incomplete; nothing is nested as deep as this
_CROSS_REFERENCES = frozenset({"LP201", "LP202"})
_UNKNOWN_TENANT = "LP209"


def sound_part(document: Document, name: SchemaName) -> tuple[Document, frozenset[Path]] | None:
    """``document`` without what its schema refuses, and the paths of what was taken away; None if nothing is left."""
    data = copy.deepcopy(document.data)
    touched: set[Path] = set()
    for _ in range(_ROUNDS):
        faults = list(fault_paths(data, name))
        if not faults:
            sound = copy.copy(document)
            sound.data = data
            return sound, frozenset(touched)
        for path in faults:
            while path and isinstance(path[-1], int):
                path = path[:-1]  # taking an item out of a list would move all that follow it
            if not path:
                return None
            touched.add(path)
            _remove(data, path)
    return None


def _remove(data: Any, path: Path) -> None:
    for step in path[:-1]:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return  # gone with another fault of this round
    if isinstance(data, dict):
        data.pop(path[-1], None)


def outside(
    problems: Iterable[Problem], documents: Sequence[tuple[Document, frozenset[Path]]]
) -> list[Problem]:
    """The problems that stand apart from what was taken away, and cannot come of it."""
    lines = {place for document, paths in documents for path in paths for place in _lines(document, path)}
    taken = [path for _, paths in documents for path in paths]
    names = {path[1] for path in taken if _takes_models_along(path)}
    tenants = {path[1:2] for path in taken if path[:1] == ("tenants",) and len(path) <= 2}
    return [
        p
        for p in problems
        if not _is_inside(p, lines) and not _names_one(p, names) and not _names_tenant(p, tenants)
    ]


def _takes_models_along(path: Path) -> bool:
    """Whether a provider whose ``path`` is missing may lack the models that others name."""
    return path[:1] == ("providers",) and len(path) > 1 and path[2:3] in ((), ("models",), ("preset",))


def _lines(document: Document, path: Path) -> Iterable[tuple[str, int]]:
    """The lines of what stands at ``path``, and the one that begins the item it belongs to."""
    item = path[:3] if path[:1] == ("pipeline",) else path[:2]
    begin = document.key_span(item)
    yield begin.file, begin.line
    node = document.root
    for step in path:
        child = (node.children or {}).get(step)
        if child is None:
            return
        node = child
    for inner in walk(node):
        for mark in filter(None, (inner.key, inner.mark)):
            yield inner.file, mark[0] + 1


def _is_inside(problem: Problem, lines: Collection[tuple[str, int]]) -> bool:
    return problem.span is not None and (problem.span.file, problem.span.line) in lines


def _names_one(problem: Problem, names: Collection[object]) -> bool:
    """Whether it says that something is missing which may be missing only because it is faulty."""
    if problem.code not in _CROSS_REFERENCES:
        return False
    return any(f"`{name}`" in problem.message or f"`{name}/" in problem.message for name in names)


def _names_tenant(problem: Problem, taken: Collection[Path]) -> bool:
    """The same of a tenant; an empty path stands for all of them."""
    if problem.code != _UNKNOWN_TENANT or not taken:
        return False
    return () in taken or any(f"`{path[0]}`" in problem.message for path in taken)
