from __future__ import annotations

from typing import Any

import pytest

from llmproxyd.adapters.anthropic_format import DEFAULT_MAX_TOKENS
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Chat,
    Dialect,
    Operation,
    OutputFormat,
    Overrides,
    Role,
    Sampling,
    Tool,
    ToolChoice,
)
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Quirks
from tests.adapters.anthropic_build import (
    NEW,
    OLD,
    assistant,
    body_for,
    chat,
    deployment,
    envelope,
    turn,
    user,
    warnings_for,
)

OWN = Dialect.ANTHROPIC_MESSAGES


def sampled(**fields: Any) -> Chat:
    return chat(sampling=Sampling(**fields))


def test_the_least_there_is_to_say() -> None:
    assert body_for(chat(user("hi"))) == {
        "model": NEW,
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }


def test_a_stream_is_asked_for() -> None:
    assert body_for(chat(), request=envelope(stream=True))["stream"] is True


# --- sampling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_pitfall_49_sampling_is_left_out_for_models_that_refuse_it(name: str) -> None:
    content = sampled(**{name: 1})
    assert name not in body_for(content)
    assert f"{name}: not carried to anthropic-messages (refused by this model)" in warnings_for(content)
    assert body_for(content, deployment(OLD))[name] == 1


@pytest.mark.parametrize("version", ["2026-10-21", Secret("2026-10-21")])
def test_pitfall_49_sampling_is_left_out_for_the_version_that_refuses_it(version: object) -> None:
    target = deployment(OLD, headers={"Anthropic-Version": version})
    assert "temperature" not in body_for(sampled(temperature=0.5), target)


def test_a_temperature_above_one_is_lowered_and_said() -> None:
    content = sampled(temperature=1.5)
    assert body_for(content, deployment(OLD))["temperature"] == 1.0
    assert "temperature: not carried to anthropic-messages (1 is the highest)" in warnings_for(
        content, deployment(OLD)
    )


def test_temperature_and_top_p_together_are_for_older_models() -> None:
    content = sampled(temperature=0.5, top_p=0.9)
    assert "top_p" not in body_for(content, deployment(OLD))
    assert body_for(content, deployment("claude-3-7-sonnet-20250219"))["top_p"] == 0.9


def test_thinking_rules_sampling_out() -> None:
    content = chat(sampling=Sampling(temperature=0.5, top_p=0.5, top_k=5), thinking_budget=1024)
    body = body_for(content, deployment(OLD, max_output_tokens=64_000))
    assert not {"temperature", "top_p", "top_k"} & body.keys()
    assert "top_k: not carried to anthropic-messages (thinking rules it out)" in warnings_for(
        content, deployment(OLD)
    )
    kept = chat(sampling=Sampling(temperature=1, top_p=None), thinking_budget=1024)
    assert body_for(kept, deployment(OLD, max_output_tokens=64_000))["temperature"] == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 7),
        ("frequency_penalty", 0.5),
        ("presence_penalty", 0.5),
        ("logit_bias", {"1": 5}),
        ("logprobs", True),
        ("top_logprobs", 3),
    ],
)
def test_what_the_dialect_has_no_word_for_is_said(name: str, value: object) -> None:
    content = sampled(**{name: value})
    assert name not in body_for(content)
    assert f"{name}: not carried to anthropic-messages" in warnings_for(content)


def test_zero_penalties_say_nothing() -> None:
    assert warnings_for(sampled(frequency_penalty=0, presence_penalty=0.0, logprobs=False)) == ""


def test_several_answers_at_once_are_refused() -> None:
    with pytest.raises(BadRequest) as refused:
        body_for(sampled(n=2))
    assert refused.value.failure.param == "n"
    assert "n" not in body_for(sampled(n=1))


def test_stop_texts_of_white_space_are_left_out() -> None:
    content = sampled(stop=("END", "\n"))
    assert body_for(content)["stop_sequences"] == ["END"]
    assert "stop: not carried" in warnings_for(content)
    assert "stop_sequences" not in body_for(sampled(stop=(" ",)))


# --- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "known", "quirk", "sent"),
    [
        (None, None, None, DEFAULT_MAX_TOKENS),
        (None, 64_000, None, 64_000),
        (None, 64_000, 8000, 8000),
        (100, 64_000, 8000, 100),
        (0, None, None, 0),
        (100_000, 64_000, None, 64_000),
    ],
)
def test_pitfall_42_there_is_always_a_limit(
    wanted: int | None, known: int | None, quirk: int | None, sent: int
) -> None:
    target = deployment(max_output_tokens=known, quirks=Quirks(default_max_tokens=quirk))
    assert body_for(sampled(max_tokens=wanted), target)["max_tokens"] == sent


def test_a_limit_above_the_models_own_is_said() -> None:
    assert "64000 is the most" in warnings_for(
        sampled(max_tokens=10**6), deployment(max_output_tokens=64_000)
    )


def test_pitfall_42_without_a_limit_thought_comes_on_top_of_the_answer() -> None:
    body = body_for(chat(effort="high"), deployment(OLD))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 16_384}
    assert body["max_tokens"] == 16_384 + DEFAULT_MAX_TOKENS


# --- thinking ---------------------------------------------------------------------------------------------------


