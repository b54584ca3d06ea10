"""What clients speak on Ollama's /api/embed, and on its older /api/embeddings: one text in, one vector out."""

from __future__ import annotations

from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.ollama_answer import format_failure
from llmproxyd.surfaces.ollama_fields import own_fields, read_name
from llmproxyd.surfaces.ollama_stream import new_encoder
from llmproxyd.surfaces.openai_fields import decode_body, empty, read_int, read_text, wrong_type
from llmproxyd.values.answer import Answer, TokenCount, Vectors
from llmproxyd.values.contracts import Headers, Surface
from llmproxyd.values.request import Dialect, Document, Embed, Operation, Request

_EMBED_FIELDS = frozenset({"model", "input", "dimensions", "options"})
_LEGACY_FIELDS = frozenset({"model", "prompt", "options"})


def parse_request(headers: Headers, body: bytes, target: str) -> Request:
    """A request of /api/embed. Raises BadRequest for what no provider could answer."""
    document = decode_body(body)
    parse_inputs(document)
    read_int(document, "dimensions", low=0)
    return _envelope(EMBED.name, body, document)


def parse_legacy(headers: Headers, body: bytes, target: str) -> Request:
    """A request of /api/embeddings."""
    document = decode_body(body)
    read_text(document, "prompt")
    return _envelope(EMBEDDINGS.name, body, document)


def parse_inputs(document: Document) -> tuple[str, ...]:
    """The texts of ``input``; none where it is empty, which only loads the model."""
    given = document.get("input")
    if given is None or given == "":
        return ()
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list):
        raise wrong_type("input", "a string or an array of strings", given)
    for index, item in enumerate(given):
        if not isinstance(item, str):
            raise wrong_type(f"input[{index}]", "a string", item)
    return tuple(given)


def parse_content(request: Request) -> Embed:
    document = request.document
    inputs = parse_inputs(document)
    if not inputs:
        raise empty("input")
    return Embed(
        inputs=inputs,
        # Zero is how clients say "as the model has it".
        dimensions=read_int(document, "dimensions", low=0) or None,
        extras=_extras(document, _EMBED_FIELDS),
    )


def parse_legacy_content(request: Request) -> Embed:
    prompt = read_text(request.document, "prompt")
    if not prompt:
        raise empty("prompt")
    return Embed(inputs=(prompt,), extras=_extras(request.document, _LEGACY_FIELDS))


def format_vectors(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002 - unused: embeddings have no id
    created_s: int,
) -> bytes:
    """The body of an /api/embed answer. Durations are zero: nobody measured them."""
    vectors = _need_vectors(answer)
    body: dict[str, Any] = {
        "model": model,
        "embeddings": vectors.vectors,
        "total_duration": 0,
        "load_duration": 0,
    }
    if vectors.usage is not None:
        body["prompt_eval_count"] = vectors.usage.input_tokens
    return jsontext.encode(body)


def format_vector(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002
    created_s: int,
) -> bytes:
    """The body of an /api/embeddings answer."""
    return jsontext.encode({"embedding": _need_vectors(answer).vectors[0]})


def _need_vectors(answer: Answer | Vectors | TokenCount) -> Vectors:
    if not isinstance(answer, Vectors):
        raise TypeError(f"embeddings are not answered with {type(answer).__name__}")
    return answer


def _envelope(surface: str, body: bytes, document: Document) -> Request:
    return Request(
        operation=Operation.EMBEDDING,
        dialect=Dialect.OLLAMA_CHAT,
        surface=surface,
        model=read_name(document),
        stream=False,
        body=body,
        document=document,
    )


def _extras(document: Document, known: frozenset[str]) -> dict[Dialect, Document]:
    """Here every option is Ollama's own."""
    extras = dict(own_fields(document, known).get(Dialect.OLLAMA_CHAT, {}))
    if document.get("options"):
        extras["options"] = document["options"]
    return {Dialect.OLLAMA_CHAT: extras} if extras else {}


EMBED = Surface(
    name="ollama-embed",
    dialect=Dialect.OLLAMA_CHAT,
    operation=Operation.EMBEDDING,
    parse_request=parse_request,
    parse_content=parse_content,
    format_answer=format_vectors,
    new_encoder=new_encoder,  # never asked for: embeddings do not stream
    format_failure=format_failure,
)
EMBEDDINGS = Surface(
    name="ollama-embeddings",
    dialect=Dialect.OLLAMA_CHAT,
    operation=Operation.EMBEDDING,
    parse_request=parse_legacy,
    parse_content=parse_legacy_content,
    format_answer=format_vector,
    new_encoder=new_encoder,
    format_failure=format_failure,
)
