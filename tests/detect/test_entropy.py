"""Random strings are told from words, and stand-ins from both."""

from __future__ import annotations

import base64
import uuid
from random import Random

import pytest

from llmproxyd.detect.entropy import changes, is_placeholder, looks_random


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0.0), ("a", 0.0), ("aaaa", 0.0), ("aA1", 1.0), ("ab-cd", 0.0), ("aB-Cd", 1.0), ("abC1", 2 / 3)],
)
def test_changes_are_counted_between_neighbours_that_are_letters_or_digits(text: str, share: float) -> None:
    assert changes(text) == pytest.approx(share)


def test_nearly_all_random_strings_of_every_common_alphabet_look_random() -> None:
    rng = Random(11)
    made = [
        text
        for _ in range(1000)
        for text in (
            base64.b64encode(rng.randbytes(24)).decode(),
            base64.urlsafe_b64encode(rng.randbytes(18)).decode(),
            rng.randbytes(16).hex(),
            str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        )
    ]
    assert sum(map(looks_random, made)) >= 0.998 * len(made)


@pytest.mark.parametrize(
    "text",
    [
        "get_next_token_from_the_stream",
        "HTTPPasswordManagerForRealms",
        "self.configuration.default_value",
        "application/vnd.openxmlformats",
        "short1A",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "2024-03-01T10:20:30.000000",
        "THE_MAXIMUM_NUMBER_OF_TOKENS",
        "CachedTokensByModality",
        "ed25519.Ed25519PrivateKey.from_private_bytes",
        "mlkem.MLKEM1024PrivateKey",
    ],
)
def test_identifiers_and_dates_do_not_look_random(text: str) -> None:
    assert not looks_random(text)


@pytest.mark.parametrize(
    "text",
    [
        "xxxxxxxxxxxxxxxx",
        "YOUR_API_KEY",
        "your-token-here",
        "IOSFODNN7EXAMPLE",
        "<api key>",
        "${SECRET}",
        "{{ token }}",
        "abcdefghijklmnop",
        "1234567890",
        "****",
        "changeme",
        "a1b2...",
    ],
)
def test_what_manuals_write_instead_of_a_secret_is_a_placeholder(text: str) -> None:
    assert is_placeholder(text)


def test_random_strings_are_hardly_ever_taken_for_placeholders() -> None:
    rng = Random(12)
    made = [base64.urlsafe_b64encode(rng.randbytes(45)).decode() for _ in range(5000)]
    assert sum(map(is_placeholder, made)) <= 5
