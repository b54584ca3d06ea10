"""The official `openai` SDK as client, over TCP and over the Unix socket, before providers that replay recordings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
import pytest_asyncio

from tests.support.daemon import Daemon
from tests.support.fake_provider import Exchange, FakeProvider, answer, stream

WIRE = Path(__file__).resolve().parent.parent / "wire"
TEXT = "It is 7 °C in Łódź."

PROVIDERS = """
version: 1
providers:
  cloud: {{preset: openai-compatible, endpoint: "{cloud}", zone: local,
          models: [{{id: gpt-6-sol, price: free}}, {{id: text-embedding-3-small, price: free}}]}}
  home: {{preset: ollama, endpoint: "{home}", models: ["llama3.2:3b", {{id: nomic-embed-text, price: free}}]}}
"""
WEATHER: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Current weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
ASK: list[Any] = [{"role": "user", "content": "What is the weather in Łódź?"}]


def recording(name: str) -> bytes:
    return (WIRE / name).read_bytes()


def pieces(data: bytes, size: int = 7) -> list[bytes]:
    """A recording in small writes, cut anywhere."""
    return [data[at : at + size] for at in range(0, len(data), size)]


async def replay_cloud(exchange: Exchange) -> None:
    asked = exchange.seen.json
    if exchange.seen.path.endswith("/embeddings"):
        await answer(body=recording("openai_chat/whole/embeddings_response.json"))(exchange)
    elif exchange.seen.path.endswith("/completions") and "prompt" in asked:
        await answer(body=recording("openai_chat/whole/completions_response.json"))(exchange)
    elif asked.get("stream"):
        name = "tools" if asked.get("tools") else "text"
        await stream(pieces(recording(f"openai_chat/{name}/response.sse")))(exchange)
    else:
        name = "response_tools.json" if asked.get("tools") else "response.json"
        await answer(body=recording(f"openai_chat/whole/{name}"))(exchange)


async def replay_home(exchange: Exchange) -> None:
    asked = exchange.seen.json
    if exchange.seen.path == "/api/embed":
        await answer(body=recording("ollama_chat/whole/embed.json"))(exchange)
    elif asked["stream"]:
        name = "tools" if asked.get("tools") else "text"
        data = recording(f"ollama_chat/{name}/response.ndjson")
        await stream(pieces(data), content_type="application/x-ndjson")(exchange)
    else:
        await answer(body=recording("ollama_chat/whole/response.json"))(exchange)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud() -> AsyncIterator[FakeProvider]:
    async with FakeProvider(replay_cloud) as provider:
        yield provider


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory, cloud: FakeProvider) -> AsyncIterator[Daemon]:
    """One for all: nothing that is done to it here may change it."""
    daemon = Daemon(tmp_path_factory.mktemp("served"))
    async with FakeProvider(replay_home) as home:
        daemon.write(PROVIDERS.format(cloud=cloud.url, home=home.url.removesuffix("/v1")))
        async with daemon:
            yield daemon


@pytest_asyncio.fixture(params=["tcp", "unix"], loop_scope="module")
async def sdk(request: pytest.FixtureRequest, served: Daemon) -> AsyncIterator[openai.AsyncOpenAI]:
    transport = httpx.AsyncHTTPTransport(uds=str(served.socket_path)) if request.param == "unix" else None
    base = served.url if request.param == "tcp" else "http://localhost"
    async with openai.AsyncOpenAI(
        api_key="any",
        base_url=base + "/v1",
        max_retries=0,
        http_client=httpx.AsyncClient(transport=transport),
    ) as client:
        yield client


@pytest.mark.parametrize("model", ["gpt-6-sol", "llama3.2:3b"])
async def test_a_chat_completion(sdk: openai.AsyncOpenAI, model: str) -> None:
    done = await sdk.chat.completions.create(model=model, messages=ASK)
    assert (done.choices[0].message.content or "").startswith(TEXT)
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.prompt_tokens > 0
    assert done.model == model


@pytest.mark.parametrize("model", ["gpt-6-sol", "llama3.2:3b"])
async def test_a_streamed_chat_completion(sdk: openai.AsyncOpenAI, model: str) -> None:
    asked = await sdk.chat.completions.create(
        model=model, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in asked]
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said.startswith(TEXT)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


@pytest.mark.parametrize("model", ["gpt-6-sol", "llama3.2:3b"])
async def test_streamed_tool_calls_through_the_sdks_own_accumulator(
    sdk: openai.AsyncOpenAI, model: str
) -> None:
    async with sdk.chat.completions.stream(model=model, messages=ASK, tools=WEATHER) as asked:
        done = await asked.get_final_completion()
    calls = done.choices[0].message.tool_calls
    assert calls
    assert done.choices[0].finish_reason == "tool_calls"
    cities = [json.loads(call.function.arguments)["city"] for call in calls if call.type == "function"]
    assert cities == (["Łódź", "Oslo"] if model == "gpt-6-sol" else ["Oslo"])


async def test_embeddings(sdk: openai.AsyncOpenAI) -> None:
    """The SDK asks for base64 behind its caller's back."""
    cloud = await sdk.embeddings.create(model="text-embedding-3-small", input=["alpha", "beta"])
    home = await sdk.embeddings.create(model="nomic-embed-text", input=["alpha", "beta"])
    assert [entry.index for entry in cloud.data] == [0, 1]
    assert [entry.embedding for entry in home.data] == [[0.5, -0.25], [1.0, 0.125]]


