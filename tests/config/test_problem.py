"""Problems: order, repeats, and the cap on how many are shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.problem import (
    MAX_PROBLEMS,
    Problem,
    Severity,
    Span,
    cap_problems,
    has_errors,
    sort_problems,
)


def problem(
    line: int, severity: Severity = Severity.ERROR, file: str = "a.yaml", code: str = "LP101"
) -> Problem:
    return Problem(code, severity, f"line {line}", Span(file, line, 1, 2))


problems = st.lists(
    st.builds(
        problem,
        st.integers(1, 200),
        st.sampled_from(Severity),
        st.sampled_from(["a.yaml", "b.yaml"]),
        st.sampled_from(["LP101", "LP102"]),
    ),
    max_size=120,
)


def test_problems_are_read_by_file_then_line() -> None:
    late, early, other = problem(20), problem(3), problem(1, file="b.yaml")
    assert sort_problems([other, late, early]) == [early, late, other]


def test_a_problem_without_a_place_comes_first() -> None:
    nowhere = Problem("LP002", Severity.ERROR, "missing")
    assert sort_problems([problem(1), nowhere])[0] is nowhere


def test_on_one_spot_an_error_comes_before_a_warning() -> None:
    warning, error = problem(1, Severity.WARNING, code="LP001"), problem(1, code="LP999")
    assert sort_problems([warning, error]) == [error, warning]


def test_the_same_problem_is_told_once() -> None:
    assert sort_problems([problem(1), problem(1)]) == [problem(1)]


def test_only_errors_are_errors() -> None:
    assert has_errors([problem(1, Severity.WARNING), problem(2)])
    assert not has_errors([problem(1, Severity.WARNING)])


def test_the_cap_says_how_many_are_missing() -> None:
    shown = cap_problems([problem(line) for line in range(1, 61)])
    assert len(shown) == MAX_PROBLEMS
    assert shown[-1].notes == ("10 more not shown; fix these and check again",)
    assert all(not each.notes for each in shown[:-1])


def test_repeats_do_not_count_towards_the_cap() -> None:
    assert cap_problems([problem(1)] * 80) == [problem(1)]


@given(problems, st.integers(1, 40))
def test_no_error_is_left_out_while_a_warning_stays(found: list[Problem], limit: int) -> None:
    shown = cap_problems(found, limit)
    unique = set(found)
    errors = sum(each.severity is Severity.ERROR for each in unique)
    shown_errors = sum(each.severity is Severity.ERROR for each in shown)
    assert len(shown) == min(limit, len(unique))
    assert shown_errors == min(limit, errors)
    assert [each.span for each in shown] == [each.span for each in sort_problems(shown)]


def test_a_span_reads_like_a_place_an_editor_opens() -> None:
    assert str(Span("providers.yaml", 9, 5, 11)) == "providers.yaml:9:5"
    assert Span("f", 1, 1, 2).labelled("here").label == "here"
