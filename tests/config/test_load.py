from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.codes import CODES
from llmproxyd.config.load import Loaded, compile_files, load, read_files
from llmproxyd.config.problem import Severity, has_errors
from llmproxyd.config.report import format_json, format_text
from llmproxyd.values.contracts import Listed
from llmproxyd.values.secret import Secret
from tests.config.building import (
    PROVIDERS,
    build,
    codes_of,
    only_problem,
    place_of,
    provider_of,
    snapshot_of,
    write,
)

THE_REQUESTED_SAMPLE = """
providers:
  openai:
    endpoint: https://api.openai.com/v1
    models:
      - gpt-4o
      - gpt-4o-mini
    cost_tracking: true
  ollama:
    endpoint: http://localhost:11434
    models:
      - llama3
      - mistral
    cost_tracking: false
  anthropic:
    endpoint: https://api.anthropic.com
    models:
      - claude-opus-5-5
    cost_tracking: true
"""


def test_the_sample_of_the_original_request_loads_with_warnings_only(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text(THE_REQUESTED_SAMPLE)
    (tmp_path / "routing.yaml").write_text("version: 1\n")
    loaded = load(tmp_path, environ={})
    assert [(problem.code, problem.severity) for problem in loaded.problems] == [("LP701", Severity.WARNING)]
    snapshot = snapshot_of(loaded)
    assert {name: provider.configured for name, provider in snapshot.providers.items()} == {
        "openai": False,
        "ollama": True,
        "anthropic": False,
    }
    assert snapshot.providers["ollama"].base_url == "http://localhost:11434"
    assert not snapshot.providers["ollama"].cost_tracking


def test_with_its_usual_keys_the_sample_is_ready(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"}
    loaded = build(tmp_path, THE_REQUESTED_SAMPLE, environ=environ)
    assert loaded.problems == ()
    assert all(provider.configured for provider in snapshot_of(loaded).providers.values())


# --- versions ---------------------------------------------------------------------------------------------------


def test_a_version_left_out_is_a_warning_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text("providers: {mock: {models: [echo]}}\n")
    (tmp_path / "routing.yaml").write_text("models: {a: any}\n")
    loaded = load(tmp_path, environ={})
    assert codes_of(loaded) == ["LP701", "LP701"]
    assert place_of(loaded.problems[0]) == ("providers.yaml", 1, 1, 2)
    assert loaded.snapshot is not None


@pytest.mark.parametrize("version", ["2", "0", '"1"', "true", "1.5", "[1]", ""])
def test_another_version_is_refused_without_a_word_about_the_rest(version: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, f"version: {version}\nnew_key: 1\n")
    assert codes_of(loaded) == ["LP702"]
    assert loaded.snapshot is None


# --- all problems, and none twice -------------------------------------------------------------------------------


def test_problems_of_both_files_are_told_together(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {openai: {modles: [m]}}", "modls: {}\n")
    assert [(problem.code, problem.span and problem.span.file) for problem in loaded.problems] == [
        ("LP101", "providers.yaml"),
        ("LP101", "routing.yaml"),
    ]


def test_a_file_that_is_no_yaml_does_not_hide_the_other_ones_problems(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {openai: [", "modls: {}\n")
    assert codes_of(loaded) == ["LP001", "LP101"]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n"])
def test_an_empty_file_is_an_error_and_never_no_rules(text: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "routing.yaml").write_text(text)
    loaded = load(tmp_path, environ={})
    assert codes_of(loaded) == ["LP006"]
    assert loaded.snapshot is None


def test_missing_files_are_told_and_marked(tmp_path: Path) -> None:
    loaded = load(tmp_path, environ={})
    assert codes_of(loaded) == ["LP002", "LP002"]
    assert loaded.files.missing == ("providers.yaml", "routing.yaml")
    assert loaded.snapshot is None


def test_an_unresolved_reference_is_told_once(tmp_path: Path) -> None:
    loaded = build(
        tmp_path, "providers: {vllm: {priority: '${env:NOT_SET}', endpoint: '${file:/nope}', models: [m]}}"
    )
    assert sorted(codes_of(loaded)) == ["LP208", "LP601"]


def test_many_problems_are_capped(tmp_path: Path) -> None:
    rows = "\n".join(f"  p{i}: {{models: [m]}}" for i in range(100))
    loaded = build(tmp_path, f"providers:\n{rows}\n")
    assert len(loaded.problems) == 50
    assert any("50 more" in note for note in loaded.problems[-1].notes)


def test_every_code_that_is_told_is_explained(tmp_path: Path) -> None:
    import re

    import llmproxyd as package

    sources = "".join(
        path.read_text() for path in Path(package.__path__[0]).rglob("*.py") if path.name != "codes.py"
    )
    assert set(re.findall(r'"(LP\d{3})"', sources)) == set(CODES)


# --- fragments --------------------------------------------------------------------------------------------------


def test_fragments_add_providers_and_rules(tmp_path: Path) -> None:
    write(tmp_path, PROVIDERS, "models: {auto: any}\npipeline: {cost: [{name: a, rank_by: price}]}\n")
    for name, text in (
        ("providers.d/10-tgi.yaml", "providers: {tgi: {models: [m]}}"),
        ("routing.d/10-more.yaml", "models: {b: [tgi/m]}\npipeline: {cost: [{name: b, reject: x}]}"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    snapshot = snapshot_of(load(tmp_path, environ={}))
    assert set(snapshot.providers) == {"mock", "tgi"}
    assert [rule.name for rule in snapshot.rules] == ["a", "b"]
    assert snapshot.names["b"].place.file == "routing.d/10-more.yaml"
    assert str(tmp_path / "routing.d" / "10-more.yaml") in snapshot.watched


def test_fragments_that_contradict_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "providers.d").mkdir()
    (tmp_path / "providers.d" / "x.yaml").write_text("providers: {mock: {models: [other]}}")
    loaded = load(tmp_path, environ={})
    assert codes_of(loaded) == ["LP008"]


# --- the default provider ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "default"),
    [
        ("openai", "openai"),
        ("OpenAI", "openai"),
        ("gemini", "google"),
        ("google", "google"),
        ("grok", "eu"),
        ("", None),
    ],
)
def test_the_systems_default_provider_is_found_by_name_or_preset(
    wanted: str, default: str | None, tmp_path: Path
) -> None:
    providers = "providers: {openai: {models: [m]}, google: {models: [m]}, eu: {preset: xai, models: [m]}}"
    loaded = build(tmp_path, providers, environ={"LLM_PROVIDER": wanted})
    assert loaded.problems == ()
    assert snapshot_of(loaded).default_provider == default


def test_a_default_provider_that_does_not_exist_is_a_warning(tmp_path: Path) -> None:
    loaded = build(tmp_path, environ={"LLM_PROVIDER": "claude"})
    problem = only_problem(loaded, "LP201")
    assert problem.severity is Severity.WARNING
    assert "LLM_PROVIDER" in problem.message
    assert snapshot_of(loaded).default_provider is None


# --- the hash ---------------------------------------------------------------------------------------------------

BASE = """
version: 1
providers:
  vllm: {models: [a, b], priority: 3}
  openai: {api_key: '${env:KEY}', models: [gpt-4o]}
"""


def hash_of(
    tmp_path: Path, providers: str = BASE, routing: str = "version: 1\n", key: str = "k", **more: object
) -> str:
    environ = {"KEY": key, **{name: str(value) for name, value in more.items()}}
    return snapshot_of(build(tmp_path, providers, routing, environ=environ)).hash


def test_touching_or_reformatting_changes_nothing(tmp_path: Path) -> None:
    base = hash_of(tmp_path)
    os.utime(tmp_path / "providers.yaml")
    assert snapshot_of(load(tmp_path, environ={"KEY": "k"})).hash == base
    reformatted = """
        # the same, said differently
        providers:
          openai:
            models:
              - "gpt-4o"
            api_key: ${env:KEY}
          vllm: {priority: 3, models: ['a', b]}
        version: 1
    """
    assert hash_of(tmp_path, dedent(reformatted)) == base


@pytest.mark.parametrize(
    "providers",
    [
        BASE.replace("[a, b]", "[b, a]"),
        BASE.replace("priority: 3", "priority: 4"),
        BASE.replace(", priority: 3", ""),
        BASE.replace("gpt-4o", "gpt-4o-mini"),
        BASE.replace("vllm", "tgi"),
    ],
)
def test_another_meaning_is_another_hash(providers: str, tmp_path: Path) -> None:
    base = hash_of(tmp_path)
    assert hash_of(tmp_path, providers) != base


def test_another_rule_or_another_order_of_rules_is_another_hash(tmp_path: Path) -> None:
    one, other = "{name: a, rank_by: price}", "{name: b, rank_by: latency}"
    hashes = {
        hash_of(tmp_path, BASE, f"version: 1\npipeline: {{cost: [{rules}]}}\n")
        for rules in ("", one, f"{one}, {other}", f"{other}, {one}")
    }
    assert len(hashes) == 4


def test_what_a_reference_or_a_variable_gives_is_part_of_the_hash(tmp_path: Path) -> None:
    base = hash_of(tmp_path)
    assert hash_of(tmp_path, key="rotated") != base
    assert hash_of(tmp_path, key="") != base
    assert hash_of(tmp_path, VLLM_API_KEY="x") != base
    assert hash_of(tmp_path, VLLM_BASE_URL="http://h:1") != base
    assert hash_of(tmp_path, LLM_PROVIDER="openai") != base
    assert hash_of(tmp_path, UNRELATED="x") == base


def test_a_rotated_credential_file_is_another_hash_and_is_watched(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    credential = tmp_path / "credentials" / "openai"
    credential.write_text("old\n")
    providers = "providers: {openai: {api_key: '${cred:openai}', models: [m]}}"
    before = build(tmp_path, providers)
    credential.write_text("new\n")
    after = load(tmp_path, environ={})
    assert snapshot_of(before).hash != snapshot_of(after).hash
    assert provider_of(after, "openai").secret == Secret("new")
    assert str(credential) in snapshot_of(after).watched


def test_a_missing_credential_is_watched_so_that_adding_it_mends_the_fault(tmp_path: Path) -> None:
    loaded = build(tmp_path, "providers: {openai: {api_key: '${cred:openai}', models: [m]}}")
    assert loaded.snapshot is None
    assert tmp_path / "credentials" / "openai" in loaded.files.paths


def test_discovered_models_are_part_of_the_hash_in_whatever_order(tmp_path: Path) -> None:
    files = read_files(write(tmp_path, "providers: {ollama: {}, vllm: {models: [m]}}"))

    def hash_with(*names: str, provider: str = "ollama") -> str:
        listed = {provider: tuple(Listed(name) for name in names)}
        return snapshot_of(compile_files(files, environ={}, discovered=listed)).hash

    assert hash_with("a", "b") == hash_with("b", "a")
    assert hash_with("a") != hash_with("a", "b")
    assert hash_with("a", provider="vllm") == hash_with("b", provider="vllm") == hash_with()


# --- secrets ----------------------------------------------------------------------------------------------------

CANARY = "canary-7f3a9c1e5b2d8064"


@pytest.mark.parametrize(
    "providers",
    [
        f"providers: {{openai: {{api_key: {CANARY}, modles: [m]}}}}",
        f"providers: {{openai: {{api_key: [{CANARY}], models: [m]}}}}",
        f"providers: {{openai: {{apikey: {CANARY}, models: [m]}}}}",
        f"providers: {{openai: {{headers: {{Authorization: Bearer {CANARY}}}, models: 3}}}}",
        f"providers: {{openai: {{headers: {{X-A: [{CANARY}]}}, models: [m]}}}}",
        f"providers: {{openai: {{endpoint: 'https://u:{CANARY}@h', models: [m]}}}}",
        f"providers: {{openai: {{api_key: &k {CANARY}, models: [m]}}, xai: {{api_key: *k, models: 3}}}}",
        f'providers: {{openai: {{api_key: "{CANARY}\\n{CANARY}", models: [m]}}}}',
        f"providers:\n  openai:\n    api_key: |\n      {CANARY}\n      {CANARY}\n    models: [m]\n",
        f"# {CANARY}\nproviders: {{openai: {{modles: [m]}}}} # {CANARY}\n",
        f"providers: {{openai: {{api_key: {CANARY}, models: [m]",
        "providers: {openai: {endpoint: '${env:KEY}', models: [m]}}",
        "providers: {openai: {zone: '${env:KEY}', models: [m]}}",
        "providers: {openai: {priority: '${file:key}', models: [m]}}",
        "providers: {openai: {api_key: '${cred:key}', clearance: '${cred:key}', models: [m]}}",
        "providers: {'x': {preset: '${env:KEY}', models: [m]}}",
        "providers: {openai: {models: ['${env:KEY}', '${env:KEY}']}}",
        "providers: {openai: {models: [m], headers: {X: '${env:MISSING:-" + CANARY + "}', x: a}}}",
    ],
)
def test_no_credential_shows_in_what_is_said_about_a_file(providers: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY)
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "key").write_text(CANARY)
    loaded = build(tmp_path, providers, environ={"KEY": CANARY})
    assert loaded.problems
    said = (
        format_text(loaded.problems, loaded.files.sources)
        + format_json(loaded.problems)
        + repr(loaded.problems)
    )
    assert CANARY not in said


def test_a_snapshot_shows_no_credential(tmp_path: Path) -> None:
    loaded = build(
        tmp_path,
        "providers: {openai: {api_key: '${env:KEY}', headers: {X-Extra: '${env:KEY}'}, models: [m]}}",
        environ={"KEY": CANARY},
    )
    assert CANARY not in repr(loaded.snapshot)


# --- whatever it is given ---------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**30)
    | st.floats()
    | st.sampled_from(
        ["any", "off", "discover", "openai", "openai/m", "${env:X}", "10%", "5m", "free", "local", "1_0"]
    )
    | st.text(max_size=8)
)
KEYS = st.sampled_from(
    [
        "any", "not", "to", "weight", "name", "when", "require", "exclude", "prefer", "rank_by", "within", "weights", "set",
        "label", "fallback", "on", "retry", "max", "models", "privacy", "pipeline", "cost", "labels", "clearance", "local",
        "time", "days", "between", "prompt", "tokens_in", "gte", "header", "id", "price", "input", "output", "timeouts",
        "total", "headers", "api_key", "endpoint", "preset", "mock", "fail", "rate", "quality", "default",
        "api_keys", "ref", "until", "limits", "concurrency", "tokens_per_minute", "health", "unhealthy_after", "recover_after",
        "tenants", "keys", "acme", "tenant", "alerts", "webhooks", "hedge", "after", "max_share", "degrade", "continue",
    ]
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(provider=TREES, routing=st.dictionaries(KEYS, TREES, max_size=4))
def test_any_two_documents_load_or_are_refused_with_problems(
    provider: object, routing: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    import yaml

    directory = tmp_path_factory.mktemp("any")
    for name, data in (("providers", {"providers": {"openai": provider, "mock": {}}}), ("routing", routing)):
        text = yaml.safe_dump({"version": 1, **data}, allow_unicode=True)
        (directory / f"{name}.yaml").write_text(text, encoding="utf-8")
    loaded: Loaded = load(directory, environ={"X": "value"})
    assert (loaded.snapshot is None) is has_errors(loaded.problems)
    assert all(problem.code in CODES for problem in loaded.problems)
    format_text(loaded.problems, loaded.files.sources)
