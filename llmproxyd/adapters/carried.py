"""What no adapter of a dialect will read: told to the client as warnings instead of being lost in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from llmproxyd.values.request import Chat, Dialect, Embed

MAX_TOLD = 16
"""Fields named in one answer: warnings travel in a header."""

_MAX_FIELD_CHARS = 64
_UNPRINTABLE = re.compile(r"[^ -~]")


def not_carried(field: str, dialect: Dialect, why: str = "") -> str:
    """One warning, fit for a header: field, target and, where it is not plain, the reason.

    Names come from the client: what could break out of a header's line, or is no ASCII, is replaced.
    """
    text = f"{field[:_MAX_FIELD_CHARS]}: not carried to {dialect.value}" + (f" ({why})" if why else "")
    return _UNPRINTABLE.sub("?", text)


def foreign_fields(content: Chat | Embed, dialect: Dialect) -> Iterator[str]:
    """Warnings for the fields that only other dialects know, and for those that have no canonical form."""
    names = list(_foreign_names(content, dialect))
    for name in islice(names, MAX_TOLD):
        yield not_carried(name, dialect)
    if len(names) > MAX_TOLD:
        yield not_carried(f"{len(names) - MAX_TOLD} more fields", dialect)


class Losses:
    """Collects the warnings of one call, each once, in the order met: first what is foreign, then what is noted."""

    def __init__(self, content: Chat | Embed, dialect: Dialect) -> None:
        self._dialect = dialect
        self._texts = dict.fromkeys(foreign_fields(content, dialect))

    def note(self, field: str, why: str = "") -> None:
        """``field``: a fixed name of ours, so that there is an end to them."""
        self._texts.setdefault(not_carried(field, self._dialect, why))

    def note_given(self, values: object, *names: str) -> None:
        """Those of the attributes ``names`` that say anything."""
        for name in names:
            if getattr(values, name):
                self.note(name)

    def texts(self) -> tuple[str, ...]:
        return tuple(self._texts)


def _foreign_names(content: Chat | Embed, dialect: Dialect) -> Iterator[str]:
    if isinstance(content, Chat):
        yield from content.left_out
    for origin, fields in content.extras.items():
        if origin is dialect:
            continue
        for name, value in fields.items():
            if isinstance(value, dict) and value:
                yield from (f"{name}.{key}" for key in value)
            else:
                yield name
