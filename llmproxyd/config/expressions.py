"""Regular expressions as the files hold them: RE2's syntax, so that no text can make a search slow."""

from __future__ import annotations

from functools import cache
from typing import Any

import re2

from llmproxyd.config.findings import Findings
from llmproxyd.config.places import Path


@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def compile_pattern(pattern: str) -> Any:
    """An RE2 object with ``search``. Raises ValueError in RE2's words."""
    try:
        return re2.compile(pattern, _options())
    except re2.error as error:
        text = error.args[0] if error.args else error
        raise ValueError(text.decode(errors="replace") if isinstance(text, bytes) else str(text)) from None
    except UnicodeEncodeError:
        raise ValueError("it holds half of a character") from None


def compile_pattern_at(pattern: str, path: Path, findings: Findings) -> Any:
    """The same; None after telling (LP302) what is wrong with the pattern at ``path``."""
    try:
        return compile_pattern(pattern)
    except ValueError as error:
        findings.error(
            "LP302",
            path,
            f"invalid regular expression: {error}",
            "the syntax is RE2's: no look-around, no back-references",
        )
        return None
