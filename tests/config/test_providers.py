from __future__ import annotations

from pathlib import Path

import pytest

from llmproxyd.config.presets import PRESETS
from llmproxyd.config.problem import Severity
from llmproxyd.values.contracts import Listed
from llmproxyd.values.cost import FREE, Price
from llmproxyd.values.request import Capability, Operation
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Mock, Probe, Timeouts, Zone
from tests.config.building import (
    build,
    codes_of,
    deployment_of,
    marked,
    only_problem,
    place_of,
    provider_of,
    snapshot_of,
)


def test_a_known_name_brings_its_preset(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {openai: {models: [gpt-5.6-sol]}}")
    provider = provider_of(loaded, "openai")
    assert (provider.preset, provider.base_url) == ("openai", "https://api.openai.com/v1")
    assert (provider.zone, provider.priority, provider.enabled) == (Zone.EXTERNAL, 100, True)
    assert (provider.timeouts, provider.health_interval_s, provider.cost_tracking) == (Timeouts(), 30.0, True)
    assert provider.quirks == PRESETS["openai"].quirks
    assert provider.identity == "openai|https://api.openai.com/v1|openai-chat"


def test_everything_written_is_taken_over(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        """
        providers:
          lab:
            preset: openai-compatible
            endpoint: http://10.0.0.7:8000
            zone: private
            enabled: false
            priority: 3
            api_key: ${env:LAB}
            headers: {X-Team: "${env:TEAM}"}
            timeouts: {connect: 1s, first_token: 250ms, stall: 5, total: 5m}
            max_retries: 2
            health: {interval: 5s}
            cost_tracking: false
            clearance: restricted
            models: [{id: qwen3-32b, upstream: Qwen/Qwen3-32B}]
        """,
        environ={"LAB": "k", "TEAM": "t"},
    )
    provider = provider_of(loaded, "lab")
    assert provider.base_url == "http://10.0.0.7:8000/v1"
    assert provider.timeouts == Timeouts(1.0, 0.25, 5.0, 300.0)
    assert (provider.zone, provider.enabled, provider.priority) == (Zone.PRIVATE, False, 3)
    assert (provider.max_retries, provider.health_interval_s, provider.cost_tracking) == (2, 5.0, False)
    assert (provider.secret, provider.headers) == (Secret("k"), {"x-team": Secret("t")})
    assert provider.clearance == 3
    deployment = deployment_of(loaded, "lab/qwen3-32b")
    assert deployment.upstream == "Qwen/Qwen3-32B"
    assert deployment.key == "lab|http://10.0.0.7:8000/v1|openai-chat|Qwen/Qwen3-32B"
    assert str(deployment.place) == "providers.yaml:16:19"


# --- keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "environ", "key"),
    [
        ("openai", {"OPENAI_API_KEY": "a"}, "a"),
        ("gemini", {"GOOGLE_API_KEY": "b"}, "b"),
        ("google", {"GEMINI_API_KEY": "a", "GOOGLE_API_KEY": "b"}, "a"),
        ("grok", {"GROK_API_KEY": "g"}, "g"),
        ("cohere", {"CO_API_KEY": " c\n"}, "c"),
        ("openrouter", {"OPENROUTER_API_KEY": "r"}, "r"),
    ],
)
def test_the_usual_variable_is_the_key(name: str, environ: dict[str, str], key: str, tmp_path: Path) -> None:
    provider = provider_of(build(tmp_path, f"providers: {{{name}: {{models: [m]}}}}", environ=environ), name)
    assert provider.secret == Secret(key)
    assert (provider.configured, provider.reason) == (True, "")


def test_without_a_key_a_service_is_not_configured_and_says_what_is_missing(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        "providers: {openai: {models: [m]}, xai: {api_key: '${env:MY_KEY}', models: [m]}}",
        environ={"XAI_API_KEY": "another"},
    )
    assert codes_of(loaded) == []
    assert not provider_of(loaded, "openai").configured
    assert provider_of(loaded, "openai").reason == "set OPENAI_API_KEY or api_key"
    assert provider_of(loaded, "xai").reason == "set MY_KEY"
    assert provider_of(loaded, "xai").secret is None


