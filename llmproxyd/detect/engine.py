"""Runs detectors over everything that would leave.

All texts of a request are read as one document, in chunks, each chunk in plain form and then whatever is packed in it.
One search of all prefilters at once says which detectors have to look at all; for most texts none has. Then the seams:
what lies at the border of two texts that belong together is read once more as if there were none.

Nothing here raises. A detector that does, or that finds what is not there, makes the whole scan fail, and a failed scan
counts as if everything had been found.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate, chain, islice

import msgspec
import re2
from msgspec.structs import replace

from llmproxyd.detect.detector import Detector
from llmproxyd.detect.kinds import DEFAULT_NAMES, detectors_for
from llmproxyd.detect.normalise import fold_characters, to_plain
from llmproxyd.detect.patterns import own_detector
from llmproxyd.detect.spelt import find_spelt
from llmproxyd.detect.unpack import MAX_DEPTH, unpack
from llmproxyd.detect.view import View
from llmproxyd.values.privacy import NOTHING_FOUND, Finding, Found, Piece, Scan, covers_any
from llmproxyd.values.snapshot import OwnPattern

CHUNK_CHARS = 32 * 1024
OVERLAP_CHARS = 2 * 1024
SEAM_CHARS = 128
"""How much of a text's ends is read again together with its neighbours."""
MAX_FINDINGS = 20_000
"""Of one detector in one chunk; more than that is nonsense."""

_BORDER = "\n\x1e\n"
_BREAKS = " \n\t"
_PREFILTER_BYTES = 64 << 20
# Where two findings overlap, the one that is named first here is meant; a telephone number inside a card number is none.
_MEANT = (
    "secret", "wallet", "iban", "payment_card", "national_id", "email", "mac", "passport", "medical_record", "ip", "phone",
)  # fmt: skip


class _OutOfTime(Exception):  # noqa: N818 - an outcome, not a bug
    """The budget is spent."""


class _Nonsense(Exception):  # noqa: N818 - a verdict on a detector
    """A detector found something that cannot be."""


class _Watch(msgspec.Struct):
    """When a scan has to stop. ``shallow``: something was packed too deeply to be read."""

    clock: Callable[[], float]
    until_s: float
    shallow: bool = False

    def check(self) -> None:
        if self.clock() > self.until_s:
            raise _OutOfTime


