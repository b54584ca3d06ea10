"""What Ollama's clients ask beside answers: lists, abilities, versions, warm-ups, management; and embeddings."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import ollama
import pytest

from llmproxyd.surfaces.ollama_chat import CHAT, GENERATE
from llmproxyd.surfaces.ollama_embed import EMBED, EMBEDDINGS, format_vector, format_vectors
from llmproxyd.surfaces.ollama_load import answer_load
from llmproxyd.surfaces.ollama_models import (
    API_VERSION,
    MANAGEMENT,
    Shown,
    format_management_refusal,
    format_ps,
    format_show,
    format_tags,
    format_unknown,
    format_version,
    is_management,
    parse_show,
    shown_of,
)
from llmproxyd.surfaces.openai_chat import SURFACE as OPENAI
from llmproxyd.values.answer import Answer, Vectors
from llmproxyd.values.contracts import BadRequest, Surface
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import Capability, Dialect, Embed, Operation, Request
from llmproxyd.values.snapshot import Deployment, Target, TargetKind
from tests import wire
from tests.adapters.build import provider

SINCE_S = 1795248000
MODEL = Shown(
    "team/sol", capabilities=frozenset({Capability.TOOLS, Capability.VISION}), context_window=131_072
)


def ask(surface: Surface, **document: Any) -> Request:
    return surface.parse_request({}, json.dumps({"model": "m:latest", **document}).encode(), "/api/x")


def entry(model: Shown) -> dict[str, Any]:
    (found,) = json.loads(format_tags([model], SINCE_S))["models"]
    assert isinstance(found, dict)
    return found


def shape(value: Any) -> Any:
    """Names and types of a document, to compare one with a recording."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value[:1]] if isinstance(value, list) else type(value).__name__


# --- lists ------------------------------------------------------------------------------------------------------------


def test_a_listed_model_has_every_field_that_a_recorded_one_has() -> None:
    (recorded,) = json.loads(wire.whole("ollama_chat", "tags"))["models"]
    found = entry(MODEL)
    assert found["details"].pop("context_length") == 131_072
    assert shape(found) == shape(recorded)
    assert found["name"] == found["model"] == "team/sol:latest"
    assert found["digest"] == hashlib.sha256(b"team/sol").hexdigest()
    assert len(found["digest"]) == 64
    ollama.ListResponse.model_validate({"models": [found]})


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("auto", "auto:latest"),
        ("llama3.2:3b", "llama3.2:3b"),
        ("ollama/llama3:8b", "ollama/llama3:8b"),
        ("a:b/c", "a:b/c:latest"),
    ],
)
def test_names_are_shown_with_a_tag(name: str, shown: str) -> None:
    assert entry(Shown(name))["name"] == shown


@pytest.mark.parametrize(
    ("model", "capabilities"),
    [
        (MODEL, ["completion", "tools", "vision"]),
        (Shown("a"), ["completion", "tools"]),
        (
            Shown("a", capabilities=frozenset({Capability.THINKING, Capability.AUDIO})),
            ["completion", "thinking"],
        ),
        (Shown("a", chats=False, embeds=True), ["embedding"]),
        (Shown("a", embeds=True, capabilities=frozenset()), ["completion", "embedding"]),
    ],
)
def test_capabilities_are_in_ollamas_words(model: Shown, capabilities: list[str]) -> None:
    assert (
        entry(model)["capabilities"]
        == json.loads(format_show(model, SINCE_S))["capabilities"]
        == capabilities
    )


def test_what_a_model_is_shown_as_has_every_field_that_a_recording_has() -> None:
    document = json.loads(format_show(MODEL, SINCE_S))
    recorded = json.loads(wire.whole("ollama_chat", "show"))
    assert document.keys() == recorded.keys()
    assert document["details"].keys() == recorded["details"].keys()
    architecture = document["model_info"]["general.architecture"]
    assert document["model_info"][f"{architecture}.context_length"] == 131_072
    assert document["modified_at"] == "2026-11-21T08:00:00Z"
    ollama.ShowResponse.model_validate(document)


