"""Ordinary prompts: text in which a finding is a mistake.

Paragraphs of the standard library's source and of the manual pages that are installed, and sentences with numbers
that look like something: orders, UUIDs, hashes, versions, times, serials. Paragraphs that truly hold a mail address
or a network address (judged by the standard library's own parsers) are left out: finding those is no mistake.
"""

import gzip
import hashlib
import ipaddress
import re
import sysconfig
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

MANUALS = Path("/usr/share/man")
SHORTEST, LONGEST = 40, 4000
OF_EACH = 20

SENTENCES = (
    "Where is my order {}? It was due on Monday.",
    "The build {} failed again, what does that mean?",
    "Compare {} with {} and tell me which is newer.",
    "id={} parent={} status=ok",
    "Der Vorgang {} ist noch offen, bitte erkläre die nächsten Schritte.",
    "La commande {} a été expédiée hier avec {}.",
    '{{"ref": "{}", "other": "{}"}}',
    "Error at {}: retry {} gave the same result.",
    "Please sort these: {}, {}, {}.",
    "El pedido {} llegó con el albarán {}.",
)


def _number(rng: Random, low: int, high: int) -> str:
    return "".join(rng.choices("0123456789", k=rng.randint(low, high)))


def _moment(rng: Random) -> datetime:
    return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randint(0, 200_000_000))


NUMBERS = (
    lambda rng: f"{rng.choice(('ORD', 'PO', 'INV', 'RMA'))}-{_number(rng, 5, 10)}",
    lambda rng: f"#{_number(rng, 4, 9)}",
    lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
    lambda rng: hashlib.md5(rng.randbytes(8)).hexdigest(),
    lambda rng: hashlib.sha1(rng.randbytes(8)).hexdigest(),
    lambda rng: hashlib.sha256(rng.randbytes(8)).hexdigest(),
    lambda rng: rng.randbytes(4).hex()[:7],
    lambda rng: f"v{rng.randint(0, 30)}.{rng.randint(0, 30)}.{rng.randint(0, 300)}",
    lambda rng: (
        f"{rng.randint(0, 30)}.{rng.randint(0, 30)}.{rng.randint(0, 30)}-rc{rng.randint(1, 9)}+build.{_number(rng, 2, 5)}"
    ),
    lambda rng: _moment(rng).isoformat(),
    lambda rng: _moment(rng).strftime("%Y-%m-%d %H:%M:%S"),
    lambda rng: str(int(_moment(rng).timestamp())),
    lambda rng: str(int(_moment(rng).timestamp() * 1000)),
    lambda rng: f"SN{_number(rng, 8, 12)}",
    lambda rng: f"{_number(rng, 3, 4)}-{rng.choice('ABCDEFGH')}{_number(rng, 4, 6)}",
    lambda rng: f"{rng.randint(1, 999)},{_number(rng, 3, 3)}.{_number(rng, 2, 2)} EUR",
    lambda rng: f"{rng.uniform(-180, 180):.6f}",
    lambda rng: f"0x{rng.getrandbits(48):012x}",
)


def made(seed: int) -> Iterator[str]:
    """Sentences with innocent numbers, without end."""
    rng = Random(seed)
    while True:
        sentence = rng.choice(SENTENCES)
        yield sentence.format(*(rng.choice(NUMBERS)(rng) for _ in range(3)))


def library_paragraphs(rng: Random) -> Iterator[str]:
    root = Path(sysconfig.get_paths()["stdlib"])
    installed = {"site-packages", "dist-packages"}
    paths = sorted(path for path in root.rglob("*.py") if not installed & set(path.parts))
    yield from _some_of_each(paths, lambda path: path.read_text(encoding="utf-8", errors="replace"), rng)


def manual_paragraphs(rng: Random) -> Iterator[str]:
    """Paragraphs of the installed manual pages without most of their markup; none where none are installed."""
    yield from _some_of_each(sorted(MANUALS.glob("man*/*.gz")), _manual_text, rng)


def _manual_text(path: Path) -> str:
    text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    return re.sub(r"\\f[A-Z]|\\&|^\.\w+ ?|^\.\\\".*", "", text, flags=re.MULTILINE)


def _some_of_each(paths: list[Path], read: Callable[[Path], str], rng: Random) -> Iterator[str]:
    """Paragraphs of all files in random order, a few of each first, so that no long file outweighs the rest."""
    rng.shuffle(paths)
    for first in (True, False):
        for path in paths:
            blocks = list(_paragraphs(read(path)))
            Random(len(blocks)).shuffle(blocks)
            yield from blocks[:OF_EACH] if first else blocks[OF_EACH:]


def _paragraphs(text: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", text):
        if SHORTEST <= len(block) <= LONGEST and not holds_an_address(block):
            yield block


def holds_an_address(block: str) -> bool:
    """Whether a word of `block` truly is a mail or network address."""
    words = re.split(r"[\s\"'`()<>\[\]{},;=|/]+", block)
    return any(_is_mail(word) or _is_network(word.rstrip(".:")) for word in words)


def _is_mail(word: str) -> bool:
    local, at, host = word.partition("@")
    return bool(local and at and "." in host.strip("."))


def _is_network(word: str) -> bool:
    # A bare number is an address to the parser; "::" is a slice or a scope to everybody else.
    if len(word) < 4 or not (word.count(".") >= 3 or word.count(":") >= 2):
        return False
    for text in (word, word.rpartition(":")[0]):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            continue
        return True
    return False


def ordinary(count: int, seed: int) -> list[str]:
    """`count` different prompts: a fifth made sentences, at most two fifths from the manual, the rest from the library."""
    rng = Random(seed)
    prompts: dict[str, None] = {}
    for source, most in (
        (made(seed), count // 5),
        (manual_paragraphs(rng), count * 3 // 5),
        (library_paragraphs(rng), count),
    ):
        for prompt in source:
            if len(prompts) >= most:
                break
            prompts[prompt] = None
    return list(prompts)
