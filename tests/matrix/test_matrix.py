"""Every client dialect with every provider, over real sockets, judged by the vendors' own SDKs.

A cell is (surface, adapter, case). The client is a vendor's SDK, and what it hears is validated strictly; the provider
replays recordings, or says in its vendor's form what there is no recording of, and what it was sent is validated against
that vendor's own request types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pytest

from tests.matrix.cannot import CANNOT, MOST
from tests.matrix.clients import CLIENTS
from tests.matrix.clients.base import Client, Refusal
from tests.matrix.clients.openai_chat import EmbeddingsClient
from tests.matrix.rig import Rig
from tests.matrix.scene import (
    OBJECT,
    OSLO,
    PNG,
    QUESTION,
    RESULT_FIELD,
    ROME,
    SCHEMA,
    TEXT,
    THOUGHT,
    TOOL,
    TOOL_WORDS,
    UNICODE,
    Heard,
    Said,
    Tokens,
    Wish,
    leaves,
)
from tests.matrix.upstreams import UPSTREAMS
from tests.matrix.upstreams.base import EMBED_MODEL, Recording, Upstream, vector
from tests.support.fake_provider import Exchange, Manner, Seen, answer, stream

WORDS = "Something the provider alone can say."
BIG = "Łódź lies on no river to speak of. " * (5 * 1024 * 1024 // 40)
REMEMBERED = {401, 429}
"""After these a provider is left alone for a while."""
SPARES = len(REMEMBERED) * 2 * (len(CLIENTS) + 1)
STATUSES = {400: 400, 401: 502, 404: 404, 429: 429, 500: 503, 529: 503}
"""A provider's status -> ours: its key is not the client's, its own faults are told as one."""
WHOLE_AND_STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])

CELLS = [
    (surface, name)
    for surface in CLIENTS
    for name, upstream in UPSTREAMS.items()
    if upstream.surfaces is None or surface in upstream.surfaces
]
UNTAKEN = [
    *((cell, {}) for cell in product(CLIENTS, UPSTREAMS) if cell not in CELLS),
    *(
        ((surface, name), wish)
        for name, upstream in UPSTREAMS.items()
        for surface, needed in upstream.forced.items()
        for wish in ({}, *({field: needed[field]} for field in needed))
    ),
]
"""Cells that the daemon goes round, and what is asked there: too little of what would have to be asked."""
SILENT = [cell for cell in CELLS if UPSTREAMS[cell[1]].silent and (*cell, "thought") not in CANNOT]
EMBEDDERS = [name for name, upstream in UPSTREAMS.items() if upstream.embeds]
EVERY_CELL = pytest.mark.parametrize("cell", CELLS, indirect=True, ids=map("-".join, CELLS))
EVERY_EMBEDDER = pytest.mark.parametrize("upstream", EMBEDDERS, indirect=True)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("matrix"), UPSTREAMS, SPARES) as rig:
        yield rig


@pytest.fixture(scope="module")
def clients(rig: Rig) -> Iterator[dict[str, Client]]:
    made = {name: new(rig.url) for name, new in CLIENTS.items()}
    yield made
    for client in made.values():
        client.close()


@pytest.fixture(scope="module")
def embedder(rig: Rig) -> Iterator[EmbeddingsClient]:
    client = EmbeddingsClient(rig.url)
    yield client
    client.close()


@pytest.fixture
def upstream(request: pytest.FixtureRequest) -> Upstream:
    return UPSTREAMS[request.param]


def cut(data: bytes, size: int = 7) -> list[bytes]:
    """In small writes, cut anywhere."""
    return [data[at : at + size] for at in range(0, len(data), size)]


class Cell:
    """One client before one provider."""

    def __init__(self, rig: Rig, surface: str, client: Client, upstream: Upstream) -> None:
        self.surface, self.client, self.upstream = surface, client, upstream
        self._rig = rig
        self._provider = upstream.name

    def says(self, said: Said) -> None:
        self._rig.behave(self.upstream.name, _saying(self.upstream, said))

    def replays(self, recording: Recording, *, streamed: bool) -> None:
        manner = answer(body=recording.body)
        if streamed:
            manner = stream(cut(recording.body), content_type=self.upstream.stream_type)
        self._rig.behave(self.upstream.name, manner)

    def refuses(self, status: int) -> None:
        if status in REMEMBERED:
            self._provider = self._rig.spare(self.upstream.name)
        self._rig.behave(self.upstream.name, answer(status, self.upstream.error_body(status, WORDS)))

    def ask(self, **wish: Any) -> Heard:
        return self.ask_no_more(**{**wish, **self.upstream.forced.get(self.surface, {})})

    def ask_no_more(self, **wish: Any) -> Heard:
        """Without what has to be asked to come to this provider."""
        return self.client.ask(Wish(model=f"{self._provider}/{self.upstream.model}", **wish))

    def path(self) -> str:
        """Where the daemon went last."""
        return self._rig.seen(self.upstream.name)[-1].path

    def received(self) -> list[str]:
        """Everything in the body that came last, after it was checked."""
        return list(leaves(self.last().json))

    def last(self) -> Seen:
        seen = self._rig.seen(self.upstream.name)[-1]
        own = self.surface == self.upstream.name
        check_seen(self.upstream, seen, {**self.upstream.headers, **(self.client.own_headers if own else {})})
        return seen

    def warned(self, case: str) -> bool:
        """Whether this cell is one that cannot be said; then the last answer told so."""
        cannot = CANNOT.get((self.surface, self.upstream.name, case))
        if cannot is not None:
            assert cannot.says in self.client.warnings
        return cannot is not None


def check_seen(upstream: Upstream, seen: Seen, headers: Mapping[str, str]) -> None:
    """The vendor's path, its way to show the key, its version, its body."""
    body = seen.json
    path = upstream.path("stream" in seen.path or bool(body.get("stream")))
    assert (seen.method, seen.path) == ("POST", path)
    header, value = upstream.auth
    assert seen.headers[header] == value
    assert {name: seen.headers[name] for name in headers} == headers
    others = {"authorization", "x-api-key", "api-key", "x-goog-api-key"} - {header}
    assert not others & seen.headers.keys()
    upstream.check_request(body)


