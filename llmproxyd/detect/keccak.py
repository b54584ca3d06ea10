"""Keccak-256 as Ethereum uses it (the padding before SHA-3 was standardised), for short messages only."""

from __future__ import annotations

from collections.abc import Iterator

_MASK = (1 << 64) - 1
_RATE_BYTES = 136


def _round_constants() -> Iterator[int]:
    """From the shift register of the definition: bits at 2^j - 1."""
    register = 1
    for _ in range(24):
        constant = 0
        for power in range(7):
            constant |= (register & 1) << ((1 << power) - 1)
            register = (register << 1) ^ ((register >> 7) * 0x171)
        yield constant


def _rotations() -> Iterator[tuple[int, int]]:
    """Lane and offset in the order in which rho and pi walk the state."""
    x, y = 1, 0
    for step in range(24):
        yield x + 5 * y, (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5


_ROUNDS = tuple(_round_constants())
_WALK = tuple(_rotations())


def keccak_256(message: bytes) -> bytes:
    """32 bytes. ``message`` has fewer than 136 bytes (one block); ValueError else."""
    if len(message) >= _RATE_BYTES:
        raise ValueError("only messages of one block are hashed here")
    padded = bytearray(message.ljust(_RATE_BYTES, b"\0"))
    padded[len(message)] ^= 0x01
    padded[-1] ^= 0x80
    lanes = [int.from_bytes(padded[at : at + 8], "little") for at in range(0, _RATE_BYTES, 8)] + [0] * 8
    for constant in _ROUNDS:
        lanes = _permute(lanes, constant)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _permute(lanes: list[int], constant: int) -> list[int]:
    columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
    mixed = [columns[x - 1] ^ _turn(columns[(x + 1) % 5], 1) for x in range(5)]
    lanes = [lane ^ mixed[place % 5] for place, lane in enumerate(lanes)]
    moved = lanes[:]
    carried = lanes[1]
    for (_, turn), (target, _) in zip(_WALK, (*_WALK[1:], _WALK[0]), strict=True):
        carried, moved[target] = lanes[target], _turn(carried, turn)
    rows = [moved[row : row + 5] for row in range(0, 25, 5)]
    folded = [row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5] & _MASK) for row in rows for x in range(5)]
    folded[0] ^= constant
    return folded


def _turn(lane: int, by: int) -> int:
    return (lane << by | lane >> 64 - by) & _MASK if by else lane
