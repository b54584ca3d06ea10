from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.cache.canonical import NotCacheable, canonical_form
from llmproxyd.values.request import Request
from tests.cache.asking import CHAT, EMBEDDINGS, GEMINI, MESSAGES, OLLAMA, RESPONSES, parse, request_of

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def form(path: str = CHAT, /, **fields: Any) -> bytes:
    return canonical_form(request_of(path, **fields))


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"user": "u-1"}),
        (CHAT, {"metadata": {"a": "b"}}),
        (CHAT, {"stream": True, "stream_options": {"include_usage": True}}),
        (CHAT, {"store": False, "safety_identifier": "s", "prompt_cache_key": "k", "service_tier": "flex"}),
        (CHAT, {"n": 1, "presence_penalty": 0.0, "logit_bias": {}, "tools": [], "stop": None}),
        (CHAT, {"response_format": {"type": "text"}, "parallel_tool_calls": True}),
        (RESPONSES, {"stream": True, "user": "u", "truncation": "disabled", "background": False}),
        (MESSAGES, {"stream": True, "metadata": {"user_id": "u"}, "service_tier": "auto"}),
        (GEMINI, {"labels": {"team": "a"}, "generationConfig": {}}),
        (OLLAMA, {"stream": True, "keep_alive": "5m", "options": {}}),
        (EMBEDDINGS, {"encoding_format": "float", "user": "u"}),
    ],
)
def test_what_changes_nothing_is_left_out(path: str, fields: dict[str, Any]) -> None:
    assert form(path, **fields) == form(path)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"temperature": 0.5}),
        (CHAT, {"n": 2}),
        (CHAT, {"seed": 7}),
        (CHAT, {"max_tokens": 5}),
        (CHAT, {"tools": [FUNCTION]}),
        (CHAT, {"response_format": {"type": "json_object"}}),
        (CHAT, {"something_new": True}),
        (CHAT, {"messages": [{"role": "user", "content": "Hello "}]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, PICTURE]}]}),
        (MESSAGES, {"system": "Be brief."}),
        (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (GEMINI, {"generationConfig": {"temperature": 0}}),
        (GEMINI, {"safetySettings": [{"category": "x"}]}),
        (OLLAMA, {"options": {"num_ctx": 1}}),
        (OLLAMA, {"think": True}),
        (EMBEDDINGS, {"dimensions": 8}),
        (EMBEDDINGS, {"encoding_format": "base64"}),
        (EMBEDDINGS, {"input": ["Hello"]}),
    ],
)
def test_what_may_change_the_answer_stays(path: str, fields: dict[str, Any]) -> None:
    assert form(path, **fields) != form(path)


def test_numbers_have_one_spelling_but_truth_is_no_number() -> None:
    assert form(temperature=0.0) == form(temperature=0)
    assert form(OLLAMA, options={"temperature": 1.0}) == form(OLLAMA, options={"temperature": 1})
    assert form(reasoning=True) != form(reasoning=1)


def test_the_order_of_keys_does_not_matter() -> None:
    turned = b'{"messages":[{"content":"Hello","role":"user"}],"model":"m"}'
    assert canonical_form(parse(CHAT, turned)) == form()


def test_but_in_a_schema_it_does() -> None:
    def ordered(*names: str) -> bytes:
        schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
        wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
        return form(response_format=wanted)

    assert ordered("a", "b") != ordered("b", "a")


@pytest.mark.parametrize("text", ["\ud83d half a pair", "\u2028", "é\x00"])
def test_text_that_few_can_write_has_a_form_too(text: str) -> None:
    messages = [{"role": "user", "content": text}]
    assert form(messages=messages) == form(messages=messages)
    assert form(messages=messages) != form()


def test_endless_numbers_have_a_form_too() -> None:
    assert form(seed=10**30) != form(seed=10**30 + 1)


@pytest.mark.parametrize(
    ("path", "fields", "reason"),
    [
        (CHAT, {"store": True}, "kept by the provider"),
        (CHAT, {"web_search_options": {"x": 1}}, "searches the web"),
        (CHAT, {"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "wav"}}, "deletes"),
        (RESPONSES, {"store": ...}, "kept by the provider"),
        (RESPONSES, {"previous_response_id": "resp_1"}, "conversation"),
        (RESPONSES, {"conversation": "conv_1"}, "conversation"),
        (RESPONSES, {"background": True, "store": True}, "background"),
        (RESPONSES, {"tools": [{"type": "web_search"}]}, "runs a tool"),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "runs a tool"),
        (MESSAGES, {"container": "c_1"}, "container"),
        (GEMINI, {"tools": [{"googleSearch": {}}]}, "runs a tool"),
        (GEMINI, {"cachedContent": "cachedContents/1"}, "conversation"),
        (
            CHAT,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}
                ]
            },
            "may change",
        ),
        (
            MESSAGES,
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "url", "url": "http://a"}}],
                    }
                ]
            },
            "may change",
        ),
        (
            GEMINI,
            {
                "contents": [
                    {"role": "user", "parts": [{"fileData": {"fileUri": "gs://a", "mimeType": "image/png"}}]}
                ]
            },
            "may change",
        ),
    ],
)
def test_what_depends_on_something_else_is_asked_anew(path: str, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotCacheable, match=reason):
        form(path, **fields)


def test_tools_that_the_client_runs_are_no_hindrance() -> None:
    assert form(tools=[FUNCTION])
    assert form(
        MESSAGES, tools=[{"type": "bash_20250124", "name": "bash"}, {"name": "f", "input_schema": {}}]
    )
    assert form(GEMINI, tools=[{"functionDeclarations": [{"name": "f"}]}])


def test_an_address_that_is_only_spoken_of_is_no_hindrance() -> None:
    assert form(messages=[{"role": "user", "content": 'What is {"url":"https://example.org"}?'}])


def test_counting_is_not_kept() -> None:
    with pytest.raises(NotCacheable, match="counting"):
        canonical_form(
            parse("/v1/messages/count_tokens", b'{"model":"m","messages":[{"role":"user","content":"a"}]}')
        )


scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=3)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def _request(content: Any, extra: Any) -> Request:
    document = {"model": "m", "messages": [{"role": "user", "content": "a", "x": content}], "extra": extra}
    return parse(CHAT, json.dumps(document).encode())


@given(json_values, json_values, st.randoms())
def test_the_same_values_in_any_order_have_the_same_form(content: Any, extra: Any, chance: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            chance.shuffle(items)
            return {name: shuffled(inner) for name, inner in items}
        return [shuffled(inner) for inner in value] if isinstance(value, list) else value

    first = _request(content, extra)
    body = json.dumps(shuffled(json.loads(first.body)), indent=1).encode()
    assert canonical_form(parse(CHAT, body)) == canonical_form(first)


@given(json_values, json_values)
def test_different_values_have_different_forms(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (canonical_form(_request(one, 1)) == canonical_form(_request(other, 1))) is same
