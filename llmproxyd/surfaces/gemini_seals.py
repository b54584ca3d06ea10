"""Thoughts of other makers in Gemini's field for signatures.

A Gemini client hands ``thoughtSignature`` back without looking into it, as long as it is base64. So the seal of a thought
that somebody else signed travels in it, and its maker is shown its own signature again in the next turn.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from llmproxyd.values.replay import is_seal, seal_thought, unseal_thought
from llmproxyd.values.request import Dialect, Part, Thinking


def format_signature(block: Thinking) -> str | None:
    """Gemini's own signature as it is, another maker's as a seal; None where there is nothing to hand back."""
    if block.origin is Dialect.GEMINI_GENERATE:
        return block.signature
    if block.signature is None and block.encrypted is None:
        return None
    return base64.b64encode(seal_thought(block).encode()).decode()


def parse_signature(text: str, signature: str | None) -> Thinking:
    """The thought that a client hands back with ``signature``."""
    seal = _read_seal(signature)
    return (
        Thinking(text, signature, origin=Dialect.GEMINI_GENERATE)
        if seal is None
        else unseal_thought(text, seal)
    )


def join_streamed(parts: Iterable[Part]) -> list[Part]:
    """In a stream the seal comes after the last piece of its thought: together they are one again."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, Thinking) and not part.text and part.origin is not Dialect.GEMINI_GENERATE:
            texts: list[str] = []
            while joined and isinstance(last := joined[-1], Thinking) and _is_open(last):
                texts.insert(0, last.text)
                joined.pop()
            part = Thinking("".join(texts), part.signature, part.encrypted, part.origin, part.item_id)
        joined.append(part)
    return joined


def _is_open(block: Thinking) -> bool:
    return block.signature is None and block.encrypted is None


def _read_seal(signature: str | None) -> str | None:
    if signature is None:
        return None
    try:
        seal = base64.b64decode(signature, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return seal if is_seal(seal) else None