def _saying(upstream: Upstream, said: Said) -> Manner:
    """Answers as it was asked: whole, or streamed."""

    async def manner(exchange: Exchange) -> None:
        if "streamGenerateContent" in exchange.seen.path or exchange.seen.json.get("stream"):
            await stream(upstream.write_stream(said), content_type=upstream.stream_type)(exchange)
        else:
            await answer(body=upstream.write(said))(exchange)

    return manner


@pytest.fixture
def cell(rig: Rig, clients: dict[str, Client], request: pytest.FixtureRequest) -> Cell:
    surface, adapter = request.param
    return Cell(rig, surface, clients[surface], UPSTREAMS[adapter])


# --- text ---------------------------------------------------------------------------------------------------------


@EVERY_CELL
def test_a_whole_answer(cell: Cell) -> None:
    recording = cell.upstream.whole
    cell.replays(recording, streamed=False)
    heard = cell.ask()
    assert (heard.text, heard.calls, heard.stopped) == (recording.said.whole, (), True)
    assert QUESTION in cell.received()
    assert cell.client.provider == cell.upstream.name


@EVERY_CELL
def test_a_stream(cell: Cell) -> None:
    recording = cell.upstream.streamed
    cell.replays(recording, streamed=True)
    heard = cell.ask(stream=True)
    assert heard.text == recording.said.whole
    assert heard.calls == tuple((TOOL, {"city": call.city}) for call in recording.said.calls)
    assert QUESTION in cell.received()


@EVERY_CELL
@WHOLE_AND_STREAMED
def test_usage(cell: Cell, streamed: bool) -> None:
    recording = cell.upstream.streamed if streamed else cell.upstream.whole
    cell.replays(recording, streamed=streamed)
    tokens = cell.ask(stream=streamed).tokens
    assert tokens is not None
    cached = recording.tokens.cached if cell.client.counts_cache else None
    assert Tokens(tokens.read, tokens.written, tokens.cached or None) == Tokens(
        recording.tokens.read, recording.tokens.written, cached
    )


