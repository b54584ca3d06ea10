"""Which generation is in force, and what became of the reloads so far. Only ``reload`` changes it; all others read."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from llmproxyd.config.problem import Problem, Severity
from llmproxyd.routing.compile import Routes
from llmproxyd.values.snapshot import Snapshot

HISTORY = 50
DISCOVERY = "discovery"
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

Result: TypeAlias = Literal["applied", "noop", "rejected"]


class Generation(msgspec.Struct, frozen=True, weakref=True):
    """One accepted configuration. A request takes it once and keeps it. ``since_s`` is wall clock."""

    number: int
    snapshot: Snapshot
    routes: Routes
    since_s: float
    hash: str


class ReloadVerdict(msgspec.Struct, frozen=True):
    """What came of a reload. ``generation`` is the one in force afterwards; ``problems`` of an accepted one are its
    warnings. ``at_s`` is wall clock, when it ended; ``duration_s`` from when reading began."""

    result: Result
    generation: int
    token: str
    trigger: str
    duration_s: float
    problems: tuple[Problem, ...]
    at_s: float

    @property
    def accepted(self) -> bool:
        return self.result != "rejected"


class InForce:
    """Which generation is current, and what became of the reloads so far.

    ``rejected``: the last verdict, as long as the files on disk are refused. ``accepted_s``: wall clock of the last
    reload that found the files right. ``counters``: reloads by (result, trigger). ``watch_mode``, ``watch_why``: how
    changes are noticed, and why not by inotify.
    """

    def __init__(self) -> None:
        self._current: Generation | None = None
        self.rejected: ReloadVerdict | None = None
        self.accepted_s: float | None = None
        self.history: deque[ReloadVerdict] = deque(maxlen=HISTORY)
        self.counters: Counter[tuple[str, str]] = Counter()
        self.watch_mode: str = "inotify"
        self.watch_why = ""

    @property
    def current(self) -> Generation:
        """Raises LookupError before the first load was accepted."""
        if self._current is None:
            raise LookupError("no configuration is in force yet")
        return self._current

    @property
    def last(self) -> ReloadVerdict:
        """Raises LookupError before the first load."""
        if not self.history:
            raise LookupError("nothing has been loaded yet")
        return self.history[-1]

    @property
    def number(self) -> int:
        """Of the current generation; 0 before the first."""
        return self._current.number if self._current else 0

    @property
    def hash(self) -> str:
        """Of the current generation; empty before the first."""
        return self._current.hash if self._current else ""

    @property
    def status_line(self) -> str:
        """``gen 2 ok``, or which generation is kept and what is wrong with the files."""
        if self.rejected is None:
            return f"gen {self.number} ok"
        return f"gen {self.number} kept: {_first_error(self.rejected.problems)}"

    def swap(self, generation: Generation) -> None:
        self._current = generation

    def record(self, verdict: ReloadVerdict) -> None:
        """Keep a verdict. A discovery says nothing about the files, so it leaves ``rejected`` as it is."""
        self.history.append(verdict)
        self.counters[verdict.result, verdict.trigger] += 1
        if verdict.trigger == DISCOVERY:
            return
        self.rejected = None if verdict.accepted else verdict
        if verdict.accepted:
            self.accepted_s = verdict.at_s


def check_token(token: str) -> str:
    """The token itself. Raises ValueError with a message fit for the caller."""
    if not _TOKEN.fullmatch(token):
        raise ValueError("a reload token has 1 to 64 characters out of A-Z a-z 0-9 . _ -")
    return token


def _first_error(problems: Sequence[Problem]) -> str:
    first = next((problem for problem in problems if problem.severity is Severity.ERROR), None)
    if first is None:
        return "refused"
    return " ".join(filter(None, (str(first.span or ""), first.code, first.message)))
