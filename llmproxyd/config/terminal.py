"""Text on a terminal: what is safe to print, how many columns it takes, and how to make a long line fit."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from llmproxyd.config.mask import MASK

TAB_STOP: Final = 4
CUT: Final = "..."

_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_NO_WIDTH: Final = frozenset({"Mn", "Me"})


def visible(text: str) -> str:
    """``text`` on one line, with every character that a terminal might obey drawn as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_cells(text, tabs=False))


def display_width(text: str) -> int:
    """Columns that ``text`` takes, which must be visible already."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def wrap(text: str, width: int, indent: int) -> list[str]:
    """Break visible ``text`` between words; lines after the first are indented. Words that are too long are cut."""
    width = max(width, 8)
    indent = min(indent, width // 2)
    lines, line = [], ""
    for word in text.split(" "):
        glue = " " if line.strip() else ""
        if line.strip() and display_width(line) + 1 + display_width(word) > width:
            lines.append(line)
            line, glue = " " * indent, ""
        line += glue + word
        while display_width(line) > width:
            head = _head(line, width)
            lines.append(head)
            line = " " * indent + line[len(head) :]
    return [*lines, line]


class Line(msgspec.Struct, frozen=True):
    """A source line as shown. ``columns[i]`` is where its i-th character begins; the last entry is the end."""

    text: str
    columns: Sequence[int]

    def column_of(self, index: int) -> int:
        """Where the character stands, kept within what is shown; behind the end it goes on one by one."""
        last = len(self.columns) - 1
        return self.columns[index] if index <= last else self.columns[last] + index - last


def fit_line(source: str, start: int, end: int, width: int) -> Line:
    """Draw a line in at most ``width`` columns; a longer one is cut so that characters ``start`` to ``end`` show."""
    source = source.rstrip()
    cells = _cells(source, tabs=True)
    columns = [0]
    for cell in cells:
        columns.append(columns[-1] + display_width(cell))
    total = columns[-1]
    if total <= width:
        return Line("".join(cells), columns)
    first, last = (columns[min(index, len(cells))] for index in (start, end))
    spare = max(0, width - (last - first)) // 2
    left = max(0, min(first - spare, first - len(CUT), total - width))
    return _cut(cells, columns, left, width)


def _cut(cells: Sequence[str], columns: Sequence[int], left: int, width: int) -> Line:
    total = columns[-1]
    low = left + len(CUT) if left else 0
    high = left + width - (len(CUT) if left + width < total else 0)
    kept = [index for index, cell in enumerate(cells) if columns[index] >= low and columns[index + 1] <= high]
    head = CUT if left else ""
    tail = CUT if left + width < total else ""
    origin = columns[kept[0]] - len(head) if kept else left
    text = head + "".join(cells[index] for index in kept) + tail
    limit = display_width(text)
    return Line(text, [min(max(column - origin, 0), limit) for column in columns])


def _cells(text: str, *, tabs: bool) -> list[str]:
    """What is drawn for each character; a run of masked ones is drawn by its first."""
    cells: list[str] = []
    column = 0
    for index, char in enumerate(text):
        if char == MASK:
            cell = "" if index and text[index - 1] == MASK else "***"
        elif char == "\t" and tabs:
            cell = " " * (TAB_STOP - column % TAB_STOP)
        else:
            cell = _safe(char)
        cells.append(cell)
        column += display_width(cell)
    return cells


@lru_cache(maxsize=4096)
def _safe(char: str) -> str:
    if unicodedata.category(char) not in _UNSAFE_CATEGORIES:
        return char
    return (
        char.encode("unicode_escape").decode() if char.isascii() or ord(char) > 255 else f"\\x{ord(char):02x}"
    )


@lru_cache(maxsize=4096)
def _char_width(char: str) -> int:
    if unicodedata.category(char) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _head(text: str, width: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += _char_width(char)
        if used > width:
            return text[: max(1, index)]
    return text