@EVERY_CELL
@WHOLE_AND_STREAMED
def test_unicode(cell: Cell, streamed: bool) -> None:
    cell.says(Said((UNICODE[:9], UNICODE[9:])))
    assert cell.ask(text=UNICODE, stream=streamed).text == UNICODE
    assert UNICODE in cell.received()


@EVERY_CELL
@pytest.mark.parametrize(
    "chunks", [pytest.param(300, id="short"), pytest.param(2_000, id="long", marks=pytest.mark.proof)]
)
def test_a_stream_of_many_chunks(cell: Cell, chunks: int) -> None:
    pieces = tuple(f"{number} " for number in range(chunks))
    cell.says(Said(pieces))
    heard = cell.ask(stream=True)
    assert heard.text == "".join(pieces)
    assert heard.pieces > 1
    assert heard.stopped


@EVERY_CELL
def test_a_prompt_of_five_megabytes(cell: Cell) -> None:
    cell.says(Said((TEXT,)))
    assert cell.ask(text=BIG).text == TEXT
    assert BIG in cell.received()


# --- tools --------------------------------------------------------------------------------------------------------


@EVERY_CELL
@WHOLE_AND_STREAMED
def test_one_tool(cell: Cell, streamed: bool) -> None:
    cell.says(Said((), "", (OSLO,)))
    heard = cell.ask(tools=True, stream=streamed)
    assert heard.calls == ((TOOL, {"city": "Oslo"}),)
    assert not heard.stopped
    assert {TOOL, TOOL_WORDS, "city", "unit"} <= set(cell.received())


@EVERY_CELL
@WHOLE_AND_STREAMED
def test_parallel_tools(cell: Cell, streamed: bool) -> None:
    cell.says(Said((), "", (OSLO, ROME)))
    heard = cell.ask(tools=True, stream=streamed)
    assert heard.calls == ((TOOL, {"city": "Oslo"}), (TOOL, {"city": "Rome"}))
    assert len(set(heard.call_ids)) == 2 or not any(heard.call_ids)


@EVERY_CELL
@WHOLE_AND_STREAMED
def test_the_round_trip_of_tools(cell: Cell, streamed: bool) -> None:
    cell.says(Said((), "", (OSLO, ROME)))
    first = cell.ask(tools=True, stream=streamed)
    cell.says(Said((TEXT,)))
    assert cell.ask(tools=True, stream=streamed, after=first).text == TEXT
    received = cell.received()
    results = [place for place, leaf in enumerate(received) if leaf == RESULT_FIELD]
    assert received.index(QUESTION) < received.index("Oslo") < received.index("Rome") < results[0]
    assert len(results) == 2


# --- what else goes in --------------------------------------------------------------------------------------------


@EVERY_CELL
def test_a_schema(cell: Cell) -> None:
    cell.says(Said((OBJECT,)))
    assert cell.ask(schema=True).text == OBJECT
    assert set(SCHEMA["properties"]) <= set(cell.received())


@EVERY_CELL
def test_an_image(cell: Cell) -> None:
    cell.says(Said((TEXT,)))
    assert cell.ask(image=True).text == TEXT
    received = cell.received()
    assert QUESTION in received
    # Google's client writes base64 for URLs, and its own server gets what it wrote; nobody else would read that.
    own = cell.surface == "gemini" and cell.upstream.name == "gemini_generate"
    assert (PNG.replace("/", "_").replace("+", "-") if own else PNG) in received


@EVERY_CELL
@WHOLE_AND_STREAMED
def test_the_round_trip_of_a_thought(cell: Cell, streamed: bool) -> None:
    """A maker that seals its thoughts gets the seal back; one that does not gets the thought."""
    cell.says(Said((), THOUGHT, (OSLO,)))
    first = cell.ask(think=True, tools=True, stream=streamed)
    assert first.calls == ((TOOL, {"city": "Oslo"}),)
    assert first.thought == THOUGHT
    cell.says(Said((TEXT,)))
    assert cell.ask(think=True, tools=True, stream=streamed, after=first).text == TEXT
    received = cell.received()
    assert RESULT_FIELD in received
    assert ((cell.upstream.seal or THOUGHT) in received) is not cell.warned("thought")


