"""Recall, false hits, loss by disguise, time: figures about a set of detectors, from made values and ordinary text."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from bench.privacy import soft_entities
from bench.privacy.evasions import EVASIONS, applies, disguised, plain
from bench.privacy.generators import HARD, SECRETS, Make, each_vendor_key, values
from bench.privacy.values import Sample
from llmproxyd.detect.engine import Detectors
from llmproxyd.values.privacy import Finding, Piece, Scan, covers

BUDGET_S = 60.0
BLOCK_CHARS = 4096
WARM_UP = 20
LOOKS = 3
SLOWEST = 12


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `total`, and what was not hit (or hit by mistake): the first few, to look at."""

    hits: int
    total: int
    examples: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        return self.hits / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Times:
    """Each block's best of ``LOOKS``: what made the others slower were neighbours on the machine, and not the text.
    ``first_p99_ms``: of the first look at each block. ``slowest``: how the costliest blocks begin."""

    p50_ms: float
    p99_ms: float
    first_p99_ms: float
    blocks: int
    slowest: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Soft:
    recall: Share
    precision: Share
    false_per_1000: float


def scan(detectors: Detectors, parts: Sequence[str]) -> Scan:
    """One prompt, its parts joined as those of one message; a scan that breaks is a bug and raises."""
    pieces = [Piece(f"parts[{i}]", text, joined=i > 0) for i, text in enumerate(parts)]
    result = detectors.scan(pieces, clock=time.perf_counter, budget_s=BUDGET_S)
    if result.failed is not None:
        raise RuntimeError(f"a detector broke: {result.failed}")
    return result


def is_hit(detectors: Detectors, sample: Sample) -> bool:
    """Whether a finding of the value's kind touches the value, or, where it stands there in another form, was made."""
    findings = [each.finding for each in scan(detectors, sample.parts).found]
    mine = [finding for finding in findings if covers(sample.value.kind, finding.kind)]
    start = sample.parts[0].find(sample.value.text)
    return any(start < 0 or _touches(finding, start, len(sample.value.text)) for finding in mine)


def _touches(finding: Finding, start: int, length: int) -> bool:
    return finding.start < start + length and finding.end > start


def share(samples: Iterable[Sample], hit: Callable[[Sample], bool], examples: int = 3) -> Share:
    hits, missed = 0, []
    for sample in samples:
        if hit(sample):
            hits += 1
        else:
            missed.append(" | ".join(sample.parts))
    return Share(hits, hits + len(missed), tuple(missed[:examples]))


def recall(detectors: Detectors, make: Make, count: int, seed: int) -> Share:
    """How many of `count` values of one kind are found in their carriers."""
    rng = Random(seed)
    return share((plain(value, rng) for value in values(make, count, seed)), lambda s: is_hit(detectors, s))


def recalls(detectors: Detectors, count: int, seed: int) -> dict[str, Share]:
    return {name: recall(detectors, make, count, seed) for name, make in (HARD | SECRETS).items()}


def vendor_recall(detectors: Detectors, per_format: int, seed: int) -> dict[str, Share]:
    """Each vendor's format by its name."""
    rng = Random(seed)
    samples: dict[str, list[Sample]] = {}
    for name, value in each_vendor_key(seed, per_format):
        samples.setdefault(name, []).append(plain(value, rng))
    return {name: share(each, lambda s: is_hit(detectors, s)) for name, each in samples.items()}


def under(detectors: Detectors, evasion: str, count: int, seed: int) -> tuple[Share, Share]:
    """Recall of the same values plain and disguised; `count` of each kind to which the disguise applies."""
    rng = Random(seed)
    makes = [make for name, make in (HARD | SECRETS).items() if applies(evasion, name)]
    made = [value for make in makes for value in values(make, count, seed)]
    as_is = share((plain(value, rng) for value in made), lambda s: is_hit(detectors, s))
    hidden = share(
        (disguised(evasion, value, rng) for value in made), lambda s: is_hit(detectors, s), examples=6
    )
    return as_is, hidden


def evasions(detectors: Detectors, count: int, seed: int) -> dict[str, tuple[Share, Share]]:
    return {name: under(detectors, name, count, seed) for name in EVASIONS}


def false_hits(detectors: Detectors, prompts: Sequence[str], examples: int = 12) -> Share:
    """How many ordinary prompts have a finding; the examples say which kind and where."""
    wrong: list[str] = []
    for prompt in prompts:
        found = scan(detectors, (prompt,)).found
        if found:
            first = found[0].finding
            wrong.append(
                f"{first.kind} ({first.detector}): {prompt[max(0, first.start - 30) : first.end + 10]!r}"
            )
    return Share(len(wrong), len(prompts), tuple(wrong[:examples]))


def times(detectors: Detectors, prompts: Sequence[str]) -> Times:
    """What 4 KiB of ordinary text cost, in time of one core, after a few blocks to warm up."""
    text = "\n\n".join(prompts)
    blocks = [text[i : i + BLOCK_CHARS] for i in range(0, len(text) - BLOCK_CHARS, BLOCK_CHARS)]
    for block in blocks[:WARM_UP]:
        _look_ms(detectors, block)
    looks = [(block, [_look_ms(detectors, block) for _ in range(LOOKS)]) for block in blocks]
    best = sorted((min(taken), block) for block, taken in looks)
    first = sorted(taken[0] for _, taken in looks)
    p99 = len(best) * 99 // 100
    slowest = tuple((taken, block[:60]) for taken, block in reversed(best[-SLOWEST:]))
    return Times(best[len(best) // 2][0], best[p99][0], first[p99], len(best), slowest)


def _look_ms(detectors: Detectors, block: str) -> float:
    start = time.thread_time()
    scan(detectors, (block,))
    return (time.thread_time() - start) * 1000


def soft(detectors: Detectors, kind: str, prompts: Sequence[str], count: int, seed: int) -> Soft:
    """Recall on sentences that hold the kind; precision of all findings of the kind in those, in sentences that only
    sound like it, and in ordinary prompts."""
    samples = soft_entities.samples(kind, count, seed)
    found = share(samples, lambda s: is_hit(detectors, s), examples=8)
    right, all_found = 0, 0
    for sample in samples:
        start = sample.parts[0].find(sample.value.text)
        mine = [f.finding for f in scan(detectors, sample.parts).found if f.finding.kind == kind]
        right += sum(_touches(finding, start, len(sample.value.text)) for finding in mine)
        all_found += len(mine)
    innocent = [*soft_entities.INNOCENT, *prompts]
    wrong = [text for text in innocent if scan(detectors, (text,)).has(kind)]
    precision = Share(right, all_found + len(wrong), tuple(text[:90] for text in wrong[:4]))
    return Soft(found, precision, 1000 * len(wrong) / len(innocent))
