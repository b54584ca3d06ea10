"""A request that brings its own handling down: it alone fails, and is not let in for ever."""

from __future__ import annotations

from tests.faults.conftest import NewRig
from tests.faults.figures import Figures
from tests.faults.harness import Rig
from tests.faults.load import Load, Told

POISONED = """
import sys
from llmproxyd.routing import decide as module
decide = module.decide

def poisoned(question, routes, readings):
    if "poison" in question.prompt.text:
        raise ZeroDivisionError("a bug of ours")
    return decide(question, routes, readings)

module.decide = poisoned
from llmproxyd.cli import main
sys.exit(main())
"""
MESSAGE = [{"role": "user", "content": "poison"}]


async def test_f31_a_request_that_crashes_its_handler_is_quarantined(
    new_rig: NewRig, figures: Figures
) -> None:
    rig = new_rig(count=1)
    rig.daemon.program = ("-c", POISONED)
    async with rig:
        load = rig.start(Load(50.0, 100))
        crashed = [await poison(rig) for _ in range(3)]
        refused = [await poison(rig) for _ in range(5)]
        report = rig.report(await load)
        assert rig.daemon.process.returncode is None
    rig.judge(report, figures)
    assert [told.status for told in crashed] == [500] * 3
    assert all(told.headers.get("x-llmproxyd-request-id") for told in crashed)
    assert all("refused for a while" in str(told.error) for told in refused), rig.report(refused).explain(
        refused
    )
    last = crashed[-1].headers["x-llmproxyd-request-id"]
    assert all(last in str(told.error) for told in refused), "which request crashed is said"
    crashes = [entry for entry in rig.daemon.log if entry.get("event") == "request_crashed"]
    assert len(crashes) == 3, "a request in quarantine is not handled"


async def poison(rig: Rig) -> Told:
    return await rig.ask(rig.single, stream=False, messages=MESSAGE)
