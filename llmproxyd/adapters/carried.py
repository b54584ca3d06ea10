"""What no adapter of a dialect will read: told to the client as warnings instead of being lost in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from llmproxyd.values.request import Chat, Dialect

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


def foreign_fields(chat: Chat, dialect: Dialect) -> Iterator[str]:
    """Warnings for the fields that only other dialects know, and for those that have no canonical form."""
    names = list(_foreign_names(chat, dialect))
    for name in islice(names, MAX_TOLD):
        yield not_carried(name, dialect)
    if len(names) > MAX_TOLD:
        yield not_carried(f"{len(names) - MAX_TOLD} more fields", dialect)


def _foreign_names(chat: Chat, dialect: Dialect) -> Iterator[str]:
    yield from chat.left_out
    for origin, fields in chat.extras.items():
        if origin is dialect:
            continue
        for name, value in fields.items():
            if isinstance(value, dict) and value:
                yield from (f"{name}.{key}" for key in value)
            else:
                yield name
