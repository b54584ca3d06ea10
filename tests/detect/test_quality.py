"""The measured quality of the detectors, on a slice of what ``make bench-privacy`` measures in full."""

from __future__ import annotations

import pytest

from bench.privacy import measure
from bench.privacy.evasions import EVASIONS
from bench.privacy.generators import HARD, SECRETS
from bench.privacy.heldout.__main__ import makes, samples
from bench.privacy.heldout.innocent import innocent
from bench.privacy.negatives import holds_an_address, ordinary
from bench.privacy.soft_entities import SOFT
from llmproxyd.detect.engine import build_detectors, default_detectors

SEED = 7
# Of 400 values two may be missed; the full run takes 2,000.
VALUES = 400
LEAST_RECALL = 0.995
MOST_FALSE_PER_1000 = 0.5
MOST_LOSS_POINTS = 3.0
# Floors, so that a change cannot break unseen what is found; the family itself promises nothing.
LEAST_HELD_OUT = 0.95
MOST_FALSE_HELD_OUT = 3.0
# Measured on sentences that no pattern was made for as well; a floor, so that a change cannot break them unseen.
SOFT_FLOORS = {"person": 0.8, "address": 0.75, "date_of_birth": 0.9, "health": 0.7}


@pytest.mark.parametrize("kind", sorted(HARD | SECRETS))
def test_values_of_every_hard_kind_are_found_in_their_carriers(kind: str) -> None:
    share = measure.recall(default_detectors(), (HARD | SECRETS)[kind], VALUES, SEED)
    assert share.value >= LEAST_RECALL, share.examples


@pytest.mark.parametrize("kind", sorted(makes()))
def test_values_of_the_held_out_family_are_found_too(kind: str) -> None:
    share = measure.share(
        (sample for _, sample in samples(kind, 60, SEED)), lambda s: measure.is_hit(default_detectors(), s)
    )
    assert share.value >= LEAST_HELD_OUT, share.examples


def test_ordinary_texts_of_the_held_out_family_have_few_findings() -> None:
    share = measure.false_hits(default_detectors(), innocent(3000, SEED))
    assert 1000 * share.value <= MOST_FALSE_HELD_OUT, share.examples


def test_half_of_all_ordinary_texts_cost_far_less_than_a_millisecond() -> None:
    assert measure.times(default_detectors(), ordinary(500, SEED)).p50_ms <= 1.0


def test_every_vendors_keys_are_found() -> None:
    shares = measure.vendor_recall(default_detectors(), per_format=4, seed=SEED)
    assert len(shares) >= 150
    assert {name: share.examples for name, share in shares.items() if share.value < 1} == {}


def test_ordinary_prompts_have_hardly_any_findings() -> None:
    share = measure.false_hits(default_detectors(), ordinary(4000, SEED))
    assert 1000 * share.value <= MOST_FALSE_PER_1000, share.examples


@pytest.mark.parametrize("evasion", sorted(EVASIONS))
def test_a_disguise_hides_next_to_nothing(evasion: str) -> None:
    as_is, hidden = measure.under(default_detectors(), evasion, 20, SEED)
    assert 100 * (as_is.value - hidden.value) <= MOST_LOSS_POINTS, hidden.examples


@pytest.mark.parametrize("kind", sorted(SOFT))
def test_soft_entities_are_found_as_often_as_reported(kind: str) -> None:
    result = measure.soft(build_detectors({kind}), kind, ordinary(500, SEED), 200, SEED)
    assert result.recall.value >= SOFT_FLOORS[kind], result.recall.examples
    assert result.precision.value >= 0.9, result.precision.examples


@pytest.mark.parametrize(
    ("block", "holds"),
    [
        ("write to guido@python.org please", True),
        ("listen on 10.1.2.3:80 now", True),
        ("see ::1 and fe80::1", True),
        ("version 1.2.3 at 10:20:30", False),
        ("x[::2] and std::vector", False),
        ("@decorator", False),
    ],
)
def test_only_paragraphs_without_a_true_address_count_as_ordinary(block: str, holds: bool) -> None:
    assert holds_an_address(block) is holds
