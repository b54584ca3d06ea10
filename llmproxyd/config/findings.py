"""Where the checks after the schema put what they find: problems of one document, told by path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmproxyd.config.document import Document
from llmproxyd.config.places import Path
from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.values.snapshot import Place

_LISTED_AT_MOST = 8


class Findings:
    """Collects the problems of ``document`` in ``problems``, a list that several documents may share."""

    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self.document = document
        self.problems = problems

    def error(
        self,
        code: str,
        at: Path | Span,
        message: str,
        *helps: str,
        label: str = "",
        secondary: Sequence[Span] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """``at``: a path (the problem is its value) or a span."""
        self._add(code, Severity.ERROR, at, message, helps, label, secondary, notes)

    def warning(
        self,
        code: str,
        at: Path | Span,
        message: str,
        *helps: str,
        label: str = "",
        secondary: Sequence[Span] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """As ``error``, but the configuration stays usable."""
        self._add(code, Severity.WARNING, at, message, helps, label, secondary, notes)

    def key(self, path: Path, label: str = "") -> Span:
        """The span of the key at ``path``."""
        return self.document.key_span(path).labelled(label)

    def value(self, path: Path, label: str = "") -> Span:
        """The span of the value at ``path``."""
        return self.document.value_span(path).labelled(label)

    def part(self, path: Path, text: str, length: int, *, start: int = 0) -> Span:
        """The span of ``text[start:start + length]`` in the value at ``path``; all of it where that cannot be told."""
        span = self.document.value_span(path)
        width = span.end_column - span.column
        offset = {len(text): 0, len(text) + 2: 1}.get(width)
        if offset is None or span.end_line is not None:
            return span
        column = span.column + offset + start
        return Span(span.file, span.line, column, column + length)

    def place(self, path: Path) -> Place:
        """Where the key at ``path`` (of a list's item: the item) is written."""
        return _start_of(self.document.key_span(path))

    def place_of_value(self, path: Path) -> Place:
        """Where the value at ``path`` is written."""
        return _start_of(self.document.value_span(path))

    def _add(
        self,
        code: str,
        severity: Severity,
        at: Path | Span,
        message: str,
        helps: Sequence[str],
        label: str,
        secondary: Sequence[Span],
        notes: Sequence[str],
    ) -> None:
        span = at if isinstance(at, Span) else self.document.value_span(at)
        if label:
            span = span.labelled(label)
        helps = tuple(text for text in helps if text)
        self.problems.append(Problem(code, severity, message, span, tuple(secondary), helps, tuple(notes)))


def _start_of(span: Span) -> Place:
    return Place(span.file, span.line, span.column)


def did_you_mean(near: str | None) -> str:
    """A help that names the nearest known name; empty if there is none."""
    return f"did you mean `{near}`?" if near else ""


def list_names(names: Iterable[str]) -> str:
    """``a, b, c``: a few names in order, with a count of the rest."""
    ordered = sorted(names)
    shown = ", ".join(ordered[:_LISTED_AT_MOST])
    rest = len(ordered) - _LISTED_AT_MOST
    return f"{shown} and {rest} more" if rest > 0 else shown or "none"
