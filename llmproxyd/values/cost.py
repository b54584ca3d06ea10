"""Tokens, prices, money. Money is integer nano-dollars (1 USD = 1_000_000_000), rounded once, here.

A rate is nano-dollars per million tokens, so tokens times a rate are femto-dollars: everything up to the one rounding is
an exact integer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

NANOS_PER_USD = 1_000_000_000
FEMTOS_PER_NANO = 1_000_000
_FEMTOS_PER_USD: Final = NANOS_PER_USD * FEMTOS_PER_NANO
_MINUTES_PER_DAY: Final = 24 * 60

TIERS: Final = ("batch", "flex", "priority", "fast")
"""Ways of being served that have prices of their own; everything else is the standard one."""


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tokens of one attempt, in one normal form for every dialect.

    ``input_tokens`` is everything the model read, cache reads and writes included; ``output_tokens`` everything it
    wrote, reasoning included. The others are shares of those two; ``cached_audio_tokens`` is a share of cache reads and
    of audio alike. ``cost_nanos``: what the provider itself charged, where it says so. ``estimated``: counted by us
    because the provider said nothing. ``billed``: the (input, output) tokens that are charged, where the provider
    counts those apart from the tokens it used. ``tier``: how it was served in the end, one of TIERS; None: as usual.
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
    tier: str | None = None
    web_searches: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    cached_audio_tokens: int = 0


class Step(msgspec.Struct, frozen=True):
    """What a request with more than ``above_tokens`` of input pays, for all of its tokens."""

    above_tokens: int
    price: Price


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens (so that 0.20 USD per million is 200_000_000); exact in integers.

    None means: as the next more general one, at last ``input`` or ``output``. ``per_request_nanos`` and
    ``per_search_nanos`` are nano-dollars each. ``steps``: dearer long contexts, in rising order. ``tiers``: by tier, a
    whole price with steps of its own; a tier that is not listed pays this one.
    """

    input: int
    output: int = 0
    cached_input: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    cached_audio: int | None = None
    input_image: int | None = None
    output_image: int | None = None
    reasoning: int | None = None
    per_request_nanos: int = 0
    per_search_nanos: int = 0
    steps: tuple[Step, ...] = ()
    tiers: Mapping[str, Price] = field(default_factory=dict)
    dearest_read: int = field(init=False, repr=False, compare=False)
    """The dearest rate of any kind of token that is read, steps apart."""
    dearest_written: int = field(init=False, repr=False, compare=False)
    rates: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """The rate of every kind of token, or the nearest that is known."""

    def __post_init__(self) -> None:
        rates = {kind: self._rate(kind) for kind in (*_INPUT_KINDS, *_OUTPUT_KINDS)}
        object.__setattr__(self, "rates", MappingProxyType(rates))
        object.__setattr__(self, "dearest_read", max(map(rates.__getitem__, _INPUT_KINDS)))
        object.__setattr__(self, "dearest_written", max(map(rates.__getitem__, _OUTPUT_KINDS)))

    def _rate(self, kind: str) -> int:
        for name in (kind, *_AS.get(kind, ())):
            found: int | None = getattr(self, name)
            if found is not None:
                return found
        return self.output if kind in _OUTPUT_SHARES else self.input


_INPUT_KINDS: Final = (
    "input", "cache_write", "cache_write_1h", "cached_input", "input_audio", "cached_audio", "input_image",
)  # fmt: skip
_OUTPUT_SHARES: Final = ("output_audio", "output_image", "reasoning")
_OUTPUT_KINDS: Final = ("output", *_OUTPUT_SHARES)
_AS: Final[Mapping[str, tuple[str, ...]]] = {
    "cache_write_1h": ("cache_write",),
    "cached_audio": ("cached_input", "input_audio"),
}

FREE = Price(0, 0)


class Daily(msgspec.Struct, frozen=True):
    """A part of every day (minutes after midnight, UTC; an end before the start runs over midnight) and its price."""

    start_minute: int
    end_minute: int
    price: Price

    def holds(self, minute: int) -> bool:
        if self.start_minute <= self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute


class Dated(msgspec.Struct, frozen=True):
    """A price and when it begins (Unix seconds). ``price`` None: from then on nobody knows. ``daily``: hours of the day
    with a price of their own; the last that fits counts."""

    price: Price | None
    from_s: float = 0.0
    daily: tuple[Daily, ...] = ()


