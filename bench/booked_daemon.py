"""The daemon as it is, with a watch on its books: ``python -m bench.booked_daemon FILE run ...``.

At its end FILE has a line for each attempt that was settled: how long booking it took before its client had the answer,
and how long all of it took; nanoseconds. What the watch itself takes is part of that.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from llmproxyd.cli import main
from llmproxyd.exchange.books import Booking, Books


class Watch:
    """The three steps of the books, timed. ``rows``: (before the answer, all of it) by settled attempt."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self._opened_ns: dict[str, int] = {}
        self._counted_ns: dict[int, int] = {}

    def put_on(self) -> None:
        open_, count, settle = Books.open, Books.count, Books.settle

        def timed_open(books: Books, *arguments: Any, **more: Any) -> Any:
            started_ns = time.perf_counter_ns()
            booking = open_(books, *arguments, **more)
            if isinstance(booking, Booking):
                self._opened_ns[booking.id] = time.perf_counter_ns() - started_ns
            return booking

        def timed_count(books: Books, running: Any, *arguments: Any) -> Any:
            started_ns = time.perf_counter_ns()
            counted = count(books, running, *arguments)
            self._counted_ns[id(running)] = time.perf_counter_ns() - started_ns
            return counted

        def timed_settle(books: Books, booking: Booking, running: Any, *arguments: Any) -> None:
            started_ns = time.perf_counter_ns()
            settle(books, booking, running, *arguments)
            took_ns = time.perf_counter_ns() - started_ns
            before_ns = self._opened_ns.pop(booking.id) + self._counted_ns.pop(id(running), 0)
            self.rows.append((before_ns, before_ns + took_ns))

        Books.open, Books.count, Books.settle = timed_open, timed_count, timed_settle  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    watch = Watch()
    watch.put_on()
    try:
        status = main(sys.argv[2:])
    finally:
        Path(sys.argv[1]).write_text("".join(f"{before} {whole}\n" for before, whole in watch.rows))
    sys.exit(status)
