"""Limits as they are written, and whether what they allow is of any use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.values.snapshot import Limits
from tests.config.building import build, codes_of, only_problem, provider_of

LAB = "providers: {{lab: {{preset: vllm, endpoint: 'http://127.0.0.1:1', {row}}}}}"


@pytest.mark.parametrize(
    ("written", "limits"),
    [
        ("{requests_per_minute: 500}", Limits(500)),
        ("{tokens_per_minute: 400_000, concurrency: 64}", Limits(None, 400_000, 64)),
        ('{concurrency: "7"}', Limits(concurrency=7)),
    ],
)
def test_limits_are_what_is_written(written: str, limits: Limits, tmp_path: Path) -> None:
    loaded = build(tmp_path, LAB.format(row=f"limits: {written}, models: [m]"))
    assert provider_of(loaded, "lab").limits == limits


def test_nothing_written_is_no_limit(tmp_path: Path) -> None:
    assert not provider_of(build(tmp_path, LAB.format(row="models: [m]")), "lab").limits


@given(tokens=st.integers(1, 100_000), windows=st.lists(st.integers(1, 100_000), min_size=1, max_size=4))
def test_a_provider_is_warned_of_exactly_if_its_widest_model_does_not_fit(
    tokens: int, windows: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = ", ".join(f"{{id: m{i}, context_window: {window}}}" for i, window in enumerate(windows))
    row = f"limits: {{tokens_per_minute: {tokens}}}, models: [{models}]"
    directory = tmp_path_factory.getbasetemp() / "limits"
    directory.mkdir(exist_ok=True)
    loaded = build(directory, LAB.format(row=row))
    assert codes_of(loaded) == ["LP304"] * (max(windows) > tokens)
    assert loaded.snapshot is not None
    if max(windows) > tokens:
        widest = windows.index(max(windows))
        assert f"`lab/m{widest}`" in only_problem(loaded, "LP304").message


def test_an_unknown_window_and_a_provider_that_is_off_are_no_warning(tmp_path: Path) -> None:
    assert codes_of(build(tmp_path, LAB.format(row="limits: {tokens_per_minute: 1}, models: [m]"))) == []
    row = "enabled: false, limits: {tokens_per_minute: 1}, models: [{id: m, context_window: 9}]"
    assert codes_of(build(tmp_path, LAB.format(row=row))) == []


def test_health_is_what_is_written(tmp_path: Path) -> None:
    health = "health: {interval: 2m, unhealthy_after: 5, recover_after: 30s}, models: [m]"
    provider = provider_of(build(tmp_path, LAB.format(row=health)), "lab")
    assert (provider.health_interval_s, provider.unhealthy_after, provider.recover_after_s) == (
        120.0,
        5,
        30.0,
    )
    usual = provider_of(build(tmp_path, LAB.format(row="models: [m]")), "lab")
    assert (usual.health_interval_s, usual.unhealthy_after, usual.recover_after_s) == (30.0, 3, 300.0)
