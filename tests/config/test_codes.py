"""The list of codes is complete in itself: every page can be shown, every example can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmproxyd.config import codes as codes_module
from llmproxyd.config.codes import CODES, Code, explain_code
from llmproxyd.config.document import parse_document

YAML_EXAMPLES = [
    (code, example)
    for code in CODES.values()
    for example in (code.good, *([] if code.code in ("LP001", "LP005", "LP006") else [code.bad]))
    if not example.lstrip().startswith("$") and not example.startswith("when:")
]


@pytest.mark.parametrize("code", CODES.values(), ids=list(CODES))
def test_every_code_has_a_whole_page(code: Code) -> None:
    assert re.fullmatch(r"LP[0-7]\d\d", code.code)
    assert code.title
    assert not code.title.endswith(".")
    assert code.cause.endswith(".")
    assert len(code.cause) > 60
    assert code.bad != code.good
    page = explain_code(code.code)
    assert page is not None
    assert page.startswith(f"{code.code}: {code.title}\n")
    assert code.cause in page
    for example in (code.bad, code.good):
        assert all(f"    {line}" in page for line in example.splitlines() if line.strip())


def test_a_code_is_found_in_any_case() -> None:
    assert explain_code(" lp101 ") == explain_code("LP101")


def test_an_unknown_code_has_no_page() -> None:
    assert explain_code("LP999") is None


def test_codes_are_listed_in_order() -> None:
    assert list(CODES) == sorted(CODES)


@pytest.mark.parametrize(("code", "example"), YAML_EXAMPLES, ids=[code.code for code, _ in YAML_EXAMPLES])
def test_examples_are_yaml(code: Code, example: str) -> None:
    for part in re.split(r"^# \S+\.yaml\n", example, flags=re.MULTILINE):
        if not part.strip():
            continue
        document, problems = parse_document(part.encode(), "example.yaml")
        expected = {code.code} if example is code.bad and code.code in ("LP003", "LP004") else set()
        assert document is not None
        assert {problem.code for problem in problems} == expected


@pytest.mark.parametrize("name", ["LP001", "LP005", "LP006"])
def test_examples_of_unreadable_files_are_refused_with_their_code(name: str) -> None:
    _, problems = parse_document(CODES[name].bad.encode(), "example.yaml")
    assert [problem.code for problem in problems] == [name]


def test_every_code_in_the_source_has_a_page() -> None:
    source = Path(codes_module.__file__).parents[1]
    written = {code for path in source.rglob("*.py") for code in re.findall(r'"(LP\d{3})"', path.read_text())}
    assert written <= set(CODES)
    assert "LP000" in written
