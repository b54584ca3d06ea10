"""Tokens, prices, money. Money is integer nano-dollars (1 USD = 1_000_000_000), rounded once, here."""

from __future__ import annotations

from dataclasses import dataclass

NANOS_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one attempt, in one normal form for every dialect.

    ``input_tokens`` is everything the model read, cache reads and writes included; ``output_tokens`` everything it
    wrote, reasoning included. The others are shares of those two. ``cost_nanos``: what the provider itself charged,
    where it says so. ``estimated``: counted by us because the provider said nothing. ``billed``: the (input, output)
    tokens that are charged, where the provider counts those apart from the tokens it used.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cost_nanos: int | None = None
    estimated: bool = False
    billed: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens (so that 0.20 USD per million is 200_000_000); exact in integers.

    None for a component means: as ``input`` (cache read and write) or as ``output`` (nothing else falls back).
    """

    input: int
    output: int = 0
    cached_input: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None


FREE = Price(0, 0)


def cost_of(usage: Usage, price: Price) -> int:
    """Nano-dollars for ``usage`` at ``price``. Shares are charged once, at their own rate; rounded half up, once."""
    if usage.billed is not None:
        billed_input, billed_output = usage.billed
        return (billed_input * price.input + billed_output * price.output + 500_000) // 1_000_000
    read, write, write_1h = usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    plain = max(0, usage.input_tokens - read - write - write_1h)
    cache_write = price.input if price.cache_write is None else price.cache_write
    total = (
        plain * price.input
        + read * (price.input if price.cached_input is None else price.cached_input)
        + write * cache_write
        + write_1h * (cache_write if price.cache_write_1h is None else price.cache_write_1h)
        + usage.output_tokens * price.output
    )
    return (total + 500_000) // 1_000_000
