"""Problems as people see them (a snippet with marks under it) and as programs read them (JSON).

Text is plain ASCII around the user's own words, at most ``width`` columns wide, and safe for a terminal: whatever could
move a cursor, change a colour or turn the reading direction is drawn as an escape. Masked credentials become ``***``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from llmproxyd.config.codes import CODES
from llmproxyd.config.mask import LINE_BREAK
from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.config.terminal import Line, display_width, fit_line, visible, wrap

JSON_VERSION: Final = 1

_LABELLED_NOTES: Final = ("schema", "searched", "path", "try")
_BEFORE_HELP: Final = ("searched", "path")
_MIN_LABEL_WIDTH: Final = 24

_STYLES: Final = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "frame": "\x1b[1;34m",
    "strong": "\x1b[1m",
}
_RESET: Final = "\x1b[0m"


def format_text(
    problems: Sequence[Problem], sources: Mapping[str, str], *, color: bool = False, width: int = 100
) -> str:
    """Each problem with the lines it is about, in the order given, then a line that counts them; empty for none.

    ``sources``: file -> text with credentials masked (``Document.sources``, ``masked_source``); a file that is missing
    is only named. Ends with a newline.
    """
    if not problems:
        return ""
    lines_of = {file: LINE_BREAK.split(text) for file, text in sources.items()}
    page = _Page(lines_of, width, color)
    blocks = ["\n".join(page.block(problem, show_docs=index == 0)) for index, problem in enumerate(problems)]
    return "\n\n".join([*blocks, format_summary(problems)]) + "\n"


def format_summary(problems: Iterable[Problem]) -> str:
    """``2 errors, 1 warning``."""
    counts = _counts(problems)
    parts = [
        f"{number} {noun}{'' if number == 1 else 's'}"
        for noun, number in (("error", counts["errors"]), ("warning", counts["warnings"]))
        if number
    ]
    return ", ".join(parts) or "no problems"


def format_line(problem: Problem) -> str:
    """One problem on one line, for logs: ``providers.yaml:9:5: error[LP101]: unknown key …``."""
    place = f"{visible(str(problem.span))}: " if problem.span else ""
    return f"{place}{problem.severity}[{problem.code}]: {visible(problem.message)}"


def format_json(problems: Sequence[Problem]) -> str:
    """``{"version": 1, "problems": [...], "summary": {"errors", "warnings"}}``, pure ASCII.

    A problem has code, title, severity, message, span, secondary, helps, notes, docs; a span (or null) has file, line,
    column, end_line, end_column, label. Lines and columns count from 1, ends are exclusive.
    """
    document = {
        "version": JSON_VERSION,
        "problems": [_problem_object(problem) for problem in problems],
        "summary": _counts(problems),
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _problem_object(problem: Problem) -> dict[str, Any]:
    code = CODES.get(problem.code)
    return {
        "code": problem.code,
        "title": code.title if code else None,
        "severity": str(problem.severity),
        "message": problem.message,
        "span": _span_object(problem.span) if problem.span else None,
        "secondary": [_span_object(span) for span in problem.secondary],
        "helps": list(problem.helps),
        "notes": list(problem.notes),
        "docs": _docs(problem.code),
    }


def _span_object(span: Span) -> dict[str, Any]:
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line or span.line,
        "end_column": span.end_column,
        "label": span.label,
    }


def _docs(code: str) -> str | None:
    return f"llmproxyd explain {code}" if code in CODES else None


def _counts(problems: Iterable[Problem]) -> dict[str, int]:
    severities = [problem.severity for problem in problems]
    return {
        "errors": severities.count(Severity.ERROR),
        "warnings": severities.count(Severity.WARNING),
    }


class _Page(msgspec.Struct, frozen=True):
    """What a block needs to know of its surroundings."""

    lines_of: Mapping[str, Sequence[str]]
    width: int
    color: bool

    def block(self, problem: Problem, *, show_docs: bool) -> Iterator[str]:
        yield from self._title(problem)
        spans = [problem.span, *problem.secondary] if problem.span else []
        by_file: dict[str, list[Span]] = {}
        for span in spans:
            by_file.setdefault(span.file, []).append(span)
        gutter = 1
        for index, (file, here) in enumerate(by_file.items()):
            own_gutter = max(len(str(span.line)) for span in here)
            if index == 0:
                gutter = own_gutter
            arrow = "-->" if index == 0 else ":::"
            yield " " * gutter + self._paint("frame", arrow) + f" {visible(str(here[0]))}"
            if self._known(file, here):
                if index == 0:
                    yield " " * (gutter + 1) + self._paint("frame", "|")
                yield from self._snippet(problem, here, own_gutter)
        for label, text in _footnotes(problem, show_docs=show_docs):
            yield from self._footnote(label, text, gutter)

    def _title(self, problem: Problem) -> Iterator[str]:
        tag = f"{problem.severity}[{problem.code}]"
        first, *rest = wrap(f"{tag}: {visible(problem.message)}", self.width, 4)
        yield self._paint(problem.severity, tag) + self._paint("strong", first.removeprefix(tag))
        yield from (self._paint("strong", line) for line in rest)

    def _known(self, file: str, spans: Sequence[Span]) -> bool:
        return all(0 < span.line <= len(self.lines_of.get(file, ())) for span in spans)

    def _snippet(self, problem: Problem, spans: Sequence[Span], gutter: int) -> Iterator[str]:
        """The lines that the spans stand on, each with a row of marks for each of its spans."""
        before: int | None = None
        for number in sorted({span.line for span in spans}):
            if before is not None and number > before + 1:
                yield self._paint("frame", "...")
            before = number
            here = sorted((span for span in spans if span.line == number), key=lambda span: span.column)
            main = problem.span if problem.span in here else here[0]
            assert main is not None
            source = self.lines_of[main.file][number - 1]
            line = fit_line(source, main.column - 1, _end(main, source), self.width - gutter - 3)
            yield f"{self._paint('frame', f'{number:>{gutter}} |')} {line.text}".rstrip()
            for span in here:
                yield from self._marks(line, span, source, gutter, problem if span is problem.span else None)

    def _marks(
        self, line: Line, span: Span, source: str, gutter: int, problem: Problem | None
    ) -> Iterator[str]:
        room = self.width - gutter - 3
        start = min(line.column_of(span.column - 1), room - 1)
        end = min(max(start + 1, line.column_of(_end(span, source))), room)
        marks = ("^" if problem else "-") * (end - start)
        style = problem.severity if problem else "frame"
        bar = " " * (gutter + 1) + self._paint("frame", "|") + " "
        beside, below = _place_label(visible(span.label), start, end, room)
        yield bar + " " * start + self._paint(style, f"{marks} {beside}".rstrip())
        for column, row in below:
            yield bar + " " * column + self._paint(style, row)

    def _footnote(self, label: str, text: str, gutter: int) -> Iterator[str]:
        head = " " * (gutter + 1) + "= "
        first, *rest = wrap(f"{label}: {visible(text)}", self.width - len(head), len(label) + 2)
        yield (
            " " * (gutter + 1)
            + self._paint("frame", "=")
            + " "
            + self._paint("strong", f"{label}:")
            + first.removeprefix(f"{label}:")
        )
        yield from (" " * len(head) + line for line in rest)

    def _paint(self, style: str, text: str) -> str:
        return f"{_STYLES[style]}{text}{_RESET}" if self.color and text else text


def _place_label(label: str, start: int, end: int, room: int) -> tuple[str, list[tuple[int, str]]]:
    """What of a label stands beside its marks, and what in rows below them: (column, text)."""
    width = display_width(label)
    left = room - end - 1
    if left >= min(_MIN_LABEL_WIDTH, width):
        beside, *rest = wrap(label, left, 0)
        return beside, [(end + 1, row) for row in rest]
    column = max(0, min(start, room - min(width, 2 * _MIN_LABEL_WIDTH)))
    return "", [(column, row) for row in wrap(label, room - column, 0)]


def _footnotes(problem: Problem, *, show_docs: bool) -> list[tuple[str, str]]:
    """Label and text of the lines below the snippet: what was looked at, what to do, what to know."""
    notes = [_labelled(note) for note in problem.notes]
    found = [
        *(note for note in notes if note[0] in _BEFORE_HELP),
        *(("help", text) for text in problem.helps),
        *(note for note in notes if note[0] not in _BEFORE_HELP),
    ]
    docs = _docs(problem.code)
    if show_docs and docs:
        # Once is enough to teach the command; under every problem it would be noise.
        found.append(("docs", f"`{docs}`"))
    return found


def _labelled(note: str) -> tuple[str, str]:
    label, _, text = note.partition(": ")
    return (label, text) if label in _LABELLED_NOTES else ("note", note)


def _end(span: Span, source: str) -> int:
    """Where the marks end, from 0; a span of several lines is marked to the end of its first."""
    if span.end_line is not None and span.end_line != span.line:
        return len(source.rstrip())
    return span.end_column - 1