@pytest.mark.parametrize("cell", SILENT, indirect=True, ids=map("-".join, SILENT))
@WHOLE_AND_STREAMED
def test_the_round_trip_of_a_thought_that_is_not_told(cell: Cell, streamed: bool) -> None:
    """The seal alone comes back, to its maker."""
    cell.says(Said((), "", (OSLO,), silent=True))
    first = cell.ask(think=True, tools=True, stream=streamed)
    assert first.thought == ""
    cell.says(Said((TEXT,)))
    assert cell.ask(think=True, tools=True, stream=streamed, after=first).text == TEXT
    assert cell.upstream.seal in cell.received()


# --- errors -------------------------------------------------------------------------------------------------------


@EVERY_CELL
@WHOLE_AND_STREAMED
@pytest.mark.parametrize("status", STATUSES)
def test_an_error(cell: Cell, status: int, streamed: bool) -> None:
    cell.refuses(status)
    with pytest.raises(Refusal) as refusal:
        cell.ask(stream=streamed)
    assert refusal.value.refused.status == STATUSES[status]
    assert refusal.value.refused.message
    assert (WORDS in refusal.value.refused.message) == (status == 400)


# --- what is gone round ---


@pytest.mark.parametrize(("cell", "wish"), UNTAKEN, indirect=["cell"])
def test_a_cell_that_is_left_out_is_never_taken(cell: Cell, wish: Mapping[str, bool]) -> None:
    cell.refuses(400)
    with pytest.raises(Refusal):
        cell.ask_no_more(**wish)
    own = "/responses" if cell.surface == "openai_responses" else "/chat/completions"
    assert cell.path().endswith(own)
    assert not cell.upstream.path(False).endswith(own)


# --- what cannot be said ------------------------------------------------------------------------------------------


def test_few_cells_cannot_be_said_and_each_says_why() -> None:
    assert len(CANNOT) <= MOST
    for (surface, adapter, case), cannot in CANNOT.items():
        assert (surface, adapter) in CELLS
        assert case == "thought"
        assert "https://" in cannot.reason


# --- embeddings ---------------------------------------------------------------------------------------------------


def embedded(rig: Rig, embedder: EmbeddingsClient, upstream: Upstream, texts: list[str]) -> list[str]:
    """Asks, checks what came and what arrived -> everything in the body that arrived."""
    assert upstream.embeds is not None
    rig.behave(upstream.name, answer(body=upstream.embeds.write(len(texts))))
    heard = embedder.embed(f"{upstream.name}/{EMBED_MODEL}", texts)
    assert heard.vectors == tuple(tuple(vector(number)) for number in range(len(texts)))
    assert heard.tokens == upstream.embeds.tokens
    seen = rig.seen(upstream.name)[-1]
    header, value = upstream.auth
    assert (seen.path, seen.headers[header]) == (upstream.embeds.path, value)
    upstream.embeds.check_request(seen.json)
    return list(leaves(seen.json))


@EVERY_EMBEDDER
@pytest.mark.parametrize("texts", [["alpha", "beta"], [UNICODE], [BIG]], ids=["text", "unicode", "5mb"])
def test_embeddings(rig: Rig, embedder: EmbeddingsClient, upstream: Upstream, texts: list[str]) -> None:
    assert set(texts) <= set(embedded(rig, embedder, upstream, texts))


@EVERY_EMBEDDER
@pytest.mark.parametrize("status", STATUSES)
def test_an_error_of_embeddings(
    rig: Rig, embedder: EmbeddingsClient, upstream: Upstream, status: int
) -> None:
    rig.behave(upstream.name, answer(status, upstream.error_body(status, WORDS)))
    provider = rig.spare(upstream.name) if status in REMEMBERED else upstream.name
    with pytest.raises(Refusal) as refusal:
        embedder.embed(f"{provider}/{EMBED_MODEL}", ["alpha"])
    assert refusal.value.refused.status == STATUSES[status]
