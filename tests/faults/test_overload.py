"""Five times as many requests as the provider can take: what is urgent is served, the rest hears no, and hears it soon."""

from __future__ import annotations

import asyncio
import statistics

import pytest

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Form, forms
from tests.faults.load import Load
from tests.faults.manners import Pace
from tests.faults.report import Report, percentile
from tests.support.fake_provider import Seen

PLACES = 8
WORK = Pace(first_s=0.190, pieces=2, pause_s=0.010)
CAPACITY = PLACES / WORK.total_s
SHARES = {"interactive": 0.5, "normal": 1.5, "batch": 3.0}
"""Of the capacity; five times it in all."""
PATIENCE = "2"


@pytest.mark.quiet
@forms(short_s=3.0, long_s=20.0)
async def test_f27_overload_is_shed_early_and_from_below(
    new_rig: NewRig, form: Form, figures: Figures
) -> None:
    limited = f"limits: {{concurrency: {PLACES}}}"
    async with new_rig(pace=WORK, count=1, provider=limited) as rig:
        idle = await rig.run(urgency("interactive", CAPACITY * 0.3, 2.0))
        reports = await asyncio.gather(
            *(rig.run(urgency(name, CAPACITY * share, form.seconds)) for name, share in SHARES.items())
        )
    by_class = dict(zip(SHARES, reports, strict=True))
    everybody = rig.report([told for report in reports for told in report.told])
    figures.none("truncated successes", len(everybody.truncated))
    served = [seen for seen in rig.one.seen if seen.done_s is not None]
    figures.none("more at once than its places", int(most_at_once(rig.one.seen) > PLACES))
    took_s = max(seen.done_s or 0.0 for seen in served) - min(told.asked_s for told in everybody.told)
    good = len(everybody.told) - len(everybody.errors)
    # What it can do is told by how long it took: its own clock, too, is late on a machine that has other things to do.
    able = PLACES / statistics.mean(seen.done_s - seen.at_s for seen in served if seen.done_s is not None)
    figures.at_least("goodput of capacity", good / took_s / able, 0.90, "%")
    interactive = by_class["interactive"]
    figures.none("interactive errors", len(interactive.errors), interactive.explain(interactive.errors))
    # Of so few as in the short form, the slowest hundredth would be a single one.
    share = 0.99 if form.long else 0.9
    usual_s, waited_s = percentile(waits_s(idle), share), percentile(waits_s(interactive), share)
    figures.at_most(f"interactive p{share * 100:.0f} of idle", waited_s / usual_s, 2.0)
    refused = [told for report in reports for told in report.errors]
    late = [told for told in refused if told.status == 504]
    figures.at_most("begun and not done in time", len(late) / len(everybody.told), 0.05, "%")
    refused = [told for told in refused if told.status != 504]
    rude = [told for told in refused if told.status not in (429, 503) or "retry-after" not in told.headers]
    assert not rude, everybody.explain(rude) + str([told.headers for told in rude[:3]])
    at_once_s = [told.ended_s - told.asked_s for told in refused if told.ended_s is not None]
    figures.at_most("a no comes within, p50", statistics.median(at_once_s), 0.005, "ms")
    shares = {name: 1 - len(report.errors) / len(report.told) for name, report in by_class.items()}
    for name, share in shares.items():
        figures.note(f"served of {name}", share, "%")
    assert shares["interactive"] >= shares["normal"] >= shares["batch"], shares
    assert shares["batch"] < 0.5, "somebody must have been turned away"


def urgency(name: str, rate: float, seconds: float) -> Load:
    headers = {"x-llmproxyd-priority": name, "x-llmproxyd-deadline": PATIENCE}
    return Load(rate, round(rate * seconds), streams=0.0, headers=headers, seed=len(name))


def waits_s(report: Report) -> list[float]:
    return [told.ended_s - told.asked_s for told in report.told if told.success and told.ended_s is not None]


def most_at_once(seen: list[Seen]) -> int:
    """Over the provider's own log; what ends in the instant in which another begins makes room for it."""
    moments = sorted(
        [(one.at_s, 1) for one in seen] + [(one.done_s or one.gone_s or one.at_s, -1) for one in seen]
    )
    now = most = 0
    for _, step in moments:
        now += step
        most = max(most, now)
    return most
