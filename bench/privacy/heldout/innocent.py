"""Ordinary text of other sources: descriptions and programs of installed packages, and made lists of numbers that mean
nothing about anybody."""

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from sysconfig import get_paths

from bench.privacy.heldout.numbers import some
from bench.privacy.negatives import holds_an_address

SHORTEST, LONGEST = 60, 3000
OF_A_FILE = 12


def _ean(rng: Random) -> str:
    body = some(rng, "4############"[:12])
    return body + str(-sum(int(sign) * (3 if at % 2 else 1) for at, sign in enumerate(body)) % 10)


def _isbn(rng: Random) -> str:
    return some(rng, "978-3-") + some(rng, "####-####-#")


_LINES: tuple[Callable[[Random], str], ...] = (
    lambda rng: f"EAN {_ean(rng)}, {rng.randint(1, 40)} Stück, {rng.randint(1, 99)},{rng.randint(10, 99)} EUR",
    lambda rng: f"ISBN {_isbn(rng)} is out of print.",
    lambda rng: f"{uuid.UUID(int=rng.getrandbits(128))}  {rng.randint(1, 9)}  done",
    lambda rng: f"sha256:{hashlib.sha256(rng.randbytes(4)).hexdigest()}  {some(rng, '^###.#')} MB",
    lambda rng: f"commit {hashlib.sha1(rng.randbytes(4)).hexdigest()} (HEAD -> main, tag: v{some(rng, '#.#.^')})",
    lambda rng: f"{some(rng, '##')}.{some(rng, '######')}, {some(rng, '1#')}.{some(rng, '######')}, {some(rng, '1##')} m",
    lambda rng: f"numpy=={some(rng, '^.##.#')}  pandas=={some(rng, '^.#.#')}  openssl {some(rng, '^.#.##')}",
    lambda rng: f"Train {some(rng, 'ICE ^##')} departs {some(rng, '1#')}:{some(rng, '3#')} from platform {some(rng, '^')}.",
    lambda rng: f"doi:10.{some(rng, '^###')}/j.{some(rng, '^###')}.20{some(rng, '1#')}.0{some(rng, '^.###')}",
    lambda rng: f"arXiv:{some(rng, '2#')}0{some(rng, '^.#####')}v{some(rng, '^')}",
    lambda rng: f"Parcel {some(rng, '00 3404 #### #### #### ####')} is on its way.",
    lambda rng: f"tracking 1Z{some(rng, '@@@#############')}",
    lambda rng: f"0x{rng.getrandbits(64):016x}: {rng.randbytes(8).hex(' ')}  |........|",
    lambda rng: f"background: #{rng.randbytes(3).hex()}; margin: 0 {some(rng, '^#')}px rgba({some(rng, '1##')}, 12, 0, 0.{some(rng, '#')})",
    lambda rng: " ".join(some(rng, "^.####e-0^") for _ in range(6)),
    lambda rng: " ".join(some(rng, "####") for _ in range(rng.randint(3, 8))),
    lambda rng: "\t".join(some(rng, "###.##") for _ in range(5)),
    lambda rng: f"Jan {some(rng, '1#')} 03:{some(rng, '1#')}:22 host kernel: [{some(rng, '^#####.######')}] usb 1-{some(rng, '^')}: new device",
    lambda rng: f"CAS {some(rng, '^###-##-#')}, M = {some(rng, '^##.##')} g/mol, mp {some(rng, '1##')} °C",
    lambda rng: f"part no. {some(rng, '@@-####-##@')} rev {rng.choice('ABC')}, drawing {some(rng, '####-###-##')}",
    lambda rng: f"The match ended {some(rng, '2#')}-{some(rng, '1#')}, {some(rng, '2#')}-{some(rng, '1#')}; attendance {some(rng, '^#,###')}.",
    lambda rng: f"Rechnung Nr. {some(rng, '20##-####')} vom {some(rng, '1#.0^.20')}24 über {some(rng, '^.###,##')} EUR",
    lambda rng: f"pedido nº {some(rng, '########')}, albarán {some(rng, '^#####')}, {some(rng, '^#')} cajas",
    lambda rng: f"nr zamówienia {some(rng, '^#######/20')}25, pozycja {some(rng, '^#')}",
    lambda rng: f"span_id={rng.randbytes(8).hex()} trace_id={rng.randbytes(16).hex()} dur={some(rng, '^##')}us",
    lambda rng: f"epoch {some(rng, '^#')}/90 loss 0.{some(rng, '######')} lr {some(rng, '^')}e-05 step {some(rng, '^#####')}",
    lambda rng: f"![chart](data:image/png;base64,iVBORw0KGgo{base64.b64encode(rng.randbytes(60)).decode()})",
    lambda rng: f"etag: W/\"{rng.randbytes(8).hex()}-{some(rng, '^#####')}\"; content-length: {some(rng, '^####')}; age: {some(rng, '^####')}",
    lambda rng: f"max-age=31536000; build {some(rng, '20######')}.{some(rng, '^')}; port {some(rng, '^###')}; pid {some(rng, '^####')}",
    lambda rng: f"SELECT * FROM orders WHERE id IN ({some(rng, '^#######')}, {some(rng, '^########')}, {some(rng, '^#########')})",
    lambda rng: f"version: {some(rng, '^.#.#.#')} -> {some(rng, '^.#.#.#')}; firmware {some(rng, '^.##.##.####')}",
    lambda rng: f"timestamps: {some(rng, '17########')}, {some(rng, '17###########')}, {some(rng, '17################')}",
    lambda rng: f"pi to some places: 3.{some(rng, '#' * 40)}",
    lambda rng: f"the serial number {some(rng, '@##@#######')} and the licence {'-'.join(some(rng, '@#@@#') for _ in range(5))}",
    lambda rng: f"x = [{', '.join(some(rng, '^###') for _ in range(8))}]; y = x[{some(rng, '^')}::2]",
    lambda rng: f"Öffnungszeiten: Mo–Fr 9–1{some(rng, '#')} Uhr, Zimmer {some(rng, '^##')}, Gebäude {some(rng, '^#')}",
    lambda rng: f"Grid ref {some(rng, '@@ ### ###')}; altitude {some(rng, '^##')} m; bearing {some(rng, '1##')}°",
    lambda rng: f"Revise section {some(rng, '^.#.#.#')} and figure {some(rng, '^.#')}; see ISO {some(rng, '^####-#:20##')}.",
)  # fmt: skip


