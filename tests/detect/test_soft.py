"""Soft entities: what best effort finds, and what it leaves alone."""

from __future__ import annotations

import pytest

from bench.privacy import soft_entities
from llmproxyd.detect.kinds import DEFAULT_NAMES, detectors_for
from llmproxyd.detect.soft import SOFT
from llmproxyd.values.privacy import SOFT_KINDS

BY_KIND = {detector.name: detector for detector in SOFT}


def found(kind: str, text: str) -> list[str]:
    return [text[f.start : f.end] for f in BY_KIND[kind].find(text)]


def test_there_is_one_detector_for_each_soft_kind() -> None:
    assert set(BY_KIND) == SOFT_KINDS
    assert all(detector.kinds == {kind} for kind, detector in BY_KIND.items())


def test_they_are_off_unless_asked_for() -> None:
    assert not set(SOFT) & set(detectors_for(DEFAULT_NAMES))
    assert BY_KIND["person"] in detectors_for({"person"})


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("person", "My name is Thandiwe Nkosi.", "Thandiwe Nkosi"),
        ("person", "Sehr geehrte Frau Müller-Lüdenscheidt,", "Müller-Lüdenscheidt"),
        ("person", "thanks,\n\nBest regards,\nPetra van der Meer", "Petra van der Meer"),
        ("person", "Ask Olga Ivanova about it", "Olga Ivanova"),
        ("address", "at 221 Baker Street, London NW1 6XE.", "221 Baker Street, London NW1 6XE"),
        ("address", "Lindenstraße 12a, 10969 Berlin", "Lindenstraße 12a, 10969 Berlin"),
        ("address", "au 12 rue de la Paix, 75002 Paris", "12 rue de la Paix, 75002 Paris"),
        ("address", "vive en Calle Mayor 5, 28013 Madrid", "Calle Mayor 5, 28013 Madrid"),
        ("date_of_birth", "geboren am 12.03.1985 in Köln", "12.03.1985"),
        ("date_of_birth", '{"birthDate": "1985-03-12"}', "1985-03-12"),
        ("date_of_birth", "born on 12 March 1985", "12 March 1985"),
        ("health", "he has Diabetes", "Diabetes"),
    ],
)
def test_what_people_write_is_found_where_it_stands(kind: str, text: str, expected: str) -> None:
    assert found(kind, text) == [expected]


@pytest.mark.parametrize("kind", sorted(SOFT_KINDS))
def test_ordinary_sentences_hold_hardly_any(kind: str) -> None:
    mistaken = [text for text in soft_entities.INNOCENT if found(kind, text)]
    assert len(mistaken) <= 1, mistaken


@pytest.mark.parametrize(
    "text", ["Meet at Victoria Station.", "The Anna Amalia Library", "Release of 12 March 2019"]
)
def test_places_and_plain_dates_are_neither_persons_nor_births(text: str) -> None:
    assert found("date_of_birth", text) == []
    assert not any(name.endswith("Station") for name in found("person", text))
