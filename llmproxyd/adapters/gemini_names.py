"""Tool names as Gemini takes them, and back.

Gemini wants a letter or underscore first, then letters, digits, ``_ . : -``, 128 in all. Names that do not fit are written
with escapes that nobody else's name can look like, so that the name in an answer tells the client's own.
"""

from __future__ import annotations

import re

MAX_CHARS = 128

_FITS = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_PREFIX = "_esc."
_ESCAPED = re.compile(r"[^A-Za-z0-9_.-]")
_ESCAPE = re.compile(r":([0-9a-f]+):")


def format_name(name: str) -> str:
    """Raises ValueError for a name too long to be written."""
    if _FITS.fullmatch(name) and not name.startswith(_PREFIX):
        return name
    escaped = _PREFIX + _ESCAPED.sub(lambda char: f":{ord(char[0]):x}:", name)
    if len(escaped) > MAX_CHARS or not name:
        raise ValueError(f"a tool's name must have 1 to {MAX_CHARS} letters, digits, or any of _ . : -")
    return escaped


def parse_name(name: str) -> str:
    """The client's own name. A name we did not make is left as it is."""
    if not name.startswith(_PREFIX):
        return name
    try:
        return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), name.removeprefix(_PREFIX))
    except (ValueError, OverflowError):
        return name