class Detectors:
    """A set of detectors, compiled. ``names``: the kinds and groups that count; other findings are dropped."""

    def __init__(self, detectors: Iterable[Detector], names: Collection[str]) -> None:
        self._detectors = tuple(detectors)
        self._names = frozenset(names)
        self._always = tuple(d for d in self._detectors if not d.prefilter)
        self._marked: list[Detector] = []
        self._marks = _new_set()
        for detector in self._detectors:
            for pattern in detector.prefilter:
                self._marks.Add(pattern)
                self._marked.append(detector)
        if self._marked:
            self._marks.Compile()

    @property
    def kinds(self) -> frozenset[str]:
        """All that can be found."""
        return frozenset(kind for d in self._detectors for kind in d.kinds if covers_any(self._names, kind))

    def scan(self, pieces: Iterable[Piece], *, clock: Callable[[], float], budget_s: float) -> Scan:
        """What the pieces hold. ``clock``: monotonic seconds; when ``budget_s`` of them have passed, the rest stays
        unread and counts as unscanned text. Offsets are those in each piece's text."""
        if not self._detectors:
            return NOTHING_FOUND
        watch = _Watch(clock, clock() + budget_s)
        found: dict[Found, None] = {}
        unread = False
        texts: list[Piece] = []
        try:
            texts += (piece for piece in pieces if piece.text)
            for each in chain(self._in_texts(texts, watch), self._at_seams(texts, watch)):
                found[each] = None
        except _OutOfTime:
            unread = True
        except Exception as error:  # noqa: BLE001 - whatever broke, the text may hold anything: say so, and let nothing out
            reason = f"{type(error).__name__} in a detector: {_first_line(error)}"
            return Scan(_in_order(found, texts), failed=reason)
        return Scan(_in_order(found, texts), frozenset({"text"} if unread or watch.shallow else ()))

    def find(self, text: str) -> list[Finding]:
        """What one text holds, in order, without a limit of time. Raises what a detector raises."""
        watch = _Watch(lambda: 0.0, 1.0)
        return sorted(set(self._in_text(text, watch)), key=lambda f: (f.start, f.end, f.kind))

    # --- documents ----------------------------------------------------------------------------------------------

    def _in_texts(self, pieces: Sequence[Piece], watch: _Watch) -> Iterator[Found]:
        document = _Document([piece.text for piece in pieces], _BORDER)
        for finding in self._in_text(document.text, watch):
            for number, share in document.shares(finding):
                yield Found(pieces[number].place, share)

    def _at_seams(self, pieces: Sequence[Piece], watch: _Watch) -> Iterator[Found]:
        """What has a share in more than one of the pieces that go on where the one before ended."""
        for group in _joined(pieces):
            ends = [_Ends.of(piece.text) for piece in group]
            document = _Document([each.text for each in ends], "")
            for finding in self._in_text(document.text, watch):
                shares = document.shares(finding)
                for number, share in shares if len(shares) > 1 else ():
                    yield Found(group[number].place, ends[number].back(share))

    def _in_text(self, text: str, watch: _Watch) -> Iterator[Finding]:
        for start, end in _chunks(text):
            for finding in self._in_view(View(text[start:end]), watch, 0):
                moved = replace(finding, start=finding.start + start, end=finding.end + start)
                if not _is_cut(moved, start, end, len(text)):
                    yield moved

    # --- views --------------------------------------------------------------------------------------------------

    def _in_view(self, view: View, watch: _Watch, depth: int) -> Iterator[Finding]:
        watch.check()
        readable = fold_characters(view)
        plain, readings = to_plain(readable)
        for reading in (plain, *readings):
            yield from self._found_in(reading, self._matches(reading.text, watch))
        if readings:
            yield from self._found_in(plain, self._wanted(find_spelt(plain.text)))
        for inner in unpack(readable):
            if depth == MAX_DEPTH:
                watch.shallow = True
                return
            yield from self._in_view(inner, watch, depth + 1)

    def _matches(self, text: str, watch: _Watch) -> list[Finding]:
        found = (each for detector in self._marked_in(text) for each in _checked(detector, text, watch))
        return self._wanted(found)

    def _wanted(self, findings: Iterable[Finding]) -> list[Finding]:
        return [each for each in findings if covers_any(self._names, each.kind)]

    @staticmethod
    def _found_in(view: View, findings: list[Finding]) -> Iterator[Finding]:
        """The findings of a view where they stand in the text that was given."""
        for finding in _resolve(findings):
            start, end = view.locate(finding.start, finding.end)
            yield Finding(finding.kind, start, end, finding.detector)

    def _marked_in(self, text: str) -> Iterable[Detector]:
        if not self._marked:
            return self._always
        marks = self._marks.Match(text.encode()) or ()
        return (*self._always, *dict.fromkeys(self._marked[mark] for mark in sorted(marks)))


def _in_order(found: Iterable[Found], pieces: Sequence[Piece]) -> tuple[Found, ...]:
    """As they stand in the document; what was split between two pieces is found after all the rest."""
    order = {piece.place: number for number, piece in reversed(list(enumerate(pieces)))}
    return tuple(sorted(found, key=lambda each: (order[each.place], each.finding.start, each.finding.end)))


def _new_set() -> re2.Set:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PREFILTER_BYTES
    return re2.Set.SearchSet(options)


def _checked(detector: Detector, text: str, watch: _Watch) -> Iterator[Finding]:
    watch.check()
    for number, finding in enumerate(islice(detector.find(text), MAX_FINDINGS + 1)):
        if number == MAX_FINDINGS:
            raise _Nonsense(f"{detector.name} finds something everywhere")
        whole = type(finding.start) is type(finding.end) is int  # half a character would be masked by nobody
        if (
            not whole
            or not 0 <= finding.start < finding.end <= len(text)
            or finding.kind not in detector.kinds
        ):
            raise _Nonsense(f"{detector.name} found what it cannot find")
        yield finding


