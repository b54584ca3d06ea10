"""Every detector there is, and which of them a configuration asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from llmproxyd.detect.contact import EMAIL, LOOSE_PHONES, PHONE_ROWS, PHONES, SPOKEN_PHONES
from llmproxyd.detect.detector import Detector
from llmproxyd.detect.finance import CARD_ROWS, IBAN, LOOSE_CARD
from llmproxyd.detect.identifiers import ID_ROWS, LOOSE_IDS
from llmproxyd.detect.lettered import LETTERED
from llmproxyd.detect.network import IPS, MACS
from llmproxyd.detect.numbers import Numbers
from llmproxyd.detect.secrets import SECRETS
from llmproxyd.detect.wallets import WALLETS
from llmproxyd.values.privacy import SOFT_KINDS, covers_any, overlap
from llmproxyd.values.snapshot import AllOf, AnyOf, Condition, Holds, Not, Snapshot

_DIGIT = r"[0-9][ ./-]?[ /-]?[ ]?"
_ROWS = (*CARD_ROWS, *ID_ROWS, *PHONE_ROWS, SPOKEN_PHONES)
_LOOSE = {
    size: (
        *((LOOSE_CARD,) if 14 <= size <= 19 else ()),
        *LOOSE_IDS.get(size, ()),
        *LOOSE_PHONES.get(size, ()),
    )
    for size in range(8, 20)
}
NUMBERS = Detector(
    "number",
    frozenset(row.kind for row in _ROWS),
    (_DIGIT * 7 + "[0-9]",),
    Numbers("number", _ROWS, _LOOSE).find,
)

HARD: tuple[Detector, ...] = (NUMBERS, EMAIL, PHONES, IBAN, *LETTERED, *IPS, MACS, WALLETS)
DEFAULT_NAMES = frozenset({"hard", "secret"})


def all_detectors() -> tuple[Detector, ...]:
    """Hard kinds, secrets, and soft kinds, which are for those who ask for them."""
    from llmproxyd.detect.soft import SOFT

    return (*HARD, *SECRETS, *SOFT)


def detectors_for(names: Collection[str]) -> tuple[Detector, ...]:
    """Those that may find something of these kinds or groups."""
    soft = any(overlap(name, kind) for name in names for kind in SOFT_KINDS)
    known = all_detectors() if soft else (*HARD, *SECRETS)
    return tuple(d for d in known if any(covers_any(names, kind) for kind in d.kinds))


def wanted_kinds(snapshot: Snapshot) -> frozenset[str]:
    """Kinds and groups that somebody in the files asks for: to label, to match, or to mask."""
    return frozenset(
        (
            *(kind for rule in snapshot.privacy.detect for kind in rule.kinds),
            *(kind for rule in snapshot.rules for kind in _asked_by(rule.when)),
            *(kind for rule in snapshot.rules for kind in getattr(rule, "mask", ())),
            *(kind for rule in snapshot.cache.rules for kind in _asked_by(rule.when)),
        )
    )


def _asked_by(condition: Condition | None) -> Iterator[str]:
    match condition:
        case Holds(kinds=kinds):
            yield from kinds
        case Not(condition=inner):
            yield from _asked_by(inner)
        case AllOf(conditions=parts) | AnyOf(conditions=parts):
            for part in parts:
                yield from _asked_by(part)
        case _:
            return
