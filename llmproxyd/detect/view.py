"""A text after some of its characters were replaced, and the way back to where they stood.

Each step of normalisation is a layer of cuts. Nearly all texts need none, and findings are few: so building a layer costs
as much as there are cuts, and a look-up is a search among them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

Cut: TypeAlias = tuple[int, int, str]
"""Start, end and what stands there instead. Cuts are in order and do not overlap."""


class Layer(msgspec.Struct, frozen=True):
    """Where each cut begins and ends, after and before it was made."""

    new_starts: tuple[int, ...]
    new_ends: tuple[int, ...]
    old_starts: tuple[int, ...]
    old_ends: tuple[int, ...]

    def old_start(self, at: int) -> int:
        """Where the character at ``at`` began. Inside a replacement: where what was replaced began."""
        cut = bisect_right(self.new_starts, at) - 1
        if cut < 0:
            return at
        beyond = at - self.new_ends[cut]
        return self.old_starts[cut] if beyond < 0 else self.old_ends[cut] + beyond

    def old_end(self, end: int) -> int:
        """Where the character before ``end`` ended."""
        if end == 0:
            return 0
        last = end - 1
        cut = bisect_right(self.new_starts, last) - 1
        inside = cut >= 0 and last < self.new_ends[cut]
        return self.old_ends[cut] if inside else self.old_start(last) + 1


class View(msgspec.Struct, frozen=True):
    """``text`` and how it came about. ``within``: what it was unpacked from stands there as a whole, in the text given."""

    text: str
    layers: tuple[Layer, ...] = ()
    within: tuple[int, int] | None = None

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """Where ``self.text[start:end]`` stands in the text as it was given."""
        if self.within is not None:
            return self.within
        for layer in reversed(self.layers):
            start, end = layer.old_start(start), layer.old_end(end)
        return start, end

    def replaced(self, cuts: Iterable[Cut]) -> View:
        """The same with the cuts made; itself where there are none."""
        pieces: list[str] = []
        rows: list[tuple[int, int, int, int]] = []
        kept_to, size = 0, 0
        for start, end, instead in cuts:
            pieces += (self.text[kept_to:start], instead)
            size += start - kept_to
            rows.append((size, size + len(instead), start, end))
            size += len(instead)
            kept_to = end
        if not rows:
            return self
        text = "".join(pieces) + self.text[kept_to:]
        layer = Layer(*map(tuple, zip(*rows, strict=True)))
        return View(text, (*self.layers, layer), self.within)

    def translated(self, text: str) -> View:
        """The same with other characters, as many."""
        return View(text, self.layers, self.within)

    def unpacked(self, text: str, start: int, end: int) -> View:
        """What ``self.text[start:end]`` turned out to hold."""
        return View(text, (), self.locate(start, end))
