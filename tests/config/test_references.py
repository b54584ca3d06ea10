from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.document import parse_document
from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.config.references import MAX_REFERENCED_BYTES, Resolved, resolve_references


def resolve(
    text: str, config_dir: Path = Path("/nowhere"), environ: Mapping[str, str] | None = None
) -> Resolved:
    document, problems = parse_document(text.encode(), "providers.yaml")
    assert document is not None
    assert not problems
    return resolve_references(document, environ=environ or {}, config_dir=config_dir)


def only(resolved: Resolved) -> Problem:
    (problem,) = resolved.problems
    return problem


def test_a_variable_is_put_in_place_of_its_reference() -> None:
    resolved = resolve(
        "endpoint: ${env:HOST}\nother: a lone $ and ${ are data\n", environ={"HOST": "http://h"}
    )
    assert resolved.document.data == {"endpoint": "http://h", "other": "a lone $ and ${ are data"}
    assert resolved.problems == []
    assert resolved.written == {("endpoint",): "${env:HOST}"}


def test_the_document_itself_stays_as_it_was_written() -> None:
    document, _ = parse_document(b"x: ${env:A}\n", "f")
    assert document is not None
    resolved = resolve_references(document, environ={"A": "1"}, config_dir=Path("/"))
    assert document.data == {"x": "${env:A}"}
    assert resolved.document.data == {"x": 1}
    assert resolved.document.value_span(("x",)) == document.value_span(("x",))


@pytest.mark.parametrize(
    ("environ", "value"), [({}, "fallback"), ({"A": ""}, "fallback"), ({"A": "set"}, "set")]
)
def test_a_default_stands_in_for_what_is_unset_or_empty(environ: dict[str, str], value: str) -> None:
    assert resolve("x: ${env:A:-fallback}", environ=environ).document.data == {"x": value}


def test_a_default_may_be_a_url_with_colons() -> None:
    resolved = resolve("endpoint: ${env:A:-http://localhost:11434}")
    assert resolved.document.data == {"endpoint": "http://localhost:11434"}


def test_an_empty_default_is_an_empty_text() -> None:
    assert resolve('x: "${env:A:-}"').document.data == {"x": ""}


def test_a_number_from_the_environment_is_a_number_but_a_key_stays_a_text() -> None:
    environ = {"N": "8", "B": "true", "F": "0.5", "K": "12345", "NO": "null"}
    resolved = resolve(
        "n: ${env:N}\nb: ${env:B}\nf: ${env:F}\nno: ${env:NO}\napi_key: ${env:K}\nheaders: {x: '${env:K}'}\n",
        environ=environ,
    )
    assert resolved.document.data == {
        "n": 8,
        "b": True,
        "f": 0.5,
        "no": "null",
        "api_key": "12345",
        "headers": {"x": "12345"},
    }


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
def test_what_a_reference_gives_is_never_resolved_again(value: str) -> None:
    resolved = resolve("providers: {p: {api_key: '${env:A}'}}", environ={"A": value, "B": "inner"})
    assert resolved.document.data == {"providers": {"p": {"api_key": value}}}


def test_a_reference_in_a_value_is_data() -> None:
    resolved = resolve("endpoint: ${env:A}", environ={"A": "${env:B}", "B": "inner"})
    assert resolved.document.data == {"endpoint": "${env:B}"}


def test_an_unset_key_of_a_provider_is_no_fault() -> None:
    resolved = resolve("providers: {openai: {api_key: '${env:MY_KEY}', models: [x]}}")
    assert resolved.problems == []
    assert resolved.unset == {("providers", "openai", "api_key"): "MY_KEY"}
    assert resolved.document.data == {"providers": {"openai": {"models": ["x"]}}}


def test_anything_else_unset_is_told_with_the_name_that_may_be_meant() -> None:
    problem = only(resolve("endpoint: ${env:MY_HOTS}", environ={"MY_HOST": "x"}))
    assert (problem.code, problem.severity) == ("LP208", Severity.ERROR)
    assert problem.message == "environment variable `MY_HOTS` is not set"
    assert problem.span == Span("providers.yaml", 1, 11, 25, "unresolved reference")
    assert problem.notes == ("`MY_HOST` is set - did you mean that?",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x: ${OPENAI_API_KEY}", "write `${env:OPENAI_API_KEY}`"),
        ("x: Bearer ${env:KEY}", "cannot be part of a longer text"),
        ("x: ${env:A}${env:B}", "cannot be part of a longer text"),
        ("x: ${evn:A}", "did you mean `env`?"),
        ("x: ${keyring:a}", "known are ${env:NAME}"),
        ("x: ${env:}", "write ${env:NAME}"),
        ("x: ${env:a b}", "write ${env:NAME}"),
    ],
)
def test_what_looks_like_a_reference_and_is_none_is_told(text: str, says: str) -> None:
    problem = only(resolve(text, environ={"KEY": "v", "A": "v", "B": "v"}))
    assert problem.code == "LP208"
    assert any(says in help_ for help_ in problem.helps)


