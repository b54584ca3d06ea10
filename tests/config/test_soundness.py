"""Faults of shape and of meaning are told in one go, each where it stands, and nothing that merely follows from one."""

from __future__ import annotations

from pathlib import Path

from llmproxyd.config.load import load

PROVIDERS = """\
version: 1
providers:
  openai:
    timout: 30s
    models: [gpt-5.6-sol]
    max_retries: "2"
  lab:
    preset: openai-compatable
    endpoint: http://127.0.0.1:8000/v1
    models: [qwen3-32b]
  home:
    preset: ollama
    endpoint: ftp://localhost:11434
    zone: lokal
    models: [llama3]
    priority: 1
    priority: 2
  az: {preset: azure, endpoint: "https://x.openai.azure.com", api_key: "${cred:azure-key}", models: [m]}
"""
ROUTING = """\
version: 1
models:
  smart: [openai/gpt-5.6-sool, opnai/gpt-5.6-sol, lab/qwen3-32b]
privacy: {default_label: secretish}
pipeline:
  cost:
    - {name: a, when: {prompt: "(unclosed"}, prefer: [openai]}
    - {name: b, when: {tokens_in: {gte: many}}, rank_by: pryce}
"""
SMALL = "version: 1\nproviders: {mock: {models: [echo]}}\n"


def problems(tmp_path: Path, providers: str = PROVIDERS, routing: str = ROUTING) -> list[tuple[str, str]]:
    (tmp_path / "providers.yaml").write_text(providers)
    (tmp_path / "routing.yaml").write_text(routing)
    loaded = load(tmp_path, environ={})
    assert loaded.snapshot is None
    return [
        (problem.code, f"{problem.span.file}:{problem.span.line}:{problem.span.column}")
        for problem in loaded.problems
        if problem.span is not None
    ]


def test_a_dozen_planted_faults_are_all_named_at_once(tmp_path: Path) -> None:
    assert problems(tmp_path) == [
        ("LP101", "providers.yaml:4:5"),
        ("LP102", "providers.yaml:6:18"),
        ("LP104", "providers.yaml:8:13"),
        ("LP206", "providers.yaml:13:15"),
        ("LP104", "providers.yaml:14:11"),
        ("LP003", "providers.yaml:17:5"),
        ("LP601", "providers.yaml:18:72"),
        ("LP202", "routing.yaml:3:18"),
        ("LP201", "routing.yaml:3:32"),
        ("LP203", "routing.yaml:4:26"),
        ("LP302", "routing.yaml:7:32"),
        ("LP105", "routing.yaml:8:41"),
        ("LP104", "routing.yaml:8:58"),
    ]


def test_what_merely_follows_from_a_fault_is_left_unsaid(tmp_path: Path) -> None:
    """`lab` exists, its models cannot be read: nobody is told that it is unknown, or lacks them."""
    providers = "version: 1\nproviders:\n  lab: {preset: openai-compatible, endpoint: http://127.0.0.1:8000/v1, models: 7}\n"
    routing = "version: 1\nmodels: {smart: [lab/qwen3-32b]}\n"
    assert [place.partition(":")[0] for _, place in problems(tmp_path, providers, routing)] == [
        "providers.yaml"
    ]


def test_a_file_whose_outline_is_wrong_is_told_alone(tmp_path: Path) -> None:
    found = problems(tmp_path, "version: 1\nproviders: 7\n", ROUTING)
    assert ("LP102", "providers.yaml:2:12") in found
    assert all(place.startswith("providers") or code.startswith("LP1") for code, place in found)


HASH = "a1" * 32
LIMITED = "{{keys: ['sha256:" + HASH + "'], limits: {limits}}}"


def test_a_tenant_with_a_fault_is_not_reported_as_unknown_as_well(tmp_path: Path) -> None:
    rules = "pipeline: {cost: [{name: r, when: {tenant: [acme, akme]}, rank_by: price}]}\n"
    for body, unknown in (("{key: x}", 1), (LIMITED.format(limits="{requests: 1}"), 1), ("7", 1)):
        routing = f"version: 1\ntenants: {{acme: {body}}}\n{rules}"
        found = [code for code, _ in problems(tmp_path, routing=routing, providers=SMALL)]
        assert found.count("LP209") == unknown
        assert len(found) > 1
    found = [code for code, _ in problems(tmp_path, SMALL, f"version: 1\ntenants: [acme]\n{rules}")]
    assert found == ["LP102"]


def test_faults_of_tenants_and_webhooks_are_told_beside_faults_of_shape(tmp_path: Path) -> None:
    routing = (
        "version: 1\nfallbak: off\n"
        "tenants: {acme: {keys: [my-own-key]}}\n"
        "alerts: {webhooks: ['http://h.example/']}\n"
    )
    assert problems(tmp_path, SMALL, routing) == [
        ("LP101", "routing.yaml:2:1"),
        ("LP606", "routing.yaml:3:25"),
        ("LP210", "routing.yaml:4:21"),
    ]