def _made(rng: Random) -> Iterator[str]:
    while True:
        yield "\n".join(rng.choice(_LINES)(rng) for _ in range(rng.randint(1, 5)))


def _installed(rng: Random, *endings: str) -> Iterator[str]:
    """A few paragraphs of each file of the installed packages, in random order."""
    root = Path(get_paths()["purelib"])
    paths = sorted(path for ending in endings for path in root.rglob(ending))
    rng.shuffle(paths)
    for path in paths:
        blocks = path.read_text(encoding="utf-8", errors="replace").split("\n\n")
        rng.shuffle(blocks)
        yield from [b for b in blocks if SHORTEST <= len(b) <= LONGEST and not holds_an_address(b)][
            :OF_A_FILE
        ]


def innocent(count: int, seed: int) -> list[str]:
    """`count` different texts: two fifths made, the rest from what is installed, as far as there is enough."""
    rng = Random(seed)
    texts: dict[str, None] = {}
    for source, most in (
        (_installed(rng, "METADATA", "*.md", "*.rst", "*.txt"), count // 5),
        (_installed(rng, "*.py", "*.pyi"), count * 3 // 5),
        (_made(rng), count),
    ):
        for text in source:
            if len(texts) >= most:
                break
            texts[text] = None
    return list(texts)
