"""YAML events -> a tree of nodes: every key and value with its place, and which of them hold credentials.

Built straight from the events, so that an alias knows where it was used, nesting cannot exhaust a stack, and an alias
bomb costs nothing. What scalars mean is ``scalars``' business, what the reader's complaints mean ``yamltext``'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import yaml

from llmproxyd.config.mask import Mark, is_reference, is_secret_name
from llmproxyd.config.places import Path, describe
from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.config.scalars import resolve_plain
from llmproxyd.config.suggest import closest
from llmproxyd.config.yamltext import Unreadable

MAX_NODES: Final = 250_000
"""Keys and values of one file, counted after aliases are expanded."""
MAX_DEPTH: Final = 64
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Node(msgspec.Struct):
    """One value and where it stands. ``key``: where its key stands. ``pinned``: an alias; all below it stands here too.
    ``broken``: an alias for nothing, so that nobody knows the value.

    ``value`` shares dicts and lists with the nodes below: nobody changes them. ``size`` counts nodes, aliases expanded.
    """

    value: Any
    file: str
    mark: Mark
    key: Mark | None = None
    children: dict[str | int, Node] | None = None
    pinned: bool = False
    secret: bool = False
    broken: bool = False
    size: int = 1


class Text(msgspec.Struct):
    """The text of a file, and what of it must not be shown."""

    text: str
    hidden: list[Mark] = msgspec.field(default_factory=list)
    quoted: list[Mark] = msgspec.field(default_factory=list)


class _Frame:
    """A mapping or list that is still open."""

    __slots__ = ("anchor", "key", "key_mark", "node", "secret", "skip")

    def __init__(self, node: Node, anchor: str | None, secret: bool) -> None:
        self.node = node
        self.anchor = anchor
        self.secret = secret
        self.key: str | None = None
        self.key_mark: Mark | None = None
        self.skip = False


class Builder:
    """Events in, nodes out."""

    def __init__(self, text: str, file: str, problems: list[Problem]) -> None:
        self.root: Node | None = None
        self.text = Text(text)
        self._file = file
        self._problems = problems
        self._open: list[_Frame] = []
        self._anchors: dict[str, Node] = {}
        self._size = 0
        self._documents = 0
        self._duplicates: list[tuple[Path, Mark, Mark]] = []
        self._handlers: dict[type[yaml.Event], Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }

    def feed(self, event: yaml.Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def duplicates(self, root: Node) -> list[Problem]:
        """Told at the end, when the names of rules are known."""
        return [
            problem_at(
                "LP003",
                f"duplicate key `{path[-1]}` in {describe(path[:-1], root.value)}",
                span_of(self._file, second, "second definition would silently win"),
                "delete one of the two lines; YAML 1.2 forbids duplicate keys",
                secondary=(span_of(self._file, first, "first definition"),),
            )
            for path, first, second in self._duplicates
        ]

    def _document(self, event: yaml.DocumentStartEvent) -> None:
        self._documents += 1
        if self._documents > 1:
            help_ = "keep one document per file; delete the `---` or move the rest into a fragment"
            raise Unreadable(problem_at("LP001", "a second YAML document", self._at(event), help_))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        mark = _mark(event)
        plain = not event.style
        if not plain and "#" in event.value:
            self.text.quoted.append(mark)
        frame = self._open[-1] if self._open else None
        if frame is not None and frame.key is None and _is_mapping(frame):
            self._key(frame, event, mark, plain)
            return
        secret = frame is not None and _holds_secret(frame) and not _is_last_day(frame, event.value)
        value = resolve_plain(event.value) if plain and event.tag is None else event.value
        if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:str"):
            self._refuse_tag(event.tag, event)
        if secret and value is not None and not is_reference(event.value):
            self.text.hidden.append(mark)
        node = Node(value, self._file, mark, secret=secret)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._add(node)

    def _key(self, frame: _Frame, event: yaml.ScalarEvent, mark: Mark, plain: bool) -> None:
        """Keys are names, so they stay as written: `on`, `404` and `null` are texts here."""
        frame.key, frame.key_mark = event.value, mark
        known = (frame.node.children or {}).get(event.value)
        if plain and event.value == "<<":
            frame.skip = True
            help_ = "write the keys out; an alias may stand for a whole value: `timeouts: *shared`"
            self._problems.append(
                problem_at("LP001", "merge keys (`<<`) are not supported", self._at(event), help_)
            )
        elif known is not None and known.key is not None:
            frame.skip = True
            path = (*self._path(), event.value)
            self._duplicates.append((path, known.key, mark))

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        self._check_key_is_text(event)
        if len(self._open) >= MAX_DEPTH:
            message = f"nested more than {MAX_DEPTH} levels deep"
            raise Unreadable(
                problem_at("LP007", message, self._at(event), "check for brackets that are not closed")
            )
        if event.tag is not None and event.tag != "!":
            self._refuse_tag(event.tag, event)
        secret = bool(self._open) and _holds_secret(self._open[-1])
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        node = Node(value, self._file, _mark(event), children={}, secret=secret)
        self._open.append(_Frame(node, event.anchor, secret))

    def _end(self, event: yaml.MappingEndEvent | yaml.SequenceEndEvent) -> None:
        frame = self._open.pop()
        frame.node.mark = _whole(frame.node, event)
        if frame.anchor:
            self._anchors[frame.anchor] = frame.node
        self._add(frame.node)

    def _alias(self, event: yaml.AliasEvent) -> None:
        self._check_key_is_text(event)
        target = self._anchors.get(event.anchor or "")
        node = Node(None, self._file, _mark(event), pinned=True)
        if target is None or any(frame.anchor == event.anchor for frame in self._open):
            node.broken = True
            self._problems.append(self._bad_alias(event))
        else:
            node.value, node.children, node.size = target.value, target.children, target.size
            self._hide_below(target)
            node.secret = target.secret
        self._add(node)

    def _hide_below(self, target: Node) -> None:
        """Credentials may be given as an alias; then they stand where the anchor is."""
        if not (self._open and _holds_secret(self._open[-1])):
            return
        for node in walk(target):
            if isinstance(node.value, str) and not is_reference(node.value):
                node.secret = True
                self.text.hidden.append(node.mark)

    def _add(self, node: Node) -> None:
        self._size += node.size
        if self._size > MAX_NODES:
            raise Unreadable(self._too_many(node))
        if not self._open:
            self.root = node
            return
        frame = self._open[-1]
        parent, key = frame.node, frame.key
        children, value = parent.children, parent.value
        assert children is not None
        parent.size += node.size
        if isinstance(value, list):
            children[len(value)] = node
            value.append(node.value)
            return
        assert key is not None
        if not frame.skip:
            node.key = frame.key_mark
            children[key] = node
            value[key] = node.value
        frame.key, frame.skip = None, False

    def _check_key_is_text(self, event: yaml.NodeEvent) -> None:
        if self._open and self._open[-1].key is None and _is_mapping(self._open[-1]):
            raise Unreadable(
                problem_at(
                    "LP001",
                    "a key must be a text",
                    self._at(event),
                    "quote it if it begins with a bracket or a sign",
                )
            )

    def _bad_alias(self, event: yaml.AliasEvent) -> Problem:
        name = event.anchor or ""
        if any(frame.anchor == name for frame in self._open):
            return problem_at(
                "LP004", f"alias `*{name}` contains itself", self._at(event), "write the value out"
            )
        near = closest(name, self._anchors)
        help_ = f"did you mean `*{near}`?" if near else f'quote the value if the sign is meant: "*{name}"'
        return problem_at(
            "LP001", f"alias `*{name}` has no anchor `&{name}` before it", self._at(event), help_
        )

    def _too_many(self, node: Node) -> Problem:
        span = span_of(self._file, node.mark)
        if not self._anchors:
            return problem_at(
                "LP007", f"more than {MAX_NODES:,} keys and values", span, "split the file into fragments"
            )
        message = f"aliases expand to more than {MAX_NODES:,} keys and values"
        return problem_at("LP004", message, span, "aliases of aliases multiply; write the values out")

    def _refuse_tag(self, tag: str, event: yaml.NodeEvent) -> None:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        help_ = "delete the tag; quote the value if the `!` is part of it"
        self._problems.append(
            problem_at("LP001", f"YAML tags such as `{shown}` are not supported", self._at(event), help_)
        )

    def _path(self) -> tuple[str | int, ...]:
        above = self._open[:-1]
        return tuple(
            len(frame.node.value) if isinstance(frame.node.value, list) else str(frame.key) for frame in above
        )

    def _at(self, event: yaml.Event) -> Span:
        return span_of(self._file, _mark(event))


def _is_mapping(frame: _Frame) -> bool:
    return isinstance(frame.node.value, dict)


def _holds_secret(frame: _Frame) -> bool:
    return frame.secret or (frame.key is not None and is_secret_name(frame.key))


def _is_last_day(frame: _Frame, text: str) -> bool:
    """A day beside a key is no secret, and people have to see which one is over."""
    return frame.key == "until" and _DAY.fullmatch(text) is not None


def _mark(event: yaml.Event) -> Mark:
    start, end = event.start_mark, event.end_mark
    assert start is not None
    assert end is not None
    return start.line, start.column, end.line, end.column


def _whole(node: Node, end: yaml.Event) -> Mark:
    """From the first to the last character. A block's own end is where the next thing begins: too far by blank lines."""
    start, closing = node.mark[:2], _mark(end)
    if closing[:2] != closing[2:] or not node.children:
        return *start, *closing[2:]
    last = next(reversed(node.children.values()))
    return *start, *last.mark[2:]


def span_of(file: str, mark: Mark, label: str = "") -> Span:
    line, column, end_line, end_column = mark
    last = end_line + 1 if end_line != line else None
    return Span(file, line + 1, column + 1, end_column + 1, label, last)


def walk(root: Node) -> Iterator[Node]:
    """Every node that is written out: what is below an alias is met where its anchor is."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if node.children and not node.pinned:
            waiting.extend(node.children.values())


def problem_at(code: str, message: str, span: Span, *helps: str, secondary: tuple[Span, ...] = ()) -> Problem:
    return Problem(code, Severity.ERROR, message, span, secondary, helps)
