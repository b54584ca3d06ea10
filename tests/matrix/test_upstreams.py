"""The doubles themselves: a provider that does not speak like its vendor would prove nothing."""

from __future__ import annotations

import json

import pytest

from tests.matrix.scene import OSLO, RESULT, ROME, TEXT, THOUGHT, Said
from tests.matrix.shape import check, find_faults
from tests.matrix.upstreams import UPSTREAMS
from tests.matrix.upstreams.openai_chat import check_request, check_vectors, write_vectors

SAID = [
    Said((TEXT,)),
    Said((TEXT[:5], TEXT[5:]), THOUGHT),
    Said((), THOUGHT, (OSLO,)),
    Said((), "", (OSLO, ROME)),
    Said((), "", (OSLO,), silent=True),
]


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("name", UPSTREAMS)
def test_a_double_answers_as_its_vendors_sdk_expects(name: str, said: Said) -> None:
    upstream = UPSTREAMS[name]
    upstream.check_answer(json.loads(upstream.write(said)))
    frames = [frame for piece in upstream.write_stream(said) for frame in piece.splitlines() if frame]
    documents = [frame.removeprefix(b"data: ") for frame in frames if not frame.startswith(b"event: ")]
    for document in documents:
        if document != b"[DONE]":
            upstream.check_frame(json.loads(document))


@pytest.mark.parametrize("name", UPSTREAMS)
def test_an_error_is_an_object_that_says_what_is_wrong(name: str) -> None:
    for status in (400, 401, 404, 429, 500, 529):
        assert isinstance(json.loads(UPSTREAMS[name].error_body(status, "words")), dict)


def test_vectors_are_what_openais_sdk_expects() -> None:
    check_vectors(json.loads(write_vectors(2)))


def test_the_check_sees_what_no_sdk_would_send() -> None:
    good = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    check_request(good)
    for bad in (
        {"future": 1},
        {"messages": [{"role": "user", "content": 7}]},
        {"messages": [{"role": "user"}]},
        {"temperature": "hot"},
    ):
        with pytest.raises(AssertionError):
            check_request(good | bad)


def test_the_check_names_the_place() -> None:
    assert next(find_faults(list[dict[str, int]], [{"a": 1}, {"a": RESULT}], "$")).startswith("$[1].a: ")
    check(int | None, None)
    with pytest.raises(AssertionError, match=r"\$"):
        check(int, True)
