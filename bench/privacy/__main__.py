"""``make bench-privacy``: what the detectors find, miss, mistake and cost; tables on stdout, 1 if a bound is missed."""

import argparse
import platform
import sys
from collections.abc import Iterator

from bench.privacy import measure, soft_entities
from bench.privacy.negatives import ordinary
from llmproxyd.detect.engine import build_detectors, default_detectors

LEAST_RECALL = 0.995
MOST_FALSE_PER_1000 = 0.5
MOST_LOSS_POINTS = 3.0
MOST_P99_MS = 1.0


def main() -> int:
    options = _options()
    print(f"Python {platform.python_version()}, {platform.machine()}, seed {options.seed}")
    prompts = ordinary(options.negatives, options.seed)
    missed = [
        *_recall(options),
        *_false_hits(prompts, options),
        *_evasions(options),
        *_times(prompts, options),
    ]
    _soft(prompts[: len(prompts) // 4], options)
    print("\n" + ("\n".join(["Bounds missed:", *missed]) if missed else "All bounds are kept."))
    return 1 if missed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.privacy", description=__doc__)
    parser.add_argument("--values", type=int, default=2000, help="values of each kind")
    parser.add_argument("--negatives", type=int, default=25_000, help="ordinary prompts")
    parser.add_argument("--disguised", type=int, default=100, help="values of each kind for each disguise")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--examples", action="store_true", help="print what was missed or mistaken")
    return parser.parse_args()


def _recall(options: argparse.Namespace) -> Iterator[str]:
    print(f"\nrecall, {options.values} values a kind")
    detectors = default_detectors()
    for name, share in measure.recalls(detectors, options.values, options.seed).items():
        print(f"  {name:34} {share.value:8.4f}")
        _show(share, options)
        if share.value < LEAST_RECALL:
            yield f"  recall of {name}: {share.value:.4f} < {LEAST_RECALL}"
    formats = measure.vendor_recall(detectors, 20, options.seed)
    worst = {name: share for name, share in formats.items() if share.value < 1}
    print(f"  vendor formats: {len(formats)}, of which {len(formats) - len(worst)} are always found")
    for name, share in worst.items():
        print(f"    {name:32} {share.value:8.4f}")
        _show(share, options)


def _false_hits(prompts: list[str], options: argparse.Namespace) -> Iterator[str]:
    share = measure.false_hits(default_detectors(), prompts)
    per_1000 = 1000 * share.value
    print(f"\nfalse hits: {share.hits} in {share.total} ordinary prompts, {per_1000:.2f} per 1,000")
    _show(share, options)
    if per_1000 > MOST_FALSE_PER_1000:
        yield f"  false hits: {per_1000:.2f} > {MOST_FALSE_PER_1000} per 1,000"


def _evasions(options: argparse.Namespace) -> Iterator[str]:
    print(f"\ndisguises, {options.disguised} values of each kind; recall plain, disguised, loss in points")
    for name, (as_is, hidden) in measure.evasions(
        default_detectors(), options.disguised, options.seed
    ).items():
        loss = 100 * (as_is.value - hidden.value)
        print(f"  {name:18} {as_is.value:8.4f} {hidden.value:8.4f} {loss:7.2f}")
        _show(hidden, options)
        if loss > MOST_LOSS_POINTS:
            yield f"  loss by {name}: {loss:.2f} > {MOST_LOSS_POINTS} points"


def _times(prompts: list[str], options: argparse.Namespace) -> Iterator[str]:
    times = measure.times(default_detectors(), prompts)
    print(f"\ntime for 4 KiB: p50 {times.p50_ms:.3f} ms, p99 {times.p99_ms:.3f} ms ({times.blocks} blocks)")
    print(f"  the first look at each: p99 {times.first_p99_ms:.3f} ms")
    for taken, block in times.slowest if options.examples else ():
        print(f"      {taken:.3f} ms {block!r}")
    if times.p99_ms > MOST_P99_MS:
        yield f"  time: p99 {times.p99_ms:.3f} > {MOST_P99_MS} ms"


def _soft(prompts: list[str], options: argparse.Namespace) -> None:
    print("\nsoft entities (off unless asked for): recall, precision, false hits per 1,000 ordinary prompts")
    for kind in soft_entities.SOFT:
        result = measure.soft(build_detectors({kind}), kind, prompts, options.values // 2, options.seed)
        line = f"{result.recall.value:8.3f} {result.precision.value:8.3f} {result.false_per_1000:8.2f}"
        print(f"  {kind:18} {line}")
        _show(result.recall, options)
        _show(result.precision, options)


def _show(share: measure.Share, options: argparse.Namespace) -> None:
    if options.examples:
        for example in share.examples:
            print(f"      {example[:200]!r}")


if __name__ == "__main__":
    sys.exit(main())
