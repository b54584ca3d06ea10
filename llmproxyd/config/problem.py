"""A fault in the files: what is wrong, where, and what to do. A value; showing it is ``report``'s business.

Lines and columns count from 1 and columns count characters; ends are exclusive, as in a slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec
from msgspec.structs import replace

MAX_PROBLEMS = 50
"""Nobody reads more in one go; the first ones usually explain the rest."""


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


class Span(msgspec.Struct, frozen=True):
    """A piece of a file. ``end_line`` None: it ends on the line it starts on. ``label`` is shown beside the marks."""

    file: str
    line: int
    column: int
    end_column: int
    label: str = ""
    end_line: int | None = None

    def labelled(self, label: str) -> Span:
        return replace(self, label=label)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(msgspec.Struct, frozen=True):
    """One fault. ``code`` is a key of ``codes.CODES``; ``message`` is one line without a full stop.

    ``secondary``: other places that belong to it, in any file. ``helps`` say what to do. ``notes`` say what to know; one
    that begins with ``schema: ``, ``searched: ``, ``path: `` or ``try: `` is shown under that word instead of ``note``.
    """

    code: str
    severity: Severity
    message: str
    span: Span | None = None
    secondary: tuple[Span, ...] = ()
    helps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def has_errors(problems: Iterable[Problem]) -> bool:
    return any(problem.severity is Severity.ERROR for problem in problems)


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """By file, line and column; on the same spot errors come first. Those without a place lead. Repeats are dropped."""
    return sorted(dict.fromkeys(problems), key=_reading_order)


def cap_problems(problems: Sequence[Problem], limit: int = MAX_PROBLEMS) -> list[Problem]:
    """At most ``limit`` problems in reading order, the last with a note on how many are missing.

    Warnings give way first: an error is never left out while a warning stays.
    """
    if len(problems) <= limit:
        return sort_problems(problems)
    ranked = sorted(sort_problems(problems), key=lambda problem: problem.severity is not Severity.ERROR)
    shown = sort_problems(ranked[:limit])
    missing = len(ranked) - len(shown)
    if missing:
        note = f"{missing} more not shown; fix these and check again"
        shown[-1] = replace(shown[-1], notes=(*shown[-1].notes, note))
    return shown


def _reading_order(problem: Problem) -> tuple[str, int, int, bool, str]:
    is_warning = problem.severity is not Severity.ERROR
    if problem.span is None:
        return ("", 0, 0, is_warning, problem.code)
    return (problem.span.file, problem.span.line, problem.span.column, is_warning, problem.code)
