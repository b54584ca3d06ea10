"""The files that come with llmproxyd: the two examples that everybody starts from, and the schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from jsonschema import Draft202012Validator

from llmproxyd.config.conditions import DAYS, READERS
from llmproxyd.config.document import parse_document
from llmproxyd.config.load import load
from llmproxyd.config.presets import PRESETS
from llmproxyd.config.schema import SchemaName, schema_bytes
from llmproxyd.surfaces import SURFACE_NAMES
from llmproxyd.values.budget import Budget, Per, Scope, Then
from llmproxyd.values.failure import FALLBACK_KINDS
from llmproxyd.values.request import Capability, Operation, Overrides, Priority
from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    Degrade,
    FallbackPolicy,
    HedgePolicy,
    Limits,
    Privacy,
    Provider,
    RankBy,
    Requirement,
    Snapshot,
    Stage,
    TargetKind,
    Tenant,
    Timeouts,
    Zone,
)
from tests.support.records import replace

ROOT = Path(__file__).parents[2]
NAMES: tuple[SchemaName, ...] = get_args(SchemaName)
SCHEMAS: Mapping[str, Mapping[str, Any]] = {name: json.loads(schema_bytes(name)) for name in NAMES}


@pytest.fixture(scope="module")
def shipped() -> Snapshot:
    loaded = load(ROOT, environ={})
    assert loaded.problems == ()
    assert loaded.snapshot is not None
    return loaded.snapshot


# --- the two files ----------------------------------------------------------------------------------------------


def test_with_every_key_set_the_shipped_files_still_have_no_problem() -> None:
    environ = {name: "k" for preset in PRESETS.values() for name in preset.key_env}
    loaded = load(ROOT, environ={**environ, "AZURE_OPENAI_ENDPOINT": "https://c.openai.azure.com"})
    assert loaded.problems == ()
    assert loaded.snapshot is not None
    assert all(provider.configured for provider in loaded.snapshot.providers.values())


def test_every_preset_is_there_to_be_tried(shipped: Snapshot) -> None:
    assert {provider.preset for provider in shipped.providers.values()} == {
        preset.name for preset in PRESETS.values()
    }


def test_local_servers_are_asked_for_their_models_at_ports_of_their_own(shipped: Snapshot) -> None:
    asked = [provider for provider in shipped.providers.values() if provider.discover]
    assert {provider.name for provider in asked} == {
        "ollama",
        "lmstudio",
        "vllm",
        "lightllm",
        "llamacpp",
        "localai",
        "tgi",
    }
    assert len({provider.base_url for provider in asked}) == len(asked)
    assert {provider.zone for provider in asked} == {Zone.LOCAL}


def test_without_any_key_the_built_in_provider_is_ready(shipped: Snapshot) -> None:
    ready = [d.name for d in shipped.deployments if d.provider.enabled and d.provider.configured]
    assert ready == ["mock/echo"]


def test_every_model_in_the_cloud_is_known_with_its_price(shipped: Snapshot) -> None:
    for deployment in shipped.deployments:
        assert deployment.price is not None, deployment.name
        if deployment.provider.zone is not Zone.LOCAL:
            assert deployment.context_window is not None, deployment.name
            assert deployment.retires is None, deployment.name


def test_there_is_a_name_for_everything_and_a_few_for_choosing(shipped: Snapshot) -> None:
    assert shipped.names["auto"].kind is TargetKind.ANY
    assert [name for name, target in shipped.names.items() if target.kind is TargetKind.SET] == [
        "smart",
        "fast",
        "cheap",
    ]


def test_the_defaults_written_in_the_file_are_the_ones_in_force_without_it(shipped: Snapshot) -> None:
    assert replace(shipped.privacy, detect=(), unscanned={}) == Privacy()
    assert shipped.fallback == replace(FallbackPolicy(on=DEFAULT_FALLBACK_ON), deadline_s=120.0)
    openai, other = shipped.providers["openai"], shipped.providers["anthropic"]
    assert openai.timeouts == Timeouts()
    assert (openai.health_interval_s, openai.unhealthy_after, openai.recover_after_s) == (
        other.health_interval_s,
        other.unhealthy_after,
        other.recover_after_s,
    )


def test_what_is_found_keeps_a_request_from_leaving(shipped: Snapshot) -> None:
    kinds = ("secret.jwt", "payment_card", "iban", "national_id.us_ssn", "email", "phone", "person")
    assert [shipped.privacy.rank_of_kind(kind) for kind in kinds] == [3, 3, 3, 3, 2, 2, None]
    assert [shipped.privacy.rank_of_unscanned(k) for k in ("image", "audio", "file", "text")] == [1, 1, 3, 3]


def test_cheapest_first_then_fastest(shipped: Snapshot) -> None:
    assert [(rule.stage, rule.rank_by, rule.within) for rule in shipped.rules] == [
        (Stage.COST, RankBy.PRICE, 0.1),
        (Stage.PERFORMANCE, RankBy.LATENCY, None),
    ]


def test_what_stands_in_comments_of_the_shipped_files_would_load(tmp_path: Path) -> None:
    text = (ROOT / "routing.yaml").read_text()
    commented, count = re.subn(r"^  # (- \{|\w[\w-]*: \[)", r"  \1", text, flags=re.MULTILINE)
    assert count == 4
    commented = commented.replace("privacy: []", "privacy:")
    commented, count = re.subn(r"^# (tenants:|  acme:|alerts:)", r"\1", commented, flags=re.MULTILINE)
    assert count == 3
    (tmp_path / "routing.yaml").write_text(commented)
    text = (ROOT / "providers.yaml").read_text()
    with_limits, count = re.subn(r"^    # (limits:)", r"    \1", text, flags=re.MULTILINE)
    assert count == 1
    (tmp_path / "providers.yaml").write_text(with_limits)
    loaded = load(tmp_path, environ={"ALERT_WEBHOOK": "https://hooks.example.net/llm"})
    assert loaded.problems == ()
    assert loaded.snapshot is not None
    assert len(loaded.snapshot.rules) == 4
    assert {"careful", "gpt-4o"} <= set(loaded.snapshot.names)
    assert set(loaded.snapshot.tenants) == {"acme"}
    assert loaded.snapshot.webhooks == ("https://hooks.example.net/llm",)


# --- the schemas ------------------------------------------------------------------------------------------------


def nodes(schema: Any, path: str = "#") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every subschema with its path."""
    yield path, schema
    for key in ("properties", "$defs"):
        for name, inner in schema.get(key, {}).items():
            yield from nodes(inner, f"{path}/{key}/{name}")
    for key in ("items", "additionalProperties", "propertyNames", "if", "then"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}/{key}")


