from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.ollama_chat import ADAPTER
from llmproxyd.adapters.ollama_relay import PATHS, inspect_answer, new_relay, splice_call
from llmproxyd.adapters.relaying import MAX_HELD_BYTES
from llmproxyd.framing import MAX_FRAME_BYTES
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Call, Progress
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.request import NO_OVERRIDES, Capability, Dialect, Operation, Overrides, Request
from tests import wire
from tests.adapters.build import deployment
from tests.support.records import replace

THERE = deployment(
    upstream="llama3.2:3b", dialect=Dialect.OLLAMA_CHAT, base_url="http://localhost:11434", secret=None
)
FINISHED = ["text", "tools", "generate"]


def line(fields: dict[str, Any] | None = None, **message: Any) -> bytes:
    document = {"model": "m", "message": {"role": "assistant", "content": "", **message}, "done": False}
    return json.dumps({**document, **(fields or {})}, separators=(",", ":")).encode() + b"\n"


END = line({"done": True, "done_reason": "stop"})


def relay(*pieces: bytes, echo: str | None = None) -> list[Progress]:
    one = new_relay(echo=echo, keep_usage=True)
    return [*(one.feed(piece) for piece in pieces), one.close()]


def out(progress: list[Progress]) -> bytes:
    return b"".join(piece.out for piece in progress)


# --- on the way back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FINISHED)
def test_what_comes_in_goes_out_byte_for_byte_wherever_it_is_cut(case: str) -> None:
    data = wire.stream("ollama_chat", case)
    for pieces in wire.pieces_of(data):
        progress = relay(*pieces)
        assert out(progress) == data
        assert not any(piece.failure for piece in progress)
        assert any(piece.done for piece in progress)


@pytest.mark.parametrize("case", FINISHED)
def test_only_the_models_name_is_replaced_wherever_the_bytes_are_cut(case: str) -> None:
    data = wire.stream("ollama_chat", case)
    for pieces in wire.pieces_of(data):
        assert out(relay(*pieces, echo="team/alias")) == data.replace(b'"llama3.2:3b"', b'"team/alias"')


def test_a_model_named_elsewhere_is_left_alone_even_where_it_is_not_named_first() -> None:
    text = line({"x": {"model": "m"}}, content='"model":"m"')
    late = b'{"done":true, "message":{"content":"\\"model\\":"} ,"model" : "m"}\n'
    first, last = out(relay(text + late, echo='a"\u2028')).splitlines()
    assert json.loads(first) == {**json.loads(text), "model": 'a"\u2028'}
    assert json.loads(last) == {**json.loads(late), "model": 'a"\u2028'}


@pytest.mark.parametrize("named", [b"", b'"model":null,', b'"model":"",'])
def test_a_line_that_names_no_model_is_left_as_it_is(named: bytes) -> None:
    data = b"{" + named + b'"response":"a","done":true}\n'
    assert out(relay(data, echo="alias")) == data


def test_blank_lines_are_dropped_and_the_last_line_gets_its_end() -> None:
    assert (
        out(relay(b"\n" + line(content="a") + b"\n\r\n" + END.removesuffix(b"\n"))) == line(content="a") + END
    )


def test_lines_without_content_are_held_back_until_there_is_some() -> None:
    empty, word = line(), line(content="a")
    first, second, *_ = relay(empty, word)
    assert first == Progress()
    assert second == Progress(empty + word, content=True)


@pytest.mark.parametrize(
    "data",
    [
        line(content="a"),
        line(thinking="a"),
        line(tool_calls=[{"function": {"name": "f", "arguments": {}}}]),
        b'{"model":"m","response":"a","done":false}\n',
        b'{"model":"m","response":"","thinking":"a","done":false}\n',
        b'{"model":"m","image":"AAAA","done":false}\n',
        END,
    ],
)
def test_every_kind_of_content_commits_and_so_does_the_end(data: bytes) -> None:
    assert relay(data)[0].content


