"""Files become data that knows its places; several files become one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.document import Document, masked_source, merge_documents, parse_document
from llmproxyd.config.mask import MASK
from llmproxyd.config.nodes import MAX_DEPTH
from llmproxyd.config.places import Path
from llmproxyd.config.problem import Problem, Span

SAMPLE = """\
version: 1
providers:
  openai:
    endpoint: https://api.openai.com/v1   # the usual
    models:
      - gpt
      - {id: mini, price: {input: 0.2}}

  "azure eu": {enabled: false,
    zone: private}
"""


def read(text: str | bytes, file: str = "f.yaml") -> Document:
    document, problems = parse_document(text.encode() if isinstance(text, str) else text, file)
    assert not problems
    assert document is not None
    return document


def only_problem(text: str | bytes) -> Problem:
    _, problems = parse_document(text.encode() if isinstance(text, str) else text, "f.yaml")
    (problem,) = problems
    return problem


def place(span: Span) -> tuple[int, int, int | None, int]:
    return span.line, span.column, span.end_line, span.end_column


def test_data_is_plain() -> None:
    assert read(SAMPLE).data == {
        "version": 1,
        "providers": {
            "openai": {
                "endpoint": "https://api.openai.com/v1",
                "models": ["gpt", {"id": "mini", "price": {"input": 0.2}}],
            },
            "azure eu": {"enabled": False, "zone": "private"},
        },
    }


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("version",), (1, 1, None, 8), (1, 10, None, 11)),
        (("providers", "openai"), (3, 3, None, 9), (4, 5, 7, 40)),
        (("providers", "openai", "endpoint"), (4, 5, None, 13), (4, 15, None, 40)),
        (("providers", "openai", "models", 0), (6, 9, None, 12), (6, 9, None, 12)),
        (("providers", "openai", "models", 1, "price", "input"), (7, 28, None, 33), (7, 35, None, 38)),
        (("providers", "azure eu"), (9, 3, None, 13), (9, 15, 10, 19)),
        (("providers", "azure eu", "zone"), (10, 5, None, 9), (10, 11, None, 18)),
    ],
)
def test_every_key_and_value_knows_its_place(
    path: Path, key: tuple[int, ...], value: tuple[int, ...]
) -> None:
    document = read(SAMPLE)
    assert place(document.key_span(path)) == key
    assert place(document.value_span(path)) == value


def test_a_path_that_is_not_there_falls_back_to_what_is_around_it() -> None:
    document = read(SAMPLE)
    assert document.key_span(("providers", "openai", "zone", "x")) == document.key_span(
        ("providers", "openai")
    )
    assert document.value_span(("nothing",)).line == 1


def test_what_an_alias_stands_for_is_placed_where_the_alias_is() -> None:
    document = read("a: &x {b: [1, 2]}\nc: *x\n")
    assert document.data["c"] == {"b": [1, 2]}
    assert place(document.value_span(("c", "b", 1))) == (2, 4, None, 6)
    assert place(document.value_span(("a", "b", 1))) == (1, 15, None, 16)


def test_keys_stay_as_written() -> None:
    assert read("on: 1\n404: 2\nnull: 3\n'a b': 4\n").data == {"on": 1, "404": 2, "null": 3, "a b": 4}


def test_a_quoted_scalar_is_a_text() -> None:
    document = read("""a: "1"\nb: 'true'\nc: |\n  5\nd: 5\ne: !!str 5\n""")
    assert document.data == {"a": "1", "b": "true", "c": "5\n", "d": 5, "e": "5"}
    assert [document.is_quoted((key,)) for key in "abcd"] == [True, True, False, False]


def test_columns_count_characters_even_after_wide_ones_and_a_byte_order_mark() -> None:
    document = read(b"\xef\xbb\xbf" + "日本: {ключ: x}\r\nb: 1\r\n".encode())
    assert place(document.value_span(("日本", "ключ"))) == (1, 12, None, 13)
    assert place(document.key_span(("b",))) == (2, 1, None, 2)


REFUSED = [
    ("", "LP006", "the file is empty"),
    ("# only a comment\n\n", "LP006", "the file is empty"),
    ("---\n", "LP006", "the file is empty"),
    ("- a\n", "LP102", "expected a mapping at the top level, found a list"),
    ("just words\n", "LP102", "expected a mapping at the top level, found a single value"),
    ("a: 1\n---\nb: 2\n", "LP001", "a second YAML document"),
    ("? [a]\n: b\n", "LP001", "a key must be a text"),
    ("a: &k x\n*k : y\n", "LP001", "a key must be a text"),
    ("a: " + "[" * 100, "LP007", f"nested more than {MAX_DEPTH} levels deep"),
]


@pytest.mark.parametrize(("text", "code", "message"), REFUSED)
def test_what_is_no_configuration_gives_no_document(text: str, code: str, message: str) -> None:
    document, (problem,) = parse_document(text.encode(), "f.yaml")
    assert document is None
    assert (problem.code, problem.message) == (code, message)
    assert problem.span is not None


FAULTY = [
    ("a: {<<: {b: 1}}", "LP001", "merge keys (`<<`) are not supported", (1, 5)),
    ("a: !secret x", "LP001", "YAML tags such as `!secret` are not supported", (1, 4)),
    (
        "a: !!python/object:os.system {}",
        "LP001",
        "YAML tags such as `!!python/object:os.system` are not supported",
        (1, 4),
    ),
    ("a: *nobody", "LP001", "alias `*nobody` has no anchor `&nobody` before it", (1, 4)),
    ("a: &x [1, *x]", "LP004", "alias `*x` contains itself", (1, 11)),
]


@pytest.mark.parametrize(("text", "code", "message", "where"), FAULTY)
def test_features_that_are_not_supported_are_named(
    text: str, code: str, message: str, where: tuple[int, int]
) -> None:
    problem = only_problem(text)
    assert (problem.code, problem.message) == (code, message)
    assert problem.helps
    assert (problem.span and (problem.span.line, problem.span.column)) == where


def test_a_quoted_merge_sign_is_only_a_key() -> None:
    assert read("'<<': {b: 1}").data == {"<<": {"b": 1}}


def test_a_misspelt_alias_gets_a_suggestion() -> None:
    assert only_problem("a: &shared 1\nb: *shraed\n").helps == ("did you mean `*shared`?",)


def test_a_duplicate_key_names_both_lines_and_the_first_value_stays() -> None:
    document, (problem,) = parse_document(
        b"providers:\n  lab:\n    zone: local\n    x: 1\n    zone: external\n", "f"
    )
    assert document is not None
    assert document.data["providers"]["lab"]["zone"] == "local"
    assert (problem.code, problem.message) == ("LP003", "duplicate key `zone` in provider `lab`")
    assert (problem.span and place(problem.span)) == (5, 5, None, 9)
    assert [place(span) for span in problem.secondary] == [(3, 5, None, 9)]


def test_a_duplicate_in_a_rule_names_the_rule() -> None:
    text = "pipeline:\n  cost:\n    - {rank_by: a, rank_by: b, name: cheap}\n"
    assert only_problem(text).message == "duplicate key `rank_by` in rule `cheap`"


def test_all_faults_of_a_file_are_told_at_once() -> None:
    text = "a: 1\na: 2\nb: !x 1\nc: *d\n<<: {}\ne: {f: 1, f: 2}\n"
    _, problems = parse_document(text.encode(), "f")
    assert [(problem.code, problem.span and problem.span.line) for problem in problems] == [
        ("LP003", 2),
        ("LP001", 3),
        ("LP001", 4),
        ("LP001", 5),
        ("LP003", 6),
    ]


def bomb(levels: int) -> bytes:
    lines = ["l0: &l0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


def test_an_alias_bomb_is_refused() -> None:
    document, (problem,) = parse_document(bomb(8), "f")
    assert document is None
    assert problem.code == "LP004"


def test_a_few_aliases_of_aliases_are_fine() -> None:
    assert read(bomb(3)).data["l2"][8][8] == [1] * 9


def test_more_values_than_any_configuration_needs_are_refused() -> None:
    document, (problem,) = parse_document(b"a: [" + b"1," * 260_000 + b"1]", "f")
    assert document is None
    assert (problem.code, problem.message) == ("LP007", "more than 250,000 keys and values")


# Outside these, JSON and YAML differ: YAML has no surrogate pairs and no raw control characters.
texts = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs", "Cc"]), max_size=8)
json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(texts, json_like, min_size=1, max_size=4))
def test_json_reads_as_itself(data: dict[str, Any]) -> None:
    assert read(json.dumps(data)).data == data


@given(st.lists(texts, min_size=1, max_size=5))
def test_places_lie_on_what_they_name(values: list[str]) -> None:
    text = yaml.safe_dump({f"k{n}": [{"x": value}] for n, value in enumerate(values)}, allow_unicode=True)
    document = read(text)
    lines = re.split("[\n\x85\u2028\u2029]", text)
    for name in document.data:
        for path in ((name,), (name, 0, "x")):
            span = document.key_span(path)
            assert lines[span.line - 1][span.column - 1 : span.end_column - 1] == path[-1]


def merged(*texts: str) -> tuple[Document, list[Problem]]:
    return merge_documents([read(text, f"{n}.yaml") for n, text in enumerate(texts)])


def test_one_file_merges_to_itself() -> None:
    document = read(SAMPLE)
    assert merge_documents([document]) == (document, [])


def test_fragments_merge_key_by_key_and_keep_their_places() -> None:
    document, problems = merged(
        "version: 1\nproviders: {a: {x: 1}}\n", "version: 1\nproviders:\n  b: {y: 2}\n  a: {z: 3}\n"
    )
    assert not problems
    assert document.data == {"version": 1, "providers": {"a": {"x": 1, "z": 3}, "b": {"y": 2}}}
    assert str(document.value_span(("providers", "a", "z"))) == "1.yaml:4:10"
    assert str(document.key_span(("providers", "a"))) == "0.yaml:2:13"
    assert document.file == "0.yaml"
    assert set(document.sources) == {"0.yaml", "1.yaml"}


def test_stages_are_joined_in_the_order_of_the_files() -> None:
    document, problems = merged(
        "pipeline: {cost: [{name: a}]}",
        "pipeline: {cost: [{name: b}], privacy: [{name: p}]}",
        "pipeline: {cost: [{name: c}]}",
    )
    assert not problems
    assert document.data["pipeline"] == {
        "cost": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
        "privacy": [{"name": "p"}],
    }
    assert document.value_span(("pipeline", "cost", 2, "name")).file == "2.yaml"


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("providers: {a: {x: 1}}", "providers: {a: {x: 2}}", "`x` of provider `a` is set in two files"),
        ("providers: {a: {x: 1}}", "providers: {a: {x: 1}}", "`x` of provider `a` is set in two files"),
        ("models: {m: [a]}", "models: {m: [b]}", "name `m` is set in two files"),
        ("providers: {a: {x: 1}}", "providers: {a: [1]}", "provider `a` is set in two files"),
        ("version: 1", "version: 2", "`version` is set in two files"),
        ("version: 1", "version: true", "`version` is set in two files"),
    ],
)
def test_the_same_setting_in_two_files_is_a_conflict(one: str, other: str, message: str) -> None:
    document, (problem,) = merged(one, other)
    assert (problem.code, problem.message) == ("LP008", message)
    assert problem.span is not None
    assert problem.span.file == "1.yaml"
    assert [span.file for span in problem.secondary] == ["0.yaml"]
    assert document.data == read(one).data


def test_a_fragment_may_add_to_what_an_alias_stands_for_without_changing_its_anchor() -> None:
    document, problems = merged("a: &x {one: {v: 1}}\nb: *x\n", "b: {two: {w: 2}}")
    assert not problems
    assert document.data == {"a": {"one": {"v": 1}}, "b": {"one": {"v": 1}, "two": {"w": 2}}}
    assert str(document.value_span(("b", "one", "v"))) == "0.yaml:2:4"


def test_merging_leaves_the_files_as_they_were() -> None:
    one, other = read("p: {a: {x: 1}}", "one"), read("p: {a: {y: 1}}", "other")
    merge_documents([one, other])
    assert one.data == {"p": {"a": {"x": 1}}}
    assert other.data == {"p": {"a": {"y": 1}}}


SECRETS = """\
providers:
  openai:
    api_key: sk-one
    headers: {x-team: two, authorization: "Bearer three"}
    note: hello   # old key: four
  lab:
    api_key: &k
      "five
      six"
    apikye: seven
    endpoint: http://user:eight@host/v1
  other: {api_key: *k, key: "${env:KEY}", password: nine, secret: [ten, {deep: eleven}]}
  last: {api_key: twelve, api_key: thirteen}
