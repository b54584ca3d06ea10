from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd import jsontext
from llmproxyd.state.responses import ResponseMemory
from llmproxyd.surfaces.openai_responses import SURFACE, parse_content, parse_request
from llmproxyd.surfaces.responses_stored import (
    continue_conversation,
    final_response,
    format_deleted,
    format_input_items,
    format_stored,
    input_items,
    new_stored,
    parse_path,
    refuse_cancel,
    response_not_found,
)
from llmproxyd.values.answer import Finish, Finished, TextDelta
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Capability, Message, Request, Role, Text
from llmproxyd.values.stored import StoredResponse
from tests import wire


def asked(**fields: Any) -> Request:
    return parse_request({}, jsontext.encode({"model": "m", **fields}), "/v1/responses")


def answered(request: Request, text: str, number: int) -> dict[str, Any]:
    one = SURFACE.new_encoder(request, model="m", id=f"req_{number}", created_s=1)
    one.feed(TextDelta(text))
    one.feed(Finished(Finish.STOP))
    response = final_response(one.close())
    assert isinstance(response, dict)
    return response


class Keeper:
    """What the server does around an exchange: continue, answer, keep."""

    def __init__(self) -> None:
        self.memory = ResponseMemory()
        self.turns = 0

    def resolve(self, response_id: str, owner: str) -> StoredResponse | None:
        return self.memory.get(response_id, owner, 0.0)

    def go_on(self, request: Request, owner: str = "alice") -> Request | Failure:
        return continue_conversation(request, owner, self.resolve)

    def turn(self, text: str, **fields: Any) -> str:
        request = self.go_on(asked(**fields))
        assert isinstance(request, Request)
        self.turns += 1
        response = answered(request, text, self.turns)
        stored = new_stored(request, response, owner="alice", label="internal")
        assert stored is not None
        self.memory.put(stored, 0.0)
        return stored.id


def test_a_conversation_goes_on_with_everything_that_was_said_and_without_its_instructions() -> None:
    keeper = Keeper()
    first = keeper.turn("One.", input="1?", instructions="Count.")
    second = keeper.turn("Two.", input=[{"role": "user", "content": "2?"}], previous_response_id=first)
    request = keeper.go_on(asked(input="3?", previous_response_id=second, temperature=0.5))
    assert isinstance(request, Request)
    assert parse_content(request).messages == tuple(
        Message(role, (Text(text),))
        for role, text in [
            (Role.USER, "1?"), (Role.ASSISTANT, "One."), (Role.USER, "2?"), (Role.ASSISTANT, "Two."), (Role.USER, "3?"),
        ]
    )  # fmt: skip
    sent = jsontext.decode(request.body)
    assert set(sent) == {"model", "input", "temperature"}
    assert sent["input"] == request.document["input"]


def test_the_answer_names_the_response_it_goes_on_from() -> None:
    keeper = Keeper()
    first = keeper.turn("One.", input="1?")
    request = keeper.go_on(asked(input="2?", previous_response_id=first))
    assert isinstance(request, Request)
    assert answered(request, "Two.", 9)["previous_response_id"] == first


def test_what_earlier_turns_need_the_next_one_needs_too() -> None:
    keeper = Keeper()
    picture = [
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://example.test/a.png"}]}
    ]
    request = keeper.go_on(asked(input="And?", previous_response_id=keeper.turn("A cat.", input=picture)))
    assert isinstance(request, Request)
    assert request.needs == {Capability.VISION}


def test_a_request_that_refers_to_nothing_stays_as_it_is() -> None:
    request = asked(input="x")
    assert Keeper().go_on(request) is request


@pytest.mark.parametrize("owner", ["alice", "bob"])
def test_what_is_not_known_or_not_ones_own_is_not_found(owner: str) -> None:
    keeper = Keeper()
    known = keeper.turn("One.", input="1?")
    failure = keeper.go_on(
        asked(input="x", previous_response_id="resp_missing" if owner == "alice" else known), owner
    )
    assert isinstance(failure, Failure)
    assert failure.client_status == 404
    error = jsontext.decode(SURFACE.format_failure(failure, "req_1"))
    expected = json.loads(wire.whole("openai_responses", "error_404_previous"))
    if owner == "alice":
        assert error == expected
    assert error["error"]["code"] == expected["error"]["code"]


