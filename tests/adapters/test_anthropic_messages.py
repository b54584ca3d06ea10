from __future__ import annotations

from typing import Any

import pytest

from llmproxyd import jsontext
from llmproxyd.adapters.anthropic_messages import ADAPTER, parse_models
from llmproxyd.surfaces.anthropic_messages import PATHS
from llmproxyd.values.contracts import BadRequest, Call, Listed
from llmproxyd.values.replay import seal_thought
from llmproxyd.values.request import (
    NO_OVERRIDES,
    Dialect,
    Embed,
    Operation,
    Overrides,
    Request,
    Thinking,
)
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Auth, Deployment, Probe
from tests import wire
from tests.adapters.anthropic_build import NEW, OLD, ask, call_for, chat, deployment, envelope, provider

SURFACE = PATHS["/v1/messages"]
SEALED = {
    "type": "thinking",
    "thinking": "hm",
    "signature": seal_thought(Thinking(origin=Dialect.OPENAI_CHAT)),
}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "EqQB"}
USE = {"type": "tool_use", "id": "t", "name": "get", "input": {}}


def splice(request: Request, target: Deployment | None = None, overrides: Overrides = NO_OVERRIDES) -> Call:
    assert ADAPTER.splice_call is not None
    return ADAPTER.splice_call(request, target or deployment(), overrides)


def spliced(
    request: Request, target: Deployment | None = None, overrides: Overrides = NO_OVERRIDES
) -> dict[str, Any]:
    document: dict[str, Any] = jsontext.decode(splice(request, target, overrides).body)
    return document


def user(content: Any = "hello") -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


# --- addresses and headers --------------------------------------------------------------------------------------


def test_a_call_says_who_asks_and_in_which_version() -> None:
    call = call_for(chat())
    assert (call.method, call.url, call.stream) == ("POST", "https://api.example.test/v1/messages", False)
    assert call.headers["x-api-key"] == "k-123"
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert call.headers["content-type"] == "application/json"
    assert "authorization" not in call.headers


def test_a_token_goes_as_a_bearer_where_the_operator_says_so() -> None:
    call = call_for(chat(), deployment(auth=Auth.BEARER, headers={}))
    assert call.headers["authorization"] == "Bearer k-123"
    assert call.headers["anthropic-version"] == "2023-06-01"


def test_the_operator_may_choose_the_version() -> None:
    headers = {"Anthropic-Version": "2026-10-21", "anthropic-beta": Secret("a-1")}
    call = call_for(chat(), deployment(headers=headers))
    assert (call.headers["anthropic-version"], call.headers["anthropic-beta"]) == ("2026-10-21", "a-1")


def test_a_count_has_its_own_address() -> None:
    url = "https://api.example.test/v1/messages/count_tokens"
    assert call_for(chat(), request=envelope(operation=Operation.COUNT_TOKENS)).url == url
    assert splice(ask("/v1/messages/count_tokens", max_tokens=None)).url == url


def test_there_are_no_embeddings() -> None:
    with pytest.raises(BadRequest):
        ADAPTER.format_call(
            envelope(operation=Operation.EMBEDDING), Embed(("x",)), deployment(), NO_OVERRIDES
        )


def test_version_and_betas_of_a_client_go_on_unchanged() -> None:
    given = {"anthropic-version": "2026-10-21", "anthropic-beta": "claude-code-20250219,effort-2025-11-24"}
    headers = splice(ask(headers={**given, "x-api-key": "client", "x-app": "cli"})).headers
    assert {name: headers[name] for name in given} == given
    assert headers["x-api-key"] == "k-123"
    assert "x-app" not in headers


def test_the_operators_betas_stand_beside_the_clients() -> None:
    target = deployment(headers={"anthropic-beta": "b-2, a-1"})
    assert (
        splice(ask(headers={"anthropic-beta": "a-1,c-3"}), target).headers["anthropic-beta"] == "a-1,c-3,b-2"
    )
    assert splice(ask(), target).headers["anthropic-beta"] == "b-2, a-1"


def test_headers_of_another_dialect_mean_nothing_here() -> None:
    foreign = Request(
        Operation.CHAT, Dialect.OPENAI_CHAT, "s", "m", False, b"{}", {}, headers={"anthropic-beta": "x"}
    )
    assert "anthropic-beta" not in call_for(chat(), request=foreign).headers


# --- the verbatim lane ------------------------------------------------------------------------------------------


def test_only_the_name_changes() -> None:
    body = b'{ "messages":[{"role":"user","content":"hi"}], "model":"claude-opus-5-5", "max_tokens":5, "later":{"a": 1.50} }'
    request = SURFACE.parse_request({}, body, "/v1/messages")
    assert splice(request).body == (
        b'{"messages":[{"role":"user","content":"hi"}],"model":"claude-opus-5-5","max_tokens":5,"later":{"a": 1.50}}'
    )


def test_pitfall_41_unknown_fields_pass() -> None:
    fields: dict[str, Any] = {"context_management": {"edits": []}, "speed": "fast", "mcp_servers": []}
    document = spliced(ask(**fields))
    assert {name: document[name] for name in fields} == fields