def test_an_unknown_window_is_left_out_and_the_official_client_still_reads_it() -> None:
    document = json.loads(format_show(Shown("a"), SINCE_S))
    assert list(document["model_info"]) == ["general.architecture"]
    assert "context_length" not in entry(Shown("a"))["details"]
    ollama.ShowResponse.model_validate(document)


def test_nothing_is_in_memory_and_the_version_is_one_that_clients_know() -> None:
    ollama.ProcessResponse.model_validate(json.loads(format_ps()))
    assert json.loads(format_ps()) == {"models": []}
    assert json.loads(format_version()) == json.loads(wire.whole("ollama_chat", "version"))
    assert API_VERSION.count(".") == 2


def test_a_name_offers_what_any_of_its_deployments_can() -> None:
    home = provider(dialect=Dialect.OLLAMA_CHAT)

    def one(**fields: Any) -> Deployment:
        return Deployment("p/m", home, "m", "m", **fields)

    def shown(*deployments: Deployment) -> Shown:
        return shown_of("auto", Target("auto", TargetKind.SET, deployments))

    tools, vision = frozenset({Capability.TOOLS}), frozenset({Capability.VISION})
    both = shown(one(capabilities=tools, context_window=8), one(capabilities=vision, context_window=4))
    assert both == Shown("auto", capabilities=tools | vision, context_window=8)
    assert shown(one(capabilities=tools), one()).capabilities is None
    embedding = shown(one(operations=frozenset({Operation.EMBEDDING})))
    assert (embedding.chats, embedding.embeds) == (False, True)
    assert shown() == Shown("auto", chats=False)


@pytest.mark.parametrize(
    ("body", "name"),
    [(b'{"model":"auto:latest"}', "auto"), (b'{"name":"auto"}', "auto"), (b'{"model":"a","name":"b"}', "a")],
)
def test_who_asks_about_a_model_may_name_it_in_two_ways(body: bytes, name: str) -> None:
    assert parse_show(body) == name


@pytest.mark.parametrize("body", [b"", b"{}", b'{"model":7}', b'{"name":""}'])
def test_who_asks_about_nothing_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_show(body)


def test_an_unknown_model_is_said_in_the_words_that_clients_look_for() -> None:
    assert json.loads(format_unknown("nope")) == json.loads(wire.whole("ollama_chat", "error_404"))


# --- management -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"), [*MANAGEMENT, ("HEAD", "/api/blobs/sha256:00"), ("POST", "/api/blobs/x")]
)
def test_calls_that_manage_models_are_known_and_refused_with_a_reason(method: str, path: str) -> None:
    assert is_management(method, path)
    error = json.loads(format_management_refusal(path))["error"]
    assert path in error
    assert "providers.yaml" in error


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/tags"), ("POST", "/api/chat"), ("GET", "/api/blobs")]
)
def test_other_calls_are_not(method: str, path: str) -> None:
    assert not is_management(method, path)


# --- warm-ups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("surface", "document", "content"),
    [
        (CHAT, {}, {"message": {"role": "assistant", "content": ""}}),
        (CHAT, {"messages": []}, {"message": {"role": "assistant", "content": ""}}),
        (GENERATE, {}, {"response": ""}),
        (GENERATE, {"prompt": "", "stream": True}, {"response": ""}),
    ],
)
def test_a_request_without_a_question_only_loads(
    surface: Surface, document: dict[str, Any], content: Any
) -> None:
    answer = answer_load(ask(surface, **document), SINCE_S)
    assert answer is not None
    assert json.loads(answer) == {
        "model": "m", "created_at": "2026-11-21T08:00:00Z", **content, "done": True, "done_reason": "load",
    }  # fmt: skip
    with pytest.raises(BadRequest):
        surface.parse_content(ask(surface, **document))


