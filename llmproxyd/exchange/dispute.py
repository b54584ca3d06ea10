"""Whether to believe what a provider says of its own answer: how many tokens it took, and which model gave it.

Most tell the truth. Some count nothing, some count backwards, some add up to more than there was. What cannot be true is
disputed: the reason is kept, and our own estimate takes the place of each number that is impossible. Nothing here ever
makes a number negative, since money is counted from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter

import msgspec
from msgspec.structs import replace

from llmproxyd.values.cost import Usage

# A token is hardly ever less than a byte of text. Much more than the bytes that came can only have been thought, and
# no model thinks longer than this at once.
_TOKENS_PER_BYTE = 4
_UNSEEN_TOKENS = 262_144

_SHARES = (
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "input_image_tokens",
    "output_image_tokens",
    "cached_audio_tokens",
    "web_searches",
)
_shares_of = attrgetter(*_SHARES)


class Estimate(msgspec.Struct, frozen=True, gc=False):
    """What we make of it ourselves: tokens of the prompt and of the answer. ``bytes_out``: of the answer as it came;
    0 if there was none. ``output_tokens`` 0 where nothing was generated (embeddings, an empty answer)."""

    input_tokens: int
    output_tokens: int
    bytes_out: int


class Judged(msgspec.Struct, frozen=True, gc=False):
    """``usage``: what to count with. ``disputed``: why it is not what the provider said, None if it is. ``told``: what the
    provider said, beside it. ``estimated``: some number in ``usage`` is our own."""

    usage: Usage
    disputed: str | None = None
    estimated: bool = False
    told: Usage | None = None


def judge(usage: Usage | None, estimate: Callable[[], Estimate]) -> Judged:
    """Believe ``usage`` or not; None, where the provider said nothing, is no lie. ``estimate`` is asked only where the
    numbers alone do not settle it."""
    if usage is None:
        ours = estimate()
        return Judged(_guess(ours), estimated=True)
    if _plausible(usage):
        return Judged(usage, told=usage, estimated=usage.estimated)
    return _examine(usage, estimate())


def _plausible(usage: Usage) -> bool:
    """Both sides are there, nothing is negative or larger than its whole, and thought alone could explain the size."""
    if not (usage.input_tokens > 0 and 0 < usage.output_tokens <= _UNSEEN_TOKENS):
        return False
    shares = _shares_of(usage)
    if usage.billed is None and usage.cost_nanos is None and not any(shares):
        return True
    return _negative(usage, shares) is None and _contradiction(usage) is None


def _examine(told: Usage, ours: Estimate) -> Judged:
    no_input, no_output = _doubt_input(told, ours), _doubt_output(told, ours)
    negative = _negative(told, _shares_of(told))
    reasons = [why for why in (no_input, no_output, negative, _contradiction(told)) if why]
    estimated = bool(told.estimated or no_input or no_output)
    if not reasons:
        return Judged(told, told=told, estimated=estimated)
    usage = replace(
        told,
        input_tokens=ours.input_tokens if no_input else told.input_tokens,
        output_tokens=ours.output_tokens if no_output else told.output_tokens,
        estimated=estimated,
    )
    return Judged(_consistent(usage), "; ".join(reasons), estimated, told)


def _doubt_input(told: Usage, ours: Estimate) -> str | None:
    if told.input_tokens < 0:
        return f"{told.input_tokens} input tokens"
    if told.input_tokens == 0 and ours.input_tokens > 0:
        return "no input tokens for a prompt that has some"
    return None


def _doubt_output(told: Usage, ours: Estimate) -> str | None:
    if told.output_tokens < 0:
        return f"{told.output_tokens} output tokens"
    if told.output_tokens == 0 and ours.output_tokens > 0:
        return "no output tokens for an answer that has content"
    if told.output_tokens > _TOKENS_PER_BYTE * ours.bytes_out + _UNSEEN_TOKENS:
        return f"{told.output_tokens} output tokens for an answer of {ours.bytes_out} bytes"
    return None


def _negative(usage: Usage, shares: tuple[int, ...]) -> str | None:
    """The first share, or sum charged, below zero."""
    if min(shares) < 0:
        return next(f"{name} is negative" for name in _SHARES if getattr(usage, name) < 0)
    if usage.billed is not None and min(usage.billed) < 0:
        return "what is billed is negative"
    return "the cost is negative" if usage.cost_nanos is not None and usage.cost_nanos < 0 else None


def _contradiction(usage: Usage) -> str | None:
    """A share that is larger than its whole."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens + usage.cache_write_1h_tokens
    for share, what, whole, side in (
        (cached, "cached", usage.input_tokens, "input"),
        (usage.input_audio_tokens, "audio", usage.input_tokens, "input"),
        (usage.reasoning_tokens, "reasoning", usage.output_tokens, "output"),
        (usage.output_audio_tokens, "audio", usage.output_tokens, "output"),
    ):
        if share > max(0, whole):
            return f"{share} {what} of {whole} {side} tokens"
    return None


