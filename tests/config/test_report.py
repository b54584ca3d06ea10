"""Problems as people and programs see them: compared byte by byte."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.document import masked_source, parse_document
from llmproxyd.config.mask import MASK
from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.config.report import format_json, format_line, format_summary, format_text
from llmproxyd.config.terminal import display_width
from tests.config.shapes import SCHEMA

GOLDEN = Path(__file__).parent / "golden"
ERROR, WARNING = Severity.ERROR, Severity.WARNING


def page(lines: dict[int, str]) -> str:
    """A file of which only these lines matter."""
    return "\n".join(lines.get(number, "") for number in range(1, max(lines) + 1))


# --- files, read and checked ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", sorted(path.stem for path in GOLDEN.glob("*.yaml")))
def test_a_faulty_file_is_reported_to_the_byte(case: str) -> None:
    raw = (GOLDEN / f"{case}.yaml").read_bytes()
    document, problems = parse_document(raw, "providers.yaml")
    if document is None:
        sources = {"providers.yaml": masked_source(raw)}
    else:
        problems += SCHEMA.validate(document)
        sources = document.sources
    assert format_text(problems, sources) == (GOLDEN / f"{case}.txt").read_text()


def test_there_are_golden_reports() -> None:
    assert len(list(GOLDEN.glob("*.txt"))) == len(list(GOLDEN.glob("*.yaml"))) >= 12


# --- the layout, from problems made by hand ---------------------------------------------------------------------

LAYOUTS = {
    "a caret under the key": (
        Problem(
            "LP101",
            ERROR,
            "unknown key `timout` in provider `openai`",
            Span("providers.yaml", 9, 5, 11, "did you mean `timeout`?"),
            helps=("rename it to `timeout`",),
        ),
        {"providers.yaml": page({9: "    timout: 30s"})},
        """\
error[LP101]: unknown key `timout` in provider `openai`
 --> providers.yaml:9:5
  |
9 |     timout: 30s
  |     ^^^^^^ did you mean `timeout`?
  = help: rename it to `timeout`
""",
    ),
    "a wider gutter and a note with its own word": (
        Problem(
            "LP102",
            ERROR,
            "expected integer >= 1, found string",
            Span("providers.yaml", 17, 22, 25, 'string "8"'),
            helps=("remove the quotes: `max_concurrency: 8`",),
            notes=("schema: providers.v1.json#/$defs/provider/properties/max_concurrency",),
        ),
        {"providers.yaml": page({17: '    max_concurrency: "8"'})},
        """\
error[LP102]: expected integer >= 1, found string
  --> providers.yaml:17:22
   |
17 |     max_concurrency: "8"
   |                      ^^^ string "8"
   = help: remove the quotes: `max_concurrency: 8`
   = schema: providers.v1.json#/$defs/provider/properties/max_concurrency
""",
    ),
    "a place in another file": (
        Problem(
            "LP201",
            ERROR,
            "rule `tiny-prompts` routes to unknown provider `local-olama`",
            Span("routing.yaml", 11, 18, 29, "not defined in providers.yaml"),
            (Span("providers.yaml", 13, 3, 15, "similar name defined here"),),
            ("did you mean `local-ollama`? defined providers: local-ollama, openai",),
        ),
        {
            "routing.yaml": page({11: "    route: {to: [local-olama/llama3.3]}"}),
            "providers.yaml": page({13: "  local-ollama:"}),
        },
        """\
error[LP201]: rule `tiny-prompts` routes to unknown provider `local-olama`
  --> routing.yaml:11:18
   |
11 |     route: {to: [local-olama/llama3.3]}
   |                  ^^^^^^^^^^^ not defined in providers.yaml
  ::: providers.yaml:13:3
13 |   local-ollama:
   |   ------------ similar name defined here
   = help: did you mean `local-ollama`? defined providers: local-ollama, openai
""",
    ),
    "lines apart, the earlier one first": (
        Problem(
            "LP303",
            WARNING,
            "rule `tiny-prompts` can never match",
            Span("routing.yaml", 9, 11, 23, "unreachable"),
            (Span("routing.yaml", 7, 11, 34, "this earlier rule takes every such request"),),
            ("move `tiny-prompts` above `cheap-default`, or delete it",),
            ("try: `llmproxyd explain --tokens-in 500`",),
        ),
        {"routing.yaml": page({7: "    when: {tokens_in: {lt: 4000}}", 9: "  - name: tiny-prompts"})},
        """\
