from __future__ import annotations

from typing import Any

import pytest

from llmproxyd import jsontext
from llmproxyd.adapters.responses_answer import parse_answer, parse_failure, parse_usage
from llmproxyd.values.answer import Answer, Finish, TokenCount
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect, Operation, Refusal, Text, Thinking, ToolCall
from tests import wire
from tests.adapters.build import bare
from tests.support.records import replace

COUNT = replace(bare(), operation=Operation.COUNT_TOKENS)


def parse(**fields: Any) -> Answer | TokenCount | Failure:
    document = {"id": "resp_1", "model": "m", "status": "completed", "output": [], **fields}
    return parse_answer(bare(), jsontext.encode(document))


def answer(**fields: Any) -> Answer:
    parsed = parse(**fields)
    assert isinstance(parsed, Answer)
    return parsed


def test_a_whole_answer_is_read() -> None:
    parsed = parse_answer(bare(), wire.whole("openai_responses", "response"))
    assert isinstance(parsed, Answer)
    assert parsed.id == "resp_fx1"
    assert parsed.created_s == 1795000000
    assert parsed.usage == Usage(120, 42, cache_read_tokens=64, reasoning_tokens=20)
    (choice,) = parsed.choices
    assert choice.parts == (
        Thinking("Look up, then answer.", None, "gAAAA-opaque2", Dialect.OPENAI_RESPONSES, "rs_2"),
        Text("It is 7 °C in Łódź."),
    )
    assert (choice.finish, choice.native_finish) == (Finish.STOP, "completed")


def test_an_answer_cut_by_its_limit_says_so() -> None:
    parsed = parse_answer(bare(), wire.whole("openai_responses", "response_incomplete"))
    assert isinstance(parsed, Answer)
    assert (parsed.choices[0].finish, parsed.choices[0].native_finish) == (Finish.LENGTH, "max_output_tokens")


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({}, Finish.STOP),
        ({"status": None}, Finish.STOP),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, Finish.CONTENT_FILTER),
        ({"status": "incomplete", "incomplete_details": None}, Finish.LENGTH),
        (
            {"output": [{"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"}]},
            Finish.TOOL_CALLS,
        ),
    ],
)
def test_why_the_model_stopped(fields: dict[str, Any], finish: Finish) -> None:
    assert answer(**fields).choices[0].finish is finish


def test_custom_calls_refusals_citations_and_logprobs_are_kept() -> None:
    citation = {"type": "url_citation", "url": "https://example.test"}
    token = {"token": "a", "logprob": -0.1}
    said = {"type": "output_text", "text": "a", "annotations": [citation], "logprobs": [token]}
    parsed = answer(
        output=[
            {"type": "message", "content": [said, {"type": "refusal", "refusal": "No."}]},
            {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "+"},
            {"type": "web_search_call", "id": "ws"},
        ]
    )
    assert parsed.choices[0].parts == (
        Text("a", citations=(citation,)),
        Refusal("No."),
        ToolCall("c", "patch", "+", "custom"),
    )
    assert parsed.choices[0].logprobs == ({"content": [token]},)


def test_a_name_that_had_to_be_respelt_is_read_back() -> None:
    parsed = answer(
        output=[{"type": "function_call", "call_id": "c", "name": "srv_x2E_get", "arguments": "{}"}]
    )
    assert parsed.choices[0].parts == (ToolCall("c", "srv.get", "{}"),)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "failed", "error": {"code": "server_error", "message": "x"}},
        {"error": {"code": "server_error", "message": "x"}},
        {"status": "queued"},
        {"status": "cancelled"},
        {"output": None},
        {"status": None, "output": None},
        {"output": [7]},
    ],
)
def test_pitfall_50_a_good_status_is_not_a_good_answer(fields: dict[str, Any]) -> None:
    assert isinstance(parse(**fields), Failure)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"7"])
def test_what_is_no_response_is_a_failure(body: bytes) -> None:
    parsed = parse_answer(bare(), body)
    assert isinstance(parsed, Failure)
    assert parsed.kind is FailureKind.BAD_ANSWER


def test_tokens_are_counted() -> None:
    assert parse_answer(COUNT, wire.whole("openai_responses", "input_tokens")) == TokenCount(120)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"input_tokens":"9"}', b'{"input_tokens":-1}', b'{"input_tokens":true}']
)
def test_a_count_that_is_none_is_a_failure(body: bytes) -> None:
    assert isinstance(parse_answer(COUNT, body), Failure)


def test_pitfall_39_reasoning_is_part_of_the_output_whatever_the_total_says() -> None:
    given = {
        "input_tokens": 10, "output_tokens": 5, "total_tokens": 18, "output_tokens_details": {"reasoning_tokens": 3},
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    }  # fmt: skip
    assert parse_usage(given) == Usage(10, 5, cache_read_tokens=4, cache_write_tokens=2, reasoning_tokens=3)


def test_pitfall_40_null_details_are_no_details() -> None:
    given = {
        "input_tokens": 1.0,
        "output_tokens": 2,
        "input_tokens_details": None,
        "output_tokens_details": None,
    }
    assert parse_usage(given) == Usage(1, 2)


def test_an_unknown_previous_response_is_not_an_unknown_model() -> None:
    failure = parse_failure(404, {}, wire.whole("openai_responses", "error_404_previous"))
    assert (failure.kind, failure.code) == (FailureKind.NOT_FOUND, "previous_response_not_found")
    assert failure.message == "Previous response with id 'resp_missing' not found."


def test_an_unknown_model_is_one() -> None:
    body = b'{"error":{"message":"The model x does not exist","code":"model_not_found","param":"model"}}'
    assert parse_failure(404, {}, body).kind is FailureKind.MODEL_UNAVAILABLE