def _consistent(usage: Usage) -> Usage:
    """Nothing below zero, no share larger than what is left of its whole; what the provider charged only if it can be."""
    left_in, left_out = max(0, usage.input_tokens), max(0, usage.output_tokens)
    read = _within(usage.cache_read_tokens, left_in)
    write = _within(usage.cache_write_tokens, left_in - read)
    billed, cost_nanos = usage.billed, usage.cost_nanos
    return replace(
        usage,
        input_tokens=left_in,
        output_tokens=left_out,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=_within(usage.cache_write_1h_tokens, left_in - read - write),
        reasoning_tokens=_within(usage.reasoning_tokens, left_out),
        input_audio_tokens=_within(usage.input_audio_tokens, left_in),
        output_audio_tokens=_within(usage.output_audio_tokens, left_out),
        input_image_tokens=_within(usage.input_image_tokens, left_in),
        output_image_tokens=_within(usage.output_image_tokens, left_out),
        cached_audio_tokens=_within(usage.cached_audio_tokens, read),
        web_searches=max(0, usage.web_searches),
        billed=None if billed is not None and min(billed) < 0 else billed,
        cost_nanos=None if cost_nanos is not None and cost_nanos < 0 else cost_nanos,
    )


def _within(share: int, whole: int) -> int:
    return min(max(0, share), whole)


def _guess(ours: Estimate) -> Usage:
    return Usage(max(0, ours.input_tokens), max(0, ours.output_tokens), estimated=True)


# --- which model answered ---------------------------------------------------------------------------------------

# A release: a day, a month, a running number. It may be left out, but two different ones are two models.
_RELEASE = re.compile(r"[-@](\d{8}|\d{6}|\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{2}-\d{2}|\d{4}|\d{3})$", re.ASCII)
# A pointer to the newest, a way of being served, a form of storage: never another model.
_MANNER = re.compile(
    r"([-:]latest|-v\d+:\d+|:(free|nitro|floor|online|exacto|extended|beta)|\.gguf)$", re.ASCII
)
_HOSTED = re.compile(r"^((us|eu|apac|global)\.)?(anthropic|amazon|meta|mistral|cohere|ai21|deepseek)\.")


def model_differs(asked: str, answered: str) -> bool:
    """Whether ``answered`` is another model than the one that was ``asked`` for, and not only another spelling of it.

    Vendor prefixes (``openai/``, ``models/``) and ``latest`` do not count, nor does a release that only one of them
    names. An answer that names no model does not differ.
    """
    if not answered or asked == answered:
        return False
    one, other = _plain(asked), _plain(answered)
    return one != other and _undated(one) != other and one != _undated(other)


def _plain(name: str) -> str:
    return _MANNER.sub("", _HOSTED.sub("", name.strip().lower().rpartition("/")[2]))


def _undated(name: str) -> str:
    return _RELEASE.sub("", name)
