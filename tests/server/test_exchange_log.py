"""One line for each exchange: enough to find out what happened, nothing of what was said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmproxyd import logs
from llmproxyd.exchange.account import AttemptRecord, Ending, ExchangeRecord
from llmproxyd.server.exchange_log import ExchangeLog
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect, Operation, Request
from tests.exchange.build import deployment_at, until

AT_S = 1_795_000_000.5
SECRET = "the words of the caller"
REQUEST = Request(
    Operation.CHAT, Dialect.OPENAI_CHAT, "openai-chat", "smart", True, SECRET.encode(), {"messages": [SECRET]}
)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, dict[str, Any]]]:
    """What was written, as it was handed to the log."""
    written: list[tuple[str, float, dict[str, Any]]] = []
    monkeypatch.setattr(logs, "write_rows", written.extend)
    return written


def record(**fields: Any) -> ExchangeRecord:
    given: dict[str, Any] = {
        "request": REQUEST,
        "surface": "openai-chat",
        "ending": Ending.SERVED,
        "status": 200,
        "label": "internal",
        "total_s": 1.23456,
    }
    return ExchangeRecord("req_1", 3, **(given | fields))


async def tell(
    entry: ExchangeRecord, rows: list[tuple[str, float, dict[str, Any]]]
) -> tuple[str, dict[str, Any]]:
    log = ExchangeLog(lambda: AT_S)
    log(entry)
    log.flush()
    [(level, at_s, fields)] = rows
    assert at_s == AT_S
    assert SECRET not in str(fields)
    return level, fields


async def test_a_served_one_tells_who_answered_and_what_it_took(rows: list[Any]) -> None:
    served = record(
        deployment=deployment_at("http://x/v1"),
        usage=Usage(5, 2),
        cost_nanos=7,
        first_content_s=0.25,
        overhead_s=0.000_123,
        bytes_out=99,
        project="web",
    )
    level, fields = await tell(served, rows)
    assert level == "info"
    assert fields == {
        "event": "exchange",
        "request_id": "req_1",
        "generation": 3,
        "surface": "openai-chat",
        "ending": "served",
        "status": 200,
        "total_ms": 1234.56,
        "model": "smart",
        "operation": "chat",
        "stream": True,
        "bytes_in": len(SECRET),
        "deployment": "first/m",
        "first_content_ms": 250.0,
        "overhead_ms": 0.12,
        "bytes_out": 99,
        "label": "internal",
        "input_tokens": 5,
        "output_tokens": 2,
        "cost_nanos": 7,
        "project": "web",
        "logger": "exchange",
    }


async def test_attempts_are_told_when_there_were_several(rows: list[Any]) -> None:
    busy = Failure(FailureKind.OVERLOADED, "busy", detail="upstream says busy", status=503)
    attempts = [AttemptRecord("a/m", "verbatim", 0.1, busy), AttemptRecord("b/m", "verbatim", 0.2, None)]
    _, fields = await tell(record(attempts=attempts), rows)
    assert fields["attempts"] == [
        {"deployment": "a/m", "ms": 100.0, "failure": "overloaded", "detail": "upstream says busy"},
        {"deployment": "b/m", "ms": 200.0},
    ]


async def test_an_attempt_tells_that_it_was_a_hedge_waited_in_line_or_was_never_sent(rows: list[Any]) -> None:
    shut = Failure(FailureKind.SATURATED, "not now", code="breaker_open")
    attempts = [
        AttemptRecord("a/m", "verbatim", 0.0, shut, sent=False),
        AttemptRecord("b/m", "verbatim", 0.5, None, waited_s=0.25),
        AttemptRecord("c/m", "verbatim", 0.1, None, hedge=True),
    ]
    _, fields = await tell(record(attempts=attempts, waited_s=0.25), rows)
    assert fields["queued_ms"] == 250.0
    assert fields["attempts"] == [
        {"deployment": "a/m", "ms": 0.0, "sent": False, "failure": "saturated", "detail": "not now"},
        {"deployment": "b/m", "ms": 500.0, "queued_ms": 250.0},
        {"deployment": "c/m", "ms": 100.0, "hedge": True},
    ]


async def test_a_single_attempt_that_waited_in_line_is_told(rows: list[Any]) -> None:
    waited = [AttemptRecord("b/m", "verbatim", 0.5, None, waited_s=0.25)]
    _, fields = await tell(record(attempts=waited, waited_s=0.25), rows)
    assert [attempt["queued_ms"] for attempt in fields["attempts"]] == [250.0]


async def test_tenant_continuation_and_doubts_about_the_usage_are_told(rows: list[Any]) -> None:
    _, fields = await tell(record(tenant="acme", continued=1, disputed="no tokens for an answer"), rows)
    assert (fields["tenant"], fields["continued"]) == ("acme", 1)
    assert fields["usage_disputed"] == "no tokens for an answer"


async def test_one_that_was_understood_by_nobody_has_little_to_tell(rows: list[Any]) -> None:
    failure = Failure(FailureKind.BAD_REQUEST, "The body is not JSON.")
    refused = record(request=None, ending=Ending.FAILED, status=400, failure=failure, label="")
    level, fields = await tell(refused, rows)
    assert level == "info"
    assert fields["failure"] == "bad_request"
    assert fields["failure_detail"] == "left out, since it may quote the request"
    assert not {"model", "deployment", "label", "bytes_in"} & set(fields)


@pytest.mark.parametrize(
    ("ending", "status", "level"),
    [
        (Ending.SERVED, 200, "info"),
        (Ending.CANCELLED, 0, "info"),
        (Ending.FAILED, 429, "info"),
        (Ending.FAILED, 503, "warning"),
        (Ending.CUT, 200, "warning"),
    ],
)
async def test_the_level_says_whether_somebody_should_look(
    rows: list[Any], ending: Ending, status: int, level: str
) -> None:
    assert (await tell(record(ending=ending, status=status), rows))[0] == level


class TestDetails:
    async def told(self, failure: Failure, rows: list[Any]) -> str:
        _, fields = await tell(record(ending=Ending.FAILED, status=400, failure=failure), rows)
        return str(fields["failure_detail"])

    async def test_a_providers_words_may_quote_the_request_and_stay_out(self, rows: list[Any]) -> None:
        quoting = Failure(
            FailureKind.BAD_REQUEST, f"invalid: {SECRET}", said=f"invalid: {SECRET}", status=400, code=SECRET
        )
        assert await self.told(quoting, rows) == "status 400"

    async def test_our_own_words_are_told(self, rows: list[Any]) -> None:
        busy = Failure(FailureKind.OVERLOADED, "busy", detail="[529] overloaded", status=529)
        assert await self.told(busy, rows) == "[529] overloaded"

    async def test_without_any_our_message_is(self, rows: list[Any]) -> None:
        assert await self.told(Failure(FailureKind.TIMEOUT, "no answer"), rows) == "no answer"

    @pytest.mark.parametrize(
        "kind", ["bad_request", "not_found", "unsupported", "too_large", "content_refused"]
    )
    async def test_our_message_about_a_request_may_quote_it_and_stays_out(
        self, rows: list[Any], kind: str
    ) -> None:
        quoting = Failure(FailureKind(kind), f"Unknown parameter: '{SECRET}'.", code="unknown_parameter")
        assert await self.told(quoting, rows) == "code unknown_parameter"

    async def test_words_inside_an_answer_stay_out_too(self, rows: list[Any]) -> None:
        assert await self.told(Failure(FailureKind.OVERLOADED, SECRET, said=SECRET), rows) == "no words"

    async def test_a_status_alone_is_told_as_such(self, rows: list[Any]) -> None:
        said = Failure(FailureKind.OVERLOADED, f"who knows: {SECRET}", status=503)
        assert await self.told(said, rows) == "status 503"


async def test_lines_are_written_together_and_soon(rows: list[Any]) -> None:
    log = ExchangeLog(lambda: AT_S)
    for _ in range(3):
        log(record())
    assert not rows
    await until(lambda: bool(rows))
    assert len(rows) == 3
    log.flush()
    assert len(rows) == 3
    log(record())
    await asyncio.wait_for(until_rows(rows, 4), 5)


async def until_rows(rows: list[Any], count: int) -> None:
    await until(lambda: len(rows) == count)
