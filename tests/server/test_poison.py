"""A request that crashes us again and again is refused; all others notice nothing."""

from __future__ import annotations

import pytest

from llmproxyd.server import poison
from llmproxyd.server.poison import CRASHES, MAX_REQUESTS, WITHIN_S, Quarantine
from llmproxyd.values.failure import FailureKind

CHAT = "openai-chat"
BODY = b'{"model": "m"}'


@pytest.fixture
def quarantine() -> Quarantine:
    return Quarantine()


def crash(quarantine: Quarantine, times: int, now_s: float = 0.0, body: bytes = BODY) -> list[bool]:
    return [quarantine.crashed(CHAT, body, f"req_{number}", now_s) for number in range(times)]


def test_the_third_crash_puts_it_out(quarantine: Quarantine) -> None:
    assert crash(quarantine, CRASHES) == [False, False, True]
    failure = quarantine.refusal(CHAT, BODY, 60.0)
    assert failure is not None
    assert (failure.kind, failure.code, failure.client_status) == (FailureKind.INTERNAL, "quarantined", 500)
    assert "req_2" in failure.message
    assert failure.retry_after_s == WITHIN_S - 60.0
    assert quarantine.refused == 1


def test_two_are_forgiven(quarantine: Quarantine) -> None:
    crash(quarantine, CRASHES - 1)
    assert quarantine.refusal(CHAT, BODY, 1.0) is None


def test_it_is_let_in_again_after_ten_minutes_and_starts_anew(quarantine: Quarantine) -> None:
    crash(quarantine, CRASHES)
    assert quarantine.refusal(CHAT, BODY, WITHIN_S - 0.1) is not None
    assert quarantine.refusal(CHAT, BODY, WITHIN_S) is None
    assert crash(quarantine, 1, WITHIN_S) == [False]


def test_crashes_far_apart_do_not_add_up(quarantine: Quarantine) -> None:
    told = [crash(quarantine, 1, now_s)[0] for now_s in (0.0, 400.0, 800.0, 1200.0)]
    assert told == [False] * 4


@pytest.mark.parametrize(("surface", "body"), [("anthropic-messages", BODY), (CHAT, BODY + b" ")])
def test_only_the_very_same_request_is_refused(quarantine: Quarantine, surface: str, body: bytes) -> None:
    crash(quarantine, CRASHES)
    assert quarantine.refusal(surface, body, 1.0) is None


def test_where_the_surface_ends_and_the_body_begins_is_told_apart(quarantine: Quarantine) -> None:
    for _ in range(CRASHES):
        quarantine.crashed("a", b"bc", "req_1", 0.0)
    assert quarantine.refusal("ab", b"c", 1.0) is None


def test_no_body_is_looked_at_while_nothing_crashed(
    quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(*_: object, **__: object) -> None:
        raise AssertionError("a body was hashed")

    crash(quarantine, CRASHES)
    monkeypatch.setattr(poison, "blake2b", looked)
    assert quarantine.refusal(CHAT, BODY, WITHIN_S) is None
    assert Quarantine().refusal(CHAT, BODY, 0.0) is None
    with pytest.raises(AssertionError, match="hashed"):
        quarantine.refusal(CHAT, BODY, 1.0)


def test_the_table_is_bounded_and_keeps_the_latest(quarantine: Quarantine) -> None:
    crash(quarantine, CRASHES, body=b"first")
    for number in range(MAX_REQUESTS):
        crash(quarantine, 1, body=b"%d" % number)
    assert len(quarantine._suspects) == MAX_REQUESTS
    assert quarantine.refusal(CHAT, b"first", 1.0) is None
    assert crash(quarantine, 2, body=b"%d" % (MAX_REQUESTS - 1)) == [False, True]


def test_what_is_long_past_is_not_kept(quarantine: Quarantine) -> None:
    for number in range(10):
        crash(quarantine, 1, body=b"%d" % number)
    crash(quarantine, 1, WITHIN_S)
    assert len(quarantine._suspects) == 1


def test_neither_body_nor_plain_digest_is_kept() -> None:
    one, two = Quarantine(), Quarantine()
    for quarantine in (one, two):
        crash(quarantine, 1)
    assert one._suspects.keys() != two._suspects.keys(), "keyed for this process"
    assert BODY not in b"".join(one._suspects)