class PriceList(msgspec.Struct, frozen=True):
    """The prices of a deployment over time, in order of their beginning. ``version`` says who set them."""

    entries: tuple[Dated, ...]
    version: str

    def at(self, wall_s: float) -> Price | None:
        """The price in force at a moment (Unix seconds); None: unknown then."""
        for entry in reversed(self.entries):
            if entry.from_s <= wall_s:
                break
        else:
            return None
        if entry.daily:
            minute = int(wall_s // 60) % _MINUTES_PER_DAY
            return next((d.price for d in reversed(entry.daily) if d.holds(minute)), entry.price)
        return entry.price


class Line(NamedTuple):
    """One kind of thing that is charged: ``amount`` of it at ``rate`` femto-dollars each."""

    kind: str
    amount: int
    rate: int

    @property
    def femtos(self) -> int:
        return self.amount * self.rate


class Components(msgspec.Struct, frozen=True):
    """A cost, taken apart; the lines sum to it exactly. ``tier``: whose price it was, None: the standard one.
    ``above_tokens``: the step of the price that applied, 0: none."""

    lines: tuple[Line, ...]
    tier: str | None = None
    above_tokens: int = 0

    @property
    def femtos(self) -> int:
        return sum(line.femtos for line in self.lines)

    @property
    def nanos(self) -> int:
        """Rounded half up, once."""
        return _rounded(self.femtos)


def cost_of(usage: Usage, price: Price) -> int:
    """Nano-dollars for ``usage`` at ``price``. Shares are charged once, at their own rate; rounded half up, once.

    The same sum as that of the components, which every answer would have to take apart for nothing.
    """
    if price is FREE:
        return 0
    _, served, step = _served(usage, price)
    rates = (served if step is None else step.price).rates
    femtos = (served.per_request_nanos + usage.web_searches * served.per_search_nanos) * FEMTOS_PER_NANO
    for kind, count in _counts(usage):
        femtos += count * rates[kind]
    return _rounded(femtos)


def components(usage: Usage, price: Price) -> Components:
    """What ``usage`` costs at ``price``, by kind; kinds without anything in them are left out."""
    tier, served, step = _served(usage, price)
    rates = (served if step is None else step.price).rates
    lines = [Line(kind, count, rates[kind]) for kind, count in _counts(usage) if count]
    if served.per_request_nanos:
        lines.append(Line("request", 1, served.per_request_nanos * FEMTOS_PER_NANO))
    if usage.web_searches:
        lines.append(Line("web_search", usage.web_searches, served.per_search_nanos * FEMTOS_PER_NANO))
    return Components(tuple(lines), tier, 0 if step is None else step.above_tokens)


def _served(usage: Usage, price: Price) -> tuple[str | None, Price, Step | None]:
    """The tier that has a price of its own, the price it was served at, and the step of that which was reached."""
    tier = usage.tier if usage.tier in price.tiers else None
    served = price if tier is None else price.tiers[tier]
    if not served.steps:
        return tier, served, None
    read = usage.input_tokens if usage.billed is None else usage.billed[0]
    return tier, served, next((s for s in reversed(served.steps) if read > s.above_tokens), None)


def _rounded(femtos: int) -> int:
    return (femtos + FEMTOS_PER_NANO // 2) // FEMTOS_PER_NANO


def usd_text(femtos: int) -> str:
    """Femto-dollars as exact decimal USD: ``0.0010768``; at least two decimals."""
    whole, rest = divmod(femtos, _FEMTOS_PER_USD)
    decimals = f"{rest:015d}".rstrip("0").ljust(2, "0")
    return f"{whole}.{decimals}"


def _counts(usage: Usage) -> list[tuple[str, int]]:
    """Every token once, under the most special kind it belongs to."""
    if usage.billed is not None:
        return list(zip(("input", "output"), usage.billed, strict=True))
    both = min(usage.cached_audio_tokens, usage.cache_read_tokens, usage.input_audio_tokens)
    counts: list[tuple[str, int]] = []
    _share_out(
        counts,
        usage.input_tokens,
        (
            ("cached_audio", both),
            ("cached_input", usage.cache_read_tokens - both),
            ("cache_write_1h", usage.cache_write_1h_tokens),
            ("cache_write", usage.cache_write_tokens),
            ("input_audio", usage.input_audio_tokens - both),
            ("input_image", usage.input_image_tokens),
        ),
        "input",
    )
    _share_out(
        counts,
        usage.output_tokens,
        (
            ("output_audio", usage.output_audio_tokens),
            ("output_image", usage.output_image_tokens),
            ("reasoning", usage.reasoning_tokens),
        ),
        "output",
    )
    return counts


def _share_out(
    counts: list[tuple[str, int]], whole: int, shares: tuple[tuple[str, int], ...], rest: str
) -> None:
    """What does not fit into the whole any more is part of a share before it (cached images, say): charged there."""
    for kind, count in shares:
        if count:
            taken = min(count, whole)
            counts.append((kind, taken))
            whole -= taken
    counts.append((rest, whole))