def test_azure_needs_an_endpoint_as_well(tmp_path: Path) -> None:
    text = "providers: {azure: {models: [gpt-5.6-sol]}}"
    assert provider_of(build(tmp_path, text), "azure").reason == (
        "set AZURE_OPENAI_ENDPOINT or endpoint and set AZURE_OPENAI_API_KEY or api_key"
    )
    environ = {"AZURE_OPENAI_ENDPOINT": "https://c.openai.azure.com/", "AZURE_OPENAI_API_KEY": "k"}
    provider = provider_of(build(tmp_path, text, environ=environ), "azure")
    assert (provider.configured, provider.base_url) == (True, "https://c.openai.azure.com/openai/v1")
    assert provider.api_version is None


def test_a_date_as_azure_version_keeps_the_base_without_path(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        """
        providers:
          eu: {preset: azure, endpoint: https://c.openai.azure.com, api_version: 2024-10-21, zone: private,
               models: [{id: gpt-5.6-sol, upstream: my-deployment}]}
        """,
        environ={"AZURE_OPENAI_API_KEY": "k"},
    )
    provider = provider_of(loaded, "eu")
    assert (provider.base_url, provider.api_version) == ("https://c.openai.azure.com", "2024-10-21")
    assert provider.probe == Probe("/openai/models")
    deployment = deployment_of(loaded, "eu/gpt-5.6-sol")
    assert (deployment.model, deployment.upstream) == ("gpt-5.6-sol", "my-deployment")
    assert deployment.price is not None
    assert (deployment.price.input, deployment.price.output) == (4_000_000_000, 20_000_000_000)
    assert (deployment.price.cached_input, deployment.price.cache_write) == (400_000_000, 5_000_000_000)


def test_a_header_with_the_credential_counts_as_a_key(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        "providers: {anthropic: {headers: {X-Api-Key: '${env:K}'}, api_version: 2026-10-21, models: [m]}}",
        environ={"K": "k"},
    )
    provider = provider_of(loaded, "anthropic")
    assert provider.configured
    assert provider.headers == {"x-api-key": Secret("k"), "anthropic-version": "2026-10-21"}


def test_a_server_of_ones_own_needs_no_key_but_takes_one(tmp_path: Path) -> None:
    text = "providers: {vllm: {models: [m]}}"
    without, with_key = build(tmp_path, text), build(tmp_path, text, environ={"VLLM_API_KEY": "k"})
    assert provider_of(without, "vllm").configured
    assert provider_of(without, "vllm").keyless
    assert provider_of(with_key, "vllm").secret == Secret("k")


def test_a_literal_key_is_a_warning_that_points_at_it_without_showing_it(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        """
        providers:
          openai:
            api_key: sk-literal-0123456789
            models: [m]
        """,
    )
    problem = only_problem(loaded, "LP602")
    assert problem.severity is Severity.WARNING
    assert place_of(problem) == ("providers.yaml", 4, 14, 35)
    assert "literal" not in marked(problem, loaded)
    assert "sk-literal" not in repr(loaded.problems)
    assert provider_of(loaded, "openai").secret == Secret("sk-literal-0123456789")


def test_a_literal_authorization_header_is_a_warning_and_other_headers_are_none(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        "providers: {vllm: {headers: {Authorization: Bearer x, OpenAI-Project: p, X-Api-Key: '${env:K}'}, models: [m]}}",
        environ={"K": "k"},
    )
    assert only_problem(loaded, "LP602").message == "header `Authorization` holds a secret in the open"


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o604, True), (0o640, False), (0o600, False)])
def test_a_file_with_a_literal_key_is_not_for_everybody(mode: int, warned: bool, tmp_path: Path) -> None:
    from llmproxyd.config.load import load

    build(tmp_path, "providers: {openai: {api_key: sk-literal, models: [m]}}")
    (tmp_path / "providers.yaml").chmod(mode)
    codes = [problem.code for problem in load(tmp_path, environ={}).problems]
    assert ("LP603" in codes) is warned


def test_a_file_for_everybody_without_a_literal_key_is_fine(tmp_path: Path) -> None:
    from llmproxyd.config.load import load

    build(tmp_path, "providers: {openai: {api_key: '${env:K}', models: [m]}}")
    (tmp_path / "providers.yaml").chmod(0o644)
    assert load(tmp_path, environ={"K": "k"}).problems == ()