@pytest.mark.parametrize(
    "data", [line(), line(tool_calls=[]), b'{"model":"m","response":"","done":false}\n', b'{"status":"x"}\n']
)
def test_what_holds_nothing_does_not_commit(data: bytes) -> None:
    assert not relay(data)[0].content


@pytest.mark.parametrize(
    ("case", "finish"), [("text", Finish.STOP), ("tools", Finish.TOOL_CALLS), ("generate", Finish.LENGTH)]
)
def test_counts_and_reason_are_seen(case: str, finish: Finish) -> None:
    data = wire.stream("ollama_chat", case)
    for pieces in ([data], data.splitlines(keepends=True)):
        progress = relay(*pieces)
        assert [piece.finish for piece in progress if piece.finish] == [finish]
        assert [piece.usage for piece in progress if piece.usage] == [Usage(26, 12)]


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({}, None),
        ({"eval_count": 4}, Usage(0, 4)),
        ({"prompt_eval_count": 3.0, "eval_count": None}, Usage(3, 0)),
        ({"prompt_eval_count": "3", "eval_count": -1}, Usage(0, 0)),
    ],
)
def test_counts_that_are_missing_or_strange_do_not_break_the_stream(
    counts: dict[str, Any], usage: Usage | None
) -> None:
    first, _ = relay(line({"done": True, **counts}))
    assert (first.usage, first.failure, first.done) == (usage, None, True)


def test_an_error_before_any_content_leaves_nothing_to_send() -> None:
    first, last = relay(line() + b'{"error":"model \'x\' not found"}\n' + END)
    assert first.failure is not None
    assert first.failure.kind is FailureKind.MODEL_UNAVAILABLE
    assert (first.out, first.content, last) == (b"", False, Progress())


def test_an_error_after_content_comes_with_what_was_before_it() -> None:
    data = wire.stream("ollama_chat", "error")
    for pieces in wire.pieces_of(data):
        progress = relay(*pieces)
        assert out(progress) == data.splitlines(keepends=True)[0]
        assert len([piece.failure for piece in progress if piece.failure]) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        line(),
        line(content="a"),
        line(content="a") + b"{\n",
        b"[]\n",
        b"<html>\n",
        b'{"message":7}\n',
        b'{"done":"yes"}\n',
    ],
)
def test_what_is_no_complete_stream_is_a_failure(data: bytes) -> None:
    failures = [piece.failure for piece in relay(data) if piece.failure]
    assert [failure.kind for failure in failures] == [FailureKind.BAD_ANSWER]


def test_nothing_follows_the_end() -> None:
    first, last = relay(line(content="a") + END + line(content="b"))
    assert first.out == line(content="a") + END
    assert last == Progress(done=True)


def test_half_an_emoji_in_a_line_passes_untouched_and_does_not_hide_the_name() -> None:
    data = line(content="\ud83c") + END
    assert out(relay(data)) == data
    assert out(relay(data, echo="alias")) == data.replace(b'"m"', b'"alias"')


