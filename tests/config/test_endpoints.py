from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.endpoints import default_zone, is_date, parse_endpoint
from llmproxyd.config.presets import PRESETS
from llmproxyd.values.snapshot import Zone


@pytest.mark.parametrize(
    ("preset", "endpoint", "base_url"),
    [
        ("openai", "https://api.openai.com", "https://api.openai.com/v1"),
        ("openai", "https://eu.api.openai.com/v1/", "https://eu.api.openai.com/v1"),
        ("vllm", "http://localhost:8000", "http://localhost:8000/v1"),
        ("vllm", "http://LocalHost:8000///", "http://localhost:8000/v1"),
        ("openai-compatible", "HTTPS://Gateway.example/llm/V2", "https://gateway.example/llm/V2"),
        ("anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1"),
        (
            "gemini",
            "https://generativelanguage.googleapis.com",
            "https://generativelanguage.googleapis.com/v1beta",
        ),
        ("openrouter", "https://openrouter.ai", "https://openrouter.ai/api/v1"),
        ("cohere", "https://api.cohere.com/", "https://api.cohere.com"),
        ("ollama", "http://localhost:11434", "http://localhost:11434"),
        ("ollama", "http://localhost:11434/v1", "http://localhost:11434"),
        ("ollama", "http://host/ollama/v1/", "http://host/ollama"),
        ("lmstudio", "http://[::1]:1234", "http://[::1]:1234/v1"),
    ],
)
def test_an_endpoint_without_a_path_gets_the_presets(preset: str, endpoint: str, base_url: str) -> None:
    assert parse_endpoint(endpoint, PRESETS[preset], None) == base_url


@pytest.mark.parametrize(
    ("api_version", "endpoint", "base_url"),
    [
        (None, "https://c.openai.azure.com", "https://c.openai.azure.com/openai/v1"),
        ("v1", "https://c.openai.azure.com/", "https://c.openai.azure.com/openai/v1"),
        ("v1", "https://c.openai.azure.com/openai/v1/", "https://c.openai.azure.com/openai/v1"),
        ("2024-10-21", "https://c.openai.azure.com", "https://c.openai.azure.com"),
        ("2024-10-21", "https://c.openai.azure.com/openai/", "https://c.openai.azure.com"),
        ("2025-04-01-preview", "https://c.openai.azure.com/openai/v1", "https://c.openai.azure.com"),
        ("2024-10-21", "https://gateway/azure", "https://gateway/azure"),
    ],
)
def test_azure_has_two_kinds_of_paths(api_version: str | None, endpoint: str, base_url: str) -> None:
    assert parse_endpoint(endpoint, PRESETS["azure"], api_version) == base_url


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("localhost:8000", "begins with http"),
        ("api.openai.com/v1", "begins with http"),
        ("ftp://host", "`ftp` is not supported"),
        ("unix:///run/x.sock", "`unix` is not supported"),
        ("https://user:pass@host", "credentials"),
        ("https://key@host", "credentials"),
        ("https://host/v1?api-version=1", "no query"),
        ("https://host/v1?", "no query"),
        ("https://host#x", "no query"),
        ("https://", "needs a host"),
        ("https://:80", "needs a host"),
        ("https://host:0", "needs a host"),
        ("https://host:port", "not a URL"),
        ("https://host:99999", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://a b", "blanks"),
        ("https://host/\x00", "blanks"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused_with_a_reason(endpoint: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        parse_endpoint(endpoint, PRESETS["openai"], None)


@pytest.mark.parametrize("endpoint", ["https://user:hunter2@host", "https://hunter2@host/?key=hunter2"])
def test_a_reason_never_repeats_a_credential(endpoint: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_endpoint(endpoint, PRESETS["openai"], None)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("localhost", Zone.LOCAL),
        ("localhost.", Zone.LOCAL),
        ("api.localhost", Zone.LOCAL),
        ("127.0.0.1", Zone.LOCAL),
        ("127.9.9.9", Zone.LOCAL),
        ("[::1]", Zone.LOCAL),
        ("[::ffff:127.0.0.1]", Zone.LOCAL),
        ("10.0.0.7", Zone.EXTERNAL),
        ("192.168.1.2", Zone.EXTERNAL),
        ("0.0.0.0", Zone.EXTERNAL),
        ("localhost.example.com", Zone.EXTERNAL),
        ("notlocalhost", Zone.EXTERNAL),
        ("127.0.0.1.example.com", Zone.EXTERNAL),
    ],
)
def test_only_an_address_of_this_host_is_local(host: str, zone: Zone) -> None:
    assert default_zone(f"http://{host}:8000/v1") is zone


@given(st.text(max_size=60))
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    try:
        base_url = parse_endpoint(text, PRESETS["openai"], None)
    except ValueError:
        return
    assert base_url.startswith(("http://", "https://"))
    assert not base_url.endswith("/")
    assert parse_endpoint(base_url, PRESETS["openai"], None) == base_url


@pytest.mark.parametrize(
    ("version", "dated"), [(None, False), ("v1", False), ("2024-10-21", True), ("preview", False)]
)
def test_a_date_asks_for_deployment_paths(version: str | None, dated: bool) -> None:
    assert is_date(version) is dated