@pytest.mark.parametrize("key", ["two\\nlines", "schlüssel", "tab\\tkey"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, f'providers: {{openai: {{api_key: "{key}", models: [m]}}}}')
    assert "LP105" in codes_of(loaded)
    written = build(
        tmp_path,
        "providers: {openai: {models: [m]}}",
        environ={"OPENAI_API_KEY": key.replace("\\n", "\n").replace("\\t", "\t")},
    )
    assert codes_of(written) == ["LP206"]
    assert "OPENAI_API_KEY" in written.problems[0].message


# --- names, endpoints, zones ------------------------------------------------------------------------------------


def test_a_name_that_is_no_preset_needs_one(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {opnai: {models: [m]}}")
    problem = only_problem(loaded, "LP207")
    assert problem.helps[0] == "add `preset: openai`, or rename the provider to `openai`"
    assert marked(problem, loaded) == "opnai"


def test_an_unknown_name_with_an_endpoint_is_led_to_the_compatible_preset(tmp_path: Path) -> None:
    problem = only_problem(
        build(tmp_path, "providers: {lab: {endpoint: 'http://h:1', models: [m]}}"), "LP207"
    )
    assert any("preset: openai-compatible" in help_ for help_ in problem.helps)


def test_a_faulty_provider_is_not_reported_as_missing_as_well(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        "providers: {lab: {endpoint: 'http://h:1', models: [m]}, vllm: {endpoint: 'ftp://x', models: [n]}}",
        "models: {a: [lab/m, vllm/n]}",
    )
    assert sorted(codes_of(loaded)) == ["LP206", "LP207"]


def test_a_bad_endpoint_is_marked_and_one_from_the_environment_is_named(tmp_path: Path) -> None:
    written = build(tmp_path, "providers: {ollama: {endpoint: 'localhost:11434'}}")
    assert marked(only_problem(written, "LP206"), written) == "'localhost:11434'"
    loaded = build(tmp_path, "providers: {ollama: {}}", environ={"OLLAMA_BASE_URL": "localhost:11434"})
    assert only_problem(loaded, "LP206").message.startswith("OLLAMA_BASE_URL: an endpoint begins with")


def test_the_endpoint_written_comes_before_the_variable_and_that_before_the_preset(tmp_path: Path) -> None:
    environ = {"LMSTUDIO_BASE_URL": "http://variable:1"}
    urls = [
        provider_of(
            build(tmp_path, f"providers: {{lmstudio: {{{row}}}}}", environ=environment), "lmstudio"
        ).base_url
        for row, environment in (("endpoint: 'http://written:1'", environ), ("", environ), ("", {}))
    ]
    assert urls == ["http://written:1/v1", "http://variable:1/v1", "http://localhost:1234/v1"]


def test_a_compatible_server_has_no_usual_place(tmp_path: Path) -> None:
    problem = only_problem(
        build(tmp_path, "providers: {x: {preset: openai-compatible, models: [m]}}"), "LP206"
    )
    assert problem.message == "provider `x` needs an `endpoint`"


def test_mock_is_local_keyless_and_without_endpoint(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        "providers: {mock: {models: [echo, {id: slow, mock: {first_token: 50ms, tokens_per_second: 200, "
        "fail: {status: 429, rate: 25%}}}]}}",
    )
    provider = provider_of(loaded, "mock")
    assert (provider.base_url, provider.zone, provider.configured) == ("mock://local", Zone.LOCAL, True)
    assert provider.probe is None
    assert not provider.discover
    assert deployment_of(loaded, "mock/echo").mock == Mock()
    assert deployment_of(loaded, "mock/slow").mock == Mock(0.05, 200.0, 429, 0.25)
    assert Operation.EMBEDDING in deployment_of(loaded, "mock/echo").operations
    assert codes_of(build(tmp_path, "providers: {mock: {endpoint: 'http://h', models: [echo]}}")) == ["LP206"]


def test_mock_behaviour_belongs_to_the_mock_provider_only(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {vllm: {models: [{id: m, mock: {first_token: 1s}}]}}")
    assert marked(only_problem(loaded, "LP101"), loaded) == "mock"


def test_clearance_comes_from_the_zone_unless_the_provider_has_its_own(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        """
        providers:
          openai: {models: [m], clearance: public}
          xai: {models: [m]}
          vllm: {models: [m]}
          tgi: {models: [m], zone: private}
        """,
        "privacy: {clearance: {private: internal}}",
    )
    providers = snapshot_of(loaded).providers
    assert {name: provider.clearance for name, provider in providers.items()} == {
        "openai": 0,
        "xai": 1,
        "vllm": 3,
        "tgi": 1,
    }


def test_an_unknown_clearance_is_told_with_the_labels_there_are(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {vllm: {models: [m], clearance: confidental}}")
    problem = only_problem(loaded, "LP203")
    assert problem.helps == (
        "did you mean `confidential`?",
        "labels, from low to high: public, internal, confidential, restricted",
    )
    assert place_of(problem)[0] == "providers.yaml"


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("timeouts: {connect: 0s}", "LP105"),
        ("timeouts: {total: 99999d}", "LP105"),
        ("health: {interval: 100ms}", "LP105"),
        ("headers: {Content-Length: '3'}", "LP105"),
        ("headers: {X-A: '3', x-a: '4'}", "LP205"),
        ("models: [m, m]", "LP205"),
        ("models: [{id: m, context_window: 99999999999999999999}]", "LP105"),
        ("models: [{id: m, price: {input: 0.00000000001, output: 1}}]", "LP105"),
        ("models: [{id: m, price: {input: .nan, output: 1}}]", "LP105"),
        ("models: [{id: m, quality: .nan}]", "LP105"),
    ],
)
def test_what_the_schema_cannot_see_is_still_refused(row: str, code: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, f"providers: {{vllm: {{{row}}}}}")
    assert loaded.snapshot is None
    assert code in codes_of(loaded)


def test_a_share_above_one_is_refused_in_a_mock_as_well(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {mock: {models: [{id: e, mock: {fail: {rate: 250%}}}]}}")
    assert codes_of(loaded) == ["LP105"]


def test_a_version_that_means_nothing_is_a_warning(tmp_path: Path) -> None:
    assert codes_of(build(tmp_path, "providers: {vllm: {api_version: v1, models: [m]}}")) == ["LP303"]


# --- models -----------------------------------------------------------------------------------------------------


def test_facts_of_the_catalogue_fill_in_what_is_not_written(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        """
        providers:
          openai:
            models:
              - gpt-5.6-luna
              - id: gpt-5.6-sol
                price: {input: 1, output: 2}
                capabilities: [tools]
                context_window: 400_000
                max_output_tokens: 10
                quality: 0.8
              - {id: gpt-4o, price: free, quality: {default: 0.5, code: 1}}
              - {id: o3, price: unknown}
        """,
    )
    luna = deployment_of(loaded, "openai/gpt-5.6-luna")
    assert luna.price is not None
    assert (luna.price.input, luna.price.output) == (200_000_000, 1_200_000_000)
    assert (luna.price.cached_input, luna.price.cache_write) == (20_000_000, 250_000_000)
    assert (luna.context_window, luna.max_output_tokens, luna.quality) == (1_050_000, 128_000, {})
    assert Capability.VISION in (luna.capabilities or ())
    sol = deployment_of(loaded, "openai/gpt-5.6-sol")
    assert (sol.price, sol.capabilities) == (Price(10**9, 2 * 10**9), frozenset({Capability.TOOLS}))
    assert (sol.context_window, sol.max_output_tokens, sol.quality) == (400_000, 10, {"default": 0.8})
    assert deployment_of(loaded, "openai/gpt-4o").price == FREE
    assert deployment_of(loaded, "openai/gpt-4o").quality == {"default": 0.5, "code": 1.0}
    assert deployment_of(loaded, "openai/o3").price is None
    assert deployment_of(loaded, "openai/o3").retires == "2026-12-11"


def test_a_local_model_is_free_and_any_other_unknown_price_stays_unknown(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        """
        providers:
          vllm: {models: [m]}
          tgi: {endpoint: http://10.0.0.1, models: [m]}
          openai: {models: [gpt-9000]}
        """,
    )
    prices = {each.name: each.price for each in snapshot_of(loaded).deployments}
    assert prices == {"vllm/m": FREE, "tgi/m": None, "openai/gpt-9000": None}


@pytest.mark.parametrize(
    ("provider", "model", "operations"),
    [
        ("openai", "gpt-4o", {"chat", "completion", "count_tokens"}),
        ("openai", "text-embedding-3-small", {"embedding"}),
        ("ollama", "nomic-embed-text", {"embedding"}),
        ("ollama", "llama3", {"chat", "completion", "count_tokens"}),
        ("vllm", "{id: bge-m3, capabilities: [embeddings]}", {"embedding"}),
        ("vllm", "{id: embedded-assistant, capabilities: [tools]}", {"chat", "completion", "count_tokens"}),
        ("tgi", "nomic-embed-text", set()),
        ("anthropic", "claude-opus-5-5", {"chat", "completion", "count_tokens"}),
        ("gemini", "gemini-embedding-2", {"embedding"}),
        ("cohere", "command-a", {"chat", "completion", "count_tokens"}),
        ("mock", "echo", {"chat", "completion", "embedding", "count_tokens"}),
    ],
)
def test_a_deployment_serves_what_provider_and_model_can(
    provider: str, model: str, operations: set[str], tmp_path: Path
) -> None:
    loaded = build(tmp_path, f"providers: {{{provider}: {{models: [{model}]}}}}")
    (deployment,) = snapshot_of(loaded).deployments
    assert {operation.value for operation in deployment.operations} == operations


def test_one_model_at_three_providers_is_one_plain_id(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        """
        providers:
          anthropic: {models: [claude-opus-5-5]}
          openrouter: {models: [anthropic/claude-opus-5.5]}
          azure: {models: [{id: claude-opus-5.5, upstream: mine}]}
        """,
    )
    assert [each.name for each in snapshot_of(loaded).names["claude-opus-5-5"].deployments] == [
        "anthropic/claude-opus-5-5",
        "openrouter/anthropic/claude-opus-5.5",
        "azure/claude-opus-5.5",
    ]


def test_a_provider_that_lists_nothing_is_a_warning(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers:\n  openai: {}\n  xai:\n  mock: {models: []}\n")
    assert codes_of(loaded) == ["LP303", "LP303", "LP303"]
    assert loaded.snapshot is not None


# --- discovery --------------------------------------------------------------------------------------------------


def test_a_local_server_without_a_list_is_asked_for_it(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {ollama: {}, vllm: {models: [m]}, openai: {models: discover}}")
    providers = snapshot_of(loaded).providers
    assert {name for name, provider in providers.items() if provider.discover} == {"ollama", "openai"}
    assert [each.name for each in snapshot_of(loaded).deployments] == ["vllm/m"]


def test_discovered_models_become_deployments_with_what_the_server_said(tmp_path: Path) -> None:
    listed = (
        Listed("qwen3:8b", context_window=40_960, capabilities=frozenset({"tools", "completion"})),
        Listed("bge-m3", embeds=True),
        Listed("llama3:latest"),
        Listed("llama3:latest"),
    )
    loaded = build(
        tmp_path, "providers: {ollama: {models: discover}}", discovered={"ollama": listed, "gone": listed}
    )
    found = {each.name: each for each in snapshot_of(loaded).deployments}
    assert list(found) == ["ollama/bge-m3", "ollama/llama3:latest", "ollama/qwen3:8b"]
    assert found["ollama/qwen3:8b"].context_window == 40_960
    assert found["ollama/qwen3:8b"].capabilities == frozenset({Capability.TOOLS})
    assert found["ollama/bge-m3"].operations == frozenset({Operation.EMBEDDING})
    assert found["ollama/llama3:latest"].model == "llama3"
    assert found["ollama/llama3:latest"].price == FREE


def test_what_a_service_lists_beside_writing_models_is_left_out(tmp_path: Path) -> None:
    names = [
        "gpt-5.6-sol",
        "tts-1",
        "whisper-1",
        "dall-e-3",
        "gpt-image-1",
        "gpt-4o-realtime-preview",
        "omni-moderation-2024",
    ]
    loaded = build(
        tmp_path,
        "providers: {openai: {models: discover}}",
        discovered={"openai": tuple(Listed(name) for name in names)},
    )
    assert [each.name for each in snapshot_of(loaded).deployments] == ["openai/gpt-5.6-sol"]


def test_models_of_a_provider_that_lists_them_are_not_taken_from_discovery(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {vllm: {models: [m]}}", discovered={"vllm": (Listed("n"),)})
    assert [each.name for each in snapshot_of(loaded).deployments] == ["vllm/m"]


@pytest.mark.parametrize("name", ["azure", "mock"])
def test_where_nothing_can_be_discovered_asking_for_it_is_an_error(name: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, f"providers: {{{name}: {{models: discover}}}}")
    assert marked(only_problem(loaded, "LP104"), loaded) == "discover"


def test_a_watched_provider_is_probed_lightly_and_a_discovering_one_asked_for_its_models(
    tmp_path: Path,
) -> None:
    light = provider_of(build(tmp_path, "providers: {anthropic: {models: [m]}}"), "anthropic").probe
    full = provider_of(build(tmp_path, "providers: {anthropic: {models: discover}}"), "anthropic").probe
    assert light is not None
    assert full is not None
    assert (light.lists_models, full.lists_models) == (False, True)
