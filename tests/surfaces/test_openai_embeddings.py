from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.surfaces.openai_embeddings import SURFACE
from llmproxyd.values.answer import Answer, Vectors
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import Dialect, Embed, Operation, Request


def ask(**document: Any) -> Request:
    body = json.dumps({"model": "m", "input": "a", **document}).encode()
    return SURFACE.parse_request({}, body, "/v1/embeddings")


def formatted(vectors: Vectors, **document: Any) -> dict[str, Any]:
    body = SURFACE.format_answer(vectors, ask(**document), model="alias", id="x", created_s=1)
    document = json.loads(body)
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize(
    ("given_input", "inputs"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        (["a", [1]], ("a", (1,))),
    ],
)
def test_every_form_of_input_is_read(given_input: Any, inputs: Any) -> None:
    request = ask(input=given_input)
    assert (request.operation, request.stream) == (Operation.EMBEDDING, False)
    assert SURFACE.parse_content(request) == Embed(inputs)


def test_wishes_are_read_and_unknown_fields_ride_along() -> None:
    request = ask(encoding_format="base64", dimensions=8, user="u", input_type="query", truncate="END")
    extras = {Dialect.OPENAI_CHAT: {"truncate": "END"}}
    assert SURFACE.parse_content(request) == Embed(("a",), 8, "base64", "u", "query", extras)


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": []}, "input"),
        ({"input": [None]}, "input[0]"),
        ({"input": ["a", 7]}, "input[1]"),
        ({"input": [1, "a"]}, "input[1]"),
        ({"input": [[1, True]]}, "input[0][1]"),
        ({"input": [[]]}, "input[0]"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"model": ""}, "model"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(document: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        ask(**document)
    assert refused.value.failure.param == param


def test_vectors_are_listed_in_order() -> None:
    assert formatted(Vectors("e", ((0.5, -0.25), (1.0, 0.125)), Usage(7))) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]},
            {"object": "embedding", "index": 1, "embedding": [1.0, 0.125]},
        ],
        "model": "alias",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_base64_holds_little_endian_floats(numbers: list[float]) -> None:
    (entry,) = formatted(Vectors("e", (tuple(numbers),)), encoding_format="base64")["data"]
    raw = base64.b64decode(entry["embedding"], validate=True)
    assert list(struct.unpack(f"<{len(numbers)}f", raw)) == numbers


def test_embeddings_are_not_answered_with_a_chat() -> None:
    with pytest.raises(TypeError):
        SURFACE.format_answer(Answer("", "", ()), ask(), model="m", id="x", created_s=1)
