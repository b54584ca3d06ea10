from __future__ import annotations

from pathlib import Path

import pytest

from llmproxyd.config.load import Loaded
from llmproxyd.config.problem import Severity
from llmproxyd.values.contracts import Listed
from llmproxyd.values.snapshot import Target, TargetKind
from tests.config.building import build, codes_of, marked, only_problem, snapshot_of

PROVIDERS = """
providers:
  openai:
    models: [gpt-5.6-sol, gpt-4o]
  azure:
    models: [{id: gpt-5.6-sol, upstream: mine}]
  openrouter:
    models: [anthropic/claude-opus-5.5, meta-llama/llama-4]
  ollama:
    models: [llama3, "qwen3:8b"]
  mock:
    models: [echo]
"""


def names(tmp_path: Path, models: str, providers: str = PROVIDERS) -> Loaded:
    return build(tmp_path, providers, f"models:\n  {models}\n")


def target(loaded: Loaded, name: str) -> Target:
    return snapshot_of(loaded).names[name]


def deployments(loaded: Loaded, name: str) -> list[str]:
    return [each.name for each in target(loaded, name).deployments]


def test_any_means_every_deployment(tmp_path: Path) -> None:
    loaded = names(tmp_path, "auto: any")
    assert target(loaded, "auto").kind is TargetKind.ANY
    assert target(loaded, "auto").deployments == snapshot_of(loaded).deployments


def test_a_list_keeps_its_order(tmp_path: Path) -> None:
    loaded = names(tmp_path, "careful: [azure/gpt-5.6-sol, mock/echo, openai/gpt-4o]")
    assert target(loaded, "careful").kind is TargetKind.LIST
    assert deployments(loaded, "careful") == ["azure/gpt-5.6-sol", "mock/echo", "openai/gpt-4o"]
    assert target(loaded, "careful").place.line == 3


def test_a_single_model_is_a_list_of_one(tmp_path: Path) -> None:
    loaded = names(tmp_path, "old-name: openai/gpt-4o")
    assert (target(loaded, "old-name").kind, deployments(loaded, "old-name")) == (
        TargetKind.LIST,
        ["openai/gpt-4o"],
    )


def test_a_set_leaves_the_order_to_the_rules(tmp_path: Path) -> None:
    loaded = names(tmp_path, "smart: {any: [gpt-5.6-sol, openai/gpt-4o, openai/gpt-4o]}")
    assert target(loaded, "smart").kind is TargetKind.SET
    assert deployments(loaded, "smart") == ["openai/gpt-5.6-sol", "azure/gpt-5.6-sol", "openai/gpt-4o"]


def test_weights_stand_beside_their_deployments_and_a_plain_id_shares_its_own(tmp_path: Path) -> None:
    loaded = names(tmp_path, "mix: [{to: mock/echo, weight: 10}, {to: gpt-5.6-sol, weight: 90}]")
    found = target(loaded, "mix")
    assert found.kind is TargetKind.WEIGHTS
    assert deployments(loaded, "mix") == ["mock/echo", "openai/gpt-5.6-sol", "azure/gpt-5.6-sol"]
    assert found.weights == (10.0, 45.0, 45.0)


def test_a_deployment_weighed_twice_counts_once_with_both(tmp_path: Path) -> None:
    loaded = names(tmp_path, "mix: [{to: openai/gpt-5.6-sol, weight: 1}, {to: gpt-5.6-sol, weight: 2}]")
    assert target(loaded, "mix").weights == (2.0, 1.0)


@pytest.mark.parametrize(
    ("spelling", "kind", "found"),
    [
        ("openai/gpt-4o", TargetKind.EXPLICIT, ["openai/gpt-4o"]),
        ("gpt-4o", TargetKind.MODEL, ["openai/gpt-4o"]),
        ("gpt-5.6-sol", TargetKind.MODEL, ["openai/gpt-5.6-sol", "azure/gpt-5.6-sol"]),
        ("claude-opus-5-5", TargetKind.MODEL, ["openrouter/anthropic/claude-opus-5.5"]),
        ("anthropic/claude-opus-5.5", TargetKind.MODEL, ["openrouter/anthropic/claude-opus-5.5"]),
        (
            "openrouter/anthropic/claude-opus-5.5",
            TargetKind.EXPLICIT,
            ["openrouter/anthropic/claude-opus-5.5"],
        ),
        ("meta-llama/llama-4", TargetKind.MODEL, ["openrouter/meta-llama/llama-4"]),
        ("ollama/llama3", TargetKind.EXPLICIT, ["ollama/llama3"]),
        ("ollama/llama3:latest", TargetKind.EXPLICIT, ["ollama/llama3"]),
        ("llama3", TargetKind.MODEL, ["ollama/llama3"]),
        ("qwen3:8b", TargetKind.MODEL, ["ollama/qwen3:8b"]),
    ],
)
def test_clients_may_ask_for_deployments_and_plain_ids(
    spelling: str, kind: TargetKind, found: list[str], tmp_path: Path
) -> None:
    loaded = build(tmp_path, PROVIDERS)
    assert target(loaded, spelling).kind is kind
    assert deployments(loaded, spelling) == found


def test_provider_and_model_means_that_provider_if_it_exists(tmp_path: Path) -> None:
    providers = "providers: {anthropic: {models: [claude-haiku-5-5]}, openrouter: {models: [anthropic/claude-opus-5.5]}}"
    loaded = build(tmp_path, providers)
    assert "anthropic/claude-opus-5.5" not in snapshot_of(loaded).names
    assert deployments(loaded, "claude-opus-5-5") == ["openrouter/anthropic/claude-opus-5.5"]


