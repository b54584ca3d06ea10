"""Nothing of a request is written down, however it fails: canaries in all its parts, and a search of all that is left."""

from __future__ import annotations

import base64
import json
import signal
import urllib.parse
from pathlib import Path

import pytest

from tests.privacy.canaries import canary, encodings, search
from tests.privacy.canary_manners import ECHOES, Parrot
from tests.privacy.canary_requests import NAMED, PLACES, WRITTEN_DOWN
from tests.privacy.canary_rig import FULL_DISK, ROOM_AGAIN, Rig

HIDDEN = [*PLACES, "the client's own key"]
ALLOWED = {
    "log": WRITTEN_DOWN | NAMED,
    "file ledger": WRITTEN_DOWN,
    "view cost": WRITTEN_DOWN,
}
"""Where a canary may stand: claims say who asks and what for, and the name of a model that was asked for is told."""


def test_there_are_forty_canaries_and_none_is_part_of_another() -> None:
    words = {canary(place) for place in HIDDEN}
    assert len(words) == len(HIDDEN) >= 40


@pytest.mark.parametrize(
    "written",
    [
        "as it is: {}",
        "{}".upper(),
        json.dumps({"a": "{}"}),
    ],
)
def test_the_search_finds_what_is_written_plainly(written: str) -> None:
    found = search(HIDDEN, {"log": written.replace("{}", canary("model")).encode()})
    assert {(hit.place, hit.sink) for hit in found} == {("model", "log")}


@pytest.mark.parametrize(
    "word",
    [
        pytest.param(canary("model").swapcase().encode(), id="case"),
        pytest.param(canary("model")[::-1].encode(), id="backwards"),
        pytest.param(canary("model").encode().hex().encode(), id="hex"),
        pytest.param(b"".join(b"\\u%04X" % byte for byte in canary("model").encode()), id="JSON"),
        pytest.param("".join(f"%{byte:02X}" for byte in canary("model").encode()).encode(), id="URL"),
        pytest.param(urllib.parse.quote(f"ä {canary('model')}").encode(), id="URL that needs no escape"),
        *(
            pytest.param(base64.b64encode(b"x" * before + canary("model").encode() + b"more"), id=f"base64 {before}")
            for before in range(4)
        ),
    ],
)  # fmt: skip
def test_the_search_finds_every_way_of_writing(word: bytes) -> None:
    assert {hit.place for hit in search(HIDDEN, {"file": b"\0\xff" + word + b"\0"})} == {"model"}
    assert not search(HIDDEN, {"file": b"\0\xff\0"})
    assert len(encodings("word")) == 8


@pytest.mark.parametrize(
    "count", [pytest.param(400, id="short"), pytest.param(10_000, id="long", marks=(pytest.mark.proof, pytest.mark.timeout(900)))]
)  # fmt: skip
async def test_no_canary_is_written_down(tmp_path: Path, count: int) -> None:
    rig = Rig(tmp_path)
    async with rig:
        await rig.load(count)
        await rig.finish_jobs()
        await rig.look()
        kept = {hit.sink for hit in search(HIDDEN, rig.files())}
        assert "file jobs.db-wal" in kept or "file jobs.db" in kept, (
            "the search finds what waits to be fetched"
        )
        await rig.delete_jobs()
        jobs = {name: written for name, written in rig.files().items() if "jobs" in name}
        assert jobs
        assert not search(HIDDEN, jobs)
        await rig.say(FULL_DISK)
        await rig.load(len(PLACES))
        await rig.say(ROOM_AGAIN)
        await rig.look()
        await rig.end_in_hand(signal.SIGKILL)
        await rig.start()
        await rig.end_in_hand(signal.SIGABRT)
        await rig.start()
        await rig.end_in_hand(signal.SIGQUIT)
        await rig.start()
    sinks = rig.sinks()
    hits = [hit for hit in search(HIDDEN, sinks) if hit.place not in ALLOWED.get(hit.sink, ())]
    assert not hits, "\n".join(map(str, hits))
    judge_rig(rig, sinks, count)


def judge_rig(rig: Rig, sinks: dict[str, bytes], count: int) -> None:
    """That nothing was found means something only if there was something to find."""
    assert rig.sent == set(PLACES)
    log = sinks["log"].decode()
    for event in ("request_crashed", "detector_failed", "Task exception was never", "Exception in callback"):
        assert event in log
    assert "Fatal Python error: Aborted" in log, "the dump of a crash was searched too"
    assert "UserWarning" in log
    assert search(WRITTEN_DOWN, {"log": sinks["log"]}), "what may be written is found"
    assert search(WRITTEN_DOWN, {"ledger": sinks["file ledger"]})
    told = {hit.place for hit in search(HIDDEN, {"answers": bytes(rig.told)})}
    assert len(told) >= 15, "the providers did repeat what they were asked, and its client was told"
    calls = b"".join(seen.body + seen.path.encode() for fake in rig.fakes.values() for seen in fake.seen)
    reached = {hit.place for hit in search(HIDDEN, {"calls": calls})}
    assert len(reached) >= 30, "and they saw what they were asked"
    parrots = [fake.manner for fake in rig.fakes.values()]
    assert all(isinstance(parrot, Parrot) and set(parrot.told) <= set(ECHOES) for parrot in parrots)
    failed = sum(number for status, number in rig.statuses.items() if status >= 400 or not status)
    assert failed >= count / 2
    for sink in ("webhooks", "metrics", "view events", "another client's answers"):
        assert sinks[sink]
    assert any(name.startswith("file cache") for name in sinks), sorted(sinks)
