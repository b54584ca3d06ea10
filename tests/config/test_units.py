"""Quantities as people write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.units import (
    parse_count,
    parse_duration_s,
    parse_share,
    parse_size_bytes,
    parse_usd_nanos,
)

GOOD: list[tuple[Callable[[object], float], object, float]] = [
    (parse_duration_s, "250ms", 0.25),
    (parse_duration_s, "30s", 30),
    (parse_duration_s, "5m", 300),
    (parse_duration_s, "2h", 7200),
    (parse_duration_s, "7d", 604_800),
    (parse_duration_s, "1.5 s", 1.5),
    (parse_duration_s, 0.1, 0.1),
    (parse_duration_s, 10, 10),
    (parse_duration_s, "10", 10),
    (parse_duration_s, 0, 0),
    (parse_size_bytes, "64KiB", 65_536),
    (parse_size_bytes, "1.5MiB", 1_572_864),
    (parse_size_bytes, "10MB", 10_000_000),
    (parse_size_bytes, "1_000", 1000),
    (parse_size_bytes, 512, 512),
    (parse_share, "10%", 0.1),
    (parse_share, "100%", 1),
    (parse_share, "0.1", 0.1),
    (parse_share, 0.1, 0.1),
    (parse_share, 1, 1),
    (parse_count, "400_000", 400_000),
    (parse_count, 400_000, 400_000),
    (parse_count, 1e3, 1000),
    (parse_usd_nanos, 0.20, 200_000_000),
    (parse_usd_nanos, "0.20", 200_000_000),
    (parse_usd_nanos, "$15", 15_000_000_000),
    (parse_usd_nanos, "15 USD", 15_000_000_000),
    (parse_usd_nanos, 0.000_000_001, 1),
    (parse_usd_nanos, 1e-9, 1),
]

BAD: list[tuple[Callable[[object], float], object, str]] = [
    (parse_duration_s, "soon", "expected a duration such as 250ms, 30s, 5m, 2h or 7d"),
    (
        parse_duration_s,
        "5 minutes",
        "unknown unit `minutes`: expected a duration such as 250ms, 30s, 5m, 2h or 7d",
    ),
    (parse_duration_s, "-1s", "expected a duration such as 250ms, 30s, 5m, 2h or 7d, not a negative number"),
    (parse_duration_s, -1, "expected a duration such as 250ms, 30s, 5m, 2h or 7d, not a negative number"),
    (parse_duration_s, float("nan"), "expected a duration such as 250ms, 30s, 5m, 2h or 7d, not nan"),
    (parse_duration_s, float("inf"), "expected a duration such as 250ms, 30s, 5m, 2h or 7d, not inf"),
    (parse_duration_s, "4000d", "a duration may be ten years at most"),
    (parse_duration_s, True, "expected a duration such as 250ms, 30s, 5m, 2h or 7d"),
    (parse_duration_s, None, "expected a duration such as 250ms, 30s, 5m, 2h or 7d"),
    (parse_duration_s, "", "expected a duration such as 250ms, 30s, 5m, 2h or 7d"),
    (parse_duration_s, "1" * 5000 + "s", "expected a duration such as 250ms, 30s, 5m, 2h or 7d"),
    (parse_size_bytes, "1.5B", "expected a whole number of bytes"),
    (parse_size_bytes, "1PB", "unknown unit `PB`: expected a size such as 512B, 64KiB, 10MB or 1GiB"),
    (parse_size_bytes, "99999999999TiB", "the number is too large"),
    (parse_share, 10, "a share lies between 0 and 1 (0% and 100%); for 10 percent write 10%"),
    (parse_share, "120%", "a share lies between 0 and 1 (0% and 100%)"),
    (parse_share, "0.1s", "unknown unit `s`: expected a share such as 10% or 0.1"),
    (parse_count, "4k", "expected a whole number such as 500 or 400_000"),
    (parse_count, "1.5", "expected a whole number such as 500 or 400_000"),
    (parse_count, 1.5, "expected a whole number such as 500 or 400_000"),
    (parse_count, 2**70, "the number is too large"),
    (parse_usd_nanos, "1 EUR", "unknown unit `EUR`: expected an amount in USD such as 0.20 or 15"),
    (parse_usd_nanos, "0.0000000001", "expected at most nine decimals"),
    (parse_usd_nanos, 1e300, "the number is too large"),
    (parse_usd_nanos, [1], "expected an amount in USD such as 0.20 or 15"),
]


@pytest.mark.parametrize(("parse", "written", "meant"), GOOD)
def test_what_people_write_means_what_they_mean(
    parse: Callable[[object], float], written: object, meant: float
) -> None:
    assert parse(written) == meant


@pytest.mark.parametrize(("parse", "written", "message"), BAD)
def test_what_cannot_be_meant_is_refused_in_a_sentence(
    parse: Callable[[object], float], written: object, message: str
) -> None:
    with pytest.raises(ValueError) as refused:
        parse(written)
    assert str(refused.value) == message


@given(st.integers(0, 9_000_000_000 * 10**9))
def test_money_is_exact_to_the_nano(nanos: int) -> None:
    whole, rest = divmod(nanos, 10**9)
    assert parse_usd_nanos(f"{whole}.{rest:09d}") == nanos


@given(st.integers(0, 2**63 - 1))
def test_counts_survive_with_and_without_separators(count: int) -> None:
    assert parse_count(count) == count
    assert parse_count(f"{count:_}") == count


def read_or_refuse(parse: Callable[[object], float], written: object) -> float | str:
    try:
        return parse(written)
    except ValueError as refused:
        return str(refused)


@given(st.one_of(st.text(max_size=60), st.floats(), st.integers()))
def test_anything_is_read_or_refused_with_a_sentence(written: object) -> None:
    for parse in (parse_duration_s, parse_size_bytes, parse_share, parse_count, parse_usd_nanos):
        got = read_or_refuse(parse, written)
        assert (got and "\n" not in got) if isinstance(got, str) else 0 <= got < 2**63