def test_an_effort_asks_a_new_model_to_think() -> None:
    body = body_for(chat(effort="minimal"))
    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": "low"}
    assert "effort: not carried to anthropic-messages (low instead of minimal)" in warnings_for(
        chat(effort="minimal")
    )


def test_pitfall_13_a_forced_call_rules_thinking_out() -> None:
    content = chat(tools=(Tool("get"),), tool_choice=ToolChoice("required"), effort="high")
    body = body_for(content)
    assert body["tool_choice"] == {"type": "any"}
    assert "thinking" not in body
    assert "thinking: not carried to anthropic-messages (tool_choice demands a call)" in warnings_for(content)


def test_what_a_client_of_the_dialect_says_beyond_an_effort_comes_out_again() -> None:
    extras = {OWN: {"thinking": {"display": "omitted"}, "output_config": {"task": "x"}, "speed": "fast"}}
    body = body_for(chat(effort="low", extras=extras), request=envelope(OWN))
    assert body["thinking"] == {"type": "adaptive", "display": "omitted"}
    assert body["output_config"] == {"task": "x", "effort": "low"}
    assert body["speed"] == "fast"


def test_a_rule_decides_before_the_client() -> None:
    content = chat(sampling=Sampling(temperature=0.1, max_tokens=5), thinking_budget=9999)
    overrides = Overrides(temperature=0.7, max_tokens=50, effort="none", seed=3)
    body = body_for(content, deployment(OLD), overrides)
    assert (body["temperature"], body["max_tokens"], body["thinking"]) == (0.7, 50, {"type": "disabled"})


# --- the form of the answer -------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}


def test_a_schema_is_fitted_and_what_is_not_enforced_is_said() -> None:
    content = chat(output_format=OutputFormat("json_schema", SCHEMA, "answer", True))
    config = body_for(content)["output_config"]
    assert config["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
            "required": ["n"],
            "additionalProperties": False,
        },
    }
    assert "response_format: not carried to anthropic-messages (not enforced: minimum)" in warnings_for(
        content
    )


def test_a_client_of_the_dialect_has_its_schema_sent_as_it_is() -> None:
    content = chat(output_format=OutputFormat("json_schema", SCHEMA))
    assert body_for(content, request=envelope(OWN))["output_config"]["format"]["schema"] == SCHEMA


def test_a_model_without_schemas_is_not_asked() -> None:
    content = chat(output_format=OutputFormat("json_schema", SCHEMA))
    with pytest.raises(BadRequest) as refused:
        body_for(content, deployment("claude-3-5-sonnet-20241022"))
    assert refused.value.failure.param == "response_format"


@pytest.mark.parametrize("wanted", [OutputFormat("json_object"), OutputFormat("json_schema", None, "x")])
def test_pitfall_19_json_of_any_form_is_asked_for_in_words(wanted: OutputFormat) -> None:
    content = chat(turn(Role.SYSTEM, "Be brief."), user("hi"), output_format=wanted)
    system = body_for(content)["system"]
    assert system[0]["text"] == "Be brief."
    assert "JSON" in system[1]["text"]
    assert "response_format: not carried to anthropic-messages (asked for in words)" in warnings_for(content)


def test_text_is_what_comes_anyway() -> None:
    assert "output_config" not in body_for(chat(output_format=OutputFormat("text")))


# --- who asks ---------------------------------------------------------------------------------------------------


def test_the_user_is_named() -> None:
    assert body_for(chat(user="u-1"))["metadata"] == {"user_id": "u-1"}


def test_metadata_is_said_to_be_lost() -> None:
    assert "metadata: not carried" in warnings_for(chat(metadata={"a": "b"}))


@pytest.mark.parametrize(
    ("tier", "sent"), [("auto", "auto"), ("default", "standard_only"), ("flex", None), (None, None)]
)
def test_the_service_tier(tier: str | None, sent: str | None) -> None:
    content = chat(service_tier=tier)
    assert body_for(content).get("service_tier") == sent
    assert ("service_tier: not carried" in warnings_for(content)) is (tier == "flex")


def test_pitfall_41_fields_of_other_dialects_stay_behind_and_are_said() -> None:
    content = chat(
        extras={Dialect.OPENAI_CHAT: {"verbosity": "low", "prediction": {"type": "content"}}},
        left_out=("document.context",),
    )
    assert body_for(content).keys() == {"model", "max_tokens", "messages"}
    assert warnings_for(content).splitlines() == [
        "document.context: not carried to anthropic-messages",
        "verbosity: not carried to anthropic-messages",
        "prediction.type: not carried to anthropic-messages",
    ]


# --- counting ---------------------------------------------------------------------------------------------------


def test_a_count_has_the_conversation_and_nothing_about_the_answer() -> None:
    content = chat(
        turn(Role.SYSTEM, "s"),
        user("a"),
        assistant("b"),
        user("c"),
        tools=(Tool("get"),),
        sampling=Sampling(temperature=0.5, max_tokens=5, stop=("x",)),
        user="u",
        effort="low",
    )
    body = body_for(content, deployment(), request=envelope(operation=Operation.COUNT_TOKENS))
    assert body.keys() == {"model", "system", "messages", "tools", "thinking", "output_config"}
