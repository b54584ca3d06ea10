"""What may be shown of a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.mask import LINE_BREAK, MASK, is_reference, is_secret_name, mask_broken, mask_text


def stars(text: str) -> str:
    return text.replace(MASK, "*")


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "API-KEY",
        "apikey",
        "apikye",
        "api_keys",
        "x-api-key",
        "key",
        "token",
        "access_token",
        "secret",
        "client-secret",
        "password",
        "authorization",
        "Authorization",
        "credentials",
        "headers",
        "auth",
        "db_passwd",
        "webhooks",
        "keys",
    ],
)
def test_names_that_may_hold_a_credential(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "endpoint",
        "models",
        "max_tokens",
        "tokens_in",
        "tokens_per_second",
        "first_token",
        "monkey",
        "zone",
        "header",
        "priority",
        "author",
    ],
)
def test_names_that_do_not(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("${env:OPENAI_API_KEY}", True),
        ("${cred:openai}", True),
        ("${file:/run/secrets/x}", True),
        ("${env:KEY:-sk-fallback}", False),
        ("x${env:KEY}", False),
        ("${env:A}${env:B}", False),
        ("$KEY", False),
    ],
)
def test_a_reference_without_a_default_may_be_shown(text: str, is_one: bool) -> None:
    assert is_reference(text) is is_one


def test_marks_are_hidden_and_comments_go_but_a_quoted_hash_stays() -> None:
    text = "a: hush # no\nb: 'x # y' # no\n# no\nc: d#e\n"
    assert stars(mask_text(text, [(0, 3, 0, 7)], [(1, 3, 1, 10)])) == (
        "a: ****     \nb: 'x # y'     \n    \nc: d#e\n"
    )


def test_a_mark_over_several_lines_keeps_the_lines() -> None:
    assert stars(mask_text("a: |\r\n  x\r\n  y\r\nb: 1", [(0, 3, 2, 3)], [])) == "a: *\r\n***\r\n***\r\nb: 1"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-4f7Qx2",
        "sk_live_abcdefgh12",
        "xai-abcdefghijklmnop",
        "gsk_abcdefghijklmnop",
        "hf_abcdefghijklmnop",
        "ghp_abcdefghijklmnop",
        "AIzaSyabcdefghijklmnop",
        "AKIAABCDEFGHIJKLMNOP",
    ],
)
def test_what_looks_like_a_credential_is_hidden_under_any_name(secret: str) -> None:
    assert stars(mask_text(f"note: {secret}!", [], [])) == f"note: {'*' * len(secret)}!"


@pytest.mark.parametrize(
    "harmless", ["gpt-5.6-sol", "xai/grok-4-fast-reasoning", "claude-sonnet-4-5-20250929", "task-list"]
)
def test_model_names_are_not_taken_for_credentials(harmless: str) -> None:
    assert mask_text(f"a: {harmless}", [], []) == f"a: {harmless}"


def test_user_and_password_in_an_address_are_hidden() -> None:
    assert stars(mask_text("e: http://me:pw@host/v1", [], [])) == "e: http://*****@host/v1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a: [\n  api_key: hush\n  b: 1", "a: [\n  api_key: ****\n  b: 1"),
        ("p: {api_key: hush, b: 1", "p: {api_key: **********"),
        ('api_key: "hush\nmore\n" x\nb: 1', "api_key: *****\n****\n***\nb: 1"),
        ("headers:\n  a: hush\n\n  b: hush\nc: 1", "headers:\n*********\n\n*********\nc: 1"),
        ("- token: hush", "- token: ****"),
        ("api_key: ${env:KEY}\nb: [", "api_key: ${env:KEY}\nb: ["),
        ('"api_key": "hush"', '"api_key": ******'),
        ("API_KEY=hush", "API_KEY=****"),
        ("a: 1 # hush", "a: 1       "),
        ("webhooks:\n- hush\n- hush\nb: [", "webhooks:\n******\n******\nb: ["),
        ("  keys:\n  - hush\n  b: [", "  keys:\n********\n  b: ["),
    ],
)
def test_a_broken_file_shows_nothing_behind_a_secret_name(text: str, shown: str) -> None:
    assert stars(mask_broken(text)) == shown


@given(st.text(alphabet="ak:_ipey\n\r#\"' [{-=x", max_size=80))
def test_masking_moves_nothing(text: str) -> None:
    for shown in (mask_broken(text), mask_text(text, [], [])):
        assert len(shown) == len(text)
        assert LINE_BREAK.findall(shown) == LINE_BREAK.findall(text)


@given(
    st.sampled_from(["api_key: ", "  - {token: ", "\theaders:\n    x: ", 'secret: "']),
    st.text(alphabet="qwz", min_size=1),
)
def test_no_value_of_a_secret_name_survives_in_a_broken_file(before: str, value: str) -> None:
    assert value not in mask_broken(f"a: [\n{before}{value}")