async def test_legacy_completions(sdk: openai.AsyncOpenAI) -> None:
    done = await sdk.completions.create(model="gpt-6-sol", prompt="hello")
    assert done.choices[0].text == " world"


async def test_models(sdk: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in sdk.models.list()]
    assert {"auto", "gpt-6-sol", "cloud/gpt-6-sol", "llama3.2:3b", "home/llama3.2:3b"} <= set(names)
    assert (await sdk.models.retrieve("cloud/gpt-6-sol")).id == "cloud/gpt-6-sol"
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("nobody")


async def test_an_unknown_model_is_the_sdks_own_exception(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.chat.completions.create(model="gpt-6-sool", messages=ASK)
    assert caught.value.code == "model_not_found"
    assert "gpt-6-sol" in caught.value.message


async def test_a_wrong_parameter_is_named(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model="gpt-6-sol", messages=[])
    assert caught.value.param == "messages"


async def test_the_answer_carries_our_headers(sdk: openai.AsyncOpenAI) -> None:
    raw = await sdk.chat.completions.with_raw_response.create(
        model="home/llama3.2:3b", messages=ASK, extra_headers={"x-llmproxyd-project": "website"}
    )
    headers = raw.headers
    assert headers["x-llmproxyd-provider"] == "home"
    assert headers["x-llmproxyd-model"] == "llama3.2:3b"
    assert headers["x-llmproxyd-generation"] == "1"
    assert headers["x-llmproxyd-attempts"] == "1"
    assert headers["x-llmproxyd-label"] == "internal"
    assert headers["x-llmproxyd-cost-usd"] == "0"
    assert headers["x-llmproxyd-request-id"] == headers["x-request-id"]
    assert float(headers["x-llmproxyd-overhead-ms"]) >= 0
    assert raw.parse().model == "home/llama3.2:3b"


@contextmanager
def blocking(url: str, uds: str | None) -> Iterator[openai.OpenAI]:
    transport = httpx.HTTPTransport(uds=uds) if uds else None
    with openai.OpenAI(
        api_key="any", base_url=url + "/v1", max_retries=0, http_client=httpx.Client(transport=transport)
    ) as client:
        yield client


@pytest.mark.parametrize("over", ["tcp", "unix"])
async def test_the_blocking_client(served: Daemon, over: str) -> None:
    def work(url: str, uds: str | None) -> list[str]:
        with blocking(url, uds) as client:
            whole = client.chat.completions.create(model="gpt-6-sol", messages=ASK)
            streamed = client.chat.completions.create(model="llama3.2:3b", messages=ASK, stream=True)
            said = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
            return [whole.choices[0].message.content or "", said]

    told = await asyncio.to_thread(
        work, *(("http://localhost", str(served.socket_path)) if over == "unix" else (served.url, None))
    )
    assert all(text.startswith(TEXT) for text in told)


async def test_what_goes_to_openai_is_the_clients_own_body(
    sdk: openai.AsyncOpenAI, cloud: FakeProvider
) -> None:
    """Verbatim: unknown fields included, credentials and hop-by-hop headers excluded."""
    await sdk.chat.completions.create(
        model="cloud/gpt-6-sol",
        messages=ASK,
        extra_body={"future_field": {"a": [1, 2.0]}},
        extra_headers={"cookie": "a=b", "x-custom": "kept here"},
    )
    seen = cloud.seen[-1]
    assert seen.json == {"model": "gpt-6-sol", "messages": ASK, "future_field": {"a": [1, 2.0]}}
    assert "Bearer any" not in seen.headers.values()
    assert "cookie" not in seen.headers
    assert "x-stainless-lang" not in seen.headers
    assert "x-custom" not in seen.headers