def definition(name: str, *steps: str) -> Any:
    node: Any = SCHEMAS[name]["$defs"]
    for step in steps:
        node = node[step]
    return node


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_a_schema(name: SchemaName) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$id"] == f"{name}.v1.json"


@pytest.mark.parametrize("name", NAMES)
def test_every_property_is_described(name: SchemaName) -> None:
    undescribed = [
        f"{path}/properties/{key}"
        for path, node in nodes(SCHEMAS[name])
        if not path.endswith(("/if", "/then"))
        for key, inner in node.get("properties", {}).items()
        if not inner.get("description")
    ]
    undescribed += [
        path
        for path, node in nodes(SCHEMAS[name])
        if re.search(r"/(items|\$defs/\w+)$", path) and not (node.get("description") or "$ref" in node)
    ]
    assert undescribed == []


@pytest.mark.parametrize("name", NAMES)
def test_every_mapping_is_closed(name: SchemaName) -> None:
    is_open = [
        path
        for path, node in nodes(SCHEMAS[name])
        if "object" in node.get("type", "") and "additionalProperties" not in node
    ]
    assert is_open == []


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_valid(name: SchemaName) -> None:
    schema, wrong = SCHEMAS[name], []
    for path, node in nodes(schema):
        if "examples" not in node or path == "#":
            continue
        validator = Draft202012Validator({**node, "$defs": schema.get("$defs", {})})
        wrong += [(path, example) for example in node["examples"] if not validator.is_valid(example)]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_leads_somewhere_and_every_definition_is_used(name: SchemaName) -> None:
    references = (node["$ref"] for _, node in nodes(SCHEMAS[name]) if "$ref" in node)
    referenced = {reference.removeprefix("#/$defs/").partition("/")[0] for reference in references}
    assert referenced == set(SCHEMAS[name]["$defs"])


def test_credentials_are_marked_as_secret() -> None:
    secret = {path for path, node in nodes(SCHEMAS["providers"]) if node.get("format") == "secret"}
    assert secret == {
        "#/$defs/provider/properties/api_key",
        "#/$defs/api_key",
        "#/$defs/api_key/properties/ref",
        "#/$defs/provider/properties/headers/additionalProperties",
    }
    secret = {path for path, node in nodes(SCHEMAS["routing"]) if node.get("format") == "secret"}
    assert secret == {
        "#/properties/alerts/properties/webhooks/items",
        "#/$defs/tenant_key",
        "#/$defs/tenant_key/properties/hash",
    }


def test_the_shipped_files_fit_the_schemas_even_with_references_in_place_as_editors_see_them() -> None:
    for name in NAMES:
        document, _ = parse_document((ROOT / f"{name}.yaml").read_bytes(), name)
        assert document is not None
        assert list(Draft202012Validator(SCHEMAS[name]).iter_errors(document.data)) == []


_BUDGET_KEYS = set(Budget.__struct_fields__) - {"name", "scope", "only", "nanos"} | {"usd"}