def test_what_is_held_back_is_bounded() -> None:
    one = new_relay(echo=None, keep_usage=True)
    empty = line({"pad": "x" * 1000})
    for _ in range(MAX_HELD_BYTES // len(empty)):
        assert one.feed(empty).failure is None
    assert [one.feed(empty).failure is None for _ in range(2)] == [False, True]


def test_a_line_without_end_is_a_failure() -> None:
    one = new_relay(echo=None, keep_usage=True)
    assert one.feed(b"x" * (MAX_FRAME_BYTES + 1)).failure is not None
    assert one.feed(END) == one.close() == Progress()


@pytest.mark.parametrize("name", ["response", "embed"])
def test_a_whole_answer_passes_with_only_the_name_replaced(name: str) -> None:
    body = wire.whole("ollama_chat", name)
    model = json.loads(body)["model"]
    assert inspect_answer(body, None).body == body
    assert json.loads(inspect_answer(body, "alias").body) == {**json.loads(body), "model": "alias"}
    assert model != "alias"


def test_counts_and_reason_of_a_whole_answer_are_seen() -> None:
    seen = inspect_answer(wire.whole("ollama_chat", "response"), None)
    assert (seen.usage, seen.finish, seen.failure) == (Usage(26, 12), Finish.STOP, None)
    seen = inspect_answer(wire.whole("ollama_chat", "embed"), None)
    assert (seen.usage, seen.finish, seen.failure) == (Usage(8), None, None)
    seen = inspect_answer(b'{"embedding":[1,2]}', "alias")
    assert (seen.body, seen.usage, seen.failure) == (b'{"embedding":[1,2]}', None, None)
    called = line({"done": True}, tool_calls=[{"function": {"name": "f"}}])
    assert inspect_answer(called, None).finish is Finish.TOOL_CALLS


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error":"x"}', line(content="a")])
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    failure = inspect_answer(body, "alias").failure
    assert failure is not None
    assert failure.kind is FailureKind.BAD_ANSWER


# --- on the way out ---------------------------------------------------------------------------------------------------


def asked(
    surface: str = "ollama-chat", body: bytes = b'{"model":"alias","messages":[]}', **fields: Any
) -> Request:
    operation = Operation.EMBEDDING if "embed" in surface else Operation.CHAT
    given: dict[str, Any] = {"stream": operation is Operation.CHAT, **fields}
    return Request(operation, Dialect.OLLAMA_CHAT, surface, "alias", given["stream"], body, json.loads(body))


def splice(request: Request, overrides: Overrides = NO_OVERRIDES) -> Call:
    return splice_call(request, THERE, overrides)


@pytest.mark.parametrize(("surface", "path"), PATHS.items())
def test_a_body_goes_on_at_the_path_it_came_in_by(surface: str, path: str) -> None:
    call = splice(asked(surface))
    assert call.url == "http://localhost:11434" + path
    assert (call.stream, call.headers["accept"]) == (
        (False, "application/json") if "embed" in surface else (True, "application/x-ndjson")
    )


def test_only_the_model_is_put_in_and_every_other_field_keeps_its_bytes() -> None:
    body = b'{ "raw":true, "model":"alias", "options": {"num_ctx" : 8e3, "x":[1 ,2]}, "prompt":"\\u0141" }'
    call = splice(asked("ollama-generate", body))
    assert call.body == (
        b'{"raw":true,"model":"llama3.2:3b","options":{"num_ctx" : 8e3, "x":[1 ,2]},"prompt":"\\u0141"}'
    )
    assert call.warnings == ()


def test_overrides_go_into_the_options_beside_the_clients_own() -> None:
    body = b'{"model":"alias","messages":[],"options":{"num_ctx":4096,"temperature":1,"num_predict":-1}}'
    call = splice(asked(body=body), Overrides(temperature=0, top_p=0.5, max_tokens=9, seed=3, effort="xhigh"))
    sent = json.loads(call.body)
    assert sent["options"] == {"num_ctx": 4096, "temperature": 0, "top_p": 0.5, "num_predict": 9, "seed": 3}
    assert sent["think"] == "max"
    assert json.loads(splice(asked(body=body), Overrides(effort="none")).body)["think"] is False


def test_a_model_known_not_to_think_is_not_made_to() -> None:
    dull = replace(THERE, capabilities=frozenset({Capability.TOOLS}))
    call = splice_call(asked(), dull, Overrides(effort="high"))
    assert "think" not in json.loads(call.body)
    assert len(call.warnings) == 1


def test_embeddings_have_nothing_to_override() -> None:
    call = splice(asked("ollama-embed", b'{"model":"alias","input":"a"}'), Overrides(temperature=0))
    assert call.body == b'{"model":"llama3.2:3b","input":"a"}'


def test_the_adapter_offers_the_lane() -> None:
    assert (ADAPTER.splice_call, ADAPTER.new_relay, ADAPTER.inspect_answer) == (
        splice_call,
        new_relay,
        inspect_answer,
    )
