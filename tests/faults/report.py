"""What a load came to: the clients' side and the providers' logs, joined by the request's number.

All times are of one clock, ``time.monotonic``, which every process of a machine shares.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from tests.faults.load import Told
from tests.faults.manners import number_of
from tests.support.fake_provider import Seen

WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt, as its provider saw it."""

    provider: str
    seen: Seen


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of all do not exceed. At least one value."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass
class Report:
    """``text``: what every whole answer says. ``tries``: attempts by the number of their request, in their order."""

    told: Sequence[Told]
    text: str
    tries: Mapping[int, Sequence[Try]]

    # --- what clients noticed ---------------------------------------------------------------------------------

    @property
    def errors(self) -> list[Told]:
        """Every request that did not end as a success."""
        return [told for told in self.told if not told.success]

    @property
    def truncated(self) -> list[Told]:
        """Looked like a success, and was not what the provider had to say."""
        return [told for told in self.told if told.success and told.text != self.text]

    def explain(self, some: Iterable[Told], limit: int = 5) -> str:
        """For the message of a failed assertion."""
        lines = []
        for told, _ in zip(some, range(limit), strict=False):
            seen = [
                f"{t.provider}@{t.seen.at_s - told.asked_s:.3f}s" for t in self.tries.get(told.number, ())
            ]
            what = told.broken or f"{told.status} {told.body[-300:]!r}"
            lines.append(f"q{told.number} stream={told.stream} tries={seen}: {what}")
        return "\n".join(lines)

    # --- time -------------------------------------------------------------------------------------------------

    def overheads_s(self) -> list[float]:
        """For each success, in order: its time to first content, less what the provider that gave it took for that."""
        return [spent for told in self.told if (spent := self._overhead_s(told)) is not None]

    def _overhead_s(self, told: Told) -> float | None:
        tries = [t.seen for t in self.tries.get(told.number, ()) if t.seen.first_s is not None]
        if not told.success or told.first_s is None or not tries:
            return None
        last = tries[-1]
        assert last.first_s is not None
        return (told.first_s - told.asked_s) - (last.first_s - last.at_s)

    def first_content_s(self) -> list[float]:
        return [t.first_s - t.asked_s for t in self.told if t.success and t.first_s is not None]

    def dispatch_gaps_s(self) -> list[float]:
        """From the last byte of an attempt to the arrival of the next one, for every request with several. Attempts that
        were given up before they said anything are not among them."""
        pairs = [pair for tries in self._own_tries for pair in pairwise(tries)]
        said = [(a.seen.wrote_s, b.seen.at_s) for a, b in pairs if a.seen.gone_s is None]
        return [next_s - wrote_s for wrote_s, next_s in said if wrote_s is not None]

    def second_attempts_s(self) -> list[float]:
        """From the arrival of the first attempt to that of the second, for every request with several."""
        return [tries[1].seen.at_s - tries[0].seen.at_s for tries in self._own_tries if len(tries) > 1]

    # --- attempts ---------------------------------------------------------------------------------------------

    @cached_property
    def _own_tries(self) -> list[Sequence[Try]]:
        return [self.tries.get(told.number, ()) for told in self.told]

    @property
    def attempts(self) -> Counter[str]:
        """How many each provider got."""
        return Counter(t.provider for tries in self._own_tries for t in tries)

    @property
    def amplification(self) -> float:
        return self.attempts.total() / max(1, len(self.told))

    def worst_window(self) -> tuple[int, int]:
        """(extra attempts, requests) of those ten seconds before an extra attempt in which most were beyond the allowed.

        Extra is every attempt of a request but its first.
        """
        asked = sorted(told.asked_s for told in self.told)
        extra = sorted(t.seen.at_s for tries in self._own_tries for t in tries[1:])
        windows = []
        for end_s in extra:
            requests = bisect_right(asked, end_s) - bisect_left(asked, end_s - WINDOW_S)
            extras = bisect_right(extra, end_s) - bisect_left(extra, end_s - WINDOW_S)
            windows.append((extras - allowed_extras(requests), extras, requests))
        _, extras, requests = max(windows, default=(0.0, 0, len(asked)))
        return extras, requests

    # --- parts of it ------------------------------------------------------------------------------------------

    def part(self, *, after_s: float = -math.inf, until_s: float = math.inf) -> Report:
        """Of the requests that were sent in [after_s, until_s)."""
        return Report([t for t in self.told if after_s <= t.asked_s < until_s], self.text, self.tries)

    def served_by(self) -> list[str]:
        """Which provider answered, for each success in the order of their sending."""
        return [
            told.headers.get("x-llmproxyd-provider") or self.tries[told.number][-1].provider
            for told in self.told
            if told.success
        ]


def allowed_extras(requests: int) -> float:
    """A fifth of the requests; 20 where they are few."""
    return max(0.2 * requests, 20.0)


def tries_of(logs: Mapping[str, Iterable[Seen]]) -> dict[int, list[Try]]:
    """Providers' logs -> attempts by request, in the order in which they arrived."""
    found: dict[int, list[Try]] = {}
    for provider, log in logs.items():
        for seen in log:
            found.setdefault(number_of(seen.body), []).append(Try(provider, seen))
    for tries in found.values():
        tries.sort(key=lambda t: t.seen.at_s)
    return found