warning[LP303]: rule `tiny-prompts` can never match
 --> routing.yaml:9:11
  |
7 |     when: {tokens_in: {lt: 4000}}
  |           ----------------------- this earlier rule takes every such request
...
9 |   - name: tiny-prompts
  |           ^^^^^^^^^^^^ unreachable
  = help: move `tiny-prompts` above `cheap-default`, or delete it
  = try: `llmproxyd explain --tokens-in 500`
""",
    ),
    "neighbouring lines, another file, and the path first": (
        Problem(
            "LP402",
            ERROR,
            "privacy hole: `pii` data can reach external provider `openai`",
            Span("routing.yaml", 5, 53, 67, "trust: external"),
            (
                Span("routing.yaml", 4, 11, 32, "this rule handles data classes pii, secret"),
                Span("providers.yaml", 8, 5, 20, "declared external here"),
            ),
            ("use a fallback with `trust: local`", "or reject"),
            ("path: request{data=pii} -> rule pii-stays-home -> fallback[0] openai/gpt-4.1",),
        ),
        {
            "routing.yaml": page(
                {
                    4: "    when: {data: [pii, secret]}",
                    5: "    route: {to: [local-ollama/llama3.3], fallback: [openai/gpt-4.1]}",
                }
            ),
            "providers.yaml": page({8: "    trust: external"}),
        },
        """\
error[LP402]: privacy hole: `pii` data can reach external provider `openai`
 --> routing.yaml:5:53
  |
4 |     when: {data: [pii, secret]}
  |           --------------------- this rule handles data classes pii, secret
5 |     route: {to: [local-ollama/llama3.3], fallback: [openai/gpt-4.1]}
  |                                                     ^^^^^^^^^^^^^^ trust: external
 ::: providers.yaml:8:5
8 |     trust: external
  |     --------------- declared external here
  = path: request{data=pii} -> rule pii-stays-home -> fallback[0] openai/gpt-4.1
  = help: use a fallback with `trust: local`
  = help: or reject
""",
    ),
    "gutters as wide as each file needs": (
        Problem(
            "LP501",
            ERROR,
            "model `openai/gpt-4.1-mini` has no price but a cost rule selects on it",
            Span("providers.yaml", 12, 7, 19, "`price` missing"),
            (Span("routing.yaml", 6, 11, 24, "used by this rule"),),
            ("add `price: {input: <USD per 1M tokens>, output: ...}` or `price: unknown`",),
            ("without it budget limits for this rule cannot be enforced",),
        ),
        {
            "providers.yaml": page({12: "      gpt-4.1-mini: {}"}),
            "routing.yaml": page({6: "  - name: cheap-default"}),
        },
        """\
error[LP501]: model `openai/gpt-4.1-mini` has no price but a cost rule selects on it
  --> providers.yaml:12:7
   |
12 |       gpt-4.1-mini: {}
   |       ^^^^^^^^^^^^ `price` missing
  ::: routing.yaml:6:11
6 |   - name: cheap-default
  |           ------------- used by this rule
   = help: add `price: {input: <USD per 1M tokens>, output: ...}` or `price: unknown`
   = note: without it budget limits for this rule cannot be enforced
""",
    ),
    "what was searched, wrapped to the width": (
        Problem(
            "LP601",
            ERROR,
            "credential `openai_api_key` not found",
            Span("providers.yaml", 7, 14, 36, "unresolved reference"),
            notes=(
                "searched: $CREDENTIALS_DIRECTORY/openai_api_key (unset), /etc/llmproxyd/credentials/openai_api_key (absent)",
                "`openai-api-key` exists in /etc/llmproxyd/credentials - did you mean that?",
            ),
        ),
        {"providers.yaml": page({7: "    api_key: ${cred:openai_api_key}"})},
        """\
error[LP601]: credential `openai_api_key` not found
 --> providers.yaml:7:14
  |
7 |     api_key: ${cred:openai_api_key}
  |              ^^^^^^^^^^^^^^^^^^^^^^ unresolved reference
  = searched: $CREDENTIALS_DIRECTORY/openai_api_key (unset),
              /etc/llmproxyd/credentials/openai_api_key (absent)
  = note: `openai-api-key` exists in /etc/llmproxyd/credentials - did you mean that?
