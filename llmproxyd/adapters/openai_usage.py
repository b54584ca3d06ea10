"""Usage as OpenAI and those who copy it report it -> the normal form."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from msgspec.structs import replace

from llmproxyd.adapters.counts import MAX_TOKENS, parse_count, parse_told
from llmproxyd.values.cost import NANOS_PER_USD, TIERS, Usage

_TICKS_PER_NANO = 10  # xAI's cost_in_usd_ticks: one tick is 1e-10 USD
_CACHED = (
    "prompt_cache_hit_tokens",  # DeepSeek
    "cached_tokens",  # Moonshot
    "cache_read_input_tokens",  # Databricks
    "cached_prompt_text_tokens",  # xAI's own SDK
)
"""Where tokens read from the cache are told outside ``prompt_tokens_details``. All are part of ``prompt_tokens``."""
_USUAL = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    }
)
"""What OpenAI itself says. Whoever says no more than that is read without a look for others' words."""


def find_usage(document: dict[str, Any]) -> Usage | None:
    """The usage of an answer or a chunk; None where there is none, or one without counts.

    Groq also hides it in ``x_groq``. How it was served stands beside it.
    """
    usage = parse_usage(document.get("usage"))
    if usage is None:
        vendor = document.get("x_groq")
        usage = parse_usage(vendor.get("usage")) if isinstance(vendor, dict) else None
    tier = parse_tier(document.get("service_tier"))
    return usage if usage is None or tier is None else replace(usage, tier=tier)


def parse_tier(name: Any) -> str | None:
    """A ``service_tier`` that has a price of its own; None for the usual one and for all that are not known."""
    return name if isinstance(name, str) and name in TIERS else None


def parse_usage(value: Any, *, reasoning_apart: bool | None = None) -> Usage | None:
    """A ``usage`` object -> Usage. None for null, for no object, and for one that holds no counts (yet).

    ``reasoning_apart`` True: the provider is known to count reasoning beside ``completion_tokens``, so that no total has
    to show it; False: never; None: not known.
    """
    if not isinstance(value, dict):
        return None
    prompt, completion = parse_told(value.get("prompt_tokens")), parse_told(value.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    read, written = value.get("prompt_tokens_details"), value.get("completion_tokens_details")
    usage = Usage(prompt or 0, completion or 0)
    if not read and not written and value.keys() <= _USUAL:
        return usage
    return _in_detail(usage, value, _object(read), _object(written), reasoning_apart)


def _in_detail(
    usage: Usage, value: dict[str, Any], read: dict[str, Any], written: dict[str, Any], apart: bool | None
) -> Usage:
    reasoning = _share(written, "reasoning_tokens") or _share(value, "reasoning_tokens")
    prompt, completion = usage.input_tokens, usage.output_tokens
    return Usage(
        input_tokens=prompt,
        output_tokens=completion + _left_out(value, prompt, completion, reasoning, apart),
        cache_read_tokens=_share(read, "cached_tokens") or _first(value, _CACHED),
        cache_write_tokens=_share(read, "cache_write_tokens"),
        reasoning_tokens=reasoning,
        input_audio_tokens=_share(read, "audio_tokens"),
        output_audio_tokens=_share(written, "audio_tokens"),
        cost_nanos=_cost_nanos(value),
        web_searches=_share(value, "num_search_queries"),
        input_image_tokens=_share(read, "image_tokens"),
        output_image_tokens=_share(written, "image_tokens"),
    )


def _left_out(value: dict[str, Any], prompt: int, completion: int, reasoning: int, apart: bool | None) -> int:
    """Reasoning tokens missing from ``completion_tokens``: xAI counts them beside it, and its total shows that."""
    if apart is False or not reasoning:
        return 0
    total = parse_count(value.get("total_tokens"))
    if total is None:
        # More thought than written cannot be a part of what was written.
        return reasoning if apart or reasoning > completion else 0
    return reasoning if total == prompt + completion + reasoning else 0


def _cost_nanos(value: dict[str, Any]) -> int | None:
    ticks = parse_count(value.get("cost_in_usd_ticks"))
    if ticks is not None:
        return (ticks + _TICKS_PER_NANO // 2) // _TICKS_PER_NANO
    cost = value.get("cost")
    usd = _usd(cost.get("total_cost") if isinstance(cost, dict) else cost)
    if usd is None:
        return None
    if value.get("is_byok") is True:
        # OpenRouter's own charge is then only its fee; the provider behind it bills the rest to the same purse.
        usd += _usd(_object(value.get("cost_details")).get("upstream_inference_cost")) or 0
    return int((usd * NANOS_PER_USD).to_integral_value(ROUND_HALF_UP))


def _usd(amount: Any) -> Decimal | None:
    if isinstance(amount, bool) or not isinstance(amount, (int, float, str)):
        return None
    try:
        usd = Decimal(str(amount))
    except InvalidOperation:
        return None
    return usd if usd.is_finite() and 0 <= usd < MAX_TOKENS else None


def _first(value: dict[str, Any], names: tuple[str, ...]) -> int:
    return next((count for name in names if (count := _share(value, name))), 0)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _share(value: dict[str, Any], name: str) -> int:
    told = value.get(name)
    return (parse_count(told) or 0) if told else 0
