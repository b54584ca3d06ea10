"""The masked copy of a conversation: every value of the kinds to be covered has given way to a name.

A value is covered wherever it occurs, not only where it was found: a provider must not read in one place what was taken
out of another. Values are looked for in all texts that leave, whatever the dialect calls them; ids that only their maker
understands, signatures and media are left alone, and a copy in which a value is still to be seen is never used
(``MaskBook.shows``). Texts of the client's own that look like one of the names are given a name themselves, so that what
comes back is what was sent.

The names are made anew for each request, from the conversation's key alone (``pseudonyms``): nothing is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from itertools import groupby
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from llmproxyd.detect.hidden import MAX_VALUES, CannotMask, Hidden
from llmproxyd.detect.jsonpieces import NUMBER_LITERAL, PIECE, escaped, is_json, literal, same_json
from llmproxyd.detect.pseudonyms import LiveNames, alternation, name_value, tag_of
from llmproxyd.detect.restoring import Meanings, Restorer, restore_answer
from llmproxyd.values.answer import Answer
from llmproxyd.values.request import Chat, ToolCall

_ROUNDS: Final = 8

_LOOKS_LIKE_A_NAME: Final = "text"
_NUMBER: Final = "number"

_UNTOUCHED: Final = frozenset(
    {
        "data", "media_type", "signature", "encrypted", "origin", "item_id", "file_id", "format", "detail", "kind",
        "mode", "effort", "ttl", "service_tier", "logit_bias", "left_out",
    }
)  # fmt: skip

_T = TypeVar("_T")


class MaskBook:
    """What is masked in one request, and the way back. ``key``: the conversation's, see ``Keyring``."""

    def __init__(self, key: bytes, hidden: Iterable[Hidden]) -> None:
        self._key = key
        self._hidden = {each.text: each for each in hidden}
        self._names: dict[str, str] = {}
        self._numbers: dict[str, str] = {}
        self._tags: set[str] = set()
        self._values = _find_values(self._hidden.values())
        self._json_text = False
        for each in self._hidden.values():
            self._name(each.kind, each.text)
        self._shown, self._meanings = self._values, self._know()

    def mask_content(self, content: Chat) -> Chat:
        """The copy in which every hidden value has given way to its name. Raises CannotMask."""
        self._json_text = content.output_format is not None and content.output_format.kind != "text"
        for _ in range(_ROUNDS):
            if not self._note_look_alikes(content):
                return rewrite(content, self.mask_text, self._mask_arguments)
        raise CannotMask("it is full of texts that look like masked ones")

    def mask_text(self, text: str) -> str:
        """The same for one text. Raises CannotMask if there would be no way back."""
        masked = self._values.sub(lambda found: self._names[found[0]], text)
        if masked != text and self._meanings.plain.restore(masked) != text:
            raise CannotMask("it cannot be masked in such a way that it could be read again")
        return masked

    def shows(self, text: str) -> bool:
        """Whether a value that ought to be hidden can be read in this text."""
        return self._shown.search(text) is not None

    @property
    def meanings(self) -> Meanings:
        """What the names mean that the content masked last was told with."""
        return self._meanings

    def restore_text(self, text: str) -> str:
        return self._meanings.plain.restore(text)

    def restore_answer(self, answer: Answer) -> Answer:
        return restore_answer(answer, self._meanings)

    def new_restorer(self) -> Restorer:
        """For one stream that answers the content masked last."""
        return Restorer(self._meanings)

    # --- names ----------------------------------------------------------------------------------------------

    def _name(self, kind: str, value: str) -> None:
        if value not in self._names:
            self._names[value] = self._new_name(kind, value)

    def _new_name(self, kind: str, value: str) -> str:
        name = name_value(self._key, kind, value, self._is_free)
        if name is None:
            raise CannotMask("every name for a value is itself something to be hidden")
        self._tags.add(tag_of(name))
        return name

    def _is_free(self, name: str) -> bool:
        # With its tag nobody else's, a name is known in whatever letters a model writes it.
        return tag_of(name) not in self._tags and self._values.search(name) is None

    def _know(self) -> Meanings:
        plain = {name: value for value, name in self._names.items()}
        plain |= {name: number for number, name in self._numbers.items()}
        in_json = {name: escaped(value) for name, value in plain.items()}
        numbers = {name: number for number, name in self._numbers.items()}
        return Meanings(LiveNames(plain), LiveNames(in_json, numbers), self._json_text)

    def _note_look_alikes(self, content: Chat) -> bool:
        """Give a name to whatever in ``content`` would be taken for one. Whether there was anything new."""
        known = len(self._names) + len(self._numbers)
        found: set[str] = set()

        def look(text: str) -> str:
            found.update(each[0] for each in self._meanings.plain.find_all(text))
            return text

        def look_into_arguments(text: str) -> str:
            for number in self._numbers_shown(text) if is_json(text) else ():
                if number not in self._numbers:
                    self._numbers[number] = self._new_name(_NUMBER, number)
            for piece in PIECE.findall(text):
                look(literal(piece))
            return look(text)

        rewrite(content, look, look_into_arguments)
        for text in sorted(found):
            self._hidden.setdefault(text, Hidden(_LOOKS_LIKE_A_NAME, text))
            self._name(_LOOKS_LIKE_A_NAME, text)
        if len(self._hidden) + len(self._numbers) > 2 * MAX_VALUES:
            raise CannotMask("it is full of texts that look like masked ones")
        self._values = _find_values(self._hidden.values())
        self._meanings = self._know()
        return len(self._names) + len(self._numbers) > known

    # --- arguments of tools ---------------------------------------------------------------------------------

    def _mask_arguments(self, text: str) -> str:
        """JSON text: what its strings say is masked, and a number that is a value becomes a string. A model may as well
        have written something else: then it is a text like any other."""
        if not is_json(text):
            return self.mask_text(text)
        if self._spans_structure(text):
            raise CannotMask("a value is spread over the arguments of a tool")
        masked = "".join(map(self._mask_json_piece, PIECE.findall(text)))
        if masked != text and not same_json(self._meanings.json.restore(masked), text):
            raise CannotMask(
                "a tool's arguments cannot be masked in such a way that they could be read again"
            )
        return masked

    def _mask_json_piece(self, piece: str) -> str:
        if not piece.startswith('"'):
            return NUMBER_LITERAL.sub(
                lambda found: f'"{self._numbers[found[0]]}"' if found[0] in self._numbers else found[0], piece
            )
        said = literal(piece)
        masked = self._values.sub(lambda found: self._names[found[0]], said)
        if masked == said:
            return piece
        ending = '"' if piece.endswith('"') else ""
        return f'"{escaped(masked)}{ending}'

    def _spans_structure(self, text: str) -> bool:
        """Whether a value in JSON text is more than one string or number of it, or cannot be seen in what a string says.
        Some dialects send arguments taken apart: then it would be there, and not be known."""
        whole = [found.span() for found in self._values.finditer(text)]
        for piece in PIECE.finditer(text) if whole else ():
            start, end = piece.span()
            inside = [span for span in whole if start <= span[0] and span[1] <= end]
            if piece[0].startswith('"'):
                seen = len(self._values.findall(literal(piece[0])))
            else:
                seen = sum(1 for _ in NUMBER_LITERAL.finditer(piece[0]))
            if len(inside) > seen:
                return True
            whole = [span for span in whole if span not in inside]
        return bool(whole)

    def _numbers_shown(self, text: str) -> Iterator[str]:
        for piece in PIECE.findall(text):
            if not piece.startswith('"'):
                yield from (number for number in NUMBER_LITERAL.findall(piece) if self.shows(number))


