"""What google-genai's own models make of the bodies we send: a field they do not know is one that Google refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from llmproxyd.adapters.gemini_generate import ADAPTER
from llmproxyd.adapters.gemini_schema import sanitize_schema
from llmproxyd.values.request import NO_OVERRIDES, Chat, Tool
from tests.adapters.gemini_build import deployment, foreign, formatted, said
from tests.adapters.test_gemini_round_trip import chats
from tests.adapters.test_gemini_schema import values

types = pytest.importorskip("google.genai.types", reason="google-genai is a development requirement")


def check(body: dict[str, Any]) -> None:
    for content in (*body["contents"], body.get("systemInstruction", {})):
        types.Content.model_validate(content)
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))
    for setting in body.get("safetySettings", ()):
        types.SafetySetting.model_validate(setting)
    if "serviceTier" in body:
        assert body["serviceTier"] in [tier.value for tier in types.ServiceTier]


@pytest.mark.parametrize("upstream", ["gemini-2.0-flash", "gemini-2.5-flash", "gemini-3.8-flash"])
@given(chat=chats())
def test_google_knows_every_field_of_a_request(upstream: str, chat: Chat) -> None:
    call = ADAPTER.format_call(foreign(), chat, deployment(upstream), NO_OVERRIDES)
    check(json.loads(call.body))


@given(values)
def test_google_knows_every_keyword_of_a_schema(schema: Any) -> None:
    types.Schema.model_validate(sanitize_schema(schema)[0])


def test_the_check_itself_sees_a_field_that_google_does_not_know() -> None:
    body = formatted(said(tools=(Tool("f", "d"),)))
    body["tools"][0]["functionDeclarations"][0]["strict"] = True
    with pytest.raises(ValueError, match="strict"):
        check(body)
