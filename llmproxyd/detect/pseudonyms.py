"""Names that stand for masked values on their way to a provider and back: how they are made, and how they are known again.

One form for every kind: the group of the kind, an underscore, six characters: ``EMAIL_4KQ7XM``. It tells the model what
stands there, and no more. It is a word in every language that an answer may be written in: no bracket that HTML, a shell
or JSON would escape, no address that a model would take apart, no number whose digits it would correct. What it gives up
are formats that a provider enforces by grammar, such as ``format: email``: there the model has to invent an address.

The six characters are derived from the value with a key for each conversation. So the same value has the same name in
every turn, although nothing is remembered between them, and another name in any other conversation.
"""

from __future__ import annotations

import hmac
import re
import secrets
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

TAG_CHARS: Final = 6
TAG_ALPHABET: Final = "23456789BCDFGHJKMNPQRSTVWXZ"
"""No vowels, so that no word comes out; nothing that is easily taken for something else."""

_GROUP_CHARS: Final = 24
_OTHER_GROUPS: Final = ("DATA", "MASKED", "Q")
"""Where the group's own name is itself something to be hidden."""
_TRIES: Final = 16
_NOT_A_WORD: Final = re.compile(r"[^A-Z0-9]+")

# What models make of an underscore: Markdown escapes it, prose turns it into a space or a hyphen.
_SEPARATOR: Final = r" ?\\{0,2}[_ -] ?"
_SEPARATOR_CHARS: Final = 5
_SEPARATING: Final = " _-\\"
_SQUASH: Final = str.maketrans("", "", _SEPARATING)
_LOOSE: Final = re.compile(r"[A-Za-z0-9 _\\-]+")


class Keyring:
    """Makes the keys of conversations from a secret of this process. Keeps none of them."""

    def __init__(self, secret: bytes | None = None) -> None:
        """secret: 32 bytes; None: new ones, so that names of another process mean nothing here."""
        self._secret = secret or secrets.token_bytes(32)

    def key_of(self, owner: str, conversation: bytes) -> bytes:
        """owner: who asks. conversation: the same bytes for each of its turns. -> 32 bytes."""
        named = owner.encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, len(named).to_bytes(8, "big") + named + conversation, "sha256")


def name_value(key: bytes, kind: str, value: str, is_free: Callable[[str], bool]) -> str | None:
    """The name of ``value``: the first that ``is_free``, of a sequence that depends on key, kind and value alone.

    None if none of them is, as when the text is made of nothing but names.
    """
    text = value.encode("utf-8", "surrogatepass")
    for turn, group in enumerate((_group_of(kind), *_OTHER_GROUPS)):
        for attempt in range(_TRIES):
            digest = hmac.digest(key, bytes((turn, attempt)) + text, "sha256")
            name = f"{group}_{_tag(digest)}"
            if is_free(name):
                return name
    return None


def _group_of(kind: str) -> str:
    words = _NOT_A_WORD.sub("_", kind.partition(".")[0].upper())
    return words[:_GROUP_CHARS].strip("_") or _OTHER_GROUPS[0]


def tag_of(name: str) -> str:
    return name[-TAG_CHARS:]


def _tag(digest: bytes) -> str:
    number, chars = int.from_bytes(digest[:16], "big"), []
    for _ in range(TAG_CHARS):
        number, place = divmod(number, len(TAG_ALPHABET))
        chars.append(TAG_ALPHABET[place])
    return "".join(chars)


def alternation(words: Iterable[str], depth: int = 4) -> str:
    """A pattern for any of these words, the longest where several fit. Words that begin alike share the beginning, so
    that a text is compared with few of them at each place."""
    by_first: dict[str, list[str]] = {}
    for word in words:
        by_first.setdefault(word[:1], []).append(word[1:])
    empty = by_first.pop("", None)
    branches = [re.escape(first) + _rest(rests, depth - 1) for first, rests in by_first.items()]
    if empty is not None:
        branches.append("")
    return f"(?:{'|'.join(branches)})"


def _rest(words: list[str], depth: int) -> str:
    if len(words) == 1:
        return re.escape(words[0])
    if depth > 0:
        return alternation(words, depth)
    return f"(?:{'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))})"


class LiveNames:
    """The names of one request, and what each is to be replaced by.

    A name counts as written, whatever surrounds it. In other letters, or with another separator, it counts only as a word
    of its own: ``email 4kq7xm`` is meant, ``email_4kq7xmz`` may be anything. ``quoted``: names that count only between
    quotation marks, and are replaced together with them.
    """

    def __init__(self, meanings: Mapping[str, str], quoted: Mapping[str, str] | None = None) -> None:
        self._exact = {**meanings, **{f'"{name}"': text for name, text in (quoted or {}).items()}}
        self._loose = {name.translate(_SQUASH): text for name, text in meanings.items()}
        self._sorted_exact = sorted(self._exact)
        self._sorted_loose = sorted(self._loose)
        self._firsts = frozenset(first for name in self._exact for first in (name[0], name[0].lower()))
        self.longest = max(
            (len(name) + _SEPARATOR_CHARS * name.count("_") for name in self._exact), default=0
        )
        self._pattern = re.compile(_pattern(self._exact, meanings)) if self._exact else None

    def restore(self, text: str) -> str:
        """Every live name in it replaced."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: self.meaning(found[0]), text)

    def find(self, text: str, start: int = 0) -> re.Match[str] | None:
        """The first live name from ``start`` on; what stands before is looked at as its surroundings."""
        return None if self._pattern is None else self._pattern.search(text, start)

    def find_all(self, text: str) -> Iterator[re.Match[str]]:
        return iter(()) if self._pattern is None else self._pattern.finditer(text)

    def meaning(self, written: str) -> str:
        """What a name that was found stands for."""
        exact = self._exact.get(written)
        return self._loose[_squash(written)] if exact is None else exact

    def tail_from(self, text: str, start: int) -> int:
        """Where the end of ``text`` begins that more text could make a live name; its length if it cannot.

        ``start``: what stands before is settled, and only looked at as surroundings.
        """
        size = len(text)
        for place in range(max(start, size - self.longest), size):
            if text[place] in self._firsts and self._may_grow(text, place):
                return place
        return size

    def _may_grow(self, text: str, place: int) -> bool:
        tail = text[place:]
        if tail in self._exact:
            return False
        if _begins_one_of(tail, self._sorted_exact):
            return True
        if (place and _is_wordlike(text[place - 1])) or not _LOOSE.fullmatch(tail):
            return False
        squashed = _squash(tail)
        if squashed in self._loose:
            return tail[-1] not in _SEPARATING
        return _begins_one_of(squashed, self._sorted_loose)


def _pattern(exact: Iterable[str], loose: Iterable[str]) -> str:
    tags: dict[str, list[str]] = {}
    for name in loose:
        tags.setdefault(name[: -TAG_CHARS - 1], []).append(tag_of(name))
    groups = [
        group.replace("_", _SEPARATOR) + _SEPARATOR + alternation(found) for group, found in tags.items()
    ]
    as_written = alternation(exact, depth=_GROUP_CHARS)
    if not groups:
        return as_written
    return rf"{as_written}|(?<![A-Za-z0-9])(?ai:{'|'.join(groups)})(?![A-Za-z0-9])"


def _squash(text: str) -> str:
    return text.translate(_SQUASH).upper()


def _is_wordlike(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _begins_one_of(text: str, names: list[str]) -> bool:
    place = bisect_left(names, text)
    return place < len(names) and names[place].startswith(text)
