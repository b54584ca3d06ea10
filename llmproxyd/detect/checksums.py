"""Check digits, each by its public definition. Arguments are digits (or letters) without separators."""

from __future__ import annotations

import hashlib
from string import ascii_uppercase, digits

_VERHOEFF_PRODUCT = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_TURN = (
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_NIE_FIRST = {"X": "0", "Y": "1", "Z": "2"}
_FISCAL_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_RIPPLE = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_STEPS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_ENDS = (1, 0x2BC830A3)


def luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    plain = sum(map(int, number[-1::-2]))
    return (plain + sum(_DOUBLED[int(digit)] for digit in number[-2::-2])) % 10 == 0


def verhoeff(number: str) -> bool:
    """The dihedral group's check digit, as UIDAI uses it."""
    check = 0
    for place, digit in enumerate(reversed(number)):
        check = int(_VERHOEFF_PRODUCT[check][int(_VERHOEFF_TURN[place % 8][int(digit)])])
    return check == 0


def mod_97_iban(iban: str) -> bool:
    """ISO 13616: country and check digits go to the end, letters count from 10."""
    turned = iban[4:] + iban[:4]
    return int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1


def mod_11_nhs(number: str) -> bool:
    """Ten digits; weights 10 to 2, the last is 11 less the remainder."""
    check = 11 - sum(int(digit) * (10 - place) for place, digit in enumerate(number[:9])) % 11
    return check % 11 == int(number[9]) and check != 10


def mod_11_bsn(number: str) -> bool:
    """Nine digits (eight: a zero is missing); weights 9 to 2 and -1."""
    number = number.zfill(9)
    total = sum(int(digit) * (9 - place) for place, digit in enumerate(number[:8])) - int(number[8])
    return total % 11 == 0 and int(number) != 0


def mod_11_10(number: str) -> bool:
    """ISO/IEC 7064 MOD 11,10."""
    product = 10
    for digit in number[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(number[-1])


def mod_97_nir(number: str) -> bool:
    """Thirteen signs (2A and 2B stand for Corsica) and their complement to 97."""
    body = number[:13].replace("2A", "19").replace("2B", "18")
    return body.isdigit() and 97 - int(body) % 97 == int(number[13:])


def mod_11_cpf(number: str) -> bool:
    """Nine digits and two that check them, weights from 10 and 11 down to 2."""
    return len(set(number)) > 1 and all(
        int(number[size])
        == sum(int(digit) * (size + 1 - place) for place, digit in enumerate(number[:size])) * 10 % 11 % 10
        for size in (9, 10)
    )


def mod_11_cnpj(number: str) -> bool:
    """Twelve digits and two that check them, weights 2 to 9 from the right, again and again."""
    return len(set(number)) > 1 and all(
        int(number[size])
        == sum(int(digit) * (2 + place % 8) for place, digit in enumerate(reversed(number[:size])))
        * 10 % 11 % 10
        for size in (12, 13)
    )  # fmt: skip


def dni_letter(number: str) -> bool:
    """Eight digits, or a letter of foreigners and seven, and the letter of the remainder by 23."""
    body = _NIE_FIRST.get(number[0], number[0]) + number[1:8]
    return _DNI_LETTERS[int(body) % 23] == number[8]


def codice_fiscale(code: str) -> bool:
    """Fifteen signs, upper case, and the letter of their sum; signs in odd places count by a table."""

    def rank(sign: str) -> int:
        return digits.index(sign) if sign in digits else ascii_uppercase.index(sign)

    total = sum(_FISCAL_ODD[rank(sign)] for sign in code[0:15:2]) + sum(map(rank, code[1:15:2]))
    return ascii_uppercase[total % 26] == code[15]


def base58_check(address: str, *, ripple: bool = False) -> bytes | None:
    """What a Base58Check address holds, version byte first; None if its checksum is wrong."""
    alphabet = _BASE58_RIPPLE if ripple else _BASE58
    number = 0
    for sign in address:
        place = alphabet.find(sign)
        if place < 0:
            return None
        number = number * 58 + place
    raw = number.to_bytes(25, "big") if number < 1 << 200 else b""
    digest = hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()
    return raw[:21] if raw and digest[:4] == raw[21:] else None


def bech32(address: str) -> bool:
    """BIP 173 and BIP 350; ``address`` is in one case."""
    prefix, _, data = address.lower().rpartition("1")
    if not prefix or len(data) < 6 or any(sign not in _BECH32 for sign in data):
        return False
    values = [*(ord(sign) >> 5 for sign in prefix), 0, *(ord(sign) & 31 for sign in prefix)]
    values += [_BECH32.index(sign) for sign in data]
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, step in enumerate(_BECH32_STEPS):
            check ^= step if top >> bit & 1 else 0
    return check in _BECH32_ENDS