def test_a_file_gives_its_one_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-file\n")
    resolved = resolve(f"a: ${{file:{tmp_path}/key}}\nb: ${{file:key}}\n", tmp_path)
    assert resolved.document.data == {"a": "sk-file", "b": "sk-file"}
    assert resolved.files == {str(tmp_path / "key")}


def test_credentials_come_from_the_directory_given_then_from_beside_the_files(tmp_path: Path) -> None:
    given, own = tmp_path / "given", tmp_path / "credentials"
    given.mkdir()
    own.mkdir()
    (own / "key").write_text("own")
    environ = {"CREDENTIALS_DIRECTORY": str(given)}
    assert resolve("x: ${cred:key}", tmp_path, environ).document.data == {"x": "own"}
    (given / "key").write_text("given")
    assert resolve("x: ${cred:key}", tmp_path, environ).document.data == {"x": "given"}


def test_a_missing_credential_says_where_it_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "openai-api-key").write_text("x")
    resolved = resolve("providers: {p: {api_key: '${cred:openai_api_key}'}}", tmp_path)
    problem = only(resolved)
    assert (problem.code, problem.message) == ("LP601", "credential `openai_api_key` not found")
    assert problem.notes == (
        f"searched: $CREDENTIALS_DIRECTORY/openai_api_key (unset), {tmp_path}/credentials/openai_api_key (absent)",
        f"`openai-api-key` exists in {tmp_path}/credentials - did you mean that?",
    )
    assert str(tmp_path / "credentials" / "openai_api_key") in resolved.files


@pytest.mark.parametrize("name", ["../key", "/etc/passwd", ".", "..", ".hidden", "", "a b"])
def test_a_credential_is_a_name_and_never_a_path(name: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("outside")
    (tmp_path / "credentials").mkdir()
    problem = only(resolve(f'x: "${{cred:{name}}}"', tmp_path))
    assert (problem.code, problem.message) == ("LP601", "this is not the name of a credential")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"two\nlines", "more than one line"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * (MAX_REFERENCED_BYTES + 1), "is larger than 64 KiB"),
    ],
)
def test_a_file_that_holds_no_key_is_told_without_its_content(
    content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(content)
    problem = only(resolve("x: ${file:key}", tmp_path))
    assert problem.code == "LP601"
    assert says in problem.message


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "openai.key").write_text("x")
    problem = only(resolve("x: ${file:opneai.key}", tmp_path))
    assert problem.message == "file `opneai.key` is absent"
    assert problem.notes == (f"`openai.key` exists in {tmp_path} - did you mean that?",)


def test_a_pipe_nobody_writes_to_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in only(resolve("x: ${file:pipe}", tmp_path)).message
    assert "not a regular file" in only(resolve("x: ${file:/dev/null}", tmp_path)).message
    assert only(resolve(f"x: ${{file:{tmp_path}}}", tmp_path)).code == "LP601"


def test_a_path_the_system_cannot_even_look_up_is_told() -> None:
    assert "cannot be read" in only(resolve(f"x: ${{file:/{'n' * 300}}}")).message


def test_words_about_a_value_never_hold_the_value() -> None:
    resolved = resolve("endpoint: ${env:KEY}", environ={"KEY": "sk-very-secret-value"})
    span = Span("providers.yaml", 1, 1, 2, 'found "sk-very-secret-value"')
    problem = Problem(
        "LP206", Severity.ERROR, "bad sk-very-secret-value", span, (span,), ("sk-very-secret-value",), ()
    )
    scrubbed = resolved.scrub(problem)
    assert "secret-value" not in repr(scrubbed)
    assert scrubbed.message == "bad ${env:KEY}"


def test_short_words_from_the_environment_do_not_garble_what_is_said() -> None:
    resolved = resolve("zone: ${env:ZONE}\nx: ${env:KIND}", environ={"ZONE": "local", "KIND": "a"})
    problem = Problem("LP104", Severity.ERROR, "unknown value `local`", None)
    assert resolved.scrub(problem) == problem
