"""Quantities as people write them -> plain numbers: ``30s``, ``64KiB``, ``10%``, ``400_000``, ``0.20``.

Every function takes what YAML gave (a number or a text) and raises ValueError with a sentence fit for a user.
A bare number is in the base unit: seconds, bytes, a share of one, dollars.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation, localcontext
from typing import Final

from llmproxyd.values.cost import NANOS_PER_USD

_QUANTITY: Final = re.compile(r"(\d[\d_]*(?:\.\d+)?)\s*([A-Za-z%$]*)", re.ASCII)
_COUNT: Final = re.compile(r"\d+(?:_\d+)*", re.ASCII)
_MAX_LENGTH: Final = 40

_SECONDS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3_600),
    "d": Decimal(86_400),
}
_BYTES: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_MAX_SECONDS: Final = 10 * 366 * 86_400
_MAX_WHOLE: Final = 2**63 - 1
_MAX_USD: Final = 9_000_000_000


def parse_duration_s(value: object) -> float:
    """``250ms 30s 5m 2h 7d`` or seconds -> seconds, 0 to ten years."""
    hint = "a duration such as 250ms, 30s, 5m, 2h or 7d"
    number, unit = _quantity(value, hint)
    if unit not in _SECONDS and unit:
        raise ValueError(f"unknown unit `{unit}`: expected {hint}")
    seconds = number * _SECONDS.get(unit, Decimal(1))
    if seconds > _MAX_SECONDS:
        raise ValueError("a duration may be ten years at most")
    return float(seconds)


def parse_size_bytes(value: object) -> int:
    """``64KiB 5MB`` or bytes -> bytes. KB, MB, GB, TB are powers of 1000, KiB and so on of 1024."""
    hint = "a size such as 512B, 64KiB, 10MB or 1GiB"
    number, unit = _quantity(value, hint)
    if unit not in _BYTES and unit:
        raise ValueError(f"unknown unit `{unit}`: expected {hint}")
    return _whole(number * _BYTES.get(unit, 1), "a whole number of bytes")


def parse_share(value: object) -> float:
    """``10%`` or 0.1 -> 0.1; from 0 to 1 (100%)."""
    hint = "a share such as 10% or 0.1"
    number, unit = _quantity(value, hint)
    if unit not in ("", "%"):
        raise ValueError(f"unknown unit `{unit}`: expected {hint}")
    share = number / 100 if unit else number
    if share > 1:
        percent = "" if unit else f"; for {_show(number)} percent write {_show(number)}%"
        raise ValueError(f"a share lies between 0 and 1 (0% and 100%){percent}")
    return float(share)


def parse_count(value: object) -> int:
    """400000 or ``400_000`` -> 400000; never negative."""
    hint = "a whole number such as 500 or 400_000"
    if isinstance(value, str) and not _COUNT.fullmatch(value[: _MAX_LENGTH + 1].strip()):
        raise ValueError(f"expected {hint}")
    number, _ = _quantity(value, hint)
    return _whole(number, hint)


def parse_usd_nanos(value: object) -> int:
    """0.20, ``"0.20"``, ``$0.20`` or ``0.20 USD`` -> nano-dollars, exactly. At most nine decimals."""
    hint = "an amount in USD such as 0.20 or 15"
    text = value.strip().removeprefix("$") if isinstance(value, str) else value
    number, unit = _quantity(text, hint)
    if unit not in ("", "USD"):
        raise ValueError(f"unknown unit `{unit}`: expected {hint}")
    if number > _MAX_USD:
        raise ValueError(f"an amount may be {_MAX_USD} USD at most")
    return _whole(number * NANOS_PER_USD, "at most nine decimals")


def _quantity(value: object, hint: str) -> tuple[Decimal, str]:
    """Split a written quantity into a number >= 0 and its unit ("" if none)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected {hint}")
    if isinstance(value, str):
        return _quantity_in(value, hint)
    if not math.isfinite(value):
        raise ValueError(f"expected {hint}, not {value}")
    if value < 0:
        raise ValueError(f"expected {hint}, not a negative number")
    if value > _MAX_WHOLE:
        raise ValueError("the number is too large")
    # repr() of a float is the shortest text that means it: 0.1 becomes exactly 0.1, not its binary neighbour.
    return Decimal(repr(value)), ""


def _quantity_in(text: str, hint: str) -> tuple[Decimal, str]:
    stripped = text.strip()
    if stripped.startswith("-"):
        raise ValueError(f"expected {hint}, not a negative number")
    found = _QUANTITY.fullmatch(stripped) if len(stripped) <= _MAX_LENGTH else None
    if found is None:
        raise ValueError(f"expected {hint}")
    try:
        return Decimal(found[1].replace("_", "")), found[2]
    except InvalidOperation:
        raise ValueError(f"expected {hint}") from None


def _whole(number: Decimal, hint: str) -> int:
    if number != number.to_integral_value():
        raise ValueError(f"expected {hint}")
    if number > _MAX_WHOLE:
        raise ValueError("the number is too large")
    return int(number)


def _show(number: Decimal) -> str:
    with localcontext() as context:
        context.prec = _MAX_LENGTH
        return f"{number.normalize():f}"
