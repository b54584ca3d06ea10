"""Addresses of crypto-currencies, by their checksums.

A hash in plain lower case is no address of Ethereum unless it has `0x` and forty digits; in mixed case EIP-55's checksum
decides, for the first few of a text: it costs half a millisecond each, and many are none the less addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmproxyd.detect.checksums import base58_check, bech32
from llmproxyd.detect.detector import Detector
from llmproxyd.detect.keccak import keccak_256
from llmproxyd.detect.regions import Signs
from llmproxyd.values.privacy import Finding

_BASE58_ADDRESS = re.compile(r"(?<![A-Za-z0-9])([13LMDTr])[1-9A-HJ-NP-Za-km-z]{24,34}(?![A-Za-z0-9])")
_SEGWIT = re.compile(
    r"(?<![A-Za-z0-9])(?:(bc|ltc|addr)1[02-9ac-hj-np-z]{25,110}|(BC|LTC)1[02-9AC-HJ-NP-Z]{25,87})(?![A-Za-z0-9])"
)
_ETHEREUM = re.compile(r"(?<![A-Za-z0-9])0[xX]([0-9A-Fa-f]{40})(?![A-Za-z0-9])")
_MARKS = (
    r"\b[13LMDTr][1-9A-HJ-NP-Za-km-z]{24}",
    r"(?i)\b(?:bc|ltc|addr)1[02-9ac-hj-np-z]{20}",
    r"0[xX][0-9A-Fa-f]{38}",
)
_SIGNS = Signs(*_MARKS, behind=112)
_MAX_CHECKED = 4

_VERSIONS = {
    ("1", 0x00): "btc", ("3", 0x05): "btc", ("L", 0x30): "ltc", ("M", 0x32): "ltc",
    ("D", 0x1E): "doge", ("T", 0x41): "trx",
}  # fmt: skip
_SEGWIT_COINS = {"bc": "btc", "ltc": "ltc", "addr": "ada"}


def find_wallets(text: str) -> Iterator[Finding]:
    for match in _SIGNS.matches(_BASE58_ADDRESS, text):
        coin = _base58_coin(match[0])
        if coin:
            yield _finding(coin, match)
    for match in _SIGNS.matches(_SEGWIT, text):
        if bech32(match[0]):
            yield _finding(_SEGWIT_COINS[(match[1] or match[2]).lower()], match)
    for number, match in enumerate(_SIGNS.matches(_ETHEREUM, text)):
        if number >= _MAX_CHECKED or _is_ethereum(match[1]):
            yield _finding("eth", match)


def _finding(coin: str, match: re.Match[str]) -> Finding:
    return Finding(f"wallet.{coin}", match.start(), match.end(), "wallet")


def _base58_coin(address: str) -> str | None:
    if address[0] == "r":
        held = base58_check(address, ripple=True)
        return "xrp" if held and held[0] == 0 else None
    held = base58_check(address)
    return _VERSIONS.get((address[0], held[0])) if held else None


def _is_ethereum(digits: str) -> bool:
    """EIP-55 where there are capitals and small letters; else anything but a constant."""
    if len(set(digits)) < 8:
        return False
    if digits.islower() or digits.isupper() or digits.isdigit():
        return True
    mask = keccak_256(digits.lower().encode()).hex()
    return all(
        not sign.isalpha() or sign.isupper() == (int(level, 16) >= 8)
        for sign, level in zip(digits, mask, strict=False)
    )


WALLETS = Detector(
    "wallet",
    frozenset(f"wallet.{coin}" for coin in ("ada", "btc", "doge", "eth", "ltc", "trx", "xrp")),
    _MARKS,
    find_wallets,
)
