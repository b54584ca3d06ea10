"""Published examples, and what a changed digit does to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmproxyd.detect.checksums import (
    base58_check,
    bech32,
    codice_fiscale,
    dni_letter,
    luhn,
    mod_11_10,
    mod_11_bsn,
    mod_11_cnpj,
    mod_11_cpf,
    mod_11_nhs,
    mod_97_iban,
    mod_97_nir,
    verhoeff,
)
from llmproxyd.detect.keccak import keccak_256

EXAMPLES: list[tuple[Callable[[str], bool], str]] = [
    (luhn, "4111111111111111"),
    (verhoeff, "234567890124"),
    (mod_97_iban, "DE89370400440532013000"),
    (mod_11_nhs, "9434765919"),
    (mod_11_bsn, "111222333"),
    (mod_11_10, "86095742719"),
    (mod_97_nir, "255081416802538"),
    (mod_11_cpf, "52998224725"),
    (mod_11_cnpj, "11222333000181"),
    (dni_letter, "12345678Z"),
    (dni_letter, "X1234567L"),
    (codice_fiscale, "RSSMRA85T10A562S"),
]


@pytest.mark.parametrize(("check", "number"), EXAMPLES)
def test_a_published_example_passes_and_no_other_last_sign_does(
    check: Callable[[str], bool], number: str
) -> None:
    assert check(number)
    signs = "0123456789" if number[-1].isdigit() else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert [sign for sign in signs if check(number[:-1] + sign)] == [number[-1]]


def test_addresses_of_coins_hold_their_checksums() -> None:
    assert base58_check("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa") is not None
    assert base58_check("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb") is None
    assert base58_check("rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh", ripple=True) is not None
    assert bech32("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq")
    assert not bech32("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp")


def test_keccak_is_the_one_before_sha_3() -> None:
    empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak_256(b"").hex() == empty
    with pytest.raises(ValueError, match="one block"):
        keccak_256(b"x" * 136)
