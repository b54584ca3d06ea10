"""What the detectors find and mistake in the held-out family: tables on stdout. It judges nothing: there is no bound."""

import argparse
import platform
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

from bench.privacy import measure
from bench.privacy.heldout.disguises import DISGUISES, applies
from bench.privacy.heldout.documents import document, pasted
from bench.privacy.heldout.innocent import innocent
from bench.privacy.heldout.numbers import NUMBERS, Number
from bench.privacy.heldout.secrets import SECRETS
from bench.privacy.heldout.words import SENTENCES
from bench.privacy.values import Sample, Value
from llmproxyd.detect.engine import Detectors, default_detectors

_Make = Callable[[Random], Number]
TEXTS = 3000
DENSE = ("email", "phone", "payment_card", "ip")
_BRINGS_ITS_PLACE = "secret: line of a file"


def main() -> None:
    options = _options()
    print(f"Python {platform.python_version()}, {platform.machine()}, held out, seed {options.seed}")
    detectors = default_detectors()
    _recall(detectors, options)
    _disguises(detectors, options)
    _false_hits(detectors, options)
    _times(detectors, options.seed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.privacy.heldout", description=__doc__)
    parser.add_argument("--values", type=int, default=1000, help="values of each kind")
    parser.add_argument("--disguised", type=int, default=100, help="values of each kind for each disguise")
    parser.add_argument("--texts", type=int, default=20_000, help="ordinary texts")
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument(
        "--examples", type=int, default=0, metavar="N", help="show N of what was missed or mistaken"
    )
    return parser.parse_args()


def samples(name: str, count: int, seed: int) -> Iterator[tuple[str, Sample]]:
    """(kind of document, sample) of one kind of number."""
    rng = Random(f"{seed} {name}")
    place = pasted if name == _BRINGS_ITS_PLACE else document
    for number in (makes()[name](rng) for _ in range(count)):
        where, text = place(number, rng)
        yield where, Sample(_value(number), (text,))


def makes() -> dict[str, _Make]:
    return NUMBERS | SECRETS


def _value(number: Number) -> Value:
    return Value(number.kind, number.text)


def _recall(detectors: Detectors, options: argparse.Namespace) -> None:
    missed_in: Counter[str] = Counter()
    made_in: Counter[str] = Counter()
    hits = total = 0
    print(f"\nrecall, {options.values} values a kind")
    for name in makes():
        misses = []
        for where, sample in samples(name, options.values, options.seed):
            made_in[where] += 1
            if not measure.is_hit(detectors, sample):
                missed_in[where] += 1
                misses.append(sample.parts[0])
        hits, total = hits + options.values - len(misses), total + options.values
        print(f"  {name:24} {1 - len(misses) / options.values:8.4f}")
        _show(misses, options)
    print(f"  {'all':24} {hits / total:8.4f}")
    print("\nrecall by kind of document")
    for where, made in sorted(made_in.items()):
        print(f"  {where:24} {1 - missed_in[where] / made:8.4f}")


def _disguises(detectors: Detectors, options: argparse.Namespace) -> None:
    print(f"\ndisguises, {options.disguised} values a kind: recall plain, disguised, loss in points")
    for name in DISGUISES:
        plain, hidden, misses = _disguise(detectors, name, options)
        print(f"  {name:24} {plain:8.4f} {hidden:8.4f} {100 * (plain - hidden):7.2f}")
        _show(misses, options)


def _disguise(detectors: Detectors, name: str, options: argparse.Namespace) -> tuple[float, float, list[str]]:
    rng = Random(f"{options.seed} {name}")
    plain = hidden = total = 0
    misses = []
    for kind, make in makes().items():
        if kind == _BRINGS_ITS_PLACE:
            continue
        for number in (make(rng) for _ in range(options.disguised)):
            if not applies(name, number.kind):
                continue
            total += 1
            plain += measure.is_hit(detectors, Sample(_value(number), (document(number, rng)[1],)))
            parts = DISGUISES[name](number, rng)
            if measure.is_hit(detectors, Sample(_value(number), parts)):
                hidden += 1
            else:
                misses.append(" | ".join(parts))
    return plain / total, hidden / total, misses


def _false_hits(detectors: Detectors, options: argparse.Namespace) -> None:
    texts = innocent(options.texts, options.seed)
    share = measure.false_hits(detectors, texts, examples=max(options.examples, 12))
    print(f"\nfalse hits: {share.hits} in {share.total} ordinary texts, {1000 * share.value:.2f} per 1,000")
    _show(list(share.examples), options)


def _times(detectors: Detectors, seed: int) -> None:
    """Text in each language with a plain number now and then, and text that is nothing but findings."""
    rng = Random(seed)
    print("\ntime for 4 KiB: p50, p99 in ms")
    for language, sentences in SENTENCES.items():
        _time(detectors, language, [rng.choice(sentences).format(rng.randint(1, 9999)) for _ in range(TEXTS)])
    for name in DENSE:
        _time(detectors, f"only {name}", [NUMBERS[name](rng).text for _ in range(TEXTS)])


def _time(detectors: Detectors, name: str, texts: list[str]) -> None:
    times = measure.times(detectors, texts)
    print(f"  {name:24} {times.p50_ms:8.3f} {times.p99_ms:8.3f}")


def _show(found: list[str], options: argparse.Namespace) -> None:
    for text in found[: options.examples]:
        print(f"      {text[:300]!r}")


if __name__ == "__main__":
    main()