@pytest.mark.parametrize(
    "entry",
    [
        "openrouter/anthropic/claude-opus-5-5",
        "openrouter/claude-opus-5.5",
        "anthropic/claude-opus-5.5",
        "claude-opus-5.5",
        "claude-opus-5-5-20260801",
    ],
)
def test_an_entry_may_use_any_spelling_of_a_model(entry: str, tmp_path: Path) -> None:
    assert deployments(names(tmp_path, f"a: [{entry}]"), "a") == ["openrouter/anthropic/claude-opus-5.5"]


@pytest.mark.parametrize("entry", ["ollama/llama3:latest", "ollama/llama3", "llama3"])
def test_ollama_ids_match_with_and_without_latest(entry: str, tmp_path: Path) -> None:
    assert deployments(names(tmp_path, f'a: ["{entry}"]'), "a") == ["ollama/llama3"]
    listed = {"ollama": (Listed("llama3:latest"),)}
    found = build(tmp_path, "providers: {ollama: {}}", f'models: {{a: ["{entry}"]}}', discovered=listed)
    assert deployments(found, "a") == ["ollama/llama3:latest"]


def test_deployments_that_cannot_be_used_now_keep_their_names(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {openai: {models: [gpt-4o]}, vllm: {enabled: false, models: [m]}}")
    assert {"openai/gpt-4o", "gpt-4o", "vllm/m", "m"} <= set(snapshot_of(loaded).names)


# --- what is wrong ----------------------------------------------------------------------------------------------


def test_an_unknown_provider_is_told_with_the_one_that_is_meant(tmp_path: Path) -> None:
    loaded = names(tmp_path, "smart: {any: [mock/echo, opnai/gpt-4o]}")
    problem = only_problem(loaded, "LP201")
    assert problem.message == "name `smart` names unknown provider `opnai`"
    assert marked(problem, loaded) == "opnai"
    assert problem.helps[0] == "did you mean `openai`?"
    (similar,) = problem.secondary
    assert (similar.file, similar.line, similar.label) == ("providers.yaml", 3, "similar name defined here")


@pytest.mark.parametrize("quote", ["'", '"'])
def test_in_a_quoted_entry_only_the_wrong_part_is_marked(quote: str, tmp_path: Path) -> None:
    loaded = names(tmp_path, f"smart: [{quote}openai/gpt-4p{quote}]")
    problem = only_problem(loaded, "LP202")
    assert marked(problem, loaded) == "gpt-4p"
    assert problem.helps[0] == "did you mean `openai/gpt-4o`?"
    assert (problem.secondary[0].line, problem.secondary[0].label) == (4, "similar name listed here")


def test_an_unknown_plain_id_is_told(tmp_path: Path) -> None:
    loaded = names(tmp_path, "smart: [gpt-4p]")
    problem = only_problem(loaded, "LP202")
    assert problem.message == "name `smart` names unknown model `gpt-4p`"
    assert problem.helps[0] == "did you mean `gpt-4o`?"


def test_every_wrong_entry_is_told_at_once(tmp_path: Path) -> None:
    loaded = names(
        tmp_path, "a: [nope/x, openai/nope]\n  b: {any: [mock/nope]}\n  c: [{to: nix/x, weight: 1}]"
    )
    assert codes_of(loaded) == ["LP201", "LP202", "LP202", "LP201"]


def test_a_discovering_provider_may_get_any_model_later(tmp_path: Path) -> None:
    providers = "providers: {ollama: {models: discover}, mock: {models: [echo]}}"
    routing = "models: {a: [ollama/llama3, mock/echo, qwen3], b: {any: [ollama/nothing]}}"
    early = build(tmp_path, providers, routing)
    assert early.problems == ()
    assert (deployments(early, "a"), deployments(early, "b")) == (["mock/echo"], [])
    late = build(
        tmp_path, providers, routing, discovered={"ollama": (Listed("llama3:latest"), Listed("qwen3"))}
    )
    assert deployments(late, "a") == ["ollama/llama3:latest", "mock/echo", "ollama/qwen3"]


def test_a_name_that_hides_another_is_a_warning(tmp_path: Path) -> None:
    loaded = names(tmp_path, "gpt-4o: [mock/echo]\n  openai/gpt-5.6-sol: [mock/echo]")
    assert codes_of(loaded) == ["LP204", "LP204"]
    assert {problem.severity for problem in loaded.problems} == {Severity.WARNING}
    assert [problem.message for problem in loaded.problems] == [
        "name `gpt-4o` hides the model of that name",
        "name `openai/gpt-5.6-sol` hides the deployment of that name",
    ]
    assert loaded.problems[0].secondary[0].file == "providers.yaml"
    assert deployments(loaded, "gpt-4o") == ["mock/echo"]


@pytest.mark.parametrize(
    ("models", "code"),
    [
        ("a: [{to: mock/echo, weight: 1}, mock/echo]", "LP102"),
        ("a: [{to: mock/echo, weight: 0}]", "LP105"),
        ("a: []", "LP105"),
        ("a: {any: []}", "LP105"),
        ("a: {all: [mock/echo]}", "LP101"),
        ("a: [{to: mock/echo}]", "LP103"),
        ("a: 7", "LP102"),
        ("a: [{to: mock/echo, weight: .nan}]", "LP105"),
    ],
)
def test_a_name_that_makes_no_sense_is_refused(models: str, code: str, tmp_path: Path) -> None:
    loaded = names(tmp_path, models)
    assert loaded.snapshot is None
    assert code in codes_of(loaded)
