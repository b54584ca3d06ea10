"""The most a request can come to at a deployment: what is reserved from budgets before it is sent.

Input: one token for each byte of the body. No vocabulary in use has tokens of less than a byte of text, and the names and
brackets of a message are longer than the few tokens that set it apart; an estimate would be nearer, and wrong for one
text in twenty. What is not in the body is added: what a provider tells a model about its tools, and, where there are
pictures, sound or files, whatever fits into the window. A request never has more than the window: the provider refuses it.
Output: the caller's own limit, else the model's, else 16,384 tokens, for each choice.
Price: of all rates that could apply to a token of input or output the dearest, long contexts and cache writes included;
other tiers only where the request asks for one.

Not bounded, because nobody can say beforehand: what a provider's own tools (search, code) read and charge, and what it
remembers of earlier turns. Such a call may cost more than was reserved; it is booked in full all the same.
"""

from __future__ import annotations

from typing import Final

import msgspec

from llmproxyd.values.budget import Bound
from llmproxyd.values.cost import FEMTOS_PER_NANO, FREE, Price
from llmproxyd.values.plan import Question
from llmproxyd.values.request import NO_OVERRIDES, Capability, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment, Zone

UNKNOWN_OUTPUT_TOKENS: Final = 16_384
UNKNOWN_WINDOW_TOKENS: Final = 131_072
"""What a picture or a file may be long where the window is not known, either."""

FRAME_TOKENS: Final = 64
"""What is put around a prompt."""
TOOLS_TOKENS: Final = 1_024
"""What a provider writes about tools beside their definitions; 264 to 804 by Anthropic's own account."""

_OF_ANY_LENGTH: Final = frozenset({Capability.VISION, Capability.AUDIO, Capability.FILES})
_WORDLESS: Final = frozenset({Operation.EMBEDDING})


class Extent(msgspec.Struct, frozen=True, gc=False):
    """As much of a request as its bound depends on. ``any_tier``: it asks to be served in a certain way; ``body`` is
    looked into for that only where a price has tiers."""

    operation: Operation
    bytes_in: int
    needs: frozenset[Capability] = frozenset()
    max_output_tokens: int | None = None
    n: int = 1
    any_tier: bool = False
    body: bytes = b""


def extent_of(request: Request, overrides: Overrides = NO_OVERRIDES) -> Extent:
    """Of a request as it will be sent: a rule's ``max_tokens`` stands in place of the caller's."""
    return Extent(
        operation=request.operation,
        bytes_in=len(request.body),
        needs=request.needs,
        max_output_tokens=overrides.max_tokens or request.max_output_tokens,
        n=request.n or 1,
        body=request.body,
    )


def asks_for_tier(body: bytes) -> bool:
    """Whether it may be served in another way than usual, at other prices."""
    if b"service" in body and (b"service_tier" in body or b"serviceTier" in body):
        return True
    return b'"speed"' in body


def extent_asked(question: Question, overrides: Overrides = NO_OVERRIDES) -> Extent:
    """The same for routing, which does not see the body: a wish for another tier is known only if somebody looked."""
    return Extent(
        operation=question.operation,
        bytes_in=question.bytes_in,
        needs=question.needs,
        max_output_tokens=overrides.max_tokens or question.max_output_tokens,
        n=question.n or 1,
        any_tier=question.any_tier,
    )


def at_most(extent: Extent, deployment: Deployment, wall_s: float) -> Bound:
    """The most such a request can come to there, at the prices of ``wall_s`` (Unix seconds); rounded up.

    Counting tokens costs nothing anywhere. A provider whose costs are not tracked costs nothing.
    """
    if extent.operation is Operation.COUNT_TOKENS:
        return Bound(0, 0, 0.0)
    tokens_in, tokens_out = _most_input(extent, deployment), _most_output(extent, deployment)
    tokens, price = tokens_in + tokens_out, price_in_force(deployment, wall_s)
    if price is None:
        return Bound(None, tokens, None)
    femtos = _most_femtos(price, tokens_in, tokens_out)
    if price.tiers and (extent.any_tier or asks_for_tier(extent.body)):
        dearest = max(_most_femtos(each, tokens_in, tokens_out) for each in price.tiers.values())
        femtos = max(femtos, dearest)
    return Bound(-(-femtos // FEMTOS_PER_NANO), tokens, (3 * price.input + price.output) / 4)


def price_in_force(deployment: Deployment, wall_s: float) -> Price | None:
    """What will be charged at ``wall_s`` (Unix seconds); None: unknown."""
    if not deployment.provider.cost_tracking:
        return FREE
    price = deployment.price if deployment.prices is None else deployment.prices.at(wall_s)
    if price is None and deployment.provider.zone is Zone.LOCAL:
        return FREE
    return price


def _most_input(extent: Extent, deployment: Deployment) -> int:
    window = deployment.context_window
    if not extent.needs.isdisjoint(_OF_ANY_LENGTH):
        return max(extent.bytes_in, UNKNOWN_WINDOW_TOKENS) if window is None else window
    tokens = extent.bytes_in + FRAME_TOKENS
    if Capability.TOOLS in extent.needs:
        tokens += TOOLS_TOKENS
    return tokens if window is None else min(tokens, window)


def _most_output(extent: Extent, deployment: Deployment) -> int:
    if extent.operation in _WORDLESS:
        return 0
    asked, able = extent.max_output_tokens, deployment.max_output_tokens
    if asked is None:
        usual = max(UNKNOWN_OUTPUT_TOKENS, deployment.provider.quirks.default_max_tokens or 0)
        return (usual if able is None else able) * extent.n
    return (asked if able is None else min(asked, able)) * extent.n


def _most_femtos(price: Price, tokens_in: int, tokens_out: int) -> int:
    read, written = price.dearest_read, price.dearest_written
    for step in price.steps:
        if tokens_in > step.above_tokens:
            read, written = max(read, step.price.dearest_read), max(written, step.price.dearest_written)
    return tokens_in * read + tokens_out * written + price.per_request_nanos * FEMTOS_PER_NANO