""",
    ),
    "a duplicate and its first definition": (
        Problem(
            "LP003",
            ERROR,
            "duplicate key `trust` in provider `local-ollama`",
            Span("providers.yaml", 19, 5, 10, "second definition would silently win"),
            (Span("providers.yaml", 16, 5, 10, "first definition"),),
            ("delete one of the two lines; YAML 1.2 forbids duplicate keys",),
        ),
        {"providers.yaml": page({16: "    trust: local", 19: "    trust: external"})},
        """\
error[LP003]: duplicate key `trust` in provider `local-ollama`
  --> providers.yaml:19:5
   |
16 |     trust: local
   |     ----- first definition
...
19 |     trust: external
   |     ^^^^^ second definition would silently win
   = help: delete one of the two lines; YAML 1.2 forbids duplicate keys
""",
    ),
    "a problem without a place": (
        Problem("LP002", ERROR, "routing.yaml is missing", helps=("create it",)),
        {},
        "error[LP002]: routing.yaml is missing\n  = help: create it\n",
    ),
    "a file whose text is not at hand": (
        Problem("LP002", ERROR, "is a directory", Span("providers.d/x.yaml", 1, 1, 2)),
        {},
        "error[LP002]: is a directory\n --> providers.d/x.yaml:1:1\n",
    ),
    "a value over several lines": (
        Problem("LP102", ERROR, "expected list, found string", Span("a", 1, 4, 6, "here", end_line=3)),
        {"a": "k: first   \n  second\n  third\n"},
        """\
error[LP102]: expected list, found string
 --> a:1:4
  |
1 | k: first
  |    ^^^^^ here
""",
    ),
    "two marks on one line": (
        Problem("LP105", ERROR, "repeated", Span("a", 1, 9, 10, "again"), (Span("a", 1, 3, 4, "first"),)),
        {"a": "- a, b, a"},
        """\
error[LP105]: repeated
 --> a:1:9
  |
1 | - a, b, a
  |   - first
  |         ^ again
""",
    ),
    "tabs, wide and combining characters": (
        Problem("LP104", ERROR, "unknown value", Span("a", 1, 8, 10, "here")),
        {"a": "名:\te\u0301 日本 x"},
        """\
error[LP104]: unknown value
 --> a:1:8
  |
1 | 名: e\u0301 日本 x
  |         ^^^ here
""",
    ),
    "a masked credential": (
        Problem("LP602", WARNING, "a credential in the file", Span("a", 1, 10, 60, "this one")),
        {"a": f"api_key: {MASK * 50}, x: 1"},
        """\
warning[LP602]: a credential in the file
 --> a:1:10
  |
1 | api_key: ***, x: 1
  |          ^^^ this one
""",
    ),
    "a place behind the end of its line": (
        Problem("LP001", ERROR, "not closed", Span("a", 1, 8, 9, "here")),
        {"a": "a: [1"},
        "error[LP001]: not closed\n --> a:1:8\n  |\n1 | a: [1\n  |        ^ here\n",
    ),
    "attempts at the terminal": (
        Problem(
            "LP101",
            ERROR,
            "unknown key `\x1b]0;owned\x07`\nerror: fake",
            Span("a\x1b[2J.yaml", 1, 1, 4, "\u202ereversed"),
            helps=("press \x08",),
        ),
        {"a\x1b[2J.yaml": "\x9b3\u200b: 1"},
        """\
