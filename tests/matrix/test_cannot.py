"""What ``cannot`` says of the vendors' dialects is so in their own SDKs: a field that is added there has to be looked at."""

from __future__ import annotations

from anthropic.types import ToolUseBlockParam
from cohere.types.assistant_message_response_content_item import ThinkingAssistantMessageResponseContentItem
from google.genai.types import Part
from ollama import Message
from openai.types.chat import ChatCompletionAssistantMessageParam


def test_an_assistants_message_of_openai_has_no_room_for_thoughts() -> None:
    assert set(ChatCompletionAssistantMessageParam.__annotations__) == {
        "role", "audio", "content", "function_call", "name", "refusal", "tool_calls",
    }  # fmt: skip


def test_a_tool_call_of_anthropic_has_no_room_for_a_signature() -> None:
    assert set(ToolUseBlockParam.__annotations__) == {
        "id", "input", "name", "type", "cache_control", "caller", "toolset_name",
    }  # fmt: skip


def test_thoughts_of_cohere_have_no_seal() -> None:
    assert set(ThinkingAssistantMessageResponseContentItem.model_fields) == {"type", "thinking"}


def test_thoughts_of_ollama_are_plain_text() -> None:
    assert set(Message.model_fields) == {
        "role", "content", "thinking", "images", "tool_name", "tool_calls",
    }  # fmt: skip


def test_a_part_of_gemini_names_no_maker_of_its_thoughts() -> None:
    of_thoughts = {name for name in Part.model_fields if "thought" in name or "model" in name}
    assert of_thoughts == {"thought", "thought_signature"}