def _find_values(hidden: Iterable[Hidden]) -> re.Pattern[str]:
    """The longest value at each place; words only where they stand alone."""
    by_length = sorted(hidden, key=lambda each: (-len(each.text), each.word, each.text))
    groups = [
        rf"(?<!\w){alternation(texts)}(?!\w)" if word else alternation(texts)
        for word, members in groupby(by_length, key=lambda each: each.word)
        for texts in [[each.text for each in members]]
    ]
    return re.compile("|".join(groups) or r"(?!)")


# --- everywhere -------------------------------------------------------------------------------------------------


def rewrite(value: _T, change: Callable[[str], str], change_arguments: Callable[[str], str]) -> _T:
    """The same value with every text in it changed, names of fields of documents included.

    change_arguments: for the arguments of tools, which are JSON text. What is not text for a model stays as it is.
    """
    return _rewritten(value, change, change_arguments)  # type: ignore[no-any-return]


def _rewritten(value: Any, change: Callable[[str], str], arguments: Callable[[str], str]) -> Any:
    if value is None or isinstance(value, Enum | bool | int | float | bytes):
        return value
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple | list):
        return type(value)([_rewritten(item, change, arguments) for item in value])
    if isinstance(value, Mapping):
        return {
            _rewritten(key, change, arguments): _rewritten(item, change, arguments)
            for key, item in value.items()
        }
    if isinstance(value, msgspec.Struct):
        return _rewritten_record(value, change, arguments)
    raise TypeError(f"a conversation cannot hold {type(value).__name__}")


def _rewritten_record(value: Any, change: Callable[[str], str], arguments: Callable[[str], str]) -> Any:
    changes = {}
    for name in value.__struct_fields__:
        if name in _UNTOUCHED:
            continue
        was = getattr(value, name)
        is_json = name == "arguments" and isinstance(value, ToolCall) and value.kind != "custom"
        changes[name] = arguments(was) if is_json else _rewritten(was, change, arguments)
    return replace(value, **changes)
