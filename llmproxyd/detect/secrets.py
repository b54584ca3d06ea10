"""Secrets: vendors' keys, private keys, web tokens, passwords in addresses, and what is assigned to a secret's name.

``SECRETS`` is the table the engine takes. What a vendor's key looks like is data in ``secrets_formats``; what people
write where a secret would stand is ``entropy``'s to tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from llmproxyd.detect.detector import Detector, Find
from llmproxyd.detect.entropy import is_placeholder, looks_random
from llmproxyd.detect.secrets_assigned import ASSIGNED
from llmproxyd.detect.secrets_formats import FORMATS, Format
from llmproxyd.detect.secrets_tokens import TOKENS
from llmproxyd.values.privacy import Finding


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # On first use: most of the table is never needed, and compiling all of it takes longer than a scan.
    return re.compile(pattern)


def _finder(form: Format) -> Find:
    kind = f"secret.{form.name}"

    def find(text: str) -> Iterator[Finding]:
        for match in _compiled(form.pattern).finditer(text):
            start, end = match.span()
            if not stands_alone(text, start, end):
                continue
            made_up = match[0].removeprefix(form.prefix)
            if is_placeholder(made_up) or (form.weak and not looks_random(made_up)):
                continue
            yield Finding(kind, start, end, form.name)

    return find


def stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no ASCII letter or digit continues text[start:end] on either side; an escape such as ``\\n`` does not."""
    if end < len(text) and _is_word(text[end]) and _is_word(text[end - 1]):
        return False
    if start == 0 or not (_is_word(text[start - 1]) and _is_word(text[start])):
        return True
    return start > 1 and text[start - 2] == "\\" and text[start - 1] in "nrt"


def _is_word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _detector(form: Format) -> Detector:
    return Detector(form.name, frozenset({f"secret.{form.name}"}), (form.mark,), _finder(form))


SECRETS: tuple[Detector, ...] = (*(_detector(form) for form in FORMATS), *TOKENS, *ASSIGNED)
"""Every detector of secrets; each finding's kind is ``secret.NAME``."""
