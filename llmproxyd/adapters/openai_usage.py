"""Usage as OpenAI and those who copy it report it -> the normal form."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from llmproxyd.values.cost import NANOS_PER_USD, Usage

_MAX_TOKENS = 2**53
_TICKS_PER_NANO = 10  # xAI's cost_in_usd_ticks: one tick is 1e-10 USD


def find_usage(document: dict[str, Any]) -> Usage | None:
    """The usage of an answer or a chunk; None where there is none, or one without counts.

    Groq also hides it in ``x_groq``.
    """
    usage = parse_usage(document.get("usage"))
    if usage is None:
        vendor = document.get("x_groq")
        usage = parse_usage(vendor.get("usage")) if isinstance(vendor, dict) else None
    return usage


def parse_usage(value: Any) -> Usage | None:
    """A ``usage`` object -> Usage. None for null, for no object, and for one that holds no counts (yet)."""
    if not isinstance(value, dict):
        return None
    prompt, completion = _count(value.get("prompt_tokens")), _count(value.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    read = _object(value.get("prompt_tokens_details"))
    written = _object(value.get("completion_tokens_details"))
    reasoning = _share(written, "reasoning_tokens")
    cached = _share(read, "cached_tokens") or _share(value, "prompt_cache_hit_tokens")
    return Usage(
        input_tokens=prompt or 0,
        output_tokens=(completion or 0) + _left_out(value, prompt or 0, completion or 0, reasoning),
        cache_read_tokens=cached,
        cache_write_tokens=_share(read, "cache_write_tokens"),
        reasoning_tokens=reasoning,
        input_audio_tokens=_share(read, "audio_tokens"),
        output_audio_tokens=_share(written, "audio_tokens"),
        cost_nanos=_cost_nanos(value),
    )


def _left_out(value: dict[str, Any], prompt: int, completion: int, reasoning: int) -> int:
    """Reasoning tokens missing from ``completion_tokens``: xAI counts them beside it, and its total shows that."""
    return reasoning if _count(value.get("total_tokens")) == prompt + completion + reasoning else 0


def _cost_nanos(value: dict[str, Any]) -> int | None:
    ticks = _count(value.get("cost_in_usd_ticks"))
    if ticks is not None:
        return (ticks + _TICKS_PER_NANO // 2) // _TICKS_PER_NANO
    cost = value.get("cost")
    if isinstance(cost, bool) or not isinstance(cost, (int, float, str)):
        return None
    try:
        usd = Decimal(str(cost))
        if not usd.is_finite() or not 0 <= usd < _MAX_TOKENS:
            return None
        return int((usd * NANOS_PER_USD).to_integral_value(ROUND_HALF_UP))
    except InvalidOperation:
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _share(value: dict[str, Any], name: str) -> int:
    return _count(value.get(name)) or 0


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value <= _MAX_TOKENS else None
