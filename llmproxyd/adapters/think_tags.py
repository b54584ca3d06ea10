"""Thoughts that a local server leaves in the text, as ``<think>…</think>`` before the answer.

Only a tag at the very start counts: further on it is more likely something the model talks about. Without an opening
tag nothing can be told from the beginning, so such an answer stays text.
"""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """Splits the text of one choice; the tags may be cut anywhere. Line ends next to the tags are theirs."""

    __slots__ = ("_held", "_inside", "_settled", "_trim")

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._settled = False
        self._trim = False

    def feed(self, text: str) -> tuple[str, str]:
        """-> (thought, answer) of what can be told so far."""
        if self._settled:
            return "", self._trimmed(text) if self._trim else text
        self._held += text
        if self._inside:
            return self._read_thought()
        start = self._held.lstrip()
        if start.startswith(_OPEN):
            self._inside = self._trim = True
            self._held = start[len(_OPEN) :]
            return self._read_thought()
        if _OPEN.startswith(start):
            return "", ""
        self._settled = True
        return "", self._take(len(self._held))

    def close(self) -> tuple[str, str]:
        """What was held back while it could have become a tag."""
        held = self._take(len(self._held))
        return (held, "") if self._inside else ("", held)

    def _read_thought(self) -> tuple[str, str]:
        end = self._held.find(_CLOSE)
        if end < 0:
            return self._trimmed(self._take(len(self._held) - _overlap(self._held))), ""
        thought = self._trimmed(self._take(end))
        self._settled = self._trim = True
        self._inside = False
        return thought, self._trimmed(self._take(len(self._held))[len(_CLOSE) :])

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken

    def _trimmed(self, text: str) -> str:
        if self._trim:
            text = text.lstrip("\n")
            self._trim = not text
        return text


def _overlap(text: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of the closing tag."""
    return next((n for n in range(min(len(_CLOSE) - 1, len(text)), 0, -1) if text.endswith(_CLOSE[:n])), 0)