"""
NUMBERS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
]


def test_no_credential_and_no_comment_is_in_what_is_shown() -> None:
    document, _ = parse_document(SECRETS.encode(), "f")
    assert document is not None
    shown = document.sources["f"]
    assert [number for number in NUMBERS if number in shown] == []
    assert "${env:KEY}" in shown
    assert "note: hello" in shown
    assert [len(line) for line in shown.splitlines()] == [len(line) for line in SECRETS.splitlines()]


def test_a_credential_is_secret_by_its_path_also_through_an_alias() -> None:
    document, _ = parse_document(SECRETS.encode(), "f")
    assert document is not None
    for path in (
        ("providers", "openai", "api_key"),
        ("providers", "openai", "headers", "x-team"),
        ("providers", "other", "api_key"),
        ("providers", "other", "secret", 1, "deep"),
    ):
        assert document.is_secret(path)
    assert not document.is_secret(("providers", "openai", "note"))
    assert not document.is_secret(("providers", "nobody"))


def test_values_named_later_are_hidden_wherever_they_stand() -> None:
    document = read("a: hush\nb: [hush, loud]\nc: '${env:X}'\n")
    document.hide_values(["hush", "", "${env:X}"])
    assert document.sources["f.yaml"].replace(MASK, "*") == "a: ****\nb: [****, loud]\nc: '${env:X}'\n"
    assert document.is_secret(("b", 0))
    assert not document.is_secret(("c",))


def test_a_hidden_value_stays_hidden_after_a_merge() -> None:
    one, other = read("a: hush", "one"), read("b: hush\nc: 5", "other")
    one.hide_values(["hush"])
    other.hide(("c",))
    document, _ = merge_documents([one, other])
    assert {file: text.replace(MASK, "*") for file, text in document.sources.items()} == {
        "one": "a: ****",
        "other": "b: ****\nc: *",
    }


def test_the_source_of_a_broken_file_is_masked_too() -> None:
    shown = masked_source(b'\xef\xbb\xbfa: [\napi_key: sk-one\n  two\nb: "x\n# three\n')
    assert shown.replace(MASK, "*") == 'a: [\napi_key: ******\n*****\nb: "x\n       \n'
