"""The keys of a provider: which are used today, what they are called, and what is missing without one."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.load import Loaded, load
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Credential
from tests.config.building import codes_of, provider_of, snapshot_of, write

TODAY = date(2026, 11, 21)
TOMORROW = "2026-11-22"
ENVIRON = {"NEW": "new-key", "OLD": "old-key", "OPENAI_API_KEY": "usual-key"}


def loaded(tmp_path: Path, row: str, name: str = "openai", today: date = TODAY, **environ: str) -> Loaded:
    write(tmp_path, f"providers: {{{name}: {{{row}, models: [gpt-5.6-luna]}}}}")
    return load(tmp_path, environ={**ENVIRON, **environ}, today=today)


def names(tmp_path: Path, row: str) -> list[str]:
    return [each.name for each in provider_of(loaded(tmp_path, row), "openai").credentials]


def test_several_keys_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    provider = provider_of(
        loaded(tmp_path, f'api_keys: [{{ref: "${{env:NEW}}"}}, {{ref: "${{env:OLD}}", until: {TOMORROW}}}]'),
        "openai",
    )
    assert provider.credentials == (
        Credential(Secret("new-key"), "env:NEW"),
        Credential(Secret("old-key"), "env:OLD", TOMORROW),
    )
    assert provider.secret == Secret("new-key")
    assert provider.configured


def test_a_single_key_and_the_usual_variable_are_credentials_as_well(tmp_path: Path) -> None:
    single = provider_of(loaded(tmp_path, "api_key: '${env:NEW}'"), "openai")
    assert (single.secret, single.credentials) == (
        Secret("new-key"),
        (Credential(Secret("new-key"), "env:NEW"),),
    )
    assert names(tmp_path, "priority: 1") == ["env:OPENAI_API_KEY"]


def test_a_key_is_called_as_the_file_refers_to_it_and_never_by_its_value(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "mine").write_text("cred-key\n")
    (tmp_path / "key").write_text("file-key\n")
    row = (
        "api_keys: ['${cred:mine}', '${file:key}', '${env:NONE:-default-key}', literal-key, {ref: other-key}]"
    )
    assert names(tmp_path, row) == ["cred:mine", "file:key", "env:NONE", "api_keys[3]", "api_keys[4]"]
    assert names(tmp_path, "api_key: literal-key") == ["api_key"]


def test_a_number_from_the_environment_stays_a_key(tmp_path: Path) -> None:
    row = "api_keys: ['${env:NUMBER}', {ref: '${env:OTHER}'}]"
    provider = provider_of(loaded(tmp_path, row, NUMBER="12345", OTHER="1e5"), "openai")
    assert [each.secret.reveal() for each in provider.credentials] == ["12345", "1e5"]


def test_a_key_is_used_until_the_day_before_and_then_no_more(tmp_path: Path) -> None:
    row = f"api_keys: ['${{env:NEW}}', {{ref: '${{env:OLD}}', until: {TOMORROW}}}]"
    today, tomorrow = (loaded(tmp_path, row, today=day) for day in (TODAY, date.fromisoformat(TOMORROW)))
    assert [len(provider_of(each, "openai").credentials) for each in (today, tomorrow)] == [2, 1]
    assert (codes_of(today), codes_of(tomorrow)) == ([], ["LP605"])
    assert snapshot_of(today).hash != snapshot_of(tomorrow).hash


@given(until=st.dates(), today=st.dates())
def test_exactly_the_days_before_until_are_days_of_use(
    until: date, today: date, tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = f"api_keys: [{{ref: '${{env:OLD}}', until: {until.isoformat()}}}]"
    directory = tmp_path_factory.getbasetemp() / "until"
    directory.mkdir(exist_ok=True)
    provider = provider_of(loaded(directory, row, today=today), "openai")
    assert provider.configured is (today < until)
    assert len(provider.credentials) == (today < until)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            "api_keys: [{ref: '${env:OLD}', until: 2026-11-01}]",
            "add a key to api_keys: the last one has expired",
        ),
        ("api_keys: ['${env:A}', {ref: '${env:B}'}]", "set A or B"),
        ("api_keys: ['${env:A}', {ref: '${env:OLD}', until: 2020-01-01}]", "set A"),
        (
            "api_keys: [{ref: '${env:A}', until: 2020-01-01}]",
            "add a key to api_keys: the last one has expired",
        ),
        ("api_key: '${env:A}'", "set A"),
    ],
)
def test_without_a_key_of_today_the_provider_is_not_configured_and_says_why(
    row: str, reason: str, tmp_path: Path
) -> None:
    """The usual variable is set, but a reference that is written is never replaced by it."""
    provider = provider_of(loaded(tmp_path, row), "openai")
    assert (provider.configured, provider.reason) == (False, reason)
    assert (provider.secret, provider.credentials) == (None, ())


def test_a_header_with_the_credential_still_counts_as_a_key(tmp_path: Path) -> None:
    row = "api_keys: ['${env:A}'], headers: {Authorization: '${env:NEW}'}"
    assert provider_of(loaded(tmp_path, row), "openai").configured


def test_an_unset_key_is_left_out_and_told_only_while_others_are_there(tmp_path: Path) -> None:
    assert codes_of(loaded(tmp_path, "api_keys: ['${env:A}', '${env:NEW}']")) == ["LP208"]
    assert names(tmp_path, "api_keys: ['${env:A}', '${env:NEW}']") == ["env:NEW"]
    assert codes_of(loaded(tmp_path, "api_keys: ['${env:A}', '${env:B}']")) == []


@pytest.mark.parametrize("unset", ["A", "NEW"])
def test_both_ways_at_once_are_refused_whether_set_or_not(unset: str, tmp_path: Path) -> None:
    both = loaded(tmp_path, f"api_key: '${{env:{unset}}}', api_keys: ['${{env:OLD}}']")
    assert codes_of(both) == ["LP604"]
    assert both.snapshot is None


def test_the_same_key_twice_is_used_once(tmp_path: Path) -> None:
    assert names(tmp_path, "api_keys: ['${env:NEW}', '${env:OLD}', {ref: '${env:NEW}'}]") == [
        "env:NEW",
        "env:OLD",
    ]


def test_another_value_is_another_hash_but_the_same_identity(tmp_path: Path) -> None:
    row = "api_keys: ['${env:NEW}', '${env:OLD}']"
    before, after = loaded(tmp_path, row), loaded(tmp_path, row, OLD="rotated-key")
    assert snapshot_of(before).hash != snapshot_of(after).hash
    assert provider_of(before, "openai").identity == provider_of(after, "openai").identity


def test_limits_health_and_keys_leave_the_identity_alone(tmp_path: Path) -> None:
    plain = provider_of(loaded(tmp_path, "priority: 1"), "openai")
    more = "limits: {concurrency: 2}, health: {unhealthy_after: 9}, api_keys: ['${env:NEW}']"
    assert provider_of(loaded(tmp_path, more), "openai").identity == plain.identity


def test_a_key_that_no_header_can_carry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("schlüssel\n")
    assert codes_of(loaded(tmp_path, "api_keys: ['${file:key}']")) == ["LP105"]


def test_a_snapshot_shows_no_key(tmp_path: Path) -> None:
    row = "api_keys: ['${env:NEW}', {ref: '${env:OLD}'}, literal-canary]"
    shown = repr(snapshot_of(loaded(tmp_path, row)))
    assert not [key for key in ("new-key", "old-key", "literal-canary") if key in shown]


def test_files_that_hold_keys_are_watched(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("file-key\n")
    found = snapshot_of(loaded(tmp_path, "api_keys: [{ref: '${file:key}'}]"))
    assert str(tmp_path / "key") in found.watched


def test_today_is_the_real_day_unless_it_is_given(tmp_path: Path) -> None:
    long_ago = (date(2000, 1, 1) + timedelta(days=1)).isoformat()
    write(
        tmp_path,
        f"providers: {{openai: {{api_keys: [{{ref: '${{env:OLD}}', until: {long_ago}}}], models: [m]}}}}",
    )
    assert codes_of(load(tmp_path, environ=ENVIRON)) == ["LP605"]
