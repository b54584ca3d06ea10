"""A kept answer said the way this client wants it: in one piece, or as a stream.

Both are made from either, through canonical events, where that loses nothing. What is asked for in the form it is kept
in comes back byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llmproxyd.cache.entry import Cached
from llmproxyd.values.answer import Answer, Event, Failed, UsageReported, fold, unfold
from llmproxyd.values.contracts import Adapter, Surface
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Operation, Request

WHOLE: Final = "whole"

# Canonical events carry neither the probabilities of a whole answer nor sound and pictures.
# Parts of names, so that every dialect's spelling holds them; looked for as plain bytes, which takes no time.
_LOST_BETWEEN: Final = (b"ogprobs", b"odalities")


def form_of(request: Request, surface: Surface) -> str:
    """``whole``, or the kind of stream: its content type, and whether usage is part of it."""
    if not request.stream:
        return WHOLE
    return f"{surface.stream_type} with usage" if request.wants_usage else surface.stream_type


def converts(request: Request) -> bool:
    """Whether one form of its answer can be made from another."""
    return request.operation is Operation.CHAT and not any(name in request.body for name in _LOST_BETWEEN)


def replay(
    cached: Cached,
    request: Request,
    surface: Surface,
    adapter: Adapter | None,
    *,
    model: str,
    id: str,  # noqa: A002 - as encoders call it
    created_s: int,
) -> bytes | None:
    """The whole body for this client; None where it cannot be said in the form that is wanted.

    ``adapter`` speaks the surface's own dialect (the kept answer is in it), None if nobody does. ``model``, ``id`` and
    ``created_s`` as for encoders.
    """
    if cached.surface != surface.name:
        return None
    if cached.form == form_of(request, surface):
        return cached.body
    if adapter is None or adapter.dialect is not surface.dialect or not converts(request):
        return None
    events = _events(cached, request, adapter)
    if events is None:
        return None
    if request.stream:
        encoder = surface.new_encoder(request, model=model, id=id, created_s=created_s)
        return b"".join([*[encoder.feed(event) for event in events], encoder.close()])
    answer = fold(events)
    if isinstance(answer, Failure):
        return None
    return surface.format_answer(answer, request, model=model, id=id, created_s=created_s)


def _events(cached: Cached, request: Request, adapter: Adapter) -> Sequence[Event] | None:
    """What a provider would have sent for it; None if it does not read as a complete answer."""
    if cached.form == WHOLE:
        answer = adapter.parse_answer(request, cached.body)
        events = unfold(answer) if isinstance(answer, Answer) else None
    else:
        decoder = adapter.new_decoder(request)
        events = [*decoder.feed(cached.body), *decoder.close()]
    if events is None or any(isinstance(event, Failed) for event in events):
        return None
    if cached.usage is not None and not any(isinstance(event, UsageReported) for event in events):
        # Its first client did not want to see the usage; this one may.
        events.append(UsageReported(cached.usage))
    return events