@pytest.mark.parametrize("target", [NEW, OLD])
def test_what_a_client_sends_to_the_model_it_meant_is_not_judged(target: str) -> None:
    fields: dict[str, Any] = {"temperature": 0.3, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    call = splice(ask(model=target, **fields), deployment(target))
    document = jsontext.decode(call.body)
    assert {name: document[name] for name in fields} == fields
    assert call.warnings == ()


def test_pitfall_49_a_client_that_meant_an_older_model_keeps_working_on_a_new_one() -> None:
    request = ask(
        model=OLD,
        max_tokens=9000,
        temperature=0.3,
        top_k=5,
        thinking={"type": "enabled", "budget_tokens": 2048, "display": "omitted"},
    )
    call = splice(request)
    document = jsontext.decode(call.body)
    assert not {"temperature", "top_k"} & document.keys()
    assert document["thinking"] == {"type": "adaptive", "display": "omitted"}
    assert document["output_config"] == {"effort": "low"}
    assert "temperature: not carried to anthropic-messages (refused by this model)" in call.warnings


def test_a_client_that_meant_a_new_model_keeps_working_on_an_older_one() -> None:
    request = ask(
        max_tokens=64_000, thinking={"type": "adaptive"}, output_config={"effort": "medium", "x": 1}
    )
    call = splice(request, deployment(OLD))
    document = jsontext.decode(call.body)
    assert document["thinking"] == {"type": "enabled", "budget_tokens": 8192}
    assert document["output_config"] == {"x": 1}
    assert call.warnings == (
        "output_config.effort: not carried to anthropic-messages (unknown to this model)",
    )


def test_an_effort_by_itself_does_not_ask_for_thought() -> None:
    document = spliced(ask(model="smart", output_config={"effort": "max"}))
    assert "thinking" not in document
    assert document["output_config"] == {"effort": "max"}
    assert "output_config" not in spliced(ask(output_config={"effort": "max"}), deployment(OLD))


def test_a_rule_sets_what_the_model_takes() -> None:
    overrides = Overrides(temperature=1.5, max_tokens=50_000, effort="high", seed=1)
    call = splice(ask(max_tokens=5), overrides=overrides)
    document = jsontext.decode(call.body)
    assert (document["max_tokens"], document["thinking"], document["output_config"]) == (
        50_000,
        {"type": "adaptive"},
        {"effort": "high"},
    )
    assert "temperature" not in document
    assert [warning.partition(":")[0] for warning in call.warnings] == ["temperature", "seed"]
    assert spliced(ask(model=OLD), deployment(OLD), Overrides(temperature=1.5))["temperature"] == 1.0


def test_a_temperature_set_by_a_rule_gives_way_to_thought() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    call = splice(
        ask(model=OLD, max_tokens=9000, thinking=thinking), deployment(OLD), Overrides(temperature=0.2)
    )
    assert "temperature" not in jsontext.decode(call.body)
    assert call.warnings == ("temperature: not carried to anthropic-messages (thinking rules it out)",)


def test_a_rule_about_the_answer_does_not_touch_a_count() -> None:
    request = ask("/v1/messages/count_tokens", max_tokens=None)
    document = spliced(request, overrides=Overrides(temperature=0.1, max_tokens=5, seed=3))
    assert document.keys() == {"model", "messages", "max_tokens"}
    assert document["max_tokens"] is None


def test_pitfall_24_thoughts_of_others_do_not_go_to_anthropic() -> None:
    request = ask(messages=[user(), assistant(SEALED, {"type": "text", "text": "yes"}), user("on")])
    assert spliced(request)["messages"][1] == assistant({"type": "text", "text": "yes"})


def test_pitfall_20_the_empty_text_of_an_empty_answer_does_not_come_back() -> None:
    request = ask(messages=[user(), assistant({"type": "text", "text": ""}, USE), user("on"), {"role": "x"}])
    assert spliced(request)["messages"][1] == assistant(USE)


def test_a_body_that_is_in_order_keeps_its_messages_byte_for_byte() -> None:
    body = b'{"model":"m","max_tokens":5,"messages":[{"role":"assistant","content":[{"type": "text","text":"x"}, 7]}]}'
    request = SURFACE.parse_request({}, body, "/v1/messages")
    assert b'[{"role":"assistant","content":[{"type": "text","text":"x"}, 7]}]' in splice(request).body


def test_pitfall_23_without_its_thought_a_tool_loop_goes_on_without_thinking() -> None:
    loop = [user(), assistant(SEALED, USE), user([{"type": "tool_result", "tool_use_id": "t"}])]
    thinking = {"type": "enabled", "budget_tokens": 2000}
    request = ask(model=OLD, max_tokens=9000, messages=loop, thinking=thinking)
    assert "thinking" not in spliced(request, deployment(OLD))
    assert "tool calls before" in "".join(splice(request, deployment(OLD)).warnings)
    signed = [user(), assistant(SIGNED, SEALED, USE), user([{"type": "tool_result", "tool_use_id": "t"}])]
    kept = ask(model=OLD, max_tokens=9000, messages=signed, thinking=thinking)
    assert spliced(kept, deployment(OLD))["thinking"] == thinking


# --- probes and models ------------------------------------------------------------------------------------------


def test_the_probe_is_free_and_names_the_version() -> None:
    call = ADAPTER.format_probe(provider(headers={}))
    assert (call.method, call.url) == ("GET", "https://api.example.test/v1/models?limit=1")
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert call.headers["x-api-key"] == "k-123"
    listing = provider(probe=Probe("/models?limit=1000", lists_models=True))
    assert ADAPTER.format_probe(listing).url.endswith("/v1/models?limit=1000")


def test_models_are_listed_with_their_windows() -> None:
    assert parse_models(wire.whole("anthropic-messages", "models")) == (Listed("claude-opus-5-5", 1_000_000),)
    assert parse_models(b'{"data":[{"id":"a","max_input_tokens":null},{"id":""},7]}') == (Listed("a"),)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"data":{}}', b"<html>"])
def test_what_is_no_list_of_models_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse_models(body)
