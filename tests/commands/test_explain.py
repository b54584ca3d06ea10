"""`llmproxyd explain`: decisions as the daemon would make them, and the pages of the codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmproxyd.config.codes import CODES
from tests.commands.conftest import Done, Run

KEYS = {"OPENAI_API_KEY": "sk-canary", "ANTHROPIC_API_KEY": "sk-canary"}


@pytest.fixture
def explain(run: Run, config_dir: Path) -> Run:
    def call(*argv: str, **options: object) -> Done:
        return run("explain", "--config-dir", str(config_dir), *argv, **{"environ": KEYS, **options})

    return call


def document(done: Done) -> dict[str, Any]:
    decoded = json.loads(done.out)
    assert isinstance(decoded, dict)
    return decoded


def order(done: Done) -> list[str]:
    return [candidate["deployment"] for candidate in document(done)["candidates"]]


# --- codes ------------------------------------------------------------------------------------------------------


def test_a_code_has_its_page(run: Run) -> None:
    done = run("explain", "LP201")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("LP201")
    assert run("explain", "lp201").out == done.out


def test_every_code_has_a_page_in_json_too(run: Run) -> None:
    for code in CODES:
        page = document(run("explain", code, "--json"))
        assert (page["version"], page["code"]) == (1, code)
        assert CODES[code].title in page["page"]


def test_an_unknown_code_is_64_and_lists_those_there_are(run: Run) -> None:
    done = run("explain", "LP999")
    assert (done.status, done.out) == (64, "")
    assert "there is no code LP999; the codes are LP000, LP001, " in done.err


# --- decisions --------------------------------------------------------------------------------------------------


def test_candidates_come_in_order_with_every_reason(explain: Run) -> None:
    done = explain("--model", "smart", "--json")
    told = document(done)
    assert done.status == 0
    assert order(done) == ["lab/small", "openai/big", "anthropic/wise"]
    assert (told["version"], told["model"], told["target"]["kind"]) == (1, "smart", "set")
    assert told["label"]["name"] == "internal"
    assert told["rules"] == ["cheapest first"]
    for candidate in told["candidates"]:
        assert "cheapest first" in [verdict["rule"] for verdict in candidate["verdicts"]]
        assert candidate["rank"]
    assert told["fallback"]["attempts"] == 3


def test_a_model_may_be_named_without_a_flag(explain: Run) -> None:
    assert order(explain("smart", "--json")) == order(explain("--model", "smart", "--json"))


def test_the_page_names_what_json_holds(explain: Run) -> None:
    done = explain("smart")
    assert done.out.startswith("smart: 3 deployments, ranked by the pipeline  (")
    assert "1. lab/small  (local)" in done.out
    assert "label: internal (default)" in done.out
    assert "fallback: up to 3 attempts" in done.out


def test_a_label_that_a_rule_finds_in_the_prompt_fences_the_request(explain: Run) -> None:
    done = explain("smart", "--prompt", "our SECRET plan", "--json")
    told = document(done)
    assert told["label"]["name"] == "restricted"
    assert order(done) == ["lab/small"]
    dropped = {entry["deployment"]: entry["verdicts"][-1] for entry in told["dropped"]}
    assert dropped.keys() == {"openai/big", "anthropic/wise"}
    assert all(verdict["dropped"] and "restricted" in verdict["reason"] for verdict in dropped.values())
    assert "our SECRET plan" not in done.out


def test_what_the_caller_allows_drops_who_can_cost_more(explain: Run) -> None:
    told = document(explain("smart", "--max-cost", "0.000001", "--json"))
    assert [candidate["deployment"] for candidate in told["candidates"]] == ["lab/small"]
    said = [verdict for candidate in told["dropped"] for verdict in candidate["verdicts"]]
    assert {verdict["stage"] for verdict in said} == {"cost"}
    assert all("x-llmproxyd-max-cost allows 0.000001 USD" in verdict["reason"] for verdict in said)
    assert len(said) == 2


def test_a_claimed_label_counts(explain: Run) -> None:
    by_flag = explain("smart", "--label", "restricted", "--json")
    by_header = explain("smart", "--header", "X-LLMproxyd-Label=restricted", "--json")
    assert order(by_flag) == order(by_header) == ["lab/small"]


def test_nowhere_to_go_is_1_and_says_why(explain: Run) -> None:
    done = explain("openai/big", "--label", "restricted")
    assert done.status == 1
    assert "refused with 503 (privacy_no_route):" in done.out


def test_an_unknown_name_is_1(explain: Run) -> None:
    done = explain("smrt", "--json")
    assert done.status == 1
    assert (document(done)["target"], document(done)["failure"]["kind"]) == (None, "not_found")


def test_a_provider_without_a_key_is_dropped_with_what_to_set(explain: Run) -> None:
    told = document(explain("smart", "--json", environ={"OPENAI_API_KEY": "sk-canary"}))
    (dropped,) = told["dropped"]
    assert dropped["deployment"] == "anthropic/wise"
    assert "ANTHROPIC_API_KEY" in dropped["verdicts"][-1]["reason"]


def test_stated_parts_become_needs(explain: Run) -> None:
    done = explain("smart", "--has", "images,tools", "--json")
    assert "lab/small" not in order(done)
    assert "vision" in json.dumps(document(done)["dropped"])


def test_a_stated_length_counts_against_the_window(explain: Run) -> None:
    assert "openai/big" in order(explain("smart", "--tokens-in", "100_000", "--json"))
    assert "openai/big" not in order(explain("smart", "--tokens-in", "500_000", "--json"))


def test_a_request_file_is_read_as_the_daemon_reads_it(explain: Run, tmp_path: Path) -> None:
    body = {"model": "smart", "messages": [{"role": "user", "content": "a secret"}]}
    file = tmp_path / "body.json"
    file.write_text(json.dumps(body), encoding="utf-8")
    from_file = explain("--request", str(file), "--json")
    from_stdin = explain("--request", "-", "--json", stdin=json.dumps(body))
    assert document(from_file) == document(from_stdin)
    assert document(from_file)["label"]["name"] == "restricted"
    assert order(explain("--request", str(file), "--model", "openai/big", "--prompt", "hello", "--json")) == [
        "openai/big"
    ]


@pytest.mark.parametrize(
    ("argv", "stdin", "status", "message"),
    [
        ((), "", 64, "say which model is asked for: --model NAME, or --request FILE"),
        (
            ("--request", "/nowhere/body.json"),
            "",
            66,
            "cannot read the request /nowhere/body.json: No such file",
        ),
        (("--request", "-"), "[1]", 64, "- does not hold a JSON object"),
        (("--request", "-"), "{}", 64, "the daemon would refuse this request: "),
        (
            ("smart", "--surface", "smoke-signals"),
            "",
            64,
            "there is no surface 'smoke-signals'; expected one of",
        ),
        (("smart", "--header", "x-llmproxyd-priority=asap"), "", 64, "must be interactive, normal or batch"),
    ],
)
def test_what_cannot_be_asked_is_said(
    argv: tuple[str, ...], stdin: str, status: int, message: str, explain: Run
) -> None:
    done = explain(*argv, stdin=stdin)
    assert (done.status, done.out) == (status, "")
    assert message in done.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--header", "novalue"), "expected NAME=VALUE"),
        (("--has", "wings"), "expected some of tools, images"),
        (("--tokens-in", "many"), "expected a whole number"),
        (("--at", "yesterday"), "expected a time such as"),
        (("--priority", "asap"), "invalid choice"),
    ],
)
def test_a_bad_flag_is_64(
    argv: tuple[str, ...], message: str, explain: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        explain("smart", *argv)
    assert stop.value.code == 64
    assert message in capsys.readouterr().err


CONDITIONED = """\
version: 1
models: {smart: {any: [openai/big, lab/small]}}
pipeline:
  performance:
    - {name: chosen, when: WHEN, require: {provider: [openai]}}
