"""The bytes of a file -> YAML events, or the problem that keeps a reader from going on, in words that help.

libyaml does the reading (the pure Python reader where it is missing). Its complaints are exact and hard to understand;
the table here says what people usually did when they meet one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

import msgspec
import yaml

from llmproxyd.config.mask import LINE_BREAK
from llmproxyd.config.phrases import counted
from llmproxyd.config.problem import Problem, Severity, Span

MAX_BYTES: Final = 8 * 1024 * 1024

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WIDE_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_TAB_INDENT: Final = re.compile(r"(?:^|(?<=[\r\n])) *\t[ \t]*(?=[^\s#])")
_MAX_CONTROL_PROBLEMS: Final = 5


class Unreadable(Exception):  # noqa: N818 - it is a verdict on a file, not a fault of the program
    """Reading cannot go on; ``problems`` say why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


def decode_text(raw: bytes, file: str) -> str:
    """UTF-8 bytes -> text, without a byte order mark. Raises Unreadable."""
    if len(raw) > MAX_BYTES:
        message = f"the file has {len(raw):,} bytes; at most {MAX_BYTES:,} are read"
        help_ = "split it into fragments, or check that it is the right file"
        raise Unreadable(_error("LP007", message, _spot(file, "", 0, 0), help_))
    if raw.startswith(_WIDE_MARKS):
        raise Unreadable(
            _error("LP005", "the file is UTF-16 or UTF-32", _spot(file, "", 0, 0), "save it as UTF-8")
        )
    try:
        text = raw.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise Unreadable(_not_utf8(raw, error, file)) from None
    unprintable = _unprintable(text, file)
    if unprintable:
        raise Unreadable(*unprintable)
    return text


def parse_events(text: str, file: str) -> Iterator[yaml.Event]:
    """Text -> the events of its YAML, one by one. Raises Unreadable at the first place that is no YAML."""
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise Unreadable(_syntax_problem(error, text, file)) from None
    except yaml.YAMLError as error:
        raise Unreadable(_error("LP001", f"not readable as YAML: {error}", _spot(file, text, 0, 0))) from None


class _Explanation(msgspec.Struct, frozen=True):
    """``complaint``: what the reader said. ``at_context``: the fault is where the construct began, not where it was
    noticed. ``label`` stands beside the marks."""

    complaint: re.Pattern[str]
    message: str
    label: str
    help: str
    at_context: bool = False


def _explain(
    complaint: str, message: str, label: str, help_: str, *, at_context: bool = False
) -> _Explanation:
    return _Explanation(re.compile(complaint), message, label, help_, at_context)


_EXPLANATIONS: Final = (
    _explain(
        r"quoted scalar.*unexpected end of stream|quoted scalar.*document indicator",
        "a quote is opened and never closed",
        "opened here",
        "close it with the same quote; a single quote inside single quotes is written twice: 'it''s'",
        at_context=True,
    ),
    _explain(
        r"unknown escape character|expected hexadecimal|escape sequence of|invalid Unicode character escape",
        "a backslash that means nothing in double quotes",
        "unknown escape",
        r"use single quotes, in which a backslash is only a backslash: '\d+', or double it: \"\\d+\"",
    ),
    _explain(
        r"sequence entries are not allowed",
        "a list item cannot stand here",
        "this `-`",
        "put each item on its own line below the key: a line `models:`, then lines `  - name`; or write [a, b]",
    ),
    _explain(
        r"could not find expected ':'",
        "a line that is neither `key: value` nor a list item",
        "expected `:` after this",
        "add `: value`, or indent the line if it belongs to the one above; a space must follow the colon",
        at_context=True,
    ),
    _explain(
        r"flow sequence.*expected ',' or '\]'",
        "a list in [ ] is not closed",
        "opened here",
        "close it with `]` and put a comma between items",
        at_context=True,
    ),
    _explain(
        r"flow mapping.*expected ',' or '\}'",
        "a mapping in { } is not closed",
        "opened here",
        "close it with `}` and put a comma between entries: {a: 1, b: 2}",
        at_context=True,
    ),
    _explain(
        r"expected (?:the )?node content",
        "a value is missing or a bracket is left over",
        "nothing can be read here",
        "check that every bracket has its partner; quote a value that begins with a bracket or a comma",
    ),
    _explain(
        r"expected alphabetic or numeric character",
        "`*` and `&` begin an alias or an anchor, and no name follows",
        "here",
        "quote the value if the sign is meant: '*'",
    ),
    _explain(
        r"cannot start any token",
        "a value cannot begin with this character",
        "needs quotes",
        'quote the value: "@name"',
    ),
    _explain(
        r"expected <document start>|expected '<document start>'",
        "text after the end of the document",
        "here",
        "delete what follows `...`; a file holds one document",
    ),
    _explain(
        r"expected '-' indicator|block collection.*expected <block end>",
        "a key where the list above goes on",
        "expected `- `, or another indent",
        "indent it as deep as the key it belongs beside; items of one list begin in the same column",
    ),
    _explain(
        r"expected key|expected <block end>",
        "this does not belong to the mapping around it",
        "unexpected",
        "keys of one mapping begin in the same column; what follows a closing quote is not part of the value",
    ),
)
_INNER_COLON: Final = _explain(
    "", "a second `: ` in one value", "this colon", 'quote the value if the colon is part of it: key: "a: b"'
)
_TOO_DEEP: Final = _explain(
    "",
    "this key does not fit the line above",
    "this colon",
    "put it in the same column as its neighbours; a key above that holds a mapping ends in `:` with no value",
)


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    tabs = _tab_problem(text, file)
    if tabs is not None:
        return tabs
    mark = error.problem_mark or error.context_mark
    explanation = _explanation_of(error, text)
    if explanation is None:
        said = " ".join(part for part in (error.context, error.problem) if part)
        return _error("LP001", f"not valid YAML: {said}", _at(mark, text, file, "here"))
    if explanation.at_context and error.context_mark is not None:
        mark = error.context_mark
    return _error("LP001", explanation.message, _at(mark, text, file, explanation.label), explanation.help)