error[LP101]: unknown key `\\x1b]0;owned\\x07`\\nerror: fake
 --> a\\x1b[2J.yaml:1:1
  |
1 | \\x9b3\\u200b: 1
  | ^^^^^^^^^^^ \\u202ereversed
  = help: press \\x08
""",
    ),
    "a long line, cut around what matters": (
        Problem(
            "LP104",
            ERROR,
            "unknown value",
            Span("a", 1, 151, 156, "a label that is longer than what is left of the line beside the marks"),
        ),
        {"a": "0123456789" * 30},
        """\
error[LP104]: unknown value
 --> a:1:151
  |
1 | ...890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567...
  |                                              ^^^^^ a label that is longer than what is left of
  |                                                    the line beside the marks
""",
    ),
    "a label with no room beside its marks": (
        Problem("LP104", ERROR, "unknown value", Span("a", 1, 91, 96, "this does not fit beside the marks")),
        {"a": "0123456789" * 9 + "abcde"},
        """\
error[LP104]: unknown value
 --> a:1:91
  |
1 | 012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789abcde
  |                                                                                           ^^^^^
  |                                                               this does not fit beside the marks
""",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_is_exact(name: str) -> None:
    problem, sources, expected = LAYOUTS[name]
    first = Problem("LP099", ERROR, "first")
    report = format_text([first, problem], sources)
    assert report == f"error[LP099]: first\n\n{expected}\n{format_summary([first, problem])}\n"


def test_the_first_problem_says_how_to_learn_more() -> None:
    problem = Problem("LP101", ERROR, "x")
    assert format_text([problem, problem], {}) == (
        "error[LP101]: x\n  = docs: `llmproxyd explain LP101`\n\nerror[LP101]: x\n\n2 errors\n"
    )


def test_no_problems_take_no_space() -> None:
    assert format_text([], {}) == ""


def test_colour_changes_nothing_but_colour() -> None:
    problems = [problem for problem, _, _ in LAYOUTS.values()]
    sources = {file: text for _, each, _ in LAYOUTS.values() for file, text in each.items()}
    colourful = format_text(problems, sources, color=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colourful) == format_text(problems, sources)
    assert "\x1b[1;31merror[LP101]\x1b[0m" in colourful
    assert "\x1b[1;33mwarning[LP303]\x1b[0m" in colourful


spans = st.builds(
    lambda line, column, length, label, file: Span(file, line, column, column + length, label),
    st.integers(1, 5),
    st.integers(1, 300),
    st.integers(0, 60),
    st.text(max_size=120),
    st.sampled_from(["a", "b", "missing"]),
)
problems = st.builds(
    Problem,
    st.sampled_from(["LP101", "LP999"]),
    st.sampled_from(Severity),
    st.text(max_size=200),
    st.none() | spans,
    st.lists(spans, max_size=3).map(tuple),
    st.lists(st.text(max_size=150), max_size=2).map(tuple),
    st.lists(st.text(max_size=150), max_size=2).map(tuple),
)


@given(st.lists(problems, min_size=1, max_size=3), st.text(max_size=400), st.integers(40, 120))
def test_no_report_is_wider_than_its_width(found: list[Problem], text: str, width: int) -> None:
    report = format_text(found, {"a": text, "b": "x" * 200 + "\n" + text}, width=width)
    assert max(map(display_width, report.split("\n"))) <= width
    assert format_text(found, {"a": text}, color=True)


def test_the_summary_counts() -> None:
    error, warning = Problem("LP101", ERROR, "x"), Problem("LP602", WARNING, "x")
    assert format_summary([error, warning, error]) == "2 errors, 1 warning"
    assert format_summary([error]) == "1 error"
    assert format_summary([warning, warning]) == "2 warnings"
    assert format_summary([]) == "no problems"


def test_a_problem_fits_on_one_line_of_a_log() -> None:
    assert format_line(Problem("LP101", ERROR, "unknown\nkey", Span("a.yaml", 9, 5, 6))) == (
        "a.yaml:9:5: error[LP101]: unknown\\nkey"
    )
    assert format_line(Problem("LP002", WARNING, "x")) == "warning[LP002]: x"


def test_json_holds_every_field() -> None:
    problem = Problem(
        "LP101",
        ERROR,
        "unknown key `é`",
        Span("a", 2, 3, 9, "label", end_line=4),
        (Span("b", 1, 1, 2),),
        ("h",),
        ("n",),
    )
    text = format_json([problem, Problem("LP999", WARNING, "bare")])
    assert text.isascii()
    assert json.loads(text) == {
        "version": 1,
        "problems": [
            {
                "code": "LP101",
                "title": "unknown key",
                "severity": "error",
                "message": "unknown key `é`",
                "span": {
                    "file": "a",
                    "line": 2,
                    "column": 3,
                    "end_line": 4,
                    "end_column": 9,
                    "label": "label",
                },
                "secondary": [
                    {"file": "b", "line": 1, "column": 1, "end_line": 1, "end_column": 2, "label": ""}
                ],
                "helps": ["h"],
                "notes": ["n"],
                "docs": "llmproxyd explain LP101",
            },
            {
                "code": "LP999",
                "title": None,
                "severity": "warning",
                "message": "bare",
                "span": None,
                "secondary": [],
                "helps": [],
                "notes": [],
                "docs": None,
            },
        ],
        "summary": {"errors": 1, "warnings": 1},
    }
