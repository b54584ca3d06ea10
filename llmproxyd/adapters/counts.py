"""Numbers of tokens as providers write them: whole or with a point, missing, or something that cannot be one."""

from __future__ import annotations

from typing import Any

MAX_TOKENS = 2**53


def parse_count(value: Any) -> int | None:
    """None for what is no count."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value <= MAX_TOKENS else None


def parse_told(value: Any) -> int | None:
    """The same for what is charged: who says less than nothing was not silent, and counts as having said nothing was used,
    which is then disputed; silence is not."""
    if not isinstance(value, bool) and isinstance(value, (int, float)) and value < 0:
        return 0
    return parse_count(value)