"""


@pytest.mark.parametrize(
    ("when", "argv"),
    [
        ("{project: web}", ("--project", "web")),
        ("{user: ada}", ("--user", "ada")),
        ("{task: code}", ("--task", "code")),
        ("{stream: true}", ("--stream",)),
        ("{temperature: {lte: 0}}", ("--temperature", "0")),
        ("{n: {gte: 2}}", ("--n", "2")),
        ("{priority: batch}", ("--priority", "batch")),
        ("{header: {x-team: blue}}", ("--header", "X-Team=blue")),
        ("{metadata: {team: blue}}", ("--metadata", "team=blue")),
        ("{has: [code]}", ("--prompt", "```python\nprint(1)\n```")),
        ("{has: [system]}", ("--has", "system")),
        ("{tokens_in: {gte: 4_000}}", ("--tokens-in", "4000")),
        ("{prompt: hello}", ("--prompt", "say hello")),
        (
            "{time: {days: [sun], between: ['09:00', '18:00'], zone: UTC}}",
            ("--at", "2026-03-01T12:00:00+00:00"),
        ),
    ],
)
def test_each_fact_reaches_the_rules(
    when: str, argv: tuple[str, ...], explain: Run, config_dir: Path
) -> None:
    (config_dir / "routing.yaml").write_text(CONDITIONED.replace("WHEN", when), encoding="utf-8")
    without, stated = explain("smart", "--json"), explain("smart", *argv, "--json")
    assert (without.err, stated.err) == ("", "")
    assert "lab/small" in order(without)
    assert order(stated) == ["openai/big"]


def test_servers_that_tell_their_models_are_named_as_unknown(explain: Run, config_dir: Path) -> None:
    with (config_dir / "providers.yaml").open("a", encoding="utf-8") as file:
        file.write("  ollama: {models: discover}\n")
    done = explain("smart")
    assert done.out.endswith(
        "note: ollama: the server says which models it has; offline they are unknown and left out\n"
    )
    assert document(explain("smart", "--json"))["offline"] == ["ollama"]


def test_the_mock_stands_in_only_while_there_is_no_key(explain: Run, config_dir: Path) -> None:
    (config_dir / "providers.yaml").write_text(
        "version: 1\nproviders:\n  openai: {models: [{id: big, price: free}]}\n  mock: {models: [echo]}\n",
        encoding="utf-8",
    )
    (config_dir / "routing.yaml").write_text("version: 1\nmodels: {auto: any}\n", encoding="utf-8")
    assert order(explain("auto", "--json", environ={})) == ["mock/echo"]
    assert order(explain("auto", "--json")) == ["openai/big"]


def test_files_with_errors_are_shown_and_nothing_is_decided(explain: Run, config_dir: Path) -> None:
    (config_dir / "routing.yaml").write_text("version: 1\nmodels: {auto: [nowhere/x]}\n", encoding="utf-8")
    done = explain("auto")
    assert (done.status, done.out) == (1, "")
    assert "error[LP201]" in done.err
    assert "nothing was decided" in done.err


def test_no_secret_is_told(explain: Run) -> None:
    for argv in (("smart",), ("smart", "--json")):
        assert "canary" not in explain(*argv).out
