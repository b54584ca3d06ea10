"""Files with a hole come to nothing, at start, at a reload and in `check` alike; what is told shows the hole."""

from __future__ import annotations

import time
from pathlib import Path

from llmproxyd.config.load import load as load_unproven
from llmproxyd.config.report import format_text
from llmproxyd.routing.proof import prove
from llmproxyd.vetting import Loaded, compile_files, load
from tests.config.building import codes_of, only_problem, write

PROVIDERS = """
providers:
  lab:
    preset: openai-compatible
    endpoint: http://127.0.0.1:8000/v1
    models: [{id: small, price: free}]
  outside:
    preset: openai-compatible
    endpoint: https://llm.example.net/v1
    api_key: ${env:KEY}
    models: [{id: large, price: free}]
"""
HOME = "pipeline: {privacy: [{name: hr stays home, when: {project: hr}, require: {zone: [local]}}]}\n"
NEVER = "assert:\n  - never: {project: hr, reaches: {zone: external}}\n"
ROOT = Path(__file__).resolve().parent.parent


def loaded(directory: Path, routing: str) -> Loaded:
    return load(write(directory, PROVIDERS, routing), environ={"KEY": "k"})


def test_files_that_keep_their_promise_are_taken(tmp_path: Path) -> None:
    found = loaded(tmp_path, HOME + NEVER)
    assert found.snapshot is not None
    assert codes_of(found) == ["LP402"]


def test_a_hole_refuses_the_files_and_shows_the_way(tmp_path: Path) -> None:
    found = loaded(tmp_path, NEVER)
    assert found.snapshot is None
    text = format_text(found.problems, found.files.sources)
    assert text == (
        "error[LP401]: privacy hole: a request labelled `internal` can reach external `outside/large`\n"
        " --> routing.yaml:3:5\n"
        "  |\n"
        "3 |   - never: {project: hr, reaches: {zone: external}}\n"
        "  |     ^^^^^ this does not hold\n"
        " ::: providers.yaml:11:19\n"
        "11 |     models: [{id: large, price: free}]\n"
        "   |                   ----- reaches this\n"
        "  = path: request{model: outside/large, project: hr} -> label internal -> outside/large\n"
        "  = help: add a rule to the privacy stage that requires or excludes what must not be reached\n"
        "  = docs: `llmproxyd explain LP401`\n\n"
        "1 error\n"
    ), text


def test_files_that_were_read_before_are_judged_the_same(tmp_path: Path) -> None:
    first = loaded(tmp_path, NEVER)
    again = compile_files(first.files, environ={"KEY": "k"})
    assert again.snapshot is None
    assert only_problem(again, "LP401") == only_problem(first, "LP401")


def test_what_cannot_be_decided_refuses_the_files_too(tmp_path: Path) -> None:
    rules = "".join(
        f"    - {{name: w{n}, when: {{not: {{prompt: w{n}}}}}, require: {{zone: [local]}}}}\n"
        for n in range(30)
    )
    found = loaded(tmp_path, f"pipeline:\n  privacy:\n{rules}{NEVER}")
    problem = only_problem(found, "LP403")
    assert found.snapshot is None
    assert "cannot decide" in problem.message


def test_other_faults_are_told_as_ever(tmp_path: Path) -> None:
    found = loaded(tmp_path, NEVER.replace("project", "projekt"))
    assert (found.snapshot, codes_of(found)) == (None, ["LP101"])


def test_the_shipped_files_are_shown_to_hold_in_no_time() -> None:
    environ = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "XAI_API_KEY"), "k")
    snapshot = load_unproven(ROOT, environ=environ).snapshot
    assert snapshot is not None
    best_s = min(_timed(lambda: prove(snapshot)) for _ in range(5))
    assert prove(snapshot) == ()
    assert best_s < 0.1, f"{best_s * 1000:.0f} ms"


def _timed(work: object) -> float:
    assert callable(work)
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
