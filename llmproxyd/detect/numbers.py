"""Numbers in a text: runs of digits, grouped or not, and a tree of the shapes that mean something.

A shape is written as people group it: ``3-2-4`` is three digits, a dash, two, a dash, four; ``16`` is ungrouped. A run such
as ``2024-01-15 4111 1111 1111 1111`` holds several numbers, so every group may begin one; the tree ends a walk at the
first group that fits nowhere, and no walk is longer than the longest shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TypeAlias

import msgspec

from llmproxyd.detect.context import Context, contexts_in, is_called_otherwise
from llmproxyd.values.privacy import Finding

Check: TypeAlias = Callable[[str], bool]
_Spans: TypeAlias = list[tuple[int, int]]

# Looking ahead first is what makes it cheap: digests are full of short runs of digits.
_RUN = re.compile(r"[0-9](?=[0-9 ./-]{7})(?:(?:[./-]| [/-]? ?)?[0-9]){7,}")
_GROUP = re.compile(r"[0-9]+")
_SHAPE = re.compile(r"([0-9]+)([ ./-]?)")
_NO_MARKS = str.maketrans("", "", " ./-")
_MAX_LOOSE_CHARS = 48


class Row(msgspec.Struct, frozen=True):
    """One kind of number. ``check`` gets its digits. ``context``: one of its words has to be near, if there is one.

    ``alone``: the number must not be one of several in a row. ``weak``: it is none where it is called something else.
    ``sequence_of``: in a row of groups of the same size it is one only if the groups before or behind are one as well, or
    one of these words is near.
    """

    kind: str
    shapes: tuple[str, ...]
    check: Check
    context: Context | None = None
    alone: bool = True
    weak: bool = True
    sequence_of: Context | None = None


class _Node(msgspec.Struct):
    rows: list[Row] = msgspec.field(default_factory=list)
    next: dict[tuple[str, int], _Node] = msgspec.field(default_factory=dict)


class _Said:
    """Which contexts occur in a text at all, asked once and only if a number needs it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._contexts: frozenset[Context] | None = None

    def anywhere(self, context: Context) -> bool:
        if self._contexts is None:
            self._contexts = contexts_in(self._text)
        return context in self._contexts


class Numbers:
    """Finds what its rows describe. ``loose``: rows whose numbers count however their digits are grouped, if the whole
    run is one; by number of digits."""

    def __init__(self, name: str, rows: Iterable[Row], loose: Mapping[int, tuple[Row, ...]]) -> None:
        self._name = name
        self._loose = loose
        self._first: dict[int, _Node] = {}
        for row in rows:
            for shape in row.shapes:
                self._plant(shape, row)

    def find(self, text: str) -> Iterator[Finding]:
        said = _Said(text)
        for match in _RUN.finditer(text):
            yield from self._in_run(text, *match.span(), said)

    def _plant(self, shape: str, row: Row) -> None:
        parts = _SHAPE.findall(shape)
        node = self._first.setdefault(int(parts[0][0]), _Node())
        for (_, separator), (size, _) in pairwise(parts):
            node = node.next.setdefault((separator, int(size)), _Node())
        node.rows.append(row)
        node.rows.sort(key=_precedence)

    def _in_run(self, text: str, start: int, end: int, said: _Said) -> Iterator[Finding]:
        alone = text[start:end].isdigit()
        if alone and end - start not in self._first:
            return
        first = int(is_glued_before(text, start))
        if alone and first:
            return
        spans = [(start, end)] if alone else _groups(text, start, end)
        last = len(spans) - is_glued_behind(text, end)
        found = list(self._in_groups(text, spans, first, last, said))
        entire = first == 0 and last == len(spans) > 1 and end - start <= _MAX_LOOSE_CHARS
        if entire and all(each.kind == "phone" for each in found):
            # Somebody's own grouping; a telephone number among some of its groups is chance.
            found = list(self._whole(text, start, end, said)) or found
        yield from found

    def _in_groups(self, text: str, spans: _Spans, first: int, last: int, said: _Said) -> Iterator[Finding]:
        at = first
        while at < last:
            found = self._longest(text, spans, at, last, said)
            if found is None:
                at += 1
            else:
                finding, at = found
                yield finding

    def _longest(
        self, text: str, spans: _Spans, at: int, last: int, said: _Said
    ) -> tuple[Finding, int] | None:
        """The longest number that begins with group ``at``, and the group behind it."""
        node = self._first.get(spans[at][1] - spans[at][0])
        best, stop = None, at
        while node is not None:
            row = next((row for row in node.rows if self._fits(row, text, spans, at, stop, said)), None)
            if row is not None:
                best = Finding(row.kind, spans[at][0], spans[stop][1], self._name), stop + 1
            stop += 1
            if stop >= last:
                break
            begin, end = spans[stop]
            node = node.next.get((text[begin - 1], end - begin))
        return best

    def _fits(self, row: Row, text: str, spans: _Spans, at: int, stop: int, said: _Said) -> bool:
        # Most texts say nothing of most kinds, and to know that costs less than a check.
        if row.context is not None and not said.anywhere(row.context):
            return False
        start, end = spans[at][0], spans[stop][1]
        if not row.check(_digits(text[start:end])):
            return False
        if row.context is not None:
            return row.context.beside(text, start, end)
        if row.alone and _goes_on(text, spans, at, stop):
            return False
        if row.sequence_of is not None and _in_sequence(row, text, spans, at, stop):
            return row.sequence_of.beside(text, start, end)
        return not (row.weak and is_called_otherwise(text, start))

    def _whole(self, text: str, start: int, end: int, said: _Said) -> Iterator[Finding]:
        number = _digits(text[start:end])
        for row in self._loose.get(len(number), ()):
            if not (row.context is None or said.anywhere(row.context)) or not row.check(number):
                continue
            if row.context is None or row.context.beside(text, start, end):
                yield Finding(row.kind, start, end, self._name)
                return


