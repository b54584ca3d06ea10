"""Webhooks: what a receiver is sent, how often it is tried, and what is never told or done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from llmproxyd.exchange.webhooks import WAITING, Patience, Webhooks, place_of
from llmproxyd.state.events import Event
from tests.exchange.build import in_turn, until
from tests.support.fake_provider import FakeProvider, Manner, answer, hang, reset, stream

QUICK = Patience(try_s=5.0, base_s=0.001, cap_s=0.004)
OPENED = Event("e-1", 1_767_225_600.25, "breaker_opened", "a/m", {"cause": "timeout", "for_s": 1.5})
TEXT = "a/m is not called for now."

Told = list[tuple[str, str, str]]
Make = Callable[..., Webhooks]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
async def make(told: Told) -> AsyncIterator[Make]:
    made: list[Webhooks] = []

    def new(*urls: str, patience: Patience = QUICK) -> Webhooks:
        webhooks = Webhooks(tell=lambda *what: told.append(what), patience=patience, jitter=lambda: 0.5)
        webhooks.reconcile(urls)
        made.append(webhooks)
        return webhooks

    yield new
    for webhooks in made:
        await webhooks.close(0.0)


def hook(fake: FakeProvider, path: str = "/services/T0/secret") -> str:
    return f"http://127.0.0.1:{fake.port}{path}"


async def settled(webhooks: Webhooks, count: int = 1) -> None:
    await until(lambda: webhooks.results.total() >= count)


async def test_a_notice_is_one_json_document_with_a_sentence(first: FakeProvider, make: Make) -> None:
    webhooks = make(hook(first, "/hook?token=t"))
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks)
    [seen] = first.seen
    assert (seen.method, seen.path, seen.headers["content-type"]) == (
        "POST",
        "/hook?token=t",
        "application/json",
    )
    assert seen.json == {
        "id": "e-1",
        "at": "2026-01-01T00:00:00.250Z",
        "kind": "breaker_opened",
        "subject": "a/m",
        "facts": {"cause": "timeout", "for_s": 1.5},
        "text": TEXT,
    }
    assert dict(webhooks.results) == {"delivered": 1}


async def test_every_url_gets_every_notice_and_one_that_is_dead_delays_nobody(
    first: FakeProvider, second: FakeProvider, make: Make
) -> None:
    first.manner = hang
    webhooks = make(hook(first), hook(second))
    for _ in range(3):
        webhooks.offer(OPENED, TEXT)
    await until(lambda: len(second.seen) == 3)
    assert len(first.seen) == 1
    assert second.connections == 1, "connections are used again"


@pytest.mark.parametrize("trouble", [answer(500), answer(503), answer(429), reset])
async def test_trouble_that_may_pass_is_tried_again(trouble: Manner, first: FakeProvider, make: Make) -> None:
    first.manner = in_turn(trouble, trouble, answer(204, b""))
    webhooks = make(hook(first))
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks)
    assert dict(webhooks.results) == {"delivered": 1}
    assert len({seen.body for seen in first.seen}) == 1
    assert len(first.seen) >= 3


async def test_after_five_more_tries_it_is_given_up_and_told_without_the_secret(
    first: FakeProvider, make: Make, told: Told
) -> None:
    first.manner = answer(500)
    webhooks = make(hook(first))
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks)
    assert len(first.seen) == 6
    assert told == [(f"http://127.0.0.1:{first.port}", "failed", "status 500")]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410])
async def test_a_refusal_or_a_redirect_is_final(
    status: int, first: FakeProvider, second: FakeProvider, make: Make, told: Told
) -> None:
    first.manner = answer(status, location=hook(second))
    webhooks = make(hook(first))
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks)
    assert (len(first.seen), second.connections) == (1, 0)
    assert [why for *_, why in told] == [f"status {status}"]


async def test_retry_after_is_waited_for(first: FakeProvider, make: Make) -> None:
    first.manner = in_turn(answer(429, retry_after_ms="200"), answer())
    webhooks = make(hook(first))
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks)
    before, after = first.seen
    assert after.at_s - before.at_s >= 0.199


async def test_a_retry_after_beyond_reason_is_cut_short(first: FakeProvider, make: Make) -> None:
    first.manner = in_turn(answer(503, retry_after="86400"), answer())
    webhooks = make(hook(first), patience=Patience(base_s=0.001, longest_s=0.01))
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks)
    assert len(first.seen) == 2


async def test_a_receiver_that_says_nothing_is_given_up_in_time(
    first: FakeProvider, make: Make, told: Told
) -> None:
    first.manner = hang
    webhooks = make(hook(first), patience=Patience(try_s=0.1, base_s=0.001, retries=1))
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks)
    await until(lambda: [seen.gone_s is not None for seen in first.seen] == [True, True])
    assert [why for *_, why in told] == ["no answer within 0.1 s"]


async def test_a_port_where_nobody_listens_is_a_failure_like_any_other(make: Make, told: Told) -> None:
    webhooks = make("http://127.0.0.1:9/T0/secret", patience=Patience(base_s=0.001, retries=1))
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks)
    [(place, result, why)] = told
    assert (place, result) == ("http://127.0.0.1:9", "failed")
    assert "secret" not in why


async def test_a_long_answer_is_not_read_to_its_end(first: FakeProvider, make: Make) -> None:
    first.manner = in_turn(stream([b"x" * 60_000] * 50, stall_after=49), answer())
    webhooks = make(hook(first))
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks)
    assert dict(webhooks.results) == {"delivered": 1}
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks, 2)
    assert first.connections == 2, "the connection was cut"


async def test_a_full_queue_drops_the_oldest_and_counts_them(
    first: FakeProvider, make: Make, told: Told
) -> None:
    first.manner = hang
    webhooks = make(hook(first))
    webhooks.offer(OPENED, "in hand")
    await until(lambda: bool(first.seen))
    for number in range(WAITING + 4):
        webhooks.offer(OPENED, str(number))
    assert dict(webhooks.results) == {"dropped": 5}
    assert told[0][1:] == ("dropped", "its queue is full")
    assert first.seen[0].json["text"] == "in hand"


async def test_a_user_and_password_in_the_url_go_into_a_header(first: FakeProvider, make: Make) -> None:
    webhooks = make(f"http://me:pass%20word@127.0.0.1:{first.port}/x")
    webhooks.offer(OPENED, TEXT)
    await settled(webhooks)
    assert first.seen[0].headers["authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    assert first.seen[0].headers["host"] == f"127.0.0.1:{first.port}"


class TestReload:
    async def test_a_url_that_stays_keeps_what_waits(
        self, first: FakeProvider, second: FakeProvider, make: Make
    ) -> None:
        gate = asyncio.Event()

        async def slow(wire: object) -> None:
            await gate.wait()
            await answer()(wire)  # type: ignore[arg-type]

        first.manner = slow
        webhooks = make(hook(first))
        webhooks.offer(OPENED, "one")
        webhooks.offer(OPENED, "two")
        await until(lambda: bool(first.seen))
        webhooks.reconcile([hook(second), hook(first)])
        gate.set()
        await settled(webhooks, 2)
        assert [seen.json["text"] for seen in first.seen] == ["one", "two"]
        webhooks.offer(OPENED, "three")
        await settled(webhooks, 4)
        assert [seen.json["text"] for seen in second.seen] == ["three"]

    async def test_a_url_that_is_gone_gets_nothing_more(
        self, first: FakeProvider, make: Make, told: Told
    ) -> None:
        first.manner = hang
        webhooks = make(hook(first))
        webhooks.offer(OPENED, TEXT)
        await until(lambda: bool(first.seen))
        webhooks.reconcile(())
        webhooks.offer(OPENED, TEXT)
        await until(lambda: first.seen[0].gone_s is not None)
        await settled(webhooks)
        assert (len(first.seen), told[0][1]) == (1, "dropped")


class TestStop:
    async def test_what_waits_is_sent_before_we_go(self, first: FakeProvider, make: Make) -> None:
        webhooks = make(hook(first))
        for _ in range(20):
            webhooks.offer(OPENED, TEXT)
        await webhooks.close(5.0)
        assert (len(first.seen), dict(webhooks.results)) == (20, {"delivered": 20})

    async def test_a_pause_is_cut_short_and_nothing_is_tried_twice(
        self, first: FakeProvider, make: Make
    ) -> None:
        first.manner = answer(500)
        webhooks = make(hook(first), patience=Patience(base_s=60.0))
        webhooks.offer(OPENED, TEXT)
        await until(lambda: bool(first.seen) and first.seen[0].done_s is not None)
        await asyncio.wait_for(webhooks.close(20.0), 10)
        assert (len(first.seen), dict(webhooks.results)) == (2, {"failed": 1})

    async def test_a_receiver_that_hangs_does_not_hold_us_up(
        self, first: FakeProvider, make: Make, told: Told
    ) -> None:
        first.manner = hang
        webhooks = make(hook(first))
        webhooks.offer(OPENED, TEXT)
        webhooks.offer(OPENED, TEXT)
        await until(lambda: bool(first.seen))
        await asyncio.wait_for(webhooks.close(0.01), 5)
        assert dict(webhooks.results) == {"dropped": 2}
        assert told == [(f"http://127.0.0.1:{first.port}", "dropped", "we stopped before it could be told")]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://hooks.example.net/services/T0/B0/s3cr3t", "https://hooks.example.net"),
        ("https://me:s3cr3t@example.net:8443/x?key=s3cr3t#s3cr3t", "https://example.net:8443"),
        ("s3cr3t", "(no host)"),
    ],
)
def test_a_place_holds_no_secret(url: str, place: str) -> None:
    assert place_of(url) == place


def test_nobody_to_tell_costs_nothing() -> None:
    webhooks = Webhooks()
    webhooks.offer(OPENED, TEXT)
    assert not webhooks.results