@pytest.mark.parametrize(
    ("keep_alive", "reason"),
    [
        (0, "unload"),
        (0.0, "unload"),
        ("0", "unload"),
        ("0s", "unload"),
        (-1, "load"),
        ("5m", "load"),
        (None, "load"),
        (False, "load"),
    ],
)
def test_a_lifetime_of_nothing_unloads(keep_alive: Any, reason: str) -> None:
    answer = answer_load(ask(CHAT, keep_alive=keep_alive), SINCE_S)
    assert answer is not None
    assert json.loads(answer)["done_reason"] == reason


@pytest.mark.parametrize(
    ("surface", "document", "answer"),
    [
        (EMBED, {}, {"model": "m", "embeddings": []}),
        (EMBED, {"input": []}, {"model": "m", "embeddings": []}),
        (EMBED, {"input": ""}, {"model": "m", "embeddings": []}),
        (EMBEDDINGS, {"prompt": ""}, {"embedding": []}),
    ],
)
def test_embeddings_of_nothing_only_load_too(surface: Surface, document: dict[str, Any], answer: Any) -> None:
    given = answer_load(ask(surface, **document), SINCE_S)
    assert given is not None
    assert json.loads(given) == answer


@pytest.mark.parametrize(
    ("surface", "document"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "a"}]}),
        (GENERATE, {"prompt": "a"}),
        (EMBED, {"input": ["a"]}),
        (EMBEDDINGS, {"prompt": "a"}),
        (OPENAI, {"messages": [{"role": "user", "content": "a"}]}),
    ],
)
def test_a_request_with_a_question_is_not_answered_here(surface: Surface, document: dict[str, Any]) -> None:
    assert answer_load(ask(surface, **document), SINCE_S) is None


# --- embeddings -------------------------------------------------------------------------------------------------------


def test_texts_to_embed_are_read() -> None:
    request = ask(EMBED, input=["a", "b"], dimensions=8, truncate=False, options={"num_ctx": 64, "seed": 1})
    assert (request.operation, request.stream, request.model) == (Operation.EMBEDDING, False, "m")
    extras = {Dialect.OLLAMA_CHAT: {"truncate": False, "options": {"num_ctx": 64, "seed": 1}}}
    assert EMBED.parse_content(request) == Embed(("a", "b"), dimensions=8, extras=extras)
    assert EMBED.parse_content(ask(EMBED, input="a", dimensions=0)) == Embed(("a",))
    assert EMBEDDINGS.parse_content(ask(EMBEDDINGS, prompt="a")) == Embed(("a",))


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"input": 7}, "input"),
        ({"input": ["a", 7]}, "input[1]"),
        ({"input": [[1, 2]]}, "input[0]"),
        ({"input": "a", "dimensions": -1}, "dimensions"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(document: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        ask(EMBED, **document)
    assert refused.value.failure.param == param


def test_vectors_go_back_in_both_shapes() -> None:
    vectors = Vectors("up", ((0.5, -0.25), (1.0, 0.125)), Usage(8))
    request = ask(EMBED, input=["a", "b"])
    body = json.loads(format_vectors(vectors, request, model="m", id="r", created_s=0))
    recorded = json.loads(wire.whole("ollama_chat", "embed"))
    assert shape(body) == shape(recorded)
    assert (body["embeddings"], body["prompt_eval_count"]) == ([[0.5, -0.25], [1.0, 0.125]], 8)
    ollama.EmbedResponse.model_validate(body)
    single = json.loads(format_vector(vectors, request, model="m", id="r", created_s=0))
    assert single == {"embedding": [0.5, -0.25]}
    ollama.EmbeddingsResponse.model_validate(single)


def test_an_answer_is_no_vector() -> None:
    with pytest.raises(TypeError):
        format_vectors(Answer("", "", ()), ask(EMBED, input="a"), model="m", id="r", created_s=0)