def _explanation_of(error: yaml.MarkedYAMLError, text: str) -> _Explanation | None:
    said = f"{error.context or ''} {error.problem or ''}"
    if "mapping values are not allowed" in said and error.problem_mark is not None:
        line = _lines(text)[error.problem_mark.line][: error.problem_mark.column]
        return _INNER_COLON if re.search(r":\s", line) else _TOO_DEEP
    return next((each for each in _EXPLANATIONS if each.complaint.search(said)), None)


def _tab_problem(text: str, file: str) -> Problem | None:
    """Tabs are data in many places, so they are looked for only once the reader has given up."""
    found = [match.end() - len(match[0].lstrip(" ")) for match in _TAB_INDENT.finditer(text)]
    if not found:
        return None
    line, column = _line_and_column(text, found[0])
    more = f" (and in {counted(len(found) - 1, 'more line')})" if len(found) > 1 else ""
    span = _spot(file, text, line, column, "tab")
    return _error(
        "LP005", f"a tab in the indentation{more}", span, "indent with spaces; YAML does not allow tabs there"
    )


def _not_utf8(raw: bytes, error: UnicodeDecodeError, file: str) -> Problem:
    before = raw[: error.start].decode(errors="replace").removeprefix("\ufeff")
    line, column = _line_and_column(before, len(before))
    shown = before + "\ufffd"
    return _error(
        "LP005",
        f"byte 0x{raw[error.start]:02x} is not valid UTF-8",
        _spot(file, shown, line, column, "here"),
        "save the file as UTF-8",
    )


def _unprintable(text: str, file: str) -> list[Problem]:
    problems = []
    for found in _UNPRINTABLE.finditer(text):
        line, column = _line_and_column(text, found.start())
        message = f"the character U+{ord(found[0]):04X} is not allowed in YAML"
        help_ = 'delete it; inside double quotes it may be written as an escape such as "\\x1b"'
        problems.append(_error("LP005", message, _spot(file, text, line, column, "here"), help_))
        if len(problems) == _MAX_CONTROL_PROBLEMS:
            break
    return problems


def _at(mark: yaml.Mark | None, text: str, file: str, label: str) -> Span:
    return _spot(file, text, mark.line, mark.column, label) if mark else _spot(file, text, 0, 0, label)


def _spot(file: str, text: str, line: int, column: int, label: str = "") -> Span:
    """One character, given from 0; a place behind the last line (the reader's idea of the end) moves to its end."""
    lines = _lines(text)
    while line > 0 and (line >= len(lines) or not lines[line].strip()) and column == 0:
        line -= 1
        column = len(lines[line].rstrip()) if line < len(lines) and lines[line].strip() else 0
    return Span(file, line + 1, column + 1, column + 2, label)


def _line_and_column(text: str, offset: int) -> tuple[int, int]:
    line, start = 0, 0
    for found in LINE_BREAK.finditer(text, 0, offset):
        line, start = line + 1, found.end()
    return line, offset - start


def _lines(text: str) -> list[str]:
    return LINE_BREAK.split(text)


def _error(code: str, message: str, span: Span, help_: str = "") -> Problem:
    return Problem(code, Severity.ERROR, message, span, helps=(help_,) if help_ else ())
