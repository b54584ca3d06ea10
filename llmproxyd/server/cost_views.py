"""``GET /admin/v1/cost`` and ``/admin/v1/budgets``: spending out of the ledger, and what is left of every budget.

The ledger is asked in a thread, for a bounded time, and by few at once: whoever looks at figures must not hold up those
who wait for answers. Savings are not worked out here for the same reason; ``llmproxyd cost`` does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from llmproxyd.ledger import reports
from llmproxyd.ledger.store import LedgerReader, LedgerUnreadable
from llmproxyd.ledger.windows import UTC_ZONE, read_window, read_zone
from llmproxyd.server import cost_report
from llmproxyd.server.reply import Written, send_json
from llmproxyd.state.budgets import Budgets

COST_PATH: Final = "/admin/v1/cost"
BUDGETS_PATH: Final = "/admin/v1/budgets"
MAX_TOP: Final = 100
MAX_AT_ONCE: Final = 2
_DEFAULT_TOP: Final = 5


class BadQuestion(Exception):  # noqa: N818 - answered with 400
    """What was asked makes no sense; the text says which part."""


class CostViews:
    """For those who may administer. ``wall``: Unix seconds. ``reader`` should give up within a few seconds."""

    def __init__(self, reader: LedgerReader, budgets: Budgets, *, wall: Callable[[], float]) -> None:
        self._reader = reader
        self._budgets = budgets
        self._wall = wall
        self._asking = 0

    async def cost(self, http: web.BaseRequest) -> Written:
        """``?by=`` a dimension (model), ``since``, ``until``, ``zone`` as of ``llmproxyd cost``, ``top`` (5)."""
        try:
            question = _Question(dict(http.query), self._wall())
        except BadQuestion as error:
            return await _refuse(http, 400, "bad_request", str(error))
        if self._asking >= MAX_AT_ONCE:
            return await _refuse(http, 503, "busy", "Other reports are being made; ask again in a moment.")
        self._asking += 1
        try:
            document = await asyncio.to_thread(question.answer, self._reader)
        except LedgerUnreadable as reason:
            return await _refuse(http, 503, "ledger_unreadable", f"The ledger cannot tell: {reason}.")
        finally:
            self._asking -= 1
        return await send_json(http, 200, document)

    async def budgets(self, http: web.BaseRequest) -> Written:
        return await send_json(http, 200, cost_report.budgets(self._budgets.report(self._wall()), live=True))


class _Question:
    """What a query asks for. Raises BadQuestion."""

    def __init__(self, query: dict[str, str], now_s: float) -> None:
        unknown = set(query) - {"by", "since", "until", "zone", "top"}
        if unknown:
            raise BadQuestion(f"`{min(unknown)[:60]}` means nothing here; by, since, until, zone and top do.")
        self.by = query.get("by", "model")
        if self.by not in reports.DIMENSIONS:
            raise BadQuestion(f"`by` is one of {', '.join(reports.DIMENSIONS)}.")
        self.top = _small_number(query.get("top", str(_DEFAULT_TOP)))
        self._now_s = now_s
        try:
            self.zone = read_zone(query["zone"]) if "zone" in query else UTC_ZONE
            self.window = read_window(query.get("since"), query.get("until"), self.zone, now_s)
        except ValueError as error:
            raise BadQuestion(f"{error}.") from None

    def answer(self, reader: LedgerReader) -> dict[str, Any]:
        """Blocks. Raises LedgerUnreadable."""
        rows = reports.sums_by(reader, self.by, self.window, self.zone)
        total = reports.in_all(reader, self.window)
        document = cost_report.spending(self.by, self.zone.key, self.window, rows, total)
        document["projection"] = cost_report.projection(reports.project(reader, self._now_s, self.zone))
        document["top"] = cost_report.top(reports.top_requests(reader, self.window, self.top))
        return document


def _small_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= MAX_TOP):
        raise BadQuestion(f"`top` is a number from 0 to {MAX_TOP}.")
    return int(text)


async def _refuse(http: web.BaseRequest, status: int, code: str, message: str) -> Written:
    kind = "invalid_request_error" if status == 400 else "server_error"
    return await send_json(http, status, {"error": {"message": message, "type": kind, "code": code}})
