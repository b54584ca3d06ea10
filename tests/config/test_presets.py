from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from llmproxyd.adapters import ADAPTERS
from llmproxyd.config.endpoints import default_zone, parse_endpoint
from llmproxyd.config.presets import PRESETS
from llmproxyd.values.request import Dialect, Operation
from llmproxyd.values.snapshot import Auth, Zone

LOCAL = {"ollama", "lmstudio", "localai", "lightllm", "vllm", "llamacpp", "tgi"}
CLOUD = {"openai", "anthropic", "gemini", "azure", "cohere", "xai", "openrouter"}


def test_every_known_provider_has_a_preset() -> None:
    assert set(PRESETS) == LOCAL | CLOUD | {"google", "grok", "openai-compatible", "mock"}


def test_an_alias_is_the_same_preset() -> None:
    assert PRESETS["google"] is PRESETS["gemini"]
    assert PRESETS["grok"] is PRESETS["xai"]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_an_endpoint_of_a_preset_is_one_an_operator_could_write(name: str) -> None:
    preset = PRESETS[name]
    if name in ("azure", "openai-compatible", "mock"):
        assert name == "mock" or preset.endpoint == ""
        return
    base_url = parse_endpoint(preset.endpoint, preset, None)
    assert urlsplit(base_url).path == preset.path
    assert default_zone(base_url) is (Zone.LOCAL if name in LOCAL else Zone.EXTERNAL)


@pytest.mark.parametrize("name", sorted(LOCAL))
def test_a_local_server_needs_no_key_and_lists_its_models(name: str) -> None:
    preset = PRESETS[name]
    assert preset.keyless
    assert preset.listing is not None
    assert preset.listing.lists_models
    assert preset.endpoint_env == (f"{name.upper()}_BASE_URL",)


@pytest.mark.parametrize("name", sorted(CLOUD))
def test_a_service_in_the_cloud_needs_a_key_from_its_usual_variable(name: str) -> None:
    preset = PRESETS[name]
    assert not preset.keyless
    assert preset.key_env
    assert preset.auth is not Auth.NONE


def test_the_usual_variables_are_read() -> None:
    assert {name: PRESETS[name].key_env for name in sorted(CLOUD)} == {
        "anthropic": ("ANTHROPIC_API_KEY",),
        "azure": ("AZURE_OPENAI_API_KEY",),
        "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
        "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        "openai": ("OPENAI_API_KEY",),
        "openrouter": ("OPENROUTER_API_KEY",),
        "xai": ("XAI_API_KEY", "GROK_API_KEY"),
    }


def test_no_variable_that_may_point_at_this_proxy_moves_a_service_in_the_cloud() -> None:
    movable = {name for name in CLOUD if PRESETS[name].endpoint_env}
    assert movable == {"azure"}


def test_makers_speak_their_own_dialects() -> None:
    own = {
        name: PRESETS[name].dialect for name in PRESETS if PRESETS[name].dialect is not Dialect.OPENAI_CHAT
    }
    assert own == {
        "anthropic": Dialect.ANTHROPIC_MESSAGES,
        "gemini": Dialect.GEMINI_GENERATE,
        "google": Dialect.GEMINI_GENERATE,
        "cohere": Dialect.COHERE_CHAT,
        "ollama": Dialect.OLLAMA_CHAT,
    }


def test_what_a_server_cannot_do_is_neither_among_its_operations_nor_its_quirks() -> None:
    for preset in PRESETS.values():
        if preset.dialect is Dialect.OPENAI_CHAT:
            assert preset.quirks.embeddings is (Operation.EMBEDDING in preset.operations), preset.name
            assert preset.quirks.completions is (Operation.COMPLETION in preset.operations), preset.name


def test_nothing_is_offered_that_the_dialect_cannot_say() -> None:
    for preset in PRESETS.values():
        assert preset.operations <= ADAPTERS[preset.dialect].operations, preset.name


def test_lightllm_is_spared_what_it_stumbles_over() -> None:
    quirks = PRESETS["lightllm"].quirks
    assert not quirks.verbatim
    assert not quirks.done
    assert not quirks.stream_usage
    assert not quirks.null_content
    assert quirks.default_max_tokens == 4096
