from __future__ import annotations

import pytest

from llmproxyd.adapters.scrub import scrub_message, scrub_secrets


@pytest.mark.parametrize(
    "text",
    [
        "Unsupported value: 'temperature' does not support 0.2 with this model.",
        "Invalid 'messages[2].content[0].type'. Expected one of 'text', 'image_url'.",
        "gpt-3.5-turbo and claude-opus-5.5 differ; see response_format.json_schema.",
        "This model's maximum context length is 8192 tokens; you asked for 9000.",
    ],
)
def test_what_the_caller_needs_stays(text: str) -> None:
    assert scrub_message(text) == text


def test_hosts_stay_for_the_operator_but_keys_do_not() -> None:
    text = "dial tcp 10.0.0.7:8000 with key sk-abcdefgh12345678"
    assert scrub_secrets(text) == "dial tcp 10.0.0.7:8000 with key ***"
    assert scrub_message(text) == "dial tcp [address] with key ***"


def test_a_secret_at_the_cut_is_not_half_shown() -> None:
    text = "x" * 595 + " sk-abcdefgh12345678"
    assert "sk-" not in scrub_message(text)
