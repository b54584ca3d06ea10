"""A file -> plain data in which every key and value still knows its place; several files -> one document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from llmproxyd.config.mask import LINE_BREAK, is_reference, mask_broken, mask_text
from llmproxyd.config.nodes import Builder, Node, Text, problem_at, span_of, walk
from llmproxyd.config.places import Path, describe
from llmproxyd.config.problem import Problem, Span, sort_problems
from llmproxyd.config.yamltext import Unreadable, decode_text, parse_events

_JOINED_LISTS: Final = frozenset(("pipeline", stage) for stage in ("privacy", "cost", "performance"))
"""The lists to which fragments add. Every other list means its order, so only one file may write it."""

_REPEATABLE: Final = ("version",)


class Document:
    """One file, or several merged: ``data`` as plain dicts, lists and scalars, keys always texts; ``file`` the first.

    Nobody changes ``data``. Paths are tuples of keys and list indexes.
    """

    def __init__(self, root: Node, texts: Mapping[str, Text]) -> None:
        self.data: dict[str, Any] = root.value
        self.file = root.file
        self.root = root
        self.texts = texts
        self.secret_values: frozenset[str] = frozenset()

    def key_span(self, path: Path) -> Span:
        """Where the key at ``path`` stands, or the value if it has no key; else the nearest place above."""
        node = self._nearest(path)
        return span_of(node.file, node.key or node.mark)

    def value_span(self, path: Path) -> Span:
        """Where the value at ``path`` stands; else the nearest place above."""
        node = self._nearest(path)
        return span_of(node.file, node.mark)

    def is_secret(self, path: Path) -> bool:
        """Whether the value at ``path`` must not be repeated in a message."""
        node: Node | None = self.root
        for step in path:
            node = (node.children or {}).get(step) if node else None
        return node is not None and (node.secret or _is_among(node.value, self.secret_values))

    def is_broken(self, path: Path) -> bool:
        """Whether reading already failed for the value at ``path``, so that nothing more can be said of it."""
        return self._nearest(path).broken

    def is_quoted(self, path: Path) -> bool:
        """Whether the value at ``path`` is a text in quotes."""
        node = self._nearest(path)
        line, column = node.mark[:2]
        return LINE_BREAK.split(self.texts[node.file].text)[line][column : column + 1] in ("'", '"')

    def hide(self, path: Path) -> None:
        """From now on mask the value at ``path``."""
        node = self._nearest(path)
        node.secret = True
        self.texts[node.file].hidden.append(node.mark)

    def hide_values(self, values: Iterable[str]) -> None:
        """From now on mask these texts wherever they are a value. References are not secret and stay."""
        self.secret_values |= frozenset(value for value in values if value and not is_reference(value))

    @property
    def sources(self) -> dict[str, str]:
        """File -> its text for snippets, with credentials and comments masked (see ``mask``)."""
        hidden = {file: list(text.hidden) for file, text in self.texts.items()}
        if self.secret_values:
            for node in walk(self.root):
                if _is_among(node.value, self.secret_values) and not node.pinned:
                    hidden[node.file].append(node.mark)
        return {file: mask_text(text.text, hidden[file], text.quoted) for file, text in self.texts.items()}

    def _nearest(self, path: Path) -> Node:
        node = self.root
        for step in path:
            child = None if node.pinned else (node.children or {}).get(step)
            if child is None:
                return node
            node = child
        return node


def parse_document(text: bytes, file: str) -> tuple[Document | None, list[Problem]]:
    """Read one file. No document if it is no YAML or no mapping; with a document, every problem found in it.

    ``file`` is the name shown to people.
    """
    problems: list[Problem] = []
    try:
        decoded = decode_text(text, file)
        builder = Builder(decoded, file, problems)
        for event in parse_events(decoded, file):
            builder.feed(event)
    except Unreadable as unreadable:
        return None, sort_problems([*problems, *unreadable.problems])
    root = builder.root
    if root is None or root.value is None:
        help_ = 'write at least "version: 1", or restore the file; nothing is never taken for "no rules"'
        problems.append(problem_at("LP006", "the file is empty", Span(file, 1, 1, 2), help_))
        return None, sort_problems(problems)
    if not isinstance(root.value, dict):
        found = "list" if isinstance(root.value, list) else "single value"
        span = span_of(file, root.mark)
        problems.append(problem_at("LP102", f"expected a mapping at the top level, found a {found}", span))
        return None, sort_problems(problems)
    problems.extend(builder.duplicates(root))
    return Document(root, {file: builder.text}), sort_problems(problems)


def masked_source(raw: bytes) -> str:
    """The text of a file that could not be read as YAML, for snippets: all that may be a credential is masked."""
    return mask_broken(raw.decode(errors="replace").removeprefix("\ufeff"))


def _is_among(value: object, texts: frozenset[str]) -> bool:
    return isinstance(value, str) and value in texts


def merge_documents(documents: Sequence[Document]) -> tuple[Document, list[Problem]]:
    """Join the main file and its fragments, in that order. At least one.

    Mappings merge key by key, the stages of the pipeline one after another; ``version`` may be repeated. Anything else
    that two files set is a problem (LP008) that names both places; the first then stands.
    """
    problems: list[Problem] = []
    first, *others = documents
    if not others:
        return first, problems
    root = first.root
    for other in others:
        root = _merged(root, other.root, (), root.value, problems)
    texts = {file: text for document in documents for file, text in document.texts.items()}
    merged = Document(root, texts)
    merged.hide_values(value for document in documents for value in document.secret_values)
    return merged, sort_problems(problems)


def _merged(one: Node, other: Node, path: Path, data: object, problems: list[Problem]) -> Node:
    if isinstance(one.value, dict) and isinstance(other.value, dict):
        return _merged_mapping(one, other, path, data, problems)
    if isinstance(one.value, list) and isinstance(other.value, list) and path in _JOINED_LISTS:
        items = [*_children(one).values(), *_children(other).values()]
        return replace(
            one, value=[item.value for item in items], children=dict(enumerate(items)), pinned=False
        )
    if path != _REPEATABLE or repr(one.value) != repr(other.value):
        problems.append(_conflict(one, other, path, data))
    return one


def _merged_mapping(one: Node, other: Node, path: Path, data: object, problems: list[Problem]) -> Node:
    children = _children(one)
    for key, theirs in _children(other).items():
        ours = children.get(key)
        children[key] = theirs if ours is None else _merged(ours, theirs, (*path, key), data, problems)
    value = {key: child.value for key, child in children.items()}
    return replace(one, value=value, children=children, pinned=False)


def _children(node: Node) -> dict[str | int, Node]:
    """A copy. What an alias stands for moves to where the alias is, once it is no longer whole."""
    children = node.children or {}
    if not node.pinned:
        return dict(children)
    return {
        key: replace(child, file=node.file, mark=node.mark, key=None, pinned=True)
        for key, child in children.items()
    }


def _conflict(one: Node, other: Node, path: Path, data: object) -> Problem:
    return problem_at(
        "LP008",
        f"{describe(path, data)} is set in two files",
        span_of(other.file, other.key or other.mark, "set again here"),
        "keep one of the two: fragments add to each other and never override",
        secondary=(span_of(one.file, one.key or one.mark, "first set here"),),
    )
