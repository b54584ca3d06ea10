"""What of a file may be shown: everything but credentials and comments (people park old keys there).

Masked text keeps its length and its lines, so that every line and column still fits. Hidden characters become ``MASK``,
which no YAML file can hold; whoever shows the text draws a run of them as ``***``, so that not even the length is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from llmproxyd.config.suggest import distance

MASK: Final = "\uffff"

Mark: TypeAlias = tuple[int, int, int, int]
"""Line and column of a start and of an end, from 0, as YAML readers count."""

LINE_BREAK: Final = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
"""What ends a line for a YAML reader."""

_REFERENCE: Final = re.compile(r"\$\{(?:env|cred|file|keyring):[^{}:]*\}")
_COMMENT: Final = re.compile(r"(?:^|(?<=[ \t\r\n]))#[^\r\n\x85\u2028\u2029]*")
_SECRET_NAME: Final = re.compile(
    r"(?:.*[-_. ])?(?:keys?|token|secrets?|passw(?:or)?d|authorization|credentials?|headers|webhooks?)|auth|.*apikeys?"
)
_NO_SECRETS: Final = frozenset({"first_token", "per_token", "max_token"})
_SHAPES: Final = (
    re.compile(r"\b(?:sk|pk|rk|pplx)[-_][-_A-Za-z0-9]{8,}"),
    re.compile(r"\b(?:xai-|gsk_|hf_|gh[posur]_|glpat-|AKIA|AIza)[A-Za-z0-9_]{12,}"),
    re.compile(r"(?<=://)[^/\s@'\"]+(?=@)"),
    re.compile(r"(?i)(?<=\bbearer )[^\s'\"]{6,}"),
)
_BROKEN_PAIR: Final = re.compile(
    r"(?P<indent>[ \t]*(?:- +)*)(?P<inner>.*?)(?P<name>[\w.-]+)['\"]?\s*[:=]\s*(?=\S|$)"
)


def is_reference(text: str) -> bool:
    """Whether ``text`` only says where a secret is. With a default (``:-``) it may hold one."""
    return _REFERENCE.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether a key of this name, or of one that looks like a slip of ``api_key``, may hold a credential."""
    plain = name.casefold().replace("-", "_")
    if plain in _NO_SECRETS:
        return False
    return _SECRET_NAME.fullmatch(plain) is not None or distance(plain[:12], "api_key") <= 2


def mask_text(text: str, hidden: Sequence[Mark], quoted: Sequence[Mark]) -> str:
    """Mask a file that could be read. ``hidden``: places of credentials; ``quoted``: scalars in which # is only a #."""
    offset = _offsets(text)
    shown = list(text)
    for start, end in map(offset, hidden):
        _fill(shown, start, end, MASK)
    without_quoted = list(text)
    for start, end in map(offset, quoted):
        _fill(without_quoted, start, end, "x")
    _fill_all(shown, (found.span() for found in _COMMENT.finditer("".join(without_quoted))), " ")
    return _mask_shapes("".join(shown))


def redact(text: str) -> str:
    """A value for a message: what looks like a credential in it becomes ``***``."""
    for shape in _SHAPES:
        text = shape.sub("***", text)
    return text


def mask_broken(text: str) -> str:
    """Mask a file that could not be read, so that nobody knows where its values end: rather too much than too little."""
    shown = list(text)
    _fill_all(shown, (found.span() for found in _COMMENT.finditer(text)), " ")
    _fill_all(shown, _secrets_by_line("".join(shown)), MASK)
    return _mask_shapes("".join(shown))


def _secrets_by_line(text: str) -> Iterable[tuple[int, int]]:
    """From a secret's name to the end of its line, and every line below it that belongs to it; all, if its quote stays
    open. The items of a list may stand as far left as the name of the list."""
    deeper_than: int | None = None
    items_too = False
    open_quote = ""
    start = 0
    for line in LINE_BREAK.split(text):
        end = start + len(line)
        indent = len(line) - len(line.lstrip())
        below = deeper_than is not None and (
            indent > deeper_than
            or not line.strip()
            or (items_too and indent == deeper_than and _is_item(line))
        )
        if open_quote or below:
            yield start, end
            open_quote = "" if open_quote and open_quote in line else open_quote
        else:
            deeper_than = None
            found = _secret_pair(line)
            if found is not None:
                value = line[found:]
                yield start + found, end
                deeper_than, items_too = indent, not _is_item(line)
                open_quote = _left_open(value)
        breaking = LINE_BREAK.match(text, end)
        start = breaking.end() if breaking else end


def _secret_pair(line: str) -> int | None:
    """Where the value of the first secret-looking name on the line begins."""
    position = 0
    while found := _BROKEN_PAIR.match(line, position):
        if is_secret_name(found["name"]):
            rest = line[found.end() :].strip()
            return None if is_reference(rest.strip("'\"")) else found.end()
        position = found.end()
    return None


def _is_item(line: str) -> bool:
    return line.lstrip().startswith("-")


def _left_open(value: str) -> str:
    """The quote that ``value`` begins with and does not close; empty if there is none."""
    quote = value[:1]
    return quote if quote in ("'", '"') and quote not in value[1:] else ""


def _mask_shapes(text: str) -> str:
    for shape in _SHAPES:
        text = shape.sub(lambda found: MASK * len(found[0]), text)
    return text


def _offsets(text: str) -> Callable[[Mark], tuple[int, int]]:
    starts = [0, *(found.end() for found in LINE_BREAK.finditer(text))]

    def offset(mark: Mark) -> tuple[int, int]:
        line, column, end_line, end_column = mark
        last = len(starts) - 1
        return starts[min(line, last)] + column, starts[min(end_line, last)] + end_column

    return offset


def _fill_all(characters: list[str], spans: Iterable[tuple[int, int]], filler: str) -> None:
    for start, end in spans:
        _fill(characters, start, end, filler)


def _fill(characters: list[str], start: int, end: int, filler: str) -> None:
    for index in range(start, min(end, len(characters))):
        if not LINE_BREAK.fullmatch(characters[index]):
            characters[index] = filler
