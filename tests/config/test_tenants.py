"""Tenants: whose keys open the door, and what each may use."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.report import format_json, format_text
from llmproxyd.values.snapshot import Limits, Tenant, VirtualKey
from tests.config.building import PROVIDERS, build, codes_of, snapshot_of


def hash_of(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def test_a_tenant_is_what_is_written(tmp_path: Path) -> None:
    routing = f"""
        tenants:
          acme:
            keys: ["sha256:{hash_of("one")}", "SHA256:{hash_of("two").upper()}"]
            limits: {{requests_per_minute: 600, concurrency: 8}}
            weight: 2
          globex: {{keys: ["sha256:{hash_of("three")}"]}}
    """
    tenants = snapshot_of(build(tmp_path, PROVIDERS, routing)).tenants
    acme, globex = tenants["acme"], tenants["globex"]
    assert acme.keys == (VirtualKey(hash_of("one")), VirtualKey(hash_of("two")))
    assert (acme.limits, acme.weight) == (Limits(600, None, 8), 2.0)
    assert str(acme.place) == "routing.yaml:3:3"
    assert globex == Tenant("globex", (VirtualKey(hash_of("three")),), place=globex.place)


def test_without_tenants_there_are_none(tmp_path: Path) -> None:
    assert snapshot_of(build(tmp_path)).tenants == {}


def test_a_hash_may_come_from_outside_the_file(tmp_path: Path) -> None:
    routing = "tenants: {acme: {keys: ['${env:ACME}']}}"
    loaded = build(tmp_path, PROVIDERS, routing, environ={"ACME": f"sha256:{hash_of('one')}"})
    assert snapshot_of(loaded).tenants["acme"].keys == (VirtualKey(hash_of("one")),)


def test_a_key_may_have_a_name_a_last_day_and_limits_of_its_own(tmp_path: Path) -> None:
    routing = f"""
        tenants:
          acme:
            keys:
              - hash: sha256:{hash_of("one")}
                name: ci runner
                until: 2999-12-31
                limits: {{requests_per_minute: 60}}
              - {{hash: "sha256:{hash_of("two")}"}}
              - sha256:{hash_of("three")}
    """
    assert snapshot_of(build(tmp_path, PROVIDERS, routing)).tenants["acme"].keys == (
        VirtualKey(hash_of("one"), "ci runner", "2999-12-31", Limits(requests_per_minute=60)),
        VirtualKey(hash_of("two")),
        VirtualKey(hash_of("three")),
    )


def test_a_key_and_a_tenant_may_be_bound(tmp_path: Path) -> None:
    routing = f"""
        tenants:
          acme:
            label: confidential
            keys:
              - {{hash: "sha256:{hash_of("one")}", project: website, user: jane, label: restricted, may: [lower_label]}}
    """
    acme = snapshot_of(build(tmp_path, PROVIDERS, routing)).tenants["acme"]
    assert acme.label == "confidential"
    assert acme.keys == (
        VirtualKey(hash_of("one"), project="website", user="jane", label="restricted", may_lower=True),
    )


def test_a_privacy_rule_may_rest_on_what_every_key_says(tmp_path: Path) -> None:
    for second, codes in (("project: b", []), ("user: b", ["LP402"])):
        routing = f"""
            tenants:
              acme:
                keys:
                  - {{hash: "sha256:{hash_of("one")}", project: a}}
                  - {{hash: "sha256:{hash_of("two")}", {second}}}
            pipeline:
              privacy: [{{name: home, when: {{project: a}}, require: {{zone: [local]}}}}]
        """
        assert codes_of(build(tmp_path, PROVIDERS, routing)) == codes


def test_a_key_whose_last_day_is_over_is_told_and_stays(tmp_path: Path) -> None:
    routing = f"tenants: {{acme: {{keys: [{{hash: 'sha256:{hash_of('one')}', until: 2020-01-31}}]}}}}"
    loaded = build(tmp_path, PROVIDERS, routing)
    assert codes_of(loaded) == ["LP605"]
    assert snapshot_of(loaded).tenants["acme"].keys[0].until == "2020-01-31"


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("{hash: HASH, until: 2026-02-30}", "LP105"),
        ("{hash: HASH, until: soon}", "LP105"),
        ("{name: ci}", "LP103"),
        ("{hash: HASH, nmae: ci}", "LP101"),
        ("{hash: HASH, name: ' '}", "LP105"),
        ("{hash: HASH, limits: {requests_per_minute: 0}}", "LP105"),
        ("{hash: HASH, label: secret-ish}", "LP203"),
        ("{hash: HASH, may: [everything]}", "LP104"),
        ("{hash: HASH, project: ' '}", "LP105"),
        ("{hash: not-a-hash}", "LP606"),
        ("HASH, {hash: HASH}", "LP607"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(entry: str, code: str, tmp_path: Path) -> None:
    written = entry.replace("HASH", f"'sha256:{hash_of('one')}'")
    loaded = build(tmp_path, PROVIDERS, f"tenants: {{acme: {{keys: [{written}]}}}}")
    assert codes_of(loaded) == [code]
    assert loaded.snapshot is None


def test_the_last_key_cannot_be_taken_away_by_a_slip(tmp_path: Path) -> None:
    """A tenant without keys would leave the door open for everybody."""
    for body in ("{keys: []}", "{}", "{limits: {concurrency: 1}}"):
        assert build(tmp_path, PROVIDERS, f"tenants: {{acme: {body}}}").snapshot is None


@given(keys=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6), split=st.integers(1, 5))
def test_no_two_tenants_ever_share_a_key(
    keys: list[str], split: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [keys[:split], keys[split:]]
    routing = "tenants:\n" + "".join(
        f"  t{number}: {{keys: [{', '.join(f'sha256:{hash_of(key)}' for key in row)}]}}\n"
        for number, row in enumerate(rows)
        if row
    )
    directory = tmp_path_factory.getbasetemp() / "tenants"
    directory.mkdir(exist_ok=True)
    loaded = build(directory, PROVIDERS, routing)
    assert codes_of(loaded) == ["LP607"] * (len(keys) - len(set(keys)))
    assert (loaded.snapshot is None) is (len(set(keys)) < len(keys))


@given(key=st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=6, max_size=60))
def test_a_key_written_by_mistake_is_refused_and_never_repeated(
    key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp() / "mistake"
    directory.mkdir(exist_ok=True)
    canary = f"zq7{key}"
    quoted = canary.replace("'", "''")
    loaded = build(directory, PROVIDERS, f"tenants: {{acme: {{keys: ['{quoted}']}}}}")
    assert loaded.snapshot is None
    assert codes_of(loaded) == ["LP606"]
    said = format_text(loaded.problems, loaded.files.sources) + format_json(loaded.problems)
    assert canary not in said


def test_another_key_is_another_hash(tmp_path: Path) -> None:
    hashes = {
        snapshot_of(
            build(tmp_path, PROVIDERS, f"tenants: {{acme: {{keys: ['sha256:{hash_of(key)}']}}}}")
        ).hash
        for key in ("one", "two")
    }
    assert len(hashes) == 2