@pytest.mark.parametrize(
    ("where", "steps", "values"),
    [
        ("providers", ("provider", "properties", "preset", "enum"), set(PRESETS)),
        ("providers", ("provider", "properties", "zone", "enum"), set(Zone)),
        ("providers", ("model", "properties", "capabilities", "items", "enum"), set(Capability)),
        ("routing", ("zone", "enum"), set(Zone)),
        ("routing", ("capability", "enum"), set(Capability)),
        ("routing", ("operation", "enum"), set(Operation)),
        ("routing", ("priority", "enum"), set(Priority)),
        ("routing", ("surface", "enum"), set(SURFACE_NAMES)),
        ("routing", ("rule", "properties", "rank_by", "enum"), set(RankBy)),
        ("routing", ("fallback", "properties", "on", "items", "enum"), set(FALLBACK_KINDS)),
        ("routing", ("fallback", "properties", "degrade", "items", "enum"), set(Degrade)),
        ("routing", ("condition", "properties"), set(READERS)),
        ("routing", ("tenant", "properties"), set(Tenant.__struct_fields__) - {"name", "place"}),
        ("routing", ("budget", "properties"), _BUDGET_KEYS | {"name", "scope"}),
        ("routing", ("tenant_budget", "properties"), _BUDGET_KEYS),
        ("routing", ("budget", "properties", "scope", "properties"), set(Scope) - {Scope.OVERALL}),
        ("routing", ("budget_per", "enum"), set(Per)),
        ("routing", ("budget_then", "enum"), set(Then)),
        ("routing", ("limits", "properties"), set(Limits.__struct_fields__)),
        ("providers", ("limits", "properties"), set(Limits.__struct_fields__)),
        (
            "routing",
            ("hedge", "properties"),
            {f.removesuffix("_s") for f in HedgePolicy.__struct_fields__},
        ),
        ("routing", ("rule", "properties", "set", "properties"), set(Overrides.__struct_fields__)),
    ],
)
def test_schema_and_code_list_the_same(where: str, steps: tuple[str, ...], values: set[str]) -> None:
    assert set(definition(where, *steps)) == {str(value) for value in values}


def test_schema_and_values_have_the_same_fields() -> None:
    def keys(name: str, *steps: str) -> set[str]:
        return set(definition(name, *steps, "properties"))

    assert keys("providers", "provider", "properties", "timeouts") == {
        field.removesuffix("_s") for field in Timeouts.__struct_fields__
    }
    singular = {"zones": "zone", "providers": "provider", "models": "model", "capabilities": "capability"}
    assert keys("routing", "requirement") == {singular.get(f, f) for f in Requirement.__struct_fields__}
    assert set(SCHEMAS["routing"]["properties"]["pipeline"]["properties"]) == set(Stage)
    assert set(SCHEMAS["routing"]["properties"]["privacy"]["properties"]["clearance"]["properties"]) == set(
        Zone
    )


def test_days_in_the_schema_are_those_of_the_code() -> None:
    pattern = definition("routing", "condition", "properties", "time", "properties", "days", "pattern")
    assert re.findall(r"[a-z]{3}", pattern)[:7] == list(DAYS)


def test_defaults_told_in_descriptions_are_the_real_ones() -> None:
    timeouts = definition("providers", "provider", "properties", "timeouts", "properties")
    told = {name: re.findall(r"Left out: (\w+)", row["description"])[0] for name, row in timeouts.items()}
    usual = Timeouts()
    assert told == {
        "connect": f"{usual.connect_s:g}s",
        "first_token": f"{usual.first_token_s:g}s",
        "stall": f"{usual.stall_s:g}s",
        "total": f"{usual.total_s / 60:g}m",
    }
    fallback, policy = definition("routing", "fallback", "properties"), FallbackPolicy(on=frozenset())
    assert f"Left out: {policy.attempts}." in fallback["attempts"]["description"]
    assert f"Left out: {policy.deadline_s / 60:g}m." in fallback["deadline"]["description"]
    retry = fallback["retry"]["properties"]
    assert f"Left out: {policy.retry_max}." in retry["max"]["description"]
    assert f"Left out: {policy.retry_base_s * 1000:g}ms." in retry["base"]["description"]
    assert f"Left out: {policy.retry_cap_s:g}s." in retry["cap"]["description"]
    assert f"Left out: {policy.max_price_ratio:g}." in fallback["max_price_ratio"]["description"]
    assert f"Left out: {str(policy.across_models).lower()}." in fallback["across_models"]["description"]
    hedge, double = definition("routing", "hedge", "properties"), HedgePolicy()
    assert f"Left out: {double.max_share:.0%}." in hedge["max_share"]["description"]
    assert f"Left out: {double.max_spend:.0%}." in hedge["max_spend"]["description"]
    assert "Left out: p95." in hedge["after"]["description"]
    assert f"Left out: {Tenant('t').weight:g}." in definition(
        "routing", "tenant", "properties", "weight", "description"
    )
    health = definition("providers", "provider", "properties", "health", "properties")
    defaults = {field.name: field.default for field in msgspec.structs.fields(Provider)}
    assert f"Left out: {defaults['health_interval_s']:g}s." in health["interval"]["description"]
    assert f"Left out: {defaults['unhealthy_after']}." in health["unhealthy_after"]["description"]
    assert f"Left out: {defaults['recover_after_s'] / 60:g}m." in health["recover_after"]["description"]
    priority = definition("providers", "provider", "properties", "priority", "description")
    assert f"Left out: {defaults['priority']}." in priority
