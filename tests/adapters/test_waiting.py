from __future__ import annotations

from typing import Any

import pytest

from llmproxyd.adapters.waiting import find_retry_after_s, parse_duration_s

DATE = {"date": "Sat, 21 Nov 2026 08:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "6m0s"}, 360.0),
        ({"retry-after-ms": "850"}, 0.85),
        ({"retry-after-ms": "850", "retry-after": "1"}, 0.85),
        ({"retry-after": "Sat, 21 Nov 2026 08:00:30 GMT", **DATE}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 07:00:00 GMT", **DATE}, 0.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}, None),
        (
            {
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "850ms",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2s",
            },
            2.0,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-21T08:00:05Z",
                **DATE,
            },
            5.0,
        ),
        ({"x-ratelimit-reset": "1795248010", **DATE}, 10.0),
        ({"x-ratelimit-reset": "1795248010000", **DATE}, 10.0),
        ({"x-ratelimit-reset": "12"}, 12.0),
        # An instant without the answer's own date, or nonsense, is no hint.
        ({"retry-after": "Sat, 21 Nov 2026 08:00:30 GMT"}, None),
        ({"x-ratelimit-reset": "1795248010"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "nan"}, None),
        ({"x-ratelimit-reset": "1e300", **DATE}, None),
        ({}, None),
    ],
)
def test_every_header_form_gives_seconds(headers: dict[str, str], expected_s: float | None) -> None:
    assert find_retry_after_s(headers, None, "") == (
        None if expected_s is None else pytest.approx(expected_s)
    )


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("Please try again in 1.2s.", 1.2),
        ("Please try again in 20s", 20.0),
        ("try again in 1.2 s", 1.2),
        ("try again in 500ms", 0.5),
        ("Please retry after 6 seconds.", 6.0),
        ("Please try again in 1m20s. Visit us.", 80.0),
        ("Retry in 2 minutes", 120.0),
        ("Please try again later", None),
        ("try again in 20 steps", None),
    ],
)
def test_words_are_read_where_no_header_says_it(text: str, expected_s: float | None) -> None:
    assert find_retry_after_s({}, None, text) == (None if expected_s is None else pytest.approx(expected_s))


@pytest.mark.parametrize(
    ("document", "expected_s"),
    [
        ({"error": {"details": [{"@type": "x"}, {"retryDelay": "37s"}]}}, 37.0),
        ({"error": {"details": [{"retryDelay": "x"}]}}, None),
        ({"error": {"details": 7}}, None),
        ({"error": "x"}, None),
        ([], None),
    ],
)
def test_retry_info_in_the_body_is_read(document: Any, expected_s: float | None) -> None:
    assert find_retry_after_s({}, document, "") == expected_s


def test_what_is_said_outright_wins_over_what_is_inferred() -> None:
    spent = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m"}
    assert find_retry_after_s({**spent, "retry-after": "2"}, None, "try again in 9s") == 2.0
    assert find_retry_after_s(spent, None, "try again in 9s") == 9.0


@pytest.mark.parametrize(
    ("text", "expected_s"), [("1h2m3s", 3723.0), ("850ms", 0.85), ("", None), ("5", None), ("x1s", None)]
)
def test_durations_are_read_whole_or_not_at_all(text: str, expected_s: float | None) -> None:
    assert parse_duration_s(text) == expected_s
