"""Which time a report is about: what people write for its beginning, its end and its time zone."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from llmproxyd.config.units import parse_duration_s
from llmproxyd.ledger.reports import Window, month_of

UTC_ZONE: Final = ZoneInfo("UTC")
_MONTH: Final = re.compile(r"\d{4}-\d{2}")
_AGO: Final = re.compile(r"\d[\d_.]*\s*(?:ms|s|m|h|d)")
_MAX_TEXT_CHARS: Final = 64
_HOW: Final = "a day (2026-11-01), a month (2026-11), a moment (2026-11-01T09:30) or how long ago (7d)"


def read_window(since: str | None, until: str | None, zone: ZoneInfo, now_s: float) -> Window:
    """The window that is meant; what is left out: since the month began, until now. Raises ValueError with words."""
    begins_s = month_of(now_s, zone).since_s if since is None else read_moment(since, now_s, zone)
    ends_s = now_s if until is None else read_moment(until, now_s, zone)
    if ends_s <= begins_s:
        raise ValueError("the time asked for ends before it begins: look at `since` and `until`")
    return Window(begins_s, ends_s)


def read_moment(text: str, now_s: float, zone: ZoneInfo) -> float:
    """Unix seconds; without an offset it is the zone's time. Raises ValueError with words."""
    try:
        if len(text) <= _MAX_TEXT_CHARS and _AGO.fullmatch(text):
            return now_s - parse_duration_s(text)
        moment = datetime.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"expected {_HOW}, found {text[:_MAX_TEXT_CHARS]!r}") from None


def read_zone(name: str) -> ZoneInfo:
    """An IANA name -> the zone. Raises ValueError with words."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        shown = name[:_MAX_TEXT_CHARS]
        raise ValueError(f"there is no time zone {shown!r}; expected a name such as Europe/Berlin") from None
