"""What google-genai itself makes of our answers, over a real socket. It is the strictest reader of streams there is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from llmproxyd.surfaces.gemini_generate import (
    LIST_PATH,
    MODEL_PATH,
    find_surface,
    format_failure,
    format_model,
    format_models,
    parse_model_path,
)
from llmproxyd.values.answer import (
    Answer,
    Choice,
    Event,
    Finish,
    Finished,
    Pinged,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenCount,
    ToolCallDelta,
    UsageReported,
    Vectors,
)
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Chat, Dialect, Operation, Request, Text, ToolCall

genai = pytest.importorskip("google.genai", reason="google-genai is a development requirement")

GEMINI = Dialect.GEMINI_GENERATE


class Door(ThreadingHTTPServer):
    """Answers every call with what the test laid ready, and keeps what was asked."""

    answer: Answer | Vectors | TokenCount | Failure
    events: Iterable[Event] = ()
    failure_in_stream: Failure | None = None
    asked: Request


class Handler(BaseHTTPRequestHandler):
    server: Door

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if LIST_PATH.fullmatch(path):
            return self._reply(200, format_models(["auto", "openai/gpt-6"], self.path))
        assert MODEL_PATH.fullmatch(path)
        return self._reply(200, format_model(parse_model_path(self.path)))

    def do_POST(self) -> None:
        surface = find_surface(self.path)
        assert surface is not None
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            request = self.server.asked = surface.parse_request({}, body, self.path)
        except BadRequest as bad:
            return self._reply(bad.failure.client_status, format_failure(bad.failure, "r"))
        if request.stream:
            encoder = surface.new_encoder(request, model="alias", id="r-1", created_s=0)
            pieces = [encoder.feed(event) for event in self.server.events]
            failed = self.server.failure_in_stream
            pieces.append(encoder.close() if failed is None else encoder.fail(failed))
            return self._reply(200, b"".join(pieces), surface.stream_type)
        answer = self.server.answer
        if isinstance(answer, Failure):
            return self._reply(answer.client_status, surface.format_failure(answer, "r"))
        return self._reply(200, surface.format_answer(answer, request, model="alias", id="r-1", created_s=0))

    def _reply(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with Door(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def client(door: Door) -> Any:
    options = genai.types.HttpOptions(base_url=f"http://127.0.0.1:{door.server_address[1]}", timeout=10_000)
    return genai.Client(api_key="k", http_options=options)


def whole(*parts: Any, finish: Finish = Finish.STOP) -> Answer:
    return Answer("", "m", (Choice(parts, finish),), Usage(120, 42, reasoning_tokens=20))


def test_a_whole_answer_is_read(door: Door, client: Any) -> None:
    door.answer = whole(Text("It is 7 °C."), ToolCall("1", "f", '{"a":1}', signature="c2ln"))
    read = client.models.generate_content(model="openai/gpt-6", contents="hi")
    assert door.asked.model == "openai/gpt-6"
    assert read.candidates[0].content.parts[0].text == "It is 7 °C."
    assert read.function_calls[0].args == {"a": 1}
    assert read.candidates[0].content.parts[1].thought_signature == b"sig"
    assert (read.usage_metadata.candidates_token_count, read.usage_metadata.thoughts_token_count) == (22, 20)
    assert read.model_version == "alias"


def test_a_refusal_is_read_as_a_blocked_prompt(door: Door, client: Any) -> None:
    door.answer = whole(finish=Finish.REFUSAL)
    read = client.models.generate_content(model="m", contents="hi")
    assert read.prompt_feedback.block_reason == genai.types.BlockedReason.SAFETY


def test_a_stream_with_pings_thoughts_and_calls_is_read(door: Door, client: Any) -> None:
    door.events = [
        Pinged(),
        Started("up-1"),
        ThinkingDelta("hm", origin=GEMINI),
        TextDelta("It is"),
        Pinged(),
        TextDelta(" 7 °C\u2028."),
        ToolCallDelta(0, "1", "f", '{"a"'),
        ToolCallDelta(0, arguments=":1}"),
        Finished(Finish.TOOL_CALLS),
        UsageReported(Usage(8, 4)),
    ]
    config = genai.types.GenerateContentConfig(thinking_config={"include_thoughts": True})
    read = list(client.models.generate_content_stream(model="m", contents="hi", config=config))
    parts = [part for piece in read for c in piece.candidates or () for part in c.content.parts or ()]
    assert [part.text for part in parts if part.thought] == ["hm"]
    assert "".join(part.text for part in parts if part.text and not part.thought) == "It is 7 °C\u2028."
    assert [part.function_call.args for part in parts if part.function_call] == [{"a": 1}]
    assert read[-1].candidates[0].finish_reason == genai.types.FinishReason.STOP
    assert read[-1].usage_metadata.total_token_count == 12


def test_a_failure_within_a_stream_is_raised(door: Door, client: Any) -> None:
    door.events = [TextDelta("It is")]
    door.failure_in_stream = Failure(FailureKind.OVERLOADED, "Too busy.")
    try:
        with pytest.raises(genai.errors.ServerError) as caught:
            list(client.models.generate_content_stream(model="m", contents="hi"))
    finally:
        door.failure_in_stream = None
    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")


def test_a_failure_is_raised_with_its_status(door: Door, client: Any) -> None:
    door.answer = Failure(FailureKind.RATE_LIMITED, "Slow down.")
    with pytest.raises(genai.errors.ClientError) as caught:
        client.models.generate_content(model="m", contents="hi")
    assert (caught.value.code, caught.value.status, caught.value.message) == (
        429,
        "RESOURCE_EXHAUSTED",
        "Slow down.",
    )


def test_what_the_client_sends_is_understood(door: Door, client: Any) -> None:
    types = genai.types
    door.answer = whole(Text("{}"))
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        max_output_tokens=64,
        stop_sequences=["#"],
        response_mime_type="application/json",
        response_schema={"type": "OBJECT", "properties": {"a": {"type": "INTEGER", "nullable": True}}},
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration(name="f", parameters_json_schema={"type": "object"})])],
        tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY")),
        thinking_config=types.ThinkingConfig(thinking_level="LOW"),
        safety_settings=[types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")],
    )  # fmt: skip
    contents = [
        types.Content(role="user", parts=[types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")]),
        types.Content(role="model", parts=[types.Part(function_call={"name": "f", "args": {"a": 1}}, thought_signature=b"sig")]),
        types.Content(role="user", parts=[types.Part.from_function_response(name="f", response={"output": "7"})]),
    ]  # fmt: skip
    client.models.generate_content(model="m", contents=contents, config=config)
    surface = find_surface("/v1/models/m:generateContent")
    assert surface is not None
    read = surface.parse_content(door.asked)
    assert isinstance(read, Chat)
    call, result = read.messages[2].parts[0], read.messages[3].parts[0]
    assert call == ToolCall("call_1_0", "f", '{"a":1}', signature="c2ln")
    assert result.call_id == "call_1_0"  # type: ignore[union-attr]
    assert read.output_format is not None
    assert read.output_format.schema == {
        "type": "object",
        "properties": {"a": {"type": ["integer", "null"]}},
    }
    assert (read.effort, read.tool_choice.mode if read.tool_choice else None) == ("low", "required")
    assert read.sampling.max_tokens == 64


def test_tokens_are_counted_and_texts_embedded(door: Door, client: Any) -> None:
    door.answer = TokenCount(12)
    assert client.models.count_tokens(model="m", contents="hi").total_tokens == 12
    assert door.asked.operation is Operation.COUNT_TOKENS
    door.answer = Vectors("m", ((0.5, -0.25), (1.0, 0.125)))
    read = client.models.embed_content(
        model="m", contents=["a", "b"], config={"task_type": "RETRIEVAL_QUERY"}
    )
    assert [entry.values for entry in read.embeddings] == [[0.5, -0.25], [1.0, 0.125]]
    surface = find_surface("/v1/models/m:batchEmbedContents")
    assert surface is not None
    assert surface.parse_content(door.asked).inputs == ("a", "b")  # type: ignore[union-attr]


def test_models_are_listed_page_by_page(client: Any) -> None:
    names = [model.name for model in client.models.list(config={"page_size": 1})]
    assert names == ["models/auto", "models/openai/gpt-6"]
    assert client.models.get(model="openai/gpt-6").name == "models/openai/gpt-6"


def test_a_request_that_is_refused_says_why(client: Any) -> None:
    with pytest.raises(genai.errors.ClientError) as caught:
        client.models.generate_content(model="m", contents="hi", config={"candidate_count": 99})
    assert caught.value.status == "INVALID_ARGUMENT"
    assert json.dumps(caught.value.details).count("generationConfig.candidateCount")
