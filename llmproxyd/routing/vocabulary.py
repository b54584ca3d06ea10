"""How many tokens a text has in a model's own vocabulary, where that is public and the extra ``tokens`` is installed.

A vocabulary takes some 25 MB and up to 0.2 s to read. So those of the models in use are read beforehand, by ``load``; a text
is estimated while they are not there, where the model's vocabulary is not public (Claude, Gemini, Command, Grok), and
beyond EXACT_CHARS.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from typing import Final, Protocol

from llmproxyd.logs import get_logger
from llmproxyd.routing.estimate import estimate_tokens

EXACT_CHARS: Final = 262_144
"""Longer texts are estimated: nobody waits for their last token."""

_LIBRARY: Final = "splintr"
_FAMILIES: Final = (
    (r"gpt-3\.5|gpt-4(?![o.])|text-embedding-(ada|3)", "cl100k_base"),
    (r"gpt-|chatgpt|codex|o[1-9]($|[-:])", "o200k_base"),
    (r"llama-?3|llama3", "llama3"),
    (r"qwen-?3|qwen3|qwq", "qwen3"),
    (r"qwen", "qwen2"),
    (r"deepseek", "deepseek_v3"),
    (r"mistral-(nemo|small|medium|large)|magistral|ministral|devstral|codestral-2[5-9]", "mistral_v3"),
    (r"gemma-?3|gemma3", "gemma3"),
    (r"glm-?4|glm4", "glm4"),
    (r"kimi-?k2", "kimi_k2"),
    (r"phi-?4|phi4", "phi4"),
)
"""What a model's id begins with, without its maker's name in front -> its vocabulary. The first that fits counts."""

_PATTERNS: Final = tuple((re.compile(pattern), name) for pattern, name in _FAMILIES)
_log = get_logger("tokens")


class _Vocabulary(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...


def vocabulary_of(model: str) -> str | None:
    """The name of the vocabulary of a model by its provider's id; None where it is not public, or not known here."""
    plain = model.lower().rpartition("/")[2]
    return next((name for pattern, name in _PATTERNS if pattern.match(plain)), None)


class Vocabularies:
    """Those that are loaded. ``load`` may run in any thread."""

    def __init__(self) -> None:
        self._loaded: dict[str, _Vocabulary] = {}

    @staticmethod
    def installed() -> bool:
        return importlib.util.find_spec(_LIBRARY) is not None

    def load(self, models: Iterable[str]) -> None:
        """Read what these models need and drop what they do not. Blocks; does nothing without the extra."""
        wanted = {name for model in models if (name := vocabulary_of(model)) is not None}
        if not self.installed():
            return
        for name in sorted(wanted - self._loaded.keys()):
            vocabulary = _read(name)
            if vocabulary is not None:
                self._loaded[name] = vocabulary
        for name in self._loaded.keys() - wanted:
            del self._loaded[name]

    def count(self, text: str, model: str) -> int:
        """Tokens of ``text`` for this model, exactly if it can be told, else about."""
        name = vocabulary_of(model) if self._loaded and len(text) <= EXACT_CHARS else None
        vocabulary = None if name is None else self._loaded.get(name)
        return estimate_tokens(text) if vocabulary is None else len(vocabulary.encode_ordinary(_whole(text)))


def _read(name: str) -> _Vocabulary | None:
    from splintr import Tokenizer

    try:
        vocabulary: _Vocabulary = Tokenizer.from_pretrained(name)
    except Exception as error:  # noqa: BLE001 - whatever ails the library, texts can be estimated
        _log.warning(
            "tokens.unreadable", vocabulary=name, error=type(error).__name__, help="texts are estimated"
        )
        return None
    return vocabulary


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which no vocabulary knows."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
