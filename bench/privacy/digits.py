"""Check digits and encodings from their public definitions: written for the generators and used by them alone."""

import hashlib
from collections.abc import Sequence

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def luhn_digit(body: str) -> str:
    """The digit that makes `body` + digit pass ISO/IEC 7812-1 annex B."""
    doubled = [int(c) * 2 for c in reversed(body)][::2]
    kept = [int(c) for c in reversed(body)][1::2]
    return str(-(sum(d - 9 if d > 9 else d for d in doubled) + sum(kept)) % 10)


def iban_check(country: str, account: str) -> str:
    """The two check digits of ISO 13616: 98 - (account, country, 00) mod 97."""
    return f"{98 - int(''.join(str(int(c, 36)) for c in account + country + '00')) % 97:02d}"


def weighted_sum(body: str, weights: Sequence[int]) -> int:
    return sum(int(c) * w for c, w in zip(body, weights, strict=True))


def iso7064_mod11_10(body: str) -> str:
    """The check digit of ISO 7064 MOD 11,10, as the German tax number uses it."""
    product = 10
    for c in body:
        total = (int(c) + product) % 10 or 10
        product = total * 2 % 11
    return str((11 - product) % 10)


def verhoeff_digit(body: str) -> str:
    """The Verhoeff check digit: the dihedral group of order ten, computed rather than tabled."""

    def times(a: int, b: int) -> int:
        turned = (a % 5 + (b if a < 5 else -b)) % 5
        return turned + 5 * ((a >= 5) != (b >= 5))

    step = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    check = 0
    for place, c in enumerate(reversed(body), 1):
        digit = int(c)
        for _ in range(place % 8):
            digit = step[digit]
        check = times(check, digit)
    return str(next(d for d in range(10) if times(check, d) == 0))


def base58check(payload: bytes) -> str:
    """Base 58 of payload and the first four bytes of its double SHA-256."""
    whole = payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(whole), ""
    while number:
        number, rest = divmod(number, 58)
        text = BASE58[rest] + text
    return "1" * (len(whole) - len(whole.lstrip(b"\0"))) + text


def bech32(prefix: str, version: int, program: bytes) -> str:
    """A segwit address: BIP 173 for version 0, BIP 350 for later versions."""
    bits = "".join(f"{byte:08b}" for byte in program)
    bits += "0" * (-len(bits) % 5)
    data = [version] + [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    spread = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    residue = _bech32_residue(spread + data + [0] * 6) ^ (1 if version == 0 else 0x2BC830A3)
    data += [residue >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(BECH32[d] for d in data)


def _bech32_residue(values: Sequence[int]) -> int:
    residue = 1
    for value in values:
        top = residue >> 25
        residue = (residue & 0x1FFFFFF) << 5 ^ value
        for i, factor in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            residue ^= factor if top >> i & 1 else 0
    return residue


def keccak256(message: bytes) -> bytes:
    """Keccak with the original padding (0x01), which Ethereum uses and SHA3 of the standard library does not."""
    rate = 136
    padded = bytearray(message) + b"\x01" + b"\0" * ((-len(message) - 1) % rate)
    padded[-1] |= 0x80
    lanes = [0] * 25
    for start in range(0, len(padded), rate):
        for i in range(rate // 8):
            lanes[i] ^= int.from_bytes(padded[start + 8 * i : start + 8 * i + 8], "little")
        lanes = _keccak_f(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _keccak_f(lanes: list[int]) -> list[int]:
    register = 1
    for _ in range(24):
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        mixed = [columns[x - 1] ^ _rotate(columns[(x + 1) % 5], 1) for x in range(5)]
        lanes = [lane ^ mixed[i % 5] for i, lane in enumerate(lanes)]
        lanes = _rho_and_pi(lanes)
        lanes = [
            lanes[i] ^ (~lanes[i - i % 5 + (i + 1) % 5] & lanes[i - i % 5 + (i + 2) % 5]) for i in range(25)
        ]
        for j in range(7):
            register = (register << 1 ^ (register >> 7) * 0x71) % 256
            lanes[0] ^= (register >> 1 & 1) << ((1 << j) - 1)
    return lanes


def _rho_and_pi(lanes: list[int]) -> list[int]:
    moved = list(lanes)
    x, y = 1, 0
    for t in range(24):
        target_x, target_y = y, (2 * x + 3 * y) % 5
        moved[target_x + 5 * target_y] = _rotate(lanes[x + 5 * y], (t + 1) * (t + 2) // 2 % 64)
        x, y = target_x, target_y
    return moved


def _rotate(lane: int, by: int) -> int:
    return (lane << by | lane >> (64 - by)) & 0xFFFFFFFFFFFFFFFF if by else lane


def eip55(address: bytes) -> str:
    """The mixed-case form of an Ethereum address."""
    plain = address.hex()
    marks = keccak256(plain.encode()).hex()
    return "0x" + "".join(c.upper() if int(m, 16) > 7 else c for c, m in zip(plain, marks, strict=False))
