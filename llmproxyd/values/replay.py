"""What clients hand back in the next turn, made so that any provider can then be asked.

A thought is signed for its maker only. A client of another dialect must still be able to hand it back: the signature
it is shown is then a *seal* of ours, which says who made the thought and keeps what the maker wants to see again.
A tool call's id travels the same way, and not every id fits every dialect.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re

from llmproxyd.values.request import Dialect, Thinking

SEAL_PREFIX = "llmproxyd."
"""How every seal begins; no provider's signature does."""

_SAFE_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def seal_thought(thought: Thinking) -> str:
    """What stands in for the signature of a thought that another dialect made. Its text is not part of it."""
    kept = {
        "o": thought.origin.value if thought.origin is not None else None,
        "s": thought.signature,
        "e": thought.encrypted,
        "i": thought.item_id,
    }
    text = json.dumps({key: value for key, value in kept.items() if value is not None}, separators=(",", ":"))
    return SEAL_PREFIX + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def is_seal(signature: object) -> bool:
    return isinstance(signature, str) and signature.startswith(SEAL_PREFIX)


def unseal_thought(text: str, seal: str) -> Thinking:
    """The thought again, with the text that the client handed back. A seal somebody broke leaves the bare text."""
    try:
        coded = seal.removeprefix(SEAL_PREFIX).encode("ascii")
        kept = json.loads(base64.urlsafe_b64decode(coded + b"=" * (-len(coded) % 4)))
        fields = {key: kept[key] for key in ("s", "e", "i", "o") if isinstance(kept.get(key), str)}
        origin = Dialect(fields["o"]) if "o" in fields else None
    except (ValueError, binascii.Error, AttributeError, RecursionError):
        return Thinking(text)
    return Thinking(text, fields.get("s"), fields.get("e"), origin, fields.get("i"))


def safe_tool_id(call_id: str) -> str:
    """The id itself where every dialect takes it, else one made from it, the same each time."""
    if _SAFE_ID.fullmatch(call_id):
        return call_id
    digest = hashlib.blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=11)
    return "call_" + digest.hexdigest()
