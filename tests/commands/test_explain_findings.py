"""`llmproxyd explain` on a request with findings: who set the label, where it stands, whom the fence keeps out; no text."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import PROVIDERS, Done, Run

ROUTING = """\
version: 1
models:
  smart: {any: [openai/big, anthropic/wise, lab/small]}
privacy:
  detect:
    - {kinds: [secret, payment_card], label: restricted}
    - {kinds: [email], label: confidential}
    - {kinds: [ip], label: internal}
  unscanned: {image: internal, file: confidential}
"""
CARD, MAIL, CALLER, OWNER, KEY, HOST = (
    "4111 1111 1111 1111",
    "jane.doe@example.org",
    "john.roe@example.net",
    "owner@example.com",
    "AKIAQ4ZTR2XV7M3NB5WC",
    "203.0.113.77",
)
CANARIES = (CARD, "4111", "1111", MAIL, "jane", CALLER, "john", OWNER, "owner", KEY, HOST, "example")
BYTES = base64.b64encode(bytes(range(256)) * 2).decode()
BODY: dict[str, Any] = {
    "model": "smart",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"Write to {MAIL}, my card is 4111 1111"},
                {"type": "text", "text": " 1111 1111, many thanks "},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BYTES}"}},
                {"type": "file", "file": {"filename": f"{CALLER}.pdf", "file_data": BYTES}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "log", "arguments": json.dumps({"host": HOST})},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": f"key: {KEY}"},
    ],
    "metadata": {"ticket": OWNER, "owner@example.com": "yes"},
}
GOLDEN = """\
smart: 3 deployments, ranked by the pipeline  (routing.yaml:3:3)
label: restricted (default, email found, payment_card found, secret.aws_access_key found, file not scanned)
found:
   email                  messages[1].content[0].text 9-29                    confidential, raised it
   payment_card           messages[1].content[0].text 42-51                   restricted, raised it
   payment_card           messages[1].content[1].text 0-10                    restricted, raised it
   email                  messages[1].content[3].file.filename 0-24           confidential, raised it
   ip                     messages[2].tool_calls[0].function.arguments 10-22  internal
   secret.aws_access_key  messages[3].content 5-25                            restricted, raised it
   email                  metadata.ticket 0-17                                confidential, raised it
   email                  metadata (a name in it) 0-17                        confidential, raised it
unread:
   image  messages[1].content[2]  internal
   file   messages[1].content[3]  confidential, raised it
rules: none applied

1. lab/small  (local)
"""
FENCED = """\
kept out by the fence
   openai/big  (external)
     privacy      openai is cleared up to `internal`, and the request is `restricted`
   anthropic/wise  (external)
     privacy      anthropic is cleared up to `internal`, and the request is `restricted`
"""


@pytest.fixture
def explain(run: Run, tmp_path: Path) -> Run:
    config = tmp_path / "looking"
    config.mkdir()
    (config / "providers.yaml").write_text(PROVIDERS.replace("[tools]", "[tools, vision, files]"), "utf-8")
    (config / "routing.yaml").write_text(ROUTING, "utf-8")
    keys = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"}

    def call(*argv: str, body: object = BODY) -> Done:
        request = ("--request", "-") if body is not None else ()
        stdin = json.dumps(body)
        return run("explain", "--config-dir", str(config), *request, *argv, environ=keys, stdin=stdin)

    return call


def label(done: Done) -> dict[str, Any]:
    told = json.loads(done.out)["label"]
    assert isinstance(told, dict)
    return told


def test_the_page_shows_each_source_with_its_kind_and_place(explain: Run) -> None:
    page = explain().out
    assert page.startswith(GOLDEN)
    assert FENCED in page


def test_json_holds_the_same_and_both_hold_nothing_of_the_text(explain: Run) -> None:
    done = explain("--json")
    told = label(done)
    assert [(each["kind"], each["place"], each["start"], each["end"]) for each in told["found"]] == [
        ("email", "messages[1].content[0].text", 9, 29),
        ("payment_card", "messages[1].content[0].text", 42, 51),
        ("payment_card", "messages[1].content[1].text", 0, 10),
        ("email", "messages[1].content[3].file.filename", 0, 24),
        ("ip", "messages[2].tool_calls[0].function.arguments", 10, 22),
        ("secret.aws_access_key", "messages[3].content", 5, 25),
        ("email", "metadata.ticket", 0, 17),
        ("email", "metadata (a name in it)", 0, 17),
    ]
    assert [(each["kind"], each["place"], each["label"]) for each in told["unread"]] == [
        ("image", "messages[1].content[2]", "internal"),
        ("file", "messages[1].content[3]", "confidential"),
    ]
    assert [each["deployment"] for each in json.loads(done.out)["fenced"]] == ["openai/big", "anthropic/wise"]
    for canary in CANARIES:
        assert canary not in done.out
        assert canary not in explain().out


def test_a_finding_that_gives_no_more_than_the_default_raises_nothing(explain: Run) -> None:
    body = {"model": "smart", "messages": [{"role": "user", "content": f"ping {HOST} please"}]}
    told = label(explain("--json", body=body))
    assert (told["name"], told["sources"]) == ("internal", ["default"])
    assert [(each["label"], each["source"]) for each in told["found"]] == [("internal", None)]


def test_whoever_may_see_a_masked_copy_is_not_kept_out(explain: Run, tmp_path: Path) -> None:
    routing = tmp_path / "looking/routing.yaml"
    rule = "pipeline: {privacy: [{name: mask contacts, mask: [email]}]}\n"
    routing.write_text(ROUTING + rule, "utf-8")
    contact = {"model": "smart", "messages": [{"role": "user", "content": f"mail {MAIL}"}]}
    told = json.loads(explain("--json", body=contact).out)
    assert told["label"]["name"] == "confidential"
    assert told["fenced"] == []
    masked = [v["reason"] for c in told["candidates"] for v in c["verdicts"] if v["rule"] == "mask contacts"]
    assert masked == ["sees it without email"] * 2
    assert [each["deployment"] for each in json.loads(explain("--json").out)["fenced"]] == [
        "openai/big",
        "anthropic/wise",
    ]


def test_a_prompt_in_a_flag_is_looked_into_too(explain: Run) -> None:
    told = label(explain("smart", "--prompt", f"mail {MAIL}", "--json", body=None))
    assert told["name"] == "confidential"
    assert [each["place"] for each in told["found"]] == ["messages[0].content"]


def test_stated_attachments_count_as_unread(explain: Run) -> None:
    told = label(explain("smart", "--prompt", "hello", "--has", "images,files", "--json", body=None))
    assert told["name"] == "confidential"
    assert [(each["kind"], each["place"], each["source"]) for each in told["unread"]] == [
        ("image", "--has images", None),
        ("file", "--has files", "file not scanned"),
    ]


def test_many_findings_are_cut_short_on_the_page_only(explain: Run) -> None:
    lines = "\n".join(f"user{number}@example.org" for number in range(30))
    body = {"model": "smart", "messages": [{"role": "user", "content": lines}]}
    assert "   and 10 more; --json shows all\n" in explain(body=body).out
    assert len(label(explain("--json", body=body))["found"]) == 30