@pytest.mark.parametrize(
    "fields", [{"previous_response_id": 7}, {"previous_response_id": "r", "conversation": "c"}]
)
def test_a_wrong_reference_is_the_callers_mistake(fields: dict[str, Any]) -> None:
    failure = Keeper().go_on(asked(input="x", **fields))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.param) == (FailureKind.BAD_REQUEST, "previous_response_id")


@pytest.mark.parametrize("case", ["text", "tools", "custom", "done_only", "open_weights", "incomplete"])
def test_the_finished_response_is_found_in_what_went_to_the_client(case: str) -> None:
    data = wire.stream("openai_responses", case)
    response = final_response(data)
    assert response is not None
    stored = new_stored(asked(input="x"), response, owner="alice")
    assert stored is not None
    assert jsontext.decode(stored.response) == response


def test_pieces_without_an_end_hold_no_response() -> None:
    assert (
        final_response(b'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n')
        is None
    )
    assert final_response(b"") is None


@pytest.mark.parametrize(
    ("fields", "response"),
    [
        ({"store": False}, {"id": "resp_1", "status": "completed", "output": []}),
        ({}, {"id": "resp_1", "status": "failed", "output": []}),
        ({}, {"status": "completed", "output": []}),
        ({}, {"id": "resp_1", "status": "completed"}),
    ],
)
def test_what_is_not_wanted_or_came_to_nothing_is_not_kept(
    fields: dict[str, Any], response: dict[str, Any]
) -> None:
    assert new_stored(asked(input="x", **fields), response, owner="alice") is None


# --- showing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/responses/resp_1", ("resp_1", "")),
        ("/v1/responses/resp_1/cancel", ("resp_1", "cancel")),
        ("/v1/responses/resp_1/input_items", ("resp_1", "input_items")),
        ("/v1/responses/", None),
        ("/v1/responses/a/b", None),
        ("/v1/responses/" + "x" * 200, None),
    ],
)
def test_paths_name_a_response_and_what_to_do_with_it(path: str, expected: tuple[str, str] | None) -> None:
    assert parse_path(path) == expected


def kept(count: int = 0) -> StoredResponse:
    items = [{"role": "user", "content": str(n)} for n in range(count)]
    return StoredResponse("resp_1", "alice", b'{"id":"resp_1"}', jsontext.encode(items))


def test_a_stored_response_is_shown_as_the_client_got_it() -> None:
    assert format_stored(kept(), "include[]=x") == b'{"id":"resp_1"}'
    with pytest.raises(BadRequest):
        format_stored(kept(), "stream=true")


def test_deleting_and_not_finding_have_openais_form() -> None:
    assert jsontext.decode(format_deleted("resp_1")) == {
        "id": "resp_1",
        "object": "response",
        "deleted": True,
    }
    assert response_not_found("resp_1").client_status == 404
    assert refuse_cancel(kept()).client_status == 400


def test_input_items_are_listed_page_by_page_in_either_order() -> None:
    def page(query: str) -> dict[str, Any]:
        document = jsontext.decode(format_input_items(kept(25), query))
        assert isinstance(document, dict)
        return document

    first = page("limit=10&order=asc")
    assert [item["content"] for item in first["data"]] == [str(n) for n in range(10)]
    assert (first["object"], first["has_more"], first["first_id"]) == ("list", True, first["data"][0]["id"])
    second = page(f"limit=20&order=asc&after={first['last_id']}")
    assert [item["content"] for item in second["data"]] == [str(n) for n in range(10, 25)]
    assert second["has_more"] is False
    assert [item["content"] for item in page("")["data"]] == [str(n) for n in range(24, 4, -1)]
    assert len({item["id"] for item in page("limit=100")["data"]}) == 25
    assert jsontext.decode(format_input_items(kept(0), ""))["first_id"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=99999", "order=up", "after=nobody"]
)
def test_a_wrong_page_is_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        format_input_items(kept(1), query)


def test_a_bare_text_is_listed_as_the_message_it_is() -> None:
    assert input_items({"input": "x"})[0]["content"] == [{"type": "input_text", "text": "x"}]
    assert input_items({}) == []
