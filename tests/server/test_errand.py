"""What is kept of a request for later, above all what is not."""

from __future__ import annotations

import pytest

from llmproxyd.server.errand import kept_headers, public_target
from llmproxyd.values.snapshot import Absent, AllOf, AnyOf, Condition, Not, OneOf, Rule, Stage
from tests.routing.build import snapshot

SENT = {
    "Authorization": "Bearer s",
    "X-Api-Key": "s",
    "api-key": "s",
    "x-goog-api-key": "s",
    "Cookie": "s",
    "Proxy-Authorization": "s",
    "User-Agent": "curl",
    "X-Team": "hr",
    "Content-Type": "application/json",
    "X-LLMProxyd-Label": "internal",
    "anthropic-beta": "b",
}
ALWAYS = {"content-type": "application/json", "x-llmproxyd-label": "internal", "anthropic-beta": "b"}


def rules(*conditions: Condition) -> tuple[Rule, ...]:
    return tuple(Rule("r", Stage.PRIVACY, when=condition) for condition in conditions)


def test_only_headers_that_have_a_say_are_kept() -> None:
    assert kept_headers(SENT, snapshot()) == ALWAYS


@pytest.mark.parametrize(
    "condition",
    [
        OneOf("header", ("hr",), "X-Team"),
        Not(Absent("header", "x-team")),
        AllOf((AnyOf((OneOf("header", ("hr",), "x-team"),)),)),
    ],
)
def test_a_header_that_a_rule_asks_about_is_kept(condition: Condition) -> None:
    assert kept_headers(SENT, snapshot(rules=rules(condition))) == {**ALWAYS, "x-team": "hr"}


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"])
def test_a_credential_is_never_kept_even_if_a_rule_asks_about_it(name: str) -> None:
    asking = rules(OneOf("header", ("s",), name))
    assert kept_headers(SENT, snapshot(rules=asking)) == ALWAYS


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("/v1beta/models/m:generateContent?key=s", "/v1beta/models/m:generateContent"),
        (
            "/v1beta/models/m:streamGenerateContent?alt=sse&key=s",
            "/v1beta/models/m:streamGenerateContent?alt=sse",
        ),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions?a=%20b", "/v1/chat/completions?a=%20b"),
    ],
)
def test_a_key_in_the_address_is_not_kept(target: str, kept: str) -> None:
    assert public_target(target) == kept