def _precedence(row: Row) -> tuple[bool, bool]:
    """Who is asked first: a row whose word has to be near, since that says more than a check; telephones last."""
    return row.kind == "phone", row.context is None


def _groups(text: str, start: int, end: int) -> list[tuple[int, int]]:
    return [match.span() for match in _GROUP.finditer(text, start, end)]


def _digits(text: str) -> str:
    return text.translate(_NO_MARKS)


def _goes_on(text: str, spans: _Spans, at: int, stop: int) -> bool:
    """Whether more groups stand around these, parted by what parts these themselves."""
    inner = {text[begin - 1] for begin, _ in spans[at + 1 : stop + 1]}
    before = {text[spans[at][0] - 1]} if at else set()
    behind = {text[spans[stop][1]]} if stop + 1 < len(spans) else set()
    around = before | behind
    return not around.isdisjoint(inner or {"-", ".", "/"})


def _in_sequence(row: Row, text: str, spans: _Spans, at: int, stop: int) -> bool:
    """Whether groups go on before or behind as they are in the number, and are no such number themselves."""
    count, size = stop + 1 - at, spans[at][1] - spans[at][0]
    sides = (spans[max(0, at - count) : at], spans[stop + 1 : stop + 1 + count])
    near = (side[-1] if side is sides[0] else side[0] for side in sides if side)
    if not any(end - begin == size for begin, end in near):
        return False
    return not any(
        len(side) == count and row.check(_digits(text[side[0][0] : side[-1][1]])) for side in sides
    )


def is_glued_before(text: str, start: int) -> bool:
    """Whether the sign at ``start`` goes on with a word, a decimal or a code that began before it."""
    if start == 0:
        return False
    sign = text[start - 1]
    if _is_word(sign) or text[max(0, start - 3) : start] == "(0)":
        return True
    return sign in "-./+@$€£" and (sign in "+$€£" or (start > 1 and _is_word(text[start - 2])))


def is_glued_behind(text: str, end: int) -> bool:
    """Whether what ends at ``end`` goes on as a word, a decimal, a file's name or a code."""
    if end >= len(text):
        return False
    sign, then = text[end], text[end + 1 : end + 2]
    if _is_word(sign) or sign in "@%":
        return True
    return (sign == "-" and _is_word(then)) or (
        sign in "./" and bool(then) and then.islower() and then.isascii()
    )


def _is_word(sign: str) -> bool:
    return sign.isascii() and (sign.isalnum() or sign == "_")
