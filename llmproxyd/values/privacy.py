"""What was found in a request that may not go everywhere: kinds of data, where they stand, and what nobody could read.

A kind is a word, or a group and a word: ``email``, ``national_id.us_ssn``. A finding never carries the text it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

UNSCANNED_KINDS: tuple[str, ...] = ("image", "audio", "file", "text")
"""What a request may hold that is not read: pictures, sound, documents, and text for which there was no time."""

SOFT_KINDS: frozenset[str] = frozenset({"person", "address", "date_of_birth", "health"})
HARD_KINDS: frozenset[str] = frozenset(
    {
        "email",
        "phone",
        "payment_card",
        "iban",
        "national_id",
        "ip",
        "mac",
        "passport",
        "medical_record",
        "wallet",
    }
)

NATIONAL_IDS: tuple[str, ...] = (
    "us_ssn",
    "us_itin",
    "uk_nino",
    "uk_nhs",
    "de_steuer_id",
    "fr_nir",
    "it_codice_fiscale",
    "es_dni",
    "es_nie",
    "nl_bsn",
    "in_aadhaar",
    "in_pan",
    "br_cpf",
    "br_cnpj",
)
COINS: tuple[str, ...] = ("ada", "btc", "doge", "eth", "ltc", "trx", "xrp")

KINDS: frozenset[str] = (
    HARD_KINDS
    | SOFT_KINDS
    | {"secret"}
    | {f"national_id.{name}" for name in NATIONAL_IDS}
    | {f"wallet.{coin}" for coin in COINS}
)
"""Every kind that the files may name. Findings of secrets say more (``secret.NAME``); the files mean them all."""

GROUPS: Mapping[str, frozenset[str]] = {
    "hard": HARD_KINDS,
    "soft": SOFT_KINDS,
    "pii": HARD_KINDS | SOFT_KINDS,
}
"""Names for several kinds at once. What stands before the dot of a kind is a group too, and needs no row here."""


class Finding(msgspec.Struct, frozen=True):
    """``text[start:end]`` is of this kind, says ``detector``. Offsets count characters of the text as it was given."""

    kind: str
    start: int
    end: int
    detector: str


class Piece(msgspec.Struct, frozen=True):
    """One text that would leave, and its place in the request, such as ``messages[2].content[0].text``.

    ``joined``: it goes on where the piece before it ended, as far as a reader is concerned, so that something may have
    been split between the two.
    """

    place: str
    text: str
    joined: bool = False


class Found(msgspec.Struct, frozen=True):
    place: str
    finding: Finding


class Unread(msgspec.Struct, frozen=True):
    """What stands at ``place`` was not read: one of UNSCANNED_KINDS."""

    place: str
    kind: str


class Scan(msgspec.Struct, frozen=True):
    """``unscanned``: some of UNSCANNED_KINDS; ``unread``: where they stand, as far as each has a place of its own.
    ``failed``: why a detector broke; then every kind counts as found."""

    found: tuple[Found, ...] = ()
    unscanned: frozenset[str] = frozenset()
    failed: str | None = None
    unread: tuple[Unread, ...] = ()

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(each.finding.kind for each in self.found)

    def has(self, name: str) -> bool:
        """Whether something of this kind or group was found."""
        return self.failed is not None or any(covers(name, kind) for kind in self.kinds)


NOTHING_FOUND = Scan()


def covers(name: str, kind: str) -> bool:
    """Whether a kind or group means this kind: ``national_id`` and ``pii`` both mean ``national_id.us_ssn``."""
    members = GROUPS.get(name)
    if members is not None:
        return any(covers(member, kind) for member in members)
    return kind == name or kind.startswith(name + ".")


def covers_any(names: Iterable[str], kind: str) -> bool:
    return any(covers(name, kind) for name in names)


def overlap(name: str, other: str) -> bool:
    """Whether some kind may belong to both names, each a kind or a group."""
    mine, theirs = GROUPS.get(name, (name,)), GROUPS.get(other, (other,))
    return any(covers(a, b) or covers(b, a) for a in mine for b in theirs)