def _resolve(findings: list[Finding]) -> list[Finding]:
    """Without those that overlap one that is rather meant."""
    if len(findings) < 2:
        return findings
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.start, f.start - f.end, _rank(f.kind))):
        while kept and kept[-1].end > finding.start and _rank(finding.kind) < _rank(kept[-1].kind):
            kept.pop()
        if not (kept and kept[-1].end > finding.start and _rank(finding.kind) > _rank(kept[-1].kind)):
            kept.append(finding)
    return kept


@cache
def _rank(kind: str) -> int:
    group = kind.partition(".")[0]
    return _MEANT.index(group) if group in _MEANT else 0


def _first_line(error: Exception) -> str:
    # A detector's own words might quote the text.
    return str(error) if isinstance(error, _Nonsense) else "see its tests"


# --- many texts as one ------------------------------------------------------------------------------------------


class _Document:
    """Texts in a row, with a border between two of them."""

    def __init__(self, texts: Sequence[str], border: str) -> None:
        self.text = border.join(texts)
        self._sizes = [len(text) for text in texts]
        self._starts = list(accumulate((size + len(border) for size in self._sizes), initial=0))[:-1]

    def shares(self, finding: Finding) -> list[tuple[int, Finding]]:
        """The part of a finding that lies in each text it touches, with the number of that text."""
        shares = []
        for number in range(bisect_right(self._starts, finding.start) - 1, len(self._starts)):
            start = self._starts[number]
            if start >= finding.end:
                break
            begin, end = max(finding.start - start, 0), min(finding.end - start, self._sizes[number])
            if begin < end:
                shares.append((number, replace(finding, start=begin, end=end)))
        return shares


class _Ends(msgspec.Struct, frozen=True):
    """A text without its middle if it is long. ``head``: how much of it stands before the gap; ``missing``: how many
    characters the gap stands for, its border taken off."""

    text: str
    head: int
    missing: int

    @classmethod
    def of(cls, text: str) -> _Ends:
        if len(text) <= 2 * SEAM_CHARS + len(_BORDER):
            return cls(text, len(text), 0)
        kept = text[:SEAM_CHARS] + _BORDER + text[-SEAM_CHARS:]
        return cls(kept, SEAM_CHARS, len(text) - len(kept))

    def back(self, finding: Finding) -> Finding:
        """The finding where it stands in the whole text."""
        start, end = (at + self.missing if at > self.head else at for at in (finding.start, finding.end))
        return replace(finding, start=start, end=end)


def _joined(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Runs of at least two pieces, each of which goes on where the one before ended."""
    group: list[Piece] = []
    for piece in pieces:
        if not piece.joined:
            if len(group) > 1:
                yield group
            group = []
        group.append(piece)
    if len(group) > 1:
        yield group


def _chunks(text: str) -> Iterator[tuple[int, int]]:
    """Spans that overlap, cut at blanks where there are any."""
    start = 0
    while len(text) - start > CHUNK_CHARS:
        end = _break_before(text, start + CHUNK_CHARS)
        yield start, end
        start = _break_before(text, end - OVERLAP_CHARS)
    yield start, len(text)


def _break_before(text: str, at: int) -> int:
    found = max(text.rfind(sign, at - OVERLAP_CHARS // 2, at) for sign in _BREAKS)
    return found if found > 0 else at


def _is_cut(finding: Finding, start: int, end: int, size: int) -> bool:
    """Whether a finding touches where its chunk was cut, so that the neighbouring chunk shows all of it."""
    if finding.end - finding.start >= OVERLAP_CHARS // 2:
        return False
    return finding.start == start > 0 or finding.end == end < size


# --- ready-made -------------------------------------------------------------------------------------------------


def build_detectors(names: Collection[str], own: Iterable[OwnPattern] = ()) -> Detectors:
    """For these kinds and groups; ``own``: the kinds that the operator has described."""
    described = [own_detector(each) for each in own]
    wanted = (d for d in described if any(covers_any(names, kind) for kind in d.kinds))
    return Detectors((*detectors_for(names), *wanted), names)


@cache
def default_detectors() -> Detectors:
    """All hard kinds and secrets."""
    return build_detectors(DEFAULT_NAMES)
