"""Shapes: of a validator's many errors the one that matters, in words, at its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llmproxyd.config.document import parse_document
from llmproxyd.config.mask import MASK
from llmproxyd.config.problem import MAX_PROBLEMS, Problem
from llmproxyd.config.report import format_json, format_text
from llmproxyd.config.schema import Schema, SchemaName, schema_bytes, shipped_schema, validate
from tests.config.shapes import BODY, SCHEMA, checked


def provider(text: str) -> list[Problem]:
    """Problems of one provider written as a flow mapping; columns count from its first key."""
    return checked(f"providers:\n lab: {{{text}}}\n")[1]


def told(problem: Problem) -> tuple[str, str, str]:
    assert problem.span is not None
    return problem.code, problem.message, problem.span.label


def test_a_good_document_has_no_problems() -> None:
    text = """
    version: 1
    providers:
      lab: {preset: ollama, endpoint: "http://x", models: [a, {id: b, price: free}, {id: c, price: 0.5}], timeout: 5s}
      other: {models: discover, share: 0.5, timeout: 3}
    pipeline: {cost: [{name: a, rank_by: b, within: 1}]}
    tasks: {x-any: thing}
    """
    assert checked(text)[1] == []


def test_the_test_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(BODY)


CASES = [
    ("timout: 3s", "LP101", "unknown key `timout` in provider `lab`", "did you mean `timeout`?", "timout"),
    (
        "base_url: x",
        "LP101",
        "unknown key `base_url` in provider `lab`",
        "did you mean `endpoint`?",
        "base_url",
    ),
    ("colour: x", "LP101", "unknown key `colour` in provider `lab`", "not known here", "colour"),
    (
        "zone: local, zoen: local",
        "LP101",
        "unknown key `zoen` in provider `lab`",
        "looks like `zone`",
        "zoen",
    ),
    ('max_concurrency: "8"', "LP102", "expected integer >= 1, found string", 'string "8"', '"8"'),
    ("enabled: yes", "LP102", "expected boolean, found string", 'string "yes"', "yes"),
    ("endpoint: 5", "LP102", "expected string, found integer", "integer 5", "5"),
    ("endpoint: [a]", "LP102", "expected string, found list", "list", "[a]"),
    ("endpoint: ", "LP102", "expected string, found nothing", "has no value", "endpoint"),
    ("models: 5", "LP102", "expected `discover` or list, found integer", "integer 5", "5"),
    ("models: [true]", "LP102", "expected string or mapping, found boolean", "boolean true", "true"),
    ("models: [{}]", "LP103", "missing key `id` in `models[0]` of provider `lab`", "`id` is missing", "{}"),
    (
        "preset: ollama",
        "LP103",
        "missing key `endpoint` in provider `lab`",
        "`endpoint` is missing",
        "lab",
    ),
    (
        "passphrase: longenough",
        "LP103",
        "`passphrase` needs `endpoint`",
        "`endpoint` is missing",
        "passphrase",
    ),
    (
        "zone: lokal",
        "LP104",
        "unknown value `lokal` for `zone` of provider `lab`",
        "did you mean `local`?",
        "lokal",
    ),
    (
        "zone: Local",
        "LP104",
        "unknown value `Local` for `zone` of provider `lab`",
        "did you mean `local`?",
        "Local",
    ),
    (
        "zone: moon",
        "LP104",
        "unknown value `moon` for `zone` of provider `lab`",
        "not one of the allowed values",
        "moon",
    ),
    (
        "models: discovr",
        "LP104",
        "unknown value `discovr` for `models` of provider `lab`",
        "did you mean `discover`?",
        "discovr",
    ),
    (
        "models: [{id: a, price: fre}]",
        "LP104",
        "unknown value `fre` for `price` of model `a`",
        "did you mean `free`?",
        "fre",
    ),
    (
        "max_concurrency: 0",
        "LP105",
        "`max_concurrency` of provider `lab` is out of range: 0",
        "expected integer >= 1",
        "0",
    ),
    (
        "share: 1.0",
        "LP105",
        "`share` of provider `lab` is out of range: 1.0",
        "expected number >= 0 and < 1",
        "1.0",
    ),
    (
        "models: [{id: a, price: -1}]",
        "LP105",
        "`price` of model `a` is out of range: -1",
        "expected number >= 0",
        "-1",
    ),
    (
        "endpoint: ftp://x",
        "LP105",
        "`endpoint` of provider `lab` is not written as expected",
        '"ftp://x"',
        "ftp://x",
    ),
    (
        "timeout: 5 minutes",
        "LP105",
        "`timeout` of provider `lab` is not written as expected",
        '"5 minutes"',
        "5 minutes",
    ),
    ('models: [""]', "LP105", "model `` has nothing in it", "expected at least 1 character", '""'),
    (
        "models: [a, b, c, d]",
        "LP105",
        "`models` of provider `lab` has 4 entries",
        "expected at most 3 entries",
        "[a, b, c, d]",
    ),
    (
        "models: [a, b, a]",
        "LP105",
        "an entry of `models` of provider `lab` is repeated",
        "the same again",
        "a",
    ),
    (
        'endpoint: "http://x", preset: ollama, mock: {}',
        "LP101",
        "`mock` cannot be used in provider `lab`",
        "does not fit here",
        "mock",
    ),
]


@pytest.mark.parametrize(("text", "code", "message", "label", "marked"), CASES)
def test_one_mistake_is_one_problem_at_its_place(
    text: str, code: str, message: str, label: str, marked: str
) -> None:
    (problem,) = provider(text)
    assert told(problem) == (code, message, label)
    assert problem.span is not None
    line = ["providers:", f" lab: {{{text}}}"][problem.span.line - 1]
    assert line[problem.span.column - 1 : problem.span.end_column - 1] == marked


@pytest.mark.parametrize(
    ("text", "help_"),
    [
        ("timout: 3s", "rename it to `timeout`"),
        ("zone: local, zoen: local", "delete it: `zone` is there already"),
        ('max_concurrency: "8"', "remove the quotes: `max_concurrency: 8`"),
        ("enabled: yes", "write it as: `enabled: true`"),
        ("endpoint: 5", 'put it in quotes: `endpoint: "5"`'),
        ("endpoint: [a]", "for example `endpoint: http://localhost:11434`"),
        ("models: 5", "write a list: `models: [5]`"),
        ("models: [{}]", "add it, for example `id: llama3:70b` (The model's id)"),
        ("zone: moon", "allowed: `local`, `private` or `external`"),
        ("models: discovr", "allowed: `discover` or a list"),
        ("timeout: 5 minutes", "a duration such as 250ms or 30s"),
        ("endpoint: ftp://x", "URL of the server"),
        ("models: [a, b, a]", "delete one of the two"),
        (
            'endpoint: "http://x", preset: ollama, mock: {}',
            "A mock only behaves as told in the mock provider",
        ),
    ],
)
def test_the_help_says_what_to_write(text: str, help_: str) -> None:
    (problem,) = provider(text)
    assert problem.helps[0] == help_


def test_known_keys_are_listed_where_nothing_is_near() -> None:
    (problem,) = provider("colour: x")
    assert problem.helps == (
        "known keys of provider `lab`: enabled, endpoint, max_concurrency, mock, models, passphrase, preset, share, "
        "timeout, zone",
    )


def test_the_note_leads_to_the_place_in_the_schema_through_references() -> None:
    (problem,) = provider('max_concurrency: "8"')
    assert problem.notes == ("schema: providers.v1.json#/$defs/provider/properties/max_concurrency",)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("providers: {Lab: {}}", "LP105", "`Lab` in `providers` is not a valid name"),
        ("providers: {}\npipeline: {privcy: []}", "LP101", "unknown key `privcy` in `pipeline`"),
        ("providers: {}\ntasks: {y-z: a}", "LP101", "unknown key `y-z` in `tasks`"),
        ("providers: {}\ntasks: {}", "LP105", "`tasks` has nothing in it"),
        (
            "providers: {}\npipeline: {cost: [{name: a, within: 1}]}",
            "LP105",
            "the contents of rule `a` do not fit together",
        ),
        ("version: 2\nproviders: {}", "LP702", "unsupported version of the file"),
        ("version: 1", "LP103", "missing key `providers` in the file"),
        ("providers: {lab: []}", "LP102", "expected mapping, found list"),
    ],
)
def test_names_rules_and_the_file_itself(text: str, code: str, message: str) -> None:
    (problem,) = checked(text)[1]
    assert (problem.code, problem.message) == (code, message)


def test_an_alias_for_nothing_is_complained_about_once() -> None:
    _, problems = checked("providers:\n lab: {zone: *nowhere, models: [*nothing]}\n")
    assert [problem.code for problem in problems] == ["LP001", "LP001"]


def test_a_renamed_key_covers_the_one_that_is_missing() -> None:
    assert [problem.code for problem in provider("preset: ollama, url: 'http://x'")] == ["LP101"]


def test_a_wrong_type_covers_every_other_complaint_about_the_value() -> None:
    body = {"type": "object", "properties": {"a": {"type": "integer", "enum": [1, 2], "minimum": 1}}}
    _, problems = checked("a: zero", Schema(body, "s"))
    assert [problem.code for problem in problems] == ["LP102"]


def test_the_branch_that_was_meant_is_complained_about() -> None:
    problems = provider("models: [{idd: a, price: free}]")
    assert [told(problem)[:2] for problem in problems] == [
        ("LP101", "unknown key `idd` in `models[0]` of provider `lab`")
    ]


def test_all_mistakes_are_told_in_reading_order_and_capped() -> None:
    lines = ["providers:"]
    for number in range(60):
        lines.append(f"  p{number}: {{zone: moon, timout: 1s}}")
    _, problems = checked("\n".join(lines))
    assert len(problems) == MAX_PROBLEMS
    places = [(problem.span.line, problem.span.column) for problem in problems if problem.span]
    assert places == sorted(places)
    assert problems[-1].notes[-1] == "70 more not shown; fix these and check again"


@pytest.mark.parametrize(
    "value", ["hush", "hushhush", "[hushhush]", "{a: hushhush}", "4774774774", "'hush\n   hush'"]
)
def test_a_secret_is_in_no_message_and_no_snippet(value: str) -> None:
    document, problems = checked(f"providers:\n lab: {{passphrase: {value},\n  zone: x, timout: 1s}}\n")
    shown = format_text(problems, document.sources) + format_json(problems)
    assert "passphrase: ***" in shown
    assert "hush" not in shown
    assert "4774" not in shown


def test_a_secret_that_is_repeated_elsewhere_is_masked_there_too() -> None:
    document, problems = checked(
        "providers:\n lab: {endpoint: 'http://x', passphrase: hushhush, zone: hushhush}\n"
    )
    (problem,) = problems
    assert problem.message == "unknown value for `zone` of provider `lab`"
    assert "hush" not in format_text(problems, document.sources) + format_json(problems)


@pytest.mark.parametrize(
    "text",
    [
        "endpoint: ftp://me:hushhush@host",
        "zone: sk-hushhush-hushhush",
        "enabled: sk-hushhush-hushhush",
        "models: sk-hushhush-hushhush",
        "endpoint: ftp://host/?Bearer hushhush",
    ],
)
def test_what_looks_like_a_credential_is_in_no_message_either(text: str) -> None:
    document, problems = checked(f"providers:\n lab: {{{text}}}\n")
    assert len(problems) == 1
    shown = format_text(problems, document.sources) + format_json(problems)
    assert "***" in shown
    assert "hush" not in shown


def test_the_length_of_a_secret_is_not_told() -> None:
    (problem,) = provider("endpoint: 'http://x', passphrase: hush")
    assert problem.message == "`passphrase` of provider `lab` has the wrong length"


def test_a_secret_of_the_schema_is_masked_even_where_nothing_is_wrong() -> None:
    document, problems = checked("providers:\n lab: {endpoint: 'http://x', passphrase: hushhush}\n")
    assert problems == []
    assert f"passphrase: {MASK * 8}}}" in document.sources["providers.yaml"]


def test_a_reference_is_not_a_secret() -> None:
    document, _ = checked("providers:\n lab: {endpoint: 'http://x', passphrase: '${env:PASS}'}\n")
    assert "${env:PASS}" in document.sources["providers.yaml"]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["", "a", "discover", "http://x", "5s", "local"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "price", "name", "zone", "x", "mock", "preset"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["version", "providers", "pipeline", "tasks", "extra"]),
        values | st.dictionaries(st.sampled_from(["lab", "cost", "x-a", "B"]), values, max_size=3),
        min_size=1,
    )
)
def test_a_document_is_good_exactly_if_the_validator_says_so(data: dict[str, Any]) -> None:
    document, problems = parse_document(json.dumps(data).encode(), "f")
    assert document is not None
    assert not problems
    found = SCHEMA.validate(document)
    assert bool(found) is not Draft202012Validator(BODY).is_valid(data)
    assert format_text(found, document.sources).endswith("\n") is bool(found)


@pytest.mark.parametrize("name", ["providers", "routing"])
def test_the_shipped_schemas_are_found_and_are_schemas(name: SchemaName) -> None:
    body = json.loads(schema_bytes(name))
    Draft202012Validator.check_schema(body)
    assert shipped_schema(name).file == f"{name}.v1.json"
    assert shipped_schema(name) is shipped_schema(name)


def test_a_file_is_checked_against_the_shipped_schema_of_its_name() -> None:
    document, _ = parse_document(
        b"version: 1\nproviders: {openai: {api_key: hush-hush-hush, endpont: x}}\n", "p.yaml"
    )
    assert document is not None
    (problem,) = validate(document, "providers")
    assert told(problem) == (
        "LP101",
        "unknown key `endpont` in provider `openai`",
        "did you mean `endpoint`?",
    )
    assert "hush" not in document.sources["p.yaml"]
