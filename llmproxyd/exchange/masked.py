"""The lane of a candidate that may see a request only in its masked copy.

Everything a provider is told is made from that copy, and everything it says is led back before the client's encoder sees
it. Both happen at the adapter's edge, so whatever else a lane does (taking up a broken answer, say) is done with the
client's own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.detect.hidden import CannotMask
from llmproxyd.detect.masking import MaskBook
from llmproxyd.exchange.lane import TranslatedLane, Voice
from llmproxyd.values.answer import Answer, Event, TokenCount, Vectors
from llmproxyd.values.contracts import Adapter, BadRequest, Call, Decoder
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Chat, Content, Overrides, Request
from llmproxyd.values.snapshot import Deployment

UNMASKED_CODE = "cannot_be_masked"


class MaskedLane(TranslatedLane):
    """A translated lane, whatever the dialects are: bytes that pass as they came cannot be masked."""

    name = "masked"

    def __init__(self, voice: Voice, adapter: Adapter, book: MaskBook) -> None:
        super().__init__(voice, masked_adapter(adapter, book))


def masked_adapter(adapter: Adapter, book: MaskBook) -> Adapter:
    """The same adapter, for a provider that sees only what ``book`` leaves to be seen. It has no verbatim lane.

    Its ``format_call`` raises BadRequest where there is no masked copy, or one that still shows a value.
    """
    return replace(
        adapter,
        format_call=_masking(adapter.format_call, book),
        parse_answer=_restoring(adapter.parse_answer, book),
        new_decoder=lambda request: RestoringDecoder(adapter.new_decoder(request), book),
        splice_call=None,
        new_relay=None,
        inspect_answer=None,
        passes_verbatim=lambda request, provider: False,
    )


class RestoringDecoder:
    """A provider's bytes -> events in the client's own words."""

    def __init__(self, inner: Decoder, book: MaskBook) -> None:
        self._inner = inner
        self._restorer = book.new_restorer()

    def feed(self, data: bytes) -> list[Event]:
        return self._restorer.feed(self._inner.feed(data))

    def close(self) -> list[Event]:
        return [*self._restorer.feed(self._inner.close()), *self._restorer.close()]


def _masking(
    format_call: Callable[[Request, Content, Deployment, Overrides], Call], book: MaskBook
) -> Callable[[Request, Content, Deployment, Overrides], Call]:
    def format_masked(
        request: Request, content: Content, deployment: Deployment, overrides: Overrides
    ) -> Call:
        if not isinstance(content, Chat):
            raise _refusal(deployment, "only conversations can be masked")
        try:
            masked = book.mask_content(content)
        except CannotMask as why:
            raise _refusal(deployment, str(why)) from None
        call = format_call(_envelope(request), masked, deployment, overrides)
        if any(map(book.shows, _texts_of(call, request))):
            raise _refusal(deployment, "a value stands where it cannot be masked")
        return call

    return format_masked


def _restoring(
    parse: Callable[[Request, bytes], Answer | Vectors | TokenCount | Failure], book: MaskBook
) -> Callable[[Request, bytes], Answer | Vectors | TokenCount | Failure]:
    def parse_restored(request: Request, body: bytes) -> Answer | Vectors | TokenCount | Failure:
        answer = parse(request, body)
        return book.restore_answer(answer) if isinstance(answer, Answer) else answer

    return parse_restored


def _envelope(request: Request) -> Request:
    """What an adapter needs of a request beside its content: none of the client's words."""
    return replace(request, body=b"", document={}, metadata={})


def _refusal(deployment: Deployment, why: str) -> BadRequest:
    provider = deployment.provider.name
    return BadRequest(f"{provider} may see this request only masked: {why}.", code=UNMASKED_CODE)


def _texts_of(call: Call, request: Request) -> Iterator[str]:
    """Every text in what is to be sent, but for our own credential."""
    yield call.url
    yield from request.headers.values()
    try:
        yield from _texts_in(jsontext.decode(call.body))
    except jsontext.JSONError:
        yield call.body.decode(errors="replace")


def _texts_in(value: Any) -> Iterator[str]:
    """Of anything JSON can hold: a number is a text as well, for it can be read."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield name
            yield from _texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_in(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
