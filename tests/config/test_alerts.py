"""Webhooks: which URLs may be called, and that none of them is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmproxyd.config.report import format_json, format_text
from tests.config.building import PROVIDERS, build, codes_of, only_problem, snapshot_of

CANARY = "T0P-S3CR3T-path"


def routing(*urls: str) -> str:
    return "alerts:\n  webhooks:\n" + "".join(f"    - '{url}'\n" for url in urls)


def test_webhooks_stand_in_the_order_of_the_file_and_references_are_resolved(tmp_path: Path) -> None:
    text = routing(
        "https://hooks.example.net/llm?token=x", "${env:HOOK}", "http://localhost:9/a", "http://[::1]/"
    )
    found = snapshot_of(build(tmp_path, PROVIDERS, text, environ={"HOOK": "https://h.example/secret"}))
    assert found.webhooks == (
        "https://hooks.example.net/llm?token=x",
        "https://h.example/secret",
        "http://localhost:9/a",
        "http://[::1]/",
    )


def test_without_alerts_nobody_is_told(tmp_path: Path) -> None:
    assert snapshot_of(build(tmp_path)).webhooks == ()
    assert snapshot_of(build(tmp_path, PROVIDERS, "alerts: {}")).webhooks == ()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://hooks.example.net/", "would be told over plain http"),
        ("http://10.0.0.7/", "would be told over plain http"),
        ("ftp://hooks.example.net/", "begins with https://"),
        ("hooks.example.net", "begins with https://"),
        ("https://", "needs a host"),
        ("https://h:0/", "needs a host"),
        ("https://h:99999/", "is not a URL"),
        ("https://[::1/", "is not a URL"),
        ("https://me@h/", "no user and no password"),
        ("https://me:pw@h/", "no user and no password"),
        ("https://h/a b", "no blanks or control characters"),
    ],
)
def test_what_cannot_be_called_or_not_safely_is_refused(url: str, message: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, routing(url))
    assert loaded.snapshot is None
    assert message in only_problem(loaded, "LP210").message


def test_the_same_webhook_twice_is_refused(tmp_path: Path) -> None:
    assert codes_of(build(tmp_path, PROVIDERS, routing("https://h/a", "https://h/a"))) == ["LP105"]


@pytest.mark.parametrize(
    "text",
    [
        f"alerts: {{webhooks: ['http://h.example/{CANARY}', 'https://h/{CANARY}', 'https://h/{CANARY}']}}",
        f"alerts: {{webhooks: 'https://h/{CANARY}'}}",
        f"alerts: {{webhooks: [{{url: 'https://h/{CANARY}'}}]}}",
        f"alerts: {{webhook: ['https://h/{CANARY}']}}",
        f'alerts:\n  webhooks:\n  - https://h/{CANARY}\n  - "https://h/{CANARY}\nmodels: {{',
        "alerts: {webhooks: ['${env:HOOK}']}",
    ],
)
def test_no_webhook_shows_in_what_is_said_about_a_file(text: str, tmp_path: Path) -> None:
    loaded = build(tmp_path, PROVIDERS, text, environ={"HOOK": f"http://h.example/{CANARY}"})
    assert loaded.problems
    said = format_text(loaded.problems, loaded.files.sources) + format_json(loaded.problems)
    assert CANARY not in said


def test_a_snapshot_shows_no_webhook(tmp_path: Path) -> None:
    assert CANARY not in repr(snapshot_of(build(tmp_path, PROVIDERS, routing(f"https://h/{CANARY}"))))


def test_another_webhook_behind_a_reference_is_another_hash(tmp_path: Path) -> None:
    hashes = {
        snapshot_of(build(tmp_path, PROVIDERS, routing("${env:HOOK}"), environ={"HOOK": url})).hash
        for url in ("https://h/a", "https://h/b")
    }
    assert len(hashes) == 2
